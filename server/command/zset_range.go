package command

import (
	"slices"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/types"
)

// zrangeBy says what a range of a sorted set goes by.
type zrangeBy uint8

const (
	byRank zrangeBy = iota
	byScore
	byLex
)

// zrange is a range command: key, ends and options.
type zrange struct {
	by            zrangeBy
	reverse       bool
	fixedBy       bool // what it goes by is said already
	fixedReverse  bool // the direction is
	store         bool
	withScores    bool
	offset, limit int64

	start, stop int64
	scores      types.ScoreRange
	members     types.LexRange
}

func zrangeCommand(c *Ctx) { c.zrange(1, zrange{}) }
func zrevrange(c *Ctx)     { c.zrange(1, zrange{fixedBy: true, fixedReverse: true, reverse: true}) }
func zrangebyscore(c *Ctx) { c.zrange(1, zrange{by: byScore, fixedBy: true, fixedReverse: true}) }
func zrangebylex(c *Ctx)   { c.zrange(1, zrange{by: byLex, fixedBy: true, fixedReverse: true}) }
func zrangestore(c *Ctx)   { c.zrange(2, zrange{store: true}) }
func zrevrangebyscore(c *Ctx) {
	c.zrange(1, zrange{by: byScore, fixedBy: true, fixedReverse: true, reverse: true})
}
func zrevrangebylex(c *Ctx) {
	c.zrange(1, zrange{by: byLex, fixedBy: true, fixedReverse: true, reverse: true})
}

// zrange runs a range command whose source is args[key].
func (c *Ctx) zrange(key int, r zrange) {
	if !c.zrangeOptions(key+3, &r) || !c.zrangeEnds(key+1, &r) {
		return
	}
	z, ok := c.zset(key)
	if !ok {
		return
	}
	span, err := r.span(&z)
	if err == nil && r.by == byRank {
		r.offset, r.limit = rankRange(r.start, r.stop, z.Len())
	}
	switch {
	case err != nil:
		c.Fail(err)
	case r.store:
		c.zrangeStore(&z, span, &r)
	default:
		c.zrangeReply(&z, span, &r)
	}
}

func (c *Ctx) zrangeOptions(from int, r *zrange) bool {
	r.limit = -1
	for i := from; i < len(c.Args); i++ {
		ok := true
		switch {
		case !r.store && c.is(i, "withscores"):
			r.withScores = true
		case c.is(i, "limit") && i+2 < len(c.Args):
			if r.offset, ok = c.int(i + 1); ok {
				r.limit, ok = c.int(i + 2)
			}
			i += 2
		case !r.fixedReverse && c.is(i, "rev"):
			r.reverse, r.fixedReverse = true, true
		case !r.fixedBy && c.is(i, "bylex"):
			r.by, r.fixedBy = byLex, true
		case !r.fixedBy && c.is(i, "byscore"):
			r.by, r.fixedBy = byScore, true
		default:
			c.syntaxError()
			return false
		}
		if !ok {
			return false
		}
	}
	switch {
	case r.by == byRank && r.limit != -1:
		c.Out.Error("ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX")
	case r.by == byLex && r.withScores:
		c.Out.Error("ERR syntax error, WITHSCORES not supported in combination with BYLEX")
	default:
		return true
	}
	return false
}

// zrangeEnds parses the ends, args[at] and the one behind it.
func (c *Ctx) zrangeEnds(at int, r *zrange) (ok bool) {
	least, greatest := at, at+1
	if r.reverse && r.by != byRank {
		least, greatest = greatest, least
	}
	switch r.by {
	case byScore:
		r.scores, ok = c.scoreRange(least, greatest)
	case byLex:
		r.members, ok = c.lexRange(least, greatest)
	default:
		if r.start, ok = c.int(at); ok {
			r.stop, ok = c.int(at + 1)
		}
	}
	return ok
}

// span is where a range by score or by members lies.
func (r *zrange) span(z *types.ZSet) (types.Span, error) {
	switch r.by {
	case byScore:
		return z.ByScore(r.scores), nil
	case byLex:
		return z.ByLex(r.members)
	}
	return types.Span{}, nil
}

// scoreRange parses the ends of a range of scores.
func (c *Ctx) scoreRange(least, greatest int) (r types.ScoreRange, ok bool) {
	var ok2 bool
	r.Min, r.MinEx, ok = parseScore(c.Args[least])
	r.Max, r.MaxEx, ok2 = parseScore(c.Args[greatest])
	if !ok || !ok2 {
		c.Out.Error("ERR min or max is not a float")
	}
	return r, ok && ok2
}

func parseScore(b []byte) (score float64, exclusive, ok bool) {
	if len(b) > 0 && b[0] == '(' {
		exclusive, b = true, b[1:]
	}
	score, ok = types.ParseLimit(b)
	return score, exclusive, ok
}

// lexRange parses the ends of a range of members.
func (c *Ctx) lexRange(least, greatest int) (r types.LexRange, ok bool) {
	var ok2 bool
	r.Min, ok = parseLex(c.Args[least])
	r.Max, ok2 = parseLex(c.Args[greatest])
	if !ok || !ok2 {
		c.Out.Error("ERR min or max not valid string range item")
	}
	return r, ok && ok2
}

func parseLex(b []byte) (l types.LexBound, ok bool) {
	if len(b) == 0 {
		return l, false
	}
	alone := len(b) == 1 || b[1] == 0 // as for a C string
	switch b[0] {
	case '+':
		return types.LexBound{Infinite: 1, Ex: true}, alone
	case '-':
		return types.LexBound{Infinite: -1, Ex: true}, alone
	case '(', '[':
		return types.LexBound{Member: b[1:], Ex: b[0] == '('}, true
	}
	return l, false
}

// rankRange turns inclusive ranks, negative from the end, into how many elements to pass and how many to take.
func rankRange(start, stop, length int64) (skip, limit int64) {
	if start < 0 {
		start = max(start+length, 0)
	}
	if stop < 0 {
		stop += length
	}
	if start > stop || start >= length {
		return 0, 0
	}
	return start, min(stop, length-1) - start + 1
}

// walk calls fn for the elements of the range. A negative offset lies beyond everything, as in Redis.
func (r *zrange) walk(z *types.ZSet, s types.Span, fn func(types.Scored) bool) error {
	if r.offset < 0 {
		return nil
	}
	return z.Walk(s, r.reverse, r.offset, r.limit, fn)
}

// countFirst is from how many elements on they are counted before they are written.
const countFirst = 1000

func (c *Ctx) zrangeReply(z *types.ZSet, s types.Span, r *zrange) {
	begin, n := len(c.Out.Buf), 0
	nested := c.Out.Proto3
	each := 1
	if r.withScores && !nested {
		each = 2
	}
	want, err := r.count(z, s)
	if err == nil {
		if want >= 0 {
			c.Out.Array(int(want) * each)
			c.inPieces()
		}
		err = r.walk(z, s, func(e types.Scored) bool {
			c.scored(e, r.withScores, nested)
			n++
			return true
		})
	}
	switch {
	case err != nil:
		c.failAt(begin, err)
	case want < 0:
		c.insertArray(begin, n*each)
	case want != int64(n):
		c.failAt(begin, engine.ErrCorrupt)
	}
}

// count is how many elements the range has, or -1 where that is not worth finding out beforehand.
func (r *zrange) count(z *types.ZSet, s types.Span) (int64, error) {
	if z.Len() < countFirst || r.limit >= 0 && r.limit < countFirst || r.offset < 0 {
		return -1, nil
	}
	n, err := z.Count(s)
	n = max(n-r.offset, 0)
	if r.limit >= 0 {
		n = min(n, r.limit)
	}
	return n, err
}

func (c *Ctx) zrangeStore(z *types.ZSet, s types.Span, r *zrange) {
	var found []types.Scored
	err := r.walk(z, s, func(e types.Scored) bool {
		found = append(found, e.Clone())
		return true
	})
	if err == nil && r.by != byRank { // else Redis knows from the start how many they are
		types.AddInTurn(c.Txn, found)
	}
	if r.reverse {
		slices.Reverse(found)
	}
	c.storeScored(found, err)
}

// storeScored makes the elements the sorted set at args[1] and answers how many they are.
func (c *Ctx) storeScored(elements []types.Scored, err error) {
	if err == nil {
		err = types.StoreZSet(c.Txn, c.Key(1), elements)
	}
	c.countOr(int64(len(elements)), err)
}

func zcount(c *Ctx) {
	r, ok := c.scoreRange(2, 3)
	if !ok {
		return
	}
	if z, ok := c.zset(1); ok {
		c.countOr(z.Count(z.ByScore(r)))
	}
}

func zlexcount(c *Ctx) {
	r, ok := c.lexRange(2, 3)
	if !ok {
		return
	}
	z, ok := c.zset(1)
	if !ok {
		return
	}
	span, err := z.ByLex(r)
	if err != nil {
		c.Fail(err)
		return
	}
	c.countOr(z.Count(span))
}

func zremrangebyrank(c *Ctx)  { c.zremrange(zrange{by: byRank}) }
func zremrangebyscore(c *Ctx) { c.zremrange(zrange{by: byScore}) }
func zremrangebylex(c *Ctx)   { c.zremrange(zrange{by: byLex}) }

func (c *Ctx) zremrange(r zrange) {
	if !c.zrangeEnds(2, &r) {
		return
	}
	z, ok := c.zset(1)
	if !ok {
		return
	}
	span, err := r.span(&z)
	if err != nil {
		c.Fail(err)
		return
	}
	skip, limit := int64(0), int64(-1)
	if r.by == byRank {
		skip, limit = rankRange(r.start, r.stop, z.Len())
	}
	c.countOr(z.RemoveSpan(span, skip, limit))
}
