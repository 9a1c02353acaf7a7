package command

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Clients is the registry of sessions. The zero value is ready for use.
type Clients struct {
	mu     sync.RWMutex
	byID   map[uint64]*Session
	lastID uint64

	pause pause
}

// Add registers s under a fresh ID.
func (r *Clients) Add(s *Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byID == nil {
		r.byID = make(map[uint64]*Session)
	}
	r.lastID++
	s.ID = r.lastID
	r.byID[s.ID] = s
}

// Remove forgets s.
func (r *Clients) Remove(s *Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.byID, s.ID)
}

// Each calls fn for the sessions in the order of their IDs until it returns false. fn may add and remove sessions.
func (r *Clients) Each(fn func(*Session) bool) {
	for _, s := range r.sorted() {
		if !fn(s) {
			return
		}
	}
}

func (r *Clients) sorted() []*Session {
	r.mu.RLock()
	all := make([]*Session, 0, len(r.byID))
	for _, s := range r.byID {
		all = append(all, s)
	}
	r.mu.RUnlock()
	slices.SortFunc(all, func(a, b *Session) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// Get finds a session by its ID.
func (r *Clients) Get(id uint64) (*Session, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	s, ok := r.byID[id]
	return s, ok
}

// Len is the number of sessions.
func (r *Clients) Len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.byID)
}

// pause is the state of CLIENT PAUSE, and of a hand-over, which holds clients back likewise; neither ends the other. The later end is kept in an
// atomic so that a node that is not paused pays one load a command.
type pause struct {
	until     atomic.Int64 // unix ms, 0 when not paused
	writeOnly atomic.Bool
	mu        sync.Mutex
	command   pauseBy
	handOver  pauseBy
	resumed   chan struct{} // closed when a pause is ended; nil when nobody waits
}

// pauseBy is one reason to hold clients back.
type pauseBy struct {
	until     int64 // unix ms
	writeOnly bool
}

func (b pauseBy) allows(now int64) bool { return b.until <= now || b.writeOnly }

// Pause suspends all commands, or only writes, until the given time. A pause that is in force is never shortened, nor
// weakened from all commands to writes.
func (r *Clients) Pause(until time.Time, writeOnly bool) {
	r.pause.begin(&r.pause.command, until, writeOnly)
}

// Unpause ends Pause and wakes who waits for it.
func (r *Clients) Unpause() { r.pause.end(&r.pause.command) }

// Hold is Pause for a hand-over, which LetGo ends.
func (r *Clients) Hold(until time.Time, writeOnly bool) {
	r.pause.begin(&r.pause.handOver, until, writeOnly)
}

// LetGo ends Hold.
func (r *Clients) LetGo() { r.pause.end(&r.pause.handOver) }

func (p *pause) begin(by *pauseBy, until time.Time, writeOnly bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	writeOnly = writeOnly && by.allows(time.Now().UnixMilli())
	*by = pauseBy{max(by.until, until.UnixMilli()), writeOnly}
	p.combine()
}

func (p *pause) end(by *pauseBy) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*by = pauseBy{}
	p.combine()
	if p.resumed != nil { // who is still held back waits again
		close(p.resumed)
		p.resumed = nil
	}
}

// combine makes both reasons one. The caller holds mu.
func (p *pause) combine() {
	now := time.Now().UnixMilli()
	p.writeOnly.Store(p.command.allows(now) && p.handOver.allows(now))
	p.until.Store(max(p.command.until, p.handOver.until))
}

// Paused says whether cmd must wait, and until when at the latest. Inside MULTI nothing waits until EXEC, which
// counts as a write if anything queued is.
func (r *Clients) Paused(s *Session, cmd *Command) (until time.Time, paused bool) {
	ms := r.pause.until.Load()
	if ms == 0 {
		return time.Time{}, false
	}
	until = time.UnixMilli(ms)
	if !time.Now().Before(until) {
		return time.Time{}, false
	}
	if r.pause.writeOnly.Load() && cmd.Flags&(Write|MayReplicate|Keeps) == 0 && !(s.InMulti && cmd.Name == "exec" && s.queueWrites()) {
		return time.Time{}, false
	}
	return until, true
}

// PausedUntil is when the pause that is in force ends by itself; a time in the past when there is none.
func (r *Clients) PausedUntil() time.Time { return time.UnixMilli(r.pause.until.Load()) }

// Resumed is closed when CLIENT UNPAUSE ends the pause that is in force now. The pause may also
// simply run out: see the time that Paused returned.
func (r *Clients) Resumed() <-chan struct{} {
	p := &r.pause
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.until.Load() == 0 {
		done := make(chan struct{})
		close(done)
		return done
	}
	if p.resumed == nil {
		p.resumed = make(chan struct{})
	}
	return p.resumed
}
