package command

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/server/resp"
	"github.com/cairndb/cairn/tools/poll"
)

func TestExecRunsTheQueue(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	c := connect(t, n)
	c.expect("+OK", "MULTI")
	c.expect("+QUEUED", "SET", "a", "1")
	c.expect("+QUEUED", "INCR", "a")
	c.expect("+QUEUED", "INCRBY", "a", "x")
	c.expect("+QUEUED", "SELECT", "3")
	c.expect("+QUEUED", "GET", "a")
	c.expect(`*[+OK :2 -ERR value is not an integer or out of range +OK $null]`, "EXEC")
	c.expect("$null", "GET", "a")
	c.expect("+OK", "SELECT", "0")
	c.expect(`$"2"`, "GET", "a")
	c.expect("-ERR EXEC without MULTI", "EXEC")
	c.expect("-ERR DISCARD without MULTI", "DISCARD")
}

func TestFailedTransactions(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	c := connect(t, n)
	for _, bad := range [][]string{{"NOSUCH"}, {"GET"}, {"CLIENT", "NOSUCH"}, {"SAVE"}} {
		c.expect("+OK", "MULTI")
		if v := c.do(bad...); !v.IsError() {
			t.Errorf("%q is queued: %s", bad, v)
		}
		c.expect("+QUEUED", "SET", "a", "1")
		c.expect("-EXECABORT Transaction discarded because of previous errors.", "EXEC")
	}
	c.expect("$null", "GET", "a")
	c.expect("+OK", "MULTI")
	c.expect("-EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command", "EXEC", "x")
	c.expect("-ERR EXEC without MULTI", "EXEC")
	c.expect("+OK", "MULTI")
	c.expect("-ERR MULTI calls can not be nested", "MULTI")
	c.expect("-ERR WATCH inside MULTI is not allowed", "WATCH", "a")
	c.expect("+OK", "DISCARD")
}

// TestLargeElements: a command with an element that is too large fails as a whole, on a key that is not there and on one that is.
func TestLargeElements(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	c := connect(t, n)
	large := strings.Repeat("x", engine.MaxElement+1)
	for _, args := range [][]string{{"RPUSH", "list", "a"}, {"HSET", "hash", "a", "b", "c"}, {"SADD", "set", "a"}, {"ZADD", "zset", "1", "a", "2"}, {"XADD", "stream", "*", "a"}} {
		for range 2 {
			c.expect("-"+resp.ErrElement, append(slices.Clone(args), large)...)
			c.do(append(slices.Clone(args), "small")...)
		}
	}
	c.expect(`*[$"a" $"small" $"a" $"small"]`, "LRANGE", "list", "0", "-1")
	c.expect(`*[$"a" $"b" $"c" $"small"]`, "HGETALL", "hash")
	c.expect(":2", "SCARD", "set")
	c.expect(`*[$"a" $"1" $"small" $"2"]`, "ZRANGE", "zset", "0", "-1", "WITHSCORES")
	c.expect(":2", "XLEN", "stream")
}

func TestWatch(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		mine    [][]string // before WATCH
		watch   []string
		other   [][]string // by another client, between WATCH and MULTI
		aborted bool
	}{
		{"nothing happens", nil, []string{"k"}, nil, false},
		{"written", nil, []string{"k"}, [][]string{{"SET", "k", "1"}}, true},
		{"one of several", nil, []string{"a", "b", "k"}, [][]string{{"SET", "b", "1"}}, true},
		{"another key", nil, []string{"k"}, [][]string{{"SET", "b", "1"}}, false},
		{"deleted", [][]string{{"SET", "k", "1"}}, []string{"k"}, [][]string{{"DEL", "k"}}, true},
		{"read", [][]string{{"SET", "k", "1"}}, []string{"k"}, [][]string{{"GET", "k"}}, false},
		{"expiry set", [][]string{{"SET", "k", "1"}}, []string{"k"}, [][]string{{"EXPIRE", "k", "100"}}, true},
		{"failed write", [][]string{{"SET", "k", "x"}}, []string{"k"}, [][]string{{"INCR", "k"}}, false},
		{"other database", nil, []string{"k"}, [][]string{{"SELECT", "1"}, {"SET", "k", "1"}}, false},
		{"flushed", [][]string{{"SET", "k", "1"}}, []string{"k"}, [][]string{{"FLUSHALL"}}, true},
		{"absent and flushed", nil, []string{"k"}, [][]string{{"SET", "b", "1"}, {"FLUSHALL"}}, false},
		{"database flushed", [][]string{{"SET", "k", "1"}}, []string{"k"}, [][]string{{"FLUSHDB"}}, true},
		{"other database flushed", [][]string{{"SET", "k", "1"}}, []string{"k"}, [][]string{{"SELECT", "1"}, {"SET", "k", "1"}, {"FLUSHDB"}}, false},
		{"flushed, then written", nil, []string{"k"}, [][]string{{"SET", "b", "1"}, {"FLUSHDB"}, {"SET", "k", "1"}}, true},
		{"swapped away", [][]string{{"SET", "k", "1"}}, []string{"k"}, [][]string{{"SWAPDB", "0", "1"}}, true},
		{"swapped in", nil, []string{"k"}, [][]string{{"SELECT", "1"}, {"SET", "k", "1"}, {"SWAPDB", "0", "1"}}, true},
		{"absent and swapped", nil, []string{"k"}, [][]string{{"SWAPDB", "0", "1"}}, false},
		{"swapped, then written", nil, []string{"k"}, [][]string{{"SWAPDB", "0", "1"}, {"SET", "k", "1"}}, true},
		{"swapped, then written elsewhere", nil, []string{"k"}, [][]string{{"SWAPDB", "0", "1"}, {"SELECT", "1"}, {"SET", "k", "1"}}, false},
		{"renamed onto", nil, []string{"k"}, [][]string{{"SET", "b", "1"}, {"RENAME", "b", "k"}}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			n := startNode(t)
			c, other := connect(t, n), connect(t, n)
			for _, cmd := range tc.mine {
				c.do(cmd...)
			}
			c.expect("+OK", append([]string{"WATCH"}, tc.watch...)...)
			for _, cmd := range tc.other {
				other.do(cmd...)
			}
			c.expect("+OK", "MULTI")
			c.expect("+QUEUED", "PING")
			want := "*[+PONG]"
			if tc.aborted {
				want = "*null"
			}
			c.expect(want, "EXEC")
			if n.Watches.Len() != 0 {
				t.Errorf("%d watches are left", n.Watches.Len())
			}
			c.expect("+OK", "MULTI")
			c.expect("*[]", "EXEC")
		})
	}
}

func TestWatchedKeyExpires(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	n.Store.SetActiveExpire(false)
	c := connect(t, n)
	c.expect("+OK", "SET", "soon", "1", "PX", "20")
	c.expect("+OK", "WATCH", "soon")
	c.expect("+OK", "MULTI")
	poll.Until(t, "the key expires", func() bool { return connect(t, n).do("EXISTS", "soon").Int() == 0 })
	c.expect("*null", "EXEC")

	// A key that was gone already when it was watched is no change, whether or not it is removed meanwhile.
	c.expect("+OK", "WATCH", "soon")
	n.Store.SetActiveExpire(true)
	poll.Until(t, "the key is removed", func() bool { return n.Store.DBCounts(0).Keys == 0 })
	c.expect("+OK", "MULTI")
	c.expect("*[]", "EXEC")
}

func TestUnwatchAndDiscard(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	c, other := connect(t, n), connect(t, n)
	for _, end := range []string{"UNWATCH", "DISCARD", "RESET"} {
		c.expect("+OK", "WATCH", "k", "k", "j")
		if n.Watches.Len() != 2 {
			t.Fatalf("%d watches of two keys", n.Watches.Len())
		}
		other.expect("+OK", "SET", "k", "1")
		if end == "DISCARD" {
			c.expect("+OK", "MULTI")
		}
		c.do(end)
		c.expect("+OK", "MULTI")
		c.expect("*[]", "EXEC")
	}
	c.expect("+OK", "WATCH", "k")
	n.Disconnect(c.s)
	if n.Watches.Len() != 0 {
		t.Error("a closed connection watches still")
	}
	n.Connect(c.s)
}

func TestOneClockInExec(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	c := connect(t, n)
	c.expect("+OK", "MULTI")
	for i := range 50 {
		c.do("SET", "k"+strconv.Itoa(i), "1", "PX", "100000")
		c.do("PEXPIRETIME", "k"+strconv.Itoa(i))
	}
	times := map[string]bool{}
	for i, v := range c.do("EXEC").Elems {
		if i%2 == 1 {
			times[v.Text] = true
		}
	}
	if len(times) != 1 {
		t.Errorf("%d different clocks", len(times))
	}
}

func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	n := startNode(t, "--client-query-buffer-limit", "1mb")
	c := connect(t, n)
	c.do("MULTI")
	for range 20 {
		c.do("SET", "k", strings.Repeat("x", 100_000))
	}
	if !c.s.CloseAfterReply {
		t.Errorf("%d bytes are queued", c.s.queueBytes)
	}
	c = connect(t, n)
	for i := range 5000 {
		c.do("WATCH", "key"+strconv.Itoa(i))
	}
	if !c.s.CloseAfterReply {
		t.Errorf("%d bytes are watched", c.s.watchBytes)
	}
}
