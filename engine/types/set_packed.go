package types

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strconv"
)

// intsOrList is a packed set as it is stored: its form, then its members.
type intsOrList []byte

// packedList is the form of a packed list; integers have their width for it.
const packedList = byte(setList)

func decodePackedSet(v []byte) (setForm, intsOrList, error) {
	if len(v) < 2 {
		return 0, nil, errSet
	}
	switch w := int(v[0]); w {
	case int(packedList):
		_, err := countEntries(v[1:])
		return setList, v, err
	case 2, 4, 8:
		if (len(v)-1)%w == 0 {
			return setInts, v, nil
		}
	}
	return 0, nil, errSet
}

func (p intsOrList) isList() bool { return p[0] == packedList }
func (p intsOrList) width() int   { return int(p[0]) }

func (p intsOrList) len() int {
	switch {
	case len(p) == 0:
		return 0
	case p.isList():
		n, _ := countEntries(p[1:])
		return n
	}
	return (len(p) - 1) / p.width()
}

// int returns the integer number i.
func (p intsOrList) int(i int) int64 {
	w := p.width()
	b := p[1+i*w:]
	switch w {
	case 2:
		return int64(int16(binary.BigEndian.Uint16(b)))
	case 4:
		return int64(int32(binary.BigEndian.Uint32(b)))
	}
	return int64(binary.BigEndian.Uint64(b))
}

// at returns member number i.
func (p intsOrList) at(i int) []byte {
	if p.isList() {
		_, member := pickEntry(p[1:], i)
		return member
	}
	return strconv.AppendInt(nil, p.int(i), 10)
}

// search returns where v is or would be.
func (p intsOrList) search(v int64) (i int, ok bool) {
	lo, hi := 0, p.len()
	for lo < hi {
		if mid := int(uint(lo+hi) >> 1); p.int(mid) < v {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, lo < p.len() && p.int(lo) == v
}

func (p intsOrList) has(member []byte) bool {
	if len(p) == 0 {
		return false
	}
	if p.isList() {
		return entryIndex(p[1:], member) >= 0
	}
	v, ok := ParseInt(member)
	if ok {
		_, ok = p.search(v)
	}
	return ok
}

func (p intsOrList) each(fn func(member []byte) bool) {
	if len(p) == 0 {
		return
	}
	if p.isList() {
		for rest := []byte(p[1:]); len(rest) > 0; {
			var member []byte
			if member, rest, _ = takeEntry(rest); !fn(member) {
				return
			}
		}
		return
	}
	var digits [20]byte
	for i := range p.len() {
		if !fn(strconv.AppendInt(digits[:0], p.int(i), 10)) {
			return
		}
	}
}

// cut returns p, which may be changed, without a member, which it has.
func (p intsOrList) cut(member []byte) intsOrList {
	if p.isList() {
		at := 1 + entryIndex(p[1:], member)
		return slices.Delete(p, at, at+entryLen(len(member)))
	}
	v, _ := ParseInt(member)
	i, _ := p.search(v)
	w := p.width()
	return slices.Delete(p, 1+i*w, 1+(i+1)*w)
}

// addInt returns the integers p, which may be changed, with v, which they lack.
func (p intsOrList) addInt(v int64) intsOrList {
	if w := intWidth(v); len(p) == 0 || w > p.width() {
		p = p.widen(w)
	}
	i, _ := p.search(v)
	w := p.width()
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(v))
	return slices.Insert(p, 1+i*w, b[8-w:]...)
}

// widen returns the integers p with a width of w.
func (p intsOrList) widen(w int) intsOrList {
	wide := intsOrList{byte(w)}
	if len(p) == 0 {
		return wide
	}
	wide = slices.Grow(wide, (p.len()+1)*w)
	var b [8]byte
	for i := range p.len() {
		binary.BigEndian.PutUint64(b[:], uint64(p.int(i)))
		wide = append(wide, b[8-w:]...)
	}
	return wide
}

// intWidth is how many bytes v takes as a member of integers.
func intWidth(v int64) int {
	switch {
	case v == int64(int16(v)):
		return 2
	case v == int64(int32(v)):
		return 4
	}
	return 8
}

// toList returns the integers p as a list.
func (p intsOrList) toList() intsOrList {
	list := intsOrList{packedList}
	p.each(func(member []byte) bool {
		list = appendEntry(list, member)
		return true
	})
	return list
}

// split takes n members at random out of p, calls emit for them, and returns p without them.
func (p intsOrList) split(n int, emit func(member []byte)) intsOrList {
	rest, left := append(make(intsOrList, 0, len(p)), p[0]), p.len()
	at := 1
	p.each(func(member []byte) bool {
		size := entryLen(len(member))
		if !p.isList() {
			size = p.width()
		}
		if rand.IntN(left) < n {
			emit(member)
			n--
		} else {
			rest = append(rest, p[at:at+size]...)
		}
		at += size
		left--
		return true
	})
	return rest
}
