package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cairndb/cairn/tools/poll"
	"github.com/cairndb/cairn/tools/testnode"
	"github.com/cairndb/cairn/tools/wire"
)

// givingUp is a node that gives slots up while another client writes to them.
type givingUp struct {
	t             *testing.T
	node          *testnode.Node
	admin, writer *wire.Conn
}

// race sends a command, and then, after some more round trips, writes to a key. It returns whether the node gave the slot up, and that it has no key if so.
func (g *givingUp) race(key string, trips int, command ...string) (gone bool) {
	t := g.t
	t.Helper()
	_ = g.admin.Send(command...)
	if err := g.admin.Flush(); err != nil {
		t.Fatal(err)
	}
	for range trips {
		_, _ = g.writer.Do("PING")
	}
	written := 0
	for range 20 {
		v, err := g.writer.Do("SET", key, "v")
		if err != nil {
			t.Fatal(err)
		}
		if v.IsError() {
			break
		}
		written++
	}
	v, err := g.admin.Receive()
	if err != nil {
		t.Fatal(err)
	}
	if left := keysOf(t, g.node); !v.IsError() && left > 0 {
		t.Errorf("%q: %s, but %d keys are left after %d writes", command, v, left, written)
	}
	do(t, g.node, "FLUSHALL")
	return !v.IsError()
}

// TestGiveUpWhileWriting: a node that gives slots up which are marked by nobody leaves no key behind that was written meanwhile.
func TestGiveUpWhileWriting(t *testing.T) {
	t.Parallel()
	nodes := testnode.StartCluster(t, 3)
	g := &givingUp{t: t, node: nodes[0]}
	for _, c := range []**wire.Conn{&g.admin, &g.writer} {
		conn, err := g.node.Dial()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		*c = conn
	}
	poll.Within(t, "the group is there", time.Minute, func() bool { return strings.Contains(do(t, g.node, "CLUSTER", "INFO"), "cluster_group_leader:") })
	to, given := idOf(t, nodes[1]), 0
	for slot := range uint16(60) {
		if g.race(tagIn(slot), int(slot%6), "CLUSTER", "SETSLOT", fmt.Sprint(slot), "NODE", to) {
			given++
		}
	}
	t.Logf("%d slots were given away", given)
	poll.Until(t, "all slots are given up", func() bool { return g.race(tagIn(100), 2, "CLUSTER", "FLUSHSLOTS") })
}

// TestMixedTransaction: no transaction waits for other nodes while it keeps others from its keys.
func TestMixedTransaction(t *testing.T) {
	t.Parallel()
	n := testnode.StartCairn(t, "--cluster-enabled", "yes")
	do(t, n, "CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	poll.Within(t, "the node serves", time.Minute, func() bool { return strings.Contains(do(t, n, "CLUSTER", "INFO"), "cluster_state:ok") })
	conn, err := n.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	run := func(watch bool, queue ...[]string) string {
		t.Helper()
		if watch {
			_, _ = conn.Do("WATCH", "k")
		}
		_, _ = conn.Do("MULTI")
		for _, args := range queue {
			if v, err := conn.Do(args...); err != nil || v.String() != "+QUEUED" {
				t.Fatalf("%q: %v, %v", args, v, err)
			}
		}
		v, err := conn.Do("EXEC")
		if err != nil {
			t.Fatal(err)
		}
		return v.String()
	}
	del, add := []string{"CLUSTER", "DELSLOTS", "7"}, []string{"CLUSTER", "ADDSLOTS", "7"}
	for _, got := range []string{
		run(false, []string{"SET", "k", "v"}, del), run(true, del), run(false, []string{"FLUSHALL"}, []string{"CLUSTER", "FORGET", strings.Repeat("0", 40)}),
	} {
		if !strings.HasPrefix(got, "-EXECABORT") || !strings.Contains(got, "wait for other nodes") {
			t.Errorf("got %s", got)
		}
	}
	if got := run(false, del, add); got != "*[+OK +OK]" {
		t.Errorf("got %s", got)
	}
	if n := keysOf(t, n); n != 0 {
		t.Errorf("%d keys", n)
	}
}
