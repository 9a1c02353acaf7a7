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

// pause is the state of CLIENT PAUSE. Its end is kept in an atomic so that a node that is not paused pays one load a command.
type pause struct {
	until     atomic.Int64 // unix ms, 0 when not paused
	writeOnly atomic.Bool
	mu        sync.Mutex
	resumed   chan struct{} // closed by CLIENT UNPAUSE; nil when nobody waits
}

// Pause suspends all commands, or only writes, until the given time. A pause that is in force is never shortened, nor
// weakened from all commands to writes.
func (r *Clients) Pause(until time.Time, writeOnly bool) {
	p := &r.pause
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now().UnixMilli()
	inForce := p.until.Load() > now
	p.writeOnly.Store(writeOnly && (!inForce || p.writeOnly.Load()))
	p.until.Store(max(until.UnixMilli(), p.until.Load()))
}

// Unpause ends the pause and wakes who waits for it.
func (r *Clients) Unpause() {
	p := &r.pause
	p.mu.Lock()
	defer p.mu.Unlock()
	p.until.Store(0)
	if p.resumed != nil {
		close(p.resumed)
		p.resumed = nil
	}
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
	if r.pause.writeOnly.Load() && cmd.Flags&(Write|MayReplicate) == 0 && !(s.InMulti && cmd.Name == "exec" && s.queueWrites()) {
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
