package engine

import (
	"slices"
	"sync"

	"github.com/cairndb/cairn/engine/keys"
)

// Counts are exact and O(1).
type Counts struct{ Keys, Expires, Bytes int64 }

func (c *Counts) add(d delta, sign int64) {
	c.Keys += sign * int64(d.keys)
	c.Expires += sign * int64(d.expires)
	c.Bytes += sign * d.bytes
}

func (c Counts) zero() bool { return c == Counts{} }

type dbCounts struct {
	db uint8
	Counts
}

// counters hold the counts of all slots and databases. A slot's are changed under its write
// lock and mu, so whoever holds the slot's lock may read them without mu.
type counters struct {
	mu    sync.Mutex
	slots [keys.Slots][]dbCounts // ascending by database, none empty
	dbs   [256]Counts
}

// of returns the counts of a database in a slot.
func (c *counters) of(slot uint16, db uint8) Counts {
	for _, d := range c.slots[slot] {
		if d.db == db {
			return d.Counts
		}
	}
	return Counts{}
}

// keys returns how many keys a slot holds in all databases, those that are flushed but not removed yet included. Under the slot's lock.
func (c *counters) keys(slot uint16) (n int64) {
	for i := range c.slots[slot] {
		n += c.slots[slot][i].Keys
	}
	return n
}

// add changes a slot's counts. Under mu.
func (c *counters) add(slot uint16, d delta) {
	c.dbs[d.db].add(d, 1)
	list := c.slots[slot]
	i, found := slices.BinarySearchFunc(list, d.db, func(e dbCounts, db uint8) int { return int(e.db) - int(db) })
	if !found {
		list = slices.Insert(list, i, dbCounts{db: d.db})
	}
	list[i].add(d, 1)
	if list[i].zero() {
		list = slices.Delete(list, i, i+1)
	}
	c.slots[slot] = list
}

// clear forgets a slot's counts. Under mu.
func (c *counters) clear(slot uint16) {
	for _, d := range c.slots[slot] {
		c.dbs[d.db].Keys -= d.Keys
		c.dbs[d.db].Expires -= d.Expires
		c.dbs[d.db].Bytes -= d.Bytes
	}
	c.slots[slot] = c.slots[slot][:0]
}

// load sets a slot's counts from their stored form. Under mu.
func (c *counters) load(slot uint16, stored *keys.Counters) {
	c.clear(slot)
	for _, d := range stored.DBs {
		e := dbCounts{db: d.DB, Counts: Counts{Keys: int64(d.Keys), Expires: int64(d.Expires), Bytes: int64(d.Bytes)}}
		c.slots[slot] = append(c.slots[slot], e)
		c.dbs[d.DB].Keys += e.Keys
		c.dbs[d.DB].Expires += e.Expires
		c.dbs[d.DB].Bytes += e.Bytes
	}
}

// stored fills in the stored form of a slot's counts with the deltas applied. Under the slot's lock.
func (c *counters) stored(dst *keys.Counters, slot uint16, nextID uint64, deltas []delta, cleared bool) {
	dst.NextID = nextID
	dst.DBs = dst.DBs[:0]
	if !cleared {
		for _, d := range c.slots[slot] {
			dst.DBs = append(dst.DBs, keys.DBCounters{DB: d.db, Keys: uint64(d.Keys), Expires: uint64(d.Expires), Bytes: uint64(d.Bytes)})
		}
	}
	for _, d := range deltas {
		i, found := slices.BinarySearchFunc(dst.DBs, d.db, func(e keys.DBCounters, db uint8) int { return int(e.DB) - int(db) })
		if !found {
			dst.DBs = slices.Insert(dst.DBs, i, keys.DBCounters{DB: d.db})
		}
		e := &dst.DBs[i]
		e.Keys += uint64(int64(d.keys))
		e.Expires += uint64(int64(d.expires))
		e.Bytes += uint64(d.bytes)
		if e.Keys == 0 && e.Expires == 0 && e.Bytes == 0 {
			dst.DBs = slices.Delete(dst.DBs, i, i+1)
		}
	}
}

// SlotCounts is for one slot, all databases that are not flushed; DBCounts for one physical database.
func (s *Store) SlotCounts(slot uint16) Counts {
	table := s.dbs.Load()
	s.counters.mu.Lock()
	defer s.counters.mu.Unlock()
	var sum Counts
	for _, d := range s.counters.slots[slot] {
		if table.live(d.db) {
			sum.Keys += d.Keys
			sum.Expires += d.Expires
			sum.Bytes += d.Bytes
		}
	}
	return sum
}

// SlotDBCounts is for one physical database in a slot.
func (s *Store) SlotDBCounts(slot uint16, db uint8) Counts {
	s.counters.mu.Lock()
	defer s.counters.mu.Unlock()
	return s.counters.of(slot, db)
}

// DBCounts: see SlotCounts.
func (s *Store) DBCounts(db uint8) Counts {
	s.counters.mu.Lock()
	defer s.counters.mu.Unlock()
	return s.counters.dbs[db]
}

// DBCounts is Store.DBCounts with the transaction's own writes counted.
func (t *Txn) DBCounts(db uint8) Counts {
	var sum Counts
	if t.set.flush == 0 {
		sum = t.s.DBCounts(db)
	}
	for i := range t.touched.list {
		for _, d := range t.touched.list[i].deltas {
			if d.db == db {
				sum.add(d, 1)
			}
		}
	}
	return sum
}

// SlotCounts is Store.SlotCounts with the transaction's own writes counted.
func (t *Txn) SlotCounts(slot uint16) Counts {
	var sum Counts
	if t.set.flush == 0 {
		sum = t.s.SlotCounts(slot)
	}
	if ts := t.touched.peek(slot); ts != nil {
		table := t.s.dbs.Load()
		for _, d := range ts.deltas {
			if table.live(d.db) {
				sum.add(d, 1)
			}
		}
	}
	return sum
}

// touchedSlot is what a transaction changes in a slot.
type touchedSlot struct {
	slot     uint16
	firstID  uint64 // of the ids given, 0 for none
	earliest int64  // the earliest expiry written, 0 for none
	deltas   []delta
}

func (ts *touchedSlot) expireAt(at int64) {
	if ts.earliest == 0 || at < ts.earliest {
		ts.earliest = at
	}
}

// changed says whether the slot's counters have to be written.
func (ts *touchedSlot) changed() bool {
	for _, d := range ts.deltas {
		if d.keys != 0 || d.expires != 0 || d.bytes != 0 {
			return true
		}
	}
	return ts.firstID != 0
}

// touchedSlots are the slots that a transaction writes, found by slot in O(1).
type touchedSlots struct {
	list  []touchedSlot
	index [keys.Slots]uint16 // 1 + the position in list, or 0
}

func (t *touchedSlots) peek(slot uint16) *touchedSlot {
	if i := t.index[slot]; i > 0 {
		return &t.list[i-1]
	}
	return nil
}

func (t *touchedSlots) at(slot uint16) *touchedSlot {
	if i := t.index[slot]; i > 0 {
		return &t.list[i-1]
	}
	if n := len(t.list); n < cap(t.list) {
		t.list = t.list[:n+1] // keeps the room for deltas of an earlier use
		deltas := t.list[n].deltas[:0]
		t.list[n] = touchedSlot{slot: slot, deltas: deltas}
	} else {
		t.list = append(t.list, touchedSlot{slot: slot})
	}
	t.index[slot] = uint16(len(t.list))
	return &t.list[len(t.list)-1]
}

// add adds or (sign -1) takes back a delta.
func (t *touchedSlots) add(slot uint16, d delta, sign int64) {
	ts := t.at(slot)
	if d.keys == 0 && d.expires == 0 && d.bytes == 0 {
		return
	}
	for i := range ts.deltas {
		if e := &ts.deltas[i]; e.db == d.db {
			e.keys += int32(sign) * d.keys
			e.expires += int32(sign) * d.expires
			e.bytes += sign * d.bytes
			return
		}
	}
	ts.deltas = append(ts.deltas, delta{db: d.db, keys: int32(sign) * d.keys, expires: int32(sign) * d.expires, bytes: sign * d.bytes})
}

func (t *touchedSlots) reset() {
	for i := range t.list {
		t.index[t.list[i].slot] = 0
	}
	if cap(t.list) > tableKeep {
		t.list = nil
	}
	t.list = t.list[:0]
}
