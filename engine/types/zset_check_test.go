package types

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/cairndb/cairn/engine/keys"
)

// Check says what is wrong with a stored set: members against places both ways, the order, the markers, the state, the header's sums.
func (z *ZSet) Check() error {
	if !z.found {
		return nil
	}
	if !z.spread() {
		_, err := verifyZSet(z.rec)
		return err
	}
	c := zsetCheck{z: z}
	for _, pass := range []func() error{z.loadEnds, c.places, c.markers, c.members, c.sums} {
		if err := pass(); err != nil {
			return err
		}
	}
	return nil
}

// zsetCheck is the check of a spread set.
type zsetCheck struct {
	z     *ZSet
	count uint64
	bytes uint64
}

// places compares each place with its member, and the ends with what lies there.
func (c *zsetCheck) places() (err error) {
	z := c.z
	first, last := []byte(nil), []byte(nil)
	var least [][]byte
	walkErr := z.walkSubs(Span{}, false, func(place, value []byte) bool {
		e, ok := decodePlace(place, value)
		if !ok {
			err = z.corrupt("a place")
			return false
		}
		score, found, getErr := z.Score(e.Member)
		if err = getErr; err == nil && (!found || math.Float64bits(score) != math.Float64bits(e.Score)) {
			err = z.corrupt("a place without its member")
		}
		if first == nil {
			first = bytes.Clone(place)
		}
		if len(least) < len(z.ends[0].places) {
			least = append(least, bytes.Clone(place))
		}
		last = append(last[:0], place...)
		c.count++
		c.bytes += keys.SubBytes(append([]byte{zsetPlaces}, place...), value)
		return err == nil
	})
	if err == nil {
		err = walkErr
	}
	if err == nil {
		err = c.ends(first, last, least)
	}
	return err
}

func (c *zsetCheck) ends(first, last []byte, least [][]byte) error {
	ends := c.z.ends
	for i, p := range ends[0].places {
		if i >= len(least) || !bytes.Equal(p, least[i]) {
			return c.z.corrupt("the least places")
		}
	}
	if p := ends[1].places; len(p) > 0 && !bytes.Equal(p[0], last) {
		return c.z.corrupt("the greatest place")
	}
	for i, outermost := range [][]byte{first, last} {
		if e := &ends[i]; len(e.places) == 0 && e.beyondBound(outermost) {
			return c.z.corrupt("the bound of the places")
		}
	}
	return nil
}

// markers compares each marker with the places up to the next one.
func (c *zsetCheck) markers() (err error) {
	z := c.z
	var first [][]byte
	var counts []uint64
	walkErr := z.txn.WalkSub(z.key.Slot, z.rec.ID, prefixRange(zsetMarkers), false, func(sub, value []byte) bool {
		n, used := binary.Uvarint(value)
		if used != len(value) {
			err = z.corrupt("a marker")
			return false
		}
		first, counts = append(first, bytes.Clone(sub[1:])), append(counts, n)
		c.bytes += keys.SubBytes(sub, value)
		return true
	})
	if err == nil {
		err = walkErr
	}
	if err != nil || len(first) == 0 {
		return err
	}
	at := 0
	walkErr = z.walkSubs(Span{}, false, func(place, _ []byte) bool {
		for at+1 < len(first) && bytes.Compare(first[at+1], place) <= 0 {
			at++
		}
		counts[at]--
		return true
	})
	for i, n := range counts {
		if n != 0 && err == nil {
			err = fmt.Errorf("%w (marker %d of %d)", z.corrupt("a marker's count"), i, len(first))
		}
	}
	if walkErr != nil {
		return walkErr
	}
	return err
}

// members counts them; that each place has its member is known.
func (c *zsetCheck) members() (err error) {
	z, n := c.z, uint64(0)
	walkErr := z.txn.WalkSub(z.key.Slot, z.rec.ID, prefixRange(zsetMembers), false, func(sub, value []byte) bool {
		if len(sub) < memberKeyLen || binary.BigEndian.Uint32(sub[1:]) != keys.Hash(sub[memberKeyLen:]) {
			err = z.corrupt("a member")
			return false
		}
		n++
		c.bytes += keys.SubBytes(sub, value)
		return true
	})
	if err == nil && n != c.count {
		err = z.corrupt("a member without its place")
	}
	if walkErr != nil {
		return walkErr
	}
	return err
}

func (c *zsetCheck) sums() error {
	if c.count != c.z.rec.Count || c.bytes != c.z.rec.Bytes {
		return fmt.Errorf("%w: %d elements in %d bytes, the header says %d in %d", c.z.corrupt("the count"), c.count, c.bytes, c.z.rec.Count, c.z.rec.Bytes)
	}
	return nil
}
