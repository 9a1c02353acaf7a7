package command

import (
	"sync"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
)

// Drains remember where the keys of the slots begin that MIGRATE empties. redis-cli asks for the first keys of a slot, moves
// them, and asks again: without this every question would walk over what all the earlier ones have left behind in the store.
//
// No key comes into being in a slot that is marked MIGRATING, since commands for keys that are not there go to the target. So
// what lies before the first key that was found once stays empty as long as the mark stands. SETSLOT forgets the drain before
// and after it changes the mark.
type Drains struct {
	mu sync.Mutex
	by map[uint16]*drain
}

type drain struct{ cursor uint64 }

// forget is called when a slot's mark changes.
func (d *Drains) forget(slot uint16) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.by, slot)
}

// of returns the drain of a slot and where its keys begin; fresh if it is a new one.
func (d *Drains) of(slot uint16) (at *drain, cursor uint64, fresh bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if at = d.by[slot]; at != nil {
		return at, at.cursor, false
	}
	if d.by == nil {
		d.by = make(map[uint16]*drain)
	}
	at = &drain{cursor: keys.Cursor(slot, 0)}
	d.by[slot] = at
	return at, at.cursor, true
}

// advance keeps that the first key of a slot is this one.
func (d *Drains) advance(slot uint16, at *drain, first []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.by[slot] == at {
		at.cursor = max(at.cursor, keys.Cursor(slot, keys.Hash(first)))
	}
}

// keysInSlot returns up to limit live keys of a slot. In EXEC, which has its locks, it uses no drain.
func (c *Ctx) keysInSlot(slot uint16, limit int) ([][]byte, error) {
	n := c.Node
	if limit == 0 || c.Txn != nil || !n.leaving(slot) {
		return n.Store.KeysInSlot(slot, limit)
	}
	at, cursor, fresh := n.Migrations.drains.of(slot)
	if fresh { // wait for those who have not seen the mark
		n.settled(slot)
	}
	names, err := n.scanSlot(slot, cursor, limit)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	n.Migrations.drains.advance(slot, at, names[0])
	return names[:min(len(names), limit)], nil
}

// leaving says whether the slot is this node's and on its way to another.
func (n *Node) leaving(slot uint16) bool {
	view := n.View()
	return view.Migrating(slot) != nil && view.Owns(slot)
}

// settled returns when the commands that hold the slot's lock now have ended.
func (n *Node) settled(slot uint16) {
	txn := n.Store.NewTxn()
	txn.Lock([]uint16{slot}, false)
	txn.Discard()
}

// scanSlot returns at least limit live keys of a slot from the cursor on, fewer at its end, in the order of the store.
func (n *Node) scanSlot(slot uint16, cursor uint64, limit int) (names [][]byte, err error) {
	for {
		cursor, err = n.Store.Scan(nil, n.Store.DB(0), cursor, limit-len(names), int(slot), func(name []byte, _ engine.Record) {
			names = append(names, append([]byte(nil), name...))
		})
		if err != nil || cursor == 0 || len(names) >= limit {
			return names, err
		}
	}
}
