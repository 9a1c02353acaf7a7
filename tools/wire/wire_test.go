package wire

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
)

func TestReadValue(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"+OK\r\n":                                "+OK",
		"-ERR no\r\n":                            "-ERR no",
		":-7\r\n":                                ":-7",
		"$3\r\na\r\n\r\n":                        `$"a\r\n"`,
		"$-1\r\n":                                "$null",
		"*-1\r\n":                                "*null",
		"_\r\n":                                  "_null",
		"*2\r\n:1\r\n*0\r\n":                     "*[:1 *[]]",
		"%1\r\n+k\r\n,1.5\r\n":                   "%[+k ,1.5]",
		"~2\r\n#t\r\n(123\r\n":                   "~[#t (123]",
		"=5\r\ntxt:a\r\n":                        `="txt:a"`,
		"+\r\n":                                  "+",
		"?\r\n":                                  "error",
		"$3\r\nabcd\r\n":                         "error",
		"$-5\r\n":                                "error",
		"+no\n":                                  "error",
		strings.Repeat("*1\r\n", 100) + ":1\r\n": "error",
	} {
		v, err := ReadValue(bufio.NewReader(strings.NewReader(in)))
		got := v.String()
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}

func TestSortedAndEqual(t *testing.T) {
	t.Parallel()
	num := func(s string) Value { return Value{Kind: ':', Text: s} }
	a := Value{Kind: '*', Elems: []Value{num("2"), num("1")}}
	b := Value{Kind: '*', Elems: []Value{num("1"), num("2")}}
	if a.Equal(b) || !a.Sorted().Equal(b) {
		t.Errorf("got %s sorted to %s, want %s", a, a.Sorted(), b)
	}
	m := Value{Kind: '%', Elems: []Value{num("2"), num("x"), num("1"), num("y")}}
	if got := m.Sorted().String(); got != "%[:1 :y :2 :x]" {
		t.Errorf("sorted map %s", got)
	}
}

// A peer's word on a length is not taken for it.
func TestBounds(t *testing.T) {
	t.Parallel()
	for _, reply := range []string{"$536870913\r\n", "$9223372036854775807\r\n", "*9223372036854775807\r\n", "%4611686018427387905\r\n"} {
		if _, err := ReadValue(bufio.NewReader(strings.NewReader(reply))); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%q: %v", reply, err)
		}
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := ReadValue(bufio.NewReader(strings.NewReader("$536870912\r\nshort"))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	if runtime.ReadMemStats(&after); after.TotalAlloc-before.TotalAlloc > 16<<20 {
		t.Errorf("%d bytes for a reply of five", after.TotalAlloc-before.TotalAlloc)
	}
	long := strings.Repeat("0123456789", 300_000)
	v, err := ReadValue(bufio.NewReader(strings.NewReader(fmt.Sprintf("$%d\r\n%s\r\n", len(long), long))))
	if err != nil || v.Text != long {
		t.Errorf("%d of %d bytes, %v", len(v.Text), len(long), err)
	}
}
