package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/batchrepr"

	"github.com/cairndb/cairn/engine/keys"
	wal "github.com/cairndb/cairn/engine/log"
)

var (
	// ErrReplica: the store follows another node's log and takes no writes of its own.
	ErrReplica = errors.New("engine: the store follows another node's log")
	// ErrDiverged: what arrived does not continue the store's log.
	ErrDiverged = errors.New("engine: not a continuation of the store's log")
)

// Following says whether the store follows another node's log: then only ApplyReplicated changes it, and nothing
// expires or is reclaimed on its own.
func (s *Store) Following() bool { return s.following.Load() }

// Freeze ends what the store writes by itself: transactions that have not committed are refused from now on, and the log stays as it is. It doesn't
// wait for the disk. Follow or Promote comes next.
func (s *Store) Freeze() (was bool) {
	s.world.Lock()
	defer s.world.Unlock()
	return s.following.Swap(true)
}

// Follow makes the store a follower: it is frozen, and then only ApplyReplicated changes it.
func (s *Store) Follow() error {
	was := s.Freeze()
	if s.log.Foreign() {
		return nil
	}
	if err := s.log.SetForeign(true); err != nil {
		s.following.Store(was)
		return fmt.Errorf("engine: following another node: %w", err)
	}
	return nil
}

// Promote ends following: a new term begins with a fresh replication ID, durably, before the first write of the store's
// own. No ApplyReplicated may be running.
func (s *Store) Promote() error {
	if !s.following.Load() {
		return nil
	}
	if err := s.log.SetForeign(false); err != nil {
		return fmt.Errorf("engine: ending to follow another node: %w", err)
	}
	if err := s.log.BeginTerm(newReplicationID()); err != nil {
		return errors.Join(fmt.Errorf("engine: beginning a term: %w", err), s.log.SetForeign(true))
	}
	s.following.Store(false)
	return nil
}

const (
	// applyGroup is about how many bytes of records are applied as one batch, under the locks of all their slots.
	applyGroup = 256 << 10
	// applySlots bounds the slots of a group, so that readers wait for few others.
	applySlots = 1024
)

// ApplyReplicated applies the records that raw begins with: each goes verbatim to the end of the log and is applied,
// as a commit would be. It returns how many bytes it took; what is left is a part of a record, which the caller hands
// in again with more behind it. need is the size of that record, 0 if that isn't known yet. Called by one goroutine at a time. What
// was applied stands, also on an error; ErrDiverged says that raw can't be applied to this log.
func (s *Store) ApplyReplicated(ctx context.Context, raw []byte) (n, need int, err error) {
	a := &s.applier
	for n < len(raw) {
		if !s.following.Load() {
			return n, 0, fmt.Errorf("%w: it is a primary", ErrDiverged)
		}
		took, need, err := a.gather(s, raw[n:])
		if err != nil || took == 0 {
			return n, need, err
		}
		if err := s.admit(ctx); err != nil {
			return n, 0, err
		}
		applied, err := a.apply(s)
		n += applied
		if err != nil {
			return n, 0, err
		}
	}
	return n, 0, nil
}

// applier turns records of another node into commits.
type applier struct {
	t       *Txn // for its locks
	records []replicated
	slots   []uint16
	world   bool
	drops   bool
}

// replicated is a verified record with its operations.
type replicated struct {
	wal.Verbatim
	ops   []byte // as they stand in a Pebble batch behind its header
	count uint64
	size  int
	repr  []byte   // a Pebble batch with all of ops, if they all go there at once; nil otherwise
	world bool     // needs the world lock
	alone bool     // what comes behind it must find it applied: it begins or ends the import of slots, or drops them
	drops []uint16 // slots that it makes empty, ascending; those of a FLUSHALL are not listed
}

// gather decodes a group of records. A record that touches everything, or all of a slot, is a group of its own.
func (a *applier) gather(s *Store, raw []byte) (n, need int, err error) {
	a.records, a.slots, a.world, a.drops = a.records[:0], a.slots[:0], false, false
	at := s.log.End()
	for n < applyGroup && len(a.slots) < applySlots {
		v, size, ok, err := wal.DecodeRecord(raw[n:], at, nil)
		if err != nil {
			return 0, 0, fmt.Errorf("%w: %w", ErrDiverged, err)
		}
		if !ok {
			need = size
			break
		}
		r := replicated{Verbatim: v, size: size}
		if err := r.decode(); err != nil {
			return 0, 0, err
		}
		if r.alone && len(a.records) > 0 {
			break
		}
		a.records = append(a.records, r)
		a.slots = append(a.slots, v.Slots...)
		n += size
		at += uint64(size)
		if r.alone {
			a.world, a.drops = r.world, len(r.drops) > 0
			break
		}
	}
	return n, need, nil
}

// decode verifies a record's operations, and finds out what they need.
func (r *replicated) decode() (err error) {
	if r.Kind == wal.KindTerm {
		return nil
	}
	if r.count, r.ops, err = recordOps(&r.Record); err != nil {
		return err
	}
	r.world = r.Kind == wal.KindFlushAll
	n := uint64(0)
	err = r.each(func(kind pebble.InternalKeyKind, key, value []byte) error {
		n++
		return r.decodeOp(kind, key, value)
	})
	if err == nil && n != r.count {
		err = fmt.Errorf("%w: record at %d: %d operations instead of %d", ErrCorrupt, r.Start, n, r.count)
	}
	r.alone = r.alone || r.world
	return err
}

func (r *replicated) decodeOp(kind pebble.InternalKeyKind, key, value []byte) error {
	switch kind {
	case pebble.InternalKeyKindSet, pebble.InternalKeyKindDelete, pebble.InternalKeyKindRangeDelete:
	default:
		return fmt.Errorf("%w: record at %d: operation of kind %d", ErrCorrupt, r.Start, kind)
	}
	if string(key) == string(keys.DatabasesKey) {
		r.world = true
		return nil
	}
	ranged := kind == pebble.InternalKeyKindRangeDelete
	if r.world && ranged {
		return nil
	}
	p, ok := keys.Parse(key)
	if !ok && !ranged || len(key) < 2 || key[0] >= keys.Slots>>8 {
		return fmt.Errorf("%w: record at %d: a key that does not parse", ErrCorrupt, r.Start)
	}
	slot := binary.BigEndian.Uint16(key)
	if _, named := slices.BinarySearch(r.Slots, slot); !named {
		return fmt.Errorf("%w: record at %d: writes slot %d without naming it", ErrCorrupt, r.Start, slot)
	}
	if wholeSlot(kind, key, value) {
		r.drops = append(r.drops, slot)
		r.alone = true
	}
	r.alone = r.alone || p.Kind == keys.KindImport
	return nil
}

// wholeSlot says whether an operation removes all of a slot.
func wholeSlot(kind pebble.InternalKeyKind, from, to []byte) bool {
	return kind == pebble.InternalKeyKindRangeDelete && len(from) == 2 &&
		string(to) == string(keys.AppendSlot(nil, int(binary.BigEndian.Uint16(from))+1))
}

// each calls fn for each operation.
func (r *replicated) each(fn func(kind pebble.InternalKeyKind, key, value []byte) error) error {
	reader := batchrepr.Reader(r.ops)
	for {
		kind, key, value, ok, err := reader.Next()
		if err != nil {
			return fmt.Errorf("%w: record at %d: %w", ErrCorrupt, r.Start, err)
		}
		if !ok {
			return nil
		}
		if err := fn(kind, key, value); err != nil {
			return err
		}
	}
}

// apply commits the gathered records: as Txn.commit does, under the locks of their slots. It returns the bytes applied.
func (a *applier) apply(s *Store) (n int, err error) {
	if a.t == nil {
		a.t = s.NewTxn()
	}
	if a.world {
		a.t.LockWorld()
	} else {
		a.t.Lock(a.slots, true)
	}
	defer a.t.finish()
	if a.world || a.drops {
		// What removes everything must not meet the drainer between two steps.
		s.drains.batch.Lock()
		defer s.drains.batch.Unlock()
	}
	done, err := a.commit(s)
	for i := range a.records[:done] {
		n += a.records[i].size
	}
	return n, err
}

// commit appends the records to the log and applies them. It returns how many: when the log
// refuses one, those before it stand.
func (a *applier) commit(s *Store) (done int, err error) {
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	if err := s.failed(); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrReadOnly, err)
	}
	for i := range a.records {
		if _, err = s.log.AppendVerbatim(&a.records[i].Verbatim); err != nil {
			if errors.Is(err, wal.ErrNotRecord) {
				err = fmt.Errorf("%w: %w", ErrDiverged, err)
			} else {
				err = s.logError(err)
			}
			break
		}
		done++
	}
	if applyErr := s.applyDirect(a.records[:done]); applyErr != nil {
		applyErr = fmt.Errorf("%w: %w", ErrUncertain, applyErr)
		s.fail(applyErr)
		return done, applyErr
	}
	for i := range a.records[:done] {
		if pubErr := s.publish(&a.records[i]); pubErr != nil {
			s.fail(pubErr)
			return done, pubErr
		}
	}
	s.commits.Add(uint64(done))
	s.noteWrites()
	return done, err
}

// applyDirect gives Pebble what goes there at once: see Txn.encode.
func (s *Store) applyDirect(records []replicated) error {
	b := s.db.NewBatch()
	if len(records) == 1 && records[0].repr != nil {
		r := &records[0]
		binary.LittleEndian.PutUint32(r.repr[8:], uint32(r.count))
		if err := b.SetRepr(r.repr); err != nil {
			return storeError(err)
		}
		return s.applyBatch(b, keys.ReachedDirectKey, r.End) // not closed: Pebble would use its bytes for other batches
	}
	defer func() { _ = b.Close() }()
	for i := range records {
		r := &records[i]
		if r.Kind == wal.KindTerm {
			continue
		}
		flush := r.Kind == wal.KindFlushAll
		if flush {
			if err := s.coverUnsaved(b); err != nil {
				return err
			}
		}
		err := r.each(func(kind pebble.InternalKeyKind, key, value []byte) error {
			switch {
			case kind == pebble.InternalKeyKindRangeDelete:
				return b.DeleteRange(key, value, nil)
			case s.isTables(key, flush):
				return nil
			case kind == pebble.InternalKeyKindSet:
				return b.Set(key, value, nil)
			}
			return b.Delete(key, nil)
		})
		if err != nil {
			return err
		}
	}
	if b.Empty() {
		return nil
	}
	return s.applyBatch(b, keys.ReachedDirectKey, records[len(records)-1].End)
}

// isTables says whether a key comes to Pebble from the record table. Of a slot that is being imported nothing does.
func (s *Store) isTables(key []byte, flush bool) bool {
	if len(key) < 3 || key[0] >= keys.Slots>>8 {
		return false
	}
	switch keys.Kind(key[2]) {
	case keys.KindMeta:
		return s.slots[binary.BigEndian.Uint16(key)].arrival == nil
	case keys.KindCounters:
		return !flush
	}
	return false
}

// coverUnsaved removes the records of all slots from which the table has something that Pebble lacks: it may be the end of a
// record that Pebble still has. Under the commit mutex.
func (s *Store) coverUnsaved(b *pebble.Batch) error {
	for slot := range s.records.slots {
		if !s.records.slots[slot].any() {
			continue
		}
		from, to := keys.AppendKind(nil, uint16(slot), keys.KindMeta), keys.AppendKindEnd(nil, uint16(slot), keys.KindMeta)
		if err := b.DeleteRange(from, to, nil); err != nil {
			return storeError(err)
		}
	}
	return nil
}

// publish makes an applied record known to everything that lives in memory, under its slots' locks and the commit mutex.
func (s *Store) publish(r *replicated) error {
	if r.Kind == wal.KindTerm {
		return nil
	}
	if r.Kind == wal.KindFlushAll {
		s.drains.flushes++
		s.records.reset()
		s.derived.clear()
		s.expiries.clear()
		for db := range s.o.Databases {
			s.modified(s.DB(db), nil)
		}
	}
	if len(r.drops) > 0 {
		s.forgetSlots(r.drops)
	}
	for _, slot := range r.Slots {
		s.slots[slot].offset = r.End
		s.derived.drop(slot)
	}
	err := r.each(func(kind pebble.InternalKeyKind, key, value []byte) error {
		if kind == pebble.InternalKeyKindRangeDelete {
			return nil
		}
		if string(key) == string(keys.DatabasesKey) {
			return s.replaceTable(value)
		}
		p, _ := keys.Parse(key)
		if p.Kind == keys.KindImport || s.slots[p.Slot].arrival != nil {
			return s.publishArrival(&p, kind, value)
		}
		return s.publishOp(&p, kind == pebble.InternalKeyKindSet, key, value)
	})
	if r.world {
		s.worldOffset = r.End
		s.noteMapping(r.End)
	}
	s.published.Store(r.End)
	return err
}

func (s *Store) publishOp(p *keys.Parsed, set bool, key, value []byte) error {
	switch p.Kind {
	case keys.KindMeta:
		if !set {
			value = nil
		}
		s.records.put(p.Slot, hashKey(key), key, value)
		s.modified(p.DB, p.Name)
	case keys.KindSub:
		switch {
		case !set:
			value = nil
		case value == nil:
			value = noValue
		}
		s.records.putSub(p.Slot, p.ID, hashKey(key), key, value, false)
	case keys.KindExpiry:
		if set {
			s.expiries.lower(p.Slot, p.ExpireAt)
		}
	case keys.KindGarbage:
		if set {
			s.reclaims.add(p.Slot)
		}
	case keys.KindCounters:
		var c keys.Counters
		if _, err := c.Decode(value); err != nil {
			return fmt.Errorf("%w: slot %d: %w", ErrCorrupt, p.Slot, err)
		}
		s.slots[p.Slot].nextID = c.NextID
		s.counters.mu.Lock()
		s.slots[p.Slot].storedID = c.NextID
		s.counters.load(p.Slot, &c)
		s.counters.mu.Unlock()
		s.records.countersChanged(p.Slot)
	}
	return nil
}

// replaceTable takes over a database table of the primary (FLUSHDB, SWAPDB).
func (s *Store) replaceTable(value []byte) error {
	next, err := decodeDBTable(value)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	old := s.dbs.Swap(next)
	for db := range s.o.Databases {
		if old.physical[db] != next.physical[db] {
			s.modified(next.physical[db], nil)
		}
	}
	return nil
}
