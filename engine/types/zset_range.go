package types

import (
	"bytes"
	"encoding/binary"
	"math"

	"github.com/cairndb/cairn/engine"
)

// A Span are the places from one (inclusive) to another (exclusive) of a sorted set; the zero Span has all.
type Span struct {
	from, to []byte // nil: from the beginning, to the end
}

// orderedScore maps scores to numbers in their order; -0 is 0.
func orderedScore(score float64) uint64 {
	if score == 0 {
		score = 0
	}
	b := math.Float64bits(score)
	if b>>63 != 0 {
		return ^b
	}
	return b | 1<<63
}

func isNegativeZero(score float64) bool { return score == 0 && math.Signbit(score) }

func appendOrdered(dst []byte, score float64) []byte {
	return binary.BigEndian.AppendUint64(dst, orderedScore(score))
}

func appendScore(dst []byte, score float64) []byte {
	return binary.BigEndian.AppendUint64(dst, math.Float64bits(score))
}

// decodePlace returns the element of a place, and of what stands behind it.
func decodePlace(place, value []byte) (e Scored, ok bool) {
	if len(place) < scoreLen || len(value) > 1 {
		return e, false
	}
	b := binary.BigEndian.Uint64(place)
	if b>>63 != 0 {
		b &^= 1 << 63
	} else {
		b = ^b
	}
	e = Scored{place[scoreLen:], math.Float64frombits(b)}
	if len(value) == 1 {
		ok = e.Score == 0
		e.Score = math.Copysign(e.Score, -1)
		return e, ok
	}
	return e, !math.IsNaN(e.Score)
}

// comparePlace compares an element with a place, which has a score at least.
func comparePlace(e Scored, place []byte) int {
	a, b := orderedScore(e.Score), binary.BigEndian.Uint64(place)
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return bytes.Compare(e.Member, place[scoreLen:])
}

// ScoreRange are the scores from Min to Max, each of them included unless its Ex is set.
type ScoreRange struct {
	Min, Max     float64
	MinEx, MaxEx bool
}

// ByScore is where the elements of a range of scores are.
func (z *ZSet) ByScore(r ScoreRange) Span {
	from, to := orderedScore(r.Min), orderedScore(r.Max)
	if r.MinEx {
		from++
	}
	if !r.MaxEx {
		to++
	}
	return Span{binary.BigEndian.AppendUint64(nil, from), binary.BigEndian.AppendUint64(nil, to)}
}

// LexBound is an end of a range of members.
type LexBound struct {
	Member   []byte
	Ex       bool // Member is not in the range
	Infinite int  // less (-1) or greater (1) than every member
}

// LexRange is a range of members.
type LexRange struct{ Min, Max LexBound }

// ByLex is where the elements of a range of members are. All elements of the set have one score; else what is found is not specified.
func (z *ZSet) ByLex(r LexRange) (Span, error) {
	var s Span
	err := z.Walk(Span{}, false, 0, 1, func(first Scored) bool {
		s = Span{lexPlace(first.Score, r.Min, r.Min.Ex), lexPlace(first.Score, r.Max, !r.Max.Ex)}
		return false
	})
	return s, err
}

// lexPlace is the place of a bound, or the one right behind it.
func lexPlace(score float64, b LexBound, behind bool) []byte {
	at := orderedScore(score)
	if b.Infinite > 0 {
		at++
	}
	place := binary.BigEndian.AppendUint64(nil, at)
	if b.Infinite == 0 {
		place = append(place, b.Member...)
		if behind {
			place = append(place, 0)
		}
	}
	return place
}

// walkSkip is how many elements are passed one by one rather than looked up by rank.
const walkSkip = 100

// Walk calls fn for the elements of a span in their order, or in the reverse one, until fn returns false, but not for the first skip ones and
// for no more than limit (negative: all). A Member is valid during the call only, in which the transaction must not write.
func (z *ZSet) Walk(s Span, reverse bool, skip, limit int64, fn func(Scored) bool) error {
	if limit == 0 || z.Len() == 0 || skip >= z.Len() {
		return nil
	}
	if !z.spread() {
		z.walkPacked(s, reverse, skip, limit, fn)
		return nil
	}
	if skip > walkSkip && z.flag(zsetOrdered) {
		found, err := z.jump(&s, reverse, skip)
		if err != nil || !found {
			return err
		}
		skip = 0
	}
	if err := z.loadEnds(); err != nil {
		return err
	}
	damaged := false
	err := z.walkSubs(z.ends.clamp(s), reverse, func(place, value []byte) bool {
		if skip > 0 {
			skip--
			return true
		}
		e, ok := decodePlace(place, value)
		if damaged = !ok; damaged || !fn(e) {
			return false
		}
		limit--
		return limit != 0
	})
	if err == nil && damaged {
		err = z.corrupt("a place")
	}
	return err
}

func (z *ZSet) walkPacked(s Span, reverse bool, skip, limit int64, fn func(Scored) bool) {
	var picked []Scored // only in reverse
	for rest := z.rec.Value; len(rest) > 0; {
		var e Scored
		e, rest, _ = takeScored(rest)
		switch {
		case s.from != nil && comparePlace(e, s.from) < 0:
			continue
		case s.to != nil && comparePlace(e, s.to) >= 0:
			rest = nil
		case reverse:
			picked = append(picked, e)
		case skip > 0:
			skip--
		default:
			if limit--; !fn(e) || limit == 0 {
				return
			}
		}
	}
	for i := int64(len(picked)) - 1 - skip; i >= 0 && limit != 0; i-- {
		if limit--; !fn(picked[i]) {
			return
		}
	}
}

// jump narrows a span by its first skip elements in the order of the walk, and reports whether any are left.
func (z *ZSet) jump(s *Span, reverse bool, skip int64) (bool, error) {
	if err := z.openOrder(); err != nil {
		return false, err
	}
	i, err := int64(0), error(nil)
	switch {
	case reverse && s.to == nil:
		i = z.Len()
	case reverse:
		i, err = z.rankOf(s.to)
	case s.from != nil:
		i, err = z.rankOf(s.from)
	}
	if reverse {
		i -= skip + 1
	} else {
		i += skip
	}
	if err != nil || i < 0 || i >= z.Len() {
		return false, err
	}
	place, err := z.order.at(i)
	if err != nil {
		return false, err
	}
	if reverse {
		s.to = append(place, 0)
	} else {
		s.from = place
	}
	return true, nil
}

// rankOf returns how many places of a spread set are less than one.
func (z *ZSet) rankOf(place []byte) (n int64, err error) {
	if z.flag(zsetOrdered) {
		if err := z.openOrder(); err != nil {
			return 0, err
		}
		return z.order.rank(place)
	}
	if err := z.loadEnds(); err != nil {
		return 0, err
	}
	err = z.walkSubs(z.ends.clamp(Span{to: place}), false, func(_, _ []byte) bool {
		n++
		return true
	})
	return n, err
}

// Count returns how many elements a span has.
func (z *ZSet) Count(s Span) (n int64, err error) {
	if !z.spread() {
		z.walkPacked(s, false, 0, -1, func(Scored) bool {
			n++
			return true
		})
		return n, nil
	}
	if s.from != nil && s.to != nil && bytes.Compare(s.from, s.to) >= 0 {
		return 0, nil
	}
	n = z.Len()
	if s.to != nil {
		if n, err = z.rankOf(s.to); err != nil {
			return 0, err
		}
	}
	if s.from != nil {
		before, err := z.rankOf(s.from)
		return n - before, err
	}
	return n, nil
}

// Rank returns how many elements come before a member, and its score.
func (z *ZSet) Rank(member []byte) (rank int64, score float64, found bool, err error) {
	if !z.spread() {
		for rest := z.rec.Value; len(rest) > 0; rank++ {
			var e Scored
			if e, rest, _ = takeScored(rest); bytes.Equal(e.Member, member) {
				return rank, e.Score, true, nil
			}
		}
		return 0, 0, false, nil
	}
	if score, found, err = z.Score(member); err != nil || !found {
		return 0, 0, false, err
	}
	rank, err = z.rankOf(placeKey(score, member)[1:])
	return rank, score, true, err
}

// zsetRangeFrom is from how many places on they are deleted as a range.
const zsetRangeFrom = 1024

// RemoveSpan takes the elements of a span out, but for the first skip ones, and no more than limit (negative: all). It saves the set and
// returns how many they were.
func (z *ZSet) RemoveSpan(s Span, skip, limit int64) (removed int64, err error) {
	var gone []Scored
	err = z.Walk(s, false, skip, limit, func(e Scored) bool {
		gone = append(gone, e.Clone())
		return true
	})
	if err == nil {
		err = z.removeRun(gone)
	}
	return int64(len(gone)), err
}

// Pop takes the n least or greatest elements out, or as many as there are, saves the set, and returns them from the outermost one on.
func (z *ZSet) Pop(greatest bool, n int64) (popped []Scored, err error) {
	if n <= 0 || z.Len() == 0 {
		return nil, nil
	}
	if z.spread() {
		if err := z.loadEnds(); err != nil {
			return nil, err
		}
		end := &z.ends[0]
		if greatest {
			end = &z.ends[1]
		}
		if int64(len(end.places)) >= n {
			for _, place := range end.places[:n] {
				e, ok := decodePlace(place, nil)
				if !ok {
					return nil, errZSetState
				}
				popped = append(popped, e)
			}
		}
	}
	if popped == nil {
		popped = make([]Scored, 0, min(n, z.Len()))
		err := z.Walk(Span{}, greatest, 0, n, func(e Scored) bool {
			popped = append(popped, e.Clone())
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	return popped, z.removeRun(popped)
}

// removeRun takes out elements between which there is no other one, in ascending or descending order, and saves the set.
func (z *ZSet) removeRun(run []Scored) error {
	if len(run) == 0 {
		return nil
	}
	z.dirty = true
	switch {
	case int64(len(run)) == z.Len():
		z.found = false
		_, err := z.txn.Delete(z.key)
		z.dirty, z.rec.Count, z.packedCount = false, 0, 0
		return err
	case !z.spread():
		_, a, aEnd := z.findPacked(run[0].Member)
		_, b, bEnd := z.findPacked(run[len(run)-1].Member)
		z.cutPacked(min(a, b), max(aEnd, bEnd), int64(len(run)))
		return z.Save()
	}
	whole := len(run) >= zsetRangeFrom
	if whole {
		if err := z.deletePlaces(run[0], run[len(run)-1]); err != nil {
			return err
		}
	}
	for _, e := range run {
		if err := z.deleteMember(e.Member); err != nil {
			return err
		}
		if err := z.deletePlace(e.Member, e.Score, whole); err != nil {
			return err
		}
	}
	return z.Save()
}

// deletePlaces deletes the places between those of two elements, and theirs.
func (z *ZSet) deletePlaces(a, b Scored) error {
	from, to := placeKey(a.Score, a.Member), placeKey(b.Score, b.Member)
	if bytes.Compare(from, to) > 0 {
		from, to = to, from
	}
	return z.txn.DeleteSubRange(z.key.Slot, z.rec.ID, engine.SubRange{From: from, To: append(to, 0)})
}
