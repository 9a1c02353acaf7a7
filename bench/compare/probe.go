package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cairndb/cairn/tools/testnode"
)

// probe asks a node for records, and overwrites some, while something else goes on, and notes how long each reply took.
type probe struct {
	stop  context.CancelFunc
	wg    sync.WaitGroup
	mu    sync.Mutex
	waits []time.Duration
	err   error
}

// probePeriod is the pause between two requests of a connection, unless the reply takes longer.
const probePeriod = 2 * time.Millisecond

// startProbe has one connection read and another one write.
func startProbe(ctx context.Context, n *testnode.Node, o options) *probe {
	p := &probe{}
	ctx, p.stop = context.WithCancel(ctx)
	value := strings.Repeat("x", o.recordSize)
	for _, command := range []func(key string) []string{
		func(key string) []string { return []string{"GET", key} },
		func(key string) []string { return []string{"SET", key, value} },
	} {
		p.wg.Go(func() {
			waits, err := p.ask(ctx, n, o.records, command)
			p.mu.Lock()
			defer p.mu.Unlock()
			p.waits = append(p.waits, waits...)
			p.err = errors.Join(p.err, err)
		})
	}
	return p
}

func (p *probe) ask(ctx context.Context, n *testnode.Node, records int, command func(key string) []string) (waits []time.Duration, err error) {
	conn, err := n.Dial()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	tick := time.NewTicker(probePeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return waits, nil
		case <-tick.C:
		}
		words := command(fmt.Sprintf("key:%012d", rand.IntN(records)))
		began := time.Now()
		v, err := conn.Must(words...)
		if err == nil && v.Null {
			err = fmt.Errorf("%s is missing", words[1])
		}
		if err != nil {
			return waits, err
		}
		waits = append(waits, time.Since(began))
	}
}

// end stops asking and returns the sorted times.
func (p *probe) end() ([]time.Duration, error) {
	p.stop()
	p.wg.Wait()
	slices.Sort(p.waits)
	if p.err == nil && len(p.waits) == 0 {
		p.err = errors.New("the probe got no reply")
	}
	return p.waits, p.err
}
