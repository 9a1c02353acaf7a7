package command

import (
	"time"

	"github.com/cairndb/cairn/engine/keys"
)

// The blocking commands on sorted sets do what ZPOPMIN, ZPOPMAX and ZMPOP do, and wait where these find no set: see Blocking.

func bzpopmin(c *Ctx) { c.bzpop(false) }
func bzpopmax(c *Ctx) { c.bzpop(true) }

func (c *Ctx) bzpop(greatest bool) {
	last := len(c.Args) - 1
	timeout, ok := c.blockTimeout(last)
	if !ok {
		return
	}
	for i := 1; i < last; i++ {
		z, ok := c.zset(i)
		if !ok {
			return
		}
		if !z.Exists() {
			continue
		}
		popped, err := z.Pop(greatest, 1)
		if err != nil {
			c.Fail(err)
			return
		}
		c.Out.Array(3)
		c.Out.Bulk(c.Args[i])
		c.scored(popped[0], true, false)
		return
	}
	c.awaitZSets(c.Args[1:last], timeout)
}

// awaitZSets waits for one of the sorted sets, or answers as if the time were over.
func (c *Ctx) awaitZSets(names [][]byte, timeout time.Duration) {
	if !c.Block(Block{Keys: names, Type: keys.TypeZSet, Group: "zset", Timeout: timeout}) {
		c.Out.NullArray()
	}
}

func bzmpop(c *Ctx) {
	keys, greatest, n, ok := c.zmpopOptions(2)
	if !ok {
		return
	}
	timeout, ok := c.blockTimeout(1)
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
	c.awaitZSets(c.Args[keys[0]:keys[0]+len(keys)], timeout)
}
