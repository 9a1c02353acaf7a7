package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	wal "github.com/cairndb/cairn/engine/log"
)

// ErrDiskFull is the cause of an ErrReadOnly when the disk has less room than the reserve.
var ErrDiskFull = errors.New("engine: the disk is full or nearly")

// admission decides before any lock is taken whether a write may begin.
type admission struct {
	stalled  gate // unsaved records, memtables or level 0 are too far behind: writes wait
	pressed  gate // memtables or level 0 are half as far behind: imports, which can wait, leave the rest to clients
	lowSpace atomic.Bool

	stalls    atomic.Uint64
	stallTime atomic.Int64 // nanoseconds, of all stalls that have ended
	avail     atomic.Uint64
	total     atomic.Uint64

	memTables atomic.Int64
	l0        atomic.Int64
}

// gate is open, or closed and waited for.
type gate struct {
	closed atomic.Bool
	mu     sync.Mutex
	opens  chan struct{} // made when the gate closes, closed when it opens
}

const (
	stallPoll = 100 * time.Millisecond
	spacePoll = time.Second
	// importPatience is how long an imported batch leaves the store to clients, so that a store that is always under pressure gets it at last.
	importPatience = time.Second
)

// AdmitWrite is asked before any lock is taken: it returns an error wrapping
// ErrReadOnly when writes are refused, and waits (up to ctx) while the store is stalled.
func (s *Store) AdmitWrite(ctx context.Context) error {
	if s.following.Load() {
		return ErrReplica
	}
	return s.admit(ctx)
}

func (s *Store) admit(ctx context.Context) error {
	for {
		ok, err := s.tryAdmit()
		if ok || err != nil {
			return err
		}
		select {
		case <-s.admission.stalled.wait():
		case <-ctx.Done():
			return ctx.Err()
		case <-s.stop:
			return ErrClosed
		}
	}
}

// TryAdmitWrite is AdmitWrite without waiting: ok is false when it would wait.
func (s *Store) TryAdmitWrite() (ok bool, err error) {
	if s.following.Load() {
		return false, ErrReplica
	}
	return s.tryAdmit()
}

func (s *Store) tryAdmit() (ok bool, err error) {
	a := &s.admission
	if err := s.writable(); err != nil {
		return false, err
	}
	if a.lowSpace.Load() || (s.fs != nil && s.fs.full.Load()) {
		return false, fmt.Errorf("%w: %w: %d MiB available, %d MiB are kept in reserve (free-space-reserve)",
			ErrReadOnly, ErrDiskFull, a.avail.Load()>>20, s.reserve.Load()>>20)
	}
	if err := s.log.Err(); err != nil {
		return false, fmt.Errorf("%w: %w", ErrReadOnly, err)
	}
	return !a.stalled.closed.Load(), nil
}

// admitImport is AdmitWrite for what is imported.
func (s *Store) admitImport(ctx context.Context) error {
	if p := &s.admission.pressed; p.closed.Load() {
		patience := time.NewTimer(importPatience)
		defer patience.Stop()
		select {
		case <-p.wait():
		case <-patience.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.stop:
			return ErrClosed
		}
	}
	return s.AdmitWrite(ctx)
}

// wait returns what is closed when the gate is open.
func (g *gate) wait() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed.Load() {
		done := make(chan struct{})
		close(done)
		return done
	}
	return g.opens
}

// set closes or opens the gate.
func (g *gate) set(closed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if closed == g.closed.Load() {
		return
	}
	g.closed.Store(closed)
	if closed {
		g.opens = make(chan struct{})
	} else {
		close(g.opens)
	}
}

// runMonitor watches memtables, level 0 and the disk's free space. Pebble tells only that
// it stops writers, which would be too late: they would wait under their locks.
func (s *Store) runMonitor() {
	tick := time.NewTicker(stallPoll)
	defer tick.Stop()
	var stalledAt, spaceAt time.Time
	for {
		select {
		case <-s.stop:
			s.admission.stalled.set(false)
			return
		case now := <-tick.C:
			was := s.admission.stalled.closed.Load()
			is := s.pollStall()
			if is && !was {
				stalledAt = now
				s.admission.stalls.Add(1)
			}
			if was && !is {
				s.admission.stallTime.Add(int64(now.Sub(stalledAt)))
			}
			if now.Sub(spaceAt) >= spacePoll {
				spaceAt = now
				s.pollSpace()
			}
			if errors.Is(s.log.Err(), wal.ErrStalled) {
				_ = s.log.Recover()
			}
		}
	}
}

func (s *Store) pollStall() bool {
	a := &s.admission
	m := s.db.Metrics()
	a.memTables.Store(m.MemTable.Count)
	a.l0.Store(int64(m.Levels[0].Sublevels))
	// Bytes count, not tables: Pebble begins with small memtables and leaves them in its queue until they
	// are worth a flush, so that many of them may wait with nothing being wrong.
	behind := max(
		float64(m.MemTable.Size)/float64(s.o.MemTables)/float64(s.o.MemTableBytes),
		float64(m.Levels[0].Sublevels)/float64(s.o.L0Sublevels),
	)
	a.pressed.set(behind >= 0.5)
	behind = max(behind, float64(s.records.unsaved.Load())/float64(s.records.limit*2/3)) // imports add nothing to these
	// Once stalled, go on a little below the limit, so that it does not flutter.
	stalled := behind >= 1 || a.stalled.closed.Load() && behind >= 0.8
	a.stalled.set(stalled)
	return stalled
}

// pollSpace compares the free space with the reserve, and restores the ballast when there is room.
func (s *Store) pollSpace() {
	a := &s.admission
	u, err := s.o.FS.GetDiskUsage(s.dir)
	if err != nil {
		s.fs.full.Store(false) // a file system that can't tell: try again
		return
	}
	a.avail.Store(u.AvailBytes)
	a.total.Store(u.TotalBytes)
	need := s.reserve.Load()
	if a.lowSpace.Load() {
		need += need / 16
	}
	low := u.AvailBytes < need
	if low != a.lowSpace.Swap(low) {
		if low {
			s.o.Logger.Error("store: the disk is nearly full, writes are refused", "available", u.AvailBytes, "reserve", s.reserve.Load())
		} else {
			s.o.Logger.Info("store: the disk has room again", "available", u.AvailBytes)
		}
	}
	if !low {
		s.fs.full.Store(false)
		s.ensureBallast()
	}
}

// ensureBallast writes the ballast file if it is missing.
func (s *Store) ensureBallast() {
	if s.reserve.Load() < 2*ballastSize {
		return
	}
	if _, err := s.o.FS.Stat(s.fs.ballast); err == nil {
		return
	}
	if err := writeFile(s.o.FS, s.fs.ballast, make([]byte, ballastSize)); err != nil {
		_ = s.o.FS.Remove(s.fs.ballast)
	}
}
