package server

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/server/command"
)

// benchConn is a connection without a socket: requests go in, replies come out, through the whole dispatch.
type benchConn struct {
	*conn
	tb            testing.TB
	input         []byte
	loop, blocker *executor
	handedOver    int
}

func newBenchConn(tb testing.TB) *benchConn {
	srv := start(tb, setup{})
	c := &conn{}
	srv.node.Connect(&c.Session)
	tb.Cleanup(func() { srv.node.Disconnect(&c.Session) })
	c.setLimits(srv.node)
	return &benchConn{conn: c, tb: tb, input: make([]byte, inputBuffer), loop: srv.newExecutor(false), blocker: srv.newExecutor(true)}
}

// run runs pipelined requests as one wake of a loop does, but for the system calls on the socket.
func (c *benchConn) run(burst []byte) {
	x := c.loop
	x.enter()
	defer x.leave()
	c.reader.Lend(c.input)
	c.reader.Filled(copy(c.reader.Space(len(burst)), burst))
	v := x.run(c.conn)
	c.reader.Reclaim()
	x.settle()
	if v == wouldBlock {
		c.handedOver++
		v = c.blocker.runStable(context.Background(), c.conn)
	}
	if v != drained {
		c.tb.Fatalf("verdict %d after %q", v, c.Out.Buf)
	}
	if c.barrier > x.stable {
		var err error
		if x.stable, err = x.node.Store.FlushLog(); err != nil {
			c.tb.Fatal(err)
		}
	}
	c.final()
	c.Out.Buf = c.Out.Buf[:0]
}

// bursts are pipelines of the command over many keys.
func bursts(command string, depth int) [][]byte {
	value := strings.Repeat("v", 128)
	list := make([][]byte, 1024)
	for i := range list {
		var b strings.Builder
		for j := range depth {
			key := fmt.Sprintf("key:%012d", (i*depth+j)*7919%100000)
			if command == "SET" {
				fmt.Fprintf(&b, "*3\r\n$3\r\nSET\r\n$16\r\n%s\r\n$128\r\n%s\r\n", key, value)
			} else {
				fmt.Fprintf(&b, "*2\r\n$%d\r\n%s\r\n$16\r\n%s\r\n", len(command), command, key)
			}
		}
		list[i] = []byte(b.String())
	}
	return list
}

func BenchmarkDispatch(b *testing.B) {
	for _, command := range []string{"PING", "SET", "GET"} {
		for _, depth := range []int{1, 16} {
			b.Run(fmt.Sprintf("%s/pipeline=%d", command, depth), func(b *testing.B) {
				c := newBenchConn(b)
				if command == "GET" {
					for _, burst := range bursts("SET", depth) {
						c.run(burst)
					}
				}
				list := bursts(command, depth)
				if command == "PING" {
					for i := range list {
						list[i] = []byte(strings.Repeat("*1\r\n$4\r\nPING\r\n", depth))
					}
				}
				b.ReportAllocs()
				b.ResetTimer()
				for i := 0; i < b.N; i += depth {
					c.run(list[i/depth%len(list)])
				}
				b.ReportMetric(float64(c.handedOver)/float64(b.N), "handed-over/op")
			})
		}
	}
}

// The server's own part of SET and GET allocates nothing, and counts the time of slots.
func TestDispatchAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	c := newBenchConn(t)
	times := new(command.SlotTimes)
	c.loop.node.Stats.SlotTimes = times
	sets, gets := bursts("SET", 16), bursts("GET", 16)
	for _, burst := range sets {
		c.run(burst)
	}
	i := 0
	for name, list := range map[string][][]byte{"SET": sets, "GET": gets} {
		if n := testing.AllocsPerRun(200, func() {
			c.run(list[i%len(list)])
			i++
		}); n > 8 { // the store works in the background, too
			t.Errorf("%s: %v allocations for 16 commands", name, n)
		}
	}
	var counted time.Duration
	for slot := range uint16(keys.Slots) {
		counted += times.Of(slot)
	}
	if counted == 0 {
		t.Error("no time is counted")
	}
}
