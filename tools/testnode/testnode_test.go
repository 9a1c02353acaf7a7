package testnode

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestLifecycle(t *testing.T) {
	t.Parallel()
	n := StartRedis(t)
	if v, err := n.Do("SET", "k", "v"); err != nil || v.Text != "OK" {
		t.Fatalf("SET: %s %v", v, err)
	}
	info, err := n.Info("server")
	if err != nil || info["tcp_port"] == "" {
		t.Fatalf("INFO: %v %v", info, err)
	}
	if err := n.Restart(false); err != nil {
		t.Fatal(err)
	}
	if v, err := n.Do("GET", "k"); err != nil || v.Text != "v" {
		t.Fatalf("GET after a restart: %s %v", v, err)
	}
	if u, err := n.Usage(); !errors.Is(err, errors.ErrUnsupported) && (err != nil || u.RSS == 0 || u.Threads == 0) {
		t.Fatalf("usage %+v %v", u, err)
	}
	n.Kill()
	if n.Running() || n.PID() != 0 {
		t.Error("runs after Kill")
	}
	if !strings.Contains(n.Log(), "Redis") {
		t.Errorf("log: %s", n.Log())
	}
}

func TestPause(t *testing.T) {
	t.Parallel()
	n := StartRedis(t)
	c, err := n.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 20 {
		if err := errors.Join(n.Pause(), n.Pause()); err != nil { // again is no error
			t.Fatal(err)
		}
		if ok, err := stopped(n.PID()); !ok || err != nil {
			t.Fatalf("not stopped: %v", err)
		}
		c.Timeout = 10 * time.Millisecond
		if _, err := c.Do("PING"); err == nil {
			t.Error("a paused process answered")
		}
		if err := n.Resume(); err != nil {
			t.Fatal(err)
		}
		c.Timeout = 10 * time.Second
		if v, err := c.Receive(); err != nil || v.Text != "PONG" {
			t.Fatalf("after Resume: %s %v", v, err)
		}
	}
}

func TestStartReportsWhyItFailed(t *testing.T) {
	t.Parallel()
	n, err := New(RedisOptions(Peer(t, "redis-server"), t.TempDir()+"/x", "--no-such-directive", "1"))
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(); !errors.Is(err, ErrExited) || !strings.Contains(err.Error(), "no-such-directive") {
		t.Errorf("got %v", err)
	}
}
