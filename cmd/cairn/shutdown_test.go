package main

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cairndb/cairn/tools/poll"
	"github.com/cairndb/cairn/tools/testnode"
	"github.com/cairndb/cairn/tools/wire"
)

// TestShutdownCommand: however a client ends the server, the exit code is 0 and nothing acknowledged is lost; NOSAVE
// leaves the log to be replayed.
func TestShutdownCommand(t *testing.T) {
	t.Parallel()
	n := testnode.StartCairn(t)
	for _, c := range []struct {
		command string
		clean   string
	}{
		{"SHUTDOWN NOSAVE", "0"},
		{"SHUTDOWN", "1"},
		{"SHUTDOWN NOSAVE NOW FORCE", "0"},
		{"SHUTDOWN SAVE NOW", "1"},
	} {
		for _, bad := range []string{"SHUTDOWN SAVE NOSAVE", "SHUTDOWN ABORT NOW", "SHUTDOWN perhaps", "SHUTDOWN ABORT"} {
			if v := do(t, n.Port, strings.Fields(bad)...); !v.IsError() {
				t.Errorf("%s: %v", bad, v)
			}
		}
		do(t, n.Port, "SET", "ended by", c.command)
		if v, err := n.Do(strings.Fields(c.command)...); err == nil {
			t.Errorf("%s answers %v", c.command, v)
		}
		if err := n.Wait(deadline(t, 20*time.Second)); err != nil {
			t.Fatalf("%s: %v", c.command, err)
		}
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
		if v := do(t, n.Port, "GET", "ended by"); v.Text != c.command {
			t.Errorf("%s: the key is %v", c.command, v)
		}
		info, err := n.Info("engine")
		if err != nil || info["recovery_clean"] != c.clean {
			t.Errorf("%s: recovery_clean is %q, want %s; %v", c.command, info["recovery_clean"], c.clean, err)
		}
	}
}

func deadline(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// TestShutdownTimeout: a slow command does not hold up the end for longer than shutdown-timeout, be it one that gives up
// when it is told to or one that does not.
func TestShutdownTimeout(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		slow func(*wire.Conn)
		says string
	}{
		"gives up": {func(conn *wire.Conn) { _ = conn.Send("DEBUG", "SLEEP", "600") }, "connections did not end in time"},
		"goes on": {func(conn *wire.Conn) {
			_ = conn.Send("MSET", "{a}1", strings.Repeat("ab", 2000), "{a}2", strings.Repeat("ba", 2000))
			_ = conn.Send("MULTI")
			for range 1000 {
				_ = conn.Send("LCS", "{a}1", "{a}2")
			}
			_ = conn.Send("EXEC")
		}, "cut off"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := testnode.StartCairn(t, "--shutdown-timeout", "1", "--enable-debug-command", "yes")
			do(t, n.Port, "SET", "k", "v")
			conn, err := n.Dial()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			c.slow(conn)
			if err := conn.Flush(); err != nil {
				t.Fatal(err)
			}
			poll.Succeeds(t, 10*time.Second, func() error {
				if list := do(t, n.Port, "CLIENT", "LIST").Text; !strings.Contains(list, "cmd=debug") && !strings.Contains(list, "cmd=exec") {
					return os.ErrNotExist
				}
				return nil
			})
			began := time.Now()
			if err := n.Stop(time.Minute); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took < time.Second || took > 30*time.Second {
				t.Errorf("stopped after %v", took)
			}
			if log := n.Log(); !strings.Contains(log, c.says) {
				t.Errorf("%q is not in the log", c.says)
			}
			if err := n.Start(); err != nil {
				t.Fatal(err)
			}
			if v := do(t, n.Port, "GET", "k"); v.Text != "v" {
				t.Errorf("k is %v", v)
			}
		})
	}
}

// TestFolders: a data folder that holds other things is refused, what operators keep beside the data is not, and
// Redis's files are named in a warning.
func TestFolders(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files   []string
		refused string
		warned  string
	}{
		"usual":     {[]string{"redis.conf", "nodes.conf", "node.log", "node.log.1.gz", "redis.pid", "lost+found/", ".keep"}, "", ""},
		"dump":      {[]string{"dump.rdb"}, "", "dump.rdb"},
		"documents": {[]string{"thesis.txt", "redis.conf", "a", "b", "c"}, "(a, b, c, …): give an empty or a new folder with --dir", ""},
		"redis":     {[]string{"appendonlydir/", "dump.rdb"}, "appendonlydir", ""},
		"lost":      {[]string{"log/", "store/"}, "no CAIRN file", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, err := testnode.New(testnode.CairnOptions(testnode.Binary(t), filepath.Join(t.TempDir(), "data")))
			if err != nil {
				t.Fatal(err)
			}
			testnode.Register(t, n)
			populate(t, n.Dir, c.files)
			if c.refused != "" {
				if out := cairn(t, exitFailure, "server", "--port", "0", "--dir", n.Dir); !strings.Contains(out, c.refused) {
					t.Errorf("%q is not in\n%s", c.refused, out)
				}
				return
			}
			if err := n.Start(); err != nil {
				t.Fatal(err)
			}
			if log := n.Log(); strings.Contains(log, "are not loaded") != (c.warned != "") || !strings.Contains(log, c.warned) {
				t.Errorf("log:\n%s", log)
			}
			populate(t, n.Dir, []string{"appendonlydir/", "stray"}) // a folder of Cairn's may hold anything
			if err := n.Restart(false); err != nil {
				t.Fatal(err)
			}
			if log := n.Log(); !strings.Contains(log, "appendonlydir") {
				t.Errorf("log:\n%s", log)
			}
		})
	}
}

// populate makes empty files, and folders where the name ends in a slash.
func populate(t *testing.T, dir string, names []string) {
	t.Helper()
	for _, name := range names {
		path := filepath.Join(dir, name)
		err := os.MkdirAll(path, 0o755)
		if !strings.HasSuffix(name, "/") {
			_ = os.Remove(path)
			err = os.WriteFile(path, nil, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestUnwritableFolder: the start says so in one line.
func TestUnwritableFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for path, mode := range map[string]os.FileMode{filepath.Dir(dir): 0o755, dir: 0o555} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), testnode.Binary(t), "server", "--port", "0", "--dir", dir)
	if os.Getuid() == 0 { // whom no mode stops
		const nobody = 65534
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Skipf("another user cannot run the program: %v", err)
	}
	if code := cmd.ProcessState.ExitCode(); code != exitFailure || !strings.Contains(string(out), "is not writable") {
		t.Errorf("exit code %d\n%s", code, out)
	}
}

// TestTakenPortFirst: a taken port is reported before the store is made.
func TestTakenPortFirst(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	dir := t.TempDir()
	if out := cairn(t, exitFailure, "server", "--bind", "127.0.0.1", "--port", port, "--dir", dir); !strings.Contains(out, "is in use") {
		t.Errorf("says:\n%s", out)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("the folder holds %v, %v", entries, err)
	}
}

// TestStopHandsOver stops primaries of a cluster under writers, by SIGTERM and by SHUTDOWN: their replicas go on, and nothing that was acknowledged is lost.
func TestStopHandsOver(t *testing.T) {
	t.Parallel()
	nodes := sixNodes(t)
	for _, stop := range []struct {
		key string
		by  func(n *testnode.Node) error
	}{
		{"a", func(n *testnode.Node) error { return n.Stop(30 * time.Second) }},
		{"b", func(n *testnode.Node) error {
			_, _ = n.Do("SHUTDOWN") // has no answer
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			return n.Wait(ctx)
		}},
	} {
		w := startWriter(t, nodes, stop.key)
		w.progress(500, 30*time.Second)
		old := owner(t, nodes, stop.key)
		w.mark()
		if err := stop.by(old); err != nil {
			t.Fatal(err)
		}
		w.progress(500, 30*time.Second)
		t.Logf("longest pause %v", w.longest())
		if lost := w.lost(); lost != 0 {
			t.Errorf("%d of %d acknowledged writes lost; errors %v", lost, len(w.acked), w.errors)
		}
		if err := old.Start(); err != nil {
			t.Fatal(err)
		}
		replicated(t, nodes, 3)
	}
}
