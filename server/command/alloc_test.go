package command

import (
	"testing"

	"github.com/cairndb/cairn/engine/keys"
)

// TestHotPathAllocatesNothing guards the way of the commands that are most of the load: from the name to the rendered reply.
func TestHotPathAllocatesNothing(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	c := connect(t, startNode(t))
	c.expect("+OK", "SET", "k", "hello")
	c.expect("+OK", "SET", "n", "1")
	for _, words := range [][]string{{"GET", "k"}, {"get", "nosuch"}, {"SET", "k", "hello"}, {"SET", "k", "hello", "EX", "100", "XX"}, {"INCR", "n"}, {"EXISTS", "k"}, {"MGET", "k", "n"}} {
		args := make([][]byte, len(words))
		for i, w := range words {
			args[i] = []byte(w)
		}
		var idx []int
		ctx := &Ctx{Session: c.s, Node: c.n, Args: args, Txn: c.x}
		run := func() {
			c.s.Out.Buf = c.s.Out.Buf[:0]
			ctx.Cmd, _ = Lookup(args)
			idx, _ = ctx.Cmd.KeysOf(idx[:0], args)
			for _, i := range idx {
				if !c.x.TryLock(keys.Slot(args[i]), true) {
					t.Fatal("a free lock is not given")
				}
			}
			ctx.Cmd.Run(ctx)
			c.x.EndCommand()
			c.x.Discard()
		}
		if n := testing.AllocsPerRun(1000, run); n >= 1 {
			t.Errorf("%q: %v allocations", words, n)
		}
		if c.s.Out.Buf[0] == '-' {
			t.Errorf("%q: %s", words, c.s.Out.Buf)
		}
	}
}
