package engine

import (
	"context"
	"time"
)

// What is deleted leaves the disk with the compactions that bring its tombstones down to it. Pebble runs these when a level is too large, which a store that
// is written to no more, or little, does not become. So the sweeper looks at what the tombstones of each table cover, as Pebble estimates it, and compacts
// tables where that is much, while nothing else is being compacted.
//
// A step compacts the one key with which a table begins: the table joins the next level, what of it begins there the one after, and so on. That reads and
// writes a table and what overlaps it in each level, however large the store is; the rest of the table is looked at again where it lies then.

const (
	sweepPoll = time.Second
	// sweepLeast is what a step must give back, sweepStart what all of them must together, and sweepShare that as a share of the store.
	sweepLeast = 1 << 20
	sweepStart = 8 << 20
	sweepShare = 32
	// sweepPrice is how many bytes may be compacted for one that is given back.
	sweepPrice = 8
	// sweepRest is how long to rest after a step, as a multiple of its time.
	sweepRest = 2
	// flushAfter is when memtables are flushed although they are small, for the tombstones in them.
	flushAfter = 10 * time.Second
)

// runSweeper gives the room of what was deleted back to the disk.
func (s *Store) runSweeper() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-s.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	var flush reclaimFlush
	for pause := sweepPoll; ; {
		select {
		case <-s.stop:
			return
		case now := <-time.After(pause):
			flush.look(s, now)
		}
		start := time.Now()
		if err := s.sweep(ctx); err != nil && !s.stopping() {
			s.o.Logger.Warn("store: giving back the room of what was deleted", "err", err)
			pause = troublePause
			continue
		}
		pause = max(sweepPoll, sweepRest*time.Since(start))
	}
}

// reclaimFlush has memtables flushed some time after ids were reclaimed: Pebble does so for deleted ranges only.
type reclaimFlush struct {
	seen, flushed uint64 // ids reclaimed
	changed       time.Time
}

func (f *reclaimFlush) look(s *Store, now time.Time) {
	switch n := s.reclaimed.Load(); {
	case n != f.seen:
		f.seen, f.changed = n, now
	case n != f.flushed && now.Sub(f.changed) >= flushAfter:
		f.flushed = n
		if _, err := s.db.AsyncFlush(); err != nil {
			s.o.Logger.Warn("store: flushing", "err", err)
		}
	}
}

// sweep compacts the table whose tombstones cover most, if it is worth that, and nothing else is going on.
func (s *Store) sweep(ctx context.Context) error {
	if s.admission.pressed.closed.Load() || s.fs.full.Load() || s.failed() != nil || s.db.Metrics().Compact.NumInProgress > 0 {
		return nil
	}
	start := s.sweepable()
	if start == nil {
		return nil
	}
	return storeErrorOrNil(s.db.Compact(ctx, start, append(start[:len(start):len(start)], 0), false))
}

// sweepable returns the first key of the table to compact, nil for none.
func (s *Store) sweepable() (first []byte) {
	v := s.db.DebugCurrentVersion()
	var total, all, most uint64
	for level := range v.Levels {
		for f := range v.Levels[level].All() {
			total += f.Size + f.EstimatedReferenceSize()
			if !f.StatsValid() || level == len(v.Levels)-1 { // tombstones there go by themselves
				continue
			}
			covered := f.Stats.PointDeletionsBytesEstimate + f.Stats.RangeDeletionsBytesEstimate
			if covered == 0 {
				continue
			}
			// The estimate is about tables; what they refer to in files of values goes with them.
			below, with := uint64(1), uint64(1)
			for l := level + 1; l < len(v.Levels); l++ {
				for g := range v.Overlaps(l, f.UserKeyBounds()).All() {
					below += g.Size
					with += g.Size + g.EstimatedReferenceSize()
				}
			}
			gain := uint64(float64(min(covered, below)) * float64(with) / float64(below)) // an estimate stays when what it was about has gone
			all += gain
			if gain >= max(sweepLeast, most+1) && (f.Size+below)/sweepPrice <= gain {
				first, most = f.Smallest().UserKey, gain
			}
		}
	}
	if all < max(sweepStart, total/sweepShare) {
		return nil
	}
	return first
}
