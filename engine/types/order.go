package types

import (
	"encoding/binary"
	"fmt"
	"sort"

	"github.com/cairndb/cairn/engine"
)

// order counts the elements of a large collection by place, so that a rank is found, and an element by its rank, without
// walking there. Its elements are the sub-keys that begin with one prefix, in their order. They are divided into groups by markers, sub-keys under
// another prefix:
//
//	markers first → count(uvarint)     the group's elements are those from first (inclusive) to the next group's first
//
// first stands without the elements' prefix; that of the first group is empty, so that each key is in a group. A write changes the count of one group.
// A group that grows is divided, one that shrinks joins its neighbour.
//
// The markers are read whole when they are first needed, and kept as long as there is room (engine.Txn.Derived): 10 million elements have 40 to 80
// thousand of them. Whatever is kept follows each write, so a rank costs the walk within one group.
type order struct {
	txn      *engine.Txn
	slot     uint16
	id       uint64
	elements byte // prefix
	markers  byte // prefix
	blocks   *orderBlocks
	// least is a key (without prefix) that no element is less than, if the type knows one: what was deleted before it is not passed again.
	least []byte
}

const (
	// groupSize is how many elements the halves of a divided group have.
	groupSize = 256
	// blockSize is how many groups the halves of a divided block have.
	blockSize = 256
	// OrderFrom is from how many elements on a collection has an order: fewer are walked.
	orderFrom = 2 * groupSize
	// groupBytes is about what a group takes in memory beside its key.
	groupBytes = 40
)

// orderBlocks are the groups in memory, in blocks that know their sums.
type orderBlocks struct{ list []*orderBlock }

type orderBlock struct {
	sum    int64
	groups []orderGroup // at least one
}

type orderGroup struct {
	first string
	count int64
}

// openOrder returns the order of an id's elements, which has been built.
func openOrder(t *engine.Txn, slot uint16, id uint64, elements, markers byte) (*order, error) {
	o := &order{txn: t, slot: slot, id: id, elements: elements, markers: markers}
	if kept, ok := t.Derived(slot, id).(*orderBlocks); ok {
		o.blocks = kept
		return o, nil
	}
	groups, bytes := []orderGroup(nil), 0
	var bad error
	err := t.WalkSub(slot, id, prefixRange(markers), false, func(sub, value []byte) bool {
		n, used := binary.Uvarint(value)
		if used != len(value) || used <= 0 || n > 1<<62 {
			bad = fmt.Errorf("%w: a marker in slot %d", engine.ErrCorrupt, slot)
			return false
		}
		groups = append(groups, orderGroup{string(sub[1:]), int64(n)})
		bytes += len(sub) + groupBytes
		return true
	})
	if err == nil {
		err = bad
	}
	if err == nil && (len(groups) == 0 || groups[0].first != "") {
		err = fmt.Errorf("%w: no first marker in slot %d", engine.ErrCorrupt, slot)
	}
	if err != nil {
		return nil, err
	}
	o.keep(groups, bytes)
	return o, nil
}

func prefixRange(prefix byte) engine.SubRange {
	return engine.SubRange{From: []byte{prefix}, To: []byte{prefix + 1}}
}

func (o *order) keep(groups []orderGroup, bytes int) {
	b := &orderBlocks{}
	for len(groups) > 0 {
		n := min(blockSize, len(groups))
		b.list = append(b.list, newOrderBlock(groups[:n]))
		groups = groups[n:]
	}
	o.blocks = b
	o.txn.SetDerived(o.slot, o.id, b, bytes)
}

func newOrderBlock(groups []orderGroup) *orderBlock {
	b := &orderBlock{groups: append(make([]orderGroup, 0, 2*blockSize), groups...)}
	for _, g := range groups {
		b.sum += g.count
	}
	return b
}

// buildOrder writes the markers of a collection that had none, and returns what they add to its Header.Bytes.
func buildOrder(t *engine.Txn, slot uint16, id uint64, elements, markers byte) (*order, int64, error) {
	o := &order{txn: t, slot: slot, id: id, elements: elements, markers: markers}
	groups, bytes := []orderGroup{{}}, groupBytes
	err := t.WalkSub(slot, id, prefixRange(elements), false, func(sub, _ []byte) bool {
		g := &groups[len(groups)-1]
		if g.count == groupSize {
			groups = append(groups, orderGroup{first: string(sub[1:])})
			bytes += len(sub) + groupBytes
			g = &groups[len(groups)-1]
		}
		g.count++
		return true
	})
	if err != nil {
		return nil, 0, err
	}
	size := int64(0)
	for _, g := range groups {
		n, err := o.put(g)
		if err != nil {
			return nil, 0, err
		}
		size += n
	}
	o.keep(groups, bytes)
	return o, size, nil
}

// put writes a marker and returns its size.
func (o *order) put(g orderGroup) (int64, error) {
	var value [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(value[:], uint64(g.count))
	sub := o.marker(g.first)
	return subSize(sub, value[:n]), o.txn.PutSub(o.slot, o.id, sub, value[:n])
}

func (o *order) marker(first string) []byte { return append([]byte{o.markers}, first...) }

// markerSize is what a group's marker adds to Header.Bytes.
func (o *order) markerSize(g orderGroup) int64 {
	var value [binary.MaxVarintLen64]byte
	return subSize(o.marker(g.first), value[:binary.PutUvarint(value[:], uint64(g.count))])
}

// find returns the place of the group that a key (without prefix) belongs to.
func (b *orderBlocks) find(key []byte) (block, group int) {
	block = sort.Search(len(b.list), func(i int) bool { return b.list[i].groups[0].first > string(key) }) - 1
	groups := b.list[block].groups
	return block, sort.Search(len(groups), func(i int) bool { return groups[i].first > string(key) }) - 1
}

// add counts an element that has been written, or (delta -1) deleted, and returns what that changes in Header.Bytes. The
// element's own write comes before it.
func (o *order) add(key []byte, delta int64) (int64, error) {
	at, i := o.blocks.find(key)
	b := o.blocks.list[at]
	g := &b.groups[i]
	before := o.markerSize(*g)
	g.count += delta
	b.sum += delta
	switch {
	case g.count >= 2*groupSize:
		n, err := o.divide(at, i)
		return n - before, err
	case delta < 0 && g.count < groupSize/4:
		if n, joined, err := o.join(at, i); joined || err != nil {
			return n - before, err
		}
	}
	n, err := o.put(*g)
	return n - before, err
}

// divide makes two groups of one, and returns the size of their markers.
func (o *order) divide(at, i int) (int64, error) {
	b := o.blocks.list[at]
	g := b.groups[i]
	half := g.count / 2
	first, err := o.walk(g.first, half)
	if err != nil {
		return 0, err
	}
	right := orderGroup{string(first), g.count - half}
	b.groups[i].count = half
	b.groups = append(b.groups, orderGroup{})
	copy(b.groups[i+2:], b.groups[i+1:])
	b.groups[i+1] = right
	if len(b.groups) >= 2*blockSize {
		o.blocks.divide(at)
	}
	n, err := o.put(orderGroup{g.first, half})
	if err != nil {
		return 0, err
	}
	m, err := o.put(right)
	return n + m, err
}

func (b *orderBlocks) divide(at int) {
	left := b.list[at]
	right := newOrderBlock(left.groups[blockSize:])
	left.groups = left.groups[:blockSize]
	left.sum -= right.sum
	b.list = append(b.list, nil)
	copy(b.list[at+2:], b.list[at+1:])
	b.list[at+1] = right
}

// join gives a small group to the one before it, if that leaves room in it, and returns what the two markers take now, less what that of the
// one before took.
func (o *order) join(at, i int) (size int64, joined bool, err error) {
	if at == 0 && i == 0 {
		return 0, false, nil
	}
	b := o.blocks.list[at]
	g := b.groups[i]
	left, j := b, i-1
	if i == 0 {
		left = o.blocks.list[at-1]
		j = len(left.groups) - 1
	}
	if left.groups[j].count+g.count > groupSize {
		return 0, false, nil
	}
	size -= o.markerSize(left.groups[j])
	left.groups[j].count += g.count
	left.sum += g.count
	b.sum -= g.count
	b.groups = append(b.groups[:i], b.groups[i+1:]...)
	if len(b.groups) == 0 {
		o.blocks.list = append(o.blocks.list[:at], o.blocks.list[at+1:]...)
	}
	if err := o.txn.DeleteSub(o.slot, o.id, o.marker(g.first)); err != nil {
		return 0, false, err
	}
	n, err := o.put(left.groups[j])
	return size + n, true, err
}

// rank returns how many elements are less than key, which stands without prefix and need not be one.
func (o *order) rank(key []byte) (int64, error) {
	at, i := o.blocks.find(key)
	n := int64(0)
	for _, b := range o.blocks.list[:at] {
		n += b.sum
	}
	groups := o.blocks.list[at].groups
	for _, g := range groups[:i] {
		n += g.count
	}
	r := engine.SubRange{From: o.from(groups[i].first), To: o.element(string(key))}
	err := o.txn.WalkSub(o.slot, o.id, r, false, func(_, _ []byte) bool {
		n++
		return true
	})
	return n, err
}

// at returns the element of rank i (from 0; there must be one), without prefix.
func (o *order) at(i int64) ([]byte, error) {
	for _, b := range o.blocks.list {
		if i >= b.sum {
			i -= b.sum
			continue
		}
		for _, g := range b.groups {
			if i < g.count {
				return o.walk(g.first, i)
			}
			i -= g.count
		}
	}
	return nil, fmt.Errorf("%w: the markers in slot %d count too few elements", engine.ErrCorrupt, o.slot)
}

func (o *order) element(key string) []byte { return append([]byte{o.elements}, key...) }

// from is where a walk from key on begins.
func (o *order) from(key string) []byte { return o.element(max(key, string(o.least))) }

// walk returns the element that comes skip elements behind the first one from key on.
func (o *order) walk(key string, skip int64) (found []byte, err error) {
	r := engine.SubRange{From: o.from(key), To: []byte{o.elements + 1}}
	err = o.txn.WalkSub(o.slot, o.id, r, false, func(sub, _ []byte) bool {
		if skip == 0 {
			found = append(make([]byte, 0, len(sub)), sub[1:]...)
		}
		skip--
		return skip >= 0
	})
	if err == nil && found == nil {
		err = fmt.Errorf("%w: the markers in slot %d count too many elements", engine.ErrCorrupt, o.slot)
	}
	return found, err
}
