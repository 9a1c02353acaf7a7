package engine

import (
	"bytes"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// mergedIter walks the stored keys of a range as a transaction sees them: what it has
// written itself, and what Pebble does not have yet, covers what is stored.
type mergedIter struct {
	it      *pebble.Iterator // nil after a FLUSHALL of the transaction
	itOK    bool
	own     []*op // ascending by key
	at      int   // in own
	cur     *op   // nil when the current entry is it's
	deleted []*op // ranges: what is stored there is not seen
	reverse bool  // first and next go down; seek does not
}

func compareOps(a, b *op) int { return bytes.Compare(a.key, b.key) }

// metaWrites appends the transaction's writes of a slot's meta records.
func (t *Txn) metaWrites(dst []*op, slot uint16) []*op {
	for i := t.set.flush; i < len(t.set.ops); i++ {
		if o := &t.set.ops[i]; o.slot == slot && o.meta && !o.superseded {
			dst = append(dst, o)
		}
	}
	return dst
}

// cover puts writes over what is stored. Of two with one key the later one counts.
func (m *mergedIter) cover(writes []*op) {
	slices.SortStableFunc(writes, compareOps)
	m.own = writes[:0]
	for i, o := range writes {
		if i+1 == len(writes) || !bytes.Equal(o.key, writes[i+1].key) {
			m.own = append(m.own, o)
		}
	}
}

func (m *mergedIter) seek(key []byte) bool {
	if m.it != nil {
		m.itOK = m.it.SeekGE(key)
	}
	m.at, _ = slices.BinarySearchFunc(m.own, key, func(o *op, k []byte) int { return bytes.Compare(o.key, k) })
	return m.settle()
}

// first goes to the end of the bounds at which the walk begins.
func (m *mergedIter) first() bool {
	m.at = 0
	if m.reverse {
		m.at = len(m.own) - 1
	}
	switch {
	case m.it == nil:
	case m.reverse:
		m.itOK = m.it.Last()
	default:
		m.itOK = m.it.First()
	}
	return m.settle()
}

func (m *mergedIter) next() bool {
	if m.cur != nil {
		m.at += m.step()
	} else {
		m.itOK = m.stepStored()
	}
	return m.settle()
}

func (m *mergedIter) step() int {
	if m.reverse {
		return -1
	}
	return 1
}

func (m *mergedIter) stepStored() bool {
	if m.reverse {
		return m.it.Prev()
	}
	return m.it.Next()
}

// skipDeleted leaves the ranges that the transaction has deleted.
func (m *mergedIter) skipDeleted() {
	for m.itOK && len(m.deleted) > 0 {
		o := covering(m.deleted, m.it.Key())
		switch {
		case o == nil:
			return
		case m.reverse:
			m.itOK = m.it.SeekLT(o.key)
		default:
			m.itOK = m.it.SeekGE(o.val)
		}
	}
}

// settle finds the first of the two positions, in the order of the walk, that is not deleted.
func (m *mergedIter) settle() bool {
	m.skipDeleted()
	for m.at >= 0 && m.at < len(m.own) {
		o := m.own[m.at]
		c := 1
		if m.itOK {
			c = m.step() * bytes.Compare(o.key, m.it.Key())
		}
		switch {
		case !m.itOK || c < 0:
		case c == 0:
			m.itOK = m.stepStored()
			m.skipDeleted()
		default:
			m.cur = nil
			return true
		}
		if o.kind == opSet {
			m.cur = o
			return true
		}
		m.at += m.step()
	}
	m.cur = nil
	return m.itOK
}

func (m *mergedIter) key() []byte {
	if m.cur != nil {
		return m.cur.key
	}
	return m.it.Key()
}

func (m *mergedIter) value() ([]byte, error) {
	if m.cur != nil {
		return m.cur.val, nil
	}
	v, err := m.it.ValueAndErr()
	if err != nil {
		return nil, storeError(err)
	}
	return v, nil
}

// close reports what went wrong while iterating.
func (m *mergedIter) close() error {
	if m.it == nil {
		return nil
	}
	if err := m.it.Close(); err != nil {
		return storeError(err)
	}
	return nil
}
