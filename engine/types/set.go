package types

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
)

// How a set is stored:
//
//	packed, up to Packing's limits      header (EncodingInline), form(1), members
//	                                    form 2, 4, 8: integers of so many bytes, big endian, ascending
//	                                    form 1: entries (see packed.go), in the order in which they came
//	beyond, and from then on            header (EncodingSpread, ID, Count = members, Bytes), state
//	                                    sub-key hash(4) member → nothing
//	state                               form(1): 0 table, 1 list, 2 integers: what Redis would keep the set in
//	                                    [removed(uvarint) position(4) entries], once something was removed
//
// The entries of the state are the hand: members that SPOP has drawn, a few at once, and has not given out yet. They belong to the set (Count has
// them) but have no sub-key any more, so that most SPOPs touch the meta record alone. The next hand is drawn from the hash at position on, which is
// where the last one ended: popping never walks what it has deleted. A position of 0 says that nothing was drawn yet: the first one is anywhere.
// removed counts the sub-keys that were deleted under this id. When there are many for each that lives, the members move to a fresh id: see renew.

// setForm is what Redis would keep a set in, so what OBJECT ENCODING says, and what the set turns into when it grows. Stored: see above.
type setForm byte

const (
	setTable setForm = 0
	setList  setForm = 1
	setInts  setForm = 2
)

const setHashLen = 4

var errSet = fmt.Errorf("%w: a set", engine.ErrCorrupt)

// Set is the set at a key, present or not, as a transaction sees it.
type Set struct {
	txn   *engine.Txn
	key   engine.Key
	rec   engine.Record // Count holds for a packed set, too
	found bool
	form  setForm
	loose bool // see grown

	// Of a packed set; nil before the first member:
	packed intsOrList
	owned  bool // packed may be changed

	// Of a spread set:
	removed  uint64
	position uint32
	hand     []byte // entries
	inHand   int

	sub []byte // for subKey
}

// OpenSet returns the set at k; ErrWrongType if another type is there.
func OpenSet(t *engine.Txn, k engine.Key) (Set, error) {
	rec, found, err := read(t, k, keys.TypeSet)
	s := Set{txn: t, key: k, rec: rec, found: found}
	if found {
		err = s.decode()
	}
	return s, err
}

func (s *Set) decode() error {
	if s.rec.Encoding != keys.EncodingSpread {
		var err error
		s.form, s.packed, err = decodePackedSet(s.rec.Value)
		s.rec.Count = uint64(s.packed.len())
		return err
	}
	v := s.rec.Value
	if len(v) == 0 || setForm(v[0]) > setInts {
		return errSet
	}
	s.form, v = setForm(v[0]), v[1:]
	if len(v) == 0 {
		return nil
	}
	removed, n := binary.Uvarint(v)
	if n <= 0 || len(v) < n+setHashLen {
		return errSet
	}
	s.removed, s.position, s.hand = removed, binary.BigEndian.Uint32(v[n:]), v[n+setHashLen:]
	var err error
	s.inHand, err = countEntries(s.hand)
	if err == nil && uint64(s.inHand) > s.rec.Count {
		err = errSet
	}
	return err
}

// countEntries counts the entries of p, which must be whole.
func countEntries(p []byte) (n int, err error) {
	for len(p) > 0 && err == nil {
		_, p, err = takeEntry(p)
		n++
	}
	return n, err
}

// Exists says whether there is a set: an absent one reads as empty.
func (s *Set) Exists() bool { return s.found }

// Len is the number of members.
func (s *Set) Len() int64 { return int64(s.rec.Count) }

func (s *Set) spread() bool { return s.rec.Encoding == keys.EncodingSpread }

// sameKey says whether both are the set at one key.
func (s *Set) sameKey(other *Set) bool {
	return s.key.Slot == other.key.Slot && s.key.DB == other.key.DB && bytes.Equal(s.key.Name, other.key.Name)
}

// subKey returns the sub-key of a member; it is valid until the next call.
func (s *Set) subKey(member []byte) []byte {
	s.sub = appendSetSub(s.sub[:0], member)
	return s.sub
}

func appendSetSub(dst, member []byte) []byte {
	return append(binary.BigEndian.AppendUint32(dst, keys.Hash(member)), member...)
}

// Has says whether member is one of the set.
func (s *Set) Has(member []byte) (bool, error) {
	switch {
	case !s.spread():
		return s.packed.has(member), nil
	case s.inHand > 0 && entryIndex(s.hand, member) >= 0:
		return true, nil
	}
	_, ok, err := s.txn.GetSub(s.key.Slot, s.rec.ID, s.subKey(member))
	return ok, err
}

// entryIndex returns where in p, which is whole, the entry begins, or -1.
func entryIndex(p, entry []byte) int {
	for at := 0; at < len(p); {
		e, rest, err := takeEntry(p[at:])
		if err != nil {
			return -1
		}
		if bytes.Equal(e, entry) {
			return at
		}
		at = len(p) - len(rest)
	}
	return -1
}

// Each calls fn for the members until it returns false: those of a packed set in Redis's order, those of a spread one in the order of their hashes.
// A member is valid during the call only, in which the transaction must not write.
func (s *Set) Each(fn func(member []byte) bool) error {
	if !s.spread() {
		s.packed.each(fn)
		return nil
	}
	n, goOn := int64(0), true
	err := s.walk(nil, func(sub []byte) bool {
		n++
		goOn = fn(sub[setHashLen:])
		return goOn
	})
	if err == nil && (n > s.Len() || goOn && n < s.Len()) {
		err = errSet
	}
	return err
}

// Scan calls fn for the members from a cursor on, those of a spread set until there were count and a bucket has ended. It returns the next cursor,
// 0 at the end. See scanBuckets.
func (s *Set) Scan(cursor uint64, count int, fn func(member []byte) error) (next uint64, err error) {
	if !s.spread() {
		s.packed.each(func(member []byte) bool {
			err = fn(member)
			return err == nil
		})
		return 0, err
	}
	if cursor >= 1<<cursorBits {
		return 0, nil
	}
	const shift = 32 - cursorBits
	n, bucket := 0, cursor
	walked := s.walk(hashKeyOf(uint32(cursor<<shift)), func(sub []byte) bool {
		if at := uint64(binary.BigEndian.Uint32(sub) >> shift); at != bucket {
			if n >= count {
				next = at
				return false
			}
			bucket = at
		}
		n++
		err = fn(sub[setHashLen:])
		return err == nil
	})
	if err == nil {
		err = walked
	}
	return next, err
}

// walk calls fn for the sub-keys from `from` on, those that the hand's members had among them, until it returns false.
func (s *Set) walk(from []byte, fn func(sub []byte) bool) error {
	hand, goOn, bad := s.hand, true, false
	var buf []byte
	handUpTo := func(sub []byte) {
		for goOn && len(hand) > 0 {
			member, rest, _ := takeEntry(hand)
			buf = appendSetSub(buf[:0], member)
			if sub != nil && bytes.Compare(buf, sub) >= 0 {
				return
			}
			if bytes.Compare(buf, from) >= 0 {
				goOn = fn(buf)
			}
			hand = rest
		}
	}
	err := s.txn.ScanSub(s.key.Slot, s.rec.ID, from, func(sub, _ []byte) bool {
		if bad = len(sub) < setHashLen; bad {
			return false
		}
		handUpTo(sub)
		goOn = goOn && fn(sub)
		return goOn
	})
	if bad {
		return errSet
	}
	if err == nil {
		handUpTo(nil)
	}
	return err
}

// SetEncoding is what OBJECT ENCODING says about a set's record.
func SetEncoding(rec engine.Record) string {
	s := Set{rec: rec, found: true}
	if s.decode() != nil {
		return "unknown"
	}
	switch s.form {
	case setInts:
		return "intset"
	case setList:
		return "listpack"
	}
	return "hashtable"
}
