package replication

import (
	"context"
	"math"
	"slices"
	"sync"

	"github.com/cairndb/cairn/engine"
)

// Level says what a replica has done with an offset before it counts.
type Level uint8

// The levels.
const (
	// Written: it stands in the replica's log, in the sense of appendfsync no (WAIT).
	Written Level = iota
	// Stable: in the sense of the replica's appendfsync (replication-acks).
	Stable
	// Synced: on the replica's disk (WAITAOF).
	Synced
	levels
)

// Rule says which replicas count for Stable. Its zero value: all, whoever they are.
type Rule struct {
	// Bound: an offset is acknowledged only when each of Wait has it, and if Members, of whom some may be waited for only for a while yet, are as many as are asked for.
	Bound   bool
	Wait    []string
	Members int
}

func (r *Rule) equal(o *Rule) bool {
	return r.Bound == o.Bound && r.Members == o.Members && slices.Equal(r.Wait, o.Wait)
}

// ackState is what a replica has acknowledged, by Level.
type ackState [levels]engine.Offset

// Acks knows what the connected replicas have acknowledged.
type Acks struct {
	mu sync.Mutex
	// replicas are the nodes that follow, by ID: one that comes again before its old connection has ended counts once.
	replicas map[string]*acked
	rule     Rule
	waiters  []*ackWaiter
	waiting  [levels]int // how many wait for each level
	closed   bool
}

// acked is what a node has acknowledged on its newest connection.
type acked struct {
	s     *session
	state ackState
}

type ackWaiter struct {
	off   engine.Offset
	n     int
	level Level
	fn    func(error)
}

// Count returns how many replicas have the log up to off.
func (a *Acks) Count(off engine.Offset, level Level) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.count(off, level)
}

// SetRule changes which replicas count for Stable, from now on.
func (a *Acks) SetRule(r Rule) {
	a.mu.Lock()
	if a.rule.equal(&r) {
		a.mu.Unlock()
		return
	}
	a.rule = r
	due := a.due()
	a.mu.Unlock()
	for _, w := range due {
		w.fn(nil)
	}
}

// reached says whether n replicas have the log up to off. Caller holds mu, also of what follows.
func (a *Acks) reached(off engine.Offset, n int, level Level) bool {
	if level == Stable && a.rule.Bound {
		return a.boundReached(n) >= off
	}
	return a.count(off, level) >= n
}

// boundReached is what all have that the rule names.
func (a *Acks) boundReached(n int) engine.Offset {
	if a.rule.Members < max(n, 1) || len(a.rule.Wait) == 0 {
		return 0
	}
	least := engine.Offset(math.MaxUint64)
	for _, id := range a.rule.Wait {
		r := a.replicas[id]
		if r == nil {
			return 0
		}
		least = min(least, r.state[Stable])
	}
	return least
}

// due takes those out of the waiters whose wait has ended.
func (a *Acks) due() (due []*ackWaiter) {
	a.waiters = slices.DeleteFunc(a.waiters, func(w *ackWaiter) bool {
		ok := a.reached(w.off, w.n, w.level)
		if ok {
			due = append(due, w)
			a.waiting[w.level]--
		}
		return ok
	})
	return due
}

func (a *Acks) count(off engine.Offset, level Level) (n int) {
	for _, r := range a.replicas {
		if r.state[level] >= off {
			n++
		}
	}
	return n
}

// Reached is the greatest offset that n replicas have, or all that the rule names; 0 if there are fewer.
func (a *Acks) Reached(n int, level Level) engine.Offset {
	a.mu.Lock()
	defer a.mu.Unlock()
	if level == Stable && a.rule.Bound {
		return a.boundReached(n)
	}
	if n < 1 || n > len(a.replicas) {
		return 0
	}
	offs := make([]engine.Offset, 0, 8) // on the stack: this is asked often
	for _, r := range a.replicas {
		offs = append(offs, r.state[level])
	}
	slices.Sort(offs)
	return offs[len(offs)-n]
}

// OnAcked calls fn once when n replicas have the log up to off, or with ErrClosed when the manager was closed before. It is called from
// a goroutine of the manager and must not block; if it is so already, at once and from the caller's. cancel takes it back, and reports
// whether it came before the call.
func (a *Acks) OnAcked(off engine.Offset, n int, level Level, fn func(error)) (cancel func() bool) {
	w := &ackWaiter{off: off, n: n, level: level, fn: fn}
	a.mu.Lock()
	switch {
	case a.reached(off, n, level):
		a.mu.Unlock()
		fn(nil)
		return func() bool { return false }
	case a.closed:
		a.mu.Unlock()
		fn(ErrClosed)
		return func() bool { return false }
	}
	a.waiters = append(a.waiters, w)
	a.waiting[level]++
	for _, r := range a.replicas {
		r.s.askNow()
	}
	a.mu.Unlock()
	return func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		i := slices.Index(a.waiters, w)
		if i >= 0 {
			a.waiters = slices.Delete(a.waiters, i, i+1)
			a.waiting[level]--
		}
		return i >= 0
	}
}

// Wait returns when n replicas have the log up to off, or ctx has ended; and how many have it then.
func (a *Acks) Wait(ctx context.Context, off engine.Offset, n int, level Level) (int, error) {
	done := make(chan error, 1)
	cancel := a.OnAcked(off, n, level, func(err error) { done <- err })
	defer cancel()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	return a.Count(off, level), err
}

// Ask has the replicas acknowledge at once what they get, and what they have, until done is called.
func (a *Acks) Ask(level Level) (done func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waiting[level]++
	for _, r := range a.replicas {
		r.s.askNow()
	}
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.waiting[level]--
	}
}

// AskNow has the replicas acknowledge once what they have, at once.
func (a *Acks) AskNow() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.replicas {
		r.s.askNow()
	}
}

// wanted returns the flags that ask a replica for what somebody waits for.
func (a *Acks) wanted() (flags byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for l, n := range a.waiting {
		if n > 0 {
			flags |= [levels]byte{flagAckWritten, flagAckStable, flagAckSynced}[l]
		}
	}
	return flags
}

// join makes a replica count, in place of an older connection of the same node; leave ends that.
func (a *Acks) join(s *session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.replicas == nil {
		a.replicas = map[string]*acked{}
	}
	a.replicas[s.hello.nodeID] = &acked{s: s}
}

// find returns what a session's replica has acknowledged, nil if the session doesn't count. Caller holds mu.
func (a *Acks) find(s *session) *acked {
	if r := a.replicas[s.hello.nodeID]; r != nil && r.s == s {
		return r
	}
	return nil
}

func (a *Acks) leave(s *session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.find(s) != nil {
		delete(a.replicas, s.hello.nodeID)
	}
}

// update notes what a replica has, which never goes back, and calls whoever waited for it.
func (a *Acks) update(s *session, now ackState) {
	a.mu.Lock()
	r := a.find(s)
	if r == nil {
		a.mu.Unlock()
		return
	}
	for l := range r.state {
		r.state[l] = max(r.state[l], now[l])
	}
	due := a.due()
	a.mu.Unlock()
	for _, w := range due {
		w.fn(nil)
	}
}

// of returns what a replica has acknowledged.
func (a *Acks) of(s *session) ackState {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r := a.find(s); r != nil {
		return r.state
	}
	return ackState{}
}

// close calls all that wait with ErrClosed.
func (a *Acks) close() {
	a.mu.Lock()
	a.closed = true
	due := a.waiters
	a.waiters = nil
	a.mu.Unlock()
	for _, w := range due {
		w.fn(ErrClosed)
	}
}
