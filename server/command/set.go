package command

import (
	"errors"
	"math"
	"slices"

	"github.com/cairndb/cairn/engine/types"
	"github.com/cairndb/cairn/server/resp"
)

// openSet opens the set at args[i], or answers what is wrong.
func (c *Ctx) openSet(i int) (types.Set, bool) {
	s, err := types.OpenSet(c.Txn, c.Key(i))
	if err != nil {
		c.Fail(err)
	}
	return s, err == nil
}

// openSets opens the sets at args[from] to args[to], exclusive.
func (c *Ctx) openSets(from, to int) (sets []types.Set, ok bool) {
	sets = make([]types.Set, to-from)
	for i := range sets {
		if sets[i], ok = c.openSet(from + i); !ok {
			return nil, false
		}
	}
	return sets, true
}

// count answers n or the error.
func (c *Ctx) count(n int64, err error) {
	if err != nil {
		c.Fail(err)
		return
	}
	c.Out.Int(n)
}

// setOf answers a set whose size shows in the end: fill calls emit for its members.
func (c *Ctx) setOf(fill func(emit func(member []byte) error) error) {
	begin, n := len(c.Out.Buf), 0
	err := fill(func(member []byte) error {
		c.Out.Bulk(member)
		n++
		return nil
	})
	if err != nil {
		c.Out.Buf = c.Out.Buf[:begin]
		c.Fail(err)
		return
	}
	header := resp.Writer{Proto3: c.Out.Proto3}
	header.Set(n)
	c.Out.Buf = slices.Insert(c.Out.Buf, begin, header.Buf...)
}

func sadd(c *Ctx) {
	if s, ok := c.openSet(1); ok {
		c.count(s.Add(c.Args[2:]))
	}
}

func srem(c *Ctx) {
	if s, ok := c.openSet(1); ok {
		c.count(s.Remove(c.Args[2:]))
	}
}

func scard(c *Ctx) {
	if s, ok := c.openSet(1); ok {
		c.Out.Int(s.Len())
	}
}

func sismember(c *Ctx) {
	s, ok := c.openSet(1)
	if !ok {
		return
	}
	has, err := s.Has(c.Args[2])
	if err != nil {
		c.Fail(err)
		return
	}
	c.bool01(has)
}

func smismember(c *Ctx) {
	s, ok := c.openSet(1)
	if !ok {
		return
	}
	begin := len(c.Out.Buf)
	c.Out.Array(len(c.Args) - 2)
	for _, member := range c.Args[2:] {
		has, err := s.Has(member)
		if err != nil {
			c.failAt(begin, err)
			return
		}
		c.bool01(has)
	}
}

func smembers(c *Ctx) {
	s, ok := c.openSet(1)
	if !ok {
		return
	}
	begin := len(c.Out.Buf)
	c.Out.Set(int(s.Len()))
	c.inPieces()
	err := s.Each(func(member []byte) bool {
		c.Out.Bulk(member)
		return true
	})
	if err != nil {
		c.failAt(begin, err)
	}
}

func smove(c *Ctx) {
	from, ok := c.openSet(1)
	if !ok {
		return
	}
	if !from.Exists() { // then the other may be anything
		c.Out.Int(0)
		return
	}
	to, ok := c.openSet(2)
	if !ok {
		return
	}
	moved, err := from.Move(&to, c.Args[3])
	if err != nil {
		c.Fail(err)
		return
	}
	c.bool01(moved)
}

func spop(c *Ctx) {
	switch len(c.Args) {
	case 2:
		c.popOne()
	case 3:
		c.popMany()
	default:
		c.syntaxError()
	}
}

func (c *Ctx) popOne() {
	s, ok := c.openSet(1)
	if !ok {
		return
	}
	if !s.Exists() {
		c.Out.Null()
		return
	}
	begin := len(c.Out.Buf)
	if err := s.Pop(1, c.Out.Bulk); err != nil {
		c.failAt(begin, err)
	}
}

func (c *Ctx) popMany() {
	n, ok := types.ParseInt(c.Args[2])
	if !ok || n < 0 {
		c.Out.Error(resp.ErrNotPositive)
		return
	}
	s, ok := c.openSet(1)
	if !ok {
		return
	}
	n = min(n, s.Len())
	begin := len(c.Out.Buf)
	c.Out.Set(int(n))
	if n == 0 {
		return
	}
	if err := s.Pop(n, c.Out.Bulk); err != nil {
		c.failAt(begin, err)
	}
}

func srandmember(c *Ctx) {
	switch len(c.Args) {
	case 2:
		c.randomMember()
	case 3:
		c.randomMembers()
	default:
		c.syntaxError()
	}
}

func (c *Ctx) randomMember() {
	s, ok := c.openSet(1)
	if !ok {
		return
	}
	if !s.Exists() {
		c.Out.Null()
		return
	}
	member, err := s.Random()
	if err != nil {
		c.Fail(err)
		return
	}
	c.Out.Bulk(member)
}

func (c *Ctx) randomMembers() {
	n, ok := c.int(2)
	if !ok {
		return
	}
	if n == math.MinInt64 {
		c.Out.Error("ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807")
		return
	}
	s, ok := c.openSet(1)
	if !ok {
		return
	}
	begin, replies := len(c.Out.Buf), int64(0)
	emit := func(member []byte) bool {
		c.Out.Bulk(member)
		replies++
		return len(c.Out.Buf)-begin < maxRandomReply
	}
	var err error
	switch {
	case n == 0 || !s.Exists():
		c.Out.Array(0)
		return
	case n < 0:
		n = -n
		c.Out.Array(int(n))
		err = s.SampleRepeated(n, emit)
	default:
		n = min(n, s.Len())
		c.Out.Array(int(n))
		err = s.Sample(n, emit)
	}
	if err == nil && replies < n {
		err = errLongReply
	}
	if err != nil {
		c.failAt(begin, err)
	}
}

// errLongReply: a reply that would not fit into the memory of any client.
var errLongReply = errors.New("the reply would have more than a gigabyte")

func sinter(c *Ctx) {
	sets, ok := c.openSets(1, len(c.Args))
	if !ok {
		return
	}
	c.setOf(func(emit func([]byte) error) error {
		return types.InterSets(sets, func(member []byte) bool { return emit(member) == nil })
	})
}

func sinterstore(c *Ctx) {
	if sets, ok := c.openSets(2, len(c.Args)); ok {
		c.count(types.InterStore(c.Txn, c.Key(1), sets))
	}
}

func sintercard(c *Ctx) {
	n, ok := c.numKeys(1)
	if !ok {
		return
	}
	limit := int64(0)
	for i := 2 + n; i < len(c.Args); i += 2 {
		if i+1 == len(c.Args) || !c.is(i, "limit") {
			c.syntaxError()
			return
		}
		if limit, ok = types.ParseInt(c.Args[i+1]); !ok || limit < 0 {
			c.Out.Error("ERR LIMIT can't be negative")
			return
		}
	}
	sets, ok := c.openSets(2, 2+n)
	if !ok {
		return
	}
	found := int64(0)
	err := types.InterSets(sets, func([]byte) bool {
		found++
		return found != limit
	})
	c.count(found, err)
}

// numKeys parses the number of keys that follow args[i].
func (c *Ctx) numKeys(i int) (n int, ok bool) {
	v, ok := types.ParseInt(c.Args[i])
	switch {
	case !ok || v < 1:
		c.Out.Error("ERR numkeys should be greater than 0")
	case v > int64(len(c.Args)-i-1):
		c.Out.Error("ERR Number of keys can't be greater than number of args")
	default:
		return int(v), true
	}
	return 0, false
}

func sunion(c *Ctx) {
	if sets, ok := c.openSets(1, len(c.Args)); ok {
		c.setOf(func(emit func([]byte) error) error { return types.UnionSets(sets, emit) })
	}
}

func sunionstore(c *Ctx) {
	if sets, ok := c.openSets(2, len(c.Args)); ok {
		c.count(types.UnionStore(c.Txn, c.Key(1), sets))
	}
}

func sdiff(c *Ctx) {
	if sets, ok := c.openSets(1, len(c.Args)); ok {
		c.setOf(func(emit func([]byte) error) error { return types.DiffSets(sets, emit) })
	}
}

func sdiffstore(c *Ctx) {
	if sets, ok := c.openSets(2, len(c.Args)); ok {
		c.count(types.DiffStore(c.Txn, c.Key(1), sets))
	}
}

func sscan(c *Ctx) {
	scan, ok := c.scanCursor()
	if !ok {
		return
	}
	s, ok := c.openSet(1)
	if !ok {
		return
	}
	if !s.Exists() {
		scan.empty()
		return
	}
	if !scan.options() {
		return
	}
	next, err := s.Scan(scan.cursor, scan.count, func(member []byte) error {
		if scan.selects(member) {
			scan.add(member)
		}
		return nil
	})
	scan.reply(next, err)
}
