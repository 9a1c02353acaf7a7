package engine

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairndb/cairn/engine/keys"
)

// expiries knows the earliest expiry of each slot: 0 for none, never later than the truth. The expirer looks
// through all of them in a few microseconds, so nothing more clever is needed. A slot's is
// changed under its write lock.
type expiries struct {
	earliest [keys.Slots]atomic.Int64
	off      atomic.Bool
	paused   atomic.Int64 // unix milliseconds until which nothing is deleted
}

func (e *expiries) lower(slot uint16, at int64) {
	if old := e.earliest[slot].Load(); old == 0 || at < old {
		e.earliest[slot].Store(at)
	}
}

func (e *expiries) clear() {
	for i := range e.earliest {
		e.earliest[i].Store(0)
	}
}

// SetActiveExpire switches active expiry (DEBUG SET-ACTIVE-EXPIRE); PauseExpire stops expiry from deleting
// until the given time (CLIENT PAUSE).
func (s *Store) SetActiveExpire(on bool) { s.expiries.off.Store(!on) }

// PauseExpire: see SetActiveExpire.
func (s *Store) PauseExpire(until time.Time) { s.expiries.paused.Store(until.UnixMilli()) }

const (
	expirePoll  = 100 * time.Millisecond
	expireBatch = 128
	// fieldBatch is how many fields of a hash are deleted at once.
	fieldBatch = 512
	// troublePause is how long a slot is left alone in which something could not be read.
	troublePause = time.Minute
)

// runExpirer deletes expired keys and fields, a bounded batch of one slot at a time.
func (s *Store) runExpirer() {
	tick := time.NewTicker(expirePoll)
	defer tick.Stop()
	t := s.NewTxn()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		for slot := range uint16(keys.Slots) {
			for s.mayExpire(slot) {
				more, err := s.expireSlot(t, slot)
				if err != nil {
					s.o.Logger.Warn("store: deleting expired keys", "slot", slot, "err", err)
					break
				}
				if !more {
					break
				}
			}
		}
	}
}

func (s *Store) mayExpire(slot uint16) bool {
	at := s.expiries.earliest[slot].Load()
	if at == 0 || s.expiries.off.Load() {
		return false
	}
	if now := s.nowMillis(); at >= now || s.expiries.paused.Load() > now {
		return false
	}
	if s.stopping() {
		return false
	}
	ok, err := s.TryAdmitWrite()
	return ok && err == nil
}

func (s *Store) stopping() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// expireSlot deletes up to a batch of a slot's expired keys and fields, and says whether there may be more.
func (s *Store) expireSlot(t *Txn, slot uint16) (more bool, err error) {
	s.warmExpired(slot)
	t.Lock([]uint16{slot}, true)
	if s.slots[slot].arrival != nil {
		t.Discard()
		return false, nil
	}
	now := t.Now()
	it, err := s.db.NewIter(&pebble.IterOptions{
		LowerBound: keys.AppendKind(nil, slot, keys.KindExpiry),
		UpperBound: keys.AppendKindEnd(nil, slot, keys.KindExpiry),
	})
	if err != nil {
		t.Discard()
		return false, storeError(err)
	}
	earliest := int64(0)
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		p, ok := keys.Parse(it.Key())
		if !ok {
			continue
		}
		if p.ExpireAt >= now {
			earliest = p.ExpireAt
			break
		}
		if n >= expireBatch {
			break
		}
		done, entryErr := t.expireEntry(p)
		if entryErr != nil {
			err = s.skipped(entryErr)
		}
		n += done
	}
	if n >= expireBatch { // the last entry may be that of a hash with more expired fields
		earliest = now - 1
	}
	if closeErr := it.Close(); closeErr != nil {
		err = storeError(closeErr)
	}
	if err != nil {
		earliest = now + troublePause.Milliseconds()
	}
	s.expiries.earliest[slot].Store(earliest)
	if err := t.Commit(); err != nil {
		s.expiries.lower(slot, now-1)
		return false, err
	}
	return n >= expireBatch && err == nil, err
}

// skipped counts a record that could not be read; background work goes on with the others.
func (s *Store) skipped(err error) error {
	if errors.Is(err, ErrCorrupt) {
		s.corruptRecords.Add(1)
	}
	return err
}

// expireEntry deletes the key of an index entry, if it has that expiry, or a batch of its fields. It returns how many it has
// deleted, at least 1 unless there is an error.
func (t *Txn) expireEntry(p keys.Parsed) (n int, err error) {
	k := Key{Slot: p.Slot, DB: p.DB, Name: p.Name}
	rec, err := t.seekMeta(k)
	if err != nil && p.Expiry == keys.ExpireKey { // it can go although its value is lost
		_, err = t.Delete(k)
		return 1, err
	}
	if err != nil {
		return 0, err
	}
	var r Record
	if rec != nil {
		if r.Value, err = r.Decode(rec); err != nil {
			return 0, corruptRecord(p.Slot, err)
		}
	}
	switch at := p.ExpireAt; {
	case p.Expiry == keys.ExpireKey && r.ExpireAt == at, p.Expiry == keys.ExpireField && r.FieldExpireAt == at && expired(&r.Header, t):
		_, err = t.Delete(k)
	case p.Expiry == keys.ExpireField && r.FieldExpireAt == at:
		return t.expireFields(k, r)
	default:
		key := keys.AppendExpiry(t.arena.alloc(16 + len(p.Name))[:0], p.Slot, p.ExpireAt, p.Expiry, p.DB, p.Name)
		if t.set.find(hashKey(key), key) >= 0 {
			break // it went with the key's other entry
		}
		t.s.o.Logger.Warn("store: an expiry index entry without its key is dropped", "slot", p.Slot)
		t.write(op{kind: opDelete, slot: p.Slot, key: key})
	}
	if err != nil {
		return 0, err
	}
	return 1, nil
}

// expireFields deletes expired fields of the hash at k. What it does in vain counts, too.
func (t *Txn) expireFields(k Key, r Record) (n int, err error) {
	expire := t.s.o.ExpireFields
	if expire == nil {
		return 0, errNoFields
	}
	mark := t.Mark()
	n, err = expire(t, k, r, fieldBatch)
	if err != nil {
		t.Rollback(mark)
		return 0, err
	}
	t.s.expiredFields.Add(uint64(n))
	return max(n, 1), nil
}

// warmExpired reads without a lock what expireSlot will read under it, so that no
// lock is held while the disk is waited for.
func (s *Store) warmExpired(slot uint16) {
	it, err := s.db.NewIter(&pebble.IterOptions{
		LowerBound: keys.AppendKind(nil, slot, keys.KindExpiry),
		UpperBound: keys.AppendExpirySeek(nil, slot, s.nowMillis()),
	})
	if err != nil {
		return
	}
	defer it.Close()
	n := 0
	for ok := it.First(); ok && n < expireBatch; ok = it.Next() {
		n++
		p, ok := keys.Parse(it.Key())
		if !ok {
			continue
		}
		key := keys.AppendMeta(nil, slot, p.DB, p.Name)
		if s.records.has(hashKey(key), key) {
			continue
		}
		if _, closer, err := s.read(key); err == nil && closer != nil {
			_ = closer.Close()
		}
	}
}

// AverageTTL estimates the mean remaining life of keys with expiry, in ms (INFO keyspace). It looks at the
// nearest entries of a few slots.
func (s *Store) AverageTTL(db uint8) int64 {
	const slots, entries = 16, 8
	if s.DBCounts(db).Expires == 0 {
		return 0
	}
	s.life.RLock()
	defer s.life.RUnlock()
	if s.closed.Load() {
		return 0
	}
	now := s.nowMillis()
	var sum, n int64
	seen := 0
	for slot := uint16(0); slot < keys.Slots && seen < slots; slot++ {
		if s.expiries.earliest[slot].Load() == 0 {
			continue
		}
		seen++
		it, err := s.db.NewIter(&pebble.IterOptions{
			LowerBound: keys.AppendExpirySeek(nil, slot, now),
			UpperBound: keys.AppendKindEnd(nil, slot, keys.KindExpiry),
		})
		if err != nil {
			return 0
		}
		i := 0
		for ok := it.First(); ok && i < entries; ok = it.Next() {
			if p, ok := keys.Parse(it.Key()); ok && p.DB == db && p.Expiry == keys.ExpireKey {
				sum += p.ExpireAt - now
				n++
			}
			i++
		}
		_ = it.Close()
	}
	if n == 0 {
		return 0
	}
	return sum / n
}
