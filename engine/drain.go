package engine

import (
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairndb/cairn/engine/keys"
)

// drains are the drainer's state. It hands the unsaved records to Pebble in order of their keys, in batches so large that Pebble
// takes them as memtables of their own, past its skiplist. What it writes may be newer than the offset that it stamps, or
// be written again by later records of the log: they hold absolute values, so replaying them is harmless.
type drains struct {
	turn sync.Mutex // one drain at a time
	// batch is held from the time that records are copied out of the table until they are in Pebble and settled: FLUSHALL waits
	// for it, or the records would come back.
	batch sync.Mutex
	wake  chan struct{}
	// drained is the applied offset: all up to it is in Pebble.
	drained atomic.Uint64
	count   atomic.Uint64
	took    atomic.Int64 // nanoseconds
	flushes uint64       // FLUSHALLs; under batch

	ops     []op
	arena   arena
	counted keys.Counters
	key     []byte
	val     []byte
}

// drainPoll is how often the drainer looks whether Pebble has caught up.
const drainPoll = 5 * time.Millisecond

// drainable says whether there is enough to drain. At twice as much writers wait, see pollStall.
func (s *Store) drainable() bool {
	return s.records.unsaved.Load() >= s.records.limit/3 || s.log.End()-s.drains.drained.Load() >= s.replayLimit()
}

// replayLimit is about how much of the log a start may have to replay.
func (s *Store) replayLimit() uint64 { return 2 * uint64(s.o.MemTables) * uint64(s.o.MemTableBytes) }

// noteWrites wakes the drainer when there is enough to do. Under the commit mutex.
func (s *Store) noteWrites() {
	if len(s.records.hot) > 0 || s.drainable() {
		select {
		case s.drains.wake <- struct{}{}:
		default:
		}
	}
}

func (s *Store) runDrainer() {
	for {
		select {
		case <-s.stop:
			return
		case <-s.drains.wake:
		}
		var err error
		if s.drainable() {
			err = s.drain()
		} else {
			err = s.drainHot()
		}
		if err != nil {
			s.o.Logger.Error("store: handing records to Pebble", "err", err)
		}
	}
}

// drain brings everything committed so far into Pebble, and moves the applied offset there.
func (s *Store) drain() error {
	s.drains.turn.Lock()
	defer s.drains.turn.Unlock()
	if err := s.failed(); err != nil {
		return err // the drain that has failed may have taken what it did not write: no offset can be stamped any more
	}
	start := time.Now()
	s.commitMu.Lock()
	off := s.log.End()
	bytes := s.records.unsaved.Load()
	slots := s.records.takeAll()
	flushes := s.drains.flushes
	s.commitMu.Unlock()
	if off == s.drains.drained.Load() {
		return nil
	}
	if err := s.drainSlots(slots, bytes, flushes); err != nil {
		return err
	}
	b := s.db.NewBatch()
	defer func() { _ = b.Close() }()
	if err := s.applyAt(b, off); err != nil {
		s.fail(err)
		return err
	}
	s.drains.drained.Store(off)
	s.drains.count.Add(1)
	s.drains.took.Add(int64(time.Since(start)))
	if _, err := s.db.AsyncFlush(); err != nil {
		return storeError(err)
	}
	return nil
}

// drainHot drains the slots that hold more than a scan of them should sort through.
func (s *Store) drainHot() error {
	s.drains.turn.Lock()
	defer s.drains.turn.Unlock()
	s.commitMu.Lock()
	slots := s.records.takeHot()
	flushes := s.drains.flushes
	s.commitMu.Unlock()
	return s.drainSlots(slots, 0, flushes)
}

// drainSlots writes what was taken from the slots, about size bytes, in batches that are large or the only one.
func (s *Store) drainSlots(slots []uint16, size int64, flushes uint64) error {
	large := s.drainBatchBytes()
	for len(slots) > 0 {
		if err := s.waitForPebble(); err != nil {
			return err
		}
		limit := large
		if int(size) < 2*large {
			limit = 2 * large
		}
		n, written, err := s.drainBatch(slots, limit, flushes)
		if err != nil {
			s.fail(err)
			return err
		}
		slots = slots[n:]
		size -= int64(written)
	}
	return nil
}

// drainBatchBytes is the size of a batch: more than half a memtable, so that Pebble takes it past its skiplist, and
// so much that the files of level 0 are few.
func (s *Store) drainBatchBytes() int {
	return int(max(s.o.MemTableBytes/2+s.o.MemTableBytes/8, min(24<<20, s.records.limit/8)))
}

// drainBatch writes slots until limit bytes are reached, and returns how many. After a FLUSHALL nothing is left to be written.
func (s *Store) drainBatch(slots []uint16, limit int, flushes uint64) (n, size int, err error) {
	d := &s.drains
	d.batch.Lock()
	defer d.batch.Unlock()
	if d.flushes != flushes {
		return len(slots), 0, nil
	}
	b := s.db.NewBatch()
	defer func() { _ = b.Close() }()
	for n < len(slots) && b.Len() < limit {
		if err := s.encodeUnsaved(b, slots[n]); err != nil {
			return 0, 0, storeError(err)
		}
		n++
	}
	size = b.Len()
	if err := s.applyBatch(b, keys.ReachedDrainKey, s.log.End()); err != nil {
		return 0, 0, err
	}
	s.commitMu.Lock()
	s.records.settle(slots[:n])
	s.commitMu.Unlock()
	return n, size, nil
}

// encodeUnsaved writes the taken records of a slot and its counters. These may already count
// what comes behind the offset that is being drained: its record in the log writes them again.
func (s *Store) encodeUnsaved(b *pebble.Batch, slot uint16) error {
	d := &s.drains
	d.arena.reset()
	d.ops = s.records.unsavedOps(d.ops[:0], &d.arena, slot, s.records.slots[slot].taken)
	if s.records.slots[slot].counted { // 'c' comes before 'm'
		s.counters.mu.Lock()
		s.counters.stored(&d.counted, slot, s.slots[slot].storedID, nil, false)
		s.counters.mu.Unlock()
		d.key = keys.AppendCounters(d.key[:0], slot)
		d.val = d.counted.Append(d.val[:0])
		if err := b.Set(d.key, d.val, nil); err != nil {
			return err
		}
	}
	for i := range d.ops {
		if err := encodeOp(b, &d.ops[i]); err != nil {
			return err
		}
	}
	if cap(d.ops) > tableKeep {
		d.ops = nil
	}
	return nil
}

// waitForPebble waits while Pebble has much to flush or to compact.
func (s *Store) waitForPebble() error {
	for {
		m := s.db.Metrics()
		if m.MemTable.Size <= 2*uint64(s.drainBatchBytes()) && m.Levels[0].Sublevels < int32(s.o.L0Sublevels) || s.closed.Load() {
			return s.failed()
		}
		select {
		case <-s.failedNow:
			return s.failed()
		case <-time.After(drainPoll):
		}
	}
}

// unsavedOps returns the records of a slot that Pebble does not have yet, by key, and the table's count of settles
// before which an iterator may have been opened that lacks others.
func (s *Store) unsavedOps(a *arena, slot uint16) (ops []op, settles uint64) {
	s.commitMu.Lock()
	sr := &s.records.slots[slot]
	hashes := slices.Concat(sr.taken, sr.next)
	s.commitMu.Unlock()
	if len(hashes) > 0 {
		ops = s.records.unsavedOps(nil, a, slot, hashes)
	}
	return ops, s.records.settles.Load()
}

// applyAt stamps the applied offset into the batch and applies it.
func (s *Store) applyAt(b *pebble.Batch, end Offset) error {
	return s.applyBatch(b, keys.AppliedKey, end)
}

// applyBatch stamps an offset of the log into the batch and applies it.
func (s *Store) applyBatch(b *pebble.Batch, stamp []byte, off Offset) error {
	op := b.SetDeferred(len(stamp), 8)
	copy(op.Key, stamp)
	binary.BigEndian.PutUint64(op.Value, off)
	if err := op.Finish(); err != nil {
		return storeError(err)
	}
	if err := s.db.Apply(b, pebble.NoSync); err != nil {
		return storeError(err)
	}
	return nil
}
