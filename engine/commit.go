package engine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairndb/cairn/engine/keys"
	wal "github.com/cairndb/cairn/engine/log"
)

// batchHeader is what stands before the operations in a Pebble batch: sequence number and count. Pebble
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

// commit makes the writes one record of the log:
//
//	lock commit mutex
//	  append the record to the log's buffer   (room on the disk is reserved here: an error means not applied)
//	  meta records go to the record table, what has to be in order at once to Pebble's memtable
//	  publish: counters, slot offsets, expiries, reclaimer
//	unlock
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
	defer t.dropBuffers()
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
	end, err := t.apply(kind, slots)
	if err != nil {
		return err
	}
	t.cacheSubs()
	t.dependOn(end)
	return nil
}

// dropBuffers makes the buffers ready for the next commit, if they are of a usual size.
func (t *Txn) dropBuffers() {
	if cap(t.payload) > 4<<20 {
		t.payload = nil
	}
	t.payload, t.count = t.payload[:0], 0
	if t.direct != nil {
		_ = t.direct.Close()
		t.direct = nil
	}
}

// apply appends a record with the payload to the log, and applies it.
func (t *Txn) apply(kind wal.Kind, slots []uint16) (Offset, error) {
	s := t.s
	var count [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(count[:], t.count)
	if kind == wal.KindFlushAll {
		s.drains.batch.Lock()
		defer s.drains.batch.Unlock()
	}
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	end, err := s.log.Append(kind, slots, count[:n], t.payload)
	if err != nil {
		return 0, s.logError(err)
	}
	if t.direct != nil {
		if err := s.applyBatch(t.direct, keys.ReachedDirectKey, end); err != nil {
			err = fmt.Errorf("%w: %w", ErrUncertain, err)
			s.fail(err)
			return 0, err
		}
	}
	s.commits.Add(1)
	t.publish(end)
	s.published.Store(end)
	s.noteWrites()
	return end, nil
}

// logError translates an error of Append: nothing was appended.
func (s *Store) logError(err error) error {
	if errors.Is(err, wal.ErrTooLarge) {
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	return fmt.Errorf("%w: %w", ErrReadOnly, err)
}

// encode writes the ops that count, and the counters of the slots that they change, into the payload.
func (t *Txn) encode(slots []uint16) error {
	for i := t.set.flush; i < len(t.set.ops); i++ {
		o := &t.set.ops[i]
		if o.superseded {
			continue
		}
		t.log(o.kind, o.key, o.val)
		if !o.meta {
			t.inOrder = append(t.inOrder, directOp{op: int32(i)})
		}
	}
	if err := t.encodeDirect(); err != nil {
		return err
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
		t.encodeCounters(ts.slot, &stored)
	}
	t.dbBuf = stored.DBs
	return nil
}

// directOp is an op that goes to Pebble at once.
type directOp struct {
	start uint64 // of the sub-key
	op    int32
}

// sortFrom is from how many ops on they are sorted.
const sortFrom = 16

// encodeDirect writes the ops in inOrder into the batch for Pebble. Many of one collection are sorted: Pebble's memtable finds the place for a key
// faster from where the one before it went, the nearer the better.
func (t *Txn) encodeDirect() error {
	ops := t.set.ops
	list := t.inOrder
	t.inOrder = t.inOrder[:0]
	if len(list) >= sortFrom && t.set.ranges == 0 {
		t.sortDirect(list)
	}
	for _, d := range list {
		if err := encodeOp(t.directBatch(), &ops[d.op]); err != nil {
			return storeError(err)
		}
	}
	return nil
}

func (t *Txn) sortDirect(list []directOp) {
	ops := t.set.ops
	prefix := ops[list[0].op].key
	if len(prefix) < subPrefix {
		return
	}
	prefix = prefix[:subPrefix]
	var start [8]byte
	for i := range list {
		key := ops[list[i].op].key
		if !bytes.HasPrefix(key, prefix) {
			return
		}
		start = [8]byte{}
		copy(start[:], key[subPrefix:])
		list[i].start = binary.BigEndian.Uint64(start[:])
	}
	slices.SortFunc(list, func(a, b directOp) int {
		switch {
		case a.start < b.start:
			return -1
		case a.start > b.start:
			return 1
		}
		return bytes.Compare(ops[a.op].key, ops[b.op].key)
	})
}

// directBatch is for what goes to Pebble at once: kinds of keys that are walked in order.
func (t *Txn) directBatch() *pebble.Batch {
	if t.direct == nil {
		t.direct = t.s.db.NewBatch()
	}
	return t.direct
}

// log appends an operation to the payload as it stands in a Pebble batch: kind, key, value.
func (t *Txn) log(kind opKind, key, val []byte) {
	t.payload = appendOp(t.payload, kind, key, val)
	t.count++
}

func appendOp(b []byte, kind opKind, key, val []byte) []byte {
	b = append(b, batchKinds[kind])
	b = binary.AppendUvarint(b, uint64(len(key)))
	b = append(b, key...)
	if kind != opDelete {
		b = binary.AppendUvarint(b, uint64(len(val)))
		b = append(b, val...)
	}
	return b
}

var batchKinds = [...]byte{
	opSet:         byte(pebble.InternalKeyKindSet),
	opDelete:      byte(pebble.InternalKeyKindDelete),
	opDeleteRange: byte(pebble.InternalKeyKindRangeDelete),
}

func (t *Txn) encodeCounters(slot uint16, c *keys.Counters) {
	t.keyBuf = keys.AppendCounters(t.keyBuf[:0], slot)
	t.valBuf = c.Append(t.valBuf[:0])
	t.log(opSet, t.keyBuf, t.valBuf)
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
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	var stored keys.Counters
	for slot := range keys.Slots {
		ts := t.touched.peek(uint16(slot))
		// A slot without keys may still have in Pebble what was deleted in the record table only.
		full := len(s.counters.slots[slot]) > 0 || s.reclaims.has(uint16(slot)) || s.records.slots[slot].any()
		if ts == nil && !full {
			continue
		}
		if full {
			t.touched.at(uint16(slot))
			from, to := keys.AppendSlot(nil, slot), keys.AppendSlot(nil, slot+1)
			t.log(opDeleteRange, from, to)
			if err := t.directBatch().DeleteRange(from, to, nil); err != nil {
				return storeError(err)
			}
		}
		var deltas []delta
		if ts = t.touched.peek(uint16(slot)); ts != nil {
			deltas = ts.deltas
		}
		s.counters.stored(&stored, uint16(slot), s.slots[slot].nextID, deltas, true)
		t.encodeCounters(uint16(slot), &stored)
	}
	return nil
}

// publish makes what was committed known to everything that lives in memory. Under the commit mutex.
func (t *Txn) publish(end Offset) {
	s := t.s
	if t.set.flush > 0 {
		s.drains.flushes++
		s.records.reset()
		s.derived.clear()
		s.expiries.clear()
	}
	if t.locks.world {
		s.worldOffset = end
		s.noteMapping(end)
	}
	for i := t.set.flush; i < len(t.set.ops); i++ {
		o := &t.set.ops[i]
		switch {
		case o.superseded:
		case o.meta && o.kind == opSet:
			s.records.put(o.slot, o.hash, o.key, o.val)
		case o.meta:
			s.records.put(o.slot, o.hash, o.key, nil)
		case o.kind == opSet && o.of(keys.KindGarbage):
			s.reclaims.add(o.slot)
		}
	}
	t.publishCounters()
	for i := range t.touched.list {
		ts := &t.touched.list[i]
		s.slots[ts.slot].offset = end
		if ts.earliest != 0 {
			s.expiries.lower(ts.slot, ts.earliest)
		}
	}
}

func (t *Txn) publishCounters() {
	s := t.s
	s.counters.mu.Lock()
	defer s.counters.mu.Unlock()
	for i := range t.touched.list {
		ts := &t.touched.list[i]
		if t.set.flush > 0 {
			s.counters.clear(ts.slot)
		}
		if t.set.flush > 0 || ts.changed() {
			s.slots[ts.slot].storedID = s.slots[ts.slot].nextID
			s.records.countersChanged(ts.slot)
		}
		for _, d := range ts.deltas {
			if d.keys != 0 || d.expires != 0 || d.bytes != 0 {
				s.counters.add(ts.slot, d)
			}
		}
	}
}
