package types

import (
	"bytes"
	"math"
	"slices"
)

// Find calls fn with the index of each element that equals e, in the order of the list or, reverse, from its end, until fn returns
// false or most elements have been compared.
func (l *List) Find(e []byte, reverse bool, most int64, fn func(i int64) bool) error {
	n := min(most, l.Len())
	first, i, step := int64(0), int64(0), int64(1)
	if reverse {
		first, i, step = l.Len()-n, l.Len()-1, -1
	}
	return l.each(first, n, reverse, func(_ uint64, v []byte) bool {
		if bytes.Equal(v, e) && !fn(i) {
			return false
		}
		i += step
		return true
	})
}

// Insert puts e before or after the first element that equals pivot, and reports whether there was one.
func (l *List) Insert(pivot []byte, after bool, e []byte) (bool, error) {
	if !l.spread() {
		i := slices.IndexFunc(l.packed, func(v []byte) bool { return bytes.Equal(v, pivot) })
		if i < 0 {
			return false, nil
		}
		if err := l.grow(e); err != nil {
			return false, err
		}
		if !l.spread() {
			if after {
				i++
			}
			l.packed = slices.Insert(l.packed, i, e)
			return true, l.save()
		}
	}
	before, behind, found, err := l.gap(pivot, after)
	if err != nil || !found {
		return false, err
	}
	if err := l.grow(e); err != nil {
		return false, err
	}
	switch {
	case before == 0:
		err = l.push(Left, e)
	case behind == 0:
		err = l.push(Right, e)
	case behind-before < 2:
		err = l.insertCrowded(before, behind, e)
	default:
		at := before + (behind-before)/2
		l.inserted(at)
		err = l.put(at, e)
	}
	if err != nil {
		return false, err
	}
	return true, l.save()
}

// gap returns the positions of the elements on either side of where one is inserted, 0 for none.
func (l *List) gap(pivot []byte, after bool) (before, behind uint64, found bool, err error) {
	err = l.walk(l.head, l.tail, false, func(at uint64, v []byte) bool {
		if found { // and after
			behind = at
			return false
		}
		if found = bytes.Equal(v, pivot); !found {
			before = at
			return true
		}
		if after {
			before = at
		} else {
			behind = at
		}
		return after
	})
	return before, behind, found, err
}

// listElement is an element at its position.
type listElement struct {
	at uint64
	e  []byte
}

// insertCrowded inserts e between two elements that are side by side: as many around them as needed move apart. The more there are the more
// room each must get, so that the next insertions find some.
func (l *List) insertCrowded(before, behind uint64, e []byte) error {
	room := uint64(8)
	for n := 8; ; n *= 2 {
		left, err := l.neighbours(before, n+1, true)
		if err != nil {
			return err
		}
		right, err := l.neighbours(behind, n+1, false)
		if err != nil {
			return err
		}
		switch {
		case len(left) <= n:
			return l.repush(Left, e, left)
		case len(right) <= n:
			return l.repush(Right, e, right)
		}
		from, last := left[n].at, right[n].at
		left, right = left[:n], right[:n]
		slices.Reverse(left)
		crowd := slices.Concat(left, []listElement{{e: e}}, right)
		if gap := (last - from) / uint64(len(crowd)+1); gap >= room {
			return l.moveApart(crowd, from, gap)
		}
		room += room / 4
	}
}

// neighbours returns up to n elements from that at a position on, to the left or to the right.
func (l *List) neighbours(at uint64, n int, left bool) (found []listElement, err error) {
	from, last := at, l.tail
	if left {
		from, last = l.head, at
	}
	err = l.walk(from, last, left, func(at uint64, v []byte) bool {
		found = append(found, listElement{at, bytes.Clone(v)})
		return len(found) < n
	})
	return found, err
}

// repush takes the elements at an end away and pushes them again behind a new one.
func (l *List) repush(end End, e []byte, elements []listElement) error {
	var s listSpan
	for _, m := range elements {
		s.add(m.at, m.e)
	}
	if err := l.cut(end, &s); err != nil {
		return err
	}
	if err := l.push(end, e); err != nil {
		return err
	}
	for _, m := range elements {
		if err := l.push(end, m.e); err != nil {
			return err
		}
	}
	return nil
}

// moveApart puts elements, one of them new, at equal distances behind a position.
func (l *List) moveApart(elements []listElement, from, gap uint64) error {
	for _, m := range elements {
		if m.at == 0 {
			continue
		}
		l.removed(m.at)
		l.takeOut(m.e, 1)
		if err := l.deletePositions([]uint64{m.at}); err != nil {
			return err
		}
	}
	for i, m := range elements {
		at := from + uint64(i+1)*gap
		l.inserted(at)
		if err := l.put(at, m.e); err != nil {
			return err
		}
	}
	return nil
}

// takeOut takes n elements that are equal out of the sums.
func (l *List) takeOut(e []byte, n int64) {
	l.rec.Count -= uint64(n)
	l.rec.Bytes -= uint64(n) * elementBytes(e)
	l.listpack -= uint64(n) * listpackSize(e)
}

// Remove removes elements that equal e: the first n, or the last -n, or with 0 all. It returns how many there were.
func (l *List) Remove(n int64, e []byte) (removed int64, err error) {
	reverse, most := n < 0, n
	switch {
	case n == 0 || n == math.MinInt64:
		most = math.MaxInt64
	case n < 0:
		most = -n
	}
	if !l.spread() {
		removed = l.removePacked(reverse, most, e)
	} else if removed, err = l.removeSpread(reverse, most, e); err != nil {
		return 0, err
	}
	if removed == 0 {
		return 0, nil
	}
	return removed, l.saveShrunk()
}

func (l *List) removePacked(reverse bool, most int64, e []byte) (removed int64) {
	if reverse {
		slices.Reverse(l.packed)
		defer func() { slices.Reverse(l.packed) }()
	}
	l.packed = slices.DeleteFunc(l.packed, func(v []byte) bool {
		if removed < most && bytes.Equal(v, e) {
			removed++
			return true
		}
		return false
	})
	return removed
}

// listRun are removed elements between which none is left.
type listRun struct {
	n           int64
	at          []uint64 // of up to rangeDelete
	first, last uint64   // in the order of the walk
}

func (r *listRun) add(at uint64) {
	if r.n == 0 {
		r.first = at
	}
	if r.n++; r.n <= rangeDelete {
		r.at = append(r.at, at)
	}
	r.last = at
}

func (l *List) removeSpread(reverse bool, most int64, e []byte) (removed int64, err error) {
	var runs []listRun
	var first, kept uint64 // the first element that stays, and the last one that was met
	open := false
	err = l.walk(l.head, l.tail, reverse, func(at uint64, v []byte) bool {
		if removed == most || !bytes.Equal(v, e) {
			if first == 0 {
				first = at
			}
			kept, open = at, false
			return removed < most
		}
		if !open {
			runs, open = append(runs, listRun{}), true
		}
		runs[len(runs)-1].add(at)
		l.removed(at)
		removed++
		return true
	})
	switch {
	case err != nil || removed == 0:
		return 0, err
	case removed == l.Len():
		l.rec.Count = 0
		return removed, nil
	}
	for i := range runs {
		if err := l.deleteRun(&runs[i]); err != nil {
			return 0, err
		}
	}
	l.takeOut(e, removed)
	near, far := Left, Right
	if reverse {
		near, far = far, near
	}
	if err := l.leaveHoles(near, first); err != nil {
		return 0, err
	}
	if runs[len(runs)-1].last == l.end(far) {
		err = l.leaveHoles(far, kept)
	}
	return removed, err
}

func (l *List) deleteRun(r *listRun) error {
	if r.n < rangeDelete {
		return l.deletePositions(r.at)
	}
	return l.deleteRange(min(r.first, r.last), max(r.first, r.last))
}

// end is the position where the list ends at the left or at the right.
func (l *List) end(end End) uint64 {
	if end == Left {
		return l.head
	}
	return l.tail
}

// leaveHoles makes the list end at an element beyond which all have been removed.
func (l *List) leaveHoles(end End, to uint64) error {
	from := l.end(end)
	if from == to {
		return nil
	}
	if err := l.moveEnd(end, to, 0); err != nil {
		return err
	}
	if end == Left {
		l.head = to
		l.odd -= uint64(places(from, to-1))
	} else {
		l.tail = to
		l.odd -= uint64(places(to+1, from))
	}
	return nil
}
