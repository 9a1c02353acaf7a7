package types

import (
	"cmp"
	"encoding/binary"
	"math/rand/v2"
	"slices"

	"github.com/cairndb/cairn/engine"
)

const (
	// The hand holds so many members at most, and so many bytes and a last member.
	handMembers = 16
	handBytes   = 256
	// popRest: SPOP of five times what it leaves, or more, writes the rest anew (Redis: SPOP_MOVE_STRATEGY_MUL).
	popRest = 5
	// A random member is one of so many from a random hash on, since the distances between hashes differ.
	randomOf = 16
	// randomSpan is how many members are expected between the hashes that are looked at for one.
	randomSpan = 64
	// seekCost is how many members can be walked in the time that it takes to find one at random.
	seekCost  = 32
	allHashes = uint64(1) << 32
)

// Pop removes n members at random, all if there are no more, and calls emit for each.
func (s *Set) Pop(n int64, emit func(member []byte)) error {
	rest := s.Len() - n
	switch {
	case rest <= 0:
		err := s.Each(func(member []byte) bool {
			emit(member)
			return true
		})
		if err != nil {
			return err
		}
		s.rec.Count = 0
		return s.store()
	case !s.spread():
		s.packed = s.packed.split(int(n), emit)
		s.rec.Count = uint64(rest)
		return s.store()
	case rest <= n/popRest:
		return s.popMost(rest, emit)
	}
	if err := s.popSome(n, emit); err != nil {
		return err
	}
	return s.storeRest()
}

// popMost pops all but `rest` members of a spread set, which are written anew, packed if they may be.
func (s *Set) popMost(rest int64, emit func(member []byte)) error {
	form := setList
	if s.form == setInts {
		form = setInts
	}
	fresh := newSet(s.txn, s.key, form)
	fresh.rec.ExpireAt = s.rec.ExpireAt
	first := rand.Int64N(s.Len()) // of those that stay; behind the last one comes the first
	r := s.reader(readerBatch)
	for i := int64(0); ; i++ {
		sub, ok, err := r.next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		member := sub[setHashLen:]
		if (i-first+s.Len())%s.Len() >= rest {
			emit(member)
		} else if err := fresh.insert(member); err != nil {
			return err
		}
	}
	*s = *fresh
	return s.store()
}

// popSome pops n members of a spread set, which has more.
func (s *Set) popSome(n int64, emit func(member []byte)) error {
	for n > 0 {
		if s.inHand == 0 {
			members, size := handMembers, handBytes
			if n > handMembers {
				members, size = int(min(n, readerBatch)), readerBatch
			}
			var err error
			if s.hand, s.inHand, err = s.draw(members, size); err != nil {
				return err
			}
		}
		if n >= int64(s.inHand) {
			n -= int64(s.inHand)
			s.rec.Count -= uint64(s.inHand)
			eachEntry(s.hand, emit)
			s.hand, s.inHand = nil, 0
			continue
		}
		at, member := pickEntry(s.hand, rand.IntN(s.inHand))
		emit(member)
		s.cutHand(at, entryLen(len(member)))
		n--
	}
	return nil
}

// eachEntry calls fn for the entries of p, which are whole.
func eachEntry(p []byte, fn func(entry []byte)) {
	for len(p) > 0 {
		var e []byte
		e, p, _ = takeEntry(p)
		fn(e)
	}
}

// pickEntry returns entry number i of p, and where it begins.
func pickEntry(p []byte, i int) (at int, entry []byte) {
	rest := p
	for ; i > 0; i-- {
		_, rest, _ = takeEntry(rest)
	}
	entry, _, _ = takeEntry(rest)
	return len(p) - len(rest), entry
}

// draw takes the next members, as far as a count and a size go but at least one, out of the sub-keys, and returns them as entries. They still count
// as members.
func (s *Set) draw(members, size int) (drawn []byte, n int, err error) {
	if s.position == 0 {
		s.position = rand.Uint32()
	}
	var subs [][]byte
	take := func(sub, _ []byte) bool {
		if len(sub) < setHashLen {
			return false
		}
		subs = append(subs, slices.Clone(sub))
		drawn = appendEntry(drawn, sub[setHashLen:])
		return len(subs) < members && len(drawn) < size
	}
	err = s.txn.ScanSub(s.key.Slot, s.rec.ID, hashKeyOf(s.position), take)
	if err == nil && len(subs) == 0 {
		err = s.txn.ScanSub(s.key.Slot, s.rec.ID, nil, take)
	}
	if err == nil && (len(subs) == 0 || uint64(len(subs)) > s.rec.Count) {
		err = errSet
	}
	if err != nil {
		return nil, 0, err
	}
	for _, sub := range subs {
		if err := s.deleteSub(sub); err != nil {
			return nil, 0, err
		}
	}
	s.position = binary.BigEndian.Uint32(subs[len(subs)-1])
	return drawn, len(subs), nil
}

// hashKeyOf is the least sub-key of a hash.
func hashKeyOf(hash uint32) []byte { return binary.BigEndian.AppendUint32(nil, hash) }

// Random returns a member at random, of a set that is not empty.
func (s *Set) Random() ([]byte, error) {
	if !s.spread() {
		return s.packed.at(rand.IntN(int(s.Len()))), nil
	}
	subs := s.rec.Count - uint64(s.inHand)
	if rand.Uint64N(s.rec.Count) >= subs {
		_, member := pickEntry(s.hand, rand.IntN(s.inHand))
		return member, nil
	}
	span := allHashes
	if subs > randomSpan {
		span = allHashes / subs * randomSpan
	}
	// Where nothing is found between a hash and the position SPOP was at work: the next try is in what lies before.
	for arc := allHashes; arc > 0; {
		offset := rand.Uint64N(arc)
		if arc < span/randomSpan { // a few hashes are left, or nothing is stored
			offset = 0
		}
		member, err := s.randomFrom(offset, span)
		if member != nil || err != nil {
			return member, err
		}
		arc = offset
	}
	return nil, errSet
}

// randomFrom returns one of the first members that are so far behind the position, within so many hashes; nil if there are none before the position
// comes round again.
func (s *Set) randomFrom(offset, span uint64) (member []byte, err error) {
	n := 0
	take := func(sub, _ []byte) bool {
		if len(sub) < setHashLen {
			return false
		}
		if n++; rand.IntN(n) == 0 {
			member = append(make([]byte, 0, len(sub)), sub[setHashLen:]...)
		}
		return n < randomOf
	}
	length := min(span, allHashes-offset)
	if offset == 0 {
		length = allHashes
	}
	err = s.walkHashes(uint32(uint64(s.position)+offset), length, take)
	if err == nil && n > 0 && n < randomOf {
		err = s.walkHashes(s.position, min(span, offset), take)
	}
	return member, err
}

// walkHashes calls fn for the sub-keys with so many hashes from one on; behind the greatest comes 0.
func (s *Set) walkHashes(from uint32, n uint64, fn func(sub, value []byte) bool) error {
	goOn := true
	walk := func(from, to uint64) error {
		r := engine.SubRange{From: hashKeyOf(uint32(from))}
		if to < allHashes {
			r.To = hashKeyOf(uint32(to))
		}
		return s.txn.WalkSub(s.key.Slot, s.rec.ID, r, false, func(sub, value []byte) bool {
			goOn = fn(sub, value)
			return goOn
		})
	}
	end := uint64(from) + n
	err := walk(uint64(from), min(end, allHashes))
	if err == nil && goOn && end > allHashes {
		err = walk(0, end-allHashes)
	}
	return err
}

// Sample calls emit for n different members at random, of a set that has more, until it returns false.
func (s *Set) Sample(n int64, emit func(member []byte) bool) error {
	if s.spread() && n < s.Len()/seekCost {
		return s.sampleBySeeks(n, emit)
	}
	left := s.Len()
	return s.Each(func(member []byte) bool {
		if left > 0 && rand.Int64N(left) < n {
			n--
			if !emit(member) {
				return false
			}
		}
		left--
		return n > 0
	})
}

func (s *Set) sampleBySeeks(n int64, emit func(member []byte) bool) error {
	seen := make(map[string]struct{}, n)
	for int64(len(seen)) < n {
		member, err := s.Random()
		if err != nil {
			return err
		}
		if _, ok := seen[string(member)]; ok {
			continue
		}
		seen[string(member)] = struct{}{}
		if !emit(member) {
			return nil
		}
	}
	return nil
}

// SampleRepeated calls emit for n members at random, each any of the set, until it returns false.
func (s *Set) SampleRepeated(n int64, emit func(member []byte) bool) error {
	if s.spread() && n < s.Len()/seekCost {
		for ; n > 0; n-- {
			member, err := s.Random()
			if err != nil || !emit(member) {
				return err
			}
		}
		return nil
	}
	for n > 0 {
		batch, err := s.pick(min(n, max(s.Len(), handMembers)))
		if err != nil {
			return err
		}
		for _, member := range batch {
			if !emit(member) {
				return nil
			}
		}
		n -= int64(len(batch))
	}
	return nil
}

// pick returns n members, each any of the set, in one walk.
func (s *Set) pick(n int64) ([][]byte, error) {
	type place struct{ rank, at int64 }
	places := make([]place, n)
	for i := range places {
		places[i] = place{rand.Int64N(s.Len()), int64(i)}
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Compare(a.rank, b.rank) })
	picked := make([][]byte, n)
	rank := int64(0)
	err := s.Each(func(member []byte) bool {
		if places[0].rank == rank {
			member = append(make([]byte, 0, len(member)), member...)
		}
		for len(places) > 0 && places[0].rank == rank {
			picked[places[0].at] = member
			places = places[1:]
		}
		rank++
		return len(places) > 0
	})
	if err == nil && len(places) > 0 {
		err = errSet
	}
	return picked, err
}
