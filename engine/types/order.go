package types

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sort"
	"sync"

	"github.com/cairndb/cairn/engine"
)

// order counts the elements of a large collection by place, so that a rank is found, and an element by its rank, without
// walking there. Its elements are the sub-keys that begin with one prefix, in their order. They are divided into groups by markers, sub-keys under
// another prefix:
//
//	markers first → count(uvarint)     the group's elements are those from first (inclusive) to the next group's first
//
// first stands without the elements' prefix; that of the first group is empty, so that each key is in a group. A write changes the count of one group.
// A group that grows is divided, one that shrinks joins its neighbour. Groups are large, so that a burst of writes changes few of them.
//
// The markers are read whole when they are first needed, and kept as long as there is room (engine.Txn.Derived): 10 million elements have some 3,500
// of them. In memory a large group is divided again, into parts: as it grows, or if it was read from the store when a rank in it is first asked for. Whatever is
// kept follows each write, so a rank costs the walk within one part, and after a start once that within its group.
type order struct {
	txn      *engine.Txn
	slot     uint16
	id       uint64
	elements byte // prefix
	markers  byte // prefix
	blocks   *orderBlocks
	// least is a key (without prefix) that no element is less than, if the type knows one: what was deleted before it is not passed again.
	least []byte
	buf   []byte
}

const (
	// groupSize is how many elements the halves of a divided group have, partSize those of a divided part.
	groupSize = 2048
	partSize  = 256
	// blockSize is how many groups the halves of a divided block have.
	blockSize = 256
	// orderFrom is from how many elements on a collection has an order: fewer are walked.
	orderFrom = 2 * partSize
	// groupBytes is about what a group or a part takes in memory beside its key.
	groupBytes = 80
)

// orderBlocks are the groups in memory, in blocks that know their sums.
type orderBlocks struct {
	list []*orderBlock
	// mu guards parts where they are made by readers, and bytes, what all of it takes.
	mu    sync.Mutex
	bytes int
}

type orderBlock struct {
	sum    int64
	groups []orderGroup // at least one
}

type orderGroup struct {
	first string
	count int64
	parts []orderGroup // nil, or all of the group; the first of them begins with it
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
		groups = append(groups, orderGroup{first: string(sub[1:]), count: int64(n)})
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
	b := &orderBlocks{bytes: bytes}
	for len(groups) > 0 {
		n := min(blockSize, len(groups))
		b.list = append(b.list, newOrderBlock(groups[:n]))
		groups = groups[n:]
	}
	o.blocks = b
	o.txn.SetDerived(o.slot, o.id, b, bytes)
}

func newOrderBlock(groups []orderGroup) *orderBlock {
	b := &orderBlock{groups: slices.Clone(groups)}
	for _, g := range groups {
		b.sum += g.count
	}
	return b
}

// buildOrder writes the markers of a collection that had none, and returns what they add to its Header.Bytes.
func buildOrder(t *engine.Txn, slot uint16, id uint64, elements, markers byte) (*order, int64, error) {
	o := &order{txn: t, slot: slot, id: id, elements: elements, markers: markers}
	groups, bytes := []orderGroup{{}}, groupBytes
	var d divider
	end := func() { groups[len(groups)-1].parts = d.parts }
	err := t.WalkSub(slot, id, prefixRange(elements), false, func(sub, _ []byte) bool {
		g := &groups[len(groups)-1]
		if g.count == groupSize {
			end()
			groups = append(groups, orderGroup{first: string(sub[1:])})
			bytes += len(sub) + groupBytes
			g = &groups[len(groups)-1]
			d = divider{bytes: d.bytes}
		}
		d.add(g.first, sub[1:])
		g.count++
		return true
	})
	if err != nil {
		return nil, 0, err
	}
	end()
	size := int64(0)
	for i := range groups {
		n, err := o.put(&groups[i])
		if err != nil {
			return nil, 0, err
		}
		size += n
	}
	o.keep(groups, bytes+d.bytes)
	return o, size, nil
}

// divider makes parts of a group's elements, which it is given one by one.
type divider struct {
	parts []orderGroup
	bytes int // that they take, together with those of other groups
}

func (d *divider) add(first string, key []byte) {
	switch n := len(d.parts); {
	case n == 0:
		d.parts = append(d.parts, orderGroup{first: first})
	case d.parts[n-1].count == partSize:
		d.parts = append(d.parts, orderGroup{first: string(key)})
	default:
		d.parts[n-1].count++
		return
	}
	p := &d.parts[len(d.parts)-1]
	p.count++
	d.bytes += len(p.first) + groupBytes
}

// put writes a marker and returns its size.
func (o *order) put(g *orderGroup) (int64, error) {
	var value [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(value[:], uint64(g.count))
	sub := o.marker(g.first)
	return subSize(sub, value[:n]), o.txn.PutWalked(o.slot, o.id, sub, value[:n])
}

// marker is the sub-key of a marker; the next call of it takes the same memory.
func (o *order) marker(first string) []byte {
	o.buf = append(append(o.buf[:0], o.markers), first...)
	return o.buf
}

// markerSize is what a group's marker adds to Header.Bytes.
func (o *order) markerSize(g *orderGroup) int64 {
	var value [binary.MaxVarintLen64]byte
	return subSize(o.marker(g.first), value[:binary.PutUvarint(value[:], uint64(g.count))])
}

// resized notes what a new group or part takes, or what some no longer take.
func (o *order) resized(by int) {
	o.blocks.mu.Lock()
	o.blocks.bytes += by
	bytes := o.blocks.bytes
	o.blocks.mu.Unlock()
	o.txn.SetDerived(o.slot, o.id, o.blocks, bytes)
}

// find returns the place of the group that a key (without prefix) belongs to.
func (b *orderBlocks) find(key []byte) (block, group int) {
	block = sort.Search(len(b.list), func(i int) bool { return b.list[i].groups[0].first > string(key) }) - 1
	return block, findGroup(b.list[block].groups, key)
}

// findGroup returns the one of several groups, or parts, that a key belongs to.
func findGroup(groups []orderGroup, key []byte) int {
	return sort.Search(len(groups), func(i int) bool { return groups[i].first > string(key) }) - 1
}

// add counts an element that has been written, or (delta -1) deleted, and returns what that changes in Header.Bytes. The
// element's own write comes before it.
func (o *order) add(key []byte, delta int64) (int64, error) {
	at, i := o.blocks.find(key)
	b := o.blocks.list[at]
	g := &b.groups[i]
	before := o.markerSize(g)
	g.count += delta
	b.sum += delta
	if err := o.addToPart(g, key, delta); err != nil {
		return 0, err
	}
	switch {
	case g.count >= 2*groupSize:
		n, err := o.divide(at, i)
		return n - before, err
	case delta < 0 && g.count < groupSize/4:
		if n, joined, err := o.join(at, i); joined || err != nil {
			return n - before, err
		}
	}
	n, err := o.put(g)
	return n - before, err
}

// addToPart counts an element in the part of a group that has any, and divides the part when it is large.
func (o *order) addToPart(g *orderGroup, key []byte, delta int64) error {
	if g.parts == nil {
		if delta > 0 && g.count == 2*partSize {
			_, err := o.partsOf(g)
			return err
		}
		return nil
	}
	i := findGroup(g.parts, key)
	p := &g.parts[i]
	if p.count += delta; p.count < 2*partSize {
		return nil
	}
	half := p.count / 2
	first, err := o.walk(p.first, half)
	if err != nil {
		return err
	}
	right := orderGroup{first: string(first), count: p.count - half}
	p.count = half
	g.parts = slices.Insert(g.parts, i+1, right)
	o.resized(len(right.first) + groupBytes)
	return nil
}

// partsOf returns the parts of a group, nil if it is small. Others who read may do so at the same time.
func (o *order) partsOf(g *orderGroup) ([]orderGroup, error) {
	if g.count < 2*partSize {
		return nil, nil
	}
	o.blocks.mu.Lock()
	parts := g.parts
	o.blocks.mu.Unlock()
	if parts != nil {
		return parts, nil
	}
	var d divider
	left := g.count
	r := engine.SubRange{From: o.from(g.first), To: []byte{o.elements + 1}}
	err := o.txn.WalkSub(o.slot, o.id, r, false, func(sub, _ []byte) bool {
		d.add(g.first, sub[1:])
		left--
		return left > 0
	})
	if err == nil && left > 0 {
		err = o.corrupt("too many")
	}
	if err != nil {
		return nil, err
	}
	o.blocks.mu.Lock()
	if g.parts == nil {
		g.parts = d.parts
		o.blocks.bytes += d.bytes
	}
	bytes := o.blocks.bytes
	o.blocks.mu.Unlock()
	o.txn.SetDerived(o.slot, o.id, o.blocks, bytes)
	return d.parts, nil
}

func (o *order) corrupt(what string) error {
	return fmt.Errorf("%w: the markers in slot %d count %s elements", engine.ErrCorrupt, o.slot, what)
}

// divide makes two groups of one, and returns the size of their markers.
func (o *order) divide(at, i int) (int64, error) {
	b := o.blocks.list[at]
	left, right, err := o.halves(b.groups[i])
	if err != nil {
		return 0, err
	}
	b.groups[i] = left
	b.groups = slices.Insert(b.groups, i+1, right)
	if len(b.groups) >= 2*blockSize {
		o.blocks.divide(at)
	}
	o.resized(len(right.first) + groupBytes)
	n, err := o.put(&left)
	if err != nil {
		return 0, err
	}
	m, err := o.put(&right)
	return n + m, err
}

// halves divides a group where one of its parts begins, or if it has none in the middle.
func (o *order) halves(g orderGroup) (left, right orderGroup, err error) {
	left, right = orderGroup{first: g.first}, orderGroup{}
	if g.parts == nil {
		left.count = g.count / 2
		first, err := o.walk(g.first, left.count)
		if err != nil {
			return left, right, err
		}
		right.first = string(first)
	} else {
		n := 0
		for left.count < g.count/2 && n+1 < len(g.parts) {
			left.count += g.parts[n].count
			n++
		}
		left.parts, right.parts = slices.Clone(g.parts[:n]), slices.Clone(g.parts[n:])
		right.first = right.parts[0].first
	}
	right.count = g.count - left.count
	return left, right, nil
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
	size -= o.markerSize(&left.groups[j])
	before := partsBytes(left.groups[j].parts) + partsBytes(g.parts) + len(g.first) + groupBytes
	left.groups[j].parts = joinParts(&left.groups[j], &g)
	o.resized(partsBytes(left.groups[j].parts) - before)
	left.groups[j].count += g.count
	left.sum += g.count
	b.sum -= g.count
	b.groups = append(b.groups[:i], b.groups[i+1:]...)
	if len(b.groups) == 0 {
		o.blocks.list = append(o.blocks.list[:at], o.blocks.list[at+1:]...)
	}
	if err := o.txn.DeleteWalked(o.slot, o.id, o.marker(g.first)); err != nil {
		return 0, false, err
	}
	n, err := o.put(&left.groups[j])
	return size + n, true, err
}

func partsBytes(parts []orderGroup) (n int) {
	for i := range parts {
		n += len(parts[i].first) + groupBytes
	}
	return n
}

// joinParts returns the parts of two groups as those of one, nil if they are not known. Empty ones go.
func joinParts(a, b *orderGroup) (parts []orderGroup) {
	for _, g := range []*orderGroup{a, b} {
		switch {
		case g.parts != nil:
			parts = append(parts, g.parts...)
		case g.count < 2*partSize:
			parts = append(parts, orderGroup{first: g.first, count: g.count})
		default:
			return nil
		}
	}
	kept := parts[:1]
	for _, p := range parts[1:] {
		if p.count > 0 {
			kept = append(kept, p)
		}
	}
	return kept
}

// rank returns how many elements are less than key, which stands without prefix and need not be one.
func (o *order) rank(key []byte) (int64, error) {
	at, i := o.blocks.find(key)
	n := int64(0)
	for _, b := range o.blocks.list[:at] {
		n += b.sum
	}
	groups := o.blocks.list[at].groups
	for i := range groups[:i] {
		n += groups[i].count
	}
	parts, err := o.partsOf(&groups[i])
	if err != nil {
		return 0, err
	}
	first := groups[i].first
	if parts != nil {
		i = findGroup(parts, key)
		first = parts[i].first
		for j := range parts[:i] {
			n += parts[j].count
		}
	}
	r := engine.SubRange{From: o.from(first), To: o.element(string(key))}
	err = o.txn.WalkSub(o.slot, o.id, r, false, func(_, _ []byte) bool {
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
		for j := range b.groups {
			g := &b.groups[j]
			if i < g.count {
				return o.within(g, i)
			}
			i -= g.count
		}
	}
	return nil, o.corrupt("too few")
}

// within returns element i of a group.
func (o *order) within(g *orderGroup, i int64) ([]byte, error) {
	parts, err := o.partsOf(g)
	if err != nil {
		return nil, err
	}
	first := g.first
	for _, p := range parts {
		if first = p.first; i < p.count {
			break
		}
		i -= p.count
	}
	return o.walk(first, i)
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
		err = o.corrupt("too many")
	}
	return found, err
}
