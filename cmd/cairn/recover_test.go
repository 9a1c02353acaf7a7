package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cairndb/cairn/tools/poll"
	"github.com/cairndb/cairn/tools/testnode"
)

// groupState is how a node sees the group.
func groupState(t *testing.T, n *testnode.Node) map[string]string {
	t.Helper()
	info, err := n.Info("cluster")
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// TestRecover loses three of five voters with their folders, one of each shard. Nothing is served until the group is recovered; then all slots are. The lost ones
// come back with the folders that they had, and join as what the new group says.
func TestRecover(t *testing.T) {
	t.Parallel()
	nodes := sixNodes(t)
	poll.Succeeds(t, 60*time.Second, func() error {
		if v := groupState(t, nodes[0])["cluster_group_voters"]; v != "5" {
			return fmt.Errorf("%s voters", v)
		}
		return nil
	})
	keys := []string{"a", "b", "c", "d", "e", "f", "g"}
	for _, k := range keys {
		w := startWriter(t, nodes, k)
		w.progress(20, 30*time.Second)
		w.stop()
	}
	out := cairn(t, exitFailure, "cluster", "recover", nodes[0].Addr(), "--yes")
	if !strings.Contains(out, "nothing to recover") {
		t.Errorf("a cluster that is whole:\n%s", out)
	}
	if v, err := nodes[0].Do("CLUSTER", "RECOVER"); err != nil || !strings.Contains(v.Text, "nothing to recover") {
		t.Errorf("a node of a cluster that is whole: %v, %v", v, err)
	}

	var lost, left []*testnode.Node
	taken := make(map[*testnode.Node]bool)
	for _, n := range nodes[:3] { // the primaries
		victim := n
		if groupState(t, n)["cluster_group_state"] == "learner" {
			victim = replicaOf(t, nodes, n)
		}
		taken[victim] = true
	}
	for _, n := range nodes {
		if taken[n] {
			lost = append(lost, n)
		} else {
			left = append(left, n)
		}
	}
	for _, n := range lost {
		n.Kill()
		if err := os.Rename(n.Dir, n.Dir+".away"); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range left {
		poll.Succeeds(t, 30*time.Second, func() error {
			for _, k := range keys {
				if v, err := n.Do("SET", k, "x"); err == nil && v.Kind == '+' {
					return fmt.Errorf("port %d takes %s without a majority", n.Port, k)
				}
			}
			return nil
		})
	}
	if out = cairn(t, exitFailure, "cluster", "recover", left[0].Addr()); !strings.Contains(out, "voters   2 of 5 answer") || !strings.Contains(out, "nothing was changed") {
		t.Errorf("without --yes:\n%s", out)
	}
	began := time.Now()
	out = cairn(t, exitOK, "cluster", "recover", left[0].Addr(), "--yes")
	t.Logf("%v\n%s", time.Since(began), out)
	for _, k := range keys {
		w := startWriter(t, left, k)
		w.progress(20, 60*time.Second)
		if n := w.lost(); n != 0 {
			t.Errorf("%d writes lost", n)
		}
	}
	t.Logf("all is written again after %v", time.Since(began))

	for _, n := range lost {
		if err := os.RemoveAll(n.Dir); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(n.Dir+".away", n.Dir); err != nil {
			t.Fatal(err)
		}
		if err := n.Launch(); err != nil {
			t.Fatal(err)
		}
	}
	began = time.Now()
	replicated(t, nodes, 3)
	poll.Succeeds(t, 60*time.Second, func() error {
		for _, n := range nodes {
			s := groupState(t, n)
			if s["cluster_group_generation"] != "1" {
				return errors.New("a node follows the old group")
			}
		}
		return nil
	})
	for _, n := range lost {
		if info, err := n.Info("replication"); err != nil || info["role"] != "slave" {
			t.Errorf("port %d came back as a %s, %v", n.Port, info["role"], err)
		}
	}
	t.Logf("the lost nodes are replicas after %v", time.Since(began))
}
