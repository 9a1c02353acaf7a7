package engine

import (
	"fmt"
	"slices"
	"sync"

	"github.com/cairndb/cairn/engine/keys"
)

// The order in which locks are taken:
//
//	world  (shared by whoever locks slots, exclusive for what touches everything)
//	slots, ascending
//	drains.turn, then drains.batch (the drainer's; FLUSHALL takes the second, too)
//	commit mutex
//	life   (shared by reads that hold no slot lock, exclusive for Close)
//	counters.mu, reclaims.mu, gate.mu, the record table's shards: leaves, nothing is taken under them
//
// TryLock never waits, so it may be called in any order. No lock is held while
// waiting for a stall (Store.AdmitWrite comes before) or for a sync (WaitStable comes after).

// slotState is what a slot's lock guards besides the data.
type slotState struct {
	mu sync.RWMutex
	// offset is the log offset that a reader of the slot depends on.
	offset Offset
	// nextID is the id that the next large value gets.
	nextID uint64
	// storedID is nextID as the log last had it, which differs after a rollback. Under counters.mu.
	storedID uint64
	// nextIDAtOpen is what nextID was when the store was opened.
	nextIDAtOpen uint64
	// arrival is set while the slot is being imported.
	arrival *arrival
}

type lockMode uint8

const (
	unlocked lockMode = iota
	readLocked
	writeLocked
)

// txnLocks are the locks that a transaction holds.
type txnLocks struct {
	world  bool // exclusively
	shared bool // the world lock, shared
	mode   [keys.Slots]lockMode
	reads  []uint16
	writes []uint16
}

// TryLock locks one slot without waiting, and says whether it holds it now (in at least the
// mode asked for). Write locks are kept until Commit or Discard, read locks until EndCommand.
func (t *Txn) TryLock(slot uint16, write bool) bool {
	l := &t.locks
	if l.world {
		return true
	}
	if !l.shared {
		if !t.s.world.TryRLock() {
			return false
		}
		l.shared = true
	}
	st := &t.s.slots[slot]
	switch {
	case l.mode[slot] == writeLocked:
	case l.mode[slot] == readLocked && !write:
	case write:
		t.unlockRead(slot)
		if !st.mu.TryLock() {
			return false
		}
		l.mode[slot] = writeLocked
		l.writes = append(l.writes, slot)
	default:
		if !st.mu.TryRLock() {
			return false
		}
		l.mode[slot] = readLocked
		l.reads = append(l.reads, slot)
	}
	t.dependOn(max(st.offset, t.s.worldOffset))
	return true
}

// unlockRead gives up a read lock that is about to be taken for writing: nothing
// has been read under it, since a command takes all its locks first.
func (t *Txn) unlockRead(slot uint16) {
	l := &t.locks
	if l.mode[slot] != readLocked {
		return
	}
	l.mode[slot] = unlocked
	t.s.slots[slot].mu.RUnlock()
	l.reads = slices.DeleteFunc(l.reads, func(s uint16) bool { return s == slot })
	t.memoOK = false
}

// Lock locks the slots, in ascending order, waiting as needed. The transaction must hold no
// lock. slots is sorted and made unique in place.
func (t *Txn) Lock(slots []uint16, write bool) {
	slices.Sort(slots)
	slots = slices.Compact(slots)
	l := &t.locks
	t.s.world.RLock()
	l.shared = true
	t.dependOn(t.s.worldOffset)
	for _, slot := range slots {
		st := &t.s.slots[slot]
		if write {
			st.mu.Lock()
			l.mode[slot] = writeLocked
			l.writes = append(l.writes, slot)
		} else {
			st.mu.RLock()
			l.mode[slot] = readLocked
			l.reads = append(l.reads, slot)
		}
		t.dependOn(st.offset)
	}
}

// LockWorld locks every slot at once. The transaction must hold no lock.
func (t *Txn) LockWorld() {
	t.s.world.Lock()
	t.locks.world = true
	t.dependOn(t.s.log.End())
}

// EndCommand releases the read locks; called after each command.
func (t *Txn) EndCommand() {
	t.now = 0
	if len(t.locks.reads) > 0 {
		t.releaseReads()
	}
}

func (t *Txn) releaseReads() {
	l := &t.locks
	for _, slot := range l.reads {
		l.mode[slot] = unlocked
		t.s.slots[slot].mu.RUnlock()
	}
	l.reads = l.reads[:0]
	t.memoOK = false
}

// releaseLocks releases everything.
func (t *Txn) releaseLocks() {
	l := &t.locks
	if len(l.reads) > 0 {
		t.releaseReads()
	}
	for _, slot := range l.writes {
		l.mode[slot] = unlocked
		t.s.slots[slot].mu.Unlock()
	}
	l.writes = l.writes[:0]
	if l.shared {
		l.shared = false
		t.s.world.RUnlock()
	}
	if l.world {
		l.world = false
		t.s.world.Unlock()
	}
	t.memoOK = false
}

func (t *Txn) mayWrite(slot uint16) bool {
	return t.locks.mode[slot] == writeLocked || t.locks.world
}

// Writable says whether the transaction may write to the slot: a command that reads may keep what it has found out.
func (t *Txn) Writable(slot uint16) bool { return t.writeError(slot) == nil }

// writeError says why the transaction may not write to the slot, or nil.
func (t *Txn) writeError(slot uint16) error {
	switch {
	case !t.mayWrite(slot):
		return errNotLocked
	case t.s.slots[slot].arrival != nil:
		return fmt.Errorf("%w: %d", ErrImporting, slot)
	}
	return nil
}

func (t *Txn) dependOn(off Offset) { t.barrier = max(t.barrier, off) }

// Barrier is the greatest log offset that the slots touched (read or written) since the
// last ResetBarrier depend on. Valid after Commit for writes, at once for reads.
func (t *Txn) Barrier() Offset { return t.barrier }

// ResetBarrier forgets what Barrier has counted.
func (t *Txn) ResetBarrier() { t.barrier = 0 }
