package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/cairndb/cairn/engine"
	wal "github.com/cairndb/cairn/engine/log"
	"github.com/cairndb/cairn/server/command"
	"github.com/cairndb/cairn/tools/poll"
	"github.com/cairndb/cairn/tools/wire"
)

// faultyLog makes operations on the log's files wait or fail.
type faultyLog struct {
	failWrites atomic.Bool
	block      atomic.Pointer[chan struct{}] // syncs wait until it is closed
	blocked    atomic.Int64
}

func (f *faultyLog) MaybeError(op errorfs.Op) error {
	if !strings.Contains(op.Path, "log") {
		return nil
	}
	switch op.Kind {
	case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
		if ch := f.block.Load(); ch != nil {
			f.blocked.Add(1)
			<-*ch
			f.blocked.Add(-1)
		}
	case errorfs.OpFileWrite, errorfs.OpFileWriteAt:
		if f.failWrites.Load() {
			return errors.New("injected: no space left on device")
		}
	}
	return nil
}

func (f *faultyLog) String() string { return "faulty log" }

// hold makes syncs wait until release is called, or the test ends.
func (f *faultyLog) hold(t *testing.T) (release func()) {
	gate := make(chan struct{})
	f.block.Store(&gate)
	release = sync.OnceFunc(func() {
		f.block.Store(nil)
		close(gate)
	})
	t.Cleanup(release)
	return release
}

// send writes the commands at once; their replies are the caller's to receive.
func send(t *testing.T, c *wire.Conn, lines ...string) {
	t.Helper()
	for _, line := range lines {
		c.Send(strings.Fields(line)...)
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
}

// slowSync lets the sync of a write last so long that the log takes the disk for a slow one: the next sync is not the loop's.
func (f *faultyLog) slowSync(t *testing.T, c *wire.Conn, write string) {
	t.Helper()
	release := f.hold(t)
	send(t, c, write)
	poll.Until(t, "a sync begins", func() bool { return f.blocked.Load() > 0 })
	began := time.Now()
	poll.Until(t, "the sync is slow", func() bool { return time.Since(began) > 5*time.Millisecond })
	release()
	if v, err := c.Receive(); err != nil || v.String() != "+OK" {
		t.Fatalf("%v, %v", v, err)
	}
}

// expectSilence fails when something arrives on one of the connections.
func expectSilence(t *testing.T, what string, conns ...*wire.Conn) {
	t.Helper()
	for _, c := range conns {
		_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if n, err := c.Conn.Read(make([]byte, 1)); n > 0 || err == nil {
			t.Fatal(what)
		}
	}
}

// With appendfsync always, replies wait for the sync; meanwhile, on a disk that is slow, others are served, and one sync
// answers all who wait.
func TestRepliesWaitForTheSync(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		fault := &faultyLog{}
		s.store = func(o *engine.Options) {
			o.FS = errorfs.Wrap(vfs.NewMem(), fault)
			o.SyncPolicy = wal.Always
		}
		srv := start(t, s)
		a, b, c := srv.dial(), srv.dial(), srv.dial()
		fault.slowSync(t, a, "SET stable 1")
		release := fault.hold(t)
		send(t, a, "SET k v", "PING")
		poll.Until(t, "a sync begins", func() bool { return fault.blocked.Load() > 0 })
		expect(t, b, "GET stable", `$"1"`)
		expect(t, b, "PING", "+PONG")
		send(t, c, "GET k") // sees what is not durable, so it waits too
		expectSilence(t, "a reply came before the sync", a, c)
		release()
		for _, want := range []string{"+OK", "+PONG"} {
			if v, err := a.Receive(); err != nil || v.String() != want {
				t.Errorf("%v, %v; want %s", v, err, want)
			}
		}
		if v, err := c.Receive(); err != nil || v.String() != `$"v"` {
			t.Errorf("%v, %v", v, err)
		}
	})
}

// With appendfsync everysec, replies wait for a sync that takes longer than the pause before it; reads of what is on the disk do not.
func TestRepliesWaitForASlowSync(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		fault := &faultyLog{}
		s.store = func(o *engine.Options) {
			o.FS = errorfs.Wrap(vfs.NewMem(), fault)
			o.SyncPolicy = wal.EverySec
		}
		srv := start(t, s)
		c := srv.dial()
		expect(t, c, "SET stable 1", "+OK")
		if err := srv.node.Store.Log().Sync(); err != nil {
			t.Fatal(err)
		}
		release := fault.hold(t)
		first, write, read := srv.dial(), srv.dial(), srv.dial()
		send(t, first, "SET k 1") // answered at once, unless it takes so long that the sync is slow by then
		poll.Until(t, "a sync begins, so all is written", func() bool { return fault.blocked.Load() > 0 })
		poll.Until(t, "the sync is slow", func() bool { return srv.node.Store.Stable() < srv.node.Store.End() })
		end := srv.node.Store.End()
		send(t, write, "SET l 1")
		poll.Until(t, "the write has run", func() bool { return srv.node.Store.End() > end })
		send(t, read, "GET l")
		expectSilence(t, "a reply came although the sync hangs", write, read)
		expect(t, c, "GET stable", `$"1"`)
		poll.Until(t, "the delay is counted", func() bool { return srv.node.Store.Log().Stats().Delayed > 0 })
		release()
		for conn, want := range map[*wire.Conn]string{first: "+OK", write: "+OK", read: `$"1"`} {
			if v, err := conn.Receive(); err != nil || v.String() != want {
				t.Errorf("%v, %v; want %s", v, err, want)
			}
		}
	})
}

// When the log cannot be written, the replies of the group are replaced, one for one; reads go on.
func TestFailedGroup(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		fault := &faultyLog{}
		s.store = func(o *engine.Options) { o.FS = errorfs.Wrap(vfs.NewMem(), fault) }
		srv := start(t, s)
		a, b := srv.dial(), srv.dial()
		expect(t, a, "SET before 1", "+OK")
		fault.failWrites.Store(true)
		a.Send("PING")
		a.Send("SET", "k", "v")
		a.Send("SET", "l", "w")
		a.Send("GET", "k")
		a.Send("ECHO", "last")
		if err := a.Flush(); err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			v, err := a.Receive()
			if err != nil {
				t.Fatal(err)
			}
			if (i == 1 || i == 2) && !strings.HasPrefix(v.String(), "-MISCONF") {
				t.Errorf("reply %d: %v", i, v)
			}
		}
		expect(t, b, "GET before", `$"1"`)
		if got := do(t, b, "SET x y"); !strings.HasPrefix(got, "-MISCONF") {
			t.Errorf("a later write: %s", got)
		}
	})
}

// Shutdown answers what has arrived and leaves no goroutine.
func TestShutdownDrains(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		srv := start(t, s)
		c, slow := srv.dial(), srv.dial()
		expect(t, c, "PING", "+PONG")
		slow.Send("DEBUG", "SLEEP", "0.3")
		for i := range 100 {
			c.Send("SET", fmt.Sprint(i), "v")
		}
		if err := errors.Join(slow.Flush(), c.Flush()); err != nil {
			t.Fatal(err)
		}
		poll.Until(t, "the slow command arrives", func() bool { return srv.node.Stats.Reads.Load() >= 3 })
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			t.Fatal(err)
		}
		if got := readToEnd(t, c); got != strings.Repeat("+OK\r\n", 100) {
			t.Errorf("%q", got)
		}
		if got := readToEnd(t, slow); got != "+OK\r\n" {
			t.Errorf("slow: %q", got)
		}
	})
}

// A peer that does not read does not hold up the end for longer than the context.
func TestShutdownGivesUp(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		srv := start(t, s)
		c := srv.dial()
		expect(t, c, "SET big "+strings.Repeat("x", 1<<20), "+OK")
		_, _ = c.Write([]byte(strings.Repeat("GET big\r\n", 64)))
		// The +OK may be counted for a moment after it has been read here: only more than that is of the GETs, which have all arrived then.
		poll.Until(t, "replies wait", func() bool { return srv.outgoing.Load() > 1000 })
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		if err := srv.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
}

// Commands that wait give up when the time for the end has passed; those behind them are not run.
func TestShutdownInterrupts(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		srv := start(t, s)
		slow, other := srv.dial(), srv.dial()
		slow.Send("DEBUG", "SLEEP", "600")
		slow.Send("SET", "behind", "1")
		if err := slow.Flush(); err != nil {
			t.Fatal(err)
		}
		poll.Until(t, "the slow command runs", func() bool { return runs(srv, "debug") })
		expect(t, other, "SET before 1", "+OK")
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		if err := srv.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if got := readToEnd(t, slow); strings.Contains(got, "OK") {
			t.Errorf("%q", got)
		}
		if n := srv.node.Store.DBCounts(0).Keys; n != 1 {
			t.Errorf("%d keys", n)
		}
	})
}

// runs says whether a client runs the command, or has.
func runs(srv *testServer, name string) (found bool) {
	srv.node.Clients.Each(func(s *command.Session) bool {
		cmd := s.LastCmd.Load()
		found = found || cmd != nil && cmd.Name == name
		return !found
	})
	return found
}

// What does not give up is left behind, so that the process can end.
func TestShutdownLeavesTheStuck(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		fault := &faultyLog{}
		s.store = func(o *engine.Options) { o.FS = errorfs.Wrap(vfs.NewMem(), fault) }
		srv := start(t, s)
		c := srv.dial()
		expect(t, c, "SET k v", "+OK")
		fault.hold(t)
		send(t, c, "SAVE")
		poll.Until(t, "the save runs", func() bool { return runs(srv, "save") && fault.blocked.Load() > 0 })
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer cancel()
		if err := srv.Shutdown(ctx); !errors.Is(err, ErrBusy) {
			t.Errorf("%v", err)
		}
	})
}

// A slow command holds up no reply to the requests before it, be these on the loop, or on a worker as it is.
func TestRepliesBeforeASlowCommand(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		fault := &faultyLog{}
		s.store = func(o *engine.Options) { o.FS = errorfs.Wrap(vfs.NewMem(), fault) }
		c := start(t, s).dial()
		for _, slow := range [][]string{{"SAVE"}, {"DEBUG SLEEP 0", "SAVE"}, {"MULTI", "PING", "KEYS *", "EXEC", "SAVE"}} {
			release := fault.hold(t)
			ahead := append([]string{"SET k v", "GET k"}, slow...)
			send(t, c, append(ahead, "PING")...)
			for _, line := range ahead[:len(ahead)-1] {
				if v, err := c.Receive(); err != nil || v.IsError() {
					t.Errorf("%s: %v, %v", line, v, err)
				}
			}
			poll.Until(t, "the save waits", func() bool { return fault.blocked.Load() > 0 })
			release()
			for _, want := range []string{"+OK", "+PONG"} {
				if v, err := c.Receive(); err != nil || v.String() != want {
					t.Errorf("%v, %v; want %s", v, err, want)
				}
			}
		}
	})
}

// Before a hand-over only those replies are sent that wait for no sync.
func TestHandOverKeepsUnstableReplies(t *testing.T) {
	t.Parallel()
	fault := &faultyLog{}
	srv := start(t, setup{store: func(o *engine.Options) {
		o.FS = errorfs.Wrap(vfs.NewMem(), fault)
		o.SyncPolicy = wal.Always
	}})
	c := srv.dial()
	fault.slowSync(t, c, "SET stable 1")
	release := fault.hold(t)
	send(t, c, "GET stable", "SET k v", "PING", "DEBUG SLEEP 0")
	if v, err := c.Receive(); err != nil || v.String() != `$"1"` {
		t.Errorf("%v, %v", v, err)
	}
	expectSilence(t, "a reply came before the sync", c)
	release()
	for _, want := range []string{"+OK", "+PONG", "+OK"} {
		if v, err := c.Receive(); err != nil || v.String() != want {
			t.Errorf("%v, %v; want %s", v, err, want)
		}
	}
}
