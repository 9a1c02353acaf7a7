package engine

import (
	"bytes"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// A transaction keeps the iterators by which it reads Pebble until it ends: to open one costs more than most reads do with it, and a burst of commands
// is one transaction. One that is open shows what Pebble had at that moment, so for a slot it may be used as long as nothing was committed there
// since: the slot's offset, which its lock guards, says so. The transaction's own writes go to Pebble when it ends.

// keptIter is such an iterator.
type keptIter struct {
	it *pebble.Iterator
	at Offset // all that was committed up to here is in it
	// settles is the record table's count: what became clean since, and may have given way in the table, is not in it.
	settles uint64
	busy    bool
}

// open returns the iterator for a slot whose lock is held, opened anew if need be.
func (k *keptIter) open(s *Store, slot uint16, o *pebble.IterOptions) (it *pebble.Iterator, err error) {
	if s.closed.Load() {
		return nil, ErrClosed
	}
	if k.it != nil && s.slots[slot].offset <= k.at && s.worldOffset <= k.at && s.records.settles.Load() == k.settles {
		return k.it, nil
	}
	k.close()
	at, settles := s.published.Load(), s.records.settles.Load()
	if it, err = s.db.NewIter(o); err != nil {
		return nil, storeError(err)
	}
	*k = keptIter{it: it, at: at, settles: settles}
	return it, nil
}

// close ignores errors: whoever met one was told.
func (k *keptIter) close() {
	if k.it != nil {
		_ = k.it.Close()
		*k = keptIter{}
	}
}

// read returns the stored value of a key in a slot whose lock is held, valid until the next read.
func (t *Txn) read(slot uint16, key []byte) (value []byte, found bool, err error) {
	s := t.s
	start := time.Now()
	defer func() { s.reads.note(time.Since(start)) }()
	it, err := t.points.open(s, slot, &pointReads)
	if err != nil {
		return nil, false, err
	}
	if it.SeekPrefixGE(key) && bytes.Equal(it.Key(), key) {
		if value, err = it.ValueAndErr(); err == nil {
			return value, true, nil
		}
	}
	if err == nil {
		err = it.Error()
	}
	if err != nil {
		t.points.close()
		return nil, false, storeError(err)
	}
	return nil, false, nil
}

// subWalk is a walk over sub-keys as a transaction sees them. Its iterator is the transaction's, unless that is in the midst of another walk.
type subWalk struct {
	mergedIter
	kept *keptIter
}

// openWalk begins a walk over the sub-keys of an id from lower to upper (exclusive).
func (t *Txn) openWalk(slot uint16, id uint64, lower, upper []byte) (w subWalk, err error) {
	if t.detached {
		return w, errDetached
	}
	if t.set.flush == 0 {
		if t.walks.busy {
			w.it, err = t.s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
			err = storeErrorOrNil(err)
		} else if w.it, err = t.walks.open(t.s, slot, nil); err == nil {
			w.it.SetBounds(lower, upper)
			w.kept = &t.walks
			w.kept.busy = true
		}
		if err != nil {
			return w, err
		}
	}
	w.own = t.subWrites(slot, id, lower, upper)
	w.deleted = t.rangesIn(lower, upper)
	return w, nil
}

// close reports what went wrong while iterating.
func (w *subWalk) close() error {
	if w.kept == nil {
		return w.mergedIter.close()
	}
	w.kept.busy = false
	err := storeErrorOrNil(w.it.Error())
	if err != nil {
		w.kept.close()
	}
	return err
}

// ownWrites are what a transaction has written where it has walked lately: the walks of a command are in few places.
type ownWrites struct {
	lists [4]ownSubs
	next  int // to be used for another prefix
}

// ownSubs are what a transaction has written of one id's sub-keys with a prefix, in the order of keys, kept from one walk to the next: a burst
// of commands may write thousands and walk as often.
type ownSubs struct {
	seen   int     // operations that were looked at
	list   []int32 // places of operations, none superseded
	prefix []byte

	fresh  []int32 // for merge: what comes into the list, and before which of its places
	places []int
}

// subWrites returns the transaction's writes of single sub-keys of an id, from lower to upper (exclusive), in their order.
func (t *Txn) subWrites(slot uint16, id uint64, lower, upper []byte) []*op {
	if len(t.set.ops) == 0 {
		return nil
	}
	ops, list := t.set.ops, t.findSubWrites(slot, subScope(lower, upper))
	compare := func(i int32, key []byte) int { return bytes.Compare(ops[i].key, key) }
	from, _ := slices.BinarySearchFunc(list, lower, compare)
	to, _ := slices.BinarySearchFunc(list, upper, compare)
	if from >= to {
		return nil
	}
	own := make([]*op, 0, to-from)
	for _, i := range list[from:to] {
		own = append(own, &ops[i])
	}
	return own
}

func (w *ownWrites) reset() {
	for i := range w.lists {
		w.lists[i].reset()
	}
}

func (w *ownSubs) reset() { w.seen, w.list, w.prefix = 0, w.list[:0], w.prefix[:0] }

// of returns the list for a prefix, which may be an empty one.
func (w *ownWrites) of(prefix []byte) *ownSubs {
	for i := range w.lists {
		if bytes.Equal(w.lists[i].prefix, prefix) {
			return &w.lists[i]
		}
	}
	list := &w.lists[w.next]
	w.next = (w.next + 1) % len(w.lists)
	list.reset()
	list.prefix = append(list.prefix, prefix...)
	return list
}

// subScope is what all keys of sub-keys of an id from lower to upper (exclusive) begin with: the id, and if it is the same for all of them the next byte.
func subScope(lower, upper []byte) []byte {
	if len(lower) > subPrefix && len(upper) > subPrefix &&
		(lower[subPrefix] == upper[subPrefix] || len(upper) == subPrefix+1 && lower[subPrefix]+1 == upper[subPrefix]) {
		return lower[:subPrefix+1]
	}
	return lower[:subPrefix]
}

// findSubWrites returns the places of the transaction's writes with a prefix of an id's sub-keys, in the order of keys.
func (t *Txn) findSubWrites(slot uint16, prefix []byte) []int32 {
	w := t.own.of(prefix)
	if w.seen < t.set.flush {
		w.seen, w.list = t.set.flush, w.list[:0]
	}
	ops := t.set.ops
	known := len(w.list)
	for ; w.seen < len(ops); w.seen++ {
		if o := &ops[w.seen]; o.slot == slot && !o.meta && !o.superseded && o.kind <= opDelete && bytes.HasPrefix(o.key, w.prefix) {
			w.list = append(w.list, int32(w.seen))
		}
	}
	w.merge(ops, known)
	return w.list
}

// merge brings what was appended to the first known places of the list to where it belongs. Of two with one key the later one counts.
func (w *ownSubs) merge(ops []op, known int) {
	if known == len(w.list) {
		return
	}
	compare := func(a, b int32) int { return bytes.Compare(ops[a].key, ops[b].key) }
	slices.SortFunc(w.list[known:], compare)
	if known == 0 || compare(w.list[known-1], w.list[known]) < 0 {
		return
	}
	w.fresh, w.places = w.fresh[:0], w.places[:0]
	from := 0
	for _, i := range w.list[known:] { // no two of them have one key
		at, found := slices.BinarySearchFunc(w.list[from:known], ops[i].key, func(j int32, key []byte) int { return bytes.Compare(ops[j].key, key) })
		if from += at; found {
			w.list[from] = i
			continue
		}
		w.fresh, w.places = append(w.fresh, i), append(w.places, from)
	}
	w.list = w.list[:known+len(w.fresh)]
	for n := len(w.fresh) - 1; n >= 0; n-- {
		copy(w.list[w.places[n]+n+1:], w.list[w.places[n]:known])
		w.list[w.places[n]+n] = w.fresh[n]
		known = w.places[n]
	}
}
