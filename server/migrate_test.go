package server

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairndb/cairn/tools/poll"
	"github.com/cairndb/cairn/tools/testnode"
	"github.com/cairndb/cairn/tools/wire"
)

func (s *testServer) hostPort() (host, port string) {
	host, port, _ = net.SplitHostPort(s.addr)
	return host, port
}

// answer sends a command and returns the reply as wire.Value prints it.
func answer(t testing.TB, c *wire.Conn, args ...string) string {
	t.Helper()
	v, err := c.Do(args...)
	if err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	return v.String()
}

// TestMigrateUnderWrites moves keys while they are appended to and counted up: what was written before the move is on
// the target, what came later is here, and nothing is missing or there twice.
func TestMigrateUnderWrites(t *testing.T) {
	t.Parallel()
	for _, portable := range []bool{false, true} {
		t.Run("portable="+strconv.FormatBool(portable), func(t *testing.T) {
			t.Parallel()
			source, target := start(t, setup{portable: portable}), start(t, setup{})
			const writers, each, keys = 6, 400, 4
			var wg sync.WaitGroup
			for w := range writers {
				c := source.dial()
				wg.Go(func() {
					for i := range each {
						k := strconv.Itoa(i % keys)
						for _, args := range [][]string{{"APPEND", "log" + k, fmt.Sprintf("%d:%d,", w, i)}, {"INCR", "count" + k}} {
							if v, err := c.Do(args...); err != nil || v.IsError() {
								t.Errorf("%q: %v %v", args, v, err)
								return
							}
						}
					}
				})
			}
			host, port := target.hostPort()
			admin := source.dial()
			// Each key is moved once: a second move would meet the first one's copy.
			for k := range keys {
				log, count := fmt.Sprint("log", k), fmt.Sprint("count", k)
				poll.Succeeds(t, 10*time.Second, func() error {
					if v, err := admin.Do("EXISTS", log, count); err != nil || v.Int() != 2 {
						return fmt.Errorf("not written yet: %v %v", v, err)
					}
					return nil
				})
				if got := answer(t, admin, "MIGRATE", host, port, "", "0", "5000", "KEYS", log, count); got != "+OK" {
					t.Errorf("MIGRATE: %s", got)
				}
			}
			wg.Wait()
			there := target.dial()
			for k := range keys {
				seen := make(map[string]int)
				value := func(c *wire.Conn, key string) string {
					v, err := c.Do("GET", key)
					if err != nil {
						t.Fatal(err)
					}
					return v.Text
				}
				log := fmt.Sprint("log", k)
				for _, word := range strings.Split(strings.TrimSuffix(value(there, log)+value(admin, log), ","), ",") {
					seen[word]++
					if seen[word] > 1 {
						t.Errorf("%s has %s twice", log, word)
					}
				}
				if len(seen) != writers*each/keys {
					t.Errorf("%s has %d of %d words", log, len(seen), writers*each/keys)
				}
				a, _ := strconv.Atoi(value(there, fmt.Sprint("count", k)))
				b, _ := strconv.Atoi(value(admin, fmt.Sprint("count", k)))
				if a+b != writers*each/keys || a == 0 {
					t.Errorf("count%d: %d there and %d here, not %d in all", k, a, b, writers*each/keys)
				}
			}
		})
	}
}

// silent is a target that accepts connections and answers nothing.
func silent(t *testing.T) (host, port string, asked <-chan struct{}) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan struct{}, 10)
	var wg sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				r := bufio.NewReader(c)
				if _, err := r.ReadByte(); err == nil {
					got <- struct{}{}
				}
				for err == nil {
					_, err = r.ReadByte()
				}
			})
		}
	})
	host, port, _ = net.SplitHostPort(l.Addr().String())
	return host, port, got
}

// TestMigrateToSilence: while a target keeps MIGRATE waiting, reads of the key are served and writes wait; the event loop and other
// keys are not disturbed. When the time is over the key is here, and what waited runs.
func TestMigrateToSilence(t *testing.T) {
	t.Parallel()
	s := start(t, setup{args: []string{"--worker-threads", "4"}})
	host, port, asked := silent(t)
	admin, writer, swapper, other := s.dial(), s.dial(), s.dial(), s.dial()
	answer(t, other, "SET", "k", "1")
	if err := admin.Send("MIGRATE", host, port, "k", "0", "1000"); err != nil {
		t.Fatal(err)
	}
	if err := admin.Flush(); err != nil {
		t.Fatal(err)
	}
	<-asked
	began := time.Now()
	for _, c := range []*wire.Conn{writer, swapper} {
		commands := [][]string{{"INCR", "k"}}
		if c == swapper {
			commands = [][]string{{"MULTI"}, {"GET", "k"}, {"INCR", "k"}, {"EXEC"}}
		}
		for _, args := range commands {
			if err := c.Send(args...); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	for want, args := range map[string][]string{"$\"1\"": {"GET", "k"}, "+OK": {"SET", "elsewhere", "x"}, ":1": {"EXISTS", "k"}} {
		if got := answer(t, other, args...); got != want {
			t.Errorf("%q while the key is on its way: %s", args, got)
		}
	}
	if time.Since(began) > 900*time.Millisecond {
		t.Skip("the machine is too slow to tell who waits")
	}
	if v, err := admin.Receive(); err != nil || v.Text != "IOERR error or timeout reading to target instance" {
		t.Errorf("MIGRATE: %v %v", v, err)
	}
	if v, err := writer.Receive(); err != nil || v.Int() < 2 {
		t.Errorf("the write that waited: %v %v", v, err)
	}
	for range 3 {
		if _, err := swapper.Receive(); err != nil {
			t.Fatal(err)
		}
	}
	if v, err := swapper.Receive(); err != nil || len(v.Elems) != 2 {
		t.Errorf("the transaction that waited: %v %v", v, err)
	}
	if got := answer(t, other, "GET", "k"); got != `$"3"` {
		t.Errorf("k is %s", got)
	}
	// More of them than there are workers: the others wait for a place, and the node still has workers left.
	var many []*wire.Conn
	for i := range 6 {
		answer(t, other, "SET", fmt.Sprint("m", i), "x")
		c := s.dial()
		if err := c.Send("MIGRATE", host, port, fmt.Sprint("m", i), "0", "300"); err != nil {
			t.Fatal(err)
		}
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
		many = append(many, c)
	}
	<-asked
	if got := answer(t, other, "KEYS", "elsewhere"); got != `*[$"elsewhere"]` {
		t.Errorf("KEYS: %s", got)
	}
	for _, c := range many {
		if v, err := c.Receive(); err != nil || !strings.HasPrefix(v.Text, "IOERR") {
			t.Errorf("MIGRATE: %v %v", v, err)
		}
	}
}

// TestMigrateEndsWithReign: MIGRATE, and a write that waits for it, are answered when the node becomes a replica, long before MIGRATE's time is over.
func TestMigrateEndsWithReign(t *testing.T) {
	t.Parallel()
	s := start(t, setup{args: []string{"--worker-threads", "4"}})
	host, port, asked := silent(t)
	admin, writer, other := s.dial(), s.dial(), s.dial()
	writer.Timeout = 20 * time.Second
	answer(t, other, "SET", "k", "1")
	if err := errors.Join(admin.Send("MIGRATE", host, port, "k", "0", "60000"), admin.Flush()); err != nil {
		t.Fatal(err)
	}
	<-asked
	if err := errors.Join(writer.Send("INCR", "k"), writer.Flush()); err != nil {
		t.Fatal(err)
	}
	if got := answer(t, other, "REPLICAOF", "127.0.0.1", "1"); got != "+OK" {
		t.Fatal(got)
	}
	if v, err := writer.Receive(); err != nil || !strings.HasPrefix(v.Text, "READONLY ") {
		t.Errorf("the write that waited: %v %v", v, err)
	}
	admin.Timeout = 20 * time.Second
	if v, err := admin.Receive(); err != nil || !strings.HasPrefix(v.Text, "ERR this node has not stayed a primary: ") {
		t.Errorf("MIGRATE: %v %v", v, err)
	}
}

// TestMigrateForms compares MIGRATE's replies, and what it leaves on both sides, with Redis's.
func TestMigrateForms(t *testing.T) {
	t.Parallel()
	dial := func(n *testnode.Node) *wire.Conn {
		c, err := n.Dial()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	target, locked := testnode.StartRedis(t), testnode.StartRedis(t)
	if v, err := locked.Do("CONFIG", "SET", "requirepass", "secret"); err != nil || v.IsError() {
		t.Fatal(v, err)
	}
	ours, theirs := start(t, setup{}), testnode.StartRedis(t)
	from := map[string]*wire.Conn{"cairn": ours.dial(), "redis": dial(theirs)}
	to, inside := dial(target), dial(locked)
	answer(t, inside, "AUTH", "secret")
	const story = `
	MIGRATE
	MIGRATE $h $t a 0
	MIGRATE $h $t a 0 20000
	SET a 1
	MIGRATE $h $t a x 20000
	MIGRATE $h $t a 0 x
	MIGRATE $h $t a 0 20000 FOO
	MIGRATE $h $t a 0 20000 AUTH
	MIGRATE $h $t a 0 20000 AUTH2 u
	MIGRATE $h $t a 0 20000 KEYS a
	MIGRATE $h $t "" 0 20000 KEYS
	MIGRATE $h $t "" 0 20000 KEYS none none2
	MIGRATE $h $t a 0 20000 COPY
	EXISTS a
	MIGRATE $h $t a 0 20000
	MIGRATE $h $t a 0 20000 copy replace
	MIGRATE $h $t a 0 0 REPLACE
	EXISTS a
	MIGRATE $h $t a 0 20000
	SET b 2 PX 2000000
	SET c 3
	MIGRATE $h $t "" 3 20000 KEYS b none c b
	EXISTS b c
	SET d 4
	MIGRATE $h $t d 99 20000
	MIGRATE $h $t d 0 20000
	SET a 5
	SET e 6
	SET f 7
	MIGRATE $h $t "" 0 20000 KEYS e a f
	EXISTS e a f
	MIGRATE $h $l a 0 20000
	MIGRATE $h $l a 0 20000 AUTH2 default secret
	EXISTS a
	SET a 8
	MIGRATE $h $l a 0 20000 REPLACE AUTH secret
	EXISTS a
	COMMAND GETKEYS MIGRATE $h $t a 0 20000
	COMMAND GETKEYS MIGRATE $h $t "" 0 20000 COPY AUTH keys KEYS a b
	`
	left := make(map[string]string)
	replies := make(map[string][]string)
	for _, name := range []string{"redis", "cairn"} {
		answer(t, to, "FLUSHALL")
		answer(t, inside, "FLUSHALL")
		for line := range strings.Lines(story) {
			args := strings.Fields(strings.NewReplacer("$h", "127.0.0.1", "$t", strconv.Itoa(target.Port), "$l", strconv.Itoa(locked.Port), `""`, "\x00").Replace(line))
			if len(args) == 0 {
				continue
			}
			for i := range args {
				args[i] = strings.Trim(args[i], "\x00")
			}
			replies[name] = append(replies[name], strings.TrimSpace(line)+" -> "+answer(t, from[name], args...))
		}
		for _, c := range []*wire.Conn{to, inside} {
			for _, db := range []string{"0", "3"} {
				answer(t, c, "SELECT", db)
				for _, key := range []string{"a", "b", "c", "d", "e", "f"} {
					if key == "d" && db == "3" {
						continue // where SELECT fails Redis restores into the database before
					}
					ttl, err := c.Do("PTTL", key)
					if err != nil {
						t.Fatal(err)
					}
					left[name] += fmt.Sprintf("%s:%s=%s,%v ", db, key, answer(t, c, "GET", key), ttl.Int() > 0)
				}
			}
			answer(t, c, "SELECT", "0")
		}
	}
	for i, want := range replies["redis"] {
		if got := replies["cairn"][i]; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	if left["cairn"] != left["redis"] {
		t.Errorf("on the targets:\n got %s\nwant %s", left["cairn"], left["redis"])
	}
	if got := answer(t, from["cairn"], "INFO", "stats"); !strings.Contains(got, "migrate_cached_sockets:2") {
		t.Errorf("no two connections are kept: %s", got)
	}
	// A connection that the target has closed in the meantime is replaced.
	answer(t, to, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	answer(t, from["cairn"], "SET", "late", "x")
	if got := answer(t, from["cairn"], "MIGRATE", "127.0.0.1", strconv.Itoa(target.Port), "late", "0", "20000"); got != "+OK" {
		t.Errorf("over a closed connection: %s", got)
	}
	for _, args := range [][]string{{"MULTI"}, {"SET", "late", "y"}} {
		answer(t, from["cairn"], args...)
	}
	if got := answer(t, from["cairn"], "MIGRATE", "127.0.0.1", "1", "late", "0", "10"); !strings.Contains(got, "not allowed inside a transaction") {
		t.Errorf("in a transaction: %s", got)
	}
}

// TestMigrateAndReplacement: the store is replaced while a target keeps MIGRATE waiting, which then deletes nothing.
func TestMigrateAndReplacement(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		p, r := replicated(t, s), replicated(t, s)
		expect(t, p.dial(), "SET k theirs", "+OK")
		admin, mover := r.dial(), r.dial()
		expect(t, admin, "SET k ours", "+OK")
		expect(t, admin, "SAVE", "+OK") // so that the log can't just be cut
		host, port, _ := net.SplitHostPort(l.Addr().String())
		if err := errors.Join(mover.Send("MIGRATE", host, port, "k", "0", "60000"), mover.Flush()); err != nil {
			t.Fatal(err)
		}
		target, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer target.Close()
		if _, err := target.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		follow(t, r, p)
		expect(t, admin, "GET k", `$"theirs"`)
		if err := errors.Join(l.Close(), target.Close()); err != nil {
			t.Fatal(err)
		}
		if v, err := mover.Receive(); err != nil || !strings.HasPrefix(v.Text, "ERR this node has not stayed a primary: ") {
			t.Errorf("MIGRATE: %v %v", v, err)
		}
		expect(t, mover, "GET k", `$"theirs"`)
	})
}

// TestMigrateOutlivesReign: while a target keeps MIGRATE waiting, the node becomes a replica, the key is changed by its new primary, and the node becomes a
// primary again. Then the target acknowledges the value that it was sent: nothing is deleted here, and the reply has said so.
func TestMigrateOutlivesReign(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		s.args = append(s.args, "--worker-threads", "4")
		p, r := replicated(t, s), replicated(t, s)
		ours, theirs, mover := p.dial(), r.dial(), p.dial()
		follow(t, r, p)
		expect(t, ours, "SET k old", "+OK")
		caughtUp(t, r, p)
		for _, back := range []bool{false, true} {
			host, port, _ := net.SplitHostPort(l.Addr().String())
			if err := errors.Join(mover.Send("MIGRATE", host, port, "k", "0", "60000", "REPLACE"), mover.Flush()); err != nil {
				t.Fatal(err)
			}
			target, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := target.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			expect(t, theirs, "REPLICAOF NO ONE", "+OK")
			follow(t, p, r)
			expect(t, theirs, "SET k new", "+OK")
			caughtUp(t, p, r)
			if back {
				expect(t, ours, "REPLICAOF NO ONE", "+OK")
			}
			_, _ = target.Write([]byte("+OK\r\n")) // the node may have hung up by now
			if v, err := mover.Receive(); err != nil || !strings.HasPrefix(v.Text, "ERR this node has not stayed a primary: ") {
				t.Errorf("MIGRATE: %v %v", v, err)
			}
			_ = target.Close()
			expect(t, ours, "GET k", `$"new"`)
			if !back {
				expect(t, ours, "REPLICAOF NO ONE", "+OK")
				follow(t, r, p)
				expect(t, ours, "SET k old", "+OK")
				caughtUp(t, r, p)
			}
		}
	})
}
