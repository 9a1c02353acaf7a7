package command

import (
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cairndb/cairn/tools/poll"
	"github.com/cairndb/cairn/tools/testnode"
)

// TestRedisCLI runs stock redis-cli against three processes: it creates a cluster, looks at it, repairs it. Then
// one process is killed and comes back at another port.
func TestRedisCLI(t *testing.T) {
	t.Parallel()
	cli := testnode.Peer(t, "redis-cli")
	nodes := newClusterProcesses(t, 3, "--cluster-node-timeout", "2000")
	run := func(want string, args ...string) {
		t.Helper()
		cmd := osexec.Command(cli, append([]string{"--cluster"}, args...)...)
		cmd.Stdin = strings.NewReader("yes\n") // to its questions
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Fatalf("redis-cli --cluster %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	addrs := []string{nodes[0].Addr(), nodes[1].Addr(), nodes[2].Addr()}
	run("[OK] All 16384 slots covered.", append(append([]string{"create"}, addrs...), "--cluster-replicas", "0", "--cluster-yes")...)
	if err := testnode.WaitClusterOK(nodes, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	// The group that decides over slots forms half a second after all are covered; a change before it may not be among what it adopts.
	for _, n := range nodes {
		poll.Succeeds(t, 20*time.Second, func() error {
			return differs(ask(t, n, "CLUSTER", "INFO"), "cluster_group_voters:3")
		})
	}
	run("[OK] All nodes agree about slots configuration.", "check", addrs[1])
	run("[OK] 0 keys in 3 masters.", "info", addrs[2])
	run(addrs[2]+": PONG", "call", addrs[0], "ping")
	run("3 OK, 0 ERR", "set-timeout", addrs[0], "1500")

	// An open slot, then slots that nobody serves.
	ids := []string{ask(t, nodes[0], "CLUSTER", "MYID"), ask(t, nodes[1], "CLUSTER", "MYID")}
	ask(t, nodes[0], "CLUSTER", "SETSLOT", "5", "MIGRATING", ids[1])
	ask(t, nodes[1], "CLUSTER", "SETSLOT", "5", "IMPORTING", ids[0])
	run("Fixing open slot 5", "fix", addrs[2])
	run("[OK] All 16384 slots covered.", "check", addrs[1])
	ask(t, nodes[0], "CLUSTER", "DELSLOTS", "7", "8")
	for _, n := range nodes {
		poll.Succeeds(t, 10*time.Second, func() error {
			return differs(ask(t, n, "CLUSTER", "INFO"), "cluster_slots_assigned:16382")
		})
	}
	run("Fixing slots coverage", "fix", addrs[1])
	if err := testnode.WaitClusterOK(nodes, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	run("[OK] All 16384 slots covered.", "check", addrs[0])
	killAndMove(t, nodes)
}

// killAndMove kills the last node, waits until the others call it failed, and starts it at another port.
func killAndMove(t *testing.T, nodes []*testnode.Node) {
	t.Helper()
	last := nodes[len(nodes)-1]
	before, id := ask(t, nodes[0], "CLUSTER", "SLOTS"), ask(t, last, "CLUSTER", "MYID")
	last.Kill()
	for _, n := range nodes[:len(nodes)-1] {
		poll.Succeeds(t, 20*time.Second, func() error {
			return differs(ask(t, n, "CLUSTER", "NODES"), "@"+strconv.Itoa(last.Port+10000)+" master,fail ")
		})
	}
	port, err := testnode.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	old := last.Port
	last.Port = port
	if err := last.Start(); err != nil {
		t.Fatal(err)
	}
	if err := testnode.WaitClusterOK(nodes, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	want := strings.ReplaceAll(before, strconv.Itoa(old), strconv.Itoa(port))
	for _, n := range nodes {
		poll.Succeeds(t, 10*time.Second, func() error {
			return differs(ask(t, n, "CLUSTER", "SLOTS"), want)
		})
	}
	if got := ask(t, last, "CLUSTER", "MYID"); got != id {
		t.Errorf("%s has become %s", id, got)
	}
}

// newClusterProcesses starts nodes with a configuration file each, so that CONFIG REWRITE works.
func newClusterProcesses(t *testing.T, n int, args ...string) []*testnode.Node {
	t.Helper()
	dir := t.TempDir()
	nodes := make([]*testnode.Node, n)
	for i := range nodes {
		file := filepath.Join(dir, fmt.Sprintf("%d.conf", i))
		if err := os.WriteFile(file, []byte("cluster-enabled yes\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		o := testnode.CairnOptions(testnode.Binary(t), filepath.Join(dir, strconv.Itoa(i)), args...)
		o.Command = append(o.Command, file)
		node, err := testnode.New(o)
		if err != nil {
			t.Fatal(err)
		}
		testnode.Register(t, node)
		if err := node.Start(); err != nil {
			t.Fatal(err)
		}
		nodes[i] = node
	}
	return nodes
}

// ask sends a command and returns the reply's text.
func ask(t *testing.T, n *testnode.Node, args ...string) string {
	t.Helper()
	v, err := n.Do(args...)
	if err == nil {
		err = v.Err()
	}
	if err != nil {
		t.Fatalf("port %d: %q: %v", n.Port, args, err)
	}
	if v.Elems != nil {
		return v.String()
	}
	return v.Text
}

func differs(text, want string) error {
	if !strings.Contains(text, want) {
		return fmt.Errorf("no %q in:\n%s", want, text)
	}
	return nil
}
