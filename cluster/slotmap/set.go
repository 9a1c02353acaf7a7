package slotmap

import (
	"math/bits"
	"strconv"
	"strings"
)

// Range is the slots First to Last, both included.
type Range struct{ First, Last uint16 }

// Len is the number of slots in the range.
func (r Range) Len() int { return int(r.Last) - int(r.First) + 1 }

// String is "n" or "a-b", as CLUSTER NODES prints it.
func (r Range) String() string {
	if r.First == r.Last {
		return strconv.Itoa(int(r.First))
	}
	return strconv.Itoa(int(r.First)) + "-" + strconv.Itoa(int(r.Last))
}

// ParseRange reads what String writes.
func ParseRange(s string) (Range, bool) {
	first, last, pair := strings.Cut(s, "-")
	if !pair {
		last = first
	}
	a, errA := strconv.ParseUint(first, 10, 16)
	b, errB := strconv.ParseUint(last, 10, 16)
	if errA != nil || errB != nil || a > b || b >= Slots {
		return Range{}, false
	}
	return Range{uint16(a), uint16(b)}, true
}

// Set is a set of slots; the zero value is empty.
type Set [Slots / 64]uint64

// Has says whether the slot is in the set.
func (s *Set) Has(slot uint16) bool { return s[slot/64]&(1<<(slot%64)) != 0 }

// Add puts the slot into the set.
func (s *Set) Add(slot uint16) { s[slot/64] |= 1 << (slot % 64) }

// Del takes the slot out of the set.
func (s *Set) Del(slot uint16) { s[slot/64] &^= 1 << (slot % 64) }

// AddRange puts the slots of r into the set.
func (s *Set) AddRange(r Range) {
	for slot := int(r.First); slot <= int(r.Last); slot++ {
		s.Add(uint16(slot))
	}
}

// Len is the number of slots in the set.
func (s *Set) Len() int {
	n := 0
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

// Ranges are the slots of the set in ascending order, in the fewest ranges.
func (s *Set) Ranges() []Range {
	var out []Range
	for slot := 0; slot < Slots; slot++ {
		if s[slot/64]>>(slot%64) == 0 { // nothing more in this word
			slot |= 63
			continue
		}
		if !s.Has(uint16(slot)) {
			continue
		}
		first := slot
		for slot+1 < Slots && s.Has(uint16(slot+1)) {
			slot++
		}
		out = append(out, Range{uint16(first), uint16(slot)})
	}
	return out
}

// SetOf is the union of ranges.
func SetOf(ranges []Range) *Set {
	s := new(Set)
	for _, r := range ranges {
		s.AddRange(r)
	}
	return s
}
