package server

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/server/resp"
	"github.com/cairndb/cairn/tools/poll"
	"github.com/cairndb/cairn/tools/testnode"
	"github.com/cairndb/cairn/tools/wire"
)

// replicated is a setup for servers that replicate: their folders are real, and they say where they listen.
func replicated(t testing.TB, s setup, args ...string) *testServer {
	s.store = func(o *engine.Options) { o.FS, o.SyncPolicy = vfs.Default, 0 }
	s.args = append(s.args, args...)
	return start(t, s)
}

// follow makes r a replica of p, and waits until it has what p has now.
func follow(t testing.TB, r, p *testServer) {
	t.Helper()
	host, port := p.hostPort()
	expect(t, r.dial(), "REPLICAOF "+host+" "+port, "+OK")
	caughtUp(t, r, p)
}

func caughtUp(t testing.TB, r, p *testServer) {
	t.Helper()
	end := p.Store().End()
	poll.Until(t, "the replica is up and has everything", func() bool {
		up, _ := r.node.Replication.Link()
		return up && r.Store().End() >= end
	})
}

// TestReplicaChangesItsStore: again and again a primary with data of its own becomes a replica, by a full sync, and a primary again, while
// clients read it and write to its primary. Readers see the old data or the new.
func TestReplicaChangesItsStore(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		p, r := replicated(t, s), replicated(t, s)
		admin, writer := r.dial(), p.dial()
		var stop atomic.Bool
		var clients sync.WaitGroup
		defer clients.Wait()
		defer stop.Store(true)
		for range 3 {
			c := r.dial()
			clients.Go(func() {
				for i := 0; !stop.Load(); i++ {
					if err := readAny(c, i); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		clients.Go(func() {
			for i := 0; !stop.Load(); i++ {
				if _, err := writer.Must("SET", "shared", "p"+strconv.Itoa(i)); err != nil {
					t.Error(err)
					return
				}
			}
		})
		watcher := r.dial()
		for round := range 3 {
			expect(t, admin, "SET own "+strconv.Itoa(round), "+OK")
			expect(t, admin, "SET shared r"+strconv.Itoa(round), "+OK")
			expect(t, admin, "SAVE", "+OK") // so that the log can't just be cut
			expect(t, watcher, "WATCH own", "+OK")
			follow(t, r, p)
			expect(t, admin, "GET own", "$null")
			expect(t, admin, "SET own x", "-"+resp.ErrReadOnly)
			expect(t, watcher, "MULTI", "+OK")
			expect(t, watcher, "GET own", "+QUEUED")
			expect(t, watcher, "EXEC", "*null")
			expect(t, admin, "REPLICAOF NO ONE", "+OK")
		}
		// At first they have nothing in common, later the slots that have changed are enough.
		if st := p.node.Replication.Status(); st.FullSyncs < 1 || st.FullSyncs+st.SlotSyncs < 3 {
			t.Errorf("%d full syncs, %d of slots", st.FullSyncs, st.SlotSyncs)
		}
	})
}

// readAny sends one of several requests; its reply must be one that a client of a replica may see.
func readAny(c *wire.Conn, i int) error {
	requests := []string{"GET shared", "INFO", "DBSIZE", "ROLE", "MGET own shared", "SELECT 0", "CONFIG SET repl-backlog-size 2mb", "SCAN 0"}
	line := requests[i%len(requests)]
	v, err := c.Do(strings.Fields(line)...)
	if err != nil {
		return fmt.Errorf("%s: %w", line, err)
	}
	if v.IsError() && v.Text != resp.ErrLoading {
		return fmt.Errorf("%s: %s", line, v)
	}
	if line == "GET shared" && !v.IsError() && v.Text != "" && v.Text[0] != 'p' && v.Text[0] != 'r' {
		return fmt.Errorf("%s: %s", line, v)
	}
	return nil
}

// TestReplicationAcks: replies wait for a replica, once for a whole pipeline; reads of what is not acknowledged wait, too.
func TestReplicationAcks(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		const timeout = 400 * time.Millisecond
		p, r := replicated(t, s), replicated(t, s)
		c := p.dial()
		patient := func(limit time.Duration) {
			expect(t, c, "CONFIG SET replication-acks-timeout "+strconv.Itoa(int(limit/time.Millisecond)), "+OK")
		}
		expect(t, c, "SET old 1", "+OK")
		patient(timeout)
		expect(t, c, "CONFIG SET replication-acks 1", "+OK")
		began := time.Now()
		const pipeline = 50
		for i := range pipeline {
			_ = c.Send("SET", "k"+strconv.Itoa(i), "v")
		}
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
		for range pipeline {
			if v, err := c.Receive(); err != nil || v.String() != "-"+resp.ErrNotAcked {
				t.Fatalf("without a replica: %v, %v", v, err)
			}
		}
		if took := time.Since(began); took < timeout || took > pipeline/2*timeout {
			t.Errorf("a pipeline took %v", took)
		}
		expect(t, c, "GET k1", "-"+resp.ErrNotAcked)
		expect(t, c, "PING", "+PONG")
		expect(t, c, "GET nowhere", "$null")
		follow(t, r, p)
		patient(time.Minute)
		expect(t, c, "SET k1 w", "+OK")
		expect(t, c, "GET k1", `$"w"`)
		expect(t, c, "GET k2", `$"v"`)
		expect(t, r.dial(), "GET k1", `$"w"`)
		expect(t, r.dial(), "REPLICAOF NO ONE", "+OK")
		expect(t, c, "GET k1", `$"w"`) // acknowledged once
		patient(timeout)
		expect(t, c, "SET k1 x", "-"+resp.ErrNotAcked)
		patient(time.Minute)
		began = time.Now()
		_ = c.Send("SET", "k1", "y")
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
		expect(t, p.dial(), "CONFIG SET replication-acks 0", "+OK")
		if v, err := c.Receive(); err != nil || v.String() != "+OK" {
			t.Errorf("when nobody has to acknowledge: %v, %v after %v", v, err, time.Since(began))
		}
	})
}

// TestAcksOfADemotedPrimary: a write that no replica has acknowledged isn't answered with OK because the node has become a replica meanwhile.
func TestAcksOfADemotedPrimary(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		p := replicated(t, s)
		c, admin := p.dial(), p.dial()
		expect(t, c, "CONFIG SET replication-acks-timeout 500", "+OK")
		expect(t, c, "CONFIG SET replication-acks 1", "+OK")
		end := p.Store().End()
		_ = c.Send("SET", "k", "v")
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
		poll.Until(t, "the write is in the log", func() bool { return p.Store().End() > end })
		expect(t, admin, "REPLICAOF 127.0.0.1 1", "+OK")
		if v, err := c.Receive(); err != nil || v.String() != "-"+resp.ErrNotAcked {
			t.Errorf("the write: %v, %v", v, err)
		}
		expect(t, admin, "GET k", `$"v"`) // a replica's reads wait for nobody
	})
}

// TestWait: WAIT and WAITAOF hold up their own connection only, and end with it.
func TestWait(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		p, r := replicated(t, s), replicated(t, s)
		c, other := p.dial(), p.dial()
		expect(t, c, "SET k v", "+OK")
		expect(t, c, "WAIT 0 0", ":0")
		expect(t, c, "WAIT 1 50", ":0")
		expect(t, c, "WAITAOF 1 0 0", "*[:1 :0]")
		expect(t, c, "MULTI", "+OK")
		expect(t, c, "WAIT 1 0", "+QUEUED")
		expect(t, c, "EXEC", "*[:0]")
		_ = c.Send("SET", "k", "w")
		_ = c.Send("WAIT", "1", "0")
		_ = c.Send("GET", "k")
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
		poll.Until(t, "WAIT waits", func() bool { return strings.Contains(do(t, other, "CLIENT LIST"), "flags=b") })
		gone := p.dial()
		_ = gone.Send("WAIT", "5", "0")
		if err := gone.Flush(); err != nil {
			t.Fatal(err)
		}
		_ = gone.Close()
		follow(t, r, p)
		for _, want := range []string{"+OK", ":1", `$"w"`} {
			if v, err := c.Receive(); err != nil || v.String() != want {
				t.Fatalf("got %v, %v, want %s", v, err, want)
			}
		}
		expect(t, c, "WAITAOF 1 1 0", "*[:1 :1]")
		if list := do(t, c, "CLIENT LIST TYPE replica"); !strings.Contains(list, "flags=S") {
			t.Errorf("CLIENT LIST TYPE replica: %s", list)
		}
		expect(t, c, "CLIENT KILL TYPE replica", ":1")
		expect(t, c, "SET k x", "+OK")
		expect(t, c, "WAIT 1 5000", ":1") // it is back
		end := p.Store().End()
		for _, line := range []string{"WAIT 2 0", "WAITAOF 0 2 0"} {
			_ = c.Send("SET", "k", line)
			_ = c.Send(strings.Fields(line)...)
			if err := c.Flush(); err != nil {
				t.Fatal(err)
			}
			poll.Until(t, "it waits", func() bool { return strings.Contains(do(t, other, "CLIENT LIST"), "flags=b") && p.Store().End() > end })
			expect(t, other, "REPLICAOF 127.0.0.1 1", "+OK")
			for _, want := range []string{"+OK", "-" + resp.ErrRoleChanged} {
				if v, err := c.Receive(); err != nil || v.String() != want {
					t.Fatalf("%s: got %v, %v, want %s", line, v, err, want)
				}
			}
			expect(t, other, "REPLICAOF NO ONE", "+OK")
			end = p.Store().End()
		}
	})
}

// TestStopWaitsForReplicas: a primary that stops in order leaves its replica with everything that it has acknowledged.
func TestStopWaitsForReplicas(t *testing.T) {
	t.Parallel()
	p, r := replicated(t, setup{}), replicated(t, setup{})
	follow(t, r, p)
	c := p.dial()
	const n = 2000
	for range n {
		_ = c.Send("APPEND", "k", strings.Repeat("v", 1000))
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	for range n {
		if v, err := c.Receive(); err != nil || v.IsError() {
			t.Fatal(v, err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := p.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	expect(t, r.dial(), "STRLEN k", ":"+strconv.Itoa(1000*n))
}

// TestMinReplicas: writes need replicas that were heard of.
func TestMinReplicas(t *testing.T) {
	t.Parallel()
	p, r := replicated(t, setup{}), replicated(t, setup{})
	c := p.dial()
	expect(t, c, "CONFIG SET min-replicas-to-write 1", "+OK")
	expect(t, c, "SET k v", "-"+resp.ErrNoReplicas)
	expect(t, c, "GET k", "$null")
	follow(t, r, p)
	poll.Until(t, "writes are taken", func() bool { return do(t, c, "SET k v") == "+OK" })
	if info := do(t, c, "INFO replication"); !strings.Contains(info, "min_slaves_good_slaves:1") {
		t.Error(info)
	}
	expect(t, r.dial(), "REPLICAOF NO ONE", "+OK")
	poll.Until(t, "writes are refused", func() bool { return do(t, c, "SET k v") == "-"+resp.ErrNoReplicas })
}

// TestStaleReplica: a replica without its primary refuses what the configuration says.
func TestStaleReplica(t *testing.T) {
	t.Parallel()
	p, r := replicated(t, setup{}, "--requirepass", "secret"), replicated(t, setup{})
	c := r.dial()
	host, port := p.hostPort()
	expect(t, c, "REPLICAOF "+host+" "+port, "+OK")
	expect(t, c, "GET k", "$null")
	expect(t, c, "CONFIG SET replica-max-staleness 2000", "+OK")
	expect(t, c, "GET k", "-"+resp.ErrStale)
	expect(t, c, "CONFIG SET replica-serve-stale-data no", "+OK")
	expect(t, c, "GET k", "-"+resp.ErrMasterDown)
	if info := do(t, c, "INFO replication"); !strings.Contains(info, "master_link_status:down") {
		t.Error(info)
	}
	expect(t, c, "CONFIG SET masterauth secret", "+OK")
	poll.Until(t, "the link is up", func() bool { return do(t, c, "GET k") == "$null" })
	if got := do(t, c, "REPLICAOF "+host+" "+port); got != "+OK Already connected to specified master" {
		t.Error(got)
	}
}

// TestReplicationSameAsRedis compares replies of a primary with a replica, and of the replica, with those of two redis-servers.
func TestReplicationSameAsRedis(t *testing.T) {
	t.Parallel()
	theirs := []*testnode.Node{testnode.StartRedis(t, "--repl-diskless-sync-delay", "0"), testnode.StartRedis(t)}
	ours := []*testServer{replicated(t, setup{}), replicated(t, setup{})}
	pair := func(i int) (redis, cairn *wire.Conn) {
		redis, err := theirs[i].Dial()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = redis.Close() })
		return redis, ours[i].dial()
	}
	same := func(i int, lines string) {
		t.Helper()
		redis, cairn := pair(i)
		for line := range strings.Lines(lines) {
			line = strings.TrimSpace(line)
			if want, got := do(t, redis, line), do(t, cairn, line); got != want {
				t.Errorf("%s: got %s, want %s", line, got, want)
			}
		}
	}
	const errors = `REPLICAOF 127.0.0.1 x
		REPLICAOF 127.0.0.1 70000
		REPLICAOF 127.0.0.1 -1
		REPLICAOF a
		SLAVEOF NO one
		REPLICAOF no ONE
		WAIT x 1
		WAIT 1 x
		WAIT 1 -1
		WAIT 0 0
		WAIT -1 0
		WAIT 1 10
		CONFIG GET slaveof
		CONFIG GET replicaof
		ROLE x`
	same(0, errors)
	redis, cairn := pair(1)
	queued := []*wire.Conn{redis, cairn}
	for _, c := range queued {
		expect(t, c, "MULTI", "+OK")
		expect(t, c, "SET k v", "+QUEUED")
	}
	for i, redis := range []bool{true, false} {
		host, port := ours[0].hostPort()
		to := ours[1].dial()
		if redis {
			port = strconv.Itoa(theirs[0].Port)
			to, _ = pair(1)
		}
		expect(t, to, "REPLICAOF "+host+" "+port, "+OK")
		poll.Until(t, "replica "+strconv.Itoa(i)+" is up", func() bool {
			return strings.Contains(do(t, to, "INFO replication"), "master_link_status:up")
		})
	}
	if want, got := do(t, queued[0], "EXEC"), do(t, queued[1], "EXEC"); got != want {
		t.Errorf("EXEC of what was queued before: got %s, want %s", got, want)
	}
	same(1, `SET k v
		SETEX k 1 v
		MULTI
		SET k v
		EXEC
		WAIT 1 1
		GET k
		CONFIG SET replica-read-only yes
		CONFIG GET replica-priority
		DEL k
		FLUSHALL`)
	for i := range theirs {
		redis, cairn := pair(i)
		want, got := infoNames(do(t, redis, "INFO replication")), infoNames(do(t, cairn, "INFO replication"))
		if got != want {
			t.Errorf("INFO replication of node %d:\n got %s\nwant %s", i, got, want)
		}
		theirRole, ourRole := shape(t, redis, "ROLE"), shape(t, cairn, "ROLE")
		if ourRole != theirRole {
			t.Errorf("ROLE of node %d: got %s, want %s", i, ourRole, theirRole)
		}
	}
}

// infoNames are the fields of an INFO reply, with those of a slave's line.
func infoNames(info string) string {
	var names []string
	for line := range strings.SplitSeq(strings.ReplaceAll(info, `\r\n`, "\n"), "\n") {
		name, value, _ := strings.Cut(line, ":")
		for part := range strings.SplitSeq(value, ",") {
			if field, _, ok := strings.Cut(part, "="); ok {
				name += " " + field
			}
		}
		names = append(names, strings.TrimSpace(name))
	}
	return strings.Join(names, "\n")
}

// shape is a reply without its numbers.
func shape(t *testing.T, c *wire.Conn, line string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, do(t, c, line))
}
