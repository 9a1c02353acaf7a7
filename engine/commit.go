package engine

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairndb/cairn/engine/keys"
	wal "github.com/cairndb/cairn/engine/log"
)

// batchHeader is the length of what stands before the operations in a Pebble batch: sequence number and count. Pebble
// patches it in place at commit, so it is no part of a record; the count stands before the operations as an uvarint.
const batchHeader = 12

// Commit appends the writes to the log and applies them, then releases all locks. With
// nothing written it only releases. The reply may be sent once Stable() >= Barrier().
//
// On an error that is ErrReadOnly nothing was applied; on ErrUncertain the write may stand.
func (t *Txn) Commit() error {
	var err error
	if len(t.set.ops) > 0 {
		if err = t.commit(); err != nil {
			t.Rollback(0)
		}
	}
	t.finish()
	return err
}

// commit makes the writes one record of the log and one batch of Pebble:
//
//	lock commit mutex
//	  append the record to the log's buffer   (room on the disk is reserved here: an error means not applied)
//	  stamp the offset behind it into the batch
//	  apply the batch to the memtable
//	unlock
//	publish: slot offsets, counters, cache, expiry heap, reclaimer
//
// The slots' write locks are held throughout, so nobody sees the parts come one by one.
func (t *Txn) commit() error {
	s := t.s
	if err := s.writable(); err != nil {
		return err
	}
	if s.following.Load() {
		return ErrReplica
	}
	if t.batch == nil {
		t.batch = s.db.NewBatch(pebble.WithMaxRetainedSizeBytes(4 << 20))
	}
	defer t.dropBatch()
	kind := wal.KindBatch
	if t.set.flush > 0 {
		kind = wal.KindFlushAll
		if err := t.encodeFlushAll(); err != nil {
			return err
		}
	}
	slots := t.slotBuf[:0]
	for i := range t.touched.list {
		slots = append(slots, t.touched.list[i].slot)
	}
	slices.Sort(slots)
	t.slotBuf = slots
	if err := t.encode(slots); err != nil {
		return err
	}
	end, err := s.commitBatch(t.batch, kind, slots)
	if err != nil {
		return err
	}
	t.dependOn(end)
	t.publish(end)
	return nil
}

// dropBatch makes the batch ready for the next commit. A large one was handed over to Pebble.
func (t *Txn) dropBatch() {
	if t.batch.Len() > 1<<20 {
		_ = t.batch.Close()
		t.batch = nil
		return
	}
	t.batch.Reset()
}

// commitBatch appends a record with the batch's operations to the log and applies it.
func (s *Store) commitBatch(b *pebble.Batch, kind wal.Kind, slots []uint16) (Offset, error) {
	repr := b.Repr() // before Apply, which empties a large batch
	var count [binary.MaxVarintLen32]byte
	n := binary.PutUvarint(count[:], uint64(b.Count()))

	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	end, err := s.log.Append(kind, slots, count[:n], repr[batchHeader:])
	if err != nil {
		return 0, s.logError(err)
	}
	if err := s.applyAt(b, end); err != nil {
		err = fmt.Errorf("%w: %w", ErrUncertain, err)
		s.fail(err)
		return 0, err
	}
	s.commits.Add(1)
	return end, nil
}

// applyAt stamps the applied offset into the batch and applies it.
func (s *Store) applyAt(b *pebble.Batch, end Offset) error {
	op := b.SetDeferred(len(keys.AppliedKey), 8)
	copy(op.Key, keys.AppliedKey)
	binary.BigEndian.PutUint64(op.Value, end)
	if err := op.Finish(); err != nil {
		return err
	}
	return s.db.Apply(b, pebble.NoSync)
}

// logError translates an error of Append: nothing was appended.
func (s *Store) logError(err error) error {
	if errors.Is(err, wal.ErrTooLarge) {
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	return fmt.Errorf("%w: %w", ErrReadOnly, err)
}

// encode writes the ops that count, and the counters of the slots that they change, into the batch.
func (t *Txn) encode(slots []uint16) error {
	b := t.batch
	for _, at := range t.sorted() {
		if err := encodeOp(b, &t.set.ops[at.index]); err != nil {
			return err
		}
	}
	if t.set.flush > 0 {
		return nil // encodeFlushAll has written all counters
	}
	var stored keys.Counters
	stored.DBs = t.dbBuf[:0]
	for _, slot := range slots {
		ts := t.touched.peek(slot)
		if !ts.changed() {
			continue
		}
		t.s.counters.stored(&stored, ts.slot, t.s.slots[ts.slot].nextID, ts.deltas, false)
		if err := t.encodeCounters(ts.slot, &stored); err != nil {
			return err
		}
	}
	t.dbBuf = stored.DBs
	return nil
}

// orderedOp is an op with the first bytes of its key: slot, kind and most of the hash.
type orderedOp struct {
	prefix uint64
	index  int32
}

// sorted lists the ops that count in the order of their keys, so that the memtable finds the place of each near that of
// the one before (a quarter less CPU for a group of 800). Each key has one op, so their order means nothing, unless a range is deleted.
func (t *Txn) sorted() []orderedOp {
	list, ranges := t.order[:0], false
	for i := t.set.flush; i < len(t.set.ops); i++ {
		o := &t.set.ops[i]
		if o.superseded {
			continue
		}
		ranges = ranges || o.kind == opDeleteRange
		at := orderedOp{index: int32(i)}
		if len(o.key) >= 8 {
			at.prefix = binary.BigEndian.Uint64(o.key)
		}
		list = append(list, at)
	}
	if !ranges {
		slices.SortFunc(list, func(a, b orderedOp) int { return cmp.Compare(a.prefix, b.prefix) })
	}
	t.order = list
	return list
}

func (t *Txn) encodeCounters(slot uint16, c *keys.Counters) error {
	t.keyBuf = keys.AppendCounters(t.keyBuf[:0], slot)
	t.valBuf = c.Append(t.valBuf[:0])
	return t.batch.Set(t.keyBuf, t.valBuf, nil)
}

func encodeOp(b *pebble.Batch, o *op) error {
	switch o.kind {
	case opSet:
		d := b.SetDeferred(len(o.key), len(o.val))
		copy(d.Key, o.key)
		copy(d.Value, o.val)
		return d.Finish()
	case opDelete:
		d := b.DeleteDeferred(len(o.key))
		copy(d.Key, o.key)
		return d.Finish()
	case opDeleteRange:
		return b.DeleteRange(o.key, o.val, nil)
	}
	return nil
}

// encodeFlushAll begins the batch with a range deletion of each slot that holds
// something, and rewrites the counters, since ids must not come back.
func (t *Txn) encodeFlushAll() error {
	s := t.s
	var stored keys.Counters
	for slot := range keys.Slots {
		ts := t.touched.peek(uint16(slot))
		full := len(s.counters.slots[slot]) > 0 || s.reclaims.has(uint16(slot))
		if ts == nil && !full {
			continue
		}
		if full {
			t.touched.at(uint16(slot))
			if err := t.batch.DeleteRange(keys.AppendSlot(nil, slot), keys.AppendSlot(nil, slot+1), nil); err != nil {
				return err
			}
		}
		var deltas []delta
		if ts = t.touched.peek(uint16(slot)); ts != nil {
			deltas = ts.deltas
		}
		s.counters.stored(&stored, uint16(slot), s.slots[slot].nextID, deltas, true)
		if err := t.encodeCounters(uint16(slot), &stored); err != nil {
			return err
		}
	}
	return nil
}

// publish makes what was committed known to everything that lives in memory.
func (t *Txn) publish(end Offset) {
	s := t.s
	if t.set.flush > 0 {
		s.cache.reset()
		s.expiries.clear()
	}
	if t.locks.world {
		s.worldOffset = end
	}
	for i := t.set.flush; i < len(t.set.ops); i++ {
		o := &t.set.ops[i]
		switch {
		case o.superseded:
		case o.meta && o.kind == opSet:
			s.cache.set(o.key, o.val)
		case o.meta:
			s.cache.set(o.key, nil)
		case o.kind == opSet && len(o.key) > 2 && o.key[2] == byte(keys.KindGarbage):
			s.reclaims.add(o.slot)
		}
	}
	s.counters.mu.Lock()
	for i := range t.touched.list {
		ts := &t.touched.list[i]
		if t.set.flush > 0 {
			s.counters.clear(ts.slot)
		}
		for _, d := range ts.deltas {
			if d.keys != 0 || d.expires != 0 || d.bytes != 0 {
				s.counters.add(ts.slot, d)
			}
		}
	}
	s.counters.mu.Unlock()
	for i := range t.touched.list {
		ts := &t.touched.list[i]
		s.slots[ts.slot].offset = end
		if ts.earliest != 0 {
			s.expiries.lower(ts.slot, ts.earliest)
		}
	}
}
