package replication

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/tools/poll"
)

// acking is a replica that has everything and says so, on a connection that the test makes.
func acking(t *testing.T, primary *node, name string) (conn net.Conn, ended chan error) {
	t.Helper()
	conn, theirs := net.Pipe()
	t.Cleanup(func() { _ = conn.Close() })
	log := primary.m.Store().Log()
	end, link := log.Tail()
	h := hello{nodeID: name, position: position{end: end, link: link, terms: log.Terms()}}
	var args [][]byte
	for _, a := range h.args()[1:] {
		args = append(args, []byte(a))
	}
	ended = make(chan error, 1)
	go func() { ended <- primary.m.HandleSync(theirs, args) }()
	buffered := bufio.NewReader(conn)
	if line, err := readLine(buffered); err != nil || line != greeting {
		t.Fatalf("%q %v", line, err)
	}
	go func() {
		in := newFrameReader(conn, buffered, func() time.Duration { return patience })
		w := &frameWriter{conn: conn, timeout: func() time.Duration { return patience }}
		for {
			if _, err := in.next(); err != nil {
				return
			}
			if err := w.write(frameAck, 0, u64(end), u64(end), u64(end), u64(1)); err != nil {
				return
			}
		}
	}()
	return conn, ended
}

// TestOneNodeCountsOnce: a replica that comes again before the primary knows that its old link is broken is one replica, not two.
func TestOneNodeCountsOnce(t *testing.T) {
	t.Parallel()
	a := newNode(t, "a")
	a.put(0, 10, 10)
	acks, end := a.m.Acks(), a.m.Store().End()
	_, ended := acking(t, a, "r")
	poll.Until(t, "the replica counts", func() bool { return acks.Count(end, Synced) == 1 })
	acking(t, a, "r")
	if err := <-ended; err == nil {
		t.Error("the old connection ended without an error")
	}
	poll.Until(t, "it counts again", func() bool { return acks.Count(end, Synced) == 1 })
	if n, off := len(a.m.Status().Replicas), acks.Reached(2, Written); n != 1 || off != 0 {
		t.Errorf("%d replicas, two of them have %d", n, off)
	}
	acking(t, a, "other")
	poll.Until(t, "another one counts, too", func() bool { return acks.Reached(2, Stable) == end })
}

// TestBoundAcks plays who has acknowledged what under a rule: "a10 b20" are the replicas that are connected.
func TestBoundAcks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		have string
		rule Rule
		n    int
		want engine.Offset
	}{
		{"a10 b20", Rule{}, 1, 20},
		{"a10 b20", Rule{}, 2, 10},
		{"a10 b20", Rule{Bound: true}, 1, 0},
		{"a10 b20", Rule{Bound: true, Wait: []string{"a"}, Members: 1}, 1, 10},
		{"a10 b20", Rule{Bound: true, Wait: []string{"b"}, Members: 1}, 1, 20},
		{"a10 b20", Rule{Bound: true, Wait: []string{"b"}, Members: 1}, 2, 0},
		{"a10 b20", Rule{Bound: true, Wait: []string{"a", "b"}, Members: 2}, 1, 10},
		{"a10 b20", Rule{Bound: true, Wait: []string{"a", "b"}, Members: 1}, 2, 0}, // one of them joins only yet
		{"a10 b20", Rule{Bound: true, Wait: []string{"b", "c"}, Members: 2}, 1, 0},
		{"a10", Rule{Bound: true, Wait: []string{"a"}}, 1, 0},
	} {
		a := &Acks{replicas: map[string]*acked{}}
		for _, f := range strings.Fields(c.have) {
			off, err := strconv.ParseUint(f[1:], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			s := &session{hello: hello{nodeID: f[:1]}, ask: make(chan struct{}, 1)}
			a.join(s)
			a.update(s, ackState{off, off, off})
		}
		var first, beyond bool
		a.SetRule(Rule{Bound: true}) // nobody, so that all wait
		a.OnAcked(c.want, c.n, Stable, func(error) { first = true })
		a.OnAcked(c.want+1, c.n, Stable, func(error) { beyond = true })
		a.SetRule(c.rule)
		if got := a.Reached(c.n, Stable); got != c.want || c.want > 0 && !first || beyond {
			t.Errorf("%s, %+v, %d: %d, waiters %v %v", c.have, c.rule, c.n, got, first, beyond)
		}
		if n := a.Count(20, Written); n != strings.Count(c.have, "20") {
			t.Errorf("%d count for WAIT", n)
		}
	}
}

// TestFreshness plays what a replica hears and applies, with times in seconds: p60@5 is a ping that says that the primary had 60 at 5, a60 that
// 60 is applied.
func TestFreshness(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		events string
		fresh  int // -1: unknown
	}{
		{"", -1},
		{"p60@5", -1},
		{"a59 p60@5", -1},
		{"p60@5 a60", 5},
		{"a60 p60@5", 5},
		{"p60@5 a60 p80@6 a70", 5},
		{"p60@5 p80@6 a80", 5}, // the second one did not count: the next will
		{"p60@5 p80@6 a60 p90@7 a80 p95@8 a90 a95", 7},
		{"p60@5 a60 p60@4 a60", 5}, // never back
	} {
		var f freshness
		start := time.Unix(1000, 0)
		end := engine.Offset(0)
		for _, e := range bytes.Fields([]byte(c.events)) {
			var off engine.Offset
			var at int
			if n, _ := fmt.Sscanf(string(e), "p%d@%d", &off, &at); n == 2 {
				f.applied(end)
				f.ping(off, start.Add(time.Duration(at)*time.Second))
				f.applied(end)
			} else if n, _ := fmt.Sscanf(string(e), "a%d", &end); n == 1 {
				f.applied(end)
			}
		}
		got := -1
		if !f.freshAt.IsZero() {
			got = int(f.freshAt.Sub(start) / time.Second)
		}
		if got != c.fresh {
			t.Errorf("%q: fresh at %d, not %d", c.events, got, c.fresh)
		}
	}
}

// lateConn delivers what arrives with a delay.
type lateConn struct {
	net.Conn
	out net.Conn
}

const lateness = 300 * time.Millisecond

func newLateConn(conn net.Conn) net.Conn {
	out, in := net.Pipe()
	go func() {
		defer in.Close()
		type piece struct {
			b  []byte
			at time.Time
		}
		pieces := make(chan piece, 10_000)
		go func() {
			defer close(pieces)
			for {
				b := make([]byte, 64<<10)
				n, err := conn.Read(b)
				if err != nil {
					return
				}
				pieces <- piece{b[:n], time.Now().Add(lateness)}
			}
		}()
		for p := range pieces {
			<-time.After(time.Until(p.at))
			if _, err := in.Write(p.b); err != nil {
				return
			}
		}
	}()
	return &lateConn{Conn: conn, out: out}
}

func (c *lateConn) Read(b []byte) (int, error) { return c.out.Read(b) }

func (c *lateConn) Close() error { return errors.Join(c.Conn.Close(), c.out.Close()) }

// TestStalenessOfALateLink: what takes long on its way is not taken for fresh.
func TestStalenessOfALateLink(t *testing.T) {
	t.Parallel()
	a := newNode(t, "a")
	b := newNode(t, "b", func(n *node) { n.wrap = newLateConn })
	a.put(0, 10, 10)
	b.follow(a)
	poll.Until(t, "it has the data", func() bool { return sameTail(a.m.Store(), b.m.Store()) })
	seen := 0
	poll.Until(t, "the staleness is known", func() bool {
		_, staleness := b.m.Link()
		if staleness >= 0 && staleness < lateness {
			t.Fatalf("%v is said of a link that takes %v", staleness, lateness)
		}
		if staleness >= 0 {
			seen++
		}
		return seen > 300
	})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := a.m.Acks().Wait(ctx, a.m.Store().End(), 1, Written); err != nil {
		t.Error(err)
	}
}

// TestStalenessInAChain: a replica of a replica whose own link is gone becomes stale with it.
func TestStalenessInAChain(t *testing.T) {
	t.Parallel()
	a, b, c := newNode(t, "a"), newNode(t, "b"), newNode(t, "c")
	a.put(0, 10, 10)
	b.follow(a)
	c.follow(b)
	poll.Until(t, "it is fresh", func() bool {
		_, staleness := c.m.Link()
		return staleness >= 0 && staleness < 2*time.Second
	})
	a.kill()
	poll.Until(t, "the last one is stale, although its own link is up", func() bool {
		up, staleness := c.m.Link()
		return up && staleness > 2*time.Second
	})
	a.start()
}

// TestAsk: replicas are asked for the levels that somebody wants to know.
func TestAsk(t *testing.T) {
	t.Parallel()
	var a Acks
	s := &session{ask: make(chan struct{}, 1)}
	a.join(s)
	written, again := a.Ask(Written), a.Ask(Written)
	select {
	case <-s.ask:
	default:
		t.Error("the replica is not asked at once")
	}
	synced := a.Ask(Synced)
	for _, step := range []struct {
		done func()
		want byte
	}{{written, flagAckWritten | flagAckSynced}, {synced, flagAckWritten}, {again, 0}} {
		if step.done(); a.wanted() != step.want {
			t.Errorf("asked for %b, not %b", a.wanted(), step.want)
		}
	}
}
