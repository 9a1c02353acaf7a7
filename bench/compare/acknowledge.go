package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairndb/cairn/tools/testnode"
	"github.com/cairndb/cairn/tools/wire"
)

// acknowledgeTest is the test that redis-benchmark can't run: each client reads an entry by a group, and acknowledges the one that it got.
const acknowledgeTest = "xreadgroup_xack"

// acknowledger is a run of it: so many clients, each with as many commands under way as the pipeline is deep.
type acknowledger struct {
	node     *testnode.Node
	clients  int
	pipeline int
	pairs    int // of XREADGROUP and XACK
}

// run returns requests a second, as many as there were commands, and the times of the round trips.
func (a acknowledger) run(ctx context.Context) (measurement, error) {
	before, err := a.node.Usage()
	if err != nil {
		return measurement{}, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var left atomic.Int64
	left.Store(int64(a.pairs))
	var mu sync.Mutex
	var times []time.Duration
	var wg sync.WaitGroup
	start := time.Now()
	for i := range a.clients {
		wg.Go(func() {
			took, err := a.client(ctx, fmt.Sprint("consumer", i), &left)
			if err != nil {
				cancel(err)
			}
			mu.Lock()
			times = append(times, took...)
			mu.Unlock()
		})
	}
	wg.Wait()
	elapsed := time.Since(start)
	if err := context.Cause(ctx); err != nil {
		return measurement{}, err
	}
	after, err := a.node.Usage()
	slices.Sort(times)
	ms := func(p int) float64 { return percentile(times, p).Seconds() * 1000 }
	requests := 2 * float64(a.pairs)
	return measurement{
		rate: requests / elapsed.Seconds(), p50: ms(50), p99: ms(99),
		cpu: float64((after.CPU() - before.CPU()).Nanoseconds()) / 1000 / requests,
	}, err
}

// client reads and acknowledges until nothing is left, and returns how long its round trips took.
func (a acknowledger) client(ctx context.Context, consumer string, left *atomic.Int64) (took []time.Duration, err error) {
	c, err := a.node.Dial()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	timed := func(commands [][]string) ([]wire.Value, error) {
		start := time.Now()
		replies, err := pipelined(c, commands)
		took = append(took, time.Since(start))
		return replies, err
	}
	read := []string{"XREADGROUP", "GROUP", "acknowledged", consumer, "COUNT", "1", "STREAMS", "stream", ">"}
	for n := int64(a.pipeline); left.Add(-n) > -n && ctx.Err() == nil; {
		replies, err := timed(slices.Repeat([][]string{read}, a.pipeline))
		if err != nil {
			return took, err
		}
		acks := make([][]string, 0, a.pipeline)
		for _, v := range replies {
			id, err := readID(v)
			if err != nil {
				return took, err
			}
			acks = append(acks, []string{"XACK", "stream", "acknowledged", id})
		}
		if replies, err = timed(acks); err != nil {
			return took, err
		}
		for _, v := range replies {
			if v.Text != "1" {
				return took, fmt.Errorf("XACK returned %v", v)
			}
		}
	}
	return took, nil
}

// pipelined sends commands together and returns their replies.
func pipelined(c *wire.Conn, commands [][]string) ([]wire.Value, error) {
	for _, args := range commands {
		if err := c.Send(args...); err != nil {
			return nil, err
		}
	}
	if err := c.Flush(); err != nil {
		return nil, err
	}
	replies := make([]wire.Value, 0, len(commands))
	for range commands {
		v, err := c.Receive()
		if err == nil {
			err = v.Err()
		}
		if err != nil {
			return nil, err
		}
		replies = append(replies, v)
	}
	return replies, nil
}

var errNoEntry = errors.New("XREADGROUP returned no entry: the stream has too few for this test")

// readID returns the id of the entry that XREADGROUP has returned: streams, of which each is a name and entries, of which each is an id and fields.
func readID(v wire.Value) (string, error) {
	for _, at := range [...]int{0, 1, 0, 0} {
		if at >= len(v.Elems) {
			return "", errNoEntry
		}
		v = v.Elems[at]
	}
	return v.Text, nil
}

// preloadEntries adds entries for the acknowledge test, unless another one does.
func preloadEntries(ctx context.Context, n *testnode.Node, o options) error {
	names := strings.Split(o.tests, ",")
	if !slices.Contains(names, acknowledgeTest) || slices.Contains(names, "xadd") {
		return nil
	}
	loads, err := workloads(o)
	if err != nil {
		return err
	}
	total := 0
	for _, w := range loads {
		if w.test == acknowledgeTest {
			total += o.rounds * (o.requestsOf(w)/2 + o.clients*w.pipeline)
		}
	}
	value := strings.Repeat("x", o.valueSize)
	l := loader{node: n, clients: 4, window: 100, total: total, command: func(int, []byte) []string { return []string{"XADD", "stream", "*", "field", value} }}
	_, err = l.run(ctx)
	return err
}
