package types

import (
	"encoding/binary"
	"fmt"

	"github.com/cairndb/cairn/engine"
)

// verifyList looks at a packed list, and returns who looks at the elements of a spread one.
func verifyList(rec engine.Record) (engine.Verifier, error) {
	if rec.ID == 0 {
		_, err := unpackList(rec.Value)
		return nil, err
	}
	v := &listVerifier{count: int64(rec.Count), index: map[indexKey]int64{}}
	if err := v.decode(rec.Value, rec.Count); err != nil {
		return nil, err
	}
	for level := range v.sums {
		v.groups[level] = groupOf(uint8(level), v.head)
	}
	return v, nil
}

// listVerifier compares the elements of a list with its state and its index, whose entries come first.
type listVerifier struct {
	listState
	count      int64
	last       uint64
	span       listSpan
	index      map[indexKey]int64 // the entries whose groups have not been passed
	indexTaken uint64
	sums       [indexLevels]int64  // of the entries of a level
	groups     [indexLevels]uint64 // the groups of each level that the elements are in
	in         [indexLevels]int64  // the elements of these so far
}

func (v *listVerifier) Sub(sub, value []byte) error {
	switch len(sub) {
	case positionLen:
		return v.element(binary.BigEndian.Uint64(sub), value)
	case 1 + positionLen:
		return v.entry(indexKey{sub[0], binary.BigEndian.Uint64(sub[1:])}, value)
	}
	return fmt.Errorf("a sub-key of %d bytes", len(sub))
}

func (v *listVerifier) entry(k indexKey, value []byte) error {
	surplus, ok := decodeSurplus(value)
	if !ok || k.level >= indexLevels || groupOf(k.level, k.group) != k.group {
		return errListIndex
	}
	v.index[k] = surplus
	v.sums[k.level] += surplus
	v.indexTaken += entryBytes(surplus)
	return nil
}

func (v *listVerifier) element(at uint64, e []byte) error {
	if v.last == 0 && at != v.head {
		return fmt.Errorf("the first element is not where the list begins")
	}
	v.last = at
	v.span.add(at, e)
	for level := range uint8(indexLevels) {
		if group := groupOf(level, at); group != v.groups[level] {
			if err := v.endGroup(level); err != nil {
				return err
			}
			v.groups[level], v.in[level] = group, 0
		}
		v.in[level]++
	}
	return nil
}

// endGroup compares the elements of a group with its entry.
func (v *listVerifier) endGroup(level uint8) error {
	k := indexKey{level, v.groups[level]}
	if got, want := v.index[k], v.in[level]-v.placesIn(k); got != want {
		return fmt.Errorf("a group of level %d has %d elements more than places, its entry says %d", level, want, got)
	}
	delete(v.index, k)
	return nil
}

// placesIn is the number of places of a group between head and tail.
func (v *listVerifier) placesIn(k indexKey) int64 {
	return places(max(k.group, v.head), min(groupLast(k.level, k.group), v.tail))
}

func (v *listVerifier) End() error {
	if v.span.n != v.count || v.last != v.tail {
		return fmt.Errorf("%d elements, the record says %d", v.span.n, v.count)
	}
	if v.span.listpack != v.listpack || v.span.odd(v.head, v.tail) != v.odd || v.indexTaken != v.indexBytes {
		return fmt.Errorf("the sums of the elements are not what the record says")
	}
	for level := range uint8(indexLevels) {
		if err := v.endGroup(level); err != nil {
			return err
		}
		if surplus := v.count - places(v.head, v.tail); v.sums[level] != surplus {
			return fmt.Errorf("the entries of level %d sum up to %d, which should be %d", level, v.sums[level], surplus)
		}
	}
	for k, surplus := range v.index { // groups without an element
		if surplus != -v.placesIn(k) {
			return fmt.Errorf("an empty group of level %d has an entry that says %d", k.level, surplus)
		}
	}
	return nil
}
