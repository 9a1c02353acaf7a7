package rdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cairndb/cairn/tools/testnode"
)

const maxLen = 1 << 20

// payload is what Dump makes of a string.
func payload(s []byte) []byte { return appendFooter(appendString([]byte{kindString}, s), 0, Version) }

func TestChecksum(t *testing.T) {
	t.Parallel()
	if got := checksum([]byte("123456789")); got != 0xe9c6d914c4b8d9ca {
		t.Errorf("got %x", got)
	}
}

// TestRedisReadsAndWritesOurs restores in each the payloads of the other.
func TestRedisReadsAndWritesOurs(t *testing.T) {
	t.Parallel()
	redis, err := testnode.StartRedis(t).Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer redis.Close()
	random := make([]byte, 300)
	for i := range random {
		random[i] = byte(rand.IntN(4))
	}
	values := []string{"", "0", "-1", "127", "128", "-128", "-129", "32767", "32768", "-32769", "2147483647", "-2147483648",
		"2147483648", "012", "9223372036854775807", "hello", strings.Repeat("a", 63), strings.Repeat("a", 64), strings.Repeat("ab", 8191),
		strings.Repeat("abcdefgh", 2048), strings.Repeat("x", 100000), string(random), strings.Repeat(string(random), 200)}
	for _, value := range values {
		if _, err := redis.Must("RESTORE", "k", "0", string(payload([]byte(value))), "REPLACE"); err != nil {
			t.Errorf("Redis refuses %.40q: %v", value, err)
			continue
		}
		if got, _ := redis.Must("GET", "k"); got.Text != value {
			t.Errorf("Redis reads %.40q for %.40q", got.Text, value)
		}
		theirs, err := redis.Must("DUMP", "k")
		if err != nil {
			t.Fatal(err)
		}
		got, err := Load([]byte(theirs.Text), maxLen)
		if err != nil || string(got.String) != value {
			t.Errorf("%.40q, %v for %.40q from Redis", got.String, err, value)
		}
	}
}

func TestLoadRefusesDamage(t *testing.T) {
	t.Parallel()
	good := payload([]byte("hello"))
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if _, err := Load(bad, maxLen); !errors.Is(err, ErrChecksum) {
			t.Errorf("byte %d flipped: %v", i, err)
		}
		if _, err := Load(good[:i], maxLen); !errors.Is(err, ErrChecksum) {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
	newer := binary.LittleEndian.AppendUint16([]byte{kindString, 1, 'x'}, MaxVersion+1)
	newer = binary.LittleEndian.AppendUint64(newer, checksum(newer))
	if _, err := Load(newer, maxLen); !errors.Is(err, ErrChecksum) {
		t.Errorf("newer version: %v", err)
	}
}

func TestLoadRefusesBadValues(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"nothing":                "",
		"no length":              "\x00",
		"unknown type":           "\x08\x01x",
		"opcode":                 "\xff",
		"cut string":             "\x00\x05abc",
		"huge length":            "\x00\x81\xff\xff\xff\xff\xff\xff\xff\xffx",
		"cut length":             "\x00\x80\x00\x00",
		"unknown length":         "\x00\x82abc",
		"unknown encoding":       "\x00\xc4abc",
		"cut integer":            "\x00\xc2ab",
		"LZF of nothing":         "\x00\xc3\x00\x00",
		"LZF that expands wild":  "\x00\xc3\x03\x80\x7f\xff\xff\xffabc",
		"LZF back before start":  "\x00\xc3\x03\x04\x20\x00\x00",
		"LZF cut literal":        "\x00\xc3\x02\x04\x03a",
		"LZF cut reference":      "\x00\xc3\x03\x04\x00a\x20",
		"LZF longer than stated": "\x00\xc3\x03\x01\x01ab",
		"LZF shorter than that":  "\x00\xc3\x03\x03\x01ab",
		"LZF in LZF":             "\x00\xc3\xc3\x03abc",
	} {
		if v, err := Load(appendFooter([]byte(body), 0, Version), maxLen); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %q, %v", name, v.String, err)
		}
	}
	if _, err := Load(payload(make([]byte, 100)), 99); !errors.Is(err, ErrFormat) {
		t.Errorf("longer than the limit: %v", err)
	}
}
