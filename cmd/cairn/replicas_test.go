package main

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/cairndb/cairn/tools/testnode"
)

// sixNodes is a cluster of three primaries with a replica each, made by redis-cli.
func sixNodes(t *testing.T, args ...string) []*testnode.Node {
	t.Helper()
	cli := testnode.Peer(t, "redis-cli")
	nodes := testnode.StartClusterNodes(t, 6, append([]string{"--cluster-node-timeout", "1000"}, args...)...)
	create := []string{"--cluster", "create"}
	for _, n := range nodes {
		create = append(create, n.Addr())
	}
	create = append(create, "--cluster-replicas", "1", "--cluster-yes")
	if out, err := exec.CommandContext(t.Context(), cli, create...).CombinedOutput(); err != nil || strings.Contains(string(out), "[ERR]") {
		t.Fatalf("%v\n%s", err, out)
	}
	replicated(t, nodes, 3)
	return nodes
}

// replicated waits until all nodes agree that all is well, with so many replicas that are up to date.
func replicated(t *testing.T, nodes []*testnode.Node, replicas int) {
	t.Helper()
	if err := testnode.WaitClusterOK(nodes, 60*time.Second); err != nil {
		t.Fatal(err)
	}
	testnode.Eventually(t, 60*time.Second, func() error {
		up := 0
		for _, n := range nodes {
			info, err := n.Info("replication")
			if err != nil {
				return err
			}
			if info["role"] == "slave" && info["master_link_status"] == "up" {
				up++
			}
			v, err := n.Do("CLUSTER", "INFO")
			if err != nil || !strings.Contains(v.Text, "cluster_group_state:") {
				return fmt.Errorf("port %d has no group: %v", n.Port, err)
			}
		}
		if up != replicas {
			return fmt.Errorf("%d replicas are up", up)
		}
		return nil
	})
}

// TestReplicasByRedisCLI makes a cluster with replicas as an operator does, and looks at it as clients do.
func TestReplicasByRedisCLI(t *testing.T) {
	t.Parallel()
	nodes := sixNodes(t)
	out, err := exec.CommandContext(t.Context(), testnode.Peer(t, "redis-cli"), "--cluster", "check", nodes[0].Addr()).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "[OK] All 16384 slots covered") || strings.Count(string(out), "\nS: ") != 3 {
		t.Fatalf("%v\n%s", err, out)
	}
}
