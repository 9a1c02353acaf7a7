package rdb

import (
	"encoding/binary"
	"math"
)

// The forms of a sorted set:
//
//	3   count, [member, score as text: length(1), digits; 254 is infinity, 255 minus infinity]
//	5   count, [member, score(8, little endian)]
//	12  a ziplist, and
//	17  a listpack of members, each followed by its score
const (
	scoreNaN      = 253
	scoreInf      = 254
	scoreMinusInf = 255
)

// eachScored calls fn for the members; they stay valid as the payload does.
func (v *Value) eachScored(fn func(member []byte, score float64) error) error {
	r := v.reader()
	switch v.kind {
	case kindZSet, kindZSet2:
		n, err := r.count()
		if err != nil {
			return err
		}
		score := r.double
		if v.kind == kindZSet {
			score = r.scoreText
		}
		return eachPlainScored(&plain{&r, n}, score, fn)
	}
	var d digits
	scored := func(member, score *element) error {
		f, err := score.score()
		if err != nil {
			return err
		}
		return fn(d.text(member), f)
	}
	if v.kind == kindZSetZiplist {
		return r.pairs(asElements(openZiplist), scored)
	}
	return r.pairs(asElements(openListpack), scored)
}

func eachPlainScored(members *plain, score func() (float64, error), fn func(member []byte, score float64) error) error {
	for {
		m, ok, err := members.next()
		if err != nil || !ok {
			return err
		}
		f, err := score()
		if err != nil {
			return err
		}
		if err := fn(m.s, f); err != nil {
			return err
		}
	}
}

func (r *reader) double() (float64, error) {
	p, err := r.take(8)
	if err != nil {
		return 0, err
	}
	f := math.Float64frombits(binary.LittleEndian.Uint64(p))
	return f, formatUnless(!math.IsNaN(f))
}

func (r *reader) scoreText() (float64, error) {
	p, err := r.take(1)
	if err != nil {
		return 0, err
	}
	switch p[0] {
	case scoreNaN:
		return 0, ErrFormat
	case scoreInf:
		return math.Inf(1), nil
	case scoreMinusInf:
		return math.Inf(-1), nil
	}
	if p, err = r.take(uint64(p[0])); err != nil {
		return 0, err
	}
	return parseScore(p)
}
