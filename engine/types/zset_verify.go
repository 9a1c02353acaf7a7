package types

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"math"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
)

var (
	errZSetOrder   = errors.New("elements out of order, or twice")
	errZSetSub     = errors.New("a sub-key that no sorted set has")
	errZSetEnds    = errors.New("the state's outermost places are not those that are stored")
	errZSetMarkers = errors.New("the markers do not count the places")
)

// verifyZSet looks at a packed sorted set, and returns who looks at the sub-keys of a spread one.
func verifyZSet(rec engine.Record) (engine.Verifier, error) {
	z := ZSet{rec: rec}
	if z.spread() {
		v := &zsetVerifier{count: rec.Count}
		err := z.checkState()
		if err == nil {
			v.ordered = z.flag(zsetOrdered)
			err = v.ends.decode(rec.Value[1:])
		}
		return v, err
	}
	n, err := countScored(rec.Value)
	if err == nil && n == 0 {
		err = errZSetOrder
	}
	seen, last := map[string]bool{}, []byte(nil)
	for rest := rec.Value; err == nil && len(rest) > 0; {
		var e Scored
		e, rest, _ = takeScored(rest)
		if last != nil && comparePlace(e, last) <= 0 || seen[string(e.Member)] {
			err = errZSetOrder
		}
		last, seen[string(e.Member)] = placeKey(e.Score, e.Member)[1:], true
	}
	return nil, err
}

// zsetVerifier sees the members, then the markers, then the places.
type zsetVerifier struct {
	count           uint64 // that the record says
	ordered         bool
	ends            zsetEnds
	members, places uint64
	sum             uint64 // of the members' digests, less those of the places'
	markers         []orderGroup
	at              int // in markers
	last            []byte
}

var zsetSeed = maphash.MakeSeed()

func scoredDigest(e Scored) uint64 {
	const odd = 0x9E3779B97F4A7C15
	return (maphash.Bytes(zsetSeed, e.Member) ^ math.Float64bits(e.Score)*odd) * odd
}

func (v *zsetVerifier) Sub(sub, value []byte) error {
	switch {
	case len(sub) >= memberKeyLen && sub[0] == zsetMembers:
		score, ok := decodeScore(value)
		member := sub[memberKeyLen:]
		if !ok || binary.BigEndian.Uint32(sub[1:]) != keys.Hash(member) {
			return errZSetSub
		}
		v.members++
		v.sum += scoredDigest(Scored{member, score})
	case len(sub) > 0 && sub[0] == zsetMarkers:
		n, used := binary.Uvarint(value)
		if used <= 0 || used != len(value) || (len(v.markers) == 0) != (len(sub) == 1) {
			return errZSetMarkers
		}
		v.markers = append(v.markers, orderGroup{first: string(sub[1:]), count: int64(n)})
	case len(sub) > 0 && sub[0] == zsetPlaces:
		return v.place(sub[1:], value)
	default:
		return errZSetSub
	}
	return nil
}

// Walked says which sub-keys are only walked.
func (*zsetVerifier) Walked(sub []byte) bool { return walked(keys.TypeZSet, sub) }

func (v *zsetVerifier) place(place, value []byte) error {
	e, ok := decodePlace(place, value)
	if !ok {
		return errZSetSub
	}
	v.sum -= scoredDigest(e)
	least := &v.ends[0]
	if v.places == 0 && len(least.places) == 0 && least.beyondBound(place) ||
		v.places < uint64(len(least.places)) && !bytes.Equal(place, least.places[v.places]) {
		return errZSetEnds
	}
	v.places++
	v.last = append(v.last[:0], place...)
	if len(v.markers) == 0 {
		return nil
	}
	for v.at+1 < len(v.markers) && v.markers[v.at+1].first <= string(place) {
		v.at++
	}
	v.markers[v.at].count--
	return nil
}

func (v *zsetVerifier) End() error {
	if v.members != v.count || v.places != v.count || v.count == 0 || v.sum != 0 {
		return fmt.Errorf("%d members at %d places, the record says %d; sums that differ by %x", v.members, v.places, v.count, v.sum)
	}
	if v.ordered != (len(v.markers) > 0) {
		return errZSetMarkers
	}
	for _, g := range v.markers {
		if g.count != 0 {
			return errZSetMarkers
		}
	}
	greatest := &v.ends[1]
	if len(greatest.places) == 0 && greatest.beyondBound(v.last) || len(greatest.places) > 0 && !bytes.Equal(greatest.places[0], v.last) {
		return errZSetEnds
	}
	return nil
}
