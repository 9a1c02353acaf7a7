package types

import (
	"encoding/binary"
	"math/rand/v2"

	"github.com/cairndb/cairn/engine"
)

// Random calls fn for n random elements of a set that is not empty: for different ones if distinct is set, then no more than
// there are. A Member is valid during the call only.
func (z *ZSet) Random(n int64, distinct bool, fn func(Scored)) error {
	const share = 3 // as Redis: from a third of them on, all are looked at
	size := z.Len()
	switch {
	case distinct && n > size/share:
		return z.sample(min(n, size), fn)
	case distinct:
		return z.draw(n, fn)
	case n > size/share:
		return z.drawFromAll(n, fn)
	}
	for range n {
		if err := z.randomElement(fn); err != nil {
			return err
		}
	}
	return nil
}

// sample picks n of all elements while it passes them (Knuth, The Art of Computer Programming 3.4.2, algorithm S).
func (z *ZSet) sample(n int64, fn func(Scored)) error {
	left := z.Len()
	return z.Walk(Span{}, false, 0, -1, func(e Scored) bool {
		if rand.Int64N(left) < n {
			fn(e)
			n--
		}
		left--
		return n > 0
	})
}

// draw picks one at a time, until n are different.
func (z *ZSet) draw(n int64, fn func(Scored)) error {
	seen := make(map[string]bool, n)
	for int64(len(seen)) < n {
		err := z.randomElement(func(e Scored) {
			if !seen[string(e.Member)] {
				seen[string(e.Member)] = true
				fn(e)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// drawFromAll picks n elements, one as often as it comes.
func (z *ZSet) drawFromAll(n int64, fn func(Scored)) error {
	all := make([]Scored, 0, z.Len())
	err := z.Walk(Span{}, false, 0, -1, func(e Scored) bool {
		all = append(all, e.Clone())
		return true
	})
	for ; err == nil && n > 0; n-- {
		fn(all[rand.IntN(len(all))])
	}
	return err
}

// randomElement picks an element: of many, one of those that follow a random hash.
func (z *ZSet) randomElement(fn func(Scored)) error {
	if z.Len() < orderFrom {
		return z.Walk(Span{}, false, rand.Int64N(z.Len()), 1, func(e Scored) bool {
			fn(e)
			return false
		})
	}
	const neighbours = 16 // to choose from: a single one would come the oftener the wider the gap before it
	hash, skip := rand.Uint32(), rand.IntN(neighbours)
	for range 2 { // behind the greatest hash comes the least one
		picked := false
		err := z.scanMembers(hash, func(e Scored) bool {
			if picked = skip == 0; picked {
				fn(e)
			}
			skip--
			return !picked
		})
		if picked || err != nil {
			return err
		}
		hash = 0
	}
	return z.corrupt("the count")
}

// scanMembers calls fn for the elements of a spread set from a hash on, in the order of hashes, until it returns false.
func (z *ZSet) scanMembers(from uint32, fn func(Scored) bool) error {
	damaged := false
	r := engine.SubRange{From: binary.BigEndian.AppendUint32([]byte{zsetMembers}, from), To: []byte{zsetMembers + 1}}
	err := z.txn.WalkSub(z.key.Slot, z.rec.ID, r, false, func(sub, value []byte) bool {
		score, ok := decodeScore(value)
		if damaged = !ok || len(sub) < memberKeyLen; damaged {
			return false
		}
		return fn(Scored{sub[memberKeyLen:], score})
	})
	if err == nil && damaged {
		err = z.corrupt("a score")
	}
	return err
}

// memberKeyLen is the length of the sub-key of an empty member.
const memberKeyLen = 1 + 4

// Scan calls fn for about count elements from a cursor on, and returns the next cursor, 0 at the end; see scanBuckets.
func (z *ZSet) Scan(cursor uint64, count int, fn func(Scored)) (next uint64, err error) {
	if !z.spread() {
		return 0, z.Walk(Span{}, false, 0, -1, func(e Scored) bool { fn(e); return true })
	}
	return scanBuckets(z.txn, z.key.Slot, z.rec.ID, []byte{zsetMembers}, cursor, count, func(member, stored []byte) error {
		score, ok := decodeScore(stored)
		if !ok {
			return z.corrupt("a score")
		}
		fn(Scored{member, score})
		return nil
	})
}
