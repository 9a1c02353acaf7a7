package command

import "github.com/cairndb/cairn/engine/types"

// zcombine is a union, an intersection or a difference: its operation, inputs and options.
type zcombine struct {
	union, diff, count, store bool

	sources    []types.Source
	how        types.Aggregate
	withScores bool
	limit      int64
}

func zunion(c *Ctx)      { c.zcombine(1, zcombine{union: true}) }
func zinter(c *Ctx)      { c.zcombine(1, zcombine{}) }
func zdiff(c *Ctx)       { c.zcombine(1, zcombine{diff: true}) }
func zintercard(c *Ctx)  { c.zcombine(1, zcombine{count: true}) }
func zunionstore(c *Ctx) { c.zcombine(2, zcombine{union: true, store: true}) }
func zinterstore(c *Ctx) { c.zcombine(2, zcombine{store: true}) }
func zdiffstore(c *Ctx)  { c.zcombine(2, zcombine{diff: true, store: true}) }

// zcombine runs a combination whose number of keys is args[at].
func (c *Ctx) zcombine(at int, o zcombine) {
	n, ok := c.int(at)
	if !ok {
		return
	}
	if n < 1 {
		c.Out.Error("ERR at least 1 input key is needed for '" + c.Cmd.Name + "' command")
		return
	}
	if n > int64(len(c.Args)-at-1) {
		c.syntaxError()
		return
	}
	first := at + 1
	rest := first + int(n)
	for i := first; i < rest; i++ {
		s, err := types.OpenSource(c.Txn, c.Key(i))
		if err != nil {
			c.Fail(err)
			return
		}
		o.sources = append(o.sources, s)
	}
	if !c.zcombineOptions(rest, &o) {
		return
	}
	if o.count {
		c.countOr(types.IntersectCount(o.sources, o.limit))
		return
	}
	elements, err := o.run()
	switch {
	case o.store:
		c.storeScored(elements, err)
	case err != nil:
		c.Fail(err)
	default:
		nested := c.Out.Proto3 || !o.withScores
		c.scoredHeader(int64(len(elements)), nested)
		for _, e := range elements {
			c.scored(e, o.withScores, nested)
		}
	}
}

func (o *zcombine) run() ([]types.Scored, error) {
	switch {
	case o.diff:
		return types.Difference(o.sources)
	case o.union:
		return types.Union(o.sources, o.how)
	}
	return types.Intersect(o.sources, o.how)
}

func (c *Ctx) zcombineOptions(from int, o *zcombine) (ok bool) {
	weighs := !o.diff && !o.count
	for i := from; i < len(c.Args); i++ {
		more := len(c.Args) - i - 1
		switch {
		case weighs && more >= len(o.sources) && c.is(i, "weights"):
			for j := range o.sources {
				i++
				if o.sources[j].Weight, ok = types.ParseDouble(c.Args[i]); !ok {
					c.Out.Error("ERR weight value is not a float")
					return false
				}
			}
		case weighs && more >= 1 && c.is(i, "aggregate"):
			i++
			if o.how, ok = c.aggregate(i); !ok {
				c.syntaxError()
				return false
			}
		case !o.store && !o.count && c.is(i, "withscores"):
			o.withScores = true
		case o.count && more >= 1 && c.is(i, "limit"):
			i++
			if o.limit, ok = c.positive(i, 0, "ERR LIMIT can't be negative"); !ok {
				return false
			}
		default:
			c.syntaxError()
			return false
		}
	}
	return true
}

func (c *Ctx) aggregate(i int) (types.Aggregate, bool) {
	switch {
	case c.is(i, "sum"):
		return types.Sum, true
	case c.is(i, "min"):
		return types.Min, true
	}
	return types.Max, c.is(i, "max")
}
