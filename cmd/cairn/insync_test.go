package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cairndb/cairn/tools/poll"
	"github.com/cairndb/cairn/tools/testnode"
)

// oneShard is a cluster of one shard: a primary of all slots, and its replicas; and of so many nodes without slots, which only vote.
func oneShard(t *testing.T, n, voters int, args ...string) []*testnode.Node {
	t.Helper()
	nodes := testnode.StartClusterNodes(t, n+voters, append([]string{"--cluster-node-timeout", "1000", "--loglevel", "verbose"}, args...)...)
	ask := func(n *testnode.Node, args ...string) string {
		t.Helper()
		v, err := n.Do(args...)
		if err == nil {
			err = v.Err()
		}
		if err != nil {
			t.Fatalf("%v on port %d: %v", args, n.Port, err)
		}
		return v.Text
	}
	first := ask(nodes[0], "CLUSTER", "MYID")
	for i, node := range nodes[1:] {
		ask(node, "CLUSTER", "MEET", "127.0.0.1", fmt.Sprint(nodes[0].Port))
		if i+1 >= n {
			continue
		}
		poll.Succeeds(t, 30*time.Second, func() error {
			v, err := node.Do("CLUSTER", "REPLICATE", first)
			return errors.Join(err, v.Err())
		})
	}
	ask(nodes[0], "CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	replicated(t, nodes, n-1)
	return nodes
}

// role waits until a node has a role.
func role(t *testing.T, n *testnode.Node, want string, limit time.Duration) {
	t.Helper()
	poll.Succeeds(t, limit, func() error {
		v, err := n.Do("CLUSTER", "NODES")
		if err != nil {
			return err
		}
		for line := range strings.Lines(v.Text) {
			if strings.Contains(line, "myself") && strings.Contains(line, want) {
				return nil
			}
		}
		return fmt.Errorf("port %d is no %s:\n%s", n.Port, want, v.Text)
	})
}

// TestInSyncFailover: with replication-acks a replica that lacks acknowledged writes is not made primary, however long the others are gone.
func TestInSyncFailover(t *testing.T) {
	t.Parallel()
	nodes := oneShard(t, 3, 2, "--replication-acks", "1", "--replication-acks-timeout", "3000")
	a, b, c := nodes[0], nodes[1], nodes[2]
	w := startWriter(t, nodes, "a")
	w.progress(200, 30*time.Second)
	if err := c.Pause(); err != nil {
		t.Fatal(err)
	}
	w.progress(200, 30*time.Second) // without c, which has left the set
	a.Kill()
	b.Kill()
	if err := c.Resume(); err != nil {
		t.Fatal(err)
	}
	// Three of five voters are there, but the only replica that is left lacks the last writes.
	refused := poll.Within(t, "FORCE is refused", 30*time.Second, func() bool {
		v, err := c.Do("CLUSTER", "FAILOVER", "FORCE")
		return err == nil && strings.Contains(v.Text, "may miss writes")
	})
	t.Logf("FORCE is refused after %v", refused)
	if err := b.Launch(); err != nil {
		t.Fatal(err)
	}
	role(t, b, "master", 60*time.Second)
	w.progress(200, 60*time.Second) // c follows b, and is in sync with it
	if err := a.Launch(); err != nil {
		t.Fatal(err)
	}
	replicated(t, nodes, 2)
	w.progress(100, 30*time.Second)
	if lost := w.lost(); lost != 0 {
		t.Errorf("%d of %d acknowledged writes lost", lost, len(w.acked))
	}
	t.Logf("%d writes acknowledged; longest pause %v; errors %v", len(w.acked), w.gap, w.errors)
}

// TestInSyncLosesNothing kills one primary after the other under writers whose writes wait for a replica.
func TestInSyncLosesNothing(t *testing.T) {
	t.Parallel()
	nodes := oneShard(t, 3, 0, "--replication-acks", "1", "--replication-acks-timeout", "3000")
	writers := []*writer{startWriter(t, nodes, "a"), startWriter(t, nodes, "b"), startWriter(t, nodes, "c")}
	for range 3 {
		for _, w := range writers {
			w.progress(100, 60*time.Second)
		}
		old := owner(t, nodes, "a")
		writers[0].mark()
		old.Kill()
		writers[0].progress(50, 60*time.Second)
		t.Logf("writes work again after %v", writers[0].longest())
		if err := old.Launch(); err != nil {
			t.Fatal(err)
		}
		replicated(t, nodes, 2)
	}
	// A manual failover needs no other replica than the old primary to go on.
	for range 1 {
		old := owner(t, nodes, "a")
		next := replicaOf(t, nodes, old)
		writers[0].mark()
		if v, err := next.Do("CLUSTER", "FAILOVER"); err != nil || v.Kind != '+' {
			t.Fatal(v, err)
		}
		role(t, next, "master", 30*time.Second)
		writers[0].progress(100, 30*time.Second)
		t.Logf("longest pause of a hand-over %v", writers[0].longest())
		replicated(t, nodes, 2)
	}
	for _, w := range writers {
		if lost := w.lost(); lost != 0 {
			t.Errorf("%d of %d acknowledged writes lost", lost, len(w.acked))
		}
		t.Logf("%d writes acknowledged; errors %v", len(w.acked), w.errors)
	}
}

// TestTakeoverLosesInSync: what FORCE refuses TAKEOVER does, since an operator says so.
func TestTakeoverLosesInSync(t *testing.T) {
	t.Parallel()
	nodes := oneShard(t, 3, 0, "--replication-acks", "1", "--replication-acks-timeout", "3000")
	a, b, c := nodes[0], nodes[1], nodes[2]
	w := startWriter(t, nodes, "a")
	w.progress(100, 30*time.Second)
	if err := c.Pause(); err != nil {
		t.Fatal(err)
	}
	w.progress(100, 30*time.Second)
	a.Kill()
	b.Kill()
	w.stop()
	if err := c.Resume(); err != nil {
		t.Fatal(err)
	}
	poll.Succeeds(t, 60*time.Second, func() error {
		v, err := c.Do("CLUSTER", "FAILOVER", "TAKEOVER")
		return errors.Join(err, v.Err())
	})
	role(t, c, "master", 30*time.Second)
	for _, n := range []*testnode.Node{a, b} {
		if err := n.Launch(); err != nil {
			t.Fatal(err)
		}
	}
	replicated(t, nodes, 2)
	again := startWriter(t, nodes, "b")
	again.progress(100, 60*time.Second)
	if lost := again.lost(); lost != 0 {
		t.Errorf("%d writes lost that were acknowledged after the takeover", lost)
	}
}

// TestPowerLost restarts a primary as if its machine had lost power: it does not serve what it has, but leaves its place to a replica that
// has everything. When all have lost power the best of them serves.
func TestPowerLost(t *testing.T) {
	t.Parallel()
	nodes := oneShard(t, 3, 0, "--replication-acks", "1", "--replication-acks-timeout", "3000")
	w := startWriter(t, nodes, "a")
	w.progress(200, 30*time.Second)
	w.stop()
	old := owner(t, nodes, "a")
	restart := func(lost ...*testnode.Node) {
		t.Helper()
		for _, n := range nodes {
			n.Kill()
		}
		for _, n := range lost {
			loseBoot(t, n)
		}
		for _, n := range nodes {
			if err := n.Launch(); err != nil {
				t.Fatal(err)
			}
		}
		replicated(t, nodes, 2)
		if lost := w.lost(); lost != 0 {
			t.Errorf("%d of %d acknowledged writes lost", lost, len(w.acked))
		}
	}
	restart(old)
	if owner(t, nodes, "a") == old {
		t.Error("a primary that may have lost the end of its log serves again")
	}
	restart(nodes...)
}

// loseBoot has a node that is stopped find that its machine was started anew.
func loseBoot(t *testing.T, n *testnode.Node) {
	t.Helper()
	path := filepath.Join(n.Dir, "nodes.conf")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, _, ok := strings.Cut(string(b), " boot ")
	if !ok {
		t.Fatalf("%s:\n%s", path, b)
	}
	if err := os.WriteFile(path, []byte(head+" boot earlier\n"), 0o640); err != nil {
		t.Fatal(err)
	}
}
