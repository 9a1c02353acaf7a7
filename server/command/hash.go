package command

import (
	"math"

	"github.com/cairndb/cairn/engine/types"
	"github.com/cairndb/cairn/server/resp"
)

// hash opens the hash at args[1], or answers the error.
func (c *Ctx) hash() (h types.Hash, ok bool) {
	h, err := types.OpenHash(c.Txn, c.Key(1))
	if err != nil {
		c.Fail(err)
	}
	return h, err == nil
}

// saved saves the hash, or answers the error.
func (c *Ctx) saved(h *types.Hash) bool {
	err := h.Save()
	if err != nil {
		c.Fail(err)
	}
	return err == nil
}

func hset(c *Ctx) {
	if created, ok := c.setFields(); ok {
		c.Out.Int(created)
	}
}

func hmset(c *Ctx) {
	if _, ok := c.setFields(); ok {
		c.Out.OK()
	}
}

func (c *Ctx) setFields() (created int64, ok bool) {
	if len(c.Args)%2 == 1 {
		c.wrongArity()
		return 0, false
	}
	h, ok := c.hash()
	if !ok {
		return 0, false
	}
	h.Announce((len(c.Args) - 2) / 2)
	for i := 2; i < len(c.Args); i += 2 {
		isNew, err := h.Set(c.Args[i], c.Args[i+1], false)
		if err != nil {
			c.Fail(err)
			return 0, false
		}
		if isNew {
			created++
		}
	}
	return created, c.saved(&h)
}

func hsetnx(c *Ctx) {
	h, ok := c.hash()
	if !ok {
		return
	}
	_, found, err := h.Get(c.Args[2])
	if err == nil && !found {
		_, err = h.Set(c.Args[2], c.Args[3], false)
	}
	if err != nil {
		c.Fail(err)
		return
	}
	if c.saved(&h) {
		c.bool01(!found)
	}
}

func hget(c *Ctx) {
	value, found, ok := c.oneField()
	switch {
	case !ok:
	case found:
		c.Out.Bulk(value)
	default:
		c.Out.Null()
	}
}

func hmget(c *Ctx) {
	if h, ok := c.hash(); ok {
		c.takeFields(&h, c.Args[2:], nil)
	}
}

// takeFields answers with the values of fields. If change is not nil, it is called for each that is there, once it has been read, and the hash saved.
func (c *Ctx) takeFields(h *types.Hash, names [][]byte, change func(name []byte) error) {
	begin := len(c.Out.Buf)
	c.Out.Array(len(names))
	for _, name := range names {
		value, found, err := h.Get(name)
		switch {
		case found:
			c.Out.Bulk(value)
			if change != nil {
				err = change(name)
			}
		case err == nil:
			c.Out.Null()
		}
		if err != nil {
			c.failAt(begin, err)
			return
		}
	}
	if err := h.Save(); err != nil {
		c.failAt(begin, err)
	}
}

// failAt replaces the reply that begins at Buf[begin] by an error.
func (c *Ctx) failAt(begin int, err error) {
	c.Out.Buf = c.Out.Buf[:begin]
	c.Fail(err)
}

func hgetall(c *Ctx) { c.eachField(true, true) }
func hkeys(c *Ctx)   { c.eachField(true, false) }
func hvals(c *Ctx)   { c.eachField(false, true) }

func (c *Ctx) eachField(names, values bool) {
	h, ok := c.hash()
	if !ok {
		return
	}
	n, err := h.Live()
	if err != nil {
		c.Fail(err)
		return
	}
	begin := len(c.Out.Buf)
	if names && values {
		c.Out.Map(int(n))
	} else {
		c.Out.Array(int(n))
	}
	c.inPieces()
	err = h.Each(func(field, value []byte) bool {
		if names {
			c.Out.Bulk(field)
		}
		if values {
			c.Out.Bulk(value)
		}
		return true
	})
	if err != nil {
		c.failAt(begin, err)
	}
}

func hlen(c *Ctx) {
	h, ok := c.hash()
	if !ok {
		return
	}
	n, err := h.Len()
	if err != nil {
		c.Fail(err)
		return
	}
	c.Out.Int(n)
}

func hexists(c *Ctx) {
	if _, found, ok := c.oneField(); ok {
		c.bool01(found)
	}
}

func hstrlen(c *Ctx) {
	if value, _, ok := c.oneField(); ok {
		c.Out.Int(int64(len(value)))
	}
}

// oneField returns the field args[2] of the hash at args[1]; ok is false when it has answered.
func (c *Ctx) oneField() (value []byte, found, ok bool) {
	h, ok := c.hash()
	if !ok {
		return nil, false, false
	}
	value, found, err := h.Get(c.Args[2])
	if err != nil {
		c.Fail(err)
	}
	return value, found, err == nil
}

func hdel(c *Ctx) {
	h, ok := c.hash()
	if !ok {
		return
	}
	n := int64(0)
	for _, name := range c.Args[2:] {
		found, err := h.Delete(name)
		if err != nil {
			c.Fail(err)
			return
		}
		if found {
			n++
		}
	}
	if c.saved(&h) {
		c.Out.Int(n)
	}
}

func hincrby(c *Ctx) {
	n, ok := c.int(3)
	if !ok {
		return
	}
	h, ok := c.hash()
	if !ok {
		return
	}
	sum, err := h.IncrBy(c.Args[2], n)
	switch {
	case err == types.ErrNotInteger:
		c.Out.Error("ERR hash value is not an integer")
	case err != nil:
		c.Fail(err)
	case c.saved(&h):
		c.Out.Int(sum)
	}
}

func hincrbyfloat(c *Ctx) {
	n, ok := types.ParseLongDouble(c.Args[3])
	switch {
	case !ok:
		c.Out.Error(resp.ErrNotFloat)
		return
	case n.IsInf():
		c.Out.Error("ERR value is NaN or Infinity")
		return
	}
	h, ok := c.hash()
	if !ok {
		return
	}
	sum, err := h.IncrByFloat(c.Args[2], n)
	switch {
	case err == types.ErrNotFloat:
		c.Out.Error("ERR hash value is not a float")
	case err != nil:
		c.Fail(err)
	case c.saved(&h):
		c.Out.Bulk(sum)
	}
}

func hscan(c *Ctx) {
	s, ok := c.scanCursor()
	if !ok {
		return
	}
	h, ok := c.hash()
	switch {
	case !ok:
		return
	case !h.Exists():
		s.empty()
		return
	case !s.options():
		return
	}
	s.reply(h.Scan(s.cursor, s.count, func(field, value []byte) {
		if !s.selects(field) {
			return
		}
		s.add(field)
		if !s.noValues {
			s.add(value)
		}
	}))
}

func hrandfield(c *Ctx) {
	if len(c.Args) == 2 {
		c.randomField()
		return
	}
	n, ok := c.int(2)
	if !ok {
		return
	}
	if n == math.MinInt64 {
		c.Out.Error("ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807")
		return
	}
	withValues := false
	if len(c.Args) > 3 {
		if withValues = len(c.Args) == 4 && c.is(3, "withvalues"); !withValues {
			c.syntaxError()
			return
		}
		if n < -math.MaxInt64/2 || n > math.MaxInt64/2 {
			c.Out.Error("ERR value is out of range")
			return
		}
	}
	c.randomFields(n, withValues)
}

func (c *Ctx) randomField() {
	h, ok := c.hash()
	if !ok {
		return
	}
	found := false
	err := h.Random(1, func(field, _ []byte) bool {
		found = true
		c.Out.Bulk(field)
		return true
	})
	switch {
	case err != nil:
		c.Fail(err)
	case !found:
		c.Out.Null()
	}
}

// randomFields answers n different fields, or with n < 0 as many that may be the same.
func (c *Ctx) randomFields(n int64, withValues bool) {
	h, ok := c.hash()
	if !ok {
		return
	}
	live, err := h.Live()
	if err != nil {
		c.Fail(err)
		return
	}
	reply := randomReply{c: c, begin: len(c.Out.Buf), pairs: withValues}
	switch {
	case live == 0 || n == 0:
		c.Out.Array(0)
		return
	case n > 0:
		n = min(n, live)
		reply.header(n)
		err = h.Sample(n, live, func(field, value []byte) { reply.add(field, value) })
	default:
		reply.header(-n)
		err = h.Random(-n, reply.add)
	}
	reply.end(err)
}

// randomReply writes the fields that HRANDFIELD has chosen, with their values in pairs if asked for: nested in RESP3, flat in RESP2.
type randomReply struct {
	c     *Ctx
	begin int
	pairs bool
	full  bool
}

// maxRandomReply bounds what a client may ask for by a large negative count, in bytes.
const maxRandomReply = 1 << 30

func (r *randomReply) header(n int64) {
	if r.pairs && !r.c.Out.Proto3 {
		n *= 2
	}
	r.c.Out.Array(int(n))
}

func (r *randomReply) add(field, value []byte) bool {
	w := &r.c.Out
	if r.pairs && w.Proto3 {
		w.Array(2)
	}
	w.Bulk(field)
	if r.pairs {
		w.Bulk(value)
	}
	r.full = len(w.Buf)-r.begin > maxRandomReply
	return !r.full
}

func (r *randomReply) end(err error) {
	switch {
	case err != nil:
		r.c.failAt(r.begin, err)
	case r.full:
		r.c.Out.Buf = r.c.Out.Buf[:r.begin]
		r.c.Out.Error("ERR the reply would be too long: ask for fewer at a time")
	}
}
