package server

import (
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/tools/poll"
	"github.com/cairndb/cairn/tools/wire"
)

// fillLarge writes n elements of size bytes and more to each key: a hash h, a set s, a sorted set z, a list l, a string g.
func fillLarge(t *testing.T, c *wire.Conn, n, size int, keys ...string) {
	t.Helper()
	verbs := map[string]string{"h": "HSET", "s": "SADD", "z": "ZADD", "l": "RPUSH"}
	fill := strings.Repeat("x", size)
	for _, key := range keys {
		if key == "g" {
			if _, err := c.Must("SETRANGE", key, fmt.Sprint(n*size), "end"); err != nil {
				t.Fatal(err)
			}
			continue
		}
		for i := 0; i < n; i += 100 {
			args := []string{verbs[key], key}
			for j := i; j < i+100; j++ {
				if key == "h" || key == "z" {
					args = append(args, fmt.Sprint(j))
				}
				args = append(args, fmt.Sprint(j, fill))
			}
			if _, err := c.Must(args...); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestReplyInPieces: a large reply is the same as in EXEC, where it is written as a whole, keeps its place among others, and holds little memory.
func TestReplyInPieces(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		srv := start(t, s)
		c := srv.dial()
		fillLarge(t, c, 1100, 1000, "h", "s", "z", "l", "g")
		for _, proto := range []string{"2", "3"} {
			if _, err := c.Must("HELLO", proto); err != nil {
				t.Fatal(err)
			}
			for _, line := range []string{
				"HGETALL h", "HKEYS h", "HVALS h", "SMEMBERS s", "LRANGE l 0 -1", "LRANGE l 7 -9", "GET g", "GETRANGE g 5 -5",
				"ZRANGE z 0 -1", "ZRANGE z 2 -3 REV WITHSCORES", "ZRANGEBYSCORE z (5 1090 LIMIT 3 -1", "ZREVRANGEBYSCORE z +inf 9 WITHSCORES LIMIT 1 1050",
				"ZRANGEBYSCORE z 7 7 LIMIT 0 -1", "ZRANGEBYSCORE z 10 7", "ZRANGE z [0 [4 BYLEX",
			} {
				checkPieces(t, srv, c, line)
			}
		}
	})
}

func checkPieces(t *testing.T, srv *testServer, c *wire.Conn, line string) {
	t.Helper()
	send(t, c, "MULTI", line, "EXEC", "PING", line, "SET after "+line[:3], "GET after")
	var replies []wire.Value
	for range 7 {
		v, err := c.Receive()
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		replies = append(replies, v)
		if n := srv.outgoing.Load(); n > 64<<20 {
			t.Errorf("%s: %d bytes of replies wait", line, n)
		}
	}
	if whole := replies[2]; len(whole.Elems) != 1 || !whole.Elems[0].Equal(replies[4]) {
		t.Errorf("%s: %d elements in pieces, %.100s", line, len(replies[4].Elems), whole.String())
	}
	if got := replies[6].Text; replies[3].Text != "PONG" || got != line[:3] {
		t.Errorf("%s: the replies around it are %q and %q", line, replies[3].Text, got)
	}
}

var waitingReply = regexp.MustCompile(` obl=[1-9]\d\d`) // more than the header of a reply that has not begun

// stall asks for a large reply and does not read it: it is the n-th to do so.
func stall(t *testing.T, srv *testServer, request string, n int) *wire.Conn {
	t.Helper()
	c, other := srv.dial(), srv.dial()
	_ = c.Conn.(*net.TCPConn).SetReadBuffer(256 << 10) // or the kernel would take more and more
	send(t, c, request)
	poll.Until(t, "the reply waits for its reader", func() bool {
		return len(waitingReply.FindAllString(do(t, other, "CLIENT LIST"), -1)) == n
	})
	return c
}

// TestStalledReader: who does not read a large reply holds up neither writers of its key nor FLUSHALL, and takes little memory. When it reads on, it gets what
// was there when it asked.
func TestStalledReader(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		s.args = append(s.args, "--worker-threads", "2")
		srv := start(t, s)
		c := srv.dial()
		const elements = 4000
		fillLarge(t, c, elements, 4<<10, "l")
		var stalled []*wire.Conn
		for n := range 3 {
			stalled = append(stalled, stall(t, srv, "LRANGE l 0 -1", n+1))
		}
		if n := srv.outgoing.Load(); n > 4<<20 {
			t.Errorf("%d bytes wait for three readers", n)
		}
		expect(t, c, "LSET l 1 changed", "+OK")
		expect(t, c, "LTRIM l 0 1", "+OK")
		expect(t, c, "FLUSHALL", "+OK")
		expect(t, c, "DBSIZE", ":0")
		for _, reader := range stalled {
			v, err := reader.Receive()
			if err != nil {
				t.Fatal(err)
			}
			if len(v.Elems) != elements {
				t.Fatalf("%d elements", len(v.Elems))
			}
			for i, e := range v.Elems {
				if !strings.HasPrefix(e.Text, fmt.Sprint(i, "x")) {
					t.Fatalf("element %d is %.20q", i, e.Text)
				}
			}
			expect(t, reader, "PING", "+PONG")
		}
	})
}

// TestStalledReaderClosed: the soft output limit, and CLIENT KILL, end a connection that does not read a large reply.
func TestStalledReaderClosed(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		s.args = append(s.args, "--client-output-buffer-limit", "normal 0 1 3")
		srv := start(t, s)
		c := srv.dial()
		fillLarge(t, c, 4000, 4<<10, "g")
		stall(t, srv, "GET g", 1)
		poll.Until(t, "the reader is closed", func() bool { return srv.node.Stats.ClientOutLimit.Load() == 1 && srv.outgoing.Load() == 0 })
		if _, err := c.Must("CONFIG", "SET", "client-output-buffer-limit", "normal 0 0 0"); err != nil {
			t.Fatal(err)
		}
		killed := stall(t, srv, "GET g", 1)
		if v, err := c.Must("CLIENT", "KILL", "ADDR", killed.LocalAddr().String()); err != nil || v.Text != "1" {
			t.Fatal(v, err)
		}
		poll.Until(t, "the reader is killed", func() bool { return srv.outgoing.Load() == 0 })
	})
}

// faultyReads makes reads of the store's files fail.
type faultyReads struct{ on atomic.Bool }

func (f *faultyReads) String() string { return "faulty reads" }

func (f *faultyReads) MaybeError(op errorfs.Op) error {
	if f.on.Load() && op.Kind == errorfs.OpFileReadAt && strings.Contains(op.Path, "store") {
		return errors.New("injected: input/output error")
	}
	return nil
}

// TestTornReply: when the disk fails in the midst of a large reply the connection ends: what follows could not be told from the rest of the reply.
func TestTornReply(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		fault := &faultyReads{}
		s.store = func(o *engine.Options) { o.FS, o.CacheBytes = errorfs.Wrap(vfs.NewMem(), fault), 1<<20 }
		srv := start(t, s)
		c := srv.dial()
		fillLarge(t, c, 2000, 4<<10, "l")
		expect(t, c, "SAVE", "+OK")
		reader := stall(t, srv, "LRANGE l 0 -1", 1)
		send(t, reader, "PING")
		fault.on.Store(true)
		if v, err := reader.Receive(); err == nil && !v.IsError() || errors.Is(err, os.ErrDeadlineExceeded) { // an error may be the whole reply
			t.Errorf("%d elements, %v", len(v.Elems), err)
		}
		poll.Until(t, "the connection is gone", func() bool { return srv.outgoing.Load() == 0 })
		fault.on.Store(false)
		expect(t, c, "PING", "+PONG")
	})
}
