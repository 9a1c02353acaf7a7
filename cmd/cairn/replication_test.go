package main

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cairndb/cairn/tools/poll"
	"github.com/cairndb/cairn/tools/testnode"
)

const patience = 60 * time.Second

// follow makes r a replica of p.
func follow(t *testing.T, r, p *testnode.Node) {
	t.Helper()
	if v := do(t, r.Port, "REPLICAOF", "127.0.0.1", strconv.Itoa(p.Port)); v.Text != "OK" {
		t.Fatalf("REPLICAOF: %s", v)
	}
}

// same waits until the nodes have the same log and then compares their data.
func same(t *testing.T, nodes ...*testnode.Node) {
	t.Helper()
	poll.Succeeds(t, patience, func() error {
		for _, n := range nodes[1:] {
			if err := sameEnd(nodes[0], n); err != nil {
				return err
			}
		}
		return nil
	})
	want := contents(t, nodes[0])
	for _, n := range nodes[1:] {
		if got := contents(t, n); !maps.Equal(got, want) {
			t.Errorf("port %d has %d keys, port %d has %d, or they have other values", nodes[0].Port, len(want), n.Port, len(got))
		}
	}
}

// contents are the keys of a node with checksums of their values.
func contents(t *testing.T, n *testnode.Node) map[string]uint32 {
	t.Helper()
	conn, err := n.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	all := map[string]uint32{}
	for cursor := "0"; ; {
		page, err := conn.Must("SCAN", cursor, "COUNT", "1000")
		if err != nil {
			t.Fatal(err)
		}
		args := []string{"MGET"}
		for _, name := range page.Elems[1].Elems {
			args = append(args, name.Text)
		}
		if len(args) > 1 {
			values, err := conn.Must(args...)
			if err != nil {
				t.Fatal(err)
			}
			for i, v := range values.Elems {
				all[args[i+1]] = crc32.ChecksumIEEE([]byte(v.Text))
			}
		}
		if cursor = page.Elems[0].Text; cursor == "0" {
			return all
		}
	}
}

func sameEnd(p, r *testnode.Node) error {
	a, err := p.Info("replication")
	if err != nil {
		return err
	}
	b, err := r.Info("replication")
	if err != nil {
		return err
	}
	for _, field := range []string{"master_repl_offset", "master_replid"} {
		if a[field] != b[field] {
			return fmt.Errorf("%s: %s and %s (link %s)", field, a[field], b[field], b["master_link_status"])
		}
	}
	return nil
}

// keyWriter writes unique keys one after the other until it is stopped, whatever happens to the node.
type keyWriter struct {
	stop context.CancelFunc
	done chan struct{}
	// acked are the numbers of the keys whose SET was answered with OK.
	acked []int
}

func write(t *testing.T, n *testnode.Node) *keyWriter {
	ctx, cancel := context.WithCancel(t.Context())
	w := &keyWriter{stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		for i := 0; ctx.Err() == nil; {
			conn, err := n.Dial()
			for err == nil && ctx.Err() == nil {
				v, doErr := conn.Do("SET", "key:"+strconv.Itoa(i), strings.Repeat("v", i%3000))
				if err = doErr; err == nil && v.Text == "OK" {
					w.acked = append(w.acked, i)
				}
				i++
			}
			if conn != nil {
				_ = conn.Close()
			}
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	return w
}

// end returns the numbers of the keys that were acknowledged.
func (w *keyWriter) end() []int {
	w.stop()
	<-w.done
	return w.acked
}

// TestReplicaChain: a primary, its replica and the replica's replica; either side is killed again and again while a client writes. Nobody
// needs everything anew.
func TestReplicaChain(t *testing.T) {
	t.Parallel()
	a, b, c := testnode.StartCairn(t), testnode.StartCairn(t), testnode.StartCairn(t)
	b.SetArgs("--replicaof", "127.0.0.1", strconv.Itoa(a.Port))
	c.SetArgs("--replicaof", "127.0.0.1", strconv.Itoa(b.Port))
	follow(t, b, a)
	follow(t, c, b)
	w := write(t, a)
	for _, n := range []*testnode.Node{b, a, c, b} {
		before := do(t, a.Port, "DBSIZE").Int()
		poll.Succeeds(t, patience, func() error {
			if have := do(t, c.Port, "DBSIZE").Int(); have < before {
				return fmt.Errorf("the last replica has %d keys of %d", have, before)
			}
			return nil
		})
		if err := n.Restart(true); err != nil {
			t.Fatal(err)
		}
	}
	acked := w.end()
	same(t, a, b, c)
	if n := do(t, c.Port, "DBSIZE").Int(); n < int64(len(acked)) {
		t.Errorf("%d keys, %d were acknowledged", n, len(acked))
	}
	t.Logf("%d writes", len(acked))
	for _, n := range []*testnode.Node{a, b} {
		stats, err := n.Info("stats")
		if err != nil || stats["sync_full"] != "0" || stats["sync_partial_ok"] == "0" {
			t.Errorf("port %d: full %s, partial %s, %v", n.Port, stats["sync_full"], stats["sync_partial_ok"], err)
		}
	}
	for _, n := range []*testnode.Node{a, b, c} {
		if err := n.Stop(20 * time.Second); err != nil {
			t.Error(err)
		}
		if out := cairn(t, exitOK, "check", n.Dir); !strings.Contains(out, "is sound") {
			t.Errorf("check %s:\n%s", n.Dir, out)
		}
	}
}

// TestFullSyncUnderWrites: the primary's log doesn't reach back, so that a replica gets its files, while a client writes. The replica is
// killed on the way.
func TestFullSyncUnderWrites(t *testing.T) {
	t.Parallel()
	small := []string{"--log-segment-size", "1mb", "--memtable-size", "1mb", "--repl-backlog-size", "1", "--replication-sync-bandwidth", "8mb"}
	a, b := testnode.StartCairn(t, small...), testnode.StartCairn(t, small...)
	cairn(t, 0, "load", "--demo", "auto", "--limit", "5000", "--addr", a.Addr())
	w := write(t, a)
	poll.Succeeds(t, patience, func() error {
		if info, err := a.Info("replication"); err != nil || info["repl_backlog_first_byte_offset"] == "0" {
			return errors.Join(errors.New("the log begins at its beginning"), err)
		}
		do(t, a.Port, "SAVE")
		return nil
	})
	do(t, a.Port, "SAVE")
	b.SetArgs(append([]string{"--replicaof", "127.0.0.1", strconv.Itoa(a.Port)}, small...)...)
	follow(t, b, a)
	poll.Succeeds(t, patience, func() error {
		info, err := b.Info("replication")
		if read, _ := strconv.Atoi(info["master_sync_read_bytes"]); read == 0 && info["master_link_status"] != "up" {
			return errors.Join(errors.New("no full sync has begun"), err)
		}
		return nil
	})
	if err := b.Restart(true); err != nil {
		t.Fatal(err)
	}
	poll.Succeeds(t, patience, func() error {
		if info, err := b.Info("replication"); err != nil || info["master_link_status"] != "up" {
			return errors.Join(errors.New("no link"), err)
		}
		return nil
	})
	acked := w.end()
	same(t, a, b)
	if stats, err := a.Info("stats"); err != nil || stats["sync_full"] == "0" {
		t.Errorf("sync_full %s, %v", stats["sync_full"], err)
	}
	t.Logf("%d writes", len(acked))
}

// TestAcksSurvivePrimary: with replication-acks 1 a primary is killed; its replica, made a primary, has everything that was acknowledged. The old
// one, which has more, becomes its replica.
func TestAcksSurvivePrimary(t *testing.T) {
	t.Parallel()
	a, b := testnode.StartCairn(t), testnode.StartCairn(t)
	follow(t, b, a)
	do(t, a.Port, "CONFIG", "SET", "replication-acks", "1")
	w := write(t, a)
	poll.Succeeds(t, patience, func() error {
		if n := do(t, b.Port, "DBSIZE").Int(); n < 300 {
			return fmt.Errorf("%d keys", n)
		}
		return nil
	})
	a.Kill()
	acked := w.end()
	if v := do(t, b.Port, "REPLICAOF", "NO", "ONE"); v.Text != "OK" {
		t.Fatal(v)
	}
	for _, i := range acked {
		if v := do(t, b.Port, "STRLEN", "key:"+strconv.Itoa(i)); v.Int() != int64(i%3000) {
			t.Fatalf("key:%d, which was acknowledged, has %v bytes", i, v)
		}
	}
	do(t, b.Port, "SET", "new", "1")
	if err := a.Start(); err != nil { // once more by itself, so that it has what nobody else has
		t.Fatal(err)
	}
	do(t, a.Port, "SET", "extra", "1")
	a.Kill()
	a.SetArgs("--replicaof", "127.0.0.1", strconv.Itoa(b.Port))
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	same(t, b, a)
	if v := do(t, a.Port, "GET", "extra"); v.Text != "" {
		t.Errorf("what only the old primary had is still there: %s", v)
	}
	t.Logf("%d writes", len(acked))
}

// TestRoleSurvivesRestart: CONFIG REWRITE keeps the role.
func TestRoleSurvivesRestart(t *testing.T) {
	t.Parallel()
	a := testnode.StartCairn(t, "--requirepass", "secret")
	dir := t.TempDir()
	file := filepath.Join(dir, "cairn.conf")
	if err := os.WriteFile(file, []byte("masterauth secret\nmasteruser default\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := testnode.CairnOptions(testnode.Binary(t), filepath.Join(dir, "data"))
	o.Command = append(o.Command, file)
	b, err := testnode.New(o)
	if err != nil {
		t.Fatal(err)
	}
	testnode.Register(t, b)
	role := func(want string) {
		t.Helper()
		poll.Succeeds(t, patience, func() error {
			info, err := b.Info("replication")
			if got := info["role"] + " " + info["master_link_status"]; got != want {
				return fmt.Errorf("%s instead of %s, %w", got, want, err)
			}
			return nil
		})
	}
	for _, step := range []struct{ to, want string }{{strconv.Itoa(a.Port), "slave up"}, {"one", "master "}} {
		if err := b.Restart(false); err != nil && b.Running() {
			t.Fatal(err)
		}
		host := "127.0.0.1"
		if step.to == "one" {
			role("slave up")
			host = "no"
		}
		for _, args := range [][]string{{"REPLICAOF", host, step.to}, {"CONFIG", "REWRITE"}} {
			if v := do(t, b.Port, args...); v.Text != "OK" {
				t.Fatalf("%v: %s", args, v)
			}
		}
		role(step.want)
	}
	if err := b.Restart(true); err != nil {
		t.Fatal(err)
	}
	role("master ")
}
