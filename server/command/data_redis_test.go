package command

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cairndb/cairn/tools/testnode"
	"github.com/cairndb/cairn/tools/wire"
)

// pair sends the same commands to a node in the process and to a real Redis.
type pair struct {
	testing.TB
	ours   *testClient
	theirs *wire.Conn
}

func newPair(t testing.TB, redis *testnode.Node) *pair {
	t.Helper()
	theirs, err := redis.Dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { theirs.Close() })
	return &pair{TB: t, ours: connect(t, startNode(t)), theirs: theirs}
}

// same runs a command on both sides and reports a difference; sort is for replies whose order means nothing.
func (p *pair) same(sort bool, args ...string) (ok bool) {
	p.Helper()
	want, err := p.theirs.Do(args...)
	if err != nil {
		p.Fatal(err)
	}
	got := p.ours.do(args...)
	if sort {
		got, want = got.Sorted(), want.Sorted()
	}
	if !got.Equal(want) {
		p.Errorf("%s\n got %.300s\nwant %.300s", brief(args), got, want)
		return false
	}
	return true
}

func brief(args []string) string {
	short := make([]string, len(args))
	for i, a := range args {
		short[i] = fmt.Sprintf("%.40q", a)
	}
	return strings.Join(short, " ")
}

// TestDataCommandsAreRedis runs random commands, many of them wrong, on strings of which some are long enough to
// lie in chunks, and compares the replies, then the values.
func TestDataCommandsAreRedis(t *testing.T) {
	t.Parallel()
	redis := testnode.StartRedis(t)
	for seed := range uint64(4) {
		p := newPair(t, redis)
		hello := []string{"HELLO", []string{"2", "3"}[seed%2]}
		p.ours.do(hello...)
		if _, err := p.theirs.Must(hello...); err != nil {
			t.Fatal(err)
		}
		p.same(false, "FLUSHALL")
		g := generator{rand.New(rand.NewPCG(seed, 1))}
		var last []string
		for range 4000 {
			args := g.command()
			last = append(last, brief(args))
			if len(args) > 1 && strings.HasPrefix(args[0], "BIT") {
				// Since 7.2, BITCOUNT and BITPOS check their arguments also when the key is absent.
				p.same(false, "SETNX", args[1], "\x01")
			}
			if !p.same(args[0] == "KEYS", args...) {
				t.Fatalf("seed %d; before it:\n%s", seed, strings.Join(last[max(0, len(last)-12):], "\n"))
			}
		}
		for _, k := range g.keys() {
			p.same(false, "GET", k)
			p.same(false, "PEXPIRETIME", k)
			p.same(false, "OBJECT", "ENCODING", k)
		}
		p.same(true, "KEYS", "*")
		p.same(false, "DBSIZE")
	}
}

type generator struct{ *rand.Rand }

func (g generator) keys() []string { return []string{"a", "b", "{a}2", "big", "{big}2", "", "k\x00y"} }

func (g generator) pick(from ...string) string { return from[g.IntN(len(from))] }

func (g generator) key() string { return g.pick(g.keys()...) }

func (g generator) value() string {
	switch g.IntN(10) {
	case 0:
		return strings.Repeat(g.pick("a", "\x00", "\xff", "xyz"), 1+g.IntN(16400))
	case 1:
		return strings.Repeat("q", 16383+g.IntN(3))
	case 2:
		return strings.Repeat("\xf0", 30000+g.IntN(30000))
	case 3:
		return strings.Repeat("m", 43+g.IntN(3))
	case 4, 5:
		return g.int()
	case 6:
		return g.float()
	}
	return g.pick("", "hello", "\r\n", "\x00", "\xff\xff\x0f", "foobar")
}

func (g generator) int() string {
	return g.pick("0", "1", "-1", "7", "10", "100", "-100", "12345", "9223372036854775807", "-9223372036854775808",
		"9223372036854775808", "01", "+1", "-0", " 1", "1 ", "", "x", "1.0", "99999999999999999999", "2147483648", "10000")
}

func (g generator) float() string {
	return g.pick("0", "1.5", "-1.5", "0.1", "0.2", "3.0e2", "1e-7", "1e17", "1e400", "1e5000", "-1e5000", "inf", "-inf", "nan", "0x10",
		"0x1.8p3", "1_000", "0b1", ".5", "5.", "+5", " 5", "5 ", "", "x", "1e", "123456789012345678", "0.00000000000000001", "-0", "3.14159265358979",
		"0x", "infinity", "INF", "1p3", "0o7", "00012", "1e-5000", "0e-5000", "1e-4940")
}

// small is an offset or an index that a value may have.
func (g generator) small() string {
	if g.IntN(12) == 0 {
		return g.int()
	}
	n := []int{3, 20, 200, 16390, 33000, 70000}[g.IntN(6)]
	return fmt.Sprint(g.IntN(2*n) - n/2)
}

func (g generator) bitOffset() string {
	if g.IntN(12) == 0 {
		return g.int()
	}
	return fmt.Sprint(g.IntN([]int{10, 100, 131080, 400000}[g.IntN(4)]))
}

// words is a command line: K a key, V a value, I an integer, J a time to live that is refused, F a float, S an index, B a bit's offset.
func (g generator) fill(words string) []string {
	args := strings.Fields(words)
	for i, w := range args {
		switch w {
		case "K":
			args[i] = g.key()
		case "V":
			args[i] = g.value()
		case "I":
			args[i] = g.int()
		case "J":
			args[i] = g.pick("0", "-1", "x", "", "9223372036854775807", "99999999999999999999")
		case "F":
			args[i] = g.float()
		case "S":
			args[i] = g.small()
		case "B":
			args[i] = g.bitOffset()
		case "T":
			args[i] = g.pick("i1", "i5", "i8", "i63", "i64", "u1", "u7", "u8", "u63", "u64", "i65", "x8", "u", "i0", "u08")
		case "O":
			args[i] = g.pick("#", "") + g.bitOffset()
		}
	}
	if g.IntN(40) == 0 && len(args) > 1 && args[0] != "SCAN" {
		args = args[:len(args)-1]
	}
	return args
}

func (g generator) command() []string { return g.fill(g.pick(templates...)) }

// templates leave out what depends on the clock.
var templates = []string{
	"SET K V", "SET K V", "SET K V", "set K V nx", "SET K V XX GET", "SET K V NX XX", "SET K V GET KEEPTTL", "SET K V EX J", "SET K V PX J NX",
	"SET K V KEEPTTL EX 10", "SET K V EXAT 1", "SET K V PXAT 33177117420000 GET", "SET K V EX 10 PX 10", "SET K V FOO", "SETNX K V", "SET K V EX",
	"SET K V PXAT 33177117420000 PXAT 33177117420001",
	"GET K", "GETDEL K", "GETSET K V", "GETEX K", "GETEX K PERSIST", "GETEX K EXAT 33177117420", "GETEX K PXAT I", "GETEX K EX 10 PERSIST", "GETEX K NX",
	"MGET K K K", "MSET K V K V", "MSET K V K", "MSETNX K V K V", "STRLEN K", "APPEND K V", "APPEND K V", "SETEX K J V", "PSETEX K J V",
	"SETRANGE K S V", "SETRANGE K S V", "SETRANGE K I V", "GETRANGE K S S", "GETRANGE K S S", "GETRANGE K I I", "SUBSTR K S S",
	"INCR K", "DECR K", "INCRBY K I", "DECRBY K I", "INCRBYFLOAT K F", "INCRBYFLOAT K F", "SET K I", "SET K F",
	"SETBIT K B 1", "SETBIT K B 0", "SETBIT K B I", "GETBIT K B", "BITCOUNT K", "BITCOUNT K S S", "BITCOUNT K S S BIT", "BITCOUNT K B B bit",
	"BITPOS K 0", "BITPOS K 1", "BITPOS K I", "BITPOS K 1 S", "BITPOS K 0 S", "BITPOS K 0 S S", "BITPOS K 1 S S BYTE", "BITPOS K 1 B B BIT", "BITPOS K 0 B B BIT", "BITPOS K 1 S S S",
	"BITOP AND K K K", "BITOP OR K K K", "BITOP XOR K K", "BITOP NOT K K", "BITOP NOT K K K", "BITOP FOO K K",
	"BITFIELD K GET T O", "BITFIELD K SET T O I", "BITFIELD K INCRBY T O I", "BITFIELD K OVERFLOW SAT INCRBY T O I INCRBY T O I",
	"BITFIELD K OVERFLOW FAIL INCRBY T O I GET T O OVERFLOW WRAP SET T O I", "BITFIELD K OVERFLOW x", "BITFIELD K", "BITFIELD K GET T", "BITFIELD_RO K GET T O", "BITFIELD_RO K SET T O I",
	"DEL K", "DEL K K", "UNLINK K", "EXISTS K K", "TOUCH K K", "TYPE K", "RENAME K K", "RENAMENX K K", "COPY K K", "COPY K K REPLACE", "COPY K K DB 0 REPLACE", "COPY K K DB I",
	"COPY K K FOO", "EXPIREAT K 33177117420", "PEXPIREAT K 33177117420000 GT", "PEXPIREAT K 33177117430000 LT", "PEXPIREAT K 33177117410000 XX", "EXPIREAT K 33177117420 NX", "EXPIREAT K I",
	"PEXPIREAT K I", "PEXPIRE K J GT LT", "EXPIRE K J NX XX", "EXPIRE K -1", "PEXPIRE K 9223372036854775807", "PEXPIREAT K 0", "EXPIRETIME K", "PEXPIRETIME K", "PERSIST K", "EXPIRE K 10 FOO",
	"OBJECT ENCODING K", "OBJECT REFCOUNT K", "KEYS *", "KEYS [a-b]*", "KEYS *[^a]", "KEYS b?g", "KEYS \\{*", "KEYS ?*2", "KEYS [", "KEYS [^", "KEYS *\\", "KEYS [b-a]", "KEYS **g",
	"SCAN 0 COUNT 1000 TYPE zset", "SCAN x", "SCAN 0 COUNT 0", "SCAN 0 COUNT x", "SCAN 0 FOO", "SCAN 0 MATCH",
	"RESTORE K 0 x", "RESTORE K J x REPLACE", "RESTORE K 0 x FREQ 256", "RESTORE K 0 x IDLETIME -1", "DUMP nosuch", "MOVE K 0", "MOVE K I", "SWAPDB 0 I", "SWAPDB x 0", "FLUSHDB x", "OBJECT FREQ K",
	"LCS a {a}2", "LCS a {a}2 LEN", "LCS a {a}2 IDX LEN", "LCS a {a}2 FOO", "OBJECT FOO K", "COMMAND GETKEYS GET K", "COMMAND GETKEYSANDFLAGS SET K V GET", "COMMAND GETKEYS BITOP NOT K K",
	"COMMAND GETKEYS PING x", "COMMAND GETKEYSANDFLAGS BITFIELD K GET u8 0 SET u8 0 0", "COMMAND GETKEYS OBJECT ENCODING K", "COMMAND GETKEYS MSET K V K V", "COMMAND GETKEYS GET K K",
	"COMMAND INFO nosuch GET", "COMMAND DOCS nosuch nosuch",
}

func TestLCSIsRedis(t *testing.T) {
	t.Parallel()
	p := newPair(t, testnode.StartRedis(t))
	g := generator{rand.New(rand.NewPCG(7, 7))}
	word := func() string {
		b := make([]byte, g.IntN(30))
		for i := range b {
			b[i] = "abc"[g.IntN(3)]
		}
		return string(b)
	}
	for range 300 {
		p.same(false, "MSET", "x", word(), "y", word())
		p.same(false, "LCS", "x", "y")
		p.same(false, "LCS", "x", "y", "LEN")
		p.same(false, "LCS", "x", "y", "IDX")
		p.same(false, "LCS", "x", "y", "IDX", "WITHMATCHLEN", "MINMATCHLEN", fmt.Sprint(g.IntN(4)-1))
	}
}
