package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/cairndb/cairn/tools/testnode"
)

// TestModelAgainstRedis checks this program's model of what commands do: without
// background syncs, Redis loses nothing by a kill either.
func TestModelAgainstRedis(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := &campaign{node: testnode.StartRedis(t, "--appendfsync", "no"), kills: 3, workers: 3, seed: 1, longest: 150 * time.Millisecond, redis70: true, check: func() error { return nil }, out: &out}
	c.node.Kill()
	if err := c.run(); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
	if n := out.Len(); n == 0 {
		t.Error("nothing was reported")
	}
}

// TestVerifyNoticesLoss: a model that is ahead of the server stands for a lost write.
func TestVerifyNoticesLoss(t *testing.T) {
	t.Parallel()
	n := testnode.StartRedis(t)
	conn, err := n.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	w := newWorker(0, 1)
	w.model["w0:k1"] = "lost"
	if err := w.verify(conn); err == nil {
		t.Error("a lost write was not noticed")
	}
	// Sent but not acknowledged: both states are right.
	w = newWorker(0, 1)
	w.pending = []operation{{apply: set("w0:k1", "a")}, {apply: set("w0:k2", "b")}}
	if _, err := conn.Must("SET", "w0:k1", "a"); err != nil {
		t.Fatal(err)
	}
	if err := w.verify(conn); err != nil || len(w.model) != 1 {
		t.Errorf("%v, model %v", err, w.model)
	}
	// The second without the first is no state that ever was.
	w = newWorker(0, 1)
	w.pending = []operation{{apply: set("w0:k2", "b")}, {apply: set("w0:k1", "a")}}
	if err := w.verify(conn); err == nil {
		t.Error("a hole in the order was not noticed")
	}
}

// TestCairn is the short run of this program at each policy.
func TestCairn(t *testing.T) {
	t.Parallel()
	binary := testnode.Binary(t)
	for _, policy := range []string{"always", "everysec", "no"} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			n := testnode.StartCairn(t, "--appendfsync", policy)
			n.Kill()
			var out bytes.Buffer
			c := &campaign{node: n, kills: 2, workers: 3, seed: 2, longest: 300 * time.Millisecond, check: checkFolder(binary, n.Dir), out: &out}
			if err := c.run(); err != nil {
				t.Errorf("%v\n%s", err, out.String())
			}
		})
	}
}
