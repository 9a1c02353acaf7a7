package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cairndb/cairn/tools/poll"
	"github.com/cairndb/cairn/tools/testnode"
)

// manage runs redis-cli --cluster, with an empty line and a yes for its questions.
func manage(t *testing.T, args ...string) string {
	t.Helper()
	out, err := tryManage(t, args...)
	if err != nil {
		t.Fatalf("redis-cli --cluster %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func tryManage(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, testnode.Peer(t, "redis-cli"), append([]string{"--cluster"}, args...)...)
	cmd.Stdin = strings.NewReader("yes\n")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// do sends a command that must not fail.
func do(t *testing.T, n *testnode.Node, args ...string) string {
	t.Helper()
	v, err := n.Do(args...)
	if err == nil {
		err = v.Err()
	}
	if err != nil {
		t.Fatalf("port %d: %q: %v", n.Port, args, err)
	}
	return v.Text
}

func idOf(t *testing.T, n *testnode.Node) string { t.Helper(); return do(t, n, "CLUSTER", "MYID") }

// load writes count keys "<prefix>:<i>" with the value "value <i>" where they belong, through redis-cli's --pipe for each node.
func load(t *testing.T, nodes []*testnode.Node, prefix string, count int) {
	t.Helper()
	w := startWriters(t, nodes, 0, false)
	pipe := w.db.Pipeline()
	ctx := context.Background()
	for i := range count {
		pipe.Set(ctx, fmt.Sprintf("%s:%d", prefix, i), fmt.Sprintf("value %d", i), 0)
		if pipe.Len() == 1000 || i == count-1 {
			if _, err := pipe.Exec(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// verify reads back what load wrote.
func verify(t *testing.T, nodes []*testnode.Node, prefix string, count int) {
	t.Helper()
	w := startWriters(t, nodes, 0, false)
	ctx := context.Background()
	for i := range count {
		got, err := w.db.Get(ctx, fmt.Sprintf("%s:%d", prefix, i)).Result()
		if err != nil || got != fmt.Sprintf("value %d", i) {
			t.Fatalf("%s:%d is %q, %v", prefix, i, got, err)
		}
	}
}

// checked waits until redis-cli finds nothing wrong with the cluster.
func checked(t *testing.T, nodes []*testnode.Node, args ...string) {
	t.Helper()
	poll.Succeeds(t, 30*time.Second, func() error {
		out, err := tryManage(t, append([]string{"check", nodes[0].Addr()}, args...)...)
		if err != nil || !strings.Contains(out, "[OK] All 16384 slots covered") || strings.Contains(out, "[WARNING]") || strings.Contains(out, "[ERR]") {
			return fmt.Errorf("check: %v\n%s", err, out)
		}
		return nil
	})
}

// slotsOf is how many slots a node owns, as it says itself.
func slotsOf(t *testing.T, n *testnode.Node) int {
	t.Helper()
	total := 0
	for _, line := range strings.Split(do(t, n, "CLUSTER", "NODES"), "\n") {
		fields := strings.Fields(line)
		if len(fields) < 8 || !strings.Contains(fields[2], "myself") {
			continue
		}
		for _, r := range fields[8:] {
			first, last, pair := strings.Cut(r, "-")
			a, _ := strconv.Atoi(first)
			b, _ := strconv.Atoi(last)
			if !pair {
				b = a
			}
			if !strings.HasPrefix(r, "[") {
				total += b - a + 1
			}
		}
	}
	return total
}

func keysOf(t *testing.T, n *testnode.Node) int {
	t.Helper()
	v, err := n.Do("DBSIZE")
	if err != nil {
		t.Fatal(err)
	}
	return int(v.Int())
}

// TestReshard moves slots with their keys between nodes while clients write and read.
func TestReshard(t *testing.T) {
	t.Parallel()
	nodes := testnode.StartCluster(t, 3)
	const count, move = 30_000, 200
	load(t, nodes, "key", count)
	clients := startWriters(t, nodes, 8, false)
	before, began := keysOf(t, nodes[0]), time.Now()
	manage(t, "reshard", nodes[2].Addr(), "--cluster-from", idOf(t, nodes[0]), "--cluster-to", idOf(t, nodes[1]), "--cluster-slots", strconv.Itoa(move), "--cluster-yes")
	took := time.Since(began)
	moved := before - keysOf(t, nodes[0])
	written, failed := clients.end()
	t.Logf("%d keys of %d slots in %v: %.0f keys/s, beside %d writes", moved, move, took, float64(moved)/took.Seconds(), written)
	for _, err := range failed {
		t.Error(err)
	}
	if got := slotsOf(t, nodes[1]); got != 5461+move {
		t.Errorf("the target has %d slots", got)
	}
	checked(t, nodes, "--cluster-search-multiple-owners")
	verify(t, nodes, "key", count)
}

// TestGrowAndShrink adds an empty node, gives it slots, takes them away and removes it, while clients write and read.
func TestGrowAndShrink(t *testing.T) {
	t.Parallel()
	nodes := testnode.StartCluster(t, 3)
	added := testnode.StartClusterNodes(t, 1)[0]
	const count = 10_000
	load(t, nodes, "key", count)
	clients := startWriters(t, nodes, 4, false)
	wants(t, "add-node", manage(t, "add-node", added.Addr(), nodes[0].Addr()), "[OK] New node added correctly.")
	all := append(nodes, added)
	if err := testnode.WaitClusterOK(all, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	checked(t, all)
	wants(t, "rebalance without the empty node", manage(t, "rebalance", nodes[0].Addr()), "No rebalancing needed")
	id := idOf(t, added)
	manage(t, "rebalance", nodes[0].Addr(), "--cluster-use-empty-masters", "--cluster-weight", id+"=0.05")
	if got := slotsOf(t, added); got < 250 || got > 290 {
		t.Errorf("the new node has %d slots", got)
	}
	if got := keysOf(t, added); got < count/100 {
		t.Errorf("the new node has %d keys", got)
	}
	checked(t, all, "--cluster-search-multiple-owners")
	wants(t, "info", manage(t, "info", added.Addr()), "4 masters")
	if got := strings.Count(manage(t, "call", added.Addr(), "PING"), "PONG"); got != 4 {
		t.Errorf("call: %d of 4 nodes answered", got)
	}
	if out, err := tryManage(t, "del-node", nodes[0].Addr(), id); err == nil || !strings.Contains(out, "is not empty") {
		t.Errorf("del-node of a node with slots: %v\n%s", err, out)
	}
	manage(t, "rebalance", nodes[0].Addr(), "--cluster-weight", id+"=0")
	if got := slotsOf(t, added); got != 0 {
		t.Errorf("the emptied node has %d slots", got)
	}
	checked(t, all, "--cluster-search-multiple-owners")
	manage(t, "del-node", nodes[0].Addr(), id)
	if err := testnode.WaitClusterOK(nodes, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	_, failed := clients.end()
	for _, err := range failed {
		t.Error(err)
	}
	verify(t, nodes, "key", count)
}
