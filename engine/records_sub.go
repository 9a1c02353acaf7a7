package engine

import (
	"encoding/binary"
	"slices"
	"sync/atomic"

	"github.com/cairndb/cairn/engine/keys"
)

// Sub-keys in the record table are copies of what Pebble has: they are walked in order, so a write goes there at once, and the entry that it
// changes or makes here is clean. They take part in nothing that is counted for a slot. Those of dead ids and of deleted ranges may stay until they give
// way: nobody asks for the former, and for the latter see DeleteSubRange.

// maxSubEntry bounds the entries that are made for sub-keys, so that the chunks of long strings don't drive out everything else.
const maxSubEntry = 4 << 10

// id is the id in the key of a sub-key's entry.
func (e entry) id() uint64 { return binary.BigEndian.Uint64(e[entryHeader+3:]) }

// noValue is the value of a sub-key that exists and has none.
var noValue = []byte{}

// getSub returns the value of a sub-key, nil if it is known to be absent; known is false when the table can't tell. Under the slot's lock.
func (t *recordTable) getSub(a *arena, slot uint16, id, hash uint64, key []byte) (val []byte, known bool) {
	if val, known = t.get(a, hash, key); known {
		return val, true
	}
	// Only now: an entry that has given way meanwhile has ended it before.
	return nil, t.whole.has(slot, id)
}

// fillSub remembers what was read from Pebble, nil for an absent sub-key. Under the slot's lock.
func (t *recordTable) fillSub(hash uint64, key, val []byte) {
	if entrySize(len(key), len(val)) <= maxSubEntry {
		t.fill(hash, key, val)
	}
}

// putSub notes that a sub-key was written, or with nil deleted. If the table lacks it, it is added only when add is set. Under the slot's write lock.
func (t *recordTable) putSub(slot uint16, id, hash uint64, key, val []byte, add bool) {
	size := entrySize(len(key), len(val))
	sh := t.shard(hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	settled := t.slots[slot].settled.Load()
	pos, e := sh.find(hash, key)
	known := e != nil && !sh.void(e)
	switch {
	case known && e.keyEnd()+len(val) <= e.size():
		e.setValue(val)
		e.setRound(settled)
		e.markUsed()
	case size <= min(maxSubEntry, sh.page/2) && (known || add && val != nil):
		sh.insert(hash, key, val, settled)
	case val != nil:
		sh.whole.end(slot, id)
		if known {
			e.setValLen(entryDead)
			sh.forget(pos)
		}
	}
}

// wholeIDs are ids all of whose sub-keys are in the table, so that one that is not there does not exist: ids that this process has given, until
// one of their entries gives way. A cell holds one of those that share it.
type wholeIDs [wholeCells]atomic.Uint64

const (
	wholeBits  = 14
	wholeCells = 1 << wholeBits
	// wholeIDBits are those of an id that a cell has room for, besides the slot.
	wholeIDBits = 48
)

// cell returns the cell of an id and what stands there for it; ok is false for an id too large for any.
func (w *wholeIDs) cell(slot uint16, id uint64) (cell *atomic.Uint64, mark uint64, ok bool) {
	mark = uint64(slot)<<wholeIDBits | id
	return &w[mark*0x9e3779b97f4a7c15>>(64-wholeBits)], mark, id>>wholeIDBits == 0
}

// begin notes that there is nothing yet under an id that was just given. Under the slot's write lock.
func (w *wholeIDs) begin(slot uint16, id uint64) {
	if cell, mark, ok := w.cell(slot, id); ok {
		cell.Store(mark)
	}
}

func (w *wholeIDs) has(slot uint16, id uint64) bool {
	cell, mark, ok := w.cell(slot, id)
	return ok && cell.Load() == mark
}

func (w *wholeIDs) end(slot uint16, id uint64) {
	if cell, mark, ok := w.cell(slot, id); ok && cell.Load() == mark {
		cell.CompareAndSwap(mark, 0)
	}
}

func (w *wholeIDs) clear() {
	for i := range w {
		w[i].Store(0)
	}
}

// clearSlots is for slots, ascending, whose ids may come back. Under their write locks.
func (w *wholeIDs) clearSlots(slots []uint16) {
	for i := range w {
		mark := w[i].Load()
		if mark == 0 {
			continue
		}
		if _, found := slices.BinarySearch(slots, uint16(mark>>wholeIDBits)); found {
			w[i].CompareAndSwap(mark, 0)
		}
	}
}

// cacheSubs brings what was committed of sub-keys to the record table. Under the slots' write locks.
func (t *Txn) cacheSubs() {
	records := t.s.records
	for i := range t.touched.list {
		if ts := &t.touched.list[i]; ts.firstID != 0 {
			for id := ts.firstID; id < t.s.slots[ts.slot].nextID; id++ {
				records.whole.begin(ts.slot, id)
			}
		}
	}
	for i := t.set.flush; i < len(t.set.ops); i++ {
		o := &t.set.ops[i]
		if o.superseded || o.walked || !o.of(keys.KindSub) {
			continue
		}
		val := o.val
		switch {
		case o.kind == opDelete:
			val = nil
		case val == nil:
			val = noValue
		}
		records.putSub(o.slot, binary.BigEndian.Uint64(o.key[3:]), o.hash, o.key, val, true)
	}
}
