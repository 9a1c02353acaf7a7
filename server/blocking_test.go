package server

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/server/resp"
	"github.com/cairndb/cairn/tools/poll"
	"github.com/cairndb/cairn/tools/testnode"
	"github.com/cairndb/cairn/tools/wire"
)

// TestBlocking runs testdata/blocking, TestBlockingRedis the same on Redis. A line of a play is one of
//
//	a: COMMAND …     connection a sends a command and gets its reply
//	a: COMMAND … &   it sends the command, whose reply comes later
//	a<               a reply that comes later
//	a!               the connection is closed
//	waiting N        until so many connections wait
//
// "$a" is the ID of connection a, and "…" is unquoted as in Go. Each play begins without keys and with new connections. One with "cairn" is not
// for Redis 7.0.
func TestBlocking(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) { runPlays(t, start(t, s).addr, false) })
}

func TestBlockingRedis(t *testing.T) {
	t.Parallel()
	runPlays(t, testnode.StartRedis(t).Addr(), true)
}

func runPlays(t *testing.T, addr string, redis bool) {
	datadriven.RunTest(t, "testdata/blocking", func(t *testing.T, d *datadriven.TestData) string {
		if d.HasArg("cairn") && redis {
			return d.Expected
		}
		p := &play{t: t, addr: addr, conns: make(map[string]*wire.Conn), ids: make(map[string]string), watch: dial(t, addr)}
		defer p.close()
		p.watch.Do("FLUSHALL")
		awaitBlocked(t, p.watch, 0)
		var out strings.Builder
		for line := range strings.Lines(d.Input) {
			out.WriteString(p.line(strings.TrimSpace(line)))
		}
		return out.String()
	})
}

// play is one run of the lines.
type play struct {
	t     *testing.T
	addr  string
	conns map[string]*wire.Conn
	ids   map[string]string
	watch *wire.Conn
}

func dial(t *testing.T, addr string) *wire.Conn {
	t.Helper()
	c, err := wire.Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (p *play) close() {
	for _, c := range p.conns {
		c.Close()
	}
	p.watch.Close()
}

func (p *play) conn(name string) *wire.Conn {
	if p.conns[name] == nil {
		p.conns[name] = dial(p.t, p.addr)
		id, err := p.conns[name].Must("CLIENT", "ID")
		if err != nil {
			p.t.Fatal(err)
		}
		p.ids["$"+name] = id.Text
	}
	return p.conns[name]
}

func (p *play) line(line string) string {
	if n, ok := strings.CutPrefix(line, "waiting "); ok {
		count, err := strconv.Atoi(n)
		if err != nil {
			p.t.Fatal(line)
		}
		awaitBlocked(p.t, p.watch, count)
		return ""
	}
	if name, ok := strings.CutSuffix(line, "<"); ok {
		return p.receive(name)
	}
	if name, ok := strings.CutSuffix(line, "!"); ok {
		p.conn(name).Close()
		delete(p.conns, name)
		return ""
	}
	name, command, ok := strings.Cut(line, ": ")
	if !ok {
		p.t.Fatalf("malformed line %q", line)
	}
	command, later := strings.CutSuffix(command, " &")
	c := p.conn(name)
	args := p.words(command)
	c.Send(args...)
	if err := c.Flush(); err != nil {
		p.t.Fatal(err)
	}
	if later {
		return ""
	}
	return p.receive(name)
}

func (p *play) words(s string) (args []string) {
	for _, w := range strings.Fields(s) {
		if id, ok := p.ids[w]; ok {
			w = id
		}
		if u, err := strconv.Unquote(w); err == nil {
			w = u
		}
		args = append(args, w)
	}
	return args
}

func (p *play) receive(name string) string {
	v, err := p.conn(name).Receive()
	if err != nil {
		return name + "> closed\n"
	}
	return name + "> " + v.String() + "\n"
}

// TestBlockingDelivers: consumers that give up early, and again and again, get each element that is pushed once, those of a list in
// their order.
func TestBlockingDelivers(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		srv := start(t, s)
		const elements = 600
		lists := []string{"a", "b", "c"}
		var consumers, producers sync.WaitGroup
		got := make(chan string, len(lists)*elements)
		for range 6 {
			c := srv.dial()
			consumers.Go(func() {
				for {
					order := rand.Perm(len(lists))
					timeout := "0.00" + strconv.Itoa(1+rand.IntN(9))
					v, err := c.Do("BLPOP", lists[order[0]], lists[order[1]], lists[order[2]], "end", timeout)
					switch {
					case err != nil || v.IsError():
						t.Errorf("BLPOP: %v, %v", v, err)
						return
					case v.Null:
					case v.Elems[0].Text == "end":
						return
					default:
						got <- v.Elems[0].Text + v.Elems[1].Text
					}
				}
			})
		}
		for _, list := range lists {
			c := srv.dial()
			producers.Go(func() {
				for i := range elements {
					if i%3 == 0 {
						_ = c.Send("MULTI")
						_ = c.Send("RPUSH", list, strconv.Itoa(i))
						_ = c.Send("EXEC")
						_ = c.Flush()
						for range 3 {
							_, _ = c.Receive()
						}
						continue
					}
					if _, err := c.Must("RPUSH", list, strconv.Itoa(i)); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		producers.Wait()
		seen := make(map[string]bool)
		for range len(lists) * elements {
			select {
			case e := <-got:
				if seen[e] {
					t.Errorf("%s was delivered twice", e)
				}
				seen[e] = true
			case <-time.After(30 * time.Second):
				t.Fatalf("%d of %d elements came", len(seen), len(lists)*elements)
			}
		}
		if _, err := srv.dial().Must("RPUSH", "end", "1", "2", "3", "4", "5", "6"); err != nil {
			t.Error(err)
		}
		consumers.Wait()
	})
}

// TestBlockingEndsWithReign: who waits for a key on a primary that becomes a replica is told so and closed, as in Redis.
func TestBlockingEndsWithReign(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		p := replicated(t, s)
		c, other := p.dial(), p.dial()
		_ = c.Send("BLPOP", "k", "0")
		_ = c.Send("PING")
		_ = c.Flush()
		awaitBlocked(t, other, 1)
		expect(t, other, "REPLICAOF 127.0.0.1 1", "+OK")
		if got, want := readToEnd(t, c.Conn), "-"+resp.ErrRoleChanged+"\r\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		awaitBlocked(t, other, 0)
	})
}

// TestBlockingWaitsForALock: who can't be served at once, since another one of its keys is locked, holds up neither who pushes nor loses its place.
func TestBlockingWaitsForALock(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		srv := start(t, s)
		first, second, other := srv.dial(), srv.dial(), srv.dial()
		_ = first.Send("BLMOVE", "x", "y", "LEFT", "RIGHT", "0")
		_ = first.Flush()
		awaitBlocked(t, other, 1)
		_ = second.Send("BLPOP", "x", "0")
		_ = second.Flush()
		awaitBlocked(t, other, 2)
		lock := srv.Store().NewTxn()
		lock.Lock([]uint16{keys.Slot([]byte("y"))}, true)
		expect(t, other, "RPUSH x 1", ":1")
		lock.Discard()
		if v, err := first.Receive(); err != nil || v.Text != "1" {
			t.Fatalf("got %v, %v", v, err)
		}
		expect(t, other, "LRANGE y 0 -1", `*[$"1"]`)
		awaitBlocked(t, other, 1)
		expect(t, other, "RPUSH x 2", ":1")
		if v, err := second.Receive(); err != nil || v.String() != `*[$"x" $"2"]` {
			t.Fatalf("got %v, %v", v, err)
		}
	})
}

// TestBlockingServesFirst: who waits is served before anybody else gets at the keys, also when that takes longer than the write which brought the elements.
func TestBlockingServesFirst(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		srv := start(t, s)
		admin := srv.dial()
		blocked := 0
		type request struct {
			conn *wire.Conn
			want string
		}
		send := func(c *wire.Conn, want string, args ...string) request {
			c.Send(args...)
			_ = c.Flush()
			blocked++
			awaitBlocked(t, admin, blocked)
			return request{c, want}
		}
		popper := srv.dial()
		id, err := popper.Must("CLIENT", "ID")
		if err != nil {
			t.Fatal(err)
		}
		requests := []request{
			send(srv.dial(), `$"1"`, "BLMOVE", "x", "y", "LEFT", "RIGHT", "0"),
			send(popper, `*[$"x" $"3"]`, "BRPOP", "x", "0"),
			send(srv.dial(), `*[$"y" $"1"]`, "BLPOP", "y", "z", "0"),
		}
		lock := srv.Store().NewTxn()
		lock.Lock([]uint16{keys.Slot([]byte("y"))}, true)
		expect(t, admin, "RPUSH x 1 2 3", ":3")
		requests = append(requests,
			send(srv.dial(), `$"2"`, "LPOP", "x"),
			send(srv.dial(), `:1`, "RPUSH", "z", "5"),
			send(srv.dial(), `:0`, "CLIENT", "UNBLOCK", id.Text),
		)
		expect(t, admin, "SET free 1", "+OK")
		lock.Discard()
		for _, r := range requests {
			if v, err := r.conn.Receive(); err != nil || v.String() != r.want {
				t.Errorf("got %v, %v, want %s", v, err, r.want)
			}
		}
		awaitBlocked(t, admin, 0)
	})
}

// TestBlockingInCluster: who waits for a key that this node serves no longer is told so.
func TestBlockingInCluster(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		srv := clustered(t, s)
		c, admin := srv.dial(), srv.dial()
		expect(t, admin, "CLUSTER ADDSLOTSRANGE 0 16383", "+OK")
		poll.Until(t, "it serves", func() bool { return do(t, admin, "SET a 1") == "+OK" })
		_ = c.Send("BLPOP", "queue", "0")
		_ = c.Flush()
		awaitBlocked(t, admin, 1)
		expect(t, admin, "CLUSTER DELSLOTS "+strconv.Itoa(int(keys.Slot([]byte("queue")))), "+OK")
		if v, err := c.Receive(); err != nil || !strings.HasPrefix(v.Text, "CLUSTERDOWN") {
			t.Errorf("got %v, %v", v, err)
		}
		awaitBlocked(t, admin, 0)
	})
}

func awaitBlocked(t testing.TB, c *wire.Conn, n int) {
	t.Helper()
	want := fmt.Sprintf("blocked_clients:%d\r\n", n)
	poll.Until(t, want, func() bool {
		v, err := c.Must("INFO", "clients")
		return err == nil && strings.Contains(v.Text, want)
	})
}

// TestManyBlocked: connections that wait cost little memory and no time, and each of them is served.
func TestManyBlocked(t *testing.T) {
	const clients = 2000
	srv := start(t, setup{args: []string{"--maxclients", "20000"}})
	conns := make([]net.Conn, clients)
	for i := range conns {
		c, err := net.Dial("tcp", srv.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		conns[i] = c
	}
	admin := srv.dial()
	before := heap()
	for i, c := range conns {
		fmt.Fprintf(c, "BLPOP key:%d queue 1000\r\n", i)
	}
	awaitBlocked(t, admin, clients)
	each := (heap() - before) / clients
	t.Logf("a connection that waits for two keys takes %d bytes", each)
	if each > 8<<10 && !raceDetector {
		t.Error("that is too much")
	}
	poll.Until(t, "no processor time goes by while nothing happens", func() bool {
		used := cpuTime(t)
		<-time.After(300 * time.Millisecond)
		return cpuTime(t)-used < 100*time.Millisecond
	})
	for i, c := range conns {
		key := fmt.Sprint("key:", i)
		if _, err := admin.Must("RPUSH", key, "e"); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("*2\r\n$%d\r\n%s\r\n$1\r\ne\r\n", len(key), key)
		got := make([]byte, len(want))
		if n, err := io.ReadFull(c, got); err != nil || string(got[:n]) != want {
			t.Fatalf("connection %d got %q, %v", i, got[:n], err)
		}
	}
	awaitBlocked(t, admin, 0)
}

// heap is how much memory is in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

func cpuTime(t testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
