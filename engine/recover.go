package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairndb/cairn/engine/keys"
	wal "github.com/cairndb/cairn/engine/log"
)

// recover replays the log behind Pebble's applied offset, then loads what lives in memory.
func (s *Store) recover() error {
	start := time.Now()
	applied, err := s.appliedOffset(false)
	if err != nil {
		return err
	}
	s.recovery.From = applied
	if s.recovery.Reach, err = s.reach(applied); err != nil {
		return err
	}
	if end := s.log.End(); s.recovery.Reach > end {
		s.o.Logger.Error("store: the log has lost its end, and the store holds parts of what stood there; check the data folder (cairn check)",
			"end", end, "reach", s.recovery.Reach)
	}
	if err := s.replay(applied); err != nil {
		return err
	}
	s.drains.drained.Store(s.log.End())
	if err := s.loadTable(); err != nil {
		return err
	}
	if err := s.loadCounters(applied); err != nil {
		return err
	}
	s.recovery.To = s.log.End()
	s.recovery.Took = time.Since(start)
	s.worldOffset = s.log.End()
	s.published.Store(s.worldOffset)
	if s.recovery.Records > 0 {
		s.o.Logger.Info("store: log replayed", "from", s.recovery.From, "to", s.recovery.To,
			"records", s.recovery.Records, "took", s.recovery.Took)
	}
	return nil
}

// appliedOffset reads the applied offset: of all that is visible, or of what is durable.
func (s *Store) appliedOffset(durable bool) (Offset, error) {
	return s.storedOffset(keys.AppliedKey, durable)
}

// storedOffset reads an offset of the log that is stored under a node-local key, 0 if there is none.
func (s *Store) storedOffset(key []byte, durable bool) (Offset, error) {
	it, err := s.db.NewIter(&pebble.IterOptions{
		LowerBound:                key,
		UpperBound:                append(slices.Clone(key), 0),
		OnlyReadGuaranteedDurable: durable,
	})
	if err != nil {
		return 0, storeError(err)
	}
	defer it.Close()
	if !it.First() {
		return 0, storeErrorOrNil(it.Error())
	}
	v, err := it.ValueAndErr()
	if err != nil {
		return 0, storeError(err)
	}
	if len(v) != 8 {
		return 0, fmt.Errorf("%w: an offset of %d bytes", ErrCorrupt, len(v))
	}
	return binary.BigEndian.Uint64(v), nil
}

// reach returns the offset of the log from behind which nothing in Pebble comes.
func (s *Store) reach(applied Offset) (Offset, error) {
	reach := applied
	for _, key := range [][]byte{keys.ReachedDirectKey, keys.ReachedDrainKey} {
		off, err := s.storedOffset(key, false)
		if err != nil {
			return 0, err
		}
		reach = max(reach, off)
	}
	return reach, nil
}

// replayBatch is about how much of the log is applied at once: each batch costs Pebble as much as several small records.
const replayBatch = 256 << 10

// replay applies the records behind applied, many in one batch. It is stamped with the end of the
// last, so a crash in the middle starts where Pebble last flushed.
func (s *Store) replay(applied Offset) error {
	cur, err := s.log.Read(applied)
	if err != nil {
		return fmt.Errorf("%w: the store has applied the log up to offset %d, but the log holds %d to %d: %w",
			ErrCorrupt, applied, s.log.Start(), s.log.End(), err)
	}
	defer cur.Close()
	end := s.log.End()
	s.progress("replaying the log", 0, end-applied)
	r := replayer{s: s}
	last := time.Now()
	for {
		rec, err := cur.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = r.add(&rec)
		}
		if err != nil {
			return fmt.Errorf("engine: replaying the log at offset %d: %w", cur.Offset(), err)
		}
		if time.Since(last) > 100*time.Millisecond {
			last = time.Now()
			s.progress("replaying the log", rec.End-applied, end-applied)
		}
	}
	if err := r.apply(); err != nil {
		return fmt.Errorf("engine: replaying the log: %w", err)
	}
	s.progress("replaying the log", end-applied, end-applied)
	return s.failed()
}

// replayer collects the operations of records into one batch.
type replayer struct {
	s     *Store
	repr  []byte
	count uint64
	end   Offset
}

func (r *replayer) add(rec *wal.Record) error {
	if rec.Kind == wal.KindTerm {
		return nil
	}
	count, ops, err := recordOps(rec)
	if err != nil {
		return err
	}
	if r.repr == nil {
		r.repr = make([]byte, batchHeader, max(2*replayBatch, batchHeader+len(ops)+64))
	}
	r.repr = append(r.repr, ops...)
	r.count += count
	r.end = rec.End
	r.s.recovery.Records++
	if len(r.repr) < replayBatch {
		return nil
	}
	return r.apply()
}

func (r *replayer) apply() error {
	if r.end == 0 {
		return nil
	}
	b := r.s.db.NewBatch()
	defer func() { _ = b.Close() }()
	binary.LittleEndian.PutUint32(r.repr[8:], uint32(r.count))
	if err := b.SetRepr(r.repr); err != nil {
		return storeError(err)
	}
	err := r.s.applyAt(b, r.end)
	*r = replayer{s: r.s} // Pebble may have kept the bytes
	return err
}

// recordOps returns the operations of a record, as they stand in a Pebble batch behind its header.
func recordOps(rec *wal.Record) (count uint64, ops []byte, err error) {
	if rec.Kind != wal.KindBatch && rec.Kind != wal.KindFlushAll {
		return 0, nil, fmt.Errorf("%w: record of unknown kind %d", ErrCorrupt, rec.Kind)
	}
	count, n := binary.Uvarint(rec.Payload)
	if n <= 0 || count > 1<<31 {
		return 0, nil, fmt.Errorf("%w: record without a count", ErrCorrupt)
	}
	return count, rec.Payload[n:], nil
}

func (s *Store) progress(what string, done, total uint64) {
	if s.o.Progress != nil && total > 0 {
		s.o.Progress(what, done, total)
	}
}

func (s *Store) loadTable() error {
	v, closer, err := s.db.Get(keys.DatabasesKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		return storeError(err)
	}
	defer closer.Close()
	t, err := decodeDBTable(v)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	s.dbs.Store(t)
	s.noteMapping(s.log.End())
	return nil
}

// loadCounters takes the summary of a clean close if nothing was written since, or else
// one seek a slot.
func (s *Store) loadCounters(applied Offset) error {
	if s.recovery.Records == 0 {
		ok, err := s.loadSummary(applied)
		if ok || err != nil {
			s.recovery.Clean = ok
			return err
		}
	}
	it, err := s.db.NewIter(&pebble.IterOptions{UpperBound: keys.AppendSlot(nil, keys.Slots)})
	if err != nil {
		return storeError(err)
	}
	defer it.Close()
	var c keys.Counters
	var key []byte
	for slot := 0; slot < keys.Slots; {
		key = keys.AppendKind(key[:0], uint16(slot), keys.KindImport)
		if !it.SeekGE(key) {
			break
		}
		p, ok := keys.Parse(it.Key())
		if !ok {
			return fmt.Errorf("%w: a key that does not parse: %x", ErrCorrupt, it.Key())
		}
		if p.Kind != keys.KindCounters && p.Kind != keys.KindImport {
			slot = max(slot+1, int(p.Slot)) // the keys of a slot without counters, or of one further on
			continue
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return storeError(err)
		}
		if _, err := c.Decode(v); err != nil {
			return fmt.Errorf("%w: slot %d: %w", ErrCorrupt, p.Slot, err)
		}
		if p.Kind == keys.KindImport {
			err = s.loadArrival(it, p.Slot, &c)
		} else {
			s.loadSlot(p.Slot, &c)
			err = s.loadEarliest(it, p.Slot)
		}
		if err != nil {
			return err
		}
		slot = int(p.Slot) + 1
	}
	return storeErrorOrNil(it.Error())
}

func storeErrorOrNil(err error) error {
	if err == nil {
		return nil
	}
	return storeError(err)
}

func (s *Store) loadSlot(slot uint16, c *keys.Counters) {
	s.slots[slot].nextID, s.slots[slot].nextIDAtOpen = c.NextID, c.NextID
	s.counters.mu.Lock()
	s.slots[slot].storedID = c.NextID
	s.counters.load(slot, c)
	s.counters.mu.Unlock()
}

// loadEarliest finds the first expiry of a slot at whose counters the iterator stands: its index comes right behind them.
func (s *Store) loadEarliest(it *pebble.Iterator, slot uint16) error {
	if it.Next() {
		if p, ok := keys.Parse(it.Key()); ok && p.Slot == slot && p.Kind == keys.KindExpiry {
			s.expiries.lower(slot, p.ExpireAt)
		}
	}
	return storeErrorOrNil(it.Error())
}

// firstExpiry returns the time of the first entry of a slot's expiry index, 0 if there is none.
func firstExpiry(it *pebble.Iterator, slot uint16) (at int64, err error) {
	if it.SeekGE(keys.AppendKind(nil, slot, keys.KindExpiry)) {
		if p, ok := keys.Parse(it.Key()); ok && p.Slot == slot && p.Kind == keys.KindExpiry {
			return p.ExpireAt, nil
		}
	}
	return 0, storeErrorOrNil(it.Error())
}

// loadArrival takes up the import of a slot.
func (s *Store) loadArrival(it *pebble.Iterator, slot uint16, c *keys.Counters) error {
	at, err := firstExpiry(it, slot)
	s.setArrival(slot, &arrival{counters: c.Clone(), earliest: at})
	return err
}

const summaryFormat = 1

// encodeSummary: format(1) applied offset(8) slots(uvarint), for each: slot(2) earliest expiry(uvarint) counters.
func (s *Store) encodeSummary() []byte {
	applied, err := s.appliedOffset(false)
	if err != nil || s.arrivals.any() {
		return []byte{0} // no summary: the next start seeks
	}
	b := binary.BigEndian.AppendUint64([]byte{summaryFormat}, applied)
	var body []byte
	n := uint64(0)
	var c keys.Counters
	for slot := range uint16(keys.Slots) {
		if s.slots[slot].nextID == 1 && len(s.counters.slots[slot]) == 0 {
			continue
		}
		n++
		body = binary.BigEndian.AppendUint16(body, slot)
		body = binary.AppendUvarint(body, uint64(s.expiries.earliest[slot].Load()))
		s.counters.stored(&c, slot, s.slots[slot].storedID, nil, false)
		body = c.Append(body)
	}
	return append(binary.AppendUvarint(b, n), body...)
}

// loadSummary reports whether there is a summary that belongs to the applied offset.
func (s *Store) loadSummary(applied Offset) (bool, error) {
	b, closer, err := s.db.Get(keys.SummaryKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil { // all that it says is in the slots, too
		s.o.Logger.Error("store: the summary of the last stop can't be read, each slot is looked up", "err", err)
		return false, nil
	}
	defer closer.Close()
	if len(b) < 9 || b[0] != summaryFormat || binary.BigEndian.Uint64(b[1:]) != applied {
		return false, nil
	}
	bad := fmt.Errorf("%w: malformed summary", ErrCorrupt)
	n, k := binary.Uvarint(b[9:])
	if k <= 0 || n > keys.Slots {
		return false, bad
	}
	b = b[9+k:]
	var c keys.Counters
	for ; n > 0; n-- {
		if len(b) < 3 {
			return false, bad
		}
		slot := binary.BigEndian.Uint16(b)
		earliest, k := binary.Uvarint(b[2:])
		if k <= 0 || slot >= keys.Slots {
			return false, bad
		}
		if b, err = c.Decode(b[2+k:]); err != nil {
			return false, fmt.Errorf("%w: %w", bad, err)
		}
		s.loadSlot(slot, &c)
		if earliest != 0 {
			s.expiries.lower(slot, int64(earliest))
		}
	}
	return true, nil
}

// runLogDropper drops the log segments that neither a restart nor the backlog needs, after each flush.
func (s *Store) runLogDropper() {
	for {
		select {
		case <-s.stop:
			return
		case <-s.flushed:
			s.dropLog()
		}
	}
}

func (s *Store) dropLog() {
	durable, err := s.appliedOffset(true)
	if err != nil {
		s.o.Logger.Warn("store: reading the durable offset", "err", err)
		return
	}
	if keep := s.backlog.Load(); durable > keep {
		if err := s.log.Drop(durable - keep); err != nil {
			s.o.Logger.Warn("store: dropping log segments", "err", err)
		}
	}
}
