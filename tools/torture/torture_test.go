package main

import (
	"bytes"
	"context"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/cairndb/cairn/tools/testnode"
)

// short names the environment variable that lets the short run take place where peers are not required.
const short = "CAIRN_TORTURE"

// TestTorture is the short run. It wants the machine, so it takes place only where everything is to be tested.
func TestTorture(t *testing.T) {
	t.Parallel()
	if os.Getenv(short) == "" && os.Getenv(testnode.RequirePeers) != "1" {
		t.Skipf("%s=1 runs it", short)
	}
	var out bytes.Buffer
	c := &campaign{
		seed: 1, duration: 40 * time.Second, workers: 8, pace: 20 * time.Millisecond, out: &out,
		fleet: fleetOptions{binary: testnode.Binary(t), dir: t.TempDir(), shards: 3, replicas: 1, acks: 1, timeout: time.Second, networked: true, limits: true},
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	err := c.run(ctx)
	t.Logf("%s", out.String())
	if err != nil {
		t.Errorf("%v", err)
	}
	if c.checked < liveObjects {
		t.Errorf("only %d histories were checked", c.checked)
	}
}

// step is an operation of a made-up history.
type step struct {
	call, end int64 // end 0: unknown
	op        operation
	out       string
	by        string
}

func history(k kind, steps ...step) *object {
	o := &object{kind: k, name: "made-up"}
	for i, s := range steps {
		p := porcupine.Operation{ClientId: i, Input: s.op, Call: s.call, Output: observed{s.end > 0, s.out}, Return: s.end, Metadata: s.by}
		if s.end == 0 {
			p.Return = math.MaxInt64
		}
		o.history = append(o.history, p)
	}
	return o
}

func get() operation                                    { return operation{action: read} }
func put(value string) operation                        { return operation{write, value} }
func partOf(value string) operation                     { return operation{part, value} }
func remove() operation                                 { return operation{action: take} }
func one(steps ...step) []step                          { return steps }
func at(call, end int64, op operation, out string) step { return step{call, end, op, out, "a"} }

// TestChecker gives the checker histories that are right and some that are not.
func TestChecker(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		kind  kind
		steps []step
		right bool
	}{
		{"a lost write", register, one(at(1, 2, put("x"), "OK"), at(3, 4, put("y"), "OK"), at(5, 6, get(), "x")), false},
		{"a stale read", register, one(at(1, 2, put("x"), "OK"), at(3, 4, get(), "")), false},
		{"a read beside a write", register, one(at(1, 9, put("x"), "OK"), at(3, 4, get(), ""), at(5, 6, get(), "x")), true},
		{"an unknown write that comes late", register, one(at(1, 0, put("x"), ""), at(2, 3, get(), ""), at(4, 5, get(), "x")), true},
		{"an unknown write that goes again", register, one(at(1, 0, put("x"), ""), at(2, 3, get(), "x"), at(4, 5, get(), "")), false},
		{"counted twice", counter, one(at(1, 2, put(""), "1"), at(3, 4, get(), "2")), false},
		{"counted, unknown", counter, one(at(1, 2, put(""), "1"), at(1, 0, put(""), ""), at(3, 4, get(), "2")), true},
		{"a lost count", counter, one(at(1, 2, put(""), "1"), at(3, 4, put(""), "1")), false},
		{"appended twice", list, one(at(1, 2, put("a;"), "2"), at(3, 4, get(), "a;a;")), false},
		{"appended", list, one(at(1, 2, put("a;"), "2"), at(1, 3, put("b;"), "4"), at(4, 5, get(), "a;b;")), true},
		{"half a transaction", group, one(at(1, 2, put("x"), "1"), at(1, 0, put("y"), ""), at(3, 4, get(), "y,x,1")), false},
		{"a whole transaction and a part", group, one(at(1, 2, put("x"), "1"), at(3, 4, partOf("y"), "OK"), at(5, 6, get(), "y,x,1")), true},
		{"taken twice", queue, one(at(1, 2, put("a"), "1"), at(3, 4, remove(), "a"), at(5, 6, remove(), "a")), false},
		{"taken in the wrong order", queue, one(at(1, 2, put("a"), "1"), at(3, 4, put("b"), "2"), at(5, 6, remove(), "b")), false},
		{"taken, unknown", queue, one(at(1, 2, put("a"), "1"), at(3, 0, remove(), ""), at(4, 5, get(), "a"), at(6, 7, get(), "")), true},
		{"a lost field", hash, one(at(1, 2, put("a"), "1"), at(3, 4, partOf(""), "1"), at(5, 6, get(), ",,,1")), false},
		{"fields", hash, one(at(1, 2, put("a"), "1"), at(3, 4, partOf(""), "1"), at(5, 6, get(), ",a,,1")), true},
		{"any is taken", bag, one(at(1, 2, put("a"), "1"), at(3, 4, put("b"), "1"), at(5, 6, remove(), "a"), at(7, 8, get(), "b")), true},
		{"any is taken, unknown", bag, one(at(1, 2, put("a"), "1"), at(3, 4, put("b"), "1"), at(5, 0, remove(), ""), at(7, 8, get(), "b")), true},
		{"a member comes back", bag, one(at(1, 2, put("a"), "1"), at(3, 4, remove(), "a"), at(5, 6, get(), "a")), false},
		{"the first is taken", ranks, one(at(1, 2, put("2"), "1"), at(3, 4, put("1"), "1"), at(5, 6, remove(), "2")), false},
		{"an estimate", sketch, one(at(1, 2, put("a"), "1"), at(3, 4, get(), "1")), true},
		{"no estimate", sketch, one(at(1, 2, put("a"), "1"), at(3, 4, get(), "9")), false},
		{"given out once", events, one(at(1, 2, put("a"), "1-1"), at(3, 4, partOf(""), "OK"), at(5, 6, remove(), "a"), at(7, 8, remove(), "")), true},
		{"given out twice", events, one(at(1, 2, put("a"), "1-1"), at(3, 4, partOf(""), "OK"), at(5, 6, remove(), "a"), at(7, 8, remove(), "a")), false},
		{"a lost group", events, one(at(1, 2, put("a"), "1-1"), at(3, 4, partOf(""), "OK"), at(5, 6, remove(), "NOGROUP")), false},
	} {
		if got := history(test.kind, test.steps...).check(); (got == porcupine.Ok) != test.right {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

// TestWeakChecker does the same for what is promised without acknowledgements by replicas.
func TestWeakChecker(t *testing.T) {
	t.Parallel()
	begin := time.Unix(0, 0)
	tenures := []tenure{{"a", 1, begin, begin.Add(100)}, {"b", 2, begin.Add(200), time.Time{}}}
	on := func(node string, s step) step { s.by = node; return s }
	for _, test := range []struct {
		name  string
		kind  kind
		steps []step
		wrong string
	}{
		{"lost by a failover", register, one(at(1, 2, put("x"), "OK"), at(3, 4, put("y"), "OK"), on("b", at(205, 206, get(), "x"))), ""},
		{"lost without one", register, one(at(1, 2, put("x"), "OK"), at(3, 4, put("y"), "OK"), at(5, 6, get(), "x")), "not linearizable"},
		{"never written", register, one(at(1, 2, put("x"), "OK"), at(5, 6, get(), "z")), "nobody had written"},
		{"counted too much", counter, one(at(1, 2, put(""), "1"), on("b", at(205, 206, get(), "2"))), "nobody had written"},
		{"a count goes back", counter, one(at(1, 2, put(""), "1"), at(3, 4, put(""), "2"), on("b", at(205, 206, put(""), "2")), on("b", at(207, 208, get(), "2"))), ""},
		{"two primaries", register, one(on("b", at(205, 206, put("x"), "OK")), on("a", at(207, 208, put("y"), "OK"))), "in the time of b"},
		{"a write over the end of a time", list, one(at(90, 110, put("x;"), "2"), at(92, 94, get(), "x;")), ""},
		{"appended twice", list, one(at(1, 2, put("x;"), "2"), on("b", at(205, 206, get(), "x;x;"))), "nobody had written"},
	} {
		got := history(test.kind, test.steps...).checkWeakly(tenures, begin)
		if got == "" != (test.wrong == "") || !strings.Contains(got, test.wrong) {
			t.Errorf("%s: %q", test.name, got)
		}
	}
}
