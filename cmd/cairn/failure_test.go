package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairndb/cairn/tools/poll"
	"github.com/cairndb/cairn/tools/testnode"
	"github.com/cairndb/cairn/tools/wire"
)

// sight is how one node sees another in CLUSTER NODES.
type sight struct {
	conn *wire.Conn
	id   string
}

func sightOf(t *testing.T, from, of *testnode.Node) sight {
	t.Helper()
	conn, err := from.Dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return sight{conn, do(t, of.Port, "CLUSTER", "MYID").Text}
}

// after polls until the node has one of the flags, and says how long that took since begin.
func (s sight) after(t *testing.T, begin time.Time, flags ...string) time.Duration {
	t.Helper()
	poll.Succeeds(t, 30*time.Second, func() error {
		v, err := s.conn.Do("CLUSTER", "NODES")
		if err != nil {
			return err
		}
		for line := range strings.Lines(v.Text) {
			fields := strings.Fields(line)
			if fields[0] == s.id && slices.ContainsFunc(flags, func(flag string) bool { return strings.HasSuffix(fields[2], ","+flag) }) {
				return nil
			}
		}
		return fmt.Errorf("no %s in:\n%s", strings.Join(flags, ", "), v.Text)
	})
	return time.Since(begin)
}

// TestFailureDetection: a killed node is suspected at once, a frozen one after the node timeout; both have failed soon after it. That
// one is suspected shows as fail? only until the nodes agree, and not at all when the others were first to suspect it.
func TestFailureDetection(t *testing.T) {
	t.Parallel()
	const timeout, late = time.Second, 3 * time.Second // late: other tests want the processor, too
	nodes := testnode.StartCluster(t, 3, "--cluster-node-timeout", "1000")
	seen := sightOf(t, nodes[0], nodes[2])

	begin := time.Now()
	if err := nodes[2].Pause(); err != nil {
		t.Fatal(err)
	}
	suspected, failed := seen.after(t, begin, "fail?", "fail"), seen.after(t, begin, "fail")
	t.Logf("frozen: fail? after %v, fail after %v", suspected, failed)
	if suspected < timeout*3/4 || failed > timeout+late {
		t.Errorf("a frozen node: fail? after %v, fail after %v", suspected, failed)
	}
	if err := nodes[2].Resume(); err != nil {
		t.Fatal(err)
	}
	if err := testnode.WaitClusterOK(nodes, 30*time.Second); err != nil {
		t.Fatal(err)
	}

	begin = time.Now()
	nodes[2].Kill()
	suspected = seen.after(t, begin, "fail?", "fail")
	failed = seen.after(t, begin, "fail")
	t.Logf("killed: fail? after %v, fail after %v", suspected, failed)
	if suspected > timeout*3/4 || failed < timeout*3/4 || failed > timeout+late {
		t.Errorf("a killed node: fail? after %v, fail after %v", suspected, failed)
	}
}

// TestCopiedDataFolder starts a copy of a node's folder on another port: the copy serves nothing and the cluster goes on.
func TestCopiedDataFolder(t *testing.T) {
	t.Parallel()
	nodes := testnode.StartCluster(t, 3)
	if v := do(t, nodes[0].Port, "CLUSTER", "SAVECONFIG"); v.Text != "OK" {
		t.Fatal(v)
	}
	dir := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(dir, os.DirFS(nodes[0].Dir)); err != nil {
		t.Fatal(err)
	}
	twin, err := testnode.New(testnode.CairnOptions(testnode.Binary(t), dir, "--cluster-enabled", "yes", "--cluster-allow-reads-when-down", "yes"))
	if err != nil {
		t.Fatal(err)
	}
	testnode.Register(t, twin)
	if err := twin.Start(); err != nil {
		t.Fatal(err)
	}
	const loud = "ANOTHER PROCESS RUNS WITH THIS NODE'S ID"
	poll.Succeeds(t, 20*time.Second, func() error {
		if log := twin.Log(); !strings.Contains(log, loud) {
			return fmt.Errorf("the log of the copy does not say it:\n%s", log)
		}
		return nil
	})
	const key = "{06S}" // slot 0
	for _, command := range [][]string{{"SET", key, "v"}, {"GET", key}} {
		if v := do(t, twin.Port, command...); !strings.HasPrefix(v.Text, "CLUSTERDOWN") {
			t.Errorf("the copy answers %v to %v", v, command)
		}
	}
	if v := do(t, nodes[0].Port, "SET", key, "v"); v.Text != "OK" {
		t.Errorf("the original answers %v", v)
	}
	poll.Succeeds(t, 20*time.Second, func() error {
		if v := do(t, twin.Port, "CLUSTER", "INFO"); strings.Contains(v.Text, "cluster_group_state:") {
			return fmt.Errorf("the copy votes:\n%s", v.Text)
		}
		return nil
	})
	if v := do(t, twin.Port, "CLUSTER", "RESET", "HARD"); v.Text != "OK" {
		t.Errorf("the copy, when it is to be a new node, answers %v", v)
	}
	if err := testnode.WaitClusterOK(nodes, 20*time.Second); err != nil {
		t.Error(err)
	}
}

// TestClusterOverTLS forms a cluster whose bus is protected by certificates alone, and replaces them while it runs.
func TestClusterOverTLS(t *testing.T) {
	t.Parallel()
	first, second := testnode.NewAuthority(t), testnode.NewAuthority(t)
	both := t.TempDir()
	for i, a := range []*testnode.Authority{first, second} {
		content, err := os.ReadFile(a.File)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(both, fmt.Sprint(i, ".pem")), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, key := first.Issue(t, "node")
	nodes := testnode.StartCluster(t, 3, "--tls-cluster", "yes", "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-dir", both)

	v := do(t, nodes[0].Port, "CONFIG", "SET", "tls-cert-file", filepath.Join(both, "nothing.pem"))
	if !v.IsError() || !strings.Contains(v.Text, "nothing.pem") {
		t.Errorf("a certificate that is not there: %v", v)
	}
	if v := do(t, nodes[0].Port, "CONFIG", "GET", "tls-cert-file"); v.Strings()[1] != cert {
		t.Errorf("set all the same: %v", v)
	}
	cert, key = second.Issue(t, "node")
	for _, n := range nodes {
		if v := do(t, n.Port, "CONFIG", "SET", "tls-cert-file", cert, "tls-key-file", key, "tls-ca-cert-dir", "", "tls-ca-cert-file", second.File); v.Text != "OK" {
			t.Fatal(v)
		}
	}
	nodes[2].SetArgs("--cluster-enabled", "yes", "--tls-cluster", "yes", "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", second.File)
	if err := nodes[2].Restart(true); err != nil {
		t.Fatal(err)
	}
	if err := testnode.WaitClusterOK(nodes, 30*time.Second); err != nil {
		t.Error(err)
	}

	out := cairn(t, exitFailure, "server", "--port", fmt.Sprint(freeRange(t, 1)), "--cluster-enabled", "yes", "--bind", "127.0.0.1",
		"--dir", t.TempDir(), "--tls-cluster", "yes")
	if !strings.Contains(out, "tls-cert-file and tls-key-file must be set") {
		t.Errorf("without certificates:\n%s", out)
	}
}
