package engine

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairndb/cairn/engine/keys"
	wal "github.com/cairndb/cairn/engine/log"
)

// A slot that is being imported has 'a' in place of 'c', and an arrival in memory; all else in memory says that it is empty. What is
// imported goes to Pebble at once, past the record table. Each of the four changes is a record
// that is applied as a replica does it, on the primary too:
//
//	begin   the deletion of the whole slot; 'a'
//	import  the operations of a batch
//	end     the deletion of 'a'; 'c', unless nothing was imported
//	drop    the deletion of the whole slot

// arrival is a slot that is being imported. Under the slot's lock.
type arrival struct {
	counters keys.Counters // what they will be
	earliest int64         // of its expiries, 0 for none; never later than the truth
}

// arrivals are the slots that have one: each is set under its slot's lock.
type arrivals struct {
	marked [keys.Slots]atomic.Bool
	count  atomic.Int64
}

func (a *arrivals) any() bool { return a.count.Load() > 0 }

// setArrival begins or (nil) ends the import of a slot, in memory.
func (s *Store) setArrival(slot uint16, to *arrival) {
	s.slots[slot].arrival = to
	if was := s.arrivals.marked[slot].Swap(to != nil); was != (to != nil) {
		if was {
			s.arrivals.count.Add(-1)
		} else {
			s.arrivals.count.Add(1)
		}
	}
}

// Importing returns the slots that are being imported, ascending.
func (s *Store) Importing() (slots []uint16) {
	if !s.arrivals.any() {
		return nil
	}
	for slot := range uint16(keys.Slots) {
		if s.IsImporting(slot) {
			slots = append(slots, slot)
		}
	}
	return slots
}

// IsImporting says whether a slot is being imported. It takes no lock: dispatch asks it for each command.
func (s *Store) IsImporting(slot uint16) bool { return s.arrivals.marked[slot].Load() }

// BeginImport begins to import the slots: what else is left there goes. It refuses slots that hold keys (ErrSlotInUse), but those that
// are being imported it begins again. As with the other three, one record does it for all of the slots;
// it is stable when Stable reaches the offset returned.
func (s *Store) BeginImport(slots []uint16) (Offset, error) {
	return s.changeSlots(slots, func(r *replicated, slot uint16) error {
		if s.SlotCounts(slot).Keys > 0 {
			return fmt.Errorf("%w: %d", ErrSlotInUse, slot)
		}
		r.drop(slot)
		r.op(opSet, keys.AppendImport(nil, slot), (&keys.Counters{NextID: 1}).Append(nil))
		return nil
	})
}

// EndImport makes what was imported visible.
func (s *Store) EndImport(slots []uint16) (Offset, error) {
	return s.changeSlots(slots, func(r *replicated, slot uint16) error {
		arrived := s.slots[slot].arrival
		if arrived == nil {
			return fmt.Errorf("%w: %d", ErrNotImporting, slot)
		}
		r.op(opDelete, keys.AppendImport(nil, slot), nil)
		if c := &arrived.counters; len(c.DBs) > 0 || c.NextID > 1 {
			r.op(opSet, keys.AppendCounters(nil, slot), c.Append(nil))
		}
		return nil
	})
}

// DropSlots removes everything stored for the slots, imported or not. What it costs does not depend on how much that is.
func (s *Store) DropSlots(slots []uint16) (Offset, error) {
	return s.changeSlots(slots, func(r *replicated, slot uint16) error {
		r.drop(slot)
		return nil
	})
}

// drop makes a slot empty.
func (r *replicated) drop(slot uint16) {
	r.op(opDeleteRange, keys.AppendSlot(nil, int(slot)), keys.AppendSlot(nil, int(slot)+1))
	r.drops = append(r.drops, slot)
}

func (r *replicated) op(kind opKind, key, val []byte) {
	r.ops = appendOp(r.ops, kind, key, val)
	r.count++
}

// changeSlots commits a record that change fills in for each slot, under the locks of all of them.
func (s *Store) changeSlots(slots []uint16, change func(r *replicated, slot uint16) error) (Offset, error) {
	slots = slices.Clone(slots)
	slices.Sort(slots)
	slots = slices.Compact(slots)
	if len(slots) == 0 || slots[len(slots)-1] >= keys.Slots {
		return 0, fmt.Errorf("engine: no slots, or one that does not exist: %v", slots)
	}
	s.lockSlots(slots)
	defer s.unlockSlots(slots)
	var r replicated
	r.Slots = slots
	for _, slot := range slots {
		if err := change(&r, slot); err != nil {
			return 0, err
		}
	}
	return s.commitRecord(&r)
}

// lockSlots locks slots, which are ascending, for writing.
func (s *Store) lockSlots(slots []uint16) {
	s.world.RLock()
	for _, slot := range slots {
		s.slots[slot].mu.Lock()
	}
}

func (s *Store) unlockSlots(slots []uint16) {
	for _, slot := range slots {
		s.slots[slot].mu.Unlock()
	}
	s.world.RUnlock()
}

// Import applies a batch to slots that are being imported. It waits (up to ctx) while the store is stalled, and a while when
// it is about to be.
func (s *Store) Import(ctx context.Context, b SlotBatch) (Offset, error) {
	for {
		d, err := decodeBatch(b, s.dbs.Load())
		if err != nil {
			return 0, err
		}
		if err := s.admitImport(ctx); err != nil {
			return 0, err
		}
		if end, again, err := s.importBatch(d); !again {
			return end, err
		}
	}
}

// importBatch is Import of a decoded batch; again says that meanwhile databases have changed their numbers.
func (s *Store) importBatch(d *decodedBatch) (end Offset, again bool, err error) {
	s.lockSlots(d.slots)
	defer s.unlockSlots(d.slots)
	if s.dbs.Load().physical != d.table.physical {
		return 0, true, nil
	}
	for _, slot := range d.slots {
		if s.slots[slot].arrival == nil {
			return 0, false, fmt.Errorf("%w: %d", ErrNotImporting, slot)
		}
	}
	r := replicated{ops: d.repr[batchHeader:], count: d.count, repr: d.repr}
	r.Slots = d.slots
	end, err = s.commitRecord(&r)
	return end, false, err
}

// commitRecord makes operations a record of the log and applies it, under the locks of its slots: as Txn.commit does.
func (s *Store) commitRecord(r *replicated) (Offset, error) {
	if err := s.writable(); err != nil {
		return 0, err
	}
	if s.following.Load() {
		return 0, ErrReplica
	}
	if len(r.drops) > 0 {
		// What removes everything must not meet the drainer between two steps.
		s.drains.batch.Lock()
		defer s.drains.batch.Unlock()
	}
	var count [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(count[:], r.count)
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	end, err := s.log.Append(wal.KindBatch, r.Slots, count[:n], r.ops)
	if err != nil {
		return 0, s.logError(err)
	}
	r.Kind, r.End = wal.KindBatch, end
	err = s.applyDirect([]replicated{*r})
	if err == nil {
		err = s.publish(r)
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrUncertain, err)
		s.fail(err)
		return 0, err
	}
	s.commits.Add(1)
	s.noteWrites()
	return end, nil
}

// forgetSlots makes memory agree with slots that are empty now: under their locks and the commit mutex, while the drainer is at nothing.
func (s *Store) forgetSlots(slots []uint16) {
	s.records.resetSlots(slots)
	s.counters.mu.Lock()
	defer s.counters.mu.Unlock()
	for _, slot := range slots {
		s.derived.drop(slot)
		s.counters.clear(slot)
		s.slots[slot].nextID, s.slots[slot].storedID = 1, 1
		s.expiries.earliest[slot].Store(0)
		s.setArrival(slot, nil)
	}
}

// publishArrival makes an operation on a slot known that is being imported, or begins to be, under its lock and the commit mutex.
func (s *Store) publishArrival(p *keys.Parsed, kind pebble.InternalKeyKind, value []byte) error {
	arrived := s.slots[p.Slot].arrival
	set := kind == pebble.InternalKeyKindSet
	switch {
	case p.Kind == keys.KindExpiry:
		if set && (arrived.earliest == 0 || p.ExpireAt < arrived.earliest) {
			arrived.earliest = p.ExpireAt
		}
	case p.Kind != keys.KindImport:
	case set:
		var c keys.Counters
		if _, err := c.Decode(value); err != nil {
			return fmt.Errorf("%w: slot %d: %w", ErrCorrupt, p.Slot, err)
		}
		if arrived == nil {
			arrived = &arrival{}
			s.setArrival(p.Slot, arrived)
		}
		arrived.counters = c
	case arrived != nil:
		s.setArrival(p.Slot, nil)
		if arrived.earliest != 0 {
			s.expiries.lower(p.Slot, arrived.earliest)
		}
		s.reclaims.add(p.Slot)
		s.records.settles.Add(1) // an iterator that is open may lack what was imported
	}
	return nil
}
