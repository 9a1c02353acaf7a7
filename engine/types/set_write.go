package types

import (
	"encoding/binary"
	"slices"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
)

const (
	// maxSetInts is how many members Redis puts into an intset at most.
	maxSetInts = 1 << 30
	// longestInt is the length of the longest integer as a member.
	longestInt = 20
)

// newSet returns a set without members. It takes the place of what k holds when it is stored.
func newSet(t *engine.Txn, k engine.Key, form setForm) *Set {
	return &Set{txn: t, key: k, form: form}
}

// Add adds members and returns how many of them are new.
func (s *Set) Add(members [][]byte) (added int64, err error) {
	s.expect(members)
	for _, m := range members {
		has, err := s.Has(m)
		if err != nil {
			return 0, err
		}
		if has {
			continue
		}
		if err := s.insert(m); err != nil {
			return 0, err
		}
		added++
	}
	if added == 0 {
		return 0, nil
	}
	return added, s.store()
}

// expect chooses the form for so many members, as Redis does before it looks at any but the first.
func (s *Set) expect(members [][]byte) {
	p, n := s.txn.Packing(), len(members)
	if !s.found {
		s.form = setList
		if _, isInt := ParseInt(members[0]); isInt && n <= p.SetInts {
			s.form = setInts
		}
		if s.form == setInts {
			return
		}
	}
	if s.form == setList && n > p.SetEntries || s.form == setInts && n > p.SetInts {
		s.form = setTable
	}
}

// insert adds a member that the set lacks. What it writes counts once the set is stored.
func (s *Set) insert(member []byte) error {
	p := s.txn.Packing()
	v, isInt := ParseInt(member)
	longest, err := s.longest(p)
	if err != nil {
		return err
	}
	form := s.form.grown(p, s.Len(), member, isInt, longest, s.loose)
	if !s.spread() && !s.pack(p, form, member, v) {
		if err := s.spreadOut(); err != nil {
			return err
		}
	}
	s.form = form
	s.rec.Count++
	if s.spread() {
		return s.putSub(member)
	}
	return nil
}

// grown is the form that a set of n members takes with another one (Redis: setTypeAddAux). longest is the length of its longest member, if these are
// integers. A loose set becomes a list also where it has too many integers for an intset: Redis collects what SINTERSTORE finds in a list, and makes
// an intset of it in the end.
func (f setForm) grown(p *engine.Packing, n int64, member []byte, isInt bool, longest int, loose bool) setForm {
	list := n < int64(p.SetEntries) && len(member) <= p.SetValue
	switch {
	case f == setInts && isInt && n < int64(min(p.SetInts, maxSetInts)):
		return setInts
	case f == setInts && list && longest <= p.SetValue && (loose || !isInt), f == setList && list:
		return setList
	}
	return setTable
}

// longest is the length of the longest integer, which is asked for only where a list might not take it.
func (s *Set) longest(p *engine.Packing) (longest int, err error) {
	if s.form != setInts || p.SetValue >= longestInt || s.Len() >= int64(p.SetEntries) {
		return 0, nil
	}
	err = s.Each(func(member []byte) bool {
		longest = max(longest, len(member))
		return true
	})
	return longest, err
}

// pack adds a member, of value v if it is an integer, to a packed set, unless it has to be spread.
func (s *Set) pack(p *engine.Packing, form setForm, member []byte, v int64) bool {
	if form == setTable {
		return false
	}
	packed := s.packed
	if form == setInts {
		w := intWidth(v)
		if len(packed) > 0 {
			w = max(w, packed.width())
		}
		if (packed.len()+1)*w > p.Bytes {
			return false
		}
		s.own()
		s.packed = s.packed.addInt(v)
		return true
	}
	if len(packed) == 0 || !packed.isList() {
		packed = packed.toList()
	}
	if packed = appendEntry(packed, member); len(packed)-1 > p.Bytes {
		return false
	}
	s.packed, s.owned = packed, true
	return true
}

// own makes packed a copy that may be changed.
func (s *Set) own() {
	if !s.owned {
		s.packed, s.owned = slices.Clone(s.packed), true
	}
}

// spreadOut moves the members of a packed set into sub-keys.
func (s *Set) spreadOut() error {
	id, err := s.txn.NewID(s.key.Slot)
	if err != nil {
		return err
	}
	packed := s.packed
	s.rec.Encoding, s.rec.ID, s.packed = keys.EncodingSpread, id, nil
	packed.each(func(member []byte) bool {
		err = s.putSub(member)
		return err == nil
	})
	return err
}

func (s *Set) putSub(member []byte) error {
	sub := s.subKey(member)
	s.rec.Bytes += keys.SubBytes(sub, nil)
	return s.txn.PutSub(s.key.Slot, s.rec.ID, sub, nil)
}

func (s *Set) deleteSub(sub []byte) error {
	s.rec.Bytes -= keys.SubBytes(sub, nil)
	s.removed++
	return s.txn.DeleteSub(s.key.Slot, s.rec.ID, sub)
}

// store writes the meta record, or deletes it when there are no members.
func (s *Set) store() error {
	s.found = s.rec.Count > 0
	if !s.found {
		_, err := s.txn.Delete(s.key)
		return err
	}
	s.rec.Type = keys.TypeSet
	if !s.spread() {
		return s.txn.Put(s.key, s.rec.Header, s.packed)
	}
	return s.txn.Put(s.key, s.rec.Header, s.state())
}

func (s *Set) state() []byte {
	state := []byte{byte(s.form)}
	if s.removed == 0 {
		return state
	}
	state = binary.AppendUvarint(state, s.removed)
	state = binary.BigEndian.AppendUint32(state, s.position)
	return append(state, s.hand...)
}

// Remove removes members and returns how many of them there were.
func (s *Set) Remove(members [][]byte) (removed int64, err error) {
	for _, m := range members {
		ok, err := s.remove(m)
		if err != nil {
			return 0, err
		}
		if ok {
			removed++
		}
	}
	if removed == 0 {
		return 0, nil
	}
	return removed, s.storeRest()
}

// remove takes a member out and says whether there was one.
func (s *Set) remove(member []byte) (bool, error) {
	if !s.spread() {
		if !s.packed.has(member) {
			return false, nil
		}
		s.own()
		s.packed = s.packed.cut(member)
		s.rec.Count--
		return true, nil
	}
	if s.inHand > 0 {
		if at := entryIndex(s.hand, member); at >= 0 {
			s.cutHand(at, entryLen(len(member)))
			return true, nil
		}
	}
	sub := s.subKey(member)
	_, ok, err := s.txn.GetSub(s.key.Slot, s.rec.ID, sub)
	if !ok || err != nil {
		return false, err
	}
	s.rec.Count--
	return true, s.deleteSub(sub)
}

// cutHand takes a member out of the hand, and so out of the set.
func (s *Set) cutHand(at, size int) {
	s.hand = slices.Concat(s.hand[:at], s.hand[at+size:])
	s.inHand--
	s.rec.Count--
}

// A set that has lost this many members under its id, so many and so many for each that is left, gets a fresh one if it isn't too large:
// to find the next member among the deleted ones would take longer and longer.
const (
	renewAfter  = 256
	renewRatio  = 64
	renewLimits = 4096
)

// storeRest stores the set after members were removed.
func (s *Set) storeRest() error {
	if n := s.rec.Count; s.spread() && n > 0 && n <= renewLimits && s.removed >= renewAfter+renewRatio*n {
		return s.renew()
	}
	return s.store()
}

// renew moves the members of a spread set to a fresh id. The old one is reclaimed in the background.
func (s *Set) renew() error {
	fresh := newSet(s.txn, s.key, s.form)
	fresh.rec.ExpireAt = s.rec.ExpireAt
	if err := fresh.spreadOut(); err != nil {
		return err
	}
	r := s.reader(readerBatch)
	for {
		sub, ok, err := r.next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if err := fresh.putSub(sub[setHashLen:]); err != nil {
			return err
		}
		fresh.rec.Count++
	}
	*s = *fresh
	return s.store()
}
