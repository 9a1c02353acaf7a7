package engine

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cairndb/cairn/engine/keys"
)

// recordTable holds meta records by their stored key, in front of Pebble: what was read
// lately, and all that was written and is not in Pebble yet. The log makes writes durable; the drainer hands them to
// Pebble later, many at once and in order, so that a record that is written again and again reaches it once.
//
// A record is filled in or changed under its slot's lock, so the table never differs from what the store means.
// Writes happen under the commit mutex, too, which guards the lists of unsaved records.
//
// Records lie in pages without pointers, so that the garbage collector has nothing to follow. The oldest page is
// cleared out for the next records, except for those that are unsaved or were asked for again. Unsaved records
// are never dropped: admission control keeps their share small, and pages beyond the limit take what exceeds it.
//
// Sub-keys lie there too, but always clean: see records_sub.go.
type recordTable struct {
	shards [recordShards]recordShard
	slots  [keys.Slots]slotRecords
	dirty  []uint16 // slots with something unsaved in the open round
	hot    []uint16 // of these, those that hold so much that a scan of them would take long
	// unsaved is the size of all records that are not in Pebble.
	unsaved atomic.Int64
	// settles counts how often records became clean: an iterator opened before misses what it held.
	settles atomic.Uint64
	// dropped is set before the first slot gets a floor: until then a look-up need not fetch the slot's from memory.
	dropped atomic.Bool
	whole   wholeIDs
	limit   int64
}

// slotRecords are the unsaved records of a slot. Each round of the drainer takes those of the rounds before.
type slotRecords struct {
	round    uint32        // the open one: what is written now belongs to it; under the commit mutex
	settled  atomic.Uint32 // what belongs to this round or an earlier one is in Pebble
	floor    atomic.Uint32 // what belongs to an earlier round is void: the slot was dropped since; never more than settled
	counters bool          // the counters have changed; under the commit mutex, as are all below
	counted  bool          // the counters belong to what the drainer is at
	hot      bool          // listed in hot
	next     []uint64      // hashes of the keys written in the open round
	taken    []uint64      // those that the drainer is at
	size     int64         // of next
	takenBy  int64         // size of taken
	// population counts the slot's records in the table that are not absent (the low half), and those that were dropped for others'
	// sake, ever (the high half): the same population twice means that none has come or gone between. Changed under a shard's mutex.
	population atomic.Uint64
}

// droppedOne is what a record that goes for others' sake adds to its slot's population.
const droppedOne = 1<<32 - 1

func (sr *slotRecords) any() bool { return len(sr.next) > 0 || len(sr.taken) > 0 }

const (
	recordShards = 64
	// minRecordTable gives each shard a few pages.
	minRecordTable = 1 << 20
	minRecordPage  = 4 << 10
	maxRecordPage  = 64 << 10
	// hotSlotRecords is how many unsaved records of one slot a scan may have to sort through, hotSlotBytes how much to copy.
	hotSlotRecords = 16 << 10
	hotSlotBytes   = 8 << 20
)

// recordShard is the part of the table for the keys with some bits of their hash in common.
type recordShard struct {
	mu sync.Mutex
	// index is open addressing by the hash: tag(32) location(32); 0 is free.
	index   []uint64
	used    int
	pages   []recordPage // by number; 0 stands for none
	free    []uint32     // numbers without a page
	order   []uint32     // pages, the oldest first, without the current one
	current uint32
	bytes   int64 // of pages and index
	quota   int64
	page    int // bytes of a page
	slots   *[keys.Slots]slotRecords
	dropped *atomic.Bool
	whole   *wholeIDs

	hits, misses uint64
}

type recordPage struct {
	buf  []byte
	used int
}

// entry is a record in a page: round(4) value length(4) key length(4) size(4) key value.
type entry []byte

const (
	entryHeader = 16
	// Instead of a value's length:
	entryAbsent = 1<<32 - 1 // there is no such record
	entryDead   = 1<<32 - 2 // replaced by another entry
	// In the key length: asked for since its page was last cleared out.
	entryUsed = 1 << 31
)

func (e entry) round() uint32      { return binary.LittleEndian.Uint32(e) }
func (e entry) setRound(r uint32)  { binary.LittleEndian.PutUint32(e, r) }
func (e entry) valLen() uint32     { return binary.LittleEndian.Uint32(e[4:]) }
func (e entry) setValLen(n uint32) { binary.LittleEndian.PutUint32(e[4:], n) }
func (e entry) keyWord() uint32    { return binary.LittleEndian.Uint32(e[8:]) }
func (e entry) setKeyWord(n uint32) {
	binary.LittleEndian.PutUint32(e[8:], n)
}
func (e entry) size() int        { return int(binary.LittleEndian.Uint32(e[12:])) }
func (e entry) setSize(n int)    { binary.LittleEndian.PutUint32(e[12:], uint32(n)) }
func (e entry) keyEnd() int      { return entryHeader + int(e.keyWord()&^entryUsed) }
func (e entry) key() []byte      { return e[entryHeader:e.keyEnd()] }
func (e entry) slot() uint16     { return binary.BigEndian.Uint16(e[entryHeader:]) }
func (e entry) markUsed()        { e.setKeyWord(e.keyWord() | entryUsed) }
func (e entry) clearUsed()       { e.setKeyWord(e.keyWord() &^ entryUsed) }
func (e entry) wasUsed() bool    { return e.keyWord()&entryUsed != 0 }
func (e entry) present() bool    { return e.valLen() < entryDead }
func (e entry) kind() keys.Kind  { return keys.Kind(e[entryHeader+2]) }
func entrySize(key, rec int) int { return (entryHeader + key + rec + 7) &^ 7 }

// value returns the record, nil if it is absent.
func (e entry) value() []byte {
	n := e.valLen()
	if n == entryAbsent {
		return nil
	}
	at := e.keyEnd()
	return e[at : at+int(n) : at+int(n)]
}

// setValue stores rec, for which there is room; nil for absent.
func (e entry) setValue(rec []byte) {
	if rec == nil {
		e.setValLen(entryAbsent)
		return
	}
	e.setValLen(uint32(len(rec)))
	copy(e[e.keyEnd():], rec)
}

func newRecordTable(limit int64) *recordTable {
	t := &recordTable{limit: max(limit, minRecordTable)}
	for i := range t.shards {
		sh := &t.shards[i]
		sh.slots, sh.dropped, sh.whole = &t.slots, &t.dropped, &t.whole
		sh.quota = t.limit / recordShards
		sh.page = min(maxRecordPage, max(minRecordPage, nextPow2(int(sh.quota/8))))
		sh.clear()
	}
	for i := range t.slots {
		t.slots[i].round = 1
	}
	return t
}

// hashKey is the hash by which keys are found here and in a transaction's writes.
func hashKey(key []byte) uint64 { return maphash.Bytes(tableSeed, key) }

func (t *recordTable) shard(hash uint64) *recordShard { return &t.shards[hash>>58] }

// get returns the record, nil if the key is known to be absent.
func (t *recordTable) get(a *arena, hash uint64, key []byte) (rec []byte, ok bool) {
	sh := t.shard(hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	_, e := sh.find(hash, key)
	if e == nil || sh.void(e) {
		sh.misses++
		return nil, false
	}
	sh.hits++
	e.markUsed()
	if v := e.value(); v != nil {
		return a.copy(v), true
	}
	return nil, true
}

func (t *recordTable) has(hash uint64, key []byte) bool {
	sh := t.shard(hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	_, e := sh.find(hash, key)
	return e != nil && !sh.void(e)
}

// fill remembers what was read from Pebble; nil for an absent record. Under the slot's lock.
func (t *recordTable) fill(hash uint64, key, rec []byte) {
	sh := t.shard(hash)
	if entrySize(len(key), len(rec)) > sh.page/2 {
		return
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if _, e := sh.find(hash, key); e == nil || sh.void(e) {
		sh.insert(hash, key, rec, sh.slots[binary.BigEndian.Uint16(key)].settled.Load())
	}
}

// count changes the population by a record that was there or not, and is there now or not.
func (sr *slotRecords) count(was, is bool) {
	switch {
	case is && !was:
		sr.population.Add(1)
	case was && !is:
		sr.population.Add(^uint64(0))
	}
}

// clearPopulation: the table has no record of the slot any more.
func (sr *slotRecords) clearPopulation() {
	sr.population.Store((sr.population.Load()>>32 + 1) << 32)
}

// wholeSlot says whether the table has all of a slot's records, which are n, and returns its population. Under the slot's lock.
func (t *recordTable) wholeSlot(slot uint16, n int64) (population uint64, whole bool) {
	population = t.slots[slot].population.Load()
	return population, int64(uint32(population)) == n
}

// put writes a record, nil to delete it. Under the slot's write lock and the commit mutex.
func (t *recordTable) put(slot uint16, hash uint64, key, rec []byte) {
	sr := &t.slots[slot]
	size := int64(entrySize(len(key), len(rec)))
	sh := t.shard(hash)
	sh.mu.Lock()
	_, e := sh.find(hash, key)
	listed := e != nil && e.round() == sr.round
	if e != nil && e.keyEnd()+len(rec) <= e.size() {
		sr.count(e.present() && !sh.void(e), rec != nil)
		e.setValue(rec)
		e.setRound(sr.round)
		e.markUsed()
	} else {
		if listed { // its size is counted already
			sr.size += size - int64(e.size())
			t.unsaved.Add(size - int64(e.size()))
		}
		sh.insert(hash, key, rec, sr.round)
	}
	sh.mu.Unlock()
	if listed {
		return
	}
	t.soil(slot, sr)
	sr.next = append(sr.next, hash)
	sr.size += size
	t.unsaved.Add(size)
	if !sr.hot && (len(sr.next) >= hotSlotRecords || sr.size >= hotSlotBytes) {
		sr.hot = true
		t.hot = append(t.hot, slot)
	}
}

// countersChanged notes that the slot's counters have to be written to Pebble. Under the commit mutex.
func (t *recordTable) countersChanged(slot uint16) {
	sr := &t.slots[slot]
	t.soil(slot, sr)
	sr.counters = true
}

// soil lists a slot of which nothing was unsaved.
func (t *recordTable) soil(slot uint16, sr *slotRecords) {
	if len(sr.next) == 0 && !sr.counters {
		t.dirty = append(t.dirty, slot)
	}
}

// reset forgets all records, unsaved ones too (FLUSHALL). Under the world lock and the commit mutex, while
// the drainer is at nothing.
func (t *recordTable) reset() {
	for i := range t.shards {
		sh := &t.shards[i]
		sh.mu.Lock()
		sh.clear()
		sh.mu.Unlock()
	}
	t.dirty, t.hot = t.dirty[:0], t.hot[:0]
	for i := range t.slots {
		sr := &t.slots[i]
		sr.clearPopulation()
		sr.next, sr.taken, sr.size, sr.takenBy, sr.hot = sr.next[:0], sr.taken[:0], 0, 0, false
		sr.settled.Store(sr.round)
		sr.round++
		// Counters are still to be written: ids must not come back.
		if sr.counters, sr.counted = sr.counters || sr.counted, false; sr.counters {
			t.dirty = append(t.dirty, uint16(i))
		}
	}
	t.whole.clear()
	t.unsaved.Store(0)
	t.settles.Add(1)
}

// resetSlots forgets all records of the slots, unsaved ones too, and that their counters have changed. Under the slots' write locks and
// the commit mutex, while the drainer is at nothing.
func (t *recordTable) resetSlots(slots []uint16) {
	for i := range t.shards { // so that none of them drops a record of these slots meanwhile, and counts it
		t.shards[i].mu.Lock()
		defer t.shards[i].mu.Unlock()
	}
	t.dropped.Store(true)
	for _, slot := range slots {
		sr := &t.slots[slot]
		sr.clearPopulation()
		t.unsaved.Add(-sr.size - sr.takenBy)
		sr.next, sr.taken, sr.size, sr.takenBy = nil, nil, 0, 0
		sr.counters, sr.counted, sr.hot = false, false, false
		sr.settled.Store(sr.round + 1)
		sr.floor.Store(sr.round + 1)
		sr.round += 2
	}
	t.dirty = without(t.dirty, slots)
	t.hot = without(t.hot, slots)
	t.whole.clearSlots(slots)
	t.settles.Add(1)
}

// without removes from list what is in slots, which are ascending.
func without(list, slots []uint16) []uint16 {
	return slices.DeleteFunc(list, func(slot uint16) bool {
		_, found := slices.BinarySearch(slots, slot)
		return found
	})
}

// take begins a round: what is unsaved in the slots is the drainer's now. Under the commit mutex.
func (t *recordTable) take(slots []uint16) {
	for _, slot := range slots {
		sr := &t.slots[slot]
		sr.next, sr.taken = sr.taken[:0], sr.next
		sr.size, sr.takenBy = 0, sr.size
		sr.counters, sr.counted, sr.hot = false, sr.counters, false
		sr.round++
	}
}

// takeAll begins a round for every slot, and returns those with something unsaved in ascending order.
func (t *recordTable) takeAll() []uint16 {
	slots := slices.Clone(t.dirty)
	slices.Sort(slots)
	t.dirty, t.hot = t.dirty[:0], t.hot[:0]
	t.take(slots)
	return slots
}

// takeHot begins a round for the slots that hold too much.
func (t *recordTable) takeHot() []uint16 {
	slots := slices.Clone(t.hot)
	slices.Sort(slots)
	t.hot = t.hot[:0]
	t.dirty = without(t.dirty, slots)
	t.take(slots)
	return slots
}

// settle makes clean what was taken from the slots: it is in Pebble. Under the commit mutex.
func (t *recordTable) settle(slots []uint16) {
	t.settles.Add(1)
	for _, slot := range slots {
		sr := &t.slots[slot]
		sr.settled.Store(sr.round - 1)
		t.unsaved.Add(-sr.takenBy)
		sr.takenBy = 0
		if cap(sr.taken) > tableKeep {
			sr.taken = nil
		}
		sr.taken = sr.taken[:0]
	}
}

// unsavedOps returns the unsaved records of a slot with these hashes as writes, by key.
func (t *recordTable) unsavedOps(dst []op, a *arena, slot uint16, hashes []uint64) []op {
	from := len(dst)
	for _, hash := range hashes {
		sh := t.shard(hash)
		sh.mu.Lock()
		dst = sh.appendUnsaved(dst, a, slot, hash)
		sh.mu.Unlock()
	}
	added := dst[from:]
	slices.SortFunc(added, func(a, b op) int { return bytes.Compare(a.key, b.key) })
	added = slices.CompactFunc(added, func(a, b op) bool { return bytes.Equal(a.key, b.key) })
	return dst[:from+len(added)]
}

// sums adds up what the shards count.
func (t *recordTable) sums() (records, bytes int64, hits, misses uint64) {
	for i := range t.shards {
		sh := &t.shards[i]
		sh.mu.Lock()
		records += int64(sh.used)
		bytes += sh.bytes
		hits += sh.hits
		misses += sh.misses
		sh.mu.Unlock()
	}
	return records, bytes, hits, misses
}
