package types

import (
	"cmp"
	"encoding/binary"
	"errors"
	"math"
	"slices"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
)

// The index of an irregular list says how many elements more, or fewer, than places (multiples of listStep) there are in each part of
// it: where it says nothing there are as many. So it takes room only where the list is irregular, pushing does not touch it, and a regular list
// needs none to begin with.
//
//	level(1) group(8, big endian) → surplus(varint), which is not 0
//
// A group of level 0 spans 256 places, one of each further level 256 groups of the level below. Of the groups that hold the head and the
// tail only the places between these two count; what lies beyond has no entry.
const (
	indexLevels = 3
	indexFanOut = 8 // in bits
)

// listIndex are the changes to the index that are not written yet.
type listIndex struct{ changes map[indexKey]int64 }

type indexKey struct {
	level uint8
	group uint64 // its first position
}

func (k indexKey) append(dst []byte) []byte {
	return binary.BigEndian.AppendUint64(append(dst, k.level), k.group)
}

func groupMask(level uint8) uint64 { return listStep<<(indexFanOut*(uint(level)+1)) - 1 }

// groupOf returns the first position of the group that a position is in, groupLast the last one.
func groupOf(level uint8, at uint64) uint64   { return at &^ groupMask(level) }
func groupLast(level uint8, at uint64) uint64 { return at | groupMask(level) }

func (l *List) addSurplus(level uint8, group uint64, n int64) {
	if n == 0 {
		return
	}
	if l.index.changes == nil {
		l.index.changes = map[indexKey]int64{}
	}
	l.index.changes[indexKey{level, group}] += n
}

// inserted and removed note an element that came or went between head and tail.
func (l *List) inserted(at uint64) { l.noteChange(at, 1) }
func (l *List) removed(at uint64)  { l.noteChange(at, -1) }

func (l *List) noteChange(at uint64, n int64) {
	if (at%listStep == 0) == (n > 0) {
		l.odd--
	} else {
		l.odd++
	}
	for level := range uint8(indexLevels) {
		l.addSurplus(level, groupOf(level, at), n)
	}
}

// moveEnd is told before n elements at an end go, so that the list ends at another element. For none the index knows already that
// they have gone.
func (l *List) moveEnd(end End, to uint64, n int64) error {
	if end == Left {
		return l.moveHead(to, n)
	}
	return l.moveTail(to, n)
}

func (l *List) moveHead(to uint64, n int64) error {
	gone := int64(0) // of those that go, how many are in the group that the list begins in from now on
	for level := range uint8(indexLevels) {
		group := groupOf(level, to)
		if groupOf(level, l.head) == group {
			l.addSurplus(level, group, places(l.head, to-1)-n)
			continue
		}
		if n > 1 { // a single one is in the group that the list has begun in
			first, _ := below(level, to)
			more, err := l.countIn(level, group, first-1)
			if err != nil {
				return err
			}
			gone += more
		}
		l.addSurplus(level, group, places(group, to-1)-gone)
	}
	for level := range uint8(indexLevels) {
		if err := l.clearIndex(level, groupOf(level, l.head), groupOf(level, to)-1); err != nil {
			return err
		}
	}
	return nil
}

// moveTail mirrors moveHead.
func (l *List) moveTail(to uint64, n int64) error {
	gone := int64(0)
	for level := range uint8(indexLevels) {
		group, end := groupOf(level, to), groupLast(level, to)
		if groupOf(level, l.tail) == group {
			l.addSurplus(level, group, places(to+1, l.tail)-n)
			continue
		}
		if n > 1 {
			_, last := below(level, to)
			more, err := l.countIn(level, last+1, end)
			if err != nil {
				return err
			}
			gone += more
		}
		l.addSurplus(level, group, places(to+1, end)-gone)
	}
	for level := range uint8(indexLevels) {
		if err := l.clearIndex(level, groupLast(level, to)+1, l.tail); err != nil {
			return err
		}
	}
	return nil
}

// below returns from where to where the group of the level below reaches that a position is in: at level 0 it is the position.
func below(level uint8, at uint64) (first, last uint64) {
	if level == 0 {
		return at, at
	}
	return groupOf(level-1, at), groupLast(level-1, at)
}

// countIn counts the elements from a position to another, inclusive, between which there are whole groups of the level below.
func (l *List) countIn(level uint8, from, last uint64) (n int64, err error) {
	if level == 0 {
		err = l.walk(from, last, false, func(uint64, []byte) bool {
			n++
			return true
		})
		return n, err
	}
	n = places(from, last)
	err = l.eachSurplus(level-1, from, last, func(_ uint64, surplus int64) bool {
		n += surplus
		return true
	})
	return n, err
}

// clearIndex deletes the entries of a level from a position to another, inclusive.
func (l *List) clearIndex(level uint8, from, last uint64) error {
	if from > last {
		return nil
	}
	for k := range l.index.changes {
		if k.level == level && k.group >= from && k.group <= last {
			delete(l.index.changes, k)
		}
	}
	var old []indexKey
	err := l.eachSurplus(level, from, last, func(group uint64, surplus int64) bool {
		old = append(old, indexKey{level, group})
		l.countEntry(surplus, -1)
		return true
	})
	if err != nil {
		return err
	}
	for _, k := range old {
		// One by one: GetSub, which writeIndex uses, may see what lies in a deleted range.
		if err := l.txn.DeleteSub(l.key.Slot, l.rec.ID, k.append(nil)); err != nil {
			return err
		}
	}
	return nil
}

// countEntry adds the size of an entry, so many times, to what the index takes.
func (l *List) countEntry(surplus, times int64) {
	size := uint64(times) * entryBytes(surplus)
	l.indexBytes += size
	l.rec.Bytes += size
}

// entryBytes is what an entry adds to Header.Bytes.
func entryBytes(surplus int64) uint64 {
	var sub [1 + positionLen]byte
	var value [binary.MaxVarintLen64]byte
	return keys.SubBytes(sub[:], value[:binary.PutVarint(value[:], surplus)])
}

var errListIndex = errors.New("types: a malformed entry in the index of a list")

// eachSurplus calls fn for the entries of a level from a position to another, inclusive, until fn returns false.
func (l *List) eachSurplus(level uint8, from, last uint64, fn func(group uint64, surplus int64) bool) error {
	if from > last {
		return nil
	}
	bad := false
	r := engine.SubRange{From: indexKey{level, from}.append(nil), To: indexKey{level, last + 1}.append(nil)}
	err := l.txn.WalkSub(l.key.Slot, l.rec.ID, r, false, func(sub, value []byte) bool {
		surplus, ok := decodeSurplus(value)
		if bad = !ok || len(sub) != 1+positionLen; bad {
			return false
		}
		group := binary.BigEndian.Uint64(sub[1:])
		if bad = groupOf(level, group) != group; bad {
			return false
		}
		return fn(group, surplus)
	})
	if err == nil && bad {
		err = l.corrupt(errListIndex)
	}
	return err
}

func decodeSurplus(value []byte) (int64, bool) {
	n, used := binary.Varint(value)
	return n, used == len(value) && used > 0 && n != 0 && n > -math.MaxInt32 && n < math.MaxInt32
}

// writeIndex writes the changes to the index.
func (l *List) writeIndex() error {
	changed := make([]indexKey, 0, len(l.index.changes))
	for k, n := range l.index.changes {
		if n != 0 {
			changed = append(changed, k)
		}
	}
	slices.SortFunc(changed, indexKey.compare)
	for _, k := range changed {
		if err := l.writeSurplus(k, l.index.changes[k]); err != nil {
			return err
		}
	}
	clear(l.index.changes)
	return nil
}

func (k indexKey) compare(other indexKey) int {
	return cmp.Or(cmp.Compare(k.level, other.level), cmp.Compare(k.group, other.group))
}

func (l *List) writeSurplus(k indexKey, change int64) error {
	sub := k.append(nil)
	value, found, err := l.txn.GetSub(l.key.Slot, l.rec.ID, sub)
	if err != nil {
		return err
	}
	if found {
		old, ok := decodeSurplus(value)
		if !ok {
			return l.corrupt(errListIndex)
		}
		l.countEntry(old, -1)
		change += old
	}
	if change == 0 {
		return l.txn.DeleteSub(l.key.Slot, l.rec.ID, sub)
	}
	l.countEntry(change, 1)
	return l.txn.PutSub(l.key.Slot, l.rec.ID, sub, binary.AppendVarint(nil, change))
}

// seek returns the position of the i-th element by the index.
func (l *List) seek(i int64) (uint64, error) {
	from, last := l.head, l.tail
	for level := indexLevels - 1; level >= 0; level-- {
		var err error
		if from, last, i, err = l.enter(uint8(level), from, last, i); err != nil {
			return 0, err
		}
	}
	return l.skip(i, from, last)
}

// enter finds the group of a level that holds the i-th element of a part of the list, and returns its part of that and where
// in it the element is.
func (l *List) enter(level uint8, from, last uint64, i int64) (first, end uint64, in int64, err error) {
	next, found := from, false // the elements before next have been passed
	err = l.eachSurplus(level, groupOf(level, from), last, func(group uint64, surplus int64) bool {
		first, end = max(group, from), min(groupLast(level, group), last)
		before := places(next, first-1)
		if i < before {
			return false
		}
		i -= before
		next = first
		n := places(first, end) + surplus
		if found = i < n; found {
			return false
		}
		i -= n
		next = end + 1
		return true
	})
	if err != nil || found {
		return first, end, i, err
	}
	// As many elements as places: those before the i-th place tell its group.
	if i < 0 || i >= places(next, last) {
		return 0, 0, 0, l.corrupt(errListMissing)
	}
	at := (next+listStep-1)&^(listStep-1) + uint64(i)*listStep
	first, end = max(groupOf(level, at), next), min(groupLast(level, at), last)
	return first, end, i - places(next, first-1), nil
}
