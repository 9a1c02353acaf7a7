package main

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cairndb/cairn/tools/poll"
	"github.com/cairndb/cairn/tools/testnode"
)

// TestReplicaMigration kills the only replica of a primary: one of another primary's two moves there, and takes over when the primary is killed, too.
func TestReplicaMigration(t *testing.T) {
	t.Parallel()
	nodes := sixNodes(t)
	rich, poor := owner(t, nodes, "a"), owner(t, nodes, "b")
	if rich == poor {
		t.Fatal("both keys are in one shard")
	}
	fresh := testnode.StartClusterNodes(t, 1, "--cluster-node-timeout", "1000", "--loglevel", "verbose")[0]
	id, err := rich.Do("CLUSTER", "MYID")
	if err != nil {
		t.Fatal(err)
	}
	if v, err := fresh.Do("CLUSTER", "MEET", "127.0.0.1", fmt.Sprint(rich.Port)); err != nil || v.IsError() {
		t.Fatal(v, err)
	}
	poll.Succeeds(t, 60*time.Second, func() error {
		v, err := fresh.Do("CLUSTER", "REPLICATE", id.Text)
		return errors.Join(err, v.Err())
	})
	all := append(slices.Clone(nodes), fresh)
	replicated(t, all, 4)
	w := startWriter(t, all, "b")
	w.progress(100, 30*time.Second)
	lost := replicaOf(t, nodes, poor)
	lost.Kill()
	began := time.Now()
	left := slices.DeleteFunc(slices.Clone(all), func(n *testnode.Node) bool { return n == lost })
	poll.Succeeds(t, 60*time.Second, func() error {
		of := map[string]int{}
		for _, n := range left {
			info, err := n.Info("replication")
			if err != nil {
				return err
			}
			if info["role"] == "slave" && info["master_link_status"] == "up" {
				of[info["master_port"]]++
			}
		}
		if of[fmt.Sprint(rich.Port)] != 1 || of[fmt.Sprint(poor.Port)] != 1 {
			return fmt.Errorf("replicas by primary: %v", of)
		}
		return nil
	})
	t.Logf("a replica has moved after %v", time.Since(began))
	w.progress(100, 30*time.Second)
	poor.Kill()
	w.progress(100, 60*time.Second)
	if n := w.lost(); n > len(w.acked)/2 {
		t.Errorf("%d of %d acknowledged writes lost", n, len(w.acked))
	}
}
