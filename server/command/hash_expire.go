package command

import (
	"math"

	"github.com/cairndb/cairn/engine/types"
	"github.com/cairndb/cairn/server/resp"
)

// Expiry of fields: HEXPIRE and its kin as in Redis 7.4, HGETEX, HSETEX and HGETDEL as in Redis 8.

// maxFieldTime is the latest time at which a field may expire, in unix milliseconds: Redis keeps 46 bits.
const maxFieldTime = 1<<46 - 1

const (
	errFieldsMissing = "ERR Mandatory argument FIELDS is missing or not at the right position"
	errFieldCount    = "ERR Number of fields must be a positive integer"
	errFieldsPlus    = "ERR The `numfields` parameter must match the number of arguments"
	errOneExpiry     = "ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified"
	errOneCondition  = "ERR Only one of FXX or FNX arguments can be specified"
)

func hexpire(c *Ctx)    { c.expireFields(inSeconds) }
func hpexpire(c *Ctx)   { c.expireFields(inMillis) }
func hexpireat(c *Ctx)  { c.expireFields(atSeconds) }
func hpexpireat(c *Ctx) { c.expireFields(atMillis) }

func (c *Ctx) expireFields(unit expireUnit) {
	h, ok := c.hash()
	if !ok {
		return
	}
	at, ok := c.fieldDeadline(2, unit)
	if !ok {
		return
	}
	i, cond := 3, types.Always
	switch {
	case c.is(i, "nx"):
		i, cond = 4, types.IfNone
	case c.is(i, "xx"):
		i, cond = 4, types.IfSome
	case c.is(i, "gt"):
		i, cond = 4, types.IfLater
	case c.is(i, "lt"):
		i, cond = 4, types.IfSooner
	}
	names, ok := c.fieldNames(i, "ERR Parameter `numFields` should be greater than 0")
	if !ok {
		return
	}
	c.changeFields(&h, names, func(name []byte) (types.FieldResult, error) { return h.SetExpiry(name, at, cond) })
}

// changeFields answers with what change returns for each field, and saves the hash.
func (c *Ctx) changeFields(h *types.Hash, names [][]byte, change func(name []byte) (types.FieldResult, error)) {
	begin := len(c.Out.Buf)
	c.Out.Array(len(names))
	for _, name := range names {
		result, err := change(name)
		if err != nil {
			c.failAt(begin, err)
			return
		}
		c.Out.Int(int64(result))
	}
	if err := h.Save(); err != nil {
		c.failAt(begin, err)
	}
}

func hpersist(c *Ctx) {
	h, ok := c.hash()
	if !ok {
		return
	}
	if names, ok := c.fieldNames(2, errFieldCount); ok {
		c.changeFields(&h, names, h.Persist)
	}
}

func httl(c *Ctx)         { c.fieldTimes(1000, false) }
func hpttl(c *Ctx)        { c.fieldTimes(1, false) }
func hexpiretime(c *Ctx)  { c.fieldTimes(1000, true) }
func hpexpiretime(c *Ctx) { c.fieldTimes(1, true) }

// fieldTimes answers when fields expire, in units of so many milliseconds, rounded up.
func (c *Ctx) fieldTimes(unit int64, absolute bool) {
	h, ok := c.hash()
	if !ok {
		return
	}
	names, ok := c.fieldNames(2, errFieldCount)
	if !ok {
		return
	}
	begin := len(c.Out.Buf)
	c.Out.Array(len(names))
	for _, name := range names {
		at, found, err := h.ExpireAt(name)
		switch {
		case err != nil:
			c.failAt(begin, err)
			return
		case !found:
			c.Out.Int(int64(types.FieldAbsent))
		case at == 0:
			c.Out.Int(int64(types.FieldLasts))
		default:
			if !absolute {
				at -= c.Txn.Now()
			}
			c.Out.Int((at + unit - 1) / unit)
		}
	}
}

// fieldNames parses FIELDS numfields field … from args[i] to the end; badCount is the error for a wrong number.
func (c *Ctx) fieldNames(i int, badCount string) (names [][]byte, ok bool) {
	switch {
	case i >= len(c.Args) || !c.is(i, "fields"):
		c.Out.Error(errFieldsMissing)
		return nil, false
	case i+1 == len(c.Args):
		c.wrongArity()
		return nil, false
	}
	n, ok := types.ParseInt(c.Args[i+1])
	names = c.Args[i+2:]
	switch {
	case !ok || n < 1:
		c.Out.Error(badCount)
		return nil, false
	case n != int64(len(names)):
		c.Out.Error(errFieldsPlus)
		return nil, false
	}
	return names, true
}

// fieldDeadline parses the time args[i], or answers the error. It may lie in the past, but not before 1970.
func (c *Ctx) fieldDeadline(i int, unit expireUnit) (ms int64, ok bool) {
	n, ok := c.int(i)
	if !ok {
		return 0, false
	}
	if n < 0 {
		c.Out.Error("ERR invalid expire time, must be >= 0")
		return 0, false
	}
	if ms, ok = toDeadline(n, unit, c.Txn.Now()); !ok || ms > maxFieldTime {
		c.invalidExpire()
		return 0, false
	}
	return ms, true
}

func hgetdel(c *Ctx) {
	h, ok := c.hash()
	if !ok {
		return
	}
	names, ok := c.fieldNames(2, errFieldCount)
	if !ok {
		return
	}
	c.takeFields(&h, names, func(name []byte) error {
		_, err := h.Delete(name)
		return err
	})
}

func hgetex(c *Ctx) {
	h, ok := c.hash()
	if !ok {
		return
	}
	var at int64
	unit, sets := c.expireUnit(2)
	persists := c.is(2, "persist")
	i := 2
	switch {
	case sets:
		if at, ok = c.fieldDeadline(3, unit); !ok {
			return
		}
		i = 4
	case persists:
		i = 3
	}
	names, ok := c.fieldNames(i, errFieldCount)
	if !ok {
		return
	}
	c.takeFields(&h, names, func(name []byte) (err error) {
		switch {
		case sets:
			_, err = h.SetExpiry(name, at, types.Always)
		case persists:
			_, err = h.Persist(name)
		}
		return err
	})
}

// setexOptions are HSETEX's.
type setexOptions struct {
	ifAll, ifNone, keepExpiry bool
	expires                   bool
	at                        int64
	pairs                     [][]byte // fields and values by turns
}

func (c *Ctx) setexOptions() (o setexOptions, ok bool) {
	for i := 2; i < len(c.Args); i++ {
		unit, isUnit := c.expireUnit(i)
		switch {
		case c.is(i, "fields"):
			o.pairs, ok = c.fieldPairs(i)
			return o, ok
		case isUnit || c.is(i, "keepttl"):
			if o.expires || o.keepExpiry {
				c.Out.Error(errOneExpiry)
				return o, false
			}
			if o.keepExpiry = !isUnit; o.keepExpiry {
				continue
			}
			if i++; i == len(c.Args) {
				c.Out.Error("ERR missing expire time")
				return o, false
			}
			o.expires = true
			if o.at, ok = c.fieldDeadline(i, unit); !ok {
				return o, false
			}
		case c.is(i, "fxx") || c.is(i, "fnx"):
			if o.ifAll || o.ifNone {
				c.Out.Error(errOneCondition)
				return o, false
			}
			o.ifAll = c.is(i, "fxx")
			o.ifNone = !o.ifAll
		default:
			c.Out.Error("ERR unknown argument: " + string(resp.CString(c.Args[i])))
			return o, false
		}
	}
	c.wrongArity()
	return o, false
}

// fieldPairs parses FIELDS numfields field value … from args[i] to the end.
func (c *Ctx) fieldPairs(i int) (pairs [][]byte, ok bool) {
	if i >= len(c.Args)-3 {
		c.wrongArity()
		return nil, false
	}
	n, ok := types.ParseInt(c.Args[i+1])
	if !ok || n < 1 || n > math.MaxInt32 {
		c.Out.Error("ERR invalid number of fields")
		return nil, false
	}
	pairs = c.Args[i+2:]
	if int64(len(pairs)) != 2*n {
		c.wrongArity()
		return nil, false
	}
	return pairs, true
}

func hsetex(c *Ctx) {
	o, ok := c.setexOptions()
	if !ok {
		return
	}
	h, ok := c.hash()
	if !ok {
		return
	}
	if o.ifAll || o.ifNone {
		for i := 0; i < len(o.pairs); i += 2 {
			_, found, err := h.Get(o.pairs[i])
			if err != nil {
				c.Fail(err)
				return
			}
			if found != o.ifAll {
				c.Out.Int(0)
				return
			}
		}
	}
	h.Announce(len(o.pairs) / 2)
	for i := 0; i < len(o.pairs); i += 2 {
		_, err := h.Set(o.pairs[i], o.pairs[i+1], o.keepExpiry)
		if err == nil && o.expires {
			_, err = h.SetExpiry(o.pairs[i], o.at, types.Always)
		}
		if err != nil {
			c.Fail(err)
			return
		}
	}
	if c.saved(&h) {
		c.Out.Int(1)
	}
}
