package testnode

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Slots is the number of hash slots of a cluster.
const Slots = 16384

// StartCluster starts n cairn nodes in cluster mode, divides the slots among them in order and waits until every node reports the cluster as ok.
func StartCluster(t testing.TB, n int, args ...string) []*Node {
	t.Helper()
	nodes := StartClusterNodes(t, n, args...)
	if err := FormCluster(nodes, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	return nodes
}

// StartClusterNodes starts n cairn nodes in cluster mode that do not know each other and own no slots.
func StartClusterNodes(t testing.TB, n int, args ...string) []*Node {
	t.Helper()
	dir := t.TempDir()
	args = append([]string{"--cluster-enabled", "yes"}, args...)
	nodes := make([]*Node, n)
	for i := range nodes {
		nodes[i] = start(t, CairnOptions(Binary(t), filepath.Join(dir, fmt.Sprintf("node%d", i)), args...))
	}
	return nodes
}

// FormCluster divides the slots among the nodes in order, introduces them to each other and waits for cluster_state:ok on each.
func FormCluster(nodes []*Node, timeout time.Duration) error {
	for i, n := range nodes {
		first, last := i*Slots/len(nodes), (i+1)*Slots/len(nodes)-1
		steps := [][]string{
			{"CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(first), strconv.Itoa(last)},
			{"CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i + 1)},
		}
		if i > 0 {
			steps = append(steps, []string{"CLUSTER", "MEET", nodes[0].Host(), strconv.Itoa(nodes[0].Port)})
		}
		for _, step := range steps {
			v, err := n.Do(step...)
			if err == nil {
				err = v.Err()
			}
			if err != nil {
				return fmt.Errorf("%s on port %d: %w", strings.Join(step[:2], " "), n.Port, err)
			}
		}
	}
	return WaitClusterOK(nodes, timeout)
}

// WaitClusterOK waits until each node reports cluster_state:ok and knows all the others.
func WaitClusterOK(nodes []*Node, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	want := []string{"cluster_state:ok\r\n", fmt.Sprintf("cluster_known_nodes:%d\r\n", len(nodes))}
	for _, n := range nodes {
		var last string
		err := poll(ctx, 20*time.Millisecond, func() (bool, error) {
			v, err := n.Do("CLUSTER", "INFO")
			last = v.Text
			return err == nil && strings.Contains(last, want[0]) && strings.Contains(last, want[1]), nil
		})
		if err != nil {
			return fmt.Errorf("port %d: cluster not ok within %v:\n%s\n%s", n.Port, timeout, last, n.LogTail(2000))
		}
	}
	return nil
}
