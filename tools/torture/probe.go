package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// probe writes to one slot again and again, and so knows when it could not be written to.
type probe struct {
	key    string
	client *client

	mu   sync.Mutex
	gaps []gap // the longer ones, in order
	last time.Time
}

// gap is a time without an acknowledged write.
type gap struct{ from, to time.Time }

const (
	probePace = 20 * time.Millisecond
	// gapFloor is what is not worth keeping.
	gapFloor = 60 * time.Millisecond
)

func newProbe(r *router, key string, seed uint64) *probe {
	c := newClient(r, seed)
	c.timeout, c.stray = 250*time.Millisecond, 0
	return &probe{key: key, client: c, last: time.Now()}
}

func (p *probe) run(ctx context.Context) {
	defer p.client.close()
	for i := 0; ctx.Err() == nil; i++ {
		if p.client.do(ctx, []string{"SET", p.key, fmt.Sprint(i)}).outcome == acknowledged {
			p.worked(time.Now())
		}
		pause(ctx, probePace)
	}
}

func (p *probe) worked(at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at.Sub(p.last) > gapFloor {
		p.gaps = append(p.gaps, gap{p.last, at})
		p.gaps = p.gaps[max(0, len(p.gaps)-1000):]
	}
	p.last = at
}

// longest is the longest gap that began in the given time, or goes on.
func (p *probe) longest(from, to time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	worst := time.Duration(0)
	for _, g := range append(p.gaps, gap{p.last, time.Now()}) {
		if g.to.After(from) && g.from.Before(to) {
			worst = max(worst, g.to.Sub(later(g.from, from)))
		}
	}
	return worst
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
