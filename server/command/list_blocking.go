package command

import (
	"time"

	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/engine/types"
)

// The blocking commands on lists do what LPOP, RPOP, LMOVE and LMPOP do, and wait where these find no list: see Blocking.

func blpop(c *Ctx) { c.blockingPop(types.Left) }
func brpop(c *Ctx) { c.blockingPop(types.Right) }

func (c *Ctx) blockingPop(end types.End) {
	last := len(c.Args) - 1
	timeout, ok := c.blockTimeout(last)
	if !ok {
		return
	}
	for i := 1; i < last; i++ {
		l, ok := c.list(i)
		if !ok {
			return
		}
		if !l.Exists() {
			continue
		}
		e, err := l.PopOne(end)
		if err != nil {
			c.Fail(err)
			return
		}
		c.Out.Array(2)
		c.Out.Bulk(c.Args[i])
		c.Out.Bulk(e)
		return
	}
	c.awaitLists(c.Args[1:last], timeout)
}

// awaitLists waits for one of the lists, or answers as if the time were over.
func (c *Ctx) awaitLists(names [][]byte, timeout time.Duration) {
	if !c.Block(Block{Keys: names, Type: keys.TypeList, Group: "list", Timeout: timeout}) {
		c.Out.NullArray()
	}
}

func blmpop(c *Ctx) {
	keys, end, n, ok := c.mpopArgs(2)
	if !ok {
		return
	}
	timeout, ok := c.blockTimeout(1)
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
	c.awaitLists(c.Args[keys[0]:keys[1]], timeout)
}

func brpoplpush(c *Ctx) { c.blockingMove(types.Right, types.Left, 3) }

func blmove(c *Ctx) {
	from, ok := c.end(3)
	if !ok {
		return
	}
	if to, ok := c.end(4); ok {
		c.blockingMove(from, to, 5)
	}
}

func (c *Ctx) blockingMove(from, to types.End, timeoutAt int) {
	timeout, ok := c.blockTimeout(timeoutAt)
	if !ok {
		return
	}
	source, ok := c.list(1)
	switch {
	case !ok:
	case source.Exists():
		c.lmove(from, to)
	case !c.Block(Block{Keys: c.Args[1:2], Also: c.Args[2], Type: keys.TypeList, Group: "list", Timeout: timeout}):
		c.Out.Null()
	}
}
