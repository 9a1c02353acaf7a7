package engine

import (
	"bytes"
	"slices"

	"github.com/cairndb/cairn/engine/keys"
)

// subPrefix is how many bytes the keys of an id's sub-keys begin with in common.
const subPrefix = 11

// NewID returns a fresh id for sub-keys in a slot.
func (t *Txn) NewID(slot uint16) (uint64, error) {
	if err := t.writeError(slot); err != nil {
		return 0, err
	}
	st := &t.s.slots[slot]
	id := st.nextID
	if ts := t.touched.at(slot); ts.firstID == 0 {
		ts.firstID = id
	}
	st.nextID++
	return id, nil
}

// GetSub, PutSub and DeleteSub work on the sub-keys of an id (chunks, elements); DeleteSub of an absent one is no error.
func (t *Txn) GetSub(slot uint16, id uint64, sub []byte) ([]byte, bool, error) {
	if t.detached {
		return nil, false, errDetached
	}
	t.keyBuf = keys.AppendSub(t.keyBuf[:0], slot, id, sub)
	hash := hashKey(t.keyBuf)
	if i := t.set.find(hash, t.keyBuf); i >= 0 {
		o := &t.set.ops[i]
		return o.val, o.kind == opSet && i >= t.set.flush, nil
	}
	if t.set.flush > 0 || t.s.slots[slot].arrival != nil {
		return nil, false, nil
	}
	if v, known := t.s.records.getSub(&t.arena, slot, id, hash, t.keyBuf); known {
		t.s.reads.spared()
		return v, v != nil, nil
	}
	v, found, err := t.read(slot, t.keyBuf)
	if err != nil {
		return nil, false, err
	}
	if !found {
		// Whoever may write is about to: the table would be told twice.
		if !t.mayWrite(slot) {
			t.s.records.fillSub(hash, t.keyBuf, nil)
		}
		return nil, false, nil
	}
	v = t.arena.copy(v)
	t.s.records.fillSub(hash, t.keyBuf, v)
	return v, true, nil
}

// PutSub: see GetSub.
func (t *Txn) PutSub(slot uint16, id uint64, sub, value []byte) error {
	return t.putSub(slot, id, sub, value, false)
}

// PutWalked and DeleteWalked are PutSub and DeleteSub for sub-keys that are only walked: the record table keeps none of them, so GetSub must not be asked.
func (t *Txn) PutWalked(slot uint16, id uint64, sub, value []byte) error {
	return t.putSub(slot, id, sub, value, true)
}

func (t *Txn) putSub(slot uint16, id uint64, sub, value []byte, walked bool) error {
	if err := t.writeError(slot); err != nil {
		return err
	}
	switch n := len(sub) + len(value); {
	case n > MaxElement:
		return ErrElement
	case t.arena.used+n > MaxTxnBytes:
		return ErrTooLarge
	}
	key := keys.AppendSub(t.arena.alloc(subPrefix + len(sub))[:0], slot, id, sub)
	t.write(op{kind: opSet, slot: slot, key: key, val: t.arena.copy(value), walked: walked})
	return nil
}

// DeleteSub: see GetSub.
func (t *Txn) DeleteSub(slot uint16, id uint64, sub []byte) error {
	return t.deleteSub(slot, id, sub, false)
}

// DeleteWalked: see PutWalked.
func (t *Txn) DeleteWalked(slot uint16, id uint64, sub []byte) error {
	return t.deleteSub(slot, id, sub, true)
}

func (t *Txn) deleteSub(slot uint16, id uint64, sub []byte, walked bool) error {
	if err := t.writeError(slot); err != nil {
		return err
	}
	key := keys.AppendSub(t.arena.alloc(subPrefix + len(sub))[:0], slot, id, sub)
	t.write(op{kind: opDelete, slot: slot, key: key, walked: walked})
	return nil
}

// DeleteSubRange deletes the sub-keys of an id that lie in a range. It costs one write however many they are, but every later reader
// of the range a little, so it should be worth it: hundreds of sub-keys, not a few. WalkSub sees them no more; GetSub may, until one is written
// again: who uses both knows from the header what lives.
func (t *Txn) DeleteSubRange(slot uint16, id uint64, r SubRange) error {
	if err := t.writeError(slot); err != nil {
		return err
	}
	lower, upper := r.bounds(slot, id)
	for _, o := range t.subWrites(slot, id, lower, upper) {
		if o.kind == opSet {
			t.write(op{kind: opDelete, slot: slot, key: o.key})
		}
	}
	t.touched.at(slot)
	t.set.addUnindexed(op{kind: opDeleteRange, slot: slot, key: lower, val: upper})
	return nil
}

// SubRange are the sub-keys of an id from From (inclusive) to To (exclusive, nil for the end).
type SubRange struct{ From, To []byte }

func (r SubRange) bounds(slot uint16, id uint64) (lower, upper []byte) {
	lower = keys.AppendSub(nil, slot, id, r.From)
	if r.To == nil {
		return lower, keys.AppendSubEnd(nil, slot, id)
	}
	return lower, keys.AppendSub(nil, slot, id, r.To)
}

// ScanSub calls fn in ascending order for the sub-keys of id from `from` (inclusive) on, until fn returns false.
// The slices are valid during the call only, in which the transaction must not write.
func (t *Txn) ScanSub(slot uint16, id uint64, from []byte, fn func(sub, value []byte) bool) error {
	return t.WalkSub(slot, id, SubRange{From: from}, false, fn)
}

// WalkSub calls fn for the sub-keys of id in a range, in ascending order or in descending, until fn returns false.
// The slices are valid during the call only, in which the transaction must not write.
func (t *Txn) WalkSub(slot uint16, id uint64, r SubRange, reverse bool, fn func(sub, value []byte) bool) error {
	lower, upper := r.bounds(slot, id)
	if bytes.Compare(lower, upper) >= 0 {
		return nil
	}
	it, err := t.openWalk(slot, id, lower, upper)
	if err != nil {
		return err
	}
	it.reverse = reverse
	skip := len(lower) - len(r.From)
	for ok := it.first(); ok; ok = it.next() {
		v, err := it.value()
		if err != nil {
			_ = it.close()
			return err
		}
		if !fn(it.key()[skip:], v) {
			break
		}
		if t.aborted {
			_ = it.close()
			return ErrAborted
		}
	}
	return it.close()
}

// rangesIn returns the ranges that the transaction has deleted and that touch those from lower to upper (exclusive).
func (t *Txn) rangesIn(lower, upper []byte) (ranges []*op) {
	for i := t.set.flush; i < len(t.set.ops) && t.set.ranges > 0; i++ {
		if o := &t.set.ops[i]; o.kind == opDeleteRange && bytes.Compare(o.key, upper) < 0 && bytes.Compare(lower, o.val) < 0 {
			ranges = append(ranges, o)
		}
	}
	return ranges
}

// covering returns the range that holds key, or nil.
func covering(ranges []*op, key []byte) *op {
	i := slices.IndexFunc(ranges, func(o *op) bool { return bytes.Compare(o.key, key) <= 0 && bytes.Compare(key, o.val) < 0 })
	if i < 0 {
		return nil
	}
	return ranges[i]
}
