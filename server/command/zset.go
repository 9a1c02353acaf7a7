package command

import (
	"math"
	"slices"
	"strconv"

	"github.com/cairndb/cairn/engine/types"
	"github.com/cairndb/cairn/server/resp"
)

// zset opens the sorted set at args[i], or answers the error.
func (c *Ctx) zset(i int) (z types.ZSet, ok bool) {
	z, err := types.OpenZSet(c.Txn, c.Key(i))
	if err != nil {
		c.Fail(err)
	}
	return z, err == nil
}

func zadd(c *Ctx) { c.zadd(0) }

// zincrby is ZADD with INCR, and takes its options, too, where the number belongs.
func zincrby(c *Ctx) { c.zadd(types.ZIncrement) }

// zaddOptions parses what stands before the scores and returns where these begin.
func (c *Ctx) zaddOptions(how *types.How) (scores int, changed bool) {
	for i := 2; i < len(c.Args); i++ {
		switch {
		case c.is(i, "nx"):
			*how |= types.ZIfAbsent
		case c.is(i, "xx"):
			*how |= types.ZIfPresent
		case c.is(i, "gt"):
			*how |= types.ZIfGreater
		case c.is(i, "lt"):
			*how |= types.ZIfLess
		case c.is(i, "ch"):
			changed = true
		case c.is(i, "incr"):
			*how |= types.ZIncrement
		default:
			return i, changed
		}
	}
	return len(c.Args), changed
}

func (c *Ctx) zadd(how types.How) {
	first, changed := c.zaddOptions(&how)
	n := len(c.Args) - first
	conditions := how & (types.ZIfAbsent | types.ZIfGreater | types.ZIfLess)
	switch {
	case n == 0 || n%2 != 0:
		c.syntaxError()
	case how&types.ZIfAbsent != 0 && how&types.ZIfPresent != 0:
		c.Out.Error("ERR XX and NX options at the same time are not compatible")
	case conditions&(conditions-1) != 0:
		c.Out.Error("ERR GT, LT, and/or NX options at the same time are not compatible")
	case how&types.ZIncrement != 0 && n > 2:
		c.Out.Error("ERR INCR option supports a single increment-element pair")
	default:
		scores := make([]float64, n/2)
		for i := range scores {
			var ok bool
			if scores[i], ok = types.ParseDouble(c.Args[first+2*i]); !ok {
				c.Out.Error(resp.ErrNotFloat)
				return
			}
		}
		c.zaddScores(first+1, scores, how, changed)
	}
}

// zaddScores adds every second argument from args[first] on.
func (c *Ctx) zaddScores(first int, scores []float64, how types.How, changed bool) {
	z, ok := c.zset(1)
	if !ok {
		return
	}
	added, err := int64(0), error(nil)
	var last types.Added
	if z.Exists() || how&types.ZIfPresent == 0 {
		err = z.Expect(len(scores), c.Args[first])
		for i := 0; err == nil && i < len(scores); i++ {
			last, err = z.Add(c.Args[first+2*i], scores[i], how)
			if last.New || (changed && last.Moved) {
				added++
			}
		}
		if err == nil {
			err = z.Save()
		}
	}
	switch {
	case err != nil:
		c.Fail(err)
	case how&types.ZIncrement == 0:
		c.Out.Int(added)
	case last.Met:
		c.Out.Double(last.Score)
	default:
		c.Out.Null()
	}
}

func zrem(c *Ctx) {
	z, ok := c.zset(1)
	if !ok {
		return
	}
	removed, err := int64(0), error(nil)
	for i := 2; err == nil && i < len(c.Args) && z.Len() > 0; i++ {
		found := false
		if found, err = z.Remove(c.Args[i]); found {
			removed++
		}
	}
	if err == nil {
		err = z.Save()
	}
	c.countOr(removed, err)
}

// countOr answers a number, or the error.
func (c *Ctx) countOr(n int64, err error) {
	if err != nil {
		c.Fail(err)
		return
	}
	c.Out.Int(n)
}

func zcard(c *Ctx) {
	if z, ok := c.zset(1); ok {
		c.Out.Int(z.Len())
	}
}

func zscore(c *Ctx) {
	if z, ok := c.zset(1); ok {
		c.score(&z, c.Args[2])
	}
}

// score answers the score of a member or null; ok is false for an error.
func (c *Ctx) score(z *types.ZSet, member []byte) (ok bool) {
	score, found, err := z.Score(member)
	switch {
	case err != nil:
		c.Fail(err)
	case found:
		c.Out.Double(score)
	default:
		c.Out.Null()
	}
	return err == nil
}

func zmscore(c *Ctx) {
	z, ok := c.zset(1)
	if !ok {
		return
	}
	begin := len(c.Out.Buf)
	c.Out.Array(len(c.Args) - 2)
	for _, member := range c.Args[2:] {
		at := len(c.Out.Buf)
		if !c.score(&z, member) {
			c.Out.Buf = append(c.Out.Buf[:begin], c.Out.Buf[at:]...)
			return
		}
	}
}

func zrank(c *Ctx)    { c.zrank(false) }
func zrevrank(c *Ctx) { c.zrank(true) }

func (c *Ctx) zrank(reverse bool) {
	withScore := len(c.Args) == 4
	switch {
	case len(c.Args) > 4:
		c.Out.Error("ERR wrong number of arguments for '" + c.Cmd.Name + "' command")
		return
	case withScore && !c.is(3, "withscore"):
		c.syntaxError()
		return
	}
	z, ok := c.zset(1)
	if !ok {
		return
	}
	rank, score, found, err := z.Rank(c.Args[2])
	if reverse {
		rank = z.Len() - 1 - rank
	}
	switch {
	case err != nil:
		c.Fail(err)
	case found && withScore:
		c.Out.Array(2)
		c.Out.Int(rank)
		c.Out.Double(score)
	case found:
		c.Out.Int(rank)
	case withScore:
		c.Out.NullArray()
	default:
		c.Out.Null()
	}
}

// positive parses args[i] as Redis does where it asks for a number that is not negative: text answers everything else.
func (c *Ctx) positive(i int, least int64, text string) (int64, bool) {
	n, ok := types.ParseInt(c.Args[i])
	if ok = ok && n >= least; !ok {
		c.Out.Error(text)
	}
	return n, ok
}

func zpopmin(c *Ctx) { c.zpop(false) }
func zpopmax(c *Ctx) { c.zpop(true) }

func (c *Ctx) zpop(greatest bool) {
	n, counted := int64(1), len(c.Args) == 3
	switch {
	case len(c.Args) > 3:
		c.syntaxError()
		return
	case counted:
		var ok bool
		if n, ok = c.positive(2, 0, "ERR value is out of range, must be positive"); !ok {
			return
		}
	}
	z, ok := c.zset(1)
	if !ok {
		return
	}
	popped, err := z.Pop(greatest, n)
	if err != nil {
		c.Fail(err)
		return
	}
	nested := counted && c.Out.Proto3
	c.scoredHeader(int64(len(popped)), nested)
	for _, e := range popped {
		c.scored(e, true, nested)
	}
}

// scoredHeader begins an array of elements with their scores: pairs if they are nested, else one after another.
func (c *Ctx) scoredHeader(n int64, nested bool) {
	if !nested {
		n *= 2
	}
	c.Out.Array(int(n))
}

// scored writes an element, with its score, and that in an array of both.
func (c *Ctx) scored(e types.Scored, score, nested bool) {
	if score && nested {
		c.Out.Array(2)
	}
	c.Out.Bulk(e.Member)
	if score {
		c.Out.Double(e.Score)
	}
}

func zmpop(c *Ctx) {
	keys, greatest, n, ok := c.zmpopOptions(1)
	if !ok {
		return
	}
	for _, i := range keys {
		z, ok := c.zset(i)
		if !ok {
			return
		}
		if z.Exists() {
			c.zmpop(i, &z, greatest, n)
			return
		}
	}
	c.Out.NullArray()
}

// zmpopOptions parses what follows the number of keys, args[at]; keys are indexes of arguments.
func (c *Ctx) zmpopOptions(at int) (keys []int, greatest bool, count int64, ok bool) {
	n, ok := c.positive(at, 1, "ERR numkeys should be greater than 0")
	if !ok {
		return nil, false, 0, false
	}
	if n >= int64(len(c.Args)-at-1) {
		c.syntaxError()
		return nil, false, 0, false
	}
	where := at + 1 + int(n)
	for i := at + 1; i < where; i++ {
		keys = append(keys, i)
	}
	greatest = c.is(where, "max")
	if !greatest && !c.is(where, "min") {
		c.syntaxError()
		return nil, false, 0, false
	}
	for i := where + 1; i < len(c.Args); i++ {
		if count != 0 || !c.is(i, "count") || i+1 == len(c.Args) {
			c.syntaxError()
			return nil, false, 0, false
		}
		i++
		if count, ok = c.positive(i, 1, "ERR count should be greater than 0"); !ok {
			return nil, false, 0, false
		}
	}
	return keys, greatest, max(count, 1), true
}

// zmpop pops from the set at args[i] and answers as ZMPOP.
func (c *Ctx) zmpop(i int, z *types.ZSet, greatest bool, n int64) {
	popped, err := z.Pop(greatest, n)
	if err != nil {
		c.Fail(err)
		return
	}
	c.Out.Array(2)
	c.Out.Bulk(c.Args[i])
	c.Out.Array(len(popped))
	for _, e := range popped {
		c.scored(e, true, true)
	}
}

func zrandmember(c *Ctx) {
	if len(c.Args) == 2 {
		z, ok := c.zset(1)
		switch {
		case !ok:
		case !z.Exists():
			c.Out.Null()
		default:
			c.zrandom(&z, 1, true, func(e types.Scored) { c.Out.Bulk(e.Member) })
		}
		return
	}
	n, ok := c.int(2)
	if !ok {
		return
	}
	withScores := len(c.Args) == 4 && c.is(3, "withscores")
	switch {
	case n == math.MinInt64:
		c.Out.Error("ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807")
		return
	case len(c.Args) > 3 && !withScores:
		c.syntaxError()
		return
	case withScores && (n < -(math.MaxInt64/2) || n > math.MaxInt64/2):
		c.Out.Error("ERR value is out of range")
		return
	}
	z, ok := c.zset(1)
	if !ok {
		return
	}
	if n == 0 || !z.Exists() {
		c.Out.Array(0)
		return
	}
	distinct := n > 0
	if distinct {
		n = min(n, z.Len())
	} else {
		n = -n
	}
	nested := c.Out.Proto3 || !withScores
	c.zrandom(&z, n, distinct, func(e types.Scored) { c.scored(e, withScores, nested) }, func() { c.scoredHeader(n, nested) })
}

// zrandom writes random elements after what header writes, or the error.
func (c *Ctx) zrandom(z *types.ZSet, n int64, distinct bool, write func(types.Scored), header ...func()) {
	begin := len(c.Out.Buf)
	for _, h := range header {
		h()
	}
	if err := z.Random(n, distinct, write); err != nil {
		c.Out.Buf = c.Out.Buf[:begin]
		c.Fail(err)
	}
}

func zscan(c *Ctx) {
	s, ok := c.scanCursor()
	if !ok {
		return
	}
	z, ok := c.zset(1)
	if !ok {
		return
	}
	if !z.Exists() {
		s.empty()
		return
	}
	if ok := s.options(); !ok {
		return
	}
	var text [32]byte
	long := z.Encoding() != "listpack" // of a listpack Redis returns the text that lies in it
	next, err := z.Scan(s.cursor, s.count, func(e types.Scored) {
		if !s.selects(e.Member) {
			return
		}
		s.add(e.Member)
		if long && !math.IsInf(e.Score, 0) {
			s.add(strconv.AppendFloat(text[:0], e.Score, 'g', 17, 64))
			return
		}
		s.add(resp.AppendDouble(text[:0], e.Score))
	})
	s.reply(next, err)
}

// insertArray writes the header of an array before what has been written since begin.
func (c *Ctx) insertArray(begin, n int) {
	var head resp.Writer
	head.Array(n)
	begin = min(begin, len(c.Out.Buf)) // a reply that is too long was cut, and its connection ends
	c.Out.Buf = slices.Insert(c.Out.Buf, begin, head.Buf...)
}
