package engine

import (
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairndb/cairn/engine/keys"
)

// reclaims are the slots that may hold dead ids.
type reclaims struct {
	mu     sync.Mutex
	queued [keys.Slots]bool
	queue  []uint16
}

func (r *reclaims) add(slot uint16) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.queued[slot] {
		r.queued[slot] = true
		r.queue = append(r.queue, slot)
	}
}

func (r *reclaims) has(slot uint16) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.queued[slot]
}

func (r *reclaims) take() (slot uint16, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 {
		return 0, false
	}
	slot = r.queue[0]
	r.queue = r.queue[1:]
	r.queued[slot] = false
	return slot, true
}

func (r *reclaims) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.queue)
}

const (
	reclaimPoll = 100 * time.Millisecond
	// reclaimByPoint is the number of sub-keys up to which they are deleted one by one. A range deletion costs every
	// reader of the memtable more, see FlushDelayDeleteRange, so it has to be worth it.
	reclaimByPoint = 512
	rangePause     = 10 * time.Millisecond
	flushBatch     = 512
)

// runReclaimer removes the sub-keys of dead ids and the keys of flushed databases.
func (s *Store) runReclaimer() {
	tick := time.NewTicker(reclaimPoll)
	defer tick.Stop()
	t := s.NewTxn()
	s.findGarbage()
	var rest reclaimRest
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		rest.end(s, time.Now())
		for s.mayReclaim() {
			slot, ok := s.reclaims.take()
			if !ok {
				break
			}
			if err := s.reclaimSlot(t, slot); err != nil {
				rest.slots = append(rest.slots, slot)
				s.o.Logger.Warn("store: reclaiming", "slot", slot, "err", err)
			}
		}
		if db, ok := s.dbs.Load().anyDirty(); ok && !rest.database && s.mayReclaim() {
			if err := s.reclaimDB(t, db); err != nil {
				rest.database = true
				s.o.Logger.Warn("store: removing a flushed database", "db", db, "err", err)
			}
		}
	}
}

// reclaimRest is what the reclaimer leaves alone for troublePause, because something there could not be read.
type reclaimRest struct {
	slots    []uint16
	database bool
	until    time.Time
}

// end takes everything up again when the pause is over.
func (r *reclaimRest) end(s *Store, now time.Time) {
	if now.Before(r.until) {
		return
	}
	for _, slot := range r.slots {
		s.reclaims.add(slot)
	}
	*r = reclaimRest{until: now.Add(troublePause)}
}

func (s *Store) mayReclaim() bool {
	if s.stopping() {
		return false
	}
	ok, err := s.TryAdmitWrite()
	return ok && err == nil
}

// findGarbage queues the slots in which an earlier run left dead ids.
func (s *Store) findGarbage() {
	it, err := s.db.NewIter(&pebble.IterOptions{UpperBound: keys.AppendSlot(nil, keys.Slots)})
	if err != nil {
		return
	}
	defer it.Close()
	for slot := range uint16(keys.Slots) {
		if s.slots[slot].nextIDAtOpen == 1 {
			continue // no id was ever given
		}
		if s.stopping() {
			return
		}
		if it.SeekGE(keys.AppendKind(nil, slot, keys.KindGarbage)) {
			if p, ok := keys.Parse(it.Key()); ok && p.Slot == slot && p.Kind == keys.KindGarbage {
				s.reclaims.add(slot)
			}
		}
	}
}

// reclaimSlot removes the sub-keys of all ids that are dead in a slot.
func (s *Store) reclaimSlot(t *Txn, slot uint16) error {
	dead, err := s.deadIDs(slot)
	if err != nil {
		return err
	}
	for _, d := range dead {
		if !s.mayReclaim() {
			s.reclaims.add(slot)
			return nil
		}
		if idErr := s.reclaimID(t, slot, d); idErr != nil {
			err = s.skipped(idErr)
		}
	}
	if len(dead) == deadBatch && err == nil {
		s.reclaims.add(slot)
	}
	return err
}

const deadBatch = 1024

// deadID is an id with about how many elements it had, 0 if that is unknown.
type deadID struct{ id, count uint64 }

func (s *Store) deadIDs(slot uint16) (ids []deadID, err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{
		LowerBound: keys.AppendKind(nil, slot, keys.KindGarbage),
		UpperBound: keys.AppendKindEnd(nil, slot, keys.KindGarbage),
	})
	if err != nil {
		return nil, storeError(err)
	}
	for ok := it.First(); ok && len(ids) < deadBatch; ok = it.Next() {
		if p, ok := keys.Parse(it.Key()); ok {
			v, err := it.ValueAndErr()
			if err != nil {
				return nil, errors.Join(storeError(err), it.Close())
			}
			count, _ := binary.Uvarint(v)
			ids = append(ids, deadID{p.ID, count})
		}
	}
	return ids, storeErrorOrNil(it.Close())
}

// reclaimID removes the sub-keys of a dead id and its registration.
func (s *Store) reclaimID(t *Txn, slot uint16, d deadID) error {
	lower, upper := keys.AppendSub(nil, slot, d.id, nil), keys.AppendSubEnd(nil, slot, d.id)
	byRange := d.count > reclaimByPoint
	var subs [][]byte
	if !byRange {
		var err error
		if subs, err = s.listSubs(lower, upper); err != nil {
			return err
		}
		byRange = len(subs) > reclaimByPoint
	}
	t.Lock([]uint16{slot}, true)
	if dead, err := s.isDead(slot, d.id); !dead || err != nil {
		t.Discard()
		return err
	}
	if byRange {
		t.touched.at(slot)
		t.set.addUnindexed(op{kind: opDeleteRange, slot: slot, key: lower, val: upper})
	} else {
		for _, key := range subs {
			t.write(op{kind: opDelete, slot: slot, key: key})
		}
	}
	t.write(op{kind: opDelete, slot: slot, key: keys.AppendGarbage(nil, slot, d.id)})
	if err := t.Commit(); err != nil {
		return err
	}
	s.reclaimed.Add(1)
	if byRange {
		select {
		case <-s.stop:
		case <-time.After(rangePause):
		}
	}
	return nil
}

// listSubs returns the sub-keys of a dead id, or more than reclaimByPoint of them. Nothing refers to the id, so it takes no lock.
func (s *Store) listSubs(lower, upper []byte) (subs [][]byte, err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, storeError(err)
	}
	for ok := it.First(); ok && len(subs) <= reclaimByPoint; ok = it.Next() {
		subs = append(subs, append([]byte(nil), it.Key()...))
	}
	return subs, storeErrorOrNil(it.Close())
}

// isDead looks again under the slot's lock: meanwhile the slot may have been dropped, and another store's imported, in which the id is in use.
func (s *Store) isDead(slot uint16, id uint64) (bool, error) {
	if s.slots[slot].arrival != nil {
		return false, nil
	}
	_, closer, err := s.read(keys.AppendGarbage(nil, slot, id))
	if err != nil || closer == nil {
		return false, err
	}
	return true, closer.Close()
}

// reclaimDB removes the keys of a flushed database slot by slot, and gives its number free once none is left.
func (s *Store) reclaimDB(t *Txn, db uint8) (err error) {
	for slot := range uint16(keys.Slots) {
		for {
			s.counters.mu.Lock()
			left := s.counters.of(slot, db).Keys
			s.counters.mu.Unlock()
			if left == 0 {
				break
			}
			if !s.mayReclaim() {
				return err
			}
			n, slotErr := s.reclaimDBSlot(t, db, slot)
			if slotErr != nil {
				err = slotErr // the other slots go on
			}
			if n == 0 {
				break
			}
		}
	}
	if err != nil {
		return err
	}
	t.LockWorld()
	defer t.Discard()
	table := *s.dbs.Load()
	if !table.dirty[db] || s.DBCounts(db).Keys != 0 {
		return nil
	}
	table.dirty[db] = false
	t.setTable(&table)
	return t.Commit()
}

// reclaimDBSlot deletes a batch of a flushed database's keys in a slot.
func (s *Store) reclaimDBSlot(t *Txn, db uint8, slot uint16) (n int, err error) {
	w := &walker{s: s, db: db}
	var names [][]byte
	for ok := w.seek(slot, 0); ok && len(names) < flushBatch; ok = w.next() {
		names = append(names, append([]byte(nil), w.p.Name...))
	}
	if w.close(); w.err != nil {
		return 0, w.err
	}
	t.Lock([]uint16{slot}, true)
	if !s.dbs.Load().dirty[db] {
		t.Discard() // a FLUSHALL has been quicker, and the number may be in use again
		return 0, nil
	}
	for _, name := range names {
		if _, nameErr := t.Delete(Key{Slot: slot, DB: db, Name: name}); nameErr != nil {
			err = s.skipped(nameErr)
		} else {
			n++
		}
	}
	if commitErr := t.Commit(); commitErr != nil {
		return 0, commitErr
	}
	return n, err
}
