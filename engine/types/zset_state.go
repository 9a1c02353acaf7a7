package types

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
)

// The state of a spread sorted set, behind its header:
//
//	flags(1): 1 Redis would still hold it in a listpack, 2 its places have markers
//	of the least places, then of the greatest:
//	  n(1), not 0   n entries (see packed.go): the n outermost places, the outermost first
//	  0, an entry   no place lies outside of this one or of those that begin with it
//
// The outermost places are complete: no other one lies outside of them or between them. So elements are popped without looking, and the
// search for the next ones begins behind the last that was removed: it never meets what was deleted there. One
// place is kept at each end, more once they are popped. Places that are too long, or of the score -0, which a place does not show, are not.
const (
	zsetListpack = 1 << 0
	zsetOrdered  = 1 << 1

	// endPlaces is how many places of an end are looked up at once.
	endPlaces = 16
	// endPlaceLen is the longest place that is kept.
	endPlaceLen = scoreLen + 64
)

// zsetEnds are the least places of a spread set (0), and the greatest (1).
type zsetEnds [2]zsetEnd

type zsetEnd struct {
	greatest bool
	places   [][]byte
	bound    []byte // when places is empty; nil if the set is
	stale    bool   // look for the outermost place before it is saved
}

var errZSetState = fmt.Errorf("%w: the state of a sorted set", engine.ErrCorrupt)

func (z *ZSet) checkState() error {
	if len(z.rec.Value) == 0 || z.rec.Value[0]&^(zsetListpack|zsetOrdered) != 0 {
		return errZSetState
	}
	return nil
}

func (z *ZSet) flag(f byte) bool { return z.rec.Value[0]&f != 0 }

func (z *ZSet) setFlag(f byte, on bool) {
	z.rec.Value = bytes.Clone(z.rec.Value)
	z.rec.Value[0] &^= f
	if on {
		z.rec.Value[0] |= f
	}
}

// loadEnds decodes the ends when they are first needed.
func (z *ZSet) loadEnds() (err error) {
	if z.ends == nil {
		z.ends = &zsetEnds{}
		err = z.ends.decode(z.rec.Value[1:])
	}
	return err
}

func (ends *zsetEnds) decode(p []byte) (err error) {
	ends[1].greatest = true
	for i := range ends {
		if len(p) == 0 || p[0] > endPlaces {
			return errZSetState
		}
		n := int(p[0])
		p = p[1:]
		e := &ends[i]
		if n == 0 {
			if e.bound, p, err = takeEntry(p); err != nil {
				return errZSetState
			}
			continue
		}
		e.places = make([][]byte, n)
		for j := range e.places {
			if e.places[j], p, err = takeEntry(p); err != nil || len(e.places[j]) < scoreLen {
				return errZSetState
			}
		}
	}
	if len(p) > 0 {
		return errZSetState
	}
	return nil
}

func (ends *zsetEnds) append(dst []byte) []byte {
	for i := range ends {
		e := &ends[i]
		dst = append(dst, byte(len(e.places)))
		if len(e.places) == 0 {
			dst = appendEntry(dst, e.bound)
		}
		for _, p := range e.places {
			dst = appendEntry(dst, p)
		}
	}
	return dst
}

// insert notes a new place. whole says that the place tells all about its element.
func (ends *zsetEnds) insert(place []byte, whole bool) {
	whole = whole && len(place) <= endPlaceLen
	for i := range ends {
		ends[i].insert(place, whole)
	}
}

func (e *zsetEnd) insert(place []byte, whole bool) {
	n := len(e.places)
	at := 0
	if n == 0 {
		if e.bound != nil && !e.beyondBound(place) {
			return
		}
	} else if at = slices.IndexFunc(e.places, func(p []byte) bool { return e.outside(place, p) }); at < 0 {
		return
	}
	switch {
	case !whole:
		e.places = e.places[:at]
		if at == 0 {
			e.setBound(place)
		}
	case n == 0:
		e.places = append(e.places, bytes.Clone(place))
		e.stale = false
	default: // as many as before
		copy(e.places[at+1:], e.places[at:n-1])
		e.places[at] = bytes.Clone(place)
	}
}

// outside says whether a lies further out than b.
func (e *zsetEnd) outside(a, b []byte) bool {
	return (bytes.Compare(a, b) > 0) == e.greatest && !bytes.Equal(a, b)
}

func (e *zsetEnd) beyondBound(place []byte) bool {
	return e.outside(place, e.bound) && !(e.greatest && bytes.HasPrefix(place, e.bound))
}

func (e *zsetEnd) setBound(place []byte) { e.bound = bytes.Clone(place[:min(len(place), endPlaceLen)]) }

// remove notes that a place is gone.
func (ends *zsetEnds) remove(place []byte) {
	for i := range ends {
		e := &ends[i]
		at := slices.IndexFunc(e.places, func(p []byte) bool { return bytes.Equal(p, place) })
		switch {
		case at >= 0:
			e.places = slices.Delete(e.places, at, at+1)
			if len(e.places) == 0 {
				e.setBound(place)
				e.stale = true
			}
		case len(e.places) == 0 && bytes.HasPrefix(place, e.bound):
			e.stale = true
		}
	}
}

// least is a place that no other one is less than.
func (ends *zsetEnds) least() []byte {
	if p := ends[0].places; len(p) > 0 {
		return p[0]
	}
	return ends[0].bound
}

// clamp narrows a span to where places are, as far as the ends know.
func (ends *zsetEnds) clamp(s Span) Span {
	from, to := ends.least(), ends[1].bound
	if p := ends[1].places; len(p) > 0 {
		to = p[0]
	}
	if bytes.Compare(s.from, from) < 0 {
		s.from = from
	}
	if to = behindPrefix(to); to != nil && (s.to == nil || bytes.Compare(to, s.to) < 0) {
		s.to = to
	}
	return s
}

// behindPrefix is the least key that is greater than all that begin with prefix, nil if there is none.
func behindPrefix(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xFF {
			end := bytes.Clone(prefix[:i+1])
			end[i]++
			return end
		}
	}
	return nil
}

// fill looks for the outermost places of an end.
func (z *ZSet) fill(e *zsetEnd) error {
	e.stale = false
	s := z.ends.clamp(Span{})
	return z.walkSubs(s, e.greatest, func(place, value []byte) bool {
		whole := len(value) == 0 && len(place) <= endPlaceLen
		if whole {
			e.places = append(e.places, bytes.Clone(place))
		} else if len(e.places) == 0 {
			e.setBound(place)
		}
		return whole && len(e.places) < endPlaces
	})
}

// spreadOut gives the set an id and moves its elements into sub-keys.
func (z *ZSet) spreadOut(flags byte) error {
	packed := z.rec.Value
	id, err := z.txn.NewID(z.key.Slot)
	if err != nil {
		return err
	}
	z.rec.Encoding, z.rec.ID, z.rec.Count, z.rec.Bytes = keys.EncodingSpread, id, 0, 0
	z.rec.Value = []byte{flags}
	z.ends = &zsetEnds{1: {greatest: true}}
	z.packedCount, z.dirty = 0, true
	for len(packed) > 0 {
		var e Scored
		e, packed, _ = takeScored(packed)
		if err := z.insertSpread(e.Member, e.Score); err != nil {
			return err
		}
	}
	return nil
}

// saveSpread writes the record of a spread set.
func (z *ZSet) saveSpread() error {
	if err := z.loadEnds(); err != nil {
		return err
	}
	for i := range z.ends {
		if e := &z.ends[i]; e.stale {
			if err := z.fill(e); err != nil {
				return err
			}
		}
	}
	if z.rec.Count >= orderFrom && !z.flag(zsetOrdered) {
		o, size, err := buildOrder(z.txn, z.key.Slot, z.rec.ID, zsetPlaces, zsetMarkers)
		if err != nil {
			return err
		}
		z.order = o
		z.rec.Bytes += uint64(size)
		z.setFlag(zsetOrdered, true)
	}
	z.rec.Value = z.ends.append(append(make([]byte, 0, len(z.rec.Value)+endPlaceLen), z.rec.Value[0]))
	return z.txn.Put(z.key, z.rec.Header, z.rec.Value)
}

// A spread set's elements.

// memberKey is the sub-key of a member; the next call of it takes the same memory.
func (z *ZSet) memberKey(member []byte) []byte {
	z.buf = binary.BigEndian.AppendUint32(append(z.buf[:0], zsetMembers), keys.Hash(member))
	z.buf = append(z.buf, member...)
	return z.buf
}

// placeKey is the sub-key of a place, which is all but the first byte.
func placeKey(score float64, member []byte) []byte {
	sub := append(make([]byte, 0, 1+scoreLen+len(member)), zsetPlaces)
	return append(appendOrdered(sub, score), member...)
}

var negativeZero = []byte{1}

// placeValue is what stands behind a place.
func placeValue(score float64) []byte {
	if isNegativeZero(score) {
		return negativeZero
	}
	return nil
}

func (z *ZSet) insertSpread(member []byte, score float64) error {
	if err := z.putMember(member, score); err != nil {
		return err
	}
	z.rec.Count++
	z.rec.Bytes += uint64(subSize(z.buf, nil) + scoreLen)
	return z.putPlace(member, score)
}

func (z *ZSet) moveSpread(member []byte, old, score float64) error {
	if err := z.putMember(member, score); err != nil {
		return err
	}
	if err := z.deletePlace(member, old, false); err != nil {
		return err
	}
	return z.putPlace(member, score)
}

func (z *ZSet) removeSpread(member []byte, score float64) error {
	if err := z.deleteMember(member); err != nil {
		return err
	}
	return z.deletePlace(member, score, false)
}

// putMember leaves the sub-key in z.buf.
func (z *ZSet) putMember(member []byte, score float64) error {
	value := appendScore(nil, score)
	return z.txn.PutSub(z.key.Slot, z.rec.ID, z.memberKey(member), value)
}

func (z *ZSet) deleteMember(member []byte) error {
	if err := z.txn.DeleteSub(z.key.Slot, z.rec.ID, z.memberKey(member)); err != nil {
		return err
	}
	z.rec.Count--
	z.rec.Bytes -= uint64(subSize(z.buf, nil) + scoreLen)
	return nil
}

func (z *ZSet) putPlace(member []byte, score float64) error {
	if err := z.loadEnds(); err != nil {
		return err
	}
	sub, value := placeKey(score, member), placeValue(score)
	if err := z.txn.PutWalked(z.key.Slot, z.rec.ID, sub, value); err != nil {
		return err
	}
	z.rec.Bytes += uint64(subSize(sub, value))
	z.ends.insert(sub[1:], len(value) == 0)
	return z.count(sub[1:], 1)
}

// deletePlace takes a place out; gone says that a deleted range has it already.
func (z *ZSet) deletePlace(member []byte, score float64, gone bool) error {
	if err := z.loadEnds(); err != nil {
		return err
	}
	sub := placeKey(score, member)
	if !gone {
		if err := z.txn.DeleteWalked(z.key.Slot, z.rec.ID, sub); err != nil {
			return err
		}
	}
	z.rec.Bytes -= uint64(subSize(sub, placeValue(score)))
	z.ends.remove(sub[1:])
	return z.count(sub[1:], -1)
}

// count tells the markers of a place that was written or deleted.
func (z *ZSet) count(place []byte, delta int64) error {
	if !z.flag(zsetOrdered) {
		return nil
	}
	if err := z.openOrder(); err != nil {
		return err
	}
	z.order.least = z.ends.least()
	size, err := z.order.add(place, delta)
	z.rec.Bytes += uint64(size)
	return err
}

func (z *ZSet) openOrder() (err error) {
	if z.order != nil {
		return nil
	}
	if err = z.loadEnds(); err != nil {
		return err
	}
	if z.order, err = openOrder(z.txn, z.key.Slot, z.rec.ID, zsetPlaces, zsetMarkers); err == nil {
		z.order.least = z.ends.least()
	}
	return err
}

// walkSubs calls fn for the places of a span, with what stands behind them.
func (z *ZSet) walkSubs(s Span, reverse bool, fn func(place, value []byte) bool) error {
	r := engine.SubRange{From: append([]byte{zsetPlaces}, s.from...), To: []byte{zsetPlaces + 1}}
	if s.to != nil {
		r.To = append([]byte{zsetPlaces}, s.to...)
	}
	return z.txn.WalkSub(z.key.Slot, z.rec.ID, r, reverse, func(sub, value []byte) bool { return fn(sub[1:], value) })
}
