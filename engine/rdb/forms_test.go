package rdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/cairndb/cairn/tools/testnode"
	"github.com/cairndb/cairn/tools/wire"
)

// The forms that old versions of Redis wrote, made by hand.

func blob(s string) string { return string(append(appendLength(nil, uint64(len(s))), s...)) }

func little(width int, n uint64) string {
	return string(binary.LittleEndian.AppendUint64(nil, n)[:width])
}

// ziplistOf makes a ziplist of entries that lack only the length of the one before.
func ziplistOf(entries ...string) string {
	body, previous, tail := "", 0, zlHeader
	for _, e := range entries {
		tail = zlHeader + len(body)
		head := string([]byte{byte(previous)})
		if previous >= zlBigLen {
			head = "\xfe" + little(4, uint64(previous))
		}
		body += head + e
		previous = len(head) + len(e)
	}
	return little(4, uint64(zlHeader+len(body)+1)) + little(4, uint64(tail)) + little(2, uint64(len(entries))) + body + "\xff"
}

func zlString(s string) string {
	switch n := len(s); {
	case n < 1<<6:
		return string([]byte{byte(n)}) + s
	case n < 1<<14:
		return string([]byte{0x40 | byte(n>>8), byte(n)}) + s
	}
	return "\x80" + string(binary.BigEndian.AppendUint32(nil, uint32(len(s)))) + s
}

// ziplistAll has an entry of each encoding.
var ziplistAll = ziplistOf("\xf1", "\xfd", "\xfe\x80", "\xfe\x7f", "\xc0\x00\x80", "\xf0\x00\x00\x80", "\xf0\xff\xff\x7f", "\xd0\x00\x00\x00\x80",
	"\xe0"+little(8, 1<<63), "\xe0"+little(8, math.MaxInt64), zlString(""), zlString("abc"), zlString(strings.Repeat("m", 64)), zlString(strings.Repeat("l", 1<<14)), zlString("end"))

const ziplistAllText = `"0"
"12"
"-128"
"127"
"-32768"
"-8388608"
"8388607"
"-2147483648"
"-9223372036854775808"
"9223372036854775807"
""
"abc"
`

// listpackOf makes a listpack of entries that lack only their length.
func listpackOf(entries ...string) string {
	body := ""
	for _, e := range entries {
		body += e + string(lpBackLength(nil, len(e)))
	}
	return little(4, uint64(lpHeader+len(body)+1)) + little(2, uint64(len(entries))) + body + "\xff"
}

// texts makes a listpack of strings and integers.
func listpackOfTexts(texts ...string) string {
	var w listpackWriter
	w.reset()
	for _, s := range texts {
		w.string([]byte(s))
	}
	return string(w.finish())
}

func double(f float64) string { return little(8, math.Float64bits(f)) }

var medium, large = strings.Repeat("m", 64), strings.Repeat("l", 1<<14)

var oldForms = []struct{ name, body, want string }{
	{"list", "\x01\x03\x01a\xc1\x39\x30\x00", "\"a\"\n\"12345\"\n\"\""},
	{"list of a long count", "\x01\x80\x00\x00\x00\x01\x01a", `"a"`},
	{"ziplist", "\x0a" + blob(ziplistAll), ziplistAllText + `"` + medium + "\"\n\"" + large + "\"\n\"end\""},
	{"ziplist of unknown length", "\x0a" + blob(ziplistAll[:8]+"\xff\xff"+ziplistAll[10:]), ziplistAllText + `"` + medium + "\"\n\"" + large + "\"\n\"end\""},
	{"ziplist, compressed", "\x0a\xc3\x18\x17\x16" + ziplistOf(zlString("abcdefghij")), `"abcdefghij"`},
	{"quicklist", "\x0e\x03" + blob(ziplistOf(zlString("a"), "\xf2")) + blob(ziplistOf()) + blob(ziplistOf(zlString("b"))), "\"a\"\n\"1\"\n\"b\""},
	{"quicklist 2", "\x12\x03\x02" + blob(listpackOfTexts("a", "1")) + "\x01\x05plain\x02" + blob(listpackOfTexts("b")), "\"a\"\n\"1\"\n\"plain\"\n\"b\""},
	{"set", "\x02\x02\x01b\xc0\x05", "\"5\"\n\"b\""},
	{"intset of 16 bits", "\x0b" + blob("\x02\x00\x00\x00\x03\x00\x00\x00\x00\x80\x00\x00\xff\x7f"), "\"-32768\"\n\"0\"\n\"32767\""},
	{"intset of 32 bits", "\x0b" + blob("\x04\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x80\x07\x00\x00\x00"), "\"-2147483648\"\n\"7\""},
	{"intset of 64 bits", "\x0b" + blob("\x08\x00\x00\x00\x01\x00\x00\x00"+little(8, 1<<62)), `"4611686018427387904"`},
	{"sorted set, text", "\x03\x04\x01a\x041.25\x01b\xfe\x01c\xff\x01d\x1b-1.7976931348623157000e+308", "\"a\" 1.25\n\"b\" +Inf\n\"c\" -Inf\n\"d\" -1.7976931348623157e+308"},
	{"sorted set", "\x05\x02\x01a" + double(-0.1) + "\xc0\x02" + double(math.Inf(1)), "\"2\" +Inf\n\"a\" -0.1"},
	{"sorted set, ziplist", "\x0c" + blob(ziplistOf(zlString("a"), zlString("-inf"), zlString("b"), zlString("1.5"), "\xf3", "\xf4")), "\"2\" 3\n\"a\" -Inf\n\"b\" 1.5"},
	{"sorted set, listpack", "\x11" + blob(listpackOfTexts("a", "-0.25", "b", "17")), "\"a\" -0.25\n\"b\" 17"},
	{"hash", "\x04\x02\x01a\x01x\xc0\x01\x00", "\"1\" \"\"\n\"a\" \"x\""},
	{"zipmap", "\x09" + blob("\x02\x01a\x03\x00xyz\x02bc\x01\x02x..\xff"), "\"a\" \"xyz\"\n\"bc\" \"x\""},
	{"zipmap of unknown length", "\x09" + blob("\xfe\x01a\xfe\x00\x40\x00\x00\x00"+large+"\xff"), `"a" "` + large + `"`},
	{"hash, ziplist", "\x0d" + blob(ziplistOf(zlString("a"), "\xf2", "\xf3", zlString("two"))), "\"2\" \"two\"\n\"a\" \"1\""},
	{"hash, listpack", "\x10" + blob(listpackOfTexts("a", "1", "2", "two")), "\"2\" \"two\"\n\"a\" \"1\""},
	{"listpack of each encoding", "\x12\x01\x02" + blob(listpackOf("\x7f", "\xdf\xff", "\xd0\x00", "\xcf\xff", "\xf1\x00\x80", "\xf2\x00\x00\x80", "\xf3\x00\x00\x00\x80",
		"\xf4"+little(8, 1<<63), "\x80", "\x83abc", "\xe0\x40"+medium, "\xf0\x00\x40\x00\x00"+large)),
		"\"127\"\n\"-1\"\n\"-4096\"\n\"4095\"\n\"-32768\"\n\"-8388608\"\n\"-2147483648\"\n\"-9223372036854775808\"\n\"\"\n\"abc\"\n\"" + medium + "\"\n\"" + large + `"`},
	{"stream", "\x0f\x01" + blob(streamIDText(5, 1)) + blob(listpackOfTexts("2", "1", "1", "f", "0", "2", "0", "0", "v1", "4", "3", "0", "1", "gone", "4", "0", "3", "0", "2", "g", "w", "h", "x", "8")) +
		"\x02\x08\x01\x01\x05group\x05\x01\x01" + streamIDText(5, 1) + little(8, 1000) + "\x03\x02\x05alice" + little(8, 2000) + "\x01" + streamIDText(5, 1) + "\x03bob" + little(8, 3000) + "\x00",
		"5-1 [\"f\" \"v1\"]\n8-1 [\"g\" \"w\" \"h\" \"x\"]\nlength 2 last 8-1 deleted 0-0 added 2\ngroup \"group\" 5-1 read 1\n" +
			"consumer \"alice\" seen 2000\npending 5-1 1000 3\nconsumer \"bob\" seen 3000"},
	{"stream without entries", "\x13\x00\x00\x08\x01\x00\x00\x08\x01\x05\x00", "length 0 last 8-1 deleted 8-1 added 5"},
}

func streamIDText(ms, seq uint64) string { return string(streamID{ms, seq}.append(nil)) }

// newForms are those that Redis 7.0 does not read.
var newForms = []struct{ name, body, want string }{
	{"set, listpack", "\x14" + blob(listpackOfTexts("a", "1")), "\"1\"\n\"a\""},
	{"stream of Redis 7.2", "\x15\x00\x00\x08\x01\x00\x00\x08\x01\x05\x01\x01g\x08\x01\x81\xff\xff\xff\xff\xff\xff\xff\xff\x00\x01\x01c" + little(8, 7) + little(8, math.MaxUint64) + "\x00",
		"length 0 last 8-1 deleted 8-1 added 5\ngroup \"g\" 8-1 read -1\nconsumer \"c\" seen 7"},
	{"hash with expiries", "\x18" + little(8, 1<<42) + "\x03\x00\x01a\x01x\x01\x01b\x01y\x05\x01c\x01z", "\"a\" \"x\"\n\"b\" \"y\" until 4398046511104\n\"c\" \"z\" until 4398046511108"},
	{"packed hash with expiries", "\x19" + little(8, 1<<42) + blob(listpackOfTexts("b", "y", "4398046511104", "a", "x", "0")), "\"a\" \"x\"\n\"b\" \"y\" until 4398046511104"},
}

// TestForms loads each form, and asks Redis what it finds in it.
func TestForms(t *testing.T) {
	t.Parallel()
	redis := dialRedis(t)
	for _, c := range oldForms {
		checkForm(t, c.name, c.body, c.want)
		if _, err := redis.Must("RESTORE", "k", "0", string(appendFooter([]byte(c.body), 0, Version)), "REPLACE"); err != nil {
			t.Errorf("%s: Redis says %v", c.name, err)
		} else if got := ask(t, redis, "k"); got != c.want {
			t.Errorf("%s: Redis finds\n%s\nwant\n%s", c.name, got, c.want)
		}
	}
	for _, c := range newForms {
		checkForm(t, c.name, c.body, c.want)
	}
}

func dialRedis(t *testing.T) *wire.Conn {
	t.Helper()
	c, err := testnode.StartRedis(t, "--sanitize-dump-payload", "yes").Dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func checkForm(t *testing.T, name, body, want string) {
	t.Helper()
	v, err := Load(appendFooter([]byte(body), 0, Version), maxLen)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	if got, err := render(&v); err != nil || got != want {
		t.Errorf("%s: %v,\n%s\nwant\n%s", name, err, got, want)
	}
}

// TestCutForms: no form is a value any more when its end is missing, however short the piece.
func TestCutForms(t *testing.T) {
	t.Parallel()
	for _, c := range append(oldForms, newForms...) {
		for n := 1; n < len(c.body); n = n + 1 + n/64 {
			if _, err := Load(appendFooter([]byte(c.body[:n]), 0, Version), maxLen); !errors.Is(err, ErrFormat) {
				t.Errorf("%s cut to %d bytes: %v", c.name, n, err)
			}
		}
	}
}

// TestRefusedForms: what Redis refuses with sanitize-dump-payload is refused.
func TestRefusedForms(t *testing.T) {
	t.Parallel()
	redis := dialRedis(t)
	ziplist := ziplistOf(zlString("a"), zlString("b"))
	stream := func(list ...string) string {
		return "\x0f\x01" + blob(streamIDText(5, 1)) + blob(listpackOfTexts(list...))
	}
	entry := stream("1", "0", "1", "f", "0", "2", "0", "0", "v", "4") + "\x01\x05\x01\x00"
	group := func(pending, consumers string) string {
		return entry[:len(entry)-1] + "\x01\x01g\x05\x01" + pending + consumers
	}
	nack := streamIDText(5, 1) + little(8, 1) + "\x01"
	for _, c := range []struct {
		name, body string
		onlyHere   bool // Redis 7.0 takes it, or ends
	}{
		{name: "empty list", body: "\x01\x00"},
		{name: "empty ziplist", body: "\x0a" + blob(ziplistOf())},
		{name: "quicklist of empty ziplists", body: "\x0e\x01" + blob(ziplistOf())},
		{name: "quicklist 2 of nothing", body: "\x12\x00"},
		{name: "empty set", body: "\x02\x00"},
		{name: "empty intset", body: "\x0b" + blob("\x02\x00\x00\x00\x00\x00\x00\x00")},
		{name: "empty sorted set", body: "\x05\x00"},
		{name: "empty hash", body: "\x04\x00"},
		{name: "empty hash, listpack", body: "\x10" + blob(listpackOfTexts())},
		{name: "empty zipmap", body: "\x09" + blob("\x00\xff")},
		{name: "huge count", body: "\x02\x81\xff\xff\xff\xff\xff\xff\xff\xff\x01a"},
		{name: "huge count of pairs", body: "\x04\x81\x80\x00\x00\x00\x00\x00\x00\x00\x01a"},
		{name: "field without value", body: "\x10" + blob(listpackOfTexts("a"))},
		{name: "field without value, ziplist", body: "\x0d" + blob(ziplistOf(zlString("a")))},
		{name: "unknown container", body: "\x12\x01\x03\x01a"},
		{name: "ziplist of a wrong size", body: "\x0a" + blob(ziplist+"\xff")},
		{name: "ziplist of a wrong count", body: "\x0a" + blob(ziplist[:8]+"\x03\x00"+ziplist[10:])},
		{name: "ziplist of a smaller count", body: "\x0a" + blob(ziplist[:8]+"\x01\x00"+ziplist[10:])},
		{name: "ziplist with a wrong tail", body: "\x0a" + blob(ziplist[:4]+"\x0a\x00\x00\x00"+ziplist[8:])},
		{name: "ziplist with a wrong length before", body: "\x0a" + blob(strings.Replace(ziplist, "\x03\x01b", "\x02\x01b", 1))},
		{name: "ziplist with a long string", body: "\x0a" + blob(strings.Replace(ziplist, "\x03\x01b", "\x03\x02b", 1))},
		{name: "ziplist with an end in it", body: "\x0a" + blob(strings.Replace(ziplist, "\x03\x01b", "\xff\x01b", 1))},
		{name: "ziplist of an unknown encoding", body: "\x0a" + blob(ziplistOf("\xc1\x00"))},
		{name: "listpack of a wrong size", body: "\x12\x01\x02" + blob(listpackOfTexts("a")+"\xff")},
		{name: "listpack of a wrong count", body: "\x12\x01\x02" + blob(strings.Replace(listpackOfTexts("a"), "\x01\x00", "\x02\x00", 1))},
		{name: "listpack with a wrong length", body: "\x12\x01\x02" + blob(strings.Replace(listpackOfTexts("a"), "a\x02", "a\x03", 1))},
		{name: "listpack with a long string", body: "\x12\x01\x02" + blob(listpackOf("\xe0\x40abc"))},
		{name: "listpack of an unknown encoding", body: "\x12\x01\x02" + blob(listpackOf("\xf5"))},
		{name: "intset that is not ascending", body: "\x0b" + blob("\x02\x00\x00\x00\x02\x00\x00\x00\x02\x00\x01\x00")},
		{name: "intset with one twice", body: "\x0b" + blob("\x02\x00\x00\x00\x02\x00\x00\x00\x01\x00\x01\x00")},
		{name: "intset of an unknown width", body: "\x0b" + blob("\x03\x00\x00\x00\x01\x00\x00\x00abc")},
		{name: "zipmap of a wrong count", body: "\x09" + blob("\x02\x01a\x01\x00x\xff")},
		{name: "zipmap with a long value", body: "\x09" + blob("\x01\x01a\x02\x00x\xff")},
		{name: "NaN", body: "\x05\x01\x01a" + double(math.NaN())},
		{name: "NaN as text", body: "\x03\x01\x01a\xfd"},
		{name: "NaN in a listpack", body: "\x11" + blob(listpackOfTexts("a", "nan")), onlyHere: true},
		{name: "no number in a listpack", body: "\x11" + blob(listpackOfTexts("a", "b")), onlyHere: true},
		{name: "stream of an empty listpack", body: "\x0f\x01" + blob(streamIDText(5, 1)) + blob(listpackOfTexts()) + "\x00\x00\x00\x00"},
		{name: "stream with a short ID", body: "\x0f\x01\x03abc" + blob(listpackOfTexts("1", "0", "0", "0", "2", "0", "0", "3")) + "\x01\x05\x01\x00"},
		{name: "stream with fewer entries", body: stream("2", "0", "1", "f", "0", "2", "0", "0", "v", "4") + "\x01\x05\x01\x00"},
		{name: "stream with more entries", body: stream("0", "0", "1", "f", "0", "2", "0", "0", "v", "4") + "\x01\x05\x01\x00"},
		{name: "stream with a wrong count at an entry", body: stream("1", "0", "1", "f", "0", "2", "0", "0", "v", "5") + "\x01\x05\x01\x00"},
		{name: "stream of another length", body: strings.Replace(entry, "\x01\x05\x01\x00", "\x02\x05\x01\x00", 1), onlyHere: true},
		{name: "stream with an entry after its last ID", body: strings.Replace(entry, "\x01\x05\x01\x00", "\x01\x04\x01\x00", 1), onlyHere: true},
		{name: "stream with a group twice", body: entry[:len(entry)-1] + "\x02\x01g\x05\x01\x00\x00\x01g\x05\x01\x00\x00"},
		{name: "stream with a consumer twice", body: group("\x00", "\x02\x01c"+little(8, 1)+"\x00\x01c"+little(8, 1)+"\x00")},
		{name: "pending entry of nobody", body: group("\x01"+nack, "\x00")},
		{name: "pending entry twice", body: group("\x02"+nack+nack, "\x00")},
		{name: "pending entry of two", body: group("\x01"+nack, "\x02\x01c"+little(8, 1)+"\x01"+nack[:16]+"\x01d"+little(8, 1)+"\x01"+nack[:16]), onlyHere: true},
		{name: "pending entry that the group lacks", body: group("\x00", "\x01\x01c"+little(8, 1)+"\x01"+nack[:16])},
		{name: "hash with a late expiry", body: "\x18" + little(8, 1<<48) + "\x01\x01\x01a\x01x", onlyHere: true},
		{name: "hash with an overflowing expiry", body: "\x18" + little(8, 1000) + "\x01\x81\xff\xff\xff\xff\xff\xff\xff\xff\x01a\x01x", onlyHere: true},
		{name: "packed hash without an expiry", body: "\x19" + little(8, 1000) + blob(listpackOfTexts("a", "x")), onlyHere: true},
		{name: "module", body: "\x07\x00"},
	} {
		p := appendFooter([]byte(c.body), 0, Version)
		if v, err := Load(p, maxLen); !errors.Is(err, ErrFormat) {
			text, _ := render(&v)
			t.Errorf("%s: %v\n%s", c.name, err, text)
		}
		if c.onlyHere {
			continue
		}
		if v, err := redis.Do("RESTORE", "k", "0", string(p), "REPLACE"); err != nil || v.Text != "ERR Bad data format" {
			t.Errorf("%s: Redis says %v, %v", c.name, v, err)
		}
	}
}

// FuzzLoad: whatever loads can be walked, and holds no more than its payload can.
func FuzzLoad(f *testing.F) {
	for _, seed := range []string{"\x00\x05hello", "\x00\xc0\x01", "\x00\xc1\x01\x02", "\x00\xc2\x01\x02\x03\x04", "\x00\x41\x00",
		"\x00\xc3\x04\x0a\x00a\xe0\x00\x00", "\x00\xc3\x09\x40\x64\x01aa\xe0\x57\x00\x01aa"} {
		f.Add([]byte(seed))
	}
	for _, c := range append(oldForms, newForms...) {
		f.Add([]byte(c.body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		v, err := Load(appendFooter(bytes.Clone(body), 0, Version), maxLen)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatal(err)
			}
			return
		}
		if len(v.String) > maxLen || len(v.String) > len(body)*lzfRatio {
			t.Fatalf("%d bytes out of %d", len(v.String), len(body))
		}
		if _, err := render(&v); err != nil {
			t.Fatal(err)
		}
	})
}
