package command

import (
	"sync"
	"time"
)

// latencySamples is how many samples an event keeps, one a second at most, as in Redis.
const latencySamples = 160

// Latency is the latency monitor: the worst durations of each event, second by second. The zero value is ready for use.
type Latency struct {
	mu     sync.Mutex
	events map[string]*latencyEvent
}

type latencyEvent struct {
	samples []latencySample // oldest first
	max     int64           // ms, since the start or the last reset
}

type latencySample struct {
	at int64 // unix seconds
	ms int64
}

// Add records that an event took so long. Callers compare with latency-monitor-threshold first.
func (l *Latency) Add(event string, took time.Duration) {
	now, ms := time.Now().Unix(), took.Milliseconds()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.events == nil {
		l.events = make(map[string]*latencyEvent)
	}
	e := l.events[event]
	if e == nil {
		e = &latencyEvent{}
		l.events[event] = e
	}
	e.max = max(e.max, ms)
	if n := len(e.samples); n > 0 && e.samples[n-1].at == now {
		e.samples[n-1].ms = max(e.samples[n-1].ms, ms)
		return
	}
	if len(e.samples) == latencySamples {
		copy(e.samples, e.samples[1:])
		e.samples = e.samples[:latencySamples-1]
	}
	e.samples = append(e.samples, latencySample{now, ms})
}

// Reset forgets the named events, or all, and returns how many there were.
func (l *Latency) Reset(names ...string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(names) == 0 {
		n := len(l.events)
		clear(l.events)
		return n
	}
	n := 0
	for _, name := range names {
		if _, ok := l.events[name]; ok {
			delete(l.events, name)
			n++
		}
	}
	return n
}
