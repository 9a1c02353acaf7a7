package types

import (
	"encoding/binary"
	"errors"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
)

// positionLen is the length of a position as a sub-key.
const positionLen = 8

func positionKey(buf *[positionLen]byte, at uint64) []byte {
	binary.BigEndian.PutUint64(buf[:], at)
	return buf[:]
}

// elementBytes is what an element adds to Header.Bytes.
func elementBytes(e []byte) uint64 {
	var sub [positionLen]byte
	return keys.SubBytes(sub[:], e)
}

// places returns how many multiples of listStep there are from one position to another, inclusive.
func places(from, last uint64) int64 { return int64(last/listStep) - int64((from-1)/listStep) }

// listSpan sums up elements that lie side by side.
type listSpan struct {
	n, off          int64 // off: not at multiples of listStep
	bytes, listpack uint64
}

func (s *listSpan) add(at uint64, e []byte) {
	s.n++
	if at%listStep != 0 {
		s.off++
	}
	s.bytes += elementBytes(e)
	s.listpack += listpackSize(e)
}

// odd is the number of odd places where the elements of the span are all there are from one position to another, inclusive.
func (s *listSpan) odd(from, last uint64) uint64 {
	return uint64(s.off + places(from, last) - (s.n - s.off))
}

// Each calls fn for n elements from the i-th on, which there are, in the order of the list or, reverse, from the last of them to the
// first, until fn returns false. An element is valid during the call only, in which the transaction must not write.
func (l *List) Each(i, n int64, reverse bool, fn func(e []byte) bool) error {
	return l.each(i, n, reverse, func(_ uint64, e []byte) bool { return fn(e) })
}

// Index returns the i-th element, which there is.
func (l *List) Index(i int64) (e []byte, err error) {
	err = l.each(i, 1, false, func(_ uint64, v []byte) bool { e = v; return true })
	return e, err
}

var (
	errListMissing  = errors.New("types: an element is missing")
	errListPosition = errors.New("types: a malformed position")
)

// each is Each with the positions of the elements, 0 in a packed list. A single element stays valid.
func (l *List) each(i, n int64, reverse bool, fn func(at uint64, e []byte) bool) error {
	switch {
	case n <= 0:
		return nil
	case !l.spread():
		return l.eachPacked(i, n, reverse, fn)
	case n == 1 || l.regular() && n <= pointReads && uint64(n)*(l.rec.Bytes/uint64(l.Len())) <= pointBytes:
		return l.eachPoint(i, n, reverse, fn)
	}
	from, last := l.head, l.tail
	var err error
	if !reverse {
		from, err = l.position(i)
	} else {
		last, err = l.position(i + n - 1)
	}
	if err != nil {
		return err
	}
	if l.regular() {
		from, last = l.head+uint64(i)*listStep, l.head+uint64(i+n-1)*listStep
	}
	stopped := false
	err = l.walk(from, last, reverse, func(at uint64, e []byte) bool {
		n--
		stopped = !fn(at, e)
		return !stopped && n > 0
	})
	if err == nil && n > 0 && !stopped {
		err = l.corrupt(errListMissing)
	}
	return err
}

func (l *List) eachPacked(i, n int64, reverse bool, fn func(at uint64, e []byte) bool) error {
	part := l.packed[i : i+n]
	for j := range part {
		if reverse {
			j = len(part) - 1 - j
		}
		if !fn(0, part[j]) {
			break
		}
	}
	return nil
}

func (l *List) eachPoint(i, n int64, reverse bool, fn func(at uint64, e []byte) bool) error {
	for j := range n {
		if reverse {
			j = n - 1 - j
		}
		at, err := l.position(i + j)
		if err != nil {
			return err
		}
		e, err := l.get(at)
		if err != nil || !fn(at, e) {
			return err
		}
	}
	return nil
}

// get returns the element at a position where there is one.
func (l *List) get(at uint64) ([]byte, error) {
	var sub [positionLen]byte
	e, found, err := l.txn.GetSub(l.key.Slot, l.rec.ID, positionKey(&sub, at))
	if err == nil && !found {
		err = l.corrupt(errListMissing)
	}
	return e, err
}

// walk calls fn for the elements from a position to another, inclusive, until fn returns false.
func (l *List) walk(from, last uint64, reverse bool, fn func(at uint64, e []byte) bool) error {
	var f, t [positionLen]byte
	bad := false
	r := engine.SubRange{From: positionKey(&f, from), To: positionKey(&t, last+1)}
	err := l.txn.WalkSub(l.key.Slot, l.rec.ID, r, reverse, func(sub, e []byte) bool {
		if bad = len(sub) != positionLen; bad {
			return false
		}
		return fn(binary.BigEndian.Uint64(sub), e)
	})
	if err == nil && bad {
		err = l.corrupt(errListPosition)
	}
	return err
}

// position returns where the i-th element of a spread list is.
func (l *List) position(i int64) (at uint64, err error) {
	switch {
	case l.regular():
		return l.head + uint64(i)*listStep, nil
	case i == 0:
		return l.head, nil
	case i == l.Len()-1:
		return l.tail, nil
	}
	return l.seek(i)
}

// skip returns the position of the element that comes i behind the first one in a part of the list.
func (l *List) skip(i int64, from, last uint64) (found uint64, err error) {
	err = l.walk(from, last, false, func(at uint64, _ []byte) bool {
		found = at
		i--
		return i >= 0
	})
	if err == nil && i >= 0 {
		err = l.corrupt(errListMissing)
	}
	return found, err
}

// Trim keeps the elements from (inclusive) to (exclusive), which there are, or none.
func (l *List) Trim(from, to int64) error {
	left, kept, right := from, to-from, l.Len()-to
	switch {
	case kept <= 0:
		l.found = false
		_, err := l.txn.Delete(l.key)
		return err
	case left == 0 && right == 0:
		return nil
	case !l.spread():
		l.packed = l.packed[from:to]
		return l.saveShrunk()
	}
	var err error
	if kept < left+right {
		err = l.keep(from, kept)
	} else {
		if err = l.drop(Left, left); err == nil {
			err = l.drop(Right, right)
		}
	}
	if err != nil {
		return err
	}
	return l.saveShrunk()
}

// keep cuts both ends without reading what goes: what stays is summed up.
func (l *List) keep(i, n int64) error {
	var s listSpan
	if err := l.each(i, n, false, func(at uint64, e []byte) bool { s.add(at, e); return true }); err != nil {
		return err
	}
	right := l.Len() - i - n
	if err := l.cutEnd(Left, i); err != nil {
		return err
	}
	if err := l.cutEnd(Right, right); err != nil {
		return err
	}
	l.rec.Bytes, l.listpack = s.bytes+l.indexBytes, s.listpack
	if !l.regular() {
		l.odd = s.odd(l.head, l.tail)
	}
	return nil
}

// drop cuts n elements, not all, from an end.
func (l *List) drop(end End, n int64) error {
	if n == 0 {
		return nil
	}
	i := int64(0)
	if end == Right {
		i = l.Len() - n
	}
	var s listSpan
	if err := l.each(i, n, false, func(at uint64, e []byte) bool { s.add(at, e); return true }); err != nil {
		return err
	}
	return l.cut(end, &s)
}

// cut takes elements, whose sums are s, from an end.
func (l *List) cut(end End, s *listSpan) error {
	switch {
	case s.n == l.Len():
		l.packed, l.rec.Count = nil, 0 // the record goes, and with it everything
		return nil
	case !l.spread():
		if end == Left {
			l.packed = l.packed[s.n:]
		} else {
			l.packed = l.packed[:int64(len(l.packed))-s.n]
		}
		return nil
	}
	head, tail := l.head, l.tail
	if err := l.cutEnd(end, s.n); err != nil {
		return err
	}
	l.rec.Bytes -= s.bytes
	l.listpack -= s.listpack
	switch {
	case l.regular():
	case end == Left:
		l.odd -= s.odd(head, l.head-1)
	default:
		l.odd -= s.odd(l.tail+1, tail)
	}
	return nil
}

// cutEnd deletes n elements, not all, at an end of a spread list, but leaves the sums to the caller.
func (l *List) cutEnd(end End, n int64) error {
	if n == 0 {
		return nil
	}
	i := n
	if end == Right {
		i = l.Len() - 1 - n
	}
	to, err := l.position(i)
	if err != nil {
		return err
	}
	from, last := l.head, to-1
	if end == Right {
		from, last = to+1, l.tail
	}
	if !l.regular() {
		if err := l.moveEnd(end, to, n); err != nil {
			return err
		}
		// What reads the index next must see it.
		if err := l.writeIndex(); err != nil {
			return err
		}
	}
	if err := l.deleteElements(end, from, last, n); err != nil {
		return err
	}
	if end == Left {
		l.head = to
	} else {
		l.tail = to
	}
	l.rec.Count -= uint64(n)
	return nil
}

// deleteElements deletes the n elements that there are from a position to another, inclusive.
func (l *List) deleteElements(end End, from, last uint64, n int64) error {
	if n >= rangeDelete {
		return l.deleteRange(from, last)
	}
	positions := make([]uint64, 0, pointReads)
	switch {
	case n == 1 && end == Left:
		positions = append(positions, from)
	case n == 1:
		positions = append(positions, last)
	case l.regular():
		for at := (from + listStep - 1) &^ (listStep - 1); at <= last; at += listStep {
			positions = append(positions, at)
		}
	default:
		err := l.walk(from, last, false, func(at uint64, _ []byte) bool {
			positions = append(positions, at)
			return true
		})
		if err != nil {
			return err
		}
	}
	return l.deletePositions(positions)
}

func (l *List) deletePositions(positions []uint64) error {
	var sub [positionLen]byte
	for _, at := range positions {
		if err := l.txn.DeleteSub(l.key.Slot, l.rec.ID, positionKey(&sub, at)); err != nil {
			return err
		}
	}
	return nil
}

func (l *List) deleteRange(from, last uint64) error {
	var f, t [positionLen]byte
	return l.txn.DeleteSubRange(l.key.Slot, l.rec.ID, engine.SubRange{From: positionKey(&f, from), To: positionKey(&t, last+1)})
}
