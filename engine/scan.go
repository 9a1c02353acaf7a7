package engine

import (
	"math/rand/v2"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairndb/cairn/engine/keys"
)

// maxScanned bounds the records that one Scan looks at beyond those that it returns.
const maxScanned = 4096

// Scan returns the live keys of a physical database from cursor on, bucket by bucket (a bucket is returned whole),
// at least count when there are as many. next is 0 at the end. Cursors are 31 bits: slot(14) and hash(17).
// With one slot given (>= 0) it scans only that slot. If t is not nil its own writes are seen.
// Past many records that are expired or of other databases it may return fewer than count.
func (s *Store) Scan(t *Txn, db uint8, cursor uint64, count int, slot int, fn func(name []byte, r Record)) (next uint64, err error) {
	s.life.RLock()
	defer s.life.RUnlock()
	if s.closed.Load() {
		return 0, ErrClosed
	}
	if cursor >= keys.CursorEnd {
		return 0, nil
	}
	now := s.readNow(t)
	at, hash := keys.ParseCursor(cursor)
	last := uint16(keys.Slots - 1)
	if slot >= 0 {
		if int(at) < slot {
			at, hash = uint16(slot), 0
		}
		last = uint16(slot)
	}
	w := &walker{s: s, t: t, db: db}
	defer w.close()
	scanned, found := 0, 0
	for cur := int(at); cur <= int(last); cur, hash = cur+1, 0 {
		if !w.hasKeys(uint16(cur)) {
			continue
		}
		bucket := ^uint64(0)
		for ok := w.seek(uint16(cur), hash); ok; ok = w.next() {
			if b := keys.Cursor(uint16(cur), w.p.Hash); b != bucket {
				if found >= count || scanned >= count+maxScanned {
					return b, w.err
				}
				bucket = b
			}
			scanned++
			if r, live := w.record(now); live {
				found++
				fn(w.p.Name, r)
			}
		}
		if w.err != nil {
			return 0, w.err
		}
		if found >= count && cur < int(last) {
			return keys.Cursor(uint16(cur)+1, 0), nil
		}
	}
	return 0, w.err
}

// readNow returns the clock of a read, and makes its reply depend on all that it may see.
func (s *Store) readNow(t *Txn) int64 {
	if t == nil {
		return s.nowMillis()
	}
	t.dependOn(s.log.End())
	return t.Now()
}

// walker goes through the meta records of one database, slot by slot: those of Pebble, covered by
// those that it does not have yet and by the transaction's own.
type walker struct {
	s   *Store
	t   *Txn
	db  uint8
	it  mergedIter
	p   keys.Parsed
	err error
	// settles is the record table's count when the iterator was opened.
	settles uint64
	arena   arena
}

// hasKeys spares the seek in a slot that has no key of the database.
func (w *walker) hasKeys(slot uint16) bool {
	if w.t != nil && w.t.touched.peek(slot) != nil {
		return true
	}
	w.s.counters.mu.Lock()
	defer w.s.counters.mu.Unlock()
	return w.s.counters.of(slot, w.db).Keys > 0
}

// seek goes to the first record of the slot with this hash or a greater one. One iterator serves all slots, until
// records become clean that it may lack.
func (w *walker) seek(slot uint16, hash uint32) bool {
	w.arena.reset()
	flushed := w.t != nil && w.t.set.flush > 0
	var writes []*op
	if !flushed {
		ops, settles := w.s.unsavedOps(&w.arena, slot)
		for i := range ops {
			writes = append(writes, &ops[i])
		}
		if w.err = w.open(settles); w.err != nil {
			return false
		}
	}
	if w.t != nil && w.t.touched.peek(slot) != nil {
		writes = w.t.metaWrites(writes, slot)
	}
	w.it.cover(writes)
	w.p.Slot = slot
	return w.accept(w.it.seek(keys.AppendMetaSeek(nil, slot, hash)))
}

// open makes sure that the iterator sees all that became clean before.
func (w *walker) open(settles uint64) error {
	if w.it.it != nil && w.settles == settles {
		return nil
	}
	if err := w.it.close(); err != nil {
		return err
	}
	w.it.it = nil
	it, err := w.s.db.NewIter(&pebble.IterOptions{UpperBound: keys.AppendSlot(nil, keys.Slots)})
	if err != nil {
		return storeError(err)
	}
	w.it.it, w.settles = it, settles
	return nil
}

func (w *walker) next() bool { return w.accept(w.it.next()) }

// accept skips other databases, and ends with the slot's meta records, or with w.err at what cannot be read.
func (w *walker) accept(ok bool) bool {
	slot := w.p.Slot
	for ; ok; ok = w.it.next() {
		p, parsed := keys.Parse(w.it.key())
		if !parsed || p.Slot != slot || p.Kind != keys.KindMeta {
			return false
		}
		if p.DB == w.db {
			w.p = p
			return true
		}
	}
	if w.it.it != nil && w.err == nil {
		w.err = storeErrorOrNil(w.it.it.Error()) // the next seek forgets it
	}
	return false
}

// record decodes the current record; live is false if it is expired or w.err is set.
func (w *walker) record(now int64) (r Record, live bool) {
	v, err := w.it.value()
	if err == nil {
		if r.Value, err = r.Decode(v); err != nil {
			err = corruptRecord(w.p.Slot, err)
		}
	}
	if err != nil {
		w.err = err
		return r, false
	}
	return r, r.ExpireAt == 0 || r.ExpireAt >= now
}

func (w *walker) close() {
	if err := w.it.close(); err != nil && w.err == nil {
		w.err = err
	}
}

// randomTries bounds how often RandomKey meets an expired key before it gives up.
const randomTries = 100

// RandomKey returns a near-uniformly chosen live key of db.
func (s *Store) RandomKey(t *Txn, db uint8) (name []byte, ok bool, err error) {
	s.life.RLock()
	defer s.life.RUnlock()
	if s.closed.Load() {
		return nil, false, ErrClosed
	}
	now := s.readNow(t)
	w := &walker{s: s, t: t, db: db}
	defer w.close()
	for range randomTries {
		slot, any := s.randomSlot(t, db)
		if !any {
			return nil, false, nil
		}
		if !w.seek(slot, rand.Uint32()) && (w.err != nil || !w.seek(slot, 0)) {
			if w.err != nil {
				return nil, false, w.err
			}
			continue
		}
		if _, live := w.record(now); live {
			return append([]byte(nil), w.p.Name...), true, nil
		}
		if w.err != nil {
			return nil, false, w.err
		}
	}
	// Nearly all keys are expired: take the first live one.
	_, err = s.firstLive(w, now, &name)
	return name, name != nil, err
}

func (s *Store) firstLive(w *walker, now int64, name *[]byte) (found bool, err error) {
	for slot := range uint16(keys.Slots) {
		if !w.hasKeys(slot) {
			continue
		}
		for ok := w.seek(slot, 0); ok; ok = w.next() {
			if _, live := w.record(now); live {
				*name = append([]byte{}, w.p.Name...)
				return true, nil
			}
		}
		if w.err != nil {
			return false, w.err
		}
	}
	return false, nil
}

// randomSlot chooses a slot, each by the number of its keys.
func (s *Store) randomSlot(t *Txn, db uint8) (slot uint16, ok bool) {
	keysOf := func(slot uint16) int64 {
		n := int64(0)
		if t == nil || t.set.flush == 0 {
			n = s.counters.of(slot, db).Keys
		}
		if t != nil {
			if ts := t.touched.peek(slot); ts != nil {
				for _, d := range ts.deltas {
					if d.db == db {
						n += int64(d.keys)
					}
				}
			}
		}
		return n
	}
	total := s.DBCounts(db).Keys
	if t != nil {
		total = t.DBCounts(db).Keys
	}
	if total <= 0 {
		return 0, false
	}
	r := rand.Int64N(total)
	s.counters.mu.Lock()
	defer s.counters.mu.Unlock()
	for i := range uint16(keys.Slots) {
		if n := keysOf(i); n > 0 {
			slot, ok = i, true
			if r -= n; r < 0 {
				break
			}
		}
	}
	return slot, ok
}

// KeysInSlot returns up to n live keys of database 0 in a slot.
func (s *Store) KeysInSlot(slot uint16, n int) (names [][]byte, err error) {
	s.life.RLock()
	defer s.life.RUnlock()
	if s.closed.Load() {
		return nil, ErrClosed
	}
	now := s.nowMillis()
	w := &walker{s: s, db: s.DB(0)}
	defer w.close()
	for ok := n > 0 && w.hasKeys(slot) && w.seek(slot, 0); ok; ok = w.next() {
		if _, live := w.record(now); live {
			names = append(names, append([]byte(nil), w.p.Name...))
			if len(names) >= n {
				break
			}
		}
		if w.err != nil {
			return nil, w.err
		}
	}
	return names, w.err
}
