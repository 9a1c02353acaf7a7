package command

import (
	"math"

	"github.com/cairndb/cairn/engine/rdb"
	"github.com/cairndb/cairn/server/resp"
)

func dump(c *Ctx) {
	k := c.Key(1)
	rec, found, err := c.Txn.Get(k)
	if err != nil {
		c.Fail(err)
		return
	}
	if !found {
		c.Out.Null()
		return
	}
	payload, err := rdb.Dump(nil, c.Txn, k, rec, c.Node.Config.ProtoMaxBulkLen())
	if err != nil {
		c.Fail(err)
		return
	}
	c.Out.Bulk(payload)
}

type restoreOptions struct {
	replace, absTTL, idle, freq bool
}

// restoreOptions parses the options. IDLETIME and FREQ are checked but have no effect: reads leave no trace here.
func (c *Ctx) restoreOptions() (o restoreOptions, ok bool) {
	for i := 4; i < len(c.Args); i++ {
		more := i+1 < len(c.Args)
		switch {
		case c.is(i, "replace"):
			o.replace = true
		case c.is(i, "absttl"):
			o.absTTL = true
		case c.is(i, "idletime") && more && !o.freq:
			i++
			o.idle = true
			if !c.within(i, math.MaxInt64, "ERR Invalid IDLETIME value, must be >= 0") {
				return o, false
			}
		case c.is(i, "freq") && more && !o.idle:
			i++
			o.freq = true
			if !c.within(i, 255, "ERR Invalid FREQ value, must be >= 0 and <= 255") {
				return o, false
			}
		default:
			c.syntaxError()
			return o, false
		}
	}
	return o, true
}

// within says whether args[i] is an integer from 0 to limit, or answers the error.
func (c *Ctx) within(i int, limit int64, text string) bool {
	n, ok := c.int(i)
	if ok && (n < 0 || n > limit) {
		c.Out.Error(text)
		return false
	}
	return ok
}

// expiryAfter adds a TTL to the time. What overflows lies in the past, as in Redis; but not so when it does by no more than clocks may differ: MIGRATE sends
// what is left until the expiry, and a key that has the greatest one there is would be gone when it arrives.
func expiryAfter(ttl, now int64) int64 {
	const difference = 3_600_000
	if over := ttl - (math.MaxInt64 - now); over > 0 && over <= difference {
		return math.MaxInt64
	}
	return ttl + now
}

func restore(c *Ctx) {
	o, ok := c.restoreOptions()
	if !ok {
		return
	}
	k := c.Key(1)
	_, found, err := c.Txn.Get(k)
	if err != nil {
		c.Fail(err)
		return
	}
	if found && !o.replace {
		c.Out.Error(resp.ErrBusyKey)
		return
	}
	expireAt, ok := c.int(2)
	if !ok {
		return
	}
	if expireAt < 0 {
		c.Out.Error("ERR Invalid TTL value, must be >= 0")
		return
	}
	value, err := rdb.Load(c.Args[3], c.Node.Config.ProtoMaxBulkLen())
	if err != nil {
		c.Fail(err)
		return
	}
	if expireAt != 0 && !o.absTTL {
		expireAt = expiryAfter(expireAt, c.Txn.Now())
	}
	if expireAt != 0 && expireAt <= c.Txn.Now() {
		_, err = c.Txn.Delete(k)
	} else {
		err = rdb.Store(c.Txn, k, &value, expireAt)
	}
	c.done(err)
}
