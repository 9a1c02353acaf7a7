package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cairndb/cairn/tools/poll"
	"github.com/cairndb/cairn/tools/testnode"
)

// TestLostData: a primary whose store was deleted, but not its nodes.conf, serves nothing when it comes back with its replicas. One of these takes its place, and
// it gets its data back from that one.
func TestLostData(t *testing.T) {
	t.Parallel()
	nodes := oneShard(t, 3, 0)
	w := startWriter(t, nodes, "a")
	w.progress(200, 30*time.Second)
	w.stop()
	old := owner(t, nodes, "a")
	poll.Succeeds(t, 30*time.Second, func() error {
		ends := make(map[string]bool)
		for _, n := range nodes {
			info, err := n.Info("replication")
			if err != nil {
				return err
			}
			ends[info["master_repl_offset"]] = true
		}
		if len(ends) != 1 {
			return fmt.Errorf("the replicas are not there yet: %v", ends)
		}
		return nil
	})
	for _, n := range nodes {
		n.Kill()
	}
	loseStore(t, old)
	if err := old.Launch(); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		if n != old {
			if err := n.Launch(); err != nil {
				t.Fatal(err)
			}
		}
	}
	replicated(t, nodes, 2)
	if owner(t, nodes, "a") == old {
		t.Error("a primary without data serves again")
	}
	if lost := w.lost(); lost != 0 {
		t.Errorf("%d of %d acknowledged writes lost", lost, len(w.acked))
	}
}

// loseStore deletes the data of a node, but neither its nodes.conf nor its part in the group.
func loseStore(t *testing.T, n *testnode.Node) {
	t.Helper()
	for _, name := range []string{"CAIRN", "LOCK", "ballast", "log", "store"} {
		if err := os.RemoveAll(filepath.Join(n.Dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}
