package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cairndb/cairn/tools/poll"
	"github.com/cairndb/cairn/tools/testnode"
	"github.com/cairndb/cairn/tools/wire"
)

// records of the demo set that the tests load.
const (
	fullRecords  = 20000
	shortRecords = 3000
)

// TestDemoSurvivesKill loads a demo set into a cluster of three processes, kills them all with SIGKILL, starts them again
// and compares every record; then it checks each data folder.
func TestDemoSurvivesKill(t *testing.T) {
	t.Parallel()
	nodes := testnode.StartCluster(t, 3)
	want, limit := map[string]string{}, fullRecords
	if testing.Short() {
		limit = shortRecords
	}
	set, err := demoSet(t.Context(), "auto")
	if err != nil {
		t.Fatal(err)
	}
	if err := set.limited(limit)(func(args []string) error {
		want[args[1]] = args[2]
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	cairn(t, 0, "load", "--demo", "auto", "--limit", fmt.Sprint(limit), "--addr", nodes[0].Addr())

	for _, n := range nodes {
		n.Kill()
	}
	for _, n := range nodes {
		if err := n.Launch(); err != nil {
			t.Fatal(err)
		}
	}
	if err := testnode.WaitClusterOK(nodes, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	compare(t, nodes[1].Addr(), want)
	for _, n := range nodes {
		if err := n.Stop(20 * time.Second); err != nil {
			t.Error(err)
		}
		if out := cairn(t, 0, "check", n.Dir); !strings.Contains(out, "is sound") {
			t.Errorf("check %s:\n%s", n.Dir, out)
		}
	}
}

// compare reads every record through a cluster client.
func compare(t *testing.T, addr string, want map[string]string) {
	t.Helper()
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{addr}})
	defer client.Close()
	var names []string
	for name := range want {
		names = append(names, name)
	}
	lost := 0
	for len(names) > 0 {
		n := min(len(names), 500)
		replies, err := client.Pipelined(t.Context(), func(p redis.Pipeliner) error {
			for _, name := range names[:n] {
				p.Get(t.Context(), name)
			}
			return nil
		})
		if err != nil && err != redis.Nil {
			t.Fatal(err)
		}
		for i, r := range replies {
			if got := r.(*redis.StringCmd).Val(); got != want[names[i]] {
				lost++
				t.Logf("%s: %d bytes, want %d", names[i], len(got), len(want[names[i]]))
			}
		}
		names = names[n:]
	}
	if lost > 0 {
		t.Errorf("%d of %d records differ", lost, len(want))
	}
}

// cairn runs the built program to its end and returns what it printed.
func cairn(t *testing.T, code int, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), testnode.Binary(t), args...)
	out, err := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("cairn %s: exit code %d, want %d (%v)\n%s", strings.Join(args, " "), got, code, err, out)
	}
	return string(out)
}

// TestClusterUp starts a cluster as a user does, stops it as Ctrl-C does and resumes it with its data; a node that dies is reported.
func TestClusterUp(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cluster")
	port := freeRange(t, 6)
	args := []string{"cluster", "up", "--port", fmt.Sprint(port), "--dir", dir}

	up := startUp(t, args...)
	if v := do(t, port, "SET", "foo", "bar"); v.Kind != '+' && !strings.HasPrefix(v.Text, "MOVED") {
		t.Fatalf("SET: %v", v)
	}
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{loopback(port)}})
	if err := client.Set(t.Context(), "greeting", "hello", 0).Err(); err != nil {
		t.Fatal(err)
	}
	_ = client.Close()
	if out := cairn(t, exitFailure, args...); !strings.Contains(out, fmt.Sprintf("port %d is in use", port)) {
		t.Errorf("a second one says:\n%s", out)
	}
	up.stop(t)

	if out := cairn(t, exitFailure, "cluster", "up", "--nodes", "4", "--port", fmt.Sprint(port), "--dir", dir); !strings.Contains(out, "holds a cluster of --nodes 3") {
		t.Errorf("another number of nodes says:\n%s", out)
	}
	up = startUp(t, args...)
	client = redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{loopback(port)}})
	defer client.Close()
	if got, err := client.Get(t.Context(), "greeting").Result(); err != nil || got != "hello" {
		t.Errorf("after resuming: %q, %v", got, err)
	}
	var pid int
	for line := range strings.Lines(do(t, port+2, "INFO", "server").Text) {
		_, _ = fmt.Sscanf(line, "process_id:%d", &pid)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	up.waitFor(t, fmt.Sprintf("Node %d ended: signal: killed", port+2))
	up.stop(t)
}

// up is a running "cairn cluster up" with what it prints.
type up struct {
	cmd *exec.Cmd
	log string
}

func startUp(t *testing.T, args ...string) *up {
	t.Helper()
	u := &up{cmd: exec.Command(testnode.Binary(t), args...), log: filepath.Join(t.TempDir(), "out")}
	f, err := os.Create(u.log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	u.cmd.Stdout, u.cmd.Stderr = f, f
	if err := u.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = u.cmd.Process.Signal(syscall.SIGINT)
		_ = u.cmd.Wait()
	})
	u.waitFor(t, "Ctrl-C stops the nodes")
	return u
}

func (u *up) waitFor(t *testing.T, text string) {
	t.Helper()
	poll.Succeeds(t, 60*time.Second, func() error {
		out, err := os.ReadFile(u.log)
		if err == nil && !strings.Contains(string(out), text) {
			err = fmt.Errorf("no %q in:\n%s", text, out)
		}
		return err
	})
}

func (u *up) stop(t *testing.T) {
	t.Helper()
	if err := u.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = u.cmd.Process.Kill() })()
	if err := u.cmd.Wait(); err != nil {
		out, _ := os.ReadFile(u.log)
		t.Fatalf("%v\n%s", err, out)
	}
}

func do(t *testing.T, port int, args ...string) wire.Value {
	t.Helper()
	conn, err := wire.Dial(loopback(port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	v, err := conn.Do(args...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// freeRange finds n ports in a row that are free, with their bus ports.
func freeRange(t *testing.T, n int) int {
	t.Helper()
	for range 50 {
		port, err := testnode.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		c := clusterUpCmd{Nodes: n, Port: port}
		if c.validate() == nil && c.checkPorts() == nil {
			return port
		}
	}
	t.Fatal("no free range of ports")
	return 0
}

func TestClusterUpRefuses(t *testing.T) {
	t.Parallel()
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "thesis.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--replicas", "50"}, exitUsage, "100 nodes at most"},
		{[]string{"--nodes", "0"}, exitUsage, "give 1 to"},
		{[]string{"--port", "65000"}, exitUsage, "bus ports"},
		{[]string{"--dir", foreign}, exitFailure, "holds other things than a cluster (thesis.txt"},
	} {
		out := cairn(t, c.code, append([]string{"cluster", "up"}, c.args...)...)
		if !strings.Contains(out, c.want) {
			t.Errorf("%v says:\n%s", c.args, out)
		}
	}
}
