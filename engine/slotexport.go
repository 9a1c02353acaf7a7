package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/batchrepr"

	"github.com/cairndb/cairn/engine/keys"
	wal "github.com/cairndb/cairn/engine/log"
)

// ExportSlot emits everything stored for a slot as it is at one moment, in the order of keys. SlotTail goes on from the offset
// that it returns. The slot's lock is held only to fix that moment. A batch is valid until emit returns; an
// error of emit ends the export. Close waits for it.
func (s *Store) ExportSlot(ctx context.Context, slot uint16, emit func(SlotBatch) error) (at Offset, err error) {
	if slot >= keys.Slots {
		return 0, fmt.Errorf("engine: no slot %d", slot)
	}
	e := &exporter{s: s, slot: slot}
	e.w.emit = func(b SlotBatch) error {
		e.emitted += len(b)
		if err := errors.Join(context.Cause(ctx), s.closing()); err != nil {
			return err
		}
		return emit(b)
	}
	if err := e.fix(); err != nil {
		return 0, err
	}
	defer s.life.RUnlock()
	err = e.run()
	return e.at, errors.Join(err, e.snap.Close())
}

// closing is ErrClosed once the store closes.
func (s *Store) closing() error {
	if s.closed.Load() {
		return ErrClosed
	}
	return nil
}

// exporter is one export of a slot.
type exporter struct {
	s    *Store
	slot uint16
	w    batchWriter
	// What the slot is made of at the offset: a snapshot of Pebble, covered by what is not there yet.
	at       Offset
	snap     *pebble.Snapshot
	unsaved  []*op
	arena    arena
	counters keys.Counters
	logical  logicalDBs

	emitted int // bytes since the iterator was opened
	garbage []uint64
}

// fix takes the snapshot, and holds s.life afterwards.
func (e *exporter) fix() error {
	s := e.s
	s.world.RLock()
	defer s.world.RUnlock()
	st := &s.slots[e.slot]
	st.mu.RLock()
	defer st.mu.RUnlock()
	if err := s.closing(); err != nil {
		return err
	}
	if st.arrival != nil {
		return fmt.Errorf("%w: %d", ErrImporting, e.slot)
	}
	s.life.RLock()
	e.at = s.log.End()
	e.logical = newLogicalDBs(s.dbs.Load())
	s.counters.stored(&e.counters, e.slot, st.nextID, nil, false)
	ops, _ := s.unsavedOps(&e.arena, e.slot) // before the snapshot: what becomes clean in between is in both
	e.snap = s.db.NewSnapshot()
	for i := range ops {
		e.unsaved = append(e.unsaved, &ops[i])
	}
	return nil
}

// renewAfter is how many bytes an iterator emits before it is opened anew, so that it keeps no memtables that were flushed.
const renewAfter = 32 << 20

func (e *exporter) run() error {
	if err := e.w.add(opSet, keys.AppendImport(nil, e.slot), e.logical.counters(&e.counters), 0); err != nil {
		return err
	}
	next := keys.AppendKind(nil, e.slot, keys.KindCounters+1)
	for next != nil {
		var err error
		if next, err = e.part(next); err != nil {
			return err
		}
	}
	for _, id := range e.garbage {
		if err := e.w.add(opSet, keys.AppendGarbage(nil, e.slot, id), []byte{0}, 0); err != nil {
			return err
		}
	}
	return e.w.flush()
}

// part emits a part of the slot, and returns where the next one begins, nil at the end.
func (e *exporter) part(from []byte) (next []byte, err error) {
	it, err := e.snap.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: keys.AppendSlot(nil, int(e.slot)+1)})
	if err != nil {
		return nil, storeError(err)
	}
	m := &mergedIter{it: it, own: e.unsaved}
	defer func() {
		if closeErr := m.close(); closeErr != nil && err == nil {
			err = closeErr
		}
	}()
	e.emitted = 0
	for ok := m.seek(from); ok; ok = m.next() {
		if e.emitted >= renewAfter {
			return slices.Clone(m.key()), nil
		}
		v, err := m.value()
		if err != nil {
			return nil, err
		}
		if err := e.entry(m.key(), v); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// entry emits what is stored under a key. What belongs to a flushed database stays behind, but for its sub-keys, whose ids are dead.
func (e *exporter) entry(key, value []byte) error {
	p, ok := keys.Parse(key)
	if !ok {
		return fmt.Errorf("%w: slot %d: a key that does not parse", ErrCorrupt, e.slot)
	}
	if p.Kind != keys.KindMeta && p.Kind != keys.KindExpiry {
		return e.w.add(opSet, key, value, 0)
	}
	db, live := e.logical.of(p.DB)
	if live {
		return e.w.add(opSet, key, value, db)
	}
	if p.Kind == keys.KindMeta {
		var h keys.Header
		if _, err := h.Decode(value); err != nil {
			return corruptRecord(e.slot, err)
		}
		if h.ID != 0 {
			e.garbage = append(e.garbage, h.ID)
		}
	}
	return nil
}

// logicalDBs are the logical databases by their physical numbers, -1 for none.
type logicalDBs [maxPhysical]int16

func newLogicalDBs(t *dbTable) (l logicalDBs) {
	for i := range l {
		l[i] = -1
	}
	for logical, physical := range t.physical {
		l[physical] = int16(logical)
	}
	return l
}

func (l *logicalDBs) of(physical uint8) (logical uint8, ok bool) {
	return uint8(l[physical]), l[physical] >= 0
}

// counters encodes a slot's counters with logical databases.
func (l *logicalDBs) counters(c *keys.Counters) []byte {
	out := keys.Counters{NextID: c.NextID}
	for _, d := range c.DBs {
		var ok bool
		if d.DB, ok = l.of(d.DB); ok {
			out.DBs = append(out.DBs, d)
		}
	}
	slices.SortFunc(out.DBs, func(a, b keys.DBCounters) int { return int(a.DB) - int(b.DB) })
	return out.Append(nil)
}

// SlotTail emits what the log holds for the slots from the offset `from` on, at least to the offset `to`, which is not more
// than End. It returns where it has ended, to be continued from there. The caller holds the log from `from` on (Log().Hold). For
// errors of the log see wal.Log.Read.
func (s *Store) SlotTail(ctx context.Context, slots []uint16, from, to Offset, emit func(SlotBatch) error) (end Offset, err error) {
	t := &tailer{s: s, ctx: ctx, end: from}
	for _, slot := range slots {
		if slot >= keys.Slots {
			return from, fmt.Errorf("engine: no slot %d", slot)
		}
		t.wanted[slot] = true
	}
	t.w.emit = emit
	if err := t.fix(from, &to); err != nil {
		return from, err
	}
	defer s.life.RUnlock()
	cur, err := s.log.Read(from)
	if err != nil {
		return from, err
	}
	if s.log.Written() < to {
		if _, err := s.log.Flush(); err != nil {
			return from, errors.Join(err, cur.Close())
		}
	}
	err = errors.Join(t.run(cur, to), cur.Close())
	return t.end, err
}

// tailer is one run of SlotTail.
type tailer struct {
	s       *Store
	ctx     context.Context
	w       batchWriter
	wanted  [keys.Slots]bool
	logical logicalDBs
	end     Offset
}

// fix learns which databases the numbers stand for in the part of the log up to `to`, and holds s.life afterwards.
func (t *tailer) fix(from Offset, to *Offset) error {
	s := t.s
	s.world.RLock()
	defer s.world.RUnlock()
	if err := s.closing(); err != nil {
		return err
	}
	if s.mappedAt > from {
		return ErrExportAgain
	}
	*to = min(*to, s.log.End())
	t.logical = newLogicalDBs(s.dbs.Load())
	s.life.RLock()
	return nil
}

// run emits what is wanted of the records up to `to`.
func (t *tailer) run(cur *wal.Cursor, to Offset) error {
	for n := 0; cur.Offset() < to; n++ {
		if n%1024 == 0 {
			if err := errors.Join(context.Cause(t.ctx), t.s.closing()); err != nil {
				return err
			}
		}
		rec, err := cur.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = t.record(&rec)
		}
		if err != nil {
			return err
		}
	}
	if err := t.w.flush(); err != nil {
		return err
	}
	t.end = cur.Offset()
	return nil
}

// record emits the operations of a record that are wanted.
func (t *tailer) record(rec *wal.Record) error {
	if rec.Kind == wal.KindTerm || !slices.ContainsFunc(rec.Slots, func(slot uint16) bool { return slot < keys.Slots && t.wanted[slot] }) {
		return nil
	}
	_, ops, err := recordOps(rec)
	if err != nil {
		return err
	}
	reader := batchrepr.Reader(ops)
	for {
		kind, key, value, ok, err := reader.Next()
		if err != nil {
			return fmt.Errorf("%w: record at %d: %w", ErrCorrupt, rec.Start, err)
		}
		if !ok {
			return nil
		}
		if len(key) < 2 || key[0] >= keys.Slots>>8 || !t.wanted[binary.BigEndian.Uint16(key)] {
			continue
		}
		if err := t.op(kind, key, value, rec.Kind == wal.KindFlushAll); err != nil {
			return err
		}
	}
}

func (t *tailer) op(kind pebble.InternalKeyKind, key, value []byte, flush bool) error {
	p, _ := keys.Parse(key)
	switch {
	case wholeSlot(kind, key, value):
		if !flush {
			return ErrExportAgain // somebody has dropped the slot
		}
		slot := binary.BigEndian.Uint16(key)
		return t.w.add(opDeleteRange, keys.AppendKind(nil, slot, keys.KindImport+1), value, 0)
	case kind == pebble.InternalKeyKindRangeDelete:
		return t.w.add(opDeleteRange, key, value, 0)
	case p.Kind == keys.KindImport:
		return ErrExportAgain
	case p.Kind == keys.KindCounters:
		var c keys.Counters
		if _, err := c.Decode(value); err != nil {
			return fmt.Errorf("%w: slot %d: %w", ErrCorrupt, p.Slot, err)
		}
		return t.w.add(opSet, keys.AppendImport(nil, p.Slot), t.logical.counters(&c), 0)
	}
	db := uint8(0)
	if p.Kind == keys.KindMeta || p.Kind == keys.KindExpiry {
		var live bool
		if db, live = t.logical.of(p.DB); !live {
			return nil
		}
	}
	if kind == pebble.InternalKeyKindDelete {
		return t.w.add(opDelete, key, nil, db)
	}
	return t.w.add(opSet, key, value, db)
}
