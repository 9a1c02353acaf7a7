package main

import (
	"fmt"
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
)

// TestStartErrors runs servers that cannot start: each says why in one line, with the right exit code.
func TestStartErrors(t *testing.T) {
	t.Parallel()
	running := testnode.StartCairn(t)
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	conf := write("bad.conf", "port 0\n\nmaxmemory lots\n")
	foreign := filepath.Dir(write("foreign/PG_VERSION", "15\n"))
	newer := filepath.Dir(write("newer/CAIRN", "cairn data folder, format 99\n"))
	port := fmt.Sprint(running.Port)
	socket := filepath.Join(dir, "cairn.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{conf}, exitUsage, "bad.conf, line 3: 'maxmemory lots': argument must be a memory value"},
		{[]string{"--port", "99999"}, exitUsage, "command line: 'port 99999': argument must be between 0 and 65535"},
		{[]string{"--prot", "1"}, exitUsage, "command line: 'prot 1': Bad directive"},
		{[]string{"/nonexistent.conf"}, exitUsage, "can't open config file"},
		{[]string{"--daemonize", "yes"}, exitUsage, "supervisor"},
		{[]string{"--port", port, "--bind", "127.0.0.1", "--dir", filepath.Join(dir, "new")}, exitFailure, "127.0.0.1:" + port + " is in use"},
		{[]string{"--port", "0", "--dir", running.Dir}, exitFailure, "is in use by another process"},
		{[]string{"--port", "0", "--dir", foreign}, exitFailure, "PG_VERSION"},
		{[]string{"--port", "0", "--dir", newer}, exitFailure, "format 99"},
		{[]string{"--port", "0", "--dir", conf}, exitFailure, "not a directory"},
		{[]string{"--port", "0", "--dir", running.Dir, "--unixsocket", socket}, exitFailure, "is in use by another process"},
	} {
		out := cairn(t, c.code, append([]string{"server"}, c.args...)...)
		last := out[strings.LastIndex(strings.TrimSpace(out), "\n")+1:]
		if !strings.HasPrefix(last, "cairn: ") || !strings.Contains(last, c.want) {
			t.Errorf("%v says:\n%s", c.args, out)
		}
	}
}

// TestSignals: SIGHUP opens the log file again, SIGTERM stops gracefully and takes the pidfile away.
func TestSignals(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	logFile, pidFile := filepath.Join(dir, "cairn.log"), filepath.Join(dir, "cairn.pid")
	n := testnode.StartCairn(t, "--logfile", logFile, "--pidfile", pidFile)
	if pid, err := os.ReadFile(pidFile); err != nil || strings.TrimSpace(string(pid)) != fmt.Sprint(n.PID()) {
		t.Errorf("pidfile %q, %v", pid, err)
	}
	if err := os.Rename(logFile, logFile+".1"); err != nil {
		t.Fatal(err)
	}
	if err := n.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	poll.Succeeds(t, 10*time.Second, func() error {
		_, err := os.Stat(logFile)
		return err
	})
	if err := n.Stop(20 * time.Second); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(pidFile); !os.IsNotExist(err) {
		t.Errorf("the pidfile stays: %v", err)
	}
	if out, _ := os.ReadFile(logFile); !strings.Contains(string(out), "Stopping") {
		t.Errorf("the new log file holds %q", out)
	}
}

// TestConfigOnline drives CONFIG over the network: what is set is used, and REWRITE survives a restart.
func TestConfigOnline(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	port, err := testnode.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "cairn.conf")
	content := fmt.Sprintf("# mine\nport %d\nbind 127.0.0.1\ndir %s\nmaxclients 100\n", port, filepath.Join(dir, "data"))
	if err := os.WriteFile(conf, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	start := func() *exec.Cmd {
		cmd := exec.Command(testnode.Binary(t), "server", conf)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		p := &process{port: port}
		poll.Succeeds(t, 30*time.Second, func() error { return p.do(nil, "PING") })
		return cmd
	}
	cmd := start()
	for _, step := range [][]string{
		{"CONFIG", "SET", "maxclients", "200", "appendfsync", "always"}, {"SET", "a", "1"}, {"CONFIG", "REWRITE"}, {"CONFIG", "RESETSTAT"},
	} {
		if v := do(t, port, step...); v.Text != "OK" {
			t.Errorf("%v: %v", step, v)
		}
	}
	if v := do(t, port, "CONFIG", "SET", "maxclients", "300", "appendfsync", "perhaps"); !v.IsError() {
		t.Errorf("a bad CONFIG SET: %v", v)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	start()
	if got := strings.Join(do(t, port, "CONFIG", "GET", "maxclients", "appendfsync").Strings(), " "); got != "appendfsync always maxclients 200" {
		t.Errorf("after the restart: %s", got)
	}
	if out, _ := os.ReadFile(conf); !strings.HasPrefix(string(out), "# mine\nport") {
		t.Errorf("rewritten:\n%s", out)
	}
}

// TestLoad sends commands from a file, one of which fails.
func TestLoad(t *testing.T) {
	t.Parallel()
	n := testnode.StartCairn(t)
	path := filepath.Join(t.TempDir(), "commands")
	content := "SET a 1\r\nset \"b c\" 'x y'\nSET word w\n*3\r\n$3\r\nSET\r\n$1\r\nd\r\n$3\r\n\x00\r\n\r\nINCR word\nINCR a"
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	out := cairn(t, exitFailure, "load", path, "--addr", n.Addr())
	if !strings.Contains(out, "1 of 6 commands failed") || !strings.Contains(out, "INCR: ERR value is not an integer") {
		t.Errorf("load says:\n%s", out)
	}
	for key, want := range map[string]string{"a": "2", "b c": "x y", "d": "\x00\r\n"} {
		if v := do(t, n.Port, "GET", key); v.Text != want {
			t.Errorf("%s is %q", key, v.Text)
		}
	}
}

// TestCheckTells: the exit code of cairn check tells a sound folder from a damaged one and from none.
func TestCheckTells(t *testing.T) {
	t.Parallel()
	n := testnode.StartCairn(t)
	for i := range 200 {
		do(t, n.Port, "SET", fmt.Sprint("key:", i), strings.Repeat("v", 500))
	}
	if out := cairn(t, exitFailure, "check", n.Dir); !strings.Contains(out, "in use by another process") {
		t.Errorf("check of a running node:\n%s", out)
	}
	if err := n.Stop(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	cairn(t, exitOK, "check", n.Dir)
	cairn(t, exitFailure, "check", filepath.Join(n.Dir, "nothing"))

	tables, err := filepath.Glob(filepath.Join(n.Dir, "store", "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("no tables: %v", err)
	}
	for _, path := range tables {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		content[len(content)/3] ^= 0x10
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out := cairn(t, exitDamage, "check", n.Dir); !strings.Contains(out, "is damaged") {
		t.Errorf("check of a damaged folder:\n%s", out)
	}
}
