package command_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/server"
	"github.com/cairndb/cairn/server/config"
	"github.com/cairndb/cairn/tools/poll"
	"github.com/cairndb/cairn/tools/wire"
)

// live is a server with its sockets, on a store in memory.
type live struct {
	t        testing.TB
	addr     string
	shutdown chan bool // gets SHUTDOWN's save
}

func startLive(t testing.TB, directives ...string) *live {
	t.Helper()
	conf, _, err := config.Load("", append([]string{"--dir", t.TempDir(), "--enable-debug-command", "yes"}, directives...))
	if err != nil {
		t.Fatal(err)
	}
	store, err := engine.Open("data", engine.Options{FS: vfs.NewMem(), RecordCacheBytes: -1, FreeSpaceReserve: 1, MemTableBytes: 1 << 20, CacheBytes: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &live{t: t, addr: listener.Addr().String(), shutdown: make(chan bool, 1)}
	srv, err := server.New(server.Options{
		Config: conf, Store: store, RunID: strings.Repeat("b", 40), Version: "1.2.3",
		Listeners: []net.Listener{listener}, OnShutdown: func(save bool) { l.shutdown <- save },
	})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve() }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, server.ErrClosed) {
			t.Error(err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func (l *live) dial() *wire.Conn {
	l.t.Helper()
	c, err := wire.Dial(l.addr)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { c.Close() })
	return c
}

func must(t testing.TB, c *wire.Conn, args ...string) wire.Value {
	t.Helper()
	v, err := c.Must(args...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func expect(t testing.TB, c *wire.Conn, want string, args ...string) {
	t.Helper()
	v, err := c.Do(args...)
	if err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	if v.String() != want {
		t.Errorf("%q: got %s, want %s", args, v, want)
	}
}

// closed says whether the server ended the connection.
func closed(t testing.TB, c *wire.Conn) {
	t.Helper()
	if v, err := c.Receive(); err == nil {
		t.Errorf("the connection lives: %s", v)
	}
}

func TestKillClosesConnections(t *testing.T) {
	t.Parallel()
	l := startLive(t)
	me := l.dial()
	expect(t, me, ":0", "CLIENT", "KILL", "TYPE", "normal") // SKIPME by default

	victim := l.dial()
	id := must(t, victim, "CLIENT", "ID").Text
	expect(t, me, ":1", "CLIENT", "KILL", "ID", id)
	closed(t, victim)

	victim = l.dial()
	must(t, victim, "PING")
	expect(t, me, "+OK", "CLIENT", "KILL", victim.LocalAddr().String())
	closed(t, victim)

	for range 5 {
		victim = l.dial()
		must(t, victim, "PING")
	}
	poll.Until(t, "six clients are connected", func() bool { return strings.Count(must(t, me, "CLIENT", "LIST").Text, "\n") == 6 })
	expect(t, me, ":6", "CLIENT", "KILL", "LADDR", l.addr, "SKIPME", "no")
	closed(t, me)
	closed(t, victim)
}

func TestPauseHoldsCommandsBack(t *testing.T) {
	t.Parallel()
	l := startLive(t)
	me, writer := l.dial(), l.dial()
	must(t, me, "SET", "k", "0")
	expect(t, me, "+OK", "CLIENT", "PAUSE", "100000", "WRITE")
	if err := errors.Join(writer.Send("SET", "k", "1"), writer.Flush()); err != nil {
		t.Fatal(err)
	}
	poll.Until(t, "a client is blocked", func() bool { return strings.Contains(must(t, me, "INFO", "clients").Text, "blocked_clients:1\r\n") })
	expect(t, me, `$"0"`, "GET", "k")
	if list := must(t, me, "CLIENT", "LIST").Text; !strings.Contains(list, " flags=b ") {
		t.Errorf("no blocked client in\n%s", list)
	}
	expect(t, me, "+OK", "CLIENT", "UNPAUSE")
	if v, err := writer.Receive(); err != nil || v.String() != "+OK" {
		t.Fatal(v, err)
	}
	expect(t, me, `$"1"`, "GET", "k")

	start := time.Now()
	expect(t, me, "+OK", "CLIENT", "PAUSE", "50")
	expect(t, me, "+PONG", "PING")
	// The end is kept in whole milliseconds, as in Redis.
	if took := time.Since(start); took < 49*time.Millisecond {
		t.Errorf("a pause of 50 ms ended after %v", took)
	}
}

func TestReplyModes(t *testing.T) {
	t.Parallel()
	c := startLive(t).dial()
	for _, cmd := range [][]string{
		{"CLIENT", "REPLY", "SKIP"}, {"SET", "k", "1"}, {"GET", "k"},
		{"CLIENT", "REPLY", "OFF"}, {"INCR", "k"}, {"NOSUCH"}, {"INCR", "k"},
		{"CLIENT", "REPLY", "ON"}, {"GET", "k"},
	} {
		if err := c.Send(cmd...); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`$"1"`, "+OK", `$"3"`} {
		if v, err := c.Receive(); err != nil || v.String() != want {
			t.Errorf("got %s (%v), want %s", v, err, want)
		}
	}
}

func TestPasswordIsAskedFor(t *testing.T) {
	t.Parallel()
	l := startLive(t, "--requirepass", "secret")
	c := l.dial()
	const noAuth = "-NOAUTH Authentication required."
	expect(t, c, noAuth, "PING")
	expect(t, c, noAuth, "GET", "k")
	expect(t, c, noAuth, "MULTI")
	expect(t, c, "-WRONGPASS invalid username-password pair or user is disabled.", "AUTH", "wrong")
	expect(t, c, "-WRONGPASS invalid username-password pair or user is disabled.", "AUTH", "other", "secret")
	expect(t, c, "-WRONGPASS invalid username-password pair or user is disabled.", "HELLO", "3", "AUTH", "default", "wrong")
	if v, _ := c.Do("HELLO", "3"); !strings.HasPrefix(v.Text, "NOAUTH HELLO must be called") {
		t.Errorf("HELLO without a login: %s", v)
	}
	expect(t, c, "+OK", "AUTH", "secret")
	expect(t, c, "+PONG", "PING")
	expect(t, c, "+RESET", "RESET")
	expect(t, c, noAuth, "PING")
	if v := must(t, c, "HELLO", "3", "AUTH", "default", "secret", "SETNAME", "me"); v.Kind != '%' {
		t.Errorf("HELLO 3: %s", v)
	}
	expect(t, c, `$"me"`, "CLIENT", "GETNAME")
	if stats := must(t, c, "INFO", "stats").Text; !strings.Contains(stats, "acl_access_denied_auth:3\r\n") {
		t.Errorf("three failed logins are not counted in\n%s", stats)
	}
	must(t, c, "CONFIG", "SET", "requirepass", "")
	expect(t, l.dial(), "+PONG", "PING")
}

func TestSlowlogAndLatency(t *testing.T) {
	t.Parallel()
	c := startLive(t, "--slowlog-log-slower-than", "5000", "--latency-monitor-threshold", "5").dial()
	must(t, c, "CLIENT", "SETNAME", "sleepy")
	must(t, c, "DEBUG", "SLEEP", "0.02")
	v := must(t, c, "SLOWLOG", "GET", "1")
	if len(v.Elems) != 1 {
		t.Fatalf("slow log: %s", v)
	}
	e := v.Elems[0].Elems
	if took := e[2].Int(); took < 20_000 || e[3].String() != `*[$"DEBUG" $"SLEEP" $"0.02"]` || e[4].Text != c.LocalAddr().String() || e[5].Text != "sleepy" {
		t.Errorf("entry: %s", v)
	}
	latest := must(t, c, "LATENCY", "LATEST").Elems
	if len(latest) == 0 || latest[0].Elems[0].Text != "command" || latest[0].Elems[3].Int() < 20 {
		t.Errorf("LATENCY LATEST: %v", latest)
	}
	if n := len(must(t, c, "LATENCY", "HISTORY", "command").Elems); n == 0 {
		t.Error("LATENCY HISTORY is empty")
	}
	expect(t, c, ":1", "LATENCY", "RESET", "command")
	expect(t, c, "+OK", "SLOWLOG", "RESET")
	expect(t, c, ":0", "SLOWLOG", "LEN")
	// What a transaction runs is logged, EXEC itself is not.
	must(t, c, "CONFIG", "SET", "slowlog-log-slower-than", "0")
	must(t, c, "MULTI")
	must(t, c, "SET", "k", "v")
	must(t, c, "EXEC")
	must(t, c, "CONFIG", "SET", "slowlog-log-slower-than", "-1")
	text := must(t, c, "SLOWLOG", "GET").String()
	if !strings.Contains(text, `*[$"SET" $"k" $"v"]`) || strings.Contains(text, `"EXEC"`) {
		t.Errorf("slow log: %s", text)
	}
}

func TestClientListFields(t *testing.T) {
	t.Parallel()
	l := startLive(t)
	c := l.dial()
	must(t, c, "CLIENT", "SETNAME", "me")
	must(t, c, "CLIENT", "SETINFO", "LIB-NAME", "mylib")
	must(t, c, "CLIENT", "SETINFO", "lib-ver", "1.0")
	must(t, c, "SELECT", "3")
	must(t, c, "WATCH", "k")
	must(t, c, "MULTI")
	must(t, c, "SET", "k", "v")
	other := l.dial()
	line := ""
	poll.Until(t, "the reply is sent", func() bool {
		line = strings.TrimSpace(must(t, other, "CLIENT", "LIST", "ID", "1").Text)
		return strings.Contains(line, " obl=0 ")
	})
	// Redis 7.2's fields, in its order.
	want := regexp.MustCompile(`^id=1 addr=127\.0\.0\.1:\d+ laddr=` + regexp.QuoteMeta(l.addr) + ` fd=-?\d+ name=me age=\d+ idle=\d+ flags=x db=3 ` +
		`sub=0 psub=0 ssub=0 multi=1 qbuf=\d+ qbuf-free=\d+ argv-mem=\d+ multi-mem=\d+ rbs=\d+ rbp=\d+ obl=\d+ oll=0 omem=\d+ tot-mem=\d+ ` +
		`events=r cmd=set user=default redir=-1 resp=2 lib-name=mylib lib-ver=1\.0$`)
	if !want.MatchString(line) {
		t.Errorf("CLIENT LIST:\n%s\nwant\n%s", line, want)
	}
}

func TestShutdownAsksTheProgram(t *testing.T) {
	t.Parallel()
	for args, save := range map[string]bool{"SHUTDOWN": true, "SHUTDOWN SAVE NOW": true, "SHUTDOWN NOSAVE FORCE": false} {
		l := startLive(t)
		c := l.dial()
		if err := errors.Join(c.Send(strings.Fields(args)...), c.Flush()); err != nil {
			t.Fatal(err)
		}
		if got := <-l.shutdown; got != save {
			t.Errorf("%s: save is %v", args, got)
		}
	}
}

// TestOptimisticLocking has clients increment counters under WATCH while others look at everything: each
// EXEC that succeeded counts exactly once.
func TestOptimisticLocking(t *testing.T) {
	t.Parallel()
	l := startLive(t)
	const clients, rounds, counters = 8, 150, 3
	var done sync.WaitGroup
	var mu sync.Mutex
	won := map[string]int{}
	for i := range clients {
		c := l.dial()
		done.Go(func() {
			for j := range rounds {
				key := fmt.Sprint("counter", (i+j)%counters)
				must(t, c, "WATCH", key)
				n, _ := strconv.Atoi(must(t, c, "GET", key).Text)
				must(t, c, "MULTI")
				must(t, c, "SET", key, strconv.Itoa(n+1))
				must(t, c, "INCR", "commits")
				if v := must(t, c, "EXEC"); !v.Null {
					mu.Lock()
					won[key]++
					won["commits"]++
					mu.Unlock()
				}
			}
		})
	}
	looker := l.dial()
	done.Go(func() {
		for range 50 {
			must(t, looker, "CLIENT", "LIST")
			must(t, looker, "INFO", "everything")
			must(t, looker, "LATENCY", "HISTOGRAM")
			must(t, looker, "MEMORY", "STATS")
		}
	})
	done.Wait()
	for key, n := range won {
		if got := must(t, looker, "GET", key).Text; got != strconv.Itoa(n) {
			t.Errorf("%s is %s after %d transactions that succeeded", key, got, n)
		}
	}
	if won["commits"] == 0 || won["commits"] == clients*rounds {
		t.Logf("%d of %d transactions succeeded: no conflicts were seen", won["commits"], clients*rounds)
	}
}

func TestInfoCounts(t *testing.T) {
	t.Parallel()
	c := startLive(t).dial()
	for _, cmd := range []string{"SET k v", "GET k", "GET k", "GET nokey", "MGET k nokey", "EXISTS nokey", "SET k2 v EX 1000", "INCR k"} {
		if _, err := c.Do(strings.Fields(cmd)...); err != nil {
			t.Fatal(err)
		}
	}
	text := must(t, c, "INFO", "everything").Text
	for _, want := range []string{"keyspace_hits:3\r\n", "keyspace_misses:3\r\n", "connected_clients:1\r\n", "total_error_replies:1\r\n",
		"errorstat_ERR:count=1\r\n", "cairn_version:1.2.3\r\n", "redis_version:7.2.4\r\n", "db0:keys=2,expires=1,avg_ttl="} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in INFO", want)
		}
	}
	if i, j := strings.Index(text, "\r\nused_memory:"), strings.Index(text, "\r\nused_memory_"); i < 0 || j < i {
		t.Error("used_memory must come before used_memory_*")
	}
	for _, field := range []string{"used_memory", "used_memory_rss", "total_system_memory", "process_id", "total_net_input_bytes", "total_reads_processed"} {
		if m := regexp.MustCompile("\r\n" + field + `:(\d+)\r\n`).FindStringSubmatch(text); m == nil || m[1] == "0" {
			t.Errorf("%s is not a real figure: %v", field, m)
		}
	}
	if strings.Count(text, "\n") != strings.Count(text, "\r\n") {
		t.Error("a line of INFO ends without CR LF")
	}
	// What a burst has written is in the INFO of the same burst.
	if err := errors.Join(c.Send("SET", "k3", "v"), c.Send("INFO", "keyspace"), c.Flush()); err != nil {
		t.Fatal(err)
	}
	must2 := func() wire.Value {
		v, err := c.Receive()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	must2()
	if v := must2(); !strings.Contains(v.Text, "db0:keys=3,") {
		t.Errorf("INFO in a burst: %s", v)
	}
}
