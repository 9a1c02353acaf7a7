package rdb

import (
	"encoding/binary"
	"math"
	"strconv"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/types"
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

func (w *writer) zset(t *engine.Txn, k engine.Key, rec engine.Record) error {
	z, err := types.OpenZSet(t, k)
	if err != nil {
		return err
	}
	if types.ZSetEncoding(rec) == "listpack" && rec.Spread() <= packedLimit {
		return w.packedZSet(&z)
	}
	w.kind(kindZSet2)
	w.length(uint64(z.Len()))
	// From the greatest on, as Redis does: so each element is the new first one for who loads them.
	return z.Walk(types.Span{}, true, 0, -1, func(e types.Scored) bool {
		w.string(e.Member)
		w.little(math.Float64bits(e.Score))
		return w.fits(0)
	})
}

func (w *writer) packedZSet(z *types.ZSet) error {
	lp := newListpack()
	err := z.Walk(types.Span{}, false, 0, -1, func(e types.Scored) bool {
		lp.string(e.Member)
		lp.score(e.Score)
		return true
	})
	w.kind(kindZSetListpack)
	w.string(lp.finish())
	return err
}

// score appends a score as Redis writes it into a listpack.
func (w *listpackWriter) score(f float64) {
	switch n, ok := asInt(f); {
	case ok:
		w.int(n)
	case math.IsInf(f, 1):
		w.string([]byte("inf"))
	case math.IsInf(f, -1):
		w.string([]byte("-inf"))
	default:
		w.string(strconv.AppendFloat(nil, f, 'g', 17, 64))
	}
}

// asInt returns a score as an integer where a listpack holds it as one (Redis: double2ll).
func asInt(f float64) (int64, bool) {
	if math.Abs(f) >= 1<<62 {
		return 0, false
	}
	n := int64(f)
	return n, float64(n) == f
}

func storeZSet(t *engine.Txn, k engine.Key, v *Value) error {
	z, err := types.OpenZSet(t, k)
	if err != nil {
		return err
	}
	// Redis chooses the encoding when it has read all members. It matters for a score of -0.
	n, longest := 0, []byte(nil)
	err = v.eachScored(func(member []byte, _ float64) error {
		n++
		if len(member) > len(longest) {
			longest = member
		}
		return nil
	})
	if err == nil {
		err = z.Expect(n, longest)
	}
	if err != nil {
		return err
	}
	err = v.eachScored(func(member []byte, score float64) error {
		added, err := z.Add(member, score, 0)
		if err == nil && !added.New {
			err = ErrFormat
		}
		return err
	})
	if err != nil {
		return err
	}
	return z.Save()
}
