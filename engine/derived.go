package engine

import (
	"container/list"
	"sync"
	"sync/atomic"
)

// derived is what package types keeps in memory about large collections beside what is stored: made from it alone,
// so that it may go at any moment. It goes when it might differ: a transaction that changed it is undone, or records come from
// elsewhere. A value is read under its slot's lock and changed under the write lock.
type derived struct {
	mu    sync.Mutex
	byID  map[derivedID]*list.Element
	order list.List // of *derivedValue, the one used last at the front
	count [slotGroups]atomic.Int32
	bytes int64
	limit int64
}

type derivedID struct {
	slot uint16
	id   uint64
}

type derivedValue struct {
	derivedID
	value any
	bytes int64
}

// derivedShare says what may be kept: so much of the record table's size on top of it.
const derivedShare = 8

// slotGroups is how many groups of slots are counted, so that asking for a slot of which there is nothing costs little.
const slotGroups = 256

// Derived returns what SetDerived has left for an id, nil if there is nothing any more.
func (t *Txn) Derived(slot uint16, id uint64) any {
	d := &t.s.derived
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.byID[derivedID{slot, id}]
	if e == nil {
		return nil
	}
	d.order.MoveToFront(e)
	return e.Value.(*derivedValue).value
}

// SetDerived keeps what was made from the stored sub-keys of an id, of a size in bytes, until room is needed for others.
func (t *Txn) SetDerived(slot uint16, id uint64, value any, bytes int) {
	d := &t.s.derived
	d.mu.Lock()
	defer d.mu.Unlock()
	at := derivedID{slot, id}
	d.remove(d.byID[at])
	if d.byID == nil {
		d.byID = map[derivedID]*list.Element{}
	}
	d.byID[at] = d.order.PushFront(&derivedValue{at, value, int64(bytes)})
	d.count[slot%slotGroups].Add(1)
	for d.bytes += int64(bytes); d.bytes > d.limit; {
		d.remove(d.order.Back())
	}
}

func (d *derived) remove(e *list.Element) {
	if e == nil {
		return
	}
	v := d.order.Remove(e).(*derivedValue)
	delete(d.byID, v.derivedID)
	d.count[v.slot%slotGroups].Add(-1)
	d.bytes -= v.bytes
}

// drop forgets what is kept about a slot.
func (d *derived) drop(slot uint16) {
	if d.count[slot%slotGroups].Load() > 0 {
		d.dropWhere(func(v *derivedValue) bool { return v.slot == slot })
	}
}

func (d *derived) clear() { d.dropWhere(func(*derivedValue) bool { return true }) }

func (d *derived) dropWhere(gone func(*derivedValue) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for e := d.order.Front(); e != nil; {
		next := e.Next()
		if gone(e.Value.(*derivedValue)) {
			d.remove(e)
		}
		e = next
	}
}
