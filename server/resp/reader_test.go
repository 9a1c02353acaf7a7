package resp

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// roomy are the limits of an authenticated peer with Redis's defaults.
var roomy = Limits{MaxBulk: 512 << 20, QueryBuffer: 1 << 30, Authenticated: true}

// hostile are inputs that ended or stalled other parsers, and malformed ones of each kind.
var hostile = []string{
	"*1\r\n$9223372036854775807\r\n",
	"*3000000000\r\n",
	"*2147483647\r\n",
	"*2147483648\r\n",
	"*0\r\nPING\r\n",
	"*-1\r\nPING\r\n",
	"*-10\r\n\r\n\n\r\nPING\r\n",
	"*\r\n", "*a\r\n", "*01\r\n", "*+1\r\n", "* 1\r\n", "*1 \r\n", "*9223372036854775808\r\n",
	"*1\r\n$-1\r\n", "*1\r\n$a\r\n", "*1\r\n$\r\n", "*1\r\n$01\r\nx\r\n", "*1\r\n$00\r\n\r\n", "*1\r\n$536870913\r\n",
	"*1\r\nPING\r\n", "*1\r\n:1\r\n", "*1\r\n\r\n", "*2\r\n$4\r\nECHO\r\n*1\r\n",
	"*1\r\n$4\r\nPINGxx*1\r\n$4\r\nPING\r\n",
	"*1\rx$4\rxPING\r\n",
	"PING\n", "PING\r\n", "\r\n\r\nPING\r\n", "  PING  \r\n", "ping \"\\x41\\n\\\"\" \r\n", "ping 'a\\'b'\r\n", "ping ''\r\n", "ping \"\"\r\n",
	"ping \"a\r\n", "ping 'a\r\n", "ping \"a\"b\r\n", "ping 'a'b\r\n", "ping a\"b c\"\r\n", "ping \"\\x4\"\r\n", "ping \"\\\r\n", "ping a\x00b\r\n",
	"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$5\r\nhello\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n",
	"*1\r\n$4\r\nPING\r\nPING\r\n*1\r\n$4\r\nPING\r\n",
	"*" + strings.Repeat("1", 70000),
	"*1\r\n$" + strings.Repeat("1", 70000),
	"*1\r\n" + strings.Repeat("x", 70000),
	strings.Repeat("x", 70000),
	strings.Repeat("x", 65000) + "\r\n",
}

// readAll feeds input in pieces of the given sizes (the last repeats) and returns each request and the error at the end.
func readAll(r *Reader, input []byte, lend []byte, size func() int) (requests []string, err error) {
	for {
		if lend != nil {
			r.Lend(lend)
		}
		n := copy(r.Space(0), input[:min(max(size(), 1), len(input))])
		r.Filled(n)
		input = input[n:]
		for {
			args, ok, err := r.Next()
			if err != nil {
				return requests, err
			}
			if !ok {
				break
			}
			r.Unread()
			if mark, ok := r.Mark(); ok {
				for more := true; more; {
					_, more, _ = r.Next()
				}
				r.Rewind(mark)
			}
			again, _, _ := r.Next()
			if len(again) != len(args) {
				return requests, fmt.Errorf("read again: %d arguments instead of %d", len(again), len(args))
			}
			requests = append(requests, fmt.Sprintf("%q", again))
		}
		if len(input) == 0 {
			return requests, nil
		}
		if lend != nil {
			r.Reclaim()
		}
	}
}

func TestRequests(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want, err string }{
		{"*1\r\n$4\r\nPING\r\n", `["PING"]`, ""},
		{"PING\n", `["PING"]`, ""},
		{"\r\n \r\nPING\r\n", `["PING"]`, ""},
		{"*0\r\n*-1\r\nPING\r\n", `["PING"]`, ""},
		{"set a \"x\\x41\\n\\q\" 'it\\'s\\n'\r\n", `["set" "a" "xA\nq" "it's\\n"]`, ""},
		{"ping ''\r\n", `["ping" ""]`, ""},
		{"*2\r\n$4\r\nECHO\r\n$0\r\n\r\nPING\r\n", `["ECHO" ""] ["PING"]`, ""},
		{"ping \"a\r\n", "", "Protocol error: unbalanced quotes in request"},
		{"*1\r\nPING\r\n", "", "Protocol error: expected '$', got 'P'"},
		{"*3000000000\r\n", "", "Protocol error: invalid multibulk length"},
		{"*1\r\n$9223372036854775807\r\n", "", "Protocol error: invalid bulk length"},
		{strings.Repeat("x", 70000), "", "Protocol error: too big inline request"},
		{"*" + strings.Repeat("1", 70000), "", "Protocol error: too big mbulk count string"},
		{"*1\r\n$" + strings.Repeat("1", 70000), "", "Protocol error: too big bulk count string"},
	} {
		for _, size := range []int{1, 3, 1 << 20} {
			r := &Reader{Limits: roomy}
			got, err := readAll(r, []byte(c.in), nil, func() int { return size })
			if text := strings.Join(got, " "); text != c.want || errText(err) != c.err {
				t.Errorf("%.40q in pieces of %d: %s, %q; want %s, %q", c.in, size, text, errText(err), c.want, c.err)
			}
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestUnauthenticatedLimits(t *testing.T) {
	t.Parallel()
	limits := roomy
	limits.Authenticated = false
	for in, want := range map[string]string{
		"*11\r\n":           "Protocol error: unauthenticated multibulk length",
		"*1\r\n$16385\r\n":  "Protocol error: unauthenticated bulk length",
		"*10\r\n$16384\r\n": "",
	} {
		_, err := readAll(&Reader{Limits: limits}, []byte(in), nil, func() int { return 1 << 20 })
		if errText(err) != want {
			t.Errorf("%q: %q, want %q", in, errText(err), want)
		}
	}
}

func TestQueryBufferLimit(t *testing.T) {
	t.Parallel()
	limits := roomy
	limits.QueryBuffer = 1 << 20
	big := append([]byte("*2\r\n$3\r\nGET\r\n$2000000\r\n"), bytes.Repeat([]byte("x"), 1100000)...)
	if _, err := readAll(&Reader{Limits: limits}, big, nil, func() int { return 16 << 10 }); err != ErrQueryBuffer {
		t.Errorf("a request of 1.1 MB: %v", err)
	}
	many := append([]byte("*1000000\r\n"), bytes.Repeat([]byte("$0\r\n\r\n"), 50000)...)
	if _, err := readAll(&Reader{Limits: limits}, many, nil, func() int { return 16 << 10 }); err != ErrQueryBuffer {
		t.Errorf("the table of 50,000 empty arguments: %v", err)
	}
}

// An announced length must cost nothing: only what arrives is held.
func TestAnnouncedLengthCostsNothing(t *testing.T) {
	t.Parallel()
	r := &Reader{Limits: roomy}
	if _, err := readAll(r, []byte("*2147483647\r\n$536870912\r\nx"), nil, func() int { return 7 }); err != nil {
		t.Fatal(err)
	}
	if r.Cap() > 64<<10 {
		t.Errorf("holds %d bytes", r.Cap())
	}
}

// Parsing must stay linear in the input, however it is cut.
func TestLargeRequests(t *testing.T) {
	t.Parallel()
	value := bytes.Repeat([]byte("v"), 40<<20)
	in := append([]byte(fmt.Sprintf("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n", len(value))), value...)
	in = append(in, "\r\nPING\r\n"...)
	r := &Reader{Limits: roomy}
	lend := make([]byte, 64<<10)
	moved := 0
	for len(in) > 0 {
		r.Lend(lend)
		before := len(r.buf)
		n := copy(r.Space(0), in[:min(len(in), 16<<10)])
		if len(r.buf) != before {
			moved += r.Buffered()
		}
		r.Filled(n)
		in = in[n:]
		for {
			args, ok, err := r.Next()
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			if len(args) == 3 && !bytes.Equal(args[2], value) {
				t.Fatal("the value differs")
			}
		}
		r.Reclaim()
	}
	if moved > 2*len(value) {
		t.Errorf("moved %d bytes to read %d", moved, len(value))
	}
	if r.Cap() > 16<<10 {
		t.Errorf("an idle reader holds %d bytes", r.Cap())
	}
}

func TestManyArguments(t *testing.T) {
	t.Parallel()
	const n = 200_000
	in := append([]byte(fmt.Sprintf("*%d\r\n", n)), bytes.Repeat([]byte("$3\r\nabc\r\n"), n)...)
	r := &Reader{Limits: roomy}
	got := 0
	for i, c := range in {
		r.Space(1)[0] = c
		r.Filled(1)
		args, ok, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			got = len(args)
			if i != len(in)-1 {
				t.Fatalf("complete after %d of %d bytes", i+1, len(in))
			}
		}
	}
	if got != n {
		t.Fatalf("%d arguments", got)
	}
}

func TestNoAllocations(t *testing.T) {
	in := bytes.Repeat([]byte("*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000001\r\n$128\r\n"+strings.Repeat("v", 128)+"\r\n"), 16)
	r := &Reader{Limits: roomy}
	lend := make([]byte, 64<<10)
	var w Writer
	allocs := testing.AllocsPerRun(100, func() {
		r.Lend(lend)
		r.Filled(copy(r.Space(0), in))
		w.Buf = w.Buf[:0]
		for {
			args, ok, err := r.Next()
			if err != nil || !ok {
				break
			}
			w.Bulk(args[1])
			w.OK()
			w.Int(int64(len(args)))
			w.Double(0.5)
		}
		r.Reclaim()
	})
	if allocs != 0 {
		t.Errorf("%v allocations for 16 requests", allocs)
	}
}

// sameAhead checks that Ahead says what Next is going to.
func sameAhead(t *testing.T, in []byte) (ahead int) {
	r := &Reader{Limits: roomy}
	r.Filled(copy(r.Space(len(in)), in))
	seen := r.Ahead(nil, 5)
	for i, want := range seen {
		if args, ok, err := r.Next(); err != nil || !ok || len(args) < 2 || string(args[1]) != string(want) {
			t.Errorf("request %d is %q, %v, %v, and was to have %q", i, args, ok, err, want)
		}
	}
	return len(seen)
}

func TestAhead(t *testing.T) {
	const get, set = "*2\r\n$3\r\nGET\r\n$1\r\na\r\n", "*3\r\n$3\r\nSET\r\n$2\r\nbb\r\n$0\r\n\r\n"
	for in, want := range map[string]int{
		"": 0, get: 1, get + set: 2, strings.Repeat(set, 9): 5,
		get + set[:len(set)-1]: 1, "*1\r\n$4\r\nPING\r\n" + get: 0, "GET a\r\n": 0, get + "*10\r\n": 1,
	} {
		if n := sameAhead(t, []byte(in)); n != want {
			t.Errorf("%q: %d requests seen, want %d", in, n, want)
		}
	}
}

func FuzzReader(f *testing.F) {
	for _, in := range hostile {
		f.Add([]byte(in), uint64(1))
	}
	f.Fuzz(func(t *testing.T, in []byte, seed uint64) {
		if len(in) > 1<<20 {
			t.Skip()
		}
		whole, wholeErr := readAll(&Reader{Limits: roomy}, in, nil, func() int { return len(in) })
		random := rand.New(rand.NewPCG(seed, 0))
		r := &Reader{Limits: roomy}
		cut, cutErr := readAll(r, in, make([]byte, 8<<10), func() int { return random.IntN(1 << random.IntN(12)) })
		if errText(wholeErr) != errText(cutErr) || strings.Join(whole, "\n") != strings.Join(cut, "\n") {
			t.Errorf("whole: %q, %v\ncut:   %q, %v", whole, wholeErr, cut, cutErr)
		}
		sameAhead(t, in)
		if limit := 64<<10 + 4*len(in) + 200*len(in); r.Cap() > limit {
			t.Errorf("holds %d bytes after %d", r.Cap(), len(in))
		}
	})
}

func BenchmarkReader(b *testing.B) {
	in := bytes.Repeat([]byte("*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000001\r\n$128\r\n"+strings.Repeat("v", 128)+"\r\n"), 16)
	r := &Reader{Limits: roomy}
	lend := make([]byte, 64<<10)
	b.ReportAllocs()
	for i := 0; i < b.N; i += 16 {
		r.Lend(lend)
		r.Filled(copy(r.Space(0), in))
		for {
			if _, ok, _ := r.Next(); !ok {
				break
			}
		}
		r.Reclaim()
	}
}
