package types

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
)

// How a list is stored:
//
//	while it is small          header (EncodingInline), the elements packed
//	beyond, and from then on   header (EncodingSpread, ID, Count), state
//	                           sub-key position(8, big endian) → an element
//	                           sub-key level(1) group(8, big endian) → surplus(varint), see list_index.go
//
//	state: flags(1)            1 quicklist: what OBJECT ENCODING says; 2 irregular
//	       head(8, big endian) position of the first element
//	       listpack(uvarint)   bytes that the elements would take in a listpack
//	       if irregular: tail(8, big endian) odd(uvarint) index(uvarint)
//
// Positions lie in the upper half of what 8 bytes hold. Elements are pushed at multiples of listStep, one beside the other, so that in a list that
// was only pushed to, popped from, trimmed and set, the i-th element is at head + i*listStep: it is one read away. LINSERT puts an element in the
// middle between two, LREM leaves holes: then the list is irregular, with so many odd places (elements elsewhere than at multiples of
// listStep, and multiples of listStep between head and tail without an element), and an index tells how many elements there are
// in its parts; index is what that adds to Header.Bytes. When the last odd place has left it the list is regular again, without an index.
const (
	listStep   = 1 << 12
	listFirst  = 1 << 63       // the least position
	listLast   = 1<<64 - 1<<45 // the greatest one: the groups that it is in have an end
	listMiddle = 3 << 62       // where a list begins

	flagQuicklist = 1
	flagIrregular = 2
)

const (
	// pointReads is up to how many elements that lie side by side are read one by one: for more a walk costs less.
	pointReads = 6
	// pointBytes bounds what they take: what is walked can be sent while it is read.
	pointBytes = 1 << 20
	// rangeDelete is from how many elements on that lie side by side they are deleted as a range.
	rangeDelete = 256
)

// End is an end of a list.
type End uint8

// The ends of a list: its first element is the leftmost.
const (
	Left End = iota
	Right
)

// List is the list at a key, present or not, as a transaction sees it. Its elements are read only where they are asked for.
type List struct {
	txn   *engine.Txn
	key   engine.Key
	rec   engine.Record
	found bool

	packed [][]byte // the elements while the list is packed
	listState
	index listIndex
}

// listState is what a spread list keeps beside its header.
type listState struct {
	quick      bool   // Redis would call it a quicklist
	head, tail uint64 // positions of the first and the last element
	listpack   uint64 // bytes of the elements in a listpack
	odd        uint64 // odd places
	indexBytes uint64
}

var errListState = errors.New("types: malformed state of a list")

// OpenList returns the list at k; ErrWrongType if another type is there.
func OpenList(t *engine.Txn, k engine.Key) (List, error) {
	rec, found, err := read(t, k, keys.TypeList)
	l := List{txn: t, key: k, rec: rec, found: found}
	switch {
	case !found:
		l.rec = engine.Record{Header: keys.Header{Type: keys.TypeList}}
		return l, err
	case l.spread():
		err = l.decode(rec.Value, rec.Count)
	default:
		l.packed, err = unpackList(rec.Value)
	}
	if err != nil {
		err = l.corrupt(err)
	}
	return l, err
}

func (l *List) corrupt(err error) error {
	return fmt.Errorf("%w: a list in slot %d: %w", engine.ErrCorrupt, l.key.Slot, err)
}

// Exists says whether there is a list: an absent one reads as empty.
func (l *List) Exists() bool { return l.found }

// ExpireAt is the expiry in unix milliseconds, 0 for none.
func (l *List) ExpireAt() int64 { return l.rec.ExpireAt }

// Len is the number of elements.
func (l *List) Len() int64 {
	if l.spread() {
		return int64(l.rec.Count)
	}
	return int64(len(l.packed))
}

func (l *List) spread() bool { return l.rec.Encoding == keys.EncodingSpread }

// regular says that the i-th element is at head + i*listStep.
func (s *listState) regular() bool { return s.odd == 0 }

func (s *listState) append(dst []byte) []byte {
	flags := byte(0)
	if s.quick {
		flags |= flagQuicklist
	}
	if !s.regular() {
		flags |= flagIrregular
	}
	dst = binary.BigEndian.AppendUint64(append(dst, flags), s.head)
	dst = binary.AppendUvarint(dst, s.listpack)
	if !s.regular() {
		dst = binary.BigEndian.AppendUint64(dst, s.tail)
		dst = binary.AppendUvarint(dst, s.odd)
		dst = binary.AppendUvarint(dst, s.indexBytes)
	}
	return dst
}

// decode reads the state of a list of count elements.
func (s *listState) decode(b []byte, count uint64) error {
	if len(b) < 9 || count == 0 || count > math.MaxInt64 {
		return errListState
	}
	flags, ok := b[0], true
	*s = listState{quick: flags&flagQuicklist != 0, head: binary.BigEndian.Uint64(b[1:])}
	b, ok = listUvarint(b[9:], &s.listpack, ok)
	if s.head < listFirst || s.head > listLast {
		return errListState
	}
	if flags&flagIrregular == 0 {
		s.tail = s.head + (count-1)*listStep
		ok = ok && s.head%listStep == 0 && count-1 <= (listLast-s.head)/listStep
	} else {
		if len(b) < 8 {
			return errListState
		}
		s.tail = binary.BigEndian.Uint64(b)
		b, ok = listUvarint(b[8:], &s.odd, ok)
		b, ok = listUvarint(b, &s.indexBytes, ok)
		ok = ok && s.odd > 0 && s.tail >= s.head && s.tail <= listLast && s.tail-s.head >= count-1 && (count > 1 || s.tail == s.head)
	}
	if !ok || len(b) > 0 || flags > flagQuicklist|flagIrregular {
		return errListState
	}
	return nil
}

func listUvarint(b []byte, v *uint64, ok bool) ([]byte, bool) {
	n := 0
	*v, n = binary.Uvarint(b)
	if !ok || n <= 0 {
		return nil, false
	}
	return b[n:], true
}

// save writes the list, or deletes it when it is empty.
func (l *List) save() error {
	if l.Len() == 0 {
		l.found = false
		_, err := l.txn.Delete(l.key)
		return err
	}
	l.found = true
	if !l.spread() {
		return l.txn.Put(l.key, l.rec.Header, packList(l.packed))
	}
	if err := l.writeIndex(); err != nil {
		return err
	}
	var buf [64]byte
	return l.txn.Put(l.key, l.rec.Header, l.append(buf[:0]))
}

// Push adds elements at an end one after the other: of those pushed at the left the last one is then the first of the list.
func (l *List) Push(end End, elements ...[]byte) error {
	if err := l.grow(elements...); err != nil {
		return err
	}
	for _, e := range elements {
		if err := l.push(end, e); err != nil {
			return err
		}
	}
	return l.save()
}

// grow makes room for elements: a packed list that would become too large is spread.
func (l *List) grow(elements ...[]byte) error {
	p := l.txn.Packing()
	if l.spread() {
		l.quick = l.quick || exceedsListpack(p, l.listpack, l.Len(), elements)
		return nil
	}
	size, listpack := 0, uint64(0)
	for _, e := range l.packed {
		size += entryLen(len(e))
		listpack += listpackSize(e)
	}
	for _, e := range elements {
		size += entryLen(len(e))
	}
	quick := exceedsListpack(p, listpack, l.Len(), elements)
	if !quick && size <= p.Bytes {
		return nil
	}
	return l.spreadOut(quick)
}

// spreadOut moves the elements of a packed list to sub-keys.
func (l *List) spreadOut(quick bool) error {
	id, err := l.txn.NewID(l.key.Slot)
	if err != nil {
		return err
	}
	elements := l.packed
	l.packed, l.listState = nil, listState{quick: quick}
	l.rec.Encoding, l.rec.ID, l.rec.Count, l.rec.Bytes = keys.EncodingSpread, id, 0, 0
	for _, e := range elements {
		if err := l.push(Right, e); err != nil {
			return err
		}
	}
	return nil
}

// push adds an element at an end without writing the record.
func (l *List) push(end End, e []byte) error {
	if !l.spread() {
		if end == Left {
			l.packed = slices.Insert(l.packed, 0, e)
		} else {
			l.packed = append(l.packed, e)
		}
		return nil
	}
	switch {
	case l.rec.Count == 0:
		l.head, l.tail = listMiddle, listMiddle
	case end == Left && l.head > listFirst:
		l.head = (l.head - 1) &^ (listStep - 1)
	case end == Right && l.tail < listLast:
		l.tail = l.tail&^(listStep-1) + listStep
	default:
		return ErrListFull
	}
	if end == Left {
		return l.put(l.head, e)
	}
	return l.put(l.tail, e)
}

// put writes a new element of a spread list.
func (l *List) put(at uint64, e []byte) error {
	l.rec.Count++
	l.rec.Bytes += elementBytes(e)
	l.listpack += listpackSize(e)
	var sub [positionLen]byte
	return l.txn.PutSub(l.key.Slot, l.rec.ID, positionKey(&sub, at), e)
}

// Set replaces the i-th element, which there is.
func (l *List) Set(i int64, e []byte) error {
	if err := l.grow(e); err != nil {
		return err
	}
	if !l.spread() {
		l.packed[i] = e
		return l.save()
	}
	at, err := l.position(i)
	if err != nil {
		return err
	}
	old, err := l.get(at)
	if err != nil {
		return err
	}
	l.rec.Count--
	l.rec.Bytes -= elementBytes(old)
	l.listpack -= listpackSize(old)
	if err := l.put(at, e); err != nil {
		return err
	}
	return l.saveShrunk()
}

// Pop removes n elements from an end, at most all of them, and calls fn for each in the order in which they leave. An element is valid during the
// call only, in which the transaction must not write.
func (l *List) Pop(end End, n int64, fn func(e []byte)) error {
	if n = min(n, l.Len()); n == 0 {
		return nil
	}
	if err := l.pop(end, n, fn); err != nil {
		return err
	}
	return l.saveShrunk()
}

// PopOne removes the element at an end of a list that exists, and returns it.
func (l *List) PopOne(end End) (e []byte, err error) {
	l.lookAhead(end)
	if e, err = l.popOne(end); err != nil {
		return nil, err
	}
	return e, l.saveShrunk()
}

// lookAhead has the processor fetch what the next pops will look up: those of a burst wait less for memory then.
func (l *List) lookAhead(end End) {
	const soon, later = 6, 12
	if !l.spread() || !l.regular() || l.rec.Count <= later {
		return
	}
	at, step := l.head, uint64(listStep)
	if end == Right {
		at, step = l.tail, -step
	}
	var first, second [positionLen]byte
	l.txn.PrefetchSub(l.key.Slot, l.rec.ID, positionKey(&first, at+soon*step), positionKey(&second, at+later*step))
}

// popOne is PopOne without writing the record.
func (l *List) popOne(end End) (popped []byte, err error) {
	err = l.pop(end, 1, func(e []byte) { popped = e }) // a single one is not walked to: it stays valid
	return popped, err
}

// pop is Pop without writing the record, for 1 to all elements.
func (l *List) pop(end End, n int64, fn func(e []byte)) error {
	first := int64(0)
	if end == Right {
		first = l.Len() - n
	}
	var s listSpan
	err := l.each(first, n, end == Right, func(at uint64, e []byte) bool {
		s.add(at, e)
		fn(e)
		return true
	})
	if err != nil {
		return err
	}
	return l.cut(end, &s)
}

// Move pops an element at one end of the list at from, pushes it at an end of the list at to, which may be the same, and returns it; found is false
// when there is no list at from.
func Move(t *engine.Txn, from, to engine.Key, popAt, pushAt End) (e []byte, found bool, err error) {
	source, err := OpenList(t, from)
	if err != nil || !source.found {
		return nil, false, err
	}
	if from.DB == to.DB && string(from.Name) == string(to.Name) {
		e, err = source.rotate(popAt, pushAt)
		return e, true, err
	}
	target, err := OpenList(t, to)
	if err != nil {
		return nil, false, err
	}
	if e, err = source.PopOne(popAt); err != nil {
		return nil, false, err
	}
	return e, true, target.Push(pushAt, e)
}

// rotate moves an element of the list from one of its ends to one.
func (l *List) rotate(popAt, pushAt End) (e []byte, err error) {
	if l.Len() == 1 { // which must not go in between: it has an expiry and an id
		err = l.each(0, 1, false, func(_ uint64, v []byte) bool { e = v; return true })
		if err != nil {
			return nil, err
		}
		return e, l.save()
	}
	if e, err = l.popOne(popAt); err != nil {
		return nil, err
	}
	if err := l.grow(e); err != nil {
		return nil, err
	}
	if err := l.push(pushAt, e); err != nil {
		return nil, err
	}
	return e, l.saveShrunk()
}
