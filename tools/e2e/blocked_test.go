package e2e

import (
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/cairndb/cairn/tools/poll"
	"github.com/cairndb/cairn/tools/testnode"
	"github.com/cairndb/cairn/tools/wire"
)

// waiters are connections that wait for keys of a slot, with all kinds of commands.
type waiters struct {
	slot  int
	conns []*wire.Conn
}

// startWaiters starts them on a node where some wait already.
func startWaiters(t *testing.T, n *testnode.Node, slot, already int) (w waiters) {
	t.Helper()
	tag := tagIn(uint16(slot))
	w.slot = slot
	for _, args := range [][]string{
		{"BLPOP", tag + "list", "0"},
		{"BLMOVE", tag + "list", tag + "other", "LEFT", "RIGHT", "0"},
		{"BZPOPMIN", tag + "zset", "0"},
		{"XREAD", "BLOCK", "0", "STREAMS", tag + "stream", "$"},
	} {
		c, err := n.Dial()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.Timeout = 2 * time.Minute
		if err := errors.Join(c.Send(args...), c.Flush()); err != nil {
			t.Fatal(err)
		}
		w.conns = append(w.conns, c)
	}
	awaitBlocked(t, n, already+len(w.conns))
	return w
}

func awaitBlocked(t *testing.T, n *testnode.Node, count int) {
	t.Helper()
	poll.Within(t, fmt.Sprint(count, " connections wait"), time.Minute, func() bool {
		info, err := n.Info("clients")
		return err == nil && info["blocked_clients"] == strconv.Itoa(count)
	})
}

// areSentTo wants all of them told who has the slot now.
func (w *waiters) areSentTo(t *testing.T, n *testnode.Node) {
	t.Helper()
	want := fmt.Sprintf("MOVED %d %s", w.slot, n.Addr())
	for i, c := range w.conns {
		if v, err := c.Receive(); err != nil || v.Text != want {
			t.Errorf("connection %d got %v, %v, want %s", i, v, err, want)
		}
	}
}

// Who waits for a key is sent on when its slot moves, by either protocol, or the primary gives its place to its replica; and waits on when neither concerns it.
func TestBlockedAreSentOn(t *testing.T) {
	t.Parallel()
	nodes := startShards(t)
	a, b := nodes[0], nodes[1]
	first := firstSlot(t, a)
	stay := startWaiters(t, a, first+1, 0)

	gone := startWaiters(t, a, first, len(stay.conns))
	moveSlots(t, a, b, first, first)
	gone.areSentTo(t, b)
	awaitBlocked(t, a, len(stay.conns))

	back := startWaiters(t, b, first, 0)
	manage(t, "reshard", a.Addr(), "--cluster-from", idOf(t, b), "--cluster-to", idOf(t, a), "--cluster-slots", "1", "--cluster-yes")
	back.areSentTo(t, a)
	awaitBlocked(t, b, 0)

	next := replicaOf(t, nodes, a)
	failOver(t, nodes, a, false)
	stay.areSentTo(t, next)
	awaitBlocked(t, a, 0)
}
