package server

import (
	"bytes"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cairndb/cairn/server/command"
	"github.com/cairndb/cairn/tools/poll"
	"github.com/cairndb/cairn/tools/testnode"
	"github.com/cairndb/cairn/tools/wire"
)

// malformed are requests whose answers must be Redis's, to the byte, up to the end of the connection.
var malformed = []string{
	"*1\r\n$9223372036854775807\r\n", "*3000000000\r\n", "*2147483648\r\n", "*0\r\nPING\r\n", "*-1\r\nPING\r\n",
	"*-10\r\n\r\n\r\nPING\r\n", "*\r\n", "*a\r\n", "*01\r\n", "*+1\r\n", "* 1\r\n", "*1 \r\n", "*9223372036854775808\r\n",
	"*1\r\n$-1\r\n", "*1\r\n$a\r\n", "*1\r\n$\r\n", "*1\r\n$01\r\nx\r\n", "*1\r\n$00\r\n\r\n", "*1\r\n$536870913\r\n",
	"*1\r\nPING\r\n", "*1\r\n:1\r\n", "*1\r\n\r\n", "*2\r\n$4\r\nECHO\r\n*1\r\n", "*1\r\n\xff\r\n",
	"*1\r\n$4\r\nPINGxx*1\r\n$4\r\nPING\r\n", "*1\rx$4\rxPING\r\n",
	"PING\n", "PING\r\n", "\r\n\r\nPING\r\n", "  PING  \r\n", "ping \"\\x41\\n\\\"\" \r\n", "ping 'a\\'b'\r\n", "ping ''\r\n", "ping \"\"\r\n",
	"ping \"a\r\n", "ping 'a\r\n", "ping \"a\"b\r\n", "ping 'a'b\r\n", "ping a\"b c\"\r\n", "ping \"\\x4\"\r\n", "ping \"\\\r\n",
	"*" + strings.Repeat("1", 70000), "*1\r\n$" + strings.Repeat("1", 70000), "*1\r\n" + strings.Repeat("x", 70000), strings.Repeat("x", 70000),
	"nope\r\n", "nope 'a b' c\r\n", "*2\r\n$4\r\nno\r\n\r\n$3\r\na\r\nb\r\n", "nope " + strings.Repeat("x", 200) + " y\r\n",
	"nope " + strings.Repeat("abc ", 60) + "\r\n", strings.Repeat("n", 200) + " a\r\n", "nope \"a\\x00b\" c\r\n", "\"no\\x00pe\" c\r\n", "\"\" a\r\n",
	"get\r\n", "GET a b\r\n", "CONFIG\r\n", "config nope a\r\n", "config get\r\n", "client " + strings.Repeat("x", 200) + "\r\n", "object\r\n", "object nope k\r\n",
	"POST / HTTP/1.1\r\nHost: x\r\n\r\n", "GET / HTTP/1.1\r\n\r\nHost: x\r\nPING\r\n",
	"quit\r\nPING\r\n", "QUIT now\r\n",
	"multi\r\nnope\r\nget\r\nset k v\r\nexec\r\n", "multi\r\nmulti\r\nwatch k\r\nset k v\r\nexec\r\nget k\r\n", "exec\r\ndiscard\r\n", "multi\r\nset k v\r\ndiscard\r\nexec\r\n",
	"multi\r\nexec a\r\nset k v\r\nexec\r\n", "multi\r\n",
	"client reply off\r\nping\r\nclient reply on\r\nping\r\nclient reply skip\r\nping\r\nping\r\n", "client reply skip\r\nnope\r\nping\r\n",
	"client reply off\r\n*1\r\nPING\r\n",
}

// finish sends input, ends the sending side, and returns all that comes back.
func finish(t testing.TB, addr, input string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = c.Write([]byte(input))
	_ = c.(*net.TCPConn).CloseWrite()
	return readToEnd(t, c)
}

func TestMalformedLikeRedis(t *testing.T) {
	redis := testnode.StartRedis(t)
	allDrivers(t, func(t *testing.T, s setup) {
		srv := start(t, s)
		for _, in := range malformed {
			want, got := finish(t, redis.Addr(), "select 3\r\n"+in), finish(t, srv.addr, "select 3\r\n"+in)
			if got != want {
				t.Errorf("%.60q (%d bytes)\ngot  %q\nwant %q", in, len(in), got, want)
			}
		}
	})
}

func TestMalformedUnauthenticated(t *testing.T) {
	redis := testnode.StartRedis(t, "--requirepass", "secret")
	allDrivers(t, func(t *testing.T, s setup) {
		s.args = append(s.args, "--requirepass", "secret")
		srv := start(t, s)
		for _, in := range []string{"*11\r\n", "*10\r\n$16385\r\n", "ping\r\n", "get\r\n", "nope\r\n", "multi\r\n", "auth x\r\nauth secret\r\nping\r\n", "quit\r\n"} {
			want, got := finish(t, redis.Addr(), in), finish(t, srv.addr, in)
			if got != want {
				t.Errorf("%.60q\ngot  %q\nwant %q", in, got, want)
			}
		}
	})
}

// A peer that sends one byte at a time gets its answer and costs next to nothing.
func TestDrip(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		c := start(t, s).dial()
		for _, b := range []byte("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nhello\r\nGET k\r\n") {
			if _, err := c.Write([]byte{b}); err != nil {
				t.Fatal(err)
			}
		}
		for _, want := range []string{"+OK", `$"hello"`} {
			if v, err := c.Receive(); err != nil || v.String() != want {
				t.Fatalf("%v, %v; want %s", v, err, want)
			}
		}
	})
}

func TestQueryBufferLimit(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		s.args = append(s.args, "--client-query-buffer-limit", "1mb")
		srv := start(t, s)
		c := srv.dial()
		_, _ = c.Write([]byte("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3000000\r\n"))
		_, _ = c.Write(make([]byte, 2<<20)) // fails when the server has closed already
		if got := readToEnd(t, c); got != "" {
			t.Errorf("%q", got)
		}
		if n := srv.node.Stats.QueryLimit.Load(); n != 1 {
			t.Errorf("query_buffer_limit_disconnections: %d", n)
		}
		expect(t, srv.dial(), "PING", "+PONG")
	})
}

// What a peer sends faster than its requests are run stays in the kernel.
func TestInputIsBounded(t *testing.T) {
	srv := start(t, setup{})
	c, other := srv.dial(), srv.dial()
	expect(t, other, "SET big "+strings.Repeat("x", 1<<20), "+OK")
	request := bytes.Repeat([]byte("GET big\r\n"), 1000)
	go func() {
		for range 200 {
			if _, err := c.Write(request); err != nil {
				return
			}
		}
	}()
	for range 300 {
		if v, err := c.Receive(); err != nil || len(v.Text) != 1<<20 {
			t.Fatalf("%d bytes, %v", len(v.Text), err)
		}
		srv.node.Clients.Each(func(s *command.Session) bool {
			if held := s.QueryBuf.Load() + s.QueryFree.Load(); held > 1<<20 {
				t.Errorf("%d bytes of requests are held", held)
				return false
			}
			return true
		})
	}
	_ = c.Close()
}

// A peer that never reads its replies keeps a bounded part of them waiting; nobody else notices.
func TestPeerThatNeverReads(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		srv := start(t, s)
		c, other := srv.dial(), srv.dial()
		expect(t, other, "SET big "+strings.Repeat("x", 1<<20), "+OK")
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			request := bytes.Repeat([]byte("GET big\r\n"), 1000)
			for range 20 { // 20 GB of replies
				if _, err := c.Write(request); err != nil {
					return
				}
			}
		}()
		poll.Until(t, "replies wait", func() bool { return srv.outgoing.Load() > 0 || s.portable })
		for range 100 {
			expect(t, other, "SET k v", "+OK")
		}
		if n := srv.outgoing.Load(); n > outputBacklog+4<<20 {
			t.Errorf("%d bytes wait", n)
		}
		_ = c.Close()
		<-sent
		poll.Until(t, "the connection goes", func() bool { return srv.node.Clients.Len() == 1 && srv.outgoing.Load() == 0 })
	})
}

func TestOutputLimits(t *testing.T) {
	for name, limit := range map[string]string{"hard": "normal 2mb 0 0", "soft": "normal 0 1mb 1"} {
		t.Run(name, func(t *testing.T) {
			allDrivers(t, func(t *testing.T, s setup) {
				s.args = append(append(s.args, "--client-output-buffer-limit"), strings.Fields(limit)...)
				srv := start(t, s)
				c, other := srv.dial(), srv.dial()
				expect(t, other, "SET big "+strings.Repeat("x", 1<<20), "+OK")
				_, _ = c.Write(bytes.Repeat([]byte("GET big\r\n"), 100))
				if s.portable && name == "hard" {
					return // there a reader that lags holds up its own requests, so that little waits
				}
				poll.Until(t, "the connection is closed", func() bool { return srv.node.Stats.ClientOutLimit.Load() == 1 })
				expect(t, other, "PING", "+PONG")
			})
		})
	}
}

func TestMaxClients(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		s.args = append(s.args, "--maxclients", "2")
		srv := start(t, s)
		a, b := srv.dial(), srv.dial()
		expect(t, a, "PING", "+PONG")
		expect(t, b, "PING", "+PONG")
		if got := readToEnd(t, srv.dial()); got != "-ERR max number of clients reached\r\n" {
			t.Errorf("%q", got)
		}
		_ = a.Close()
		poll.Until(t, "a place is free", func() bool { return srv.node.Clients.Len() == 1 })
		expect(t, srv.dial(), "PING", "+PONG")
	})
}

func TestProtectedMode(t *testing.T) {
	ip := outsideIP(t)
	l, err := net.Listen("tcp", ip+":0")
	if err != nil {
		t.Fatal(err)
	}
	srv := start(t, setup{listener: l})
	if got := readToEnd(t, srv.dial()); !strings.HasPrefix(got, "-DENIED Redis is running in protected mode") || !strings.HasSuffix(got, "outside.\r\n") {
		t.Errorf("%q", got)
	}
}

// outsideIP is an address of this machine that is not a loopback one.
func outsideIP(t *testing.T) string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			return n.IP.String()
		}
	}
	t.Skip("this machine has a loopback interface only")
	return ""
}

func TestIdleTimeout(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		s.args = append(s.args, "--timeout", "1")
		srv := start(t, s)
		c := srv.dial()
		expect(t, c, "PING", "+PONG")
		begin := time.Now()
		readToEnd(t, c)
		if took := time.Since(begin); took < 900*time.Millisecond || took > 30*time.Second {
			t.Errorf("closed after %v", took)
		}
	})
}

// Ten thousand connections cost little memory each, and those that work are served.
func TestManyConnections(t *testing.T) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	n := min(10_000, (int(limit.Cur)-500)/2) // both ends are in this process
	srv := start(t, setup{args: []string{"--maxclients", "20000"}})
	busy := srv.dial()
	expect(t, busy, "PING", "+PONG")
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	conns := make([]net.Conn, 0, n)
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	for i := range n {
		c, err := net.Dial("tcp", srv.addr)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
		if _, err := c.Write([]byte("SET k v\r\n*2\r\n$3\r\nGE")); err != nil {
			t.Fatal(err)
		}
		if i%1000 == 0 {
			expect(t, busy, "SET busy 1", "+OK")
		}
	}
	poll.Until(t, "all are connected", func() bool { return srv.node.Clients.Len() == n+1 })
	expect(t, busy, "GET busy", `$"1"`)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if each := (int(after.HeapAlloc) - int(before.HeapAlloc)) / n; each > 8<<10 {
		t.Errorf("a connection with half a request holds %d bytes", each)
	}
	for i := 0; i < n; i += 100 {
		c := &wire.Conn{Conn: conns[i]}
		if _, err := c.Write([]byte("T\r\n$1\r\nk\r\n")); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, len("+OK\r\n$1\r\nv\r\n"))
		_ = conns[i].SetReadDeadline(time.Now().Add(10 * time.Second))
		for got := 0; got < len(b); {
			k, err := conns[i].Read(b[got:])
			if err != nil {
				t.Fatal(err)
			}
			got += k
		}
		if string(b) != "+OK\r\n$1\r\nv\r\n" {
			t.Fatalf("%q", b)
		}
	}
}

// The connection that holds most is closed when the waiting replies of all exceed the budget.
func TestOutputBudget(t *testing.T) {
	if testing.Short() {
		t.Skip("renders 300 MB of replies")
	}
	srv := start(t, setup{})
	other := srv.dial()
	expect(t, other, "SET big "+strings.Repeat("x", 1e6), "+OK") // more would be sent in pieces
	for range 8 {
		c := srv.dial()
		_, _ = c.Write(bytes.Repeat([]byte("GET big\r\n"), 100))
	}
	poll.Until(t, "somebody is closed", func() bool { return srv.node.Stats.ClientOutLimit.Load() > 0 })
	if n := srv.outgoing.Load(); n > outputBudget+32<<20 {
		t.Errorf("%d bytes wait", n)
	}
	expect(t, other, "PING", "+PONG")
}
