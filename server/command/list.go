package command

import (
	"math"
	"strconv"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/types"
	"github.com/cairndb/cairn/server/resp"
)

// list opens the list at args[i]; ok is false when it has answered with an error.
func (c *Ctx) list(i int) (l types.List, ok bool) {
	l, err := types.OpenList(c.Txn, c.Key(i))
	if err != nil {
		c.Fail(err)
	}
	return l, err == nil
}

// failInstead answers with err, if there is one, in place of what has been written since begin.
func (c *Ctx) failInstead(begin int, err error) {
	if err != nil {
		c.Out.Buf = c.Out.Buf[:begin]
		c.Fail(err)
	}
}

func lpush(c *Ctx)  { c.push(types.Left, false) }
func rpush(c *Ctx)  { c.push(types.Right, false) }
func lpushx(c *Ctx) { c.push(types.Left, true) }
func rpushx(c *Ctx) { c.push(types.Right, true) }

func (c *Ctx) push(end types.End, ifExists bool) {
	l, ok := c.list(1)
	if !ok {
		return
	}
	if l.Exists() || !ifExists {
		if err := l.Push(end, c.Args[2:]...); err != nil {
			c.Fail(err)
			return
		}
	}
	c.Out.Int(l.Len())
}

func lpop(c *Ctx) { c.pop(types.Left) }
func rpop(c *Ctx) { c.pop(types.Right) }

func (c *Ctx) pop(end types.End) {
	if len(c.Args) > 3 {
		c.wrongArity()
		return
	}
	if len(c.Args) == 3 {
		c.popCount(end)
		return
	}
	l, ok := c.list(1)
	if !ok {
		return
	}
	if !l.Exists() {
		c.Out.Null()
		return
	}
	e, err := l.PopOne(end)
	if err != nil {
		c.Fail(err)
		return
	}
	c.Out.Bulk(e)
}

func (c *Ctx) popCount(end types.End) {
	n, ok := c.intIn(2, 0, math.MaxInt64, "ERR value is out of range, must be positive")
	if !ok {
		return
	}
	l, ok := c.list(1)
	switch {
	case !ok:
	case !l.Exists():
		c.Out.NullArray()
	default:
		c.popList(&l, end, n, len(c.Out.Buf))
	}
}

// popList pops up to n elements, as an array; the reply begins at begin.
func (c *Ctx) popList(l *types.List, end types.End, n int64, begin int) {
	c.Out.Array(int(min(n, l.Len())))
	c.failInstead(begin, l.Pop(end, n, c.Out.Bulk))
}

// popLong: see Command.Long.
func popLong(args [][]byte, _ engine.Record) bool {
	return len(args) == 3 && manyElements(args[2])
}

// fewElements is up to how many elements the event loop handles.
const fewElements = 500

func manyElements(count []byte) bool {
	n, ok := types.ParseInt(count)
	return ok && n > fewElements
}

func neverLong([][]byte, engine.Record) bool { return false }

// end parses args[i] as LEFT or RIGHT, or answers that the syntax is wrong.
func (c *Ctx) end(i int) (end types.End, ok bool) {
	switch {
	case c.is(i, "left"):
		return types.Left, true
	case c.is(i, "right"):
		return types.Right, true
	}
	c.syntaxError()
	return 0, false
}

func lmpop(c *Ctx) {
	keys, end, n, ok := c.mpopArgs(1)
	if !ok {
		return
	}
	for i := keys[0]; i < keys[1]; i++ {
		l, ok := c.list(i)
		if !ok {
			return
		}
		if l.Exists() {
			c.popNamed(&l, i, end, n)
			return
		}
	}
	c.Out.NullArray()
}

// popNamed pops up to n elements of the list at args[i]: its key and the elements.
func (c *Ctx) popNamed(l *types.List, i int, end types.End, n int64) {
	begin := len(c.Out.Buf)
	c.Out.Array(2)
	c.Out.Bulk(c.Args[i])
	c.popList(l, end, n, begin)
}

// mpopArgs parses "numkeys key … LEFT|RIGHT [COUNT n]", which begins at args[at]; the keys are args[keys[0]:keys[1]].
func (c *Ctx) mpopArgs(at int) (keys [2]int, end types.End, n int64, ok bool) {
	numkeys, ok := c.intIn(at, 1, math.MaxInt64, "ERR numkeys should be greater than 0")
	if !ok {
		return keys, 0, 0, false
	}
	if numkeys >= int64(len(c.Args)-at-1) {
		c.syntaxError()
		return keys, 0, 0, false
	}
	where := at + 1 + int(numkeys)
	if end, ok = c.end(where); !ok {
		return keys, 0, 0, false
	}
	switch rest := len(c.Args) - where - 1; {
	case rest == 0:
		n = 1
	case rest >= 2 && c.is(where+1, "count"):
		if n, ok = c.intIn(where+2, 1, math.MaxInt64, "ERR count should be greater than 0"); ok && rest > 2 {
			c.syntaxError()
			ok = false
		}
	default:
		c.syntaxError()
		ok = false
	}
	return [2]int{at + 1, where}, end, n, ok
}

func llen(c *Ctx) {
	if l, ok := c.list(1); ok {
		c.Out.Int(l.Len())
	}
}

func lrange(c *Ctx) {
	from, to, l, ok := c.listRange()
	if !ok {
		return
	}
	begin := len(c.Out.Buf)
	c.Out.Array(int(to - from))
	c.inPieces()
	err := l.Each(from, to-from, false, func(e []byte) bool {
		c.Out.Bulk(e)
		return true
	})
	c.failInstead(begin, err)
}

// listRange parses the arguments of LRANGE and LTRIM: the elements from (inclusive) to (exclusive) of the list at args[1].
func (c *Ctx) listRange() (from, to int64, l types.List, ok bool) {
	start, ok := c.int(2)
	if !ok {
		return 0, 0, l, false
	}
	stop, ok := c.int(3)
	if !ok {
		return 0, 0, l, false
	}
	if l, ok = c.list(1); ok {
		from, to = elementRange(start, stop, l.Len())
	}
	return from, to, l, ok
}

// elementRange turns Redis's inclusive range, negative from the end, into from (inclusive) and to (exclusive); both are 0 if it is empty.
func elementRange(start, stop, length int64) (from, to int64) {
	if start < 0 {
		start = max(start+length, 0)
	}
	if stop < 0 {
		stop += length
	}
	if start > stop || start >= length {
		return 0, 0
	}
	return start, min(stop, length-1) + 1
}

func lrangeLong(args [][]byte, rec engine.Record) bool {
	start, ok := types.ParseInt(args[2])
	stop, ok2 := types.ParseInt(args[3])
	from, to := elementRange(start, stop, int64(rec.Count))
	return ok && ok2 && (to-from > fewElements || rec.Spread()/max(rec.Count, 1)*uint64(to-from) > largeReply)
}

// largeReply is up to how many bytes of elements the event loop reads at once.
const largeReply = 1 << 20

func ltrim(c *Ctx) {
	from, to, l, ok := c.listRange()
	switch {
	case !ok:
	case !l.Exists():
		c.Out.OK()
	default:
		c.done(l.Trim(from, to))
	}
}

// element returns the index that args[i] names in a list, negative from the end; found is false when it is none, ok when it has answered.
func (c *Ctx) element(i int, l *types.List) (index int64, found, ok bool) {
	index, ok = c.int(i)
	if index < 0 {
		index += l.Len()
	}
	return index, index >= 0 && index < l.Len(), ok
}

func lindex(c *Ctx) {
	l, ok := c.list(1)
	if !ok {
		return
	}
	if !l.Exists() {
		c.Out.Null()
		return
	}
	i, found, ok := c.element(2, &l)
	switch {
	case !ok:
	case !found:
		c.Out.Null()
	default:
		e, err := l.Index(i)
		if err != nil {
			c.Fail(err)
			return
		}
		c.Out.Bulk(e)
	}
}

// listIndexLong: no index takes long to find.
func listIndexLong(_ [][]byte, rec engine.Record) bool {
	return rec.Spread()/max(rec.Count, 1) > largeReply
}

func lset(c *Ctx) {
	l, ok := c.list(1)
	if !ok {
		return
	}
	if !l.Exists() {
		c.Fail(types.ErrNoKey)
		return
	}
	i, found, ok := c.element(2, &l)
	switch {
	case !ok:
	case !found:
		c.Out.Error("ERR index out of range")
	default:
		c.done(l.Set(i, c.Args[3]))
	}
}

func linsert(c *Ctx) {
	after := c.is(2, "after")
	if !after && !c.is(2, "before") {
		c.syntaxError()
		return
	}
	l, ok := c.list(1)
	if !ok {
		return
	}
	if !l.Exists() {
		c.Out.Int(0)
		return
	}
	inserted, err := l.Insert(c.Args[3], after, c.Args[4])
	switch {
	case err != nil:
		c.Fail(err)
	case !inserted:
		c.Out.Int(-1)
	default:
		c.Out.Int(l.Len())
	}
}

func lrem(c *Ctx) {
	n, ok := c.intIn(2, -math.MaxInt64, math.MaxInt64, "")
	if !ok {
		return
	}
	l, ok := c.list(1)
	if !ok {
		return
	}
	removed := int64(0)
	if l.Exists() {
		var err error
		if removed, err = l.Remove(n, c.Args[3]); err != nil {
			c.Fail(err)
			return
		}
	}
	c.Out.Int(removed)
}

// lposOptions are LPOS's: how many matches to pass before the first one that counts, and how many of them to return, of
// how many elements.
type lposOptions struct {
	rank, count, most int64
	all               bool // COUNT was given: the reply is an array
	reverse           bool
}

func (c *Ctx) lposOptions() (o lposOptions, ok bool) {
	o = lposOptions{rank: 1, count: 1, most: math.MaxInt64}
	for i := 3; i < len(c.Args); i += 2 {
		switch more := i+1 < len(c.Args); {
		case more && c.is(i, "rank"):
			if o.rank, ok = c.intIn(i+1, -math.MaxInt64, math.MaxInt64, ""); !ok {
				return o, false
			}
			if o.rank == 0 {
				c.Out.Error("ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... " +
					"or use negative to start from the end of the list")
				return o, false
			}
		case more && c.is(i, "count"):
			o.all = true
			if o.count, ok = c.intIn(i+1, 0, math.MaxInt64, "ERR COUNT can't be negative"); !ok {
				return o, false
			}
		case more && c.is(i, "maxlen"):
			if o.most, ok = c.intIn(i+1, 0, math.MaxInt64, "ERR MAXLEN can't be negative"); !ok {
				return o, false
			}
		default:
			c.syntaxError()
			return o, false
		}
	}
	if o.reverse = o.rank < 0; o.reverse {
		o.rank = -o.rank
	}
	for _, n := range [...]*int64{&o.count, &o.most} {
		if *n == 0 {
			*n = math.MaxInt64
		}
	}
	return o, true
}

func lpos(c *Ctx) {
	o, ok := c.lposOptions()
	if !ok {
		return
	}
	l, ok := c.list(1)
	if !ok {
		return
	}
	var found []int64
	err := l.Find(c.Args[2], o.reverse, o.most, func(i int64) bool {
		if o.rank > 1 {
			o.rank--
			return true
		}
		found = append(found, i)
		return int64(len(found)) < o.count
	})
	switch {
	case err != nil:
		c.Fail(err)
	case o.all:
		c.Out.Array(len(found))
		for _, i := range found {
			c.Out.Int(i)
		}
	case len(found) == 0:
		c.Out.Null()
	default:
		c.Out.Int(found[0])
	}
}

func rpoplpush(c *Ctx) { c.lmove(types.Right, types.Left) }

func lmove(c *Ctx) {
	from, ok := c.end(3)
	if !ok {
		return
	}
	if to, ok := c.end(4); ok {
		c.lmove(from, to)
	}
}

func (c *Ctx) lmove(from, to types.End) {
	e, found, err := types.Move(c.Txn, c.Key(1), c.Key(2), from, to)
	switch {
	case err != nil:
		c.Fail(err)
	case !found:
		c.Out.Null()
	default:
		c.Out.Bulk(e)
	}
}

// intIn parses args[i] as an integer from least to most. What else it is, it answers with text, or in Redis's words if that is empty.
func (c *Ctx) intIn(i int, least, most int64, text string) (int64, bool) {
	n, ok := types.ParseInt(c.Args[i])
	switch {
	case ok && n >= least && n <= most:
		return n, true
	case text != "":
		c.Out.Error(text)
	case !ok:
		c.Out.Error(resp.ErrNotInt)
	default:
		c.Out.Error("ERR value is out of range, value must between " + strconv.FormatInt(least, 10) + " and " + strconv.FormatInt(most, 10))
	}
	return 0, false
}
