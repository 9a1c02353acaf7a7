package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairndb/cairn/engine/keys"
)

// CopySlots writes everything stored for the slots to w, byte for byte as it is stored here, for the repair of a store with the same history
// (see SlotRepair). Each slot is copied as it is at one moment; nothing of what came behind the offset returned is in any of them. No
// lock is held while w is written to. Close waits for it.
//
// What is written are SlotBatches without the three exceptions that these have otherwise, each behind its length (4 bytes, little endian).
func (s *Store) CopySlots(ctx context.Context, slots []uint16, w io.Writer) (at Offset, err error) {
	for _, slot := range slots {
		if slot >= keys.Slots {
			return at, fmt.Errorf("engine: no slot %d", slot)
		}
		end, err := s.copySlot(ctx, slot, w)
		if err != nil {
			return at, err
		}
		at = max(at, end)
	}
	return at, nil
}

// CopySize returns the bytes of the keys and values in the slots, and of all that there are.
func (s *Store) CopySize(slots []uint16) (bytes, total int64) {
	for _, slot := range slots {
		bytes += s.SlotCounts(slot).Bytes
	}
	for slot := range uint16(keys.Slots) {
		total += s.SlotCounts(slot).Bytes
	}
	return bytes, total
}

func (s *Store) copySlot(ctx context.Context, slot uint16, w io.Writer) (Offset, error) {
	c := &copier{s: s, slot: slot}
	c.w.emit = func(b SlotBatch) error {
		if err := errors.Join(context.Cause(ctx), s.closing()); err != nil {
			return err
		}
		_, err := w.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(b))))
		if err == nil {
			_, err = w.Write(b)
		}
		return err
	}
	if err := c.fix(); err != nil {
		return 0, err
	}
	defer s.life.RUnlock()
	err := c.run()
	return c.at, errors.Join(err, c.snap.Close())
}

// copier is the copying of one slot.
type copier struct {
	s    *Store
	slot uint16
	w    batchWriter
	// What the slot is made of at the offset: a snapshot of Pebble, covered by what is not there yet.
	at       Offset
	snap     *pebble.Snapshot
	unsaved  []*op
	arena    arena
	counters []byte // nil if Pebble has what there is of them
}

// fix takes the snapshot, and holds s.life afterwards.
func (c *copier) fix() error {
	s := c.s
	s.world.RLock()
	defer s.world.RUnlock()
	st := &s.slots[c.slot]
	st.mu.RLock()
	defer st.mu.RUnlock()
	if err := s.closing(); err != nil {
		return err
	}
	s.life.RLock()
	c.at = s.log.End()
	c.fixCounters()
	ops, _ := s.unsavedOps(&c.arena, c.slot) // before the snapshot: what becomes clean in between is in both
	c.snap = s.db.NewSnapshot()
	for i := range ops {
		c.unsaved = append(c.unsaved, &ops[i])
	}
	return nil
}

// fixCounters takes the counters as the log has them, if Pebble may lack them.
func (c *copier) fixCounters() {
	s := c.s
	s.commitMu.Lock()
	sr := &s.records.slots[c.slot]
	changed := sr.counters || sr.counted
	s.commitMu.Unlock()
	if !changed {
		return
	}
	var stored keys.Counters
	s.counters.mu.Lock()
	s.counters.stored(&stored, c.slot, s.slots[c.slot].storedID, nil, false)
	s.counters.mu.Unlock()
	c.counters = stored.Append(nil)
}

func (c *copier) run() error {
	if c.counters != nil {
		c.unsaved = append([]*op{{kind: opSet, key: keys.AppendCounters(nil, c.slot), val: c.counters}}, c.unsaved...)
	}
	next := keys.AppendSlot(nil, int(c.slot))
	for next != nil {
		var err error
		if next, err = c.part(next); err != nil {
			return err
		}
	}
	return c.w.flush()
}

// part copies a part of the slot, and returns where the next one begins, nil at the end: see renewAfter.
func (c *copier) part(from []byte) (next []byte, err error) {
	it, err := c.snap.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: keys.AppendSlot(nil, int(c.slot)+1)})
	if err != nil {
		return nil, storeError(err)
	}
	m := &mergedIter{it: it, own: c.unsaved}
	defer func() {
		if closeErr := m.close(); closeErr != nil && err == nil {
			err = closeErr
		}
	}()
	copied := 0
	for ok := m.seek(from); ok; ok = m.next() {
		if copied >= renewAfter {
			return append([]byte(nil), m.key()...), nil
		}
		v, err := m.value()
		if err != nil {
			return nil, err
		}
		p, ok := keys.Parse(m.key())
		if !ok {
			return nil, fmt.Errorf("%w: slot %d: a key that does not parse", ErrCorrupt, c.slot)
		}
		if err := c.w.add(opSet, m.key(), v, p.DB); err != nil {
			return nil, err
		}
		copied += len(m.key()) + len(v)
	}
	return nil, nil
}
