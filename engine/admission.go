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
	stalled  atomic.Bool // unsaved records, memtables or level 0 are too far behind
	lowSpace atomic.Bool
	mu       sync.Mutex
	changed  chan struct{} // closed when stalled ends

	stalls    atomic.Uint64
	stallTime atomic.Int64 // nanoseconds, of all stalls that have ended
	avail     atomic.Uint64
	total     atomic.Uint64

	memTables atomic.Int64
	l0        atomic.Int64
}

const (
	stallPoll = 100 * time.Millisecond
	spacePoll = time.Second
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
		case <-s.admission.wait():
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
		return false, fmt.Errorf("%w: %w: %d MiB available, %d MiB are kept in reserve",
			ErrReadOnly, ErrDiskFull, a.avail.Load()>>20, s.reserve.Load()>>20)
	}
	if err := s.log.Err(); err != nil {
		return false, fmt.Errorf("%w: %w", ErrReadOnly, err)
	}
	return !a.stalled.Load(), nil
}

func (a *admission) wait() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.stalled.Load() {
		done := make(chan struct{})
		close(done)
		return done
	}
	return a.changed
}

func (a *admission) setStalled(on bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if on == a.stalled.Load() {
		return
	}
	a.stalled.Store(on)
	if on {
		a.changed = make(chan struct{})
		a.stalls.Add(1)
	} else {
		close(a.changed)
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
			s.admission.setStalled(false)
			return
		case now := <-tick.C:
			was := s.admission.stalled.Load()
			is := s.pollStall()
			if is && !was {
				stalledAt = now
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
	// Once stalled, go on a little below the limit, so that it does not flutter.
	tables, l0 := s.o.MemTables, int32(s.o.L0Sublevels)
	unsaved := s.records.limit * 2 / 3
	if a.stalled.Load() {
		l0 -= l0 / 4
		tables = max(1, tables-1)
		unsaved -= unsaved / 8
	}
	// Bytes count, not tables: Pebble begins with small memtables and leaves them in its queue until they
	// are worth a flush, so that many of them may wait with nothing being wrong.
	stalled := m.MemTable.Size > uint64(tables)*uint64(s.o.MemTableBytes) || m.Levels[0].Sublevels >= l0 || s.records.unsaved.Load() > unsaved
	a.setStalled(stalled)
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
