package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/cairndb/cairn/cluster"
	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/server/command"
	"github.com/cairndb/cairn/server/config"
	"github.com/cairndb/cairn/tools/poll"
	"github.com/cairndb/cairn/tools/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testServer is a server on a store in memory.
type testServer struct {
	*Server
	t    testing.TB
	addr string
	log  *logBuffer
}

// logBuffer is what the server logged.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// setup is what start makes a server of.
type setup struct {
	portable bool
	store    func(*engine.Options)
	args     []string // directives: "--name", "value", …
	listener net.Listener
	still    bool // Serve is not called
	cluster  *cluster.Cluster
}

func start(t testing.TB, s setup) *testServer {
	t.Helper()
	conf, _, err := config.Load("", append([]string{"--dir", t.TempDir(), "--enable-debug-command", "yes"}, s.args...))
	if err != nil {
		t.Fatal(err)
	}
	o := engine.DefaultOptions()
	o.FS, o.CacheBytes, o.MemTableBytes, o.RecordCacheBytes = vfs.NewMem(), 8<<20, 4<<20, 32<<20
	o.FreeSpaceReserve = 1
	if s.store != nil {
		s.store(&o)
	}
	store, err := engine.Open(conf.Dir(), o)
	if err != nil {
		t.Fatal(err)
	}
	if s.listener == nil {
		if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	log := &logBuffer{}
	srv, err := New(Options{
		Config: conf, Store: store, Cluster: s.cluster, RunID: strings.Repeat("a", 40), portable: s.portable,
		Listeners: []net.Listener{s.listener}, Logger: slog.New(slog.NewTextHandler(log, nil)),
		StoreOptions: func() engine.Options { return o },
	})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	if s.still {
		ended <- ErrClosed
	} else {
		go func() { ended <- srv.Serve() }()
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		select {
		case err := <-ended:
			if !errors.Is(err, ErrClosed) {
				t.Errorf("serve: %v", err)
			}
		case <-ctx.Done():
			t.Fatal("Serve does not return")
		}
		if n := srv.node.Clients.Len(); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
		if n := srv.outgoing.Load(); n != 0 {
			t.Errorf("%d reply bytes are still counted", n)
		}
		if err := srv.Store().Close(); err != nil && s.store == nil {
			t.Errorf("close: %v", err)
		}
	})
	return &testServer{Server: srv, t: t, addr: s.listener.Addr().String(), log: log}
}

func (s *testServer) dial() *wire.Conn {
	s.t.Helper()
	c, err := wire.Dial(s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// do runs a command and returns the reply as text.
func do(t testing.TB, c *wire.Conn, line string) string {
	t.Helper()
	v, err := c.Do(strings.Fields(line)...)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return v.String()
}

func expect(t testing.TB, c *wire.Conn, line, want string) {
	t.Helper()
	if got := do(t, c, line); got != want {
		t.Fatalf("%s: got %s, want %s", line, got, want)
	}
}

// allDrivers runs fn on one epoll loop, on three, and on the portable driver.
func allDrivers(t *testing.T, fn func(t *testing.T, s setup)) {
	t.Parallel()
	for name, s := range drivers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.args = slices.Clone(s.args)
			fn(t, s)
		})
	}
}

var drivers = map[string]setup{
	"loop":     {},
	"loops":    {args: []string{"--io-threads", "3"}},
	"portable": {portable: true},
}

// readToEnd returns what the server sends until it closes the connection.
func readToEnd(t testing.TB, c net.Conn) string {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	b, err := io.ReadAll(c)
	if err != nil && !strings.Contains(err.Error(), "reset") {
		t.Fatalf("%v after %.200q", err, b)
	}
	return string(b)
}

func TestBasics(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		c := start(t, s).dial()
		expect(t, c, "PING", "+PONG")
		expect(t, c, "SET k v", "+OK")
		expect(t, c, "GET k", `$"v"`)
		expect(t, c, "GET none", "$null")
		expect(t, c, "NOPE a b", "-ERR unknown command 'NOPE', with args beginning with: 'a' 'b' ")
		expect(t, c, "GET", "-ERR wrong number of arguments for 'get' command")
		expect(t, c, "CONFIG NOPE", "-ERR unknown subcommand 'NOPE'. Try CONFIG HELP.")
		expect(t, c, "CONFIG GET", "-ERR wrong number of arguments for 'config|get' command")
		expect(t, c, "MSET a 1 b 2 {c}1 3", "+OK")
		expect(t, c, "DBSIZE", ":4")
		expect(t, c, "FLUSHALL", "+OK")
		expect(t, c, "DBSIZE", ":0")
	})
}

// Replies come in the order of the requests, however these are cut, and each command sees what those before it wrote.
func TestPipelineOrder(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		srv := start(t, s)
		var wg sync.WaitGroup
		for client := range 4 {
			c := srv.dial()
			wg.Add(1)
			go func() {
				defer wg.Done()
				if err := checkPipeline(c, client); err != nil {
					t.Error(err)
				}
			}()
		}
		wg.Wait()
	})
}

func checkPipeline(c *wire.Conn, client int) error {
	random := rand.New(rand.NewPCG(uint64(client), 1))
	key := fmt.Sprintf("key%d", client)
	var want []string
	counter := 0
	for range 3000 {
		switch random.IntN(6) {
		case 0:
			c.Send("PING")
			want = append(want, "+PONG")
		case 1:
			c.Send("GET", key)
			if counter == 0 {
				want = append(want, "$null")
			} else {
				want = append(want, "$"+strconv.Quote(strconv.Itoa(counter)))
			}
		case 2: // of a worker
			c.Send("DEBUG", "SLEEP", "0")
			want = append(want, "+OK")
		default:
			counter++
			c.Send("INCR", key)
			want = append(want, fmt.Sprintf(":%d", counter))
		}
		if random.IntN(50) == 0 {
			if err := c.Flush(); err != nil {
				return err
			}
		}
	}
	if err := c.Flush(); err != nil {
		return err
	}
	for i, w := range want {
		v, err := c.Receive()
		if err != nil {
			return fmt.Errorf("reply %d: %w", i, err)
		}
		if v.String() != w {
			return fmt.Errorf("reply %d: %s, want %s", i, v, w)
		}
	}
	return nil
}

// What many connections do to the same keys at once adds up.
func TestConcurrentIncrements(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		srv := start(t, s)
		const clients, each = 8, 300
		var wg sync.WaitGroup
		for range clients {
			c := srv.dial()
			wg.Add(1)
			go func() {
				defer wg.Done()
				for i := range each {
					c.Send("INCR", fmt.Sprintf("n%d", i%3))
					c.Send("MULTI")
					c.Send("INCR", "x")
					c.Send("INCR", "y")
					c.Send("EXEC")
				}
				if err := c.Flush(); err != nil {
					t.Error(err)
				}
				for range each * 5 {
					if v, err := c.Receive(); err != nil || v.IsError() {
						t.Errorf("%v, %v", v, err)
						return
					}
				}
			}()
		}
		wg.Wait()
		c := srv.dial()
		expect(t, c, "MGET n0 n1 n2 x y", fmt.Sprintf(`*[$"%[1]d" $"%[1]d" $"%[1]d" $"%[2]d" $"%[2]d"]`, clients*each/3, clients*each))
	})
}

// A slow command holds up its own connection only.
func TestSlowCommandLeavesOthersAlone(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		srv := start(t, s)
		slow, other := srv.dial(), srv.dial()
		expect(t, other, "PING", "+PONG")
		// A machine that is busy may need a longer sleep to tell; who is held up waits for any.
		for sleep := 300 * time.Millisecond; ; sleep *= 3 {
			took := besideSlow(t, slow, other, sleep)
			if took < sleep*3/4 {
				break
			}
			if sleep > 5*time.Second {
				t.Fatalf("others waited %v for a sleep of %v", took, sleep)
			}
		}
	})
}

// besideSlow has one connection sleep, and returns how long the commands of the other one took meanwhile.
func besideSlow(t *testing.T, slow, other *wire.Conn, sleep time.Duration) (took time.Duration) {
	t.Helper()
	slow.Send("DEBUG", "SLEEP", fmt.Sprint(sleep.Seconds()))
	slow.Send("PING")
	begin := time.Now()
	if err := slow.Flush(); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		expect(t, other, "SET k v", "+OK")
	}
	took = time.Since(begin)
	for _, want := range []string{"+OK", "+PONG"} {
		if v, err := slow.Receive(); err != nil || v.String() != want {
			t.Errorf("%v, %v; want %s", v, err, want)
		}
	}
	return took
}

func TestTransactions(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		srv := start(t, s)
		a, b := srv.dial(), srv.dial()
		expect(t, a, "EXEC", "-ERR EXEC without MULTI")
		expect(t, a, "MULTI", "+OK")
		expect(t, a, "SET k 1", "+QUEUED")
		expect(t, a, "INCR k", "+QUEUED")
		expect(t, b, "GET k", "$null")
		expect(t, a, "EXEC", "*[+OK :2]")
		expect(t, a, "WATCH k", "+OK")
		expect(t, b, "SET k 5", "+OK")
		expect(t, a, "MULTI", "+OK")
		expect(t, a, "INCR k", "+QUEUED")
		expect(t, a, "EXEC", "*null")
		expect(t, a, "MULTI", "+OK")
		expect(t, a, "NOPE", "-ERR unknown command 'NOPE', with args beginning with: ")
		expect(t, a, "SET k 9", "+QUEUED")
		expect(t, a, "EXEC", "-EXECABORT Transaction discarded because of previous errors.")
		expect(t, a, "GET k", `$"5"`)
		expect(t, a, "MULTI", "+OK")
		expect(t, a, "KEYS *", "+QUEUED")
		expect(t, a, "FLUSHALL", "+QUEUED")
		expect(t, a, "DBSIZE", "+QUEUED")
		expect(t, a, "EXEC", `*[*[$"k"] +OK :0]`)
	})
}

func TestAuth(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		s.args = append(s.args, "--requirepass", "secret")
		c := start(t, s).dial()
		expect(t, c, "GET k", "-NOAUTH Authentication required.")
		expect(t, c, "NOPE", "-ERR unknown command 'NOPE', with args beginning with: ")
		expect(t, c, "AUTH secret", "+OK")
		expect(t, c, "SET k "+strings.Repeat("v", 20000), "+OK")
	})
}

func TestReplyModes(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		c := start(t, s).dial()
		c.Send("CLIENT", "REPLY", "OFF")
		c.Send("SET", "k", "1")
		c.Send("NOPE")
		c.Send("CLIENT", "REPLY", "ON")
		c.Send("CLIENT", "REPLY", "SKIP")
		c.Send("INCR", "k")
		c.Send("GET", "k")
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"+OK", `$"2"`} {
			if v, err := c.Receive(); err != nil || v.String() != want {
				t.Errorf("%v, %v; want %s", v, err, want)
			}
		}
	})
}

func TestClientPause(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		srv := start(t, s)
		a, b := srv.dial(), srv.dial()
		expect(t, a, "CLIENT PAUSE 60000 WRITE", "+OK")
		b.Send("GET", "k")
		b.Send("SET", "k", "v")
		b.Send("GET", "k")
		if err := b.Flush(); err != nil {
			t.Fatal(err)
		}
		if v, err := b.Receive(); err != nil || v.String() != "$null" {
			t.Fatalf("%v, %v", v, err)
		}
		expect(t, a, "GET k", "$null")
		expect(t, a, "CLIENT UNPAUSE", "+OK")
		for _, want := range []string{"+OK", `$"v"`} {
			if v, err := b.Receive(); err != nil || v.String() != want {
				t.Errorf("%v, %v; want %s", v, err, want)
			}
		}
		expect(t, a, "CLIENT PAUSE 50", "+OK")
		expect(t, b, "GET k", `$"v"`)
	})
}

func TestClientKill(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		srv := start(t, s)
		a := srv.dial()
		expect(t, a, "PING", "+PONG")
		for _, before := range []string{"PING", "DEBUG SLEEP 0.2"} {
			b := srv.dial()
			id := do(t, b, "CLIENT ID")
			b.Send(strings.Fields(before)...)
			if err := b.Flush(); err != nil {
				t.Fatal(err)
			}
			expect(t, a, "CLIENT KILL ID "+strings.TrimPrefix(id, ":"), ":1")
			readToEnd(t, b)
		}
		poll.Until(t, "the killed are listed no more", func() bool { return srv.node.Clients.Len() == 1 })
	})
}

// A handler that panics costs its connection, not the process.
func TestPanic(t *testing.T) {
	row, _ := command.Lookup([][]byte{[]byte("msetnx")})
	run := row.Run
	row.Run = func(c *command.Ctx) {
		run(c)
		panic("out of stones")
	}
	defer func() { row.Run = run }()
	for name, s := range drivers {
		t.Run(name, func(t *testing.T) {
			srv := start(t, s)
			a, b := srv.dial(), srv.dial()
			expect(t, b, "SET other 1", "+OK")
			a.Send("SET", "first", "1")
			a.Send("MSETNX", "k", "v")
			a.Send("PING")
			if err := a.Flush(); err != nil {
				t.Fatal(err)
			}
			got := readToEnd(t, a)
			if !strings.Contains(got, "internal error") || strings.Contains(got, "PONG") {
				t.Errorf("%q", got)
			}
			if log := srv.log.String(); !strings.Contains(log, "out of stones") || !strings.Contains(log, "stack=") {
				t.Errorf("log: %s", log)
			}
			expect(t, b, "GET k", "$null")
			expect(t, b, "SET k 2", "+OK")
			expect(t, b, "GET other", `$"1"`)
		})
	}
}

// Who connects before the server is made waits, and is served then.
func TestEarlyClients(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		conf, _, err := config.Load("", []string{"--port", "0"})
		if err != nil {
			t.Fatal(err)
		}
		if l, err := Listen(conf); err != nil || len(l) > 0 {
			t.Errorf("%v, %v without a port", l, err)
		}
		if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		c, err := wire.Dial(s.listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.Send("SET", "k", "v")
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
		start(t, s)
		if v, err := c.Receive(); err != nil || v.String() != "+OK" {
			t.Errorf("%v, %v", v, err)
		}
	})
}

func TestUnixSocket(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		l, err := listenUnix(t.TempDir()+"/s", 0o600)
		if err != nil {
			t.Fatal(err)
		}
		s.listener = l
		c := start(t, s).dial()
		expect(t, c, "SET k v", "+OK")
	})
}
