package engine

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairndb/cairn/engine/keys"
)

// Txn is a unit of isolation and atomicity. It is made once and used again and
// again by one goroutine at a time: lock, read, write, Commit (or Discard). Several commands may
// share one transaction (a burst of pipelined commands, MULTI/EXEC): later ones read what earlier ones wrote.
type Txn struct {
	s       *Store
	locks   txnLocks
	set     writeSet
	arena   arena
	touched touchedSlots
	now     int64
	barrier Offset

	hits, misses uint64

	points, walks keptIter
	own           ownWrites

	detached, aborted bool // see Detach

	keyBuf []byte
	// memo is the last meta record that was looked up, so that a command that reads
	// and then writes a key looks it up once.
	memoKey  []byte
	memoRec  []byte
	memoHash uint64
	memoOK   bool

	// These are for Commit.
	payload []byte        // the record: operations as in a Pebble batch
	count   uint64        // of them
	direct  *pebble.Batch // those that go to Pebble at once, nil for none
	inOrder []directOp
	slotBuf []uint16
	dbBuf   []keys.DBCounters
	valBuf  []byte
}

// NewTxn returns an idle transaction.
func (s *Store) NewTxn() *Txn { return &Txn{s: s} }

// Mark and Rollback undo the writes made since Mark (a command that failed half-way).
func (t *Txn) Mark() int { return len(t.set.ops) }

// Rollback: see Mark.
func (t *Txn) Rollback(mark int) {
	recount := false
	for len(t.set.ops) > mark {
		o := t.set.pop()
		switch {
		case o.kind == opFlushAll:
			recount = true
		case o.undo != nil:
			t.s.dbs.Store(o.undo)
		default:
			t.touched.add(o.slot, o.delta, -1)
			t.s.derived.drop(o.slot)
		}
	}
	if recount {
		t.recount()
	}
	t.memoOK = false
	t.own.reset()
}

// recount sums up the deltas of all writes that no FLUSHALL has made void.
func (t *Txn) recount() {
	for i := range t.touched.list {
		t.touched.list[i].deltas = t.touched.list[i].deltas[:0]
	}
	for _, o := range t.set.ops[t.set.flush:] {
		if o.undo == nil {
			t.touched.add(o.slot, o.delta, 1)
		}
	}
}

// Size returns how many writes the transaction holds, and the bytes of memory behind its reads and writes.
func (t *Txn) Size() (writes, bytes int) { return len(t.set.ops), t.arena.used }

// Now is the transaction's clock in unix milliseconds: it stands still within a command.
func (t *Txn) Now() int64 {
	if t.now == 0 {
		t.now = t.s.nowMillis()
	}
	return t.now
}

// SetNow overrides the clock until EndCommand-or-release (EXEC: one clock for all its commands).
func (t *Txn) SetNow(ms int64) { t.now = ms }

// seekMeta looks up the stored meta record of k, expired or not; nil if there is none. The key is in t.memoKey afterwards.
func (t *Txn) seekMeta(k Key) ([]byte, error) {
	t.keyBuf = keys.AppendMeta(t.keyBuf[:0], k.Slot, k.DB, k.Name)
	if t.memoOK && bytes.Equal(t.keyBuf, t.memoKey) {
		return t.memoRec, nil
	}
	hash := hashKey(t.keyBuf)
	rec, err := t.lookup(k.Slot, hash, t.keyBuf)
	if err != nil {
		return nil, err
	}
	t.remember(hash, rec)
	return rec, nil
}

// remember makes rec the memo of the key in keyBuf.
func (t *Txn) remember(hash uint64, rec []byte) {
	t.keyBuf, t.memoKey = t.memoKey, t.keyBuf
	t.memoHash, t.memoRec, t.memoOK = hash, rec, true
}

// lookup returns the stored record of a meta key, nil if it is absent.
func (t *Txn) lookup(slot uint16, hash uint64, key []byte) ([]byte, error) {
	if t.detached {
		return nil, errDetached
	}
	if i := t.set.find(hash, key); i >= 0 {
		if o := &t.set.ops[i]; o.kind == opSet && i >= t.set.flush {
			return o.val, nil
		}
		return nil, nil
	}
	if t.set.flush > 0 {
		return nil, nil
	}
	if rec, ok := t.s.records.get(&t.arena, hash, key); ok {
		return rec, nil
	}
	if t.s.slots[slot].arrival != nil || t.s.absent(slot, hash, key) {
		return nil, nil
	}
	v, found, err := t.read(slot, key)
	if err != nil {
		return nil, err
	}
	if !found {
		// Whoever may write is about to: the table would be told twice.
		if !t.mayWrite(slot) {
			t.s.records.fill(hash, key, nil)
		}
		return nil, nil
	}
	v = t.arena.copy(v)
	t.s.records.fill(hash, key, v)
	return v, nil
}

// absent says that there is no such record for sure, without asking Pebble: the table has all records of the slot, but not this one. False
// says nothing. Under the slot's lock.
func (s *Store) absent(slot uint16, hash uint64, key []byte) bool {
	population, whole := s.records.wholeSlot(slot, s.counters.keys(slot))
	return whole && !s.records.has(hash, key) && s.records.slots[slot].population.Load() == population
}

// Ready says whether Get(k), and a look-up or two in its sub-keys, can be answered without waiting for the disk
// (written by this transaction, in the record table, or the store answers from memory of late).
func (t *Txn) Ready(k Key) bool {
	if !t.s.reads.slow() || t.set.flush > 0 {
		return true
	}
	r, known := t.peek(k)
	return known && r.ID == 0
}

// largeValue is how many bytes a value may have whose commands need no worker.
const largeValue = 1 << 20

// Large returns the record of k when k is known to have a large value, which may take long to read.
func (t *Txn) Large(k Key) (r Record, large bool) {
	if t.set.flush > 0 {
		return r, false
	}
	r, _ = t.peek(k)
	return r, r.Spread() > largeValue
}

// peek returns k's record, expired or not, none if it has none, if that is known without asking the store.
func (t *Txn) peek(k Key) (r Record, known bool) {
	t.keyBuf = keys.AppendMeta(t.keyBuf[:0], k.Slot, k.DB, k.Name)
	rec := t.memoRec
	if !t.memoOK || !bytes.Equal(t.keyBuf, t.memoKey) {
		hash := hashKey(t.keyBuf)
		if i := t.set.find(hash, t.keyBuf); i >= 0 {
			rec = t.set.ops[i].val
		} else if rec, known = t.s.records.get(&t.arena, hash, t.keyBuf); !known {
			return r, false
		}
		t.remember(hash, rec)
	}
	if rec != nil {
		var err error
		if r.Value, err = r.Decode(rec); err != nil {
			return Record{}, true // whoever reads it is told
		}
	}
	return r, true
}

// Get returns the live record of k: an expired one is reported as absent.
func (t *Txn) Get(k Key) (Record, bool, error) {
	rec, err := t.seekMeta(k)
	if rec == nil || err != nil {
		t.misses++
		return Record{}, false, err
	}
	var r Record
	if r.Value, err = r.Decode(rec); err != nil {
		return Record{}, false, corruptRecord(k.Slot, err)
	}
	if expired(&r.Header, t) {
		t.misses++
		return Record{}, false, nil
	}
	t.hits++
	return r, true, nil
}

// Lookups returns how many keys Get has found and how many it has not, in the transaction's whole life.
func (t *Txn) Lookups() (hits, misses uint64) { return t.hits, t.misses }

func expired(h *keys.Header, t *Txn) bool { return h.ExpireAt != 0 && h.ExpireAt < t.Now() }

func corruptRecord(slot uint16, err error) error {
	return fmt.Errorf("%w: a record in slot %d: %w", ErrCorrupt, slot, err)
}

// recordBytes is what a record adds to the Bytes of its slot: everything stored for
// it as far as its meta record tells.
func recordBytes(key, rec []byte, h *keys.Header) int64 {
	return int64(len(key)+len(rec)) + int64(h.Spread())
}

// Put writes the record of k (value is copied), keeps counters and the expiry
// index right, sets Header.Modified, and registers the old record's sub-keys for reclamation if their id is gone.
func (t *Txn) Put(k Key, h keys.Header, value []byte) error {
	if err := t.writeError(k.Slot); err != nil {
		return err
	}
	if t.arena.used+len(value) > MaxTxnBytes {
		return ErrTooLarge
	}
	oldHeader, d, _, err := t.retire(k, h.ID)
	if err != nil {
		return err
	}
	h.Modified = uint32(t.Now() / 1000)
	rec := h.Append(t.arena.alloc(h.Len() + len(value))[:0])
	rec = append(rec, value...)
	d.keys++
	d.bytes += recordBytes(t.memoKey, rec, &h)
	if h.ExpireAt != 0 {
		d.expires++
	}
	t.write(op{kind: opSet, slot: k.Slot, meta: true, hash: t.memoHash, key: t.arena.copy(t.memoKey), val: rec, delta: d})
	t.moveExpiries(k, &oldHeader, &h)
	t.memoRec = rec
	t.s.modified(k.DB, k.Name)
	return nil
}

// retire takes the old record of k, if there is one, out of the counters by the delta that it returns, and registers its id if it is
// not newID. The key is in t.memoKey afterwards.
func (t *Txn) retire(k Key, newID uint64) (h keys.Header, d delta, found bool, err error) {
	d.db = k.DB
	old, err := t.seekMeta(k)
	if err != nil {
		h, err = t.retireUnread(k, &d, err)
		return h, d, err == nil, err
	}
	if old == nil {
		return h, d, false, nil
	}
	if _, err := h.Decode(old); err != nil {
		return h, d, false, corruptRecord(k.Slot, err)
	}
	if expired(&h, t) {
		t.s.expired.Add(1)
	}
	d.keys--
	d.bytes -= recordBytes(t.memoKey, old, &h)
	if h.ExpireAt != 0 {
		d.expires--
	}
	if h.ID != 0 && h.ID != newID {
		count := h.Count
		if h.Type == keys.TypeString {
			count = 0 // it counts bytes
		}
		key := keys.AppendGarbage(t.arena.alloc(16)[:0], k.Slot, h.ID)
		t.write(op{kind: opSet, slot: k.Slot, key: key, val: binary.AppendUvarint(t.arena.alloc(binary.MaxVarintLen64)[:0], count)})
	}
	return h, d, true, nil
}

// moveExpiries makes the expiry index say of k what its new header does.
func (t *Txn) moveExpiries(k Key, from, to *keys.Header) {
	t.moveExpiry(k, keys.ExpireKey, from.ExpireAt, to.ExpireAt)
	t.moveExpiry(k, keys.ExpireField, from.FieldExpireAt, to.FieldExpireAt)
}

func (t *Txn) moveExpiry(k Key, kind keys.ExpiryKind, from, to int64) {
	if from == to {
		return
	}
	entry := func(at int64) []byte {
		return keys.AppendExpiry(t.arena.alloc(16 + len(k.Name))[:0], k.Slot, at, kind, k.DB, k.Name)
	}
	if from != 0 {
		t.write(op{kind: opDelete, slot: k.Slot, key: entry(from)})
	}
	if to != 0 {
		t.write(op{kind: opSet, slot: k.Slot, key: entry(to)})
		t.touched.at(k.Slot).expireAt(to)
	}
}

// write adds an op to the write set and its delta to the slot.
func (t *Txn) write(o op) {
	if !o.meta {
		o.hash = hashKey(o.key)
	}
	t.set.add(o)
	t.touched.add(o.slot, o.delta, 1)
}

// Delete removes k and reports whether a live record was there. Sub-keys are reclaimed later.
func (t *Txn) Delete(k Key) (bool, error) { return t.remove(k, 0) }

// Move makes what is at from the record of to, with its expiry and its sub-keys, and reports whether there was
// a live one. Both are in one slot: only meta records are written.
func (t *Txn) Move(from, to Key) (bool, error) {
	if from.Slot != to.Slot {
		return false, errSlots
	}
	r, ok, err := t.Get(from)
	if err != nil || !ok {
		return false, err
	}
	if from.DB == to.DB && bytes.Equal(from.Name, to.Name) {
		return true, nil
	}
	if err := t.Put(to, r.Header, r.Value); err != nil {
		return false, err
	}
	return t.remove(from, r.ID)
}

// remove deletes k; its id is registered for reclamation unless it is keepID.
func (t *Txn) remove(k Key, keepID uint64) (bool, error) {
	if err := t.writeError(k.Slot); err != nil {
		return false, err
	}
	h, d, found, err := t.retire(k, keepID)
	if !found || err != nil {
		return false, err
	}
	t.write(op{kind: opDelete, slot: k.Slot, meta: true, hash: t.memoHash, key: t.arena.copy(t.memoKey), delta: d})
	t.moveExpiries(k, &h, &keys.Header{})
	t.memoRec = nil
	live := !expired(&h, t)
	if live {
		t.s.modified(k.DB, k.Name)
	} else if t.s.onExpire != nil {
		t.s.onExpire(k.Name)
	}
	return live, nil
}

// Discard drops the writes and releases all locks.
func (t *Txn) Discard() {
	t.Rollback(0)
	t.finish()
}

// finish makes the transaction idle again.
func (t *Txn) finish() {
	t.points.close()
	t.walks.close()
	t.own.reset()
	t.set.reset()
	t.touched.reset()
	t.releaseLocks()
	t.arena.reset()
	t.now = 0
}
