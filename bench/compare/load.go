package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairndb/cairn/tools/testnode"
)

// loader writes records over several pipelined connections and watches for stalls.
type loader struct {
	node    *testnode.Node
	clients int
	window  int // commands sent before their replies are read
	total   int
	// command builds the i-th command; scratch holds random bytes that it may use.
	command func(i int, scratch []byte) []string
	// random is the number of random bytes that command wants.
	random int
}

// loadResult says how a load went.
type loadResult struct {
	elapsed time.Duration
	// stall is the longest time in which no connection got any reply.
	stall time.Duration
}

func (r loadResult) rate(n int) float64 { return float64(n) / r.elapsed.Seconds() }

func (l loader) run(ctx context.Context) (loadResult, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next, done atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range l.clients {
		wg.Go(func() {
			if err := l.client(ctx, &next, &done); err != nil {
				cancel(err)
			}
		})
	}
	finished := make(chan struct{})
	go func() { wg.Wait(); close(finished) }()
	stall := l.watch(&done, finished)
	return loadResult{time.Since(start), stall}, context.Cause(ctx)
}

// client takes the next window of commands until there are no more.
func (l loader) client(ctx context.Context, next, done *atomic.Int64) error {
	c, err := l.node.Dial()
	if err != nil {
		return err
	}
	defer c.Close()
	rng := rand.NewChaCha8([32]byte{byte(next.Load()), byte(time.Now().UnixNano())})
	scratch := make([]byte, l.random)
	for ctx.Err() == nil {
		from := int(next.Add(int64(l.window))) - l.window
		to := min(from+l.window, l.total)
		if from >= to {
			return nil
		}
		for i := from; i < to; i++ {
			// Read of a ChaCha8 never fails.
			_, _ = rng.Read(scratch)
			if err := c.Send(l.command(i, scratch)...); err != nil {
				return err
			}
		}
		if err := c.Flush(); err != nil {
			return err
		}
		for i := from; i < to; i++ {
			v, err := c.Receive()
			if err == nil {
				err = v.Err()
			}
			if err != nil {
				return fmt.Errorf("record %d: %w", i, err)
			}
			done.Add(1)
		}
	}
	return nil
}

// watch reports progress until finished, and returns the longest time without any.
func (l loader) watch(done *atomic.Int64, finished <-chan struct{}) (stall time.Duration) {
	const step = 10 * time.Millisecond
	tick := time.NewTicker(step)
	defer tick.Stop()
	start := time.Now()
	seen, moved, told := int64(0), start, start
	for {
		select {
		case <-finished:
			return stall
		case now := <-tick.C:
			n := done.Load()
			if n == seen {
				stall = max(stall, now.Sub(moved))
				continue
			}
			seen, moved = n, now
			if now.Sub(told) >= 5*time.Second {
				told = now
				progress("  %d of %d, %.0f/s, longest stall %v", n, l.total, float64(n)/now.Sub(start).Seconds(), stall.Round(time.Millisecond))
			}
		}
	}
}

// records loads total records of size random bytes under redis-benchmark's key names.
func records(n *testnode.Node, total, size int) loader {
	return loader{node: n, clients: 50, window: 16, total: total, random: size, command: func(i int, scratch []byte) []string {
		return []string{"SET", fmt.Sprintf("key:%012d", i), string(scratch)}
	}}
}
