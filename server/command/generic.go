package command

import (
	"math"
	"strconv"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/engine/types"
	"github.com/cairndb/cairn/server/glob"
	"github.com/cairndb/cairn/server/resp"
)

func del(c *Ctx) {
	n := int64(0)
	for i := 1; i < len(c.Args); i++ {
		found, err := c.Txn.Delete(c.Key(i))
		if err != nil {
			c.Fail(err)
			return
		}
		if found {
			n++
		}
	}
	c.Out.Int(n)
}

func exists(c *Ctx) {
	n := int64(0)
	for i := 1; i < len(c.Args); i++ {
		_, found, err := c.Txn.Get(c.Key(i))
		if err != nil {
			c.Fail(err)
			return
		}
		if found {
			n++
		}
	}
	c.Out.Int(n)
}

func typeCommand(c *Ctx) {
	rec, found, err := c.Txn.Get(c.Key(1))
	switch {
	case err != nil:
		c.Fail(err)
	case found:
		c.Out.Simple(types.TypeName(rec.Type))
	default:
		c.Out.Simple(types.TypeName(keys.TypeNone))
	}
}

func expire(c *Ctx)    { c.expireAfter(inSeconds) }
func pexpire(c *Ctx)   { c.expireAfter(inMillis) }
func expireat(c *Ctx)  { c.expireAfter(atSeconds) }
func pexpireat(c *Ctx) { c.expireAfter(atMillis) }

// expireAfter is the EXPIRE family: any time is allowed, one that has passed deletes the key.
func (c *Ctx) expireAfter(unit expireUnit) {
	cond, ok := c.expireCondition()
	if !ok {
		return
	}
	n, ok := c.int(2)
	if !ok {
		return
	}
	at, ok := toDeadline(n, unit, c.Txn.Now())
	if !ok {
		c.invalidExpire()
		return
	}
	done, err := types.SetExpiry(c.Txn, c.Key(1), max(at, 1), cond) // 0 would mean never
	if err != nil {
		c.Fail(err)
		return
	}
	c.bool01(done)
}

func (c *Ctx) expireCondition() (cond types.Condition, ok bool) {
	for i := 3; i < len(c.Args); i++ {
		switch {
		case c.is(i, "nx"):
			cond |= types.IfNone
		case c.is(i, "xx"):
			cond |= types.IfSome
		case c.is(i, "gt"):
			cond |= types.IfLater
		case c.is(i, "lt"):
			cond |= types.IfSooner
		default:
			c.Out.Error("ERR Unsupported option " + string(resp.CString(c.Args[i])))
			return 0, false
		}
	}
	switch {
	case cond&types.IfNone != 0 && cond != types.IfNone:
		c.Out.Error("ERR NX and XX, GT or LT options at the same time are not compatible")
	case cond&types.IfLater != 0 && cond&types.IfSooner != 0:
		c.Out.Error("ERR GT and LT options at the same time are not compatible")
	default:
		return cond, true
	}
	return 0, false
}

func ttl(c *Ctx)         { c.remaining(1000, false) }
func pttl(c *Ctx)        { c.remaining(1, false) }
func expiretime(c *Ctx)  { c.remaining(1000, true) }
func pexpiretime(c *Ctx) { c.remaining(1, true) }

// remaining answers when a key expires, in units of so many milliseconds, rounded; -1 for never, -2 for no such key.
func (c *Ctx) remaining(unit int64, absolute bool) {
	rec, found, err := c.Txn.Get(c.Key(1))
	switch {
	case err != nil:
		c.Fail(err)
	case !found:
		c.Out.Int(-2)
	case rec.ExpireAt == 0:
		c.Out.Int(-1)
	default:
		ms := rec.ExpireAt
		if !absolute {
			ms = max(ms-c.Txn.Now(), 0)
		}
		c.Out.Int(int64((uint64(ms) + uint64(unit/2)) / uint64(unit)))
	}
}

func persist(c *Ctx) {
	done, err := types.Persist(c.Txn, c.Key(1))
	if err != nil {
		c.Fail(err)
		return
	}
	c.bool01(done)
}

func rename(c *Ctx) {
	if c.rename(false) {
		c.Out.OK()
	}
}

func renamenx(c *Ctx) {
	if c.rename(true) {
		c.Out.Int(1)
	}
}

// rename reports whether it renamed; if not it has answered. A key may be renamed to itself.
func (c *Ctx) rename(onlyIfFree bool) bool {
	from, to := c.Key(1), c.Key(2)
	_, found, err := c.Txn.Get(from)
	taken := false
	if err == nil && found && onlyIfFree {
		_, taken, err = c.Txn.Get(to)
	}
	if err == nil && !found {
		err = types.ErrNoKey
	}
	if err == nil && !taken && string(from.Name) != string(to.Name) {
		_, err = types.Rename(c.Txn, from, to)
	}
	switch {
	case err != nil:
		c.Fail(err)
		return false
	case taken:
		c.Out.Int(0)
		return false
	}
	return true
}

// dbIndex parses args[i] as the number of a database, or answers the error.
func (c *Ctx) dbIndex(i int) (int, bool) {
	n, ok := c.int(i)
	switch {
	case !ok:
	case n < math.MinInt32 || n > math.MaxInt32:
		c.Out.Error("ERR value is out of range, value must between -2147483648 and 2147483647")
	case n < 0 || n >= int64(c.Node.Store.Databases()):
		c.Out.Error(resp.ErrDBRange)
	default:
		return int(n), true
	}
	return 0, false
}

// keyIn addresses args[i] in another logical database.
func (c *Ctx) keyIn(db, i int) engine.Key {
	k := c.Key(i)
	k.DB = c.Node.Store.DB(db)
	return k
}

func copyKey(c *Ctx) {
	db, replace := c.DB, false
	for i := 3; i < len(c.Args); i++ {
		switch {
		case c.is(i, "replace"):
			replace = true
		case c.is(i, "db") && i+1 < len(c.Args):
			var ok bool
			i++
			if db, ok = c.dbIndex(i); !ok {
				return
			}
		default:
			c.syntaxError()
			return
		}
	}
	if c.Node.View().Enabled() && (c.DB != 0 || db != 0) {
		c.Out.Error("ERR Copying to another database is not allowed in cluster mode")
		return
	}
	if db == c.DB && string(c.Args[1]) == string(c.Args[2]) {
		c.Out.Error(resp.ErrSameObject)
		return
	}
	to := c.keyIn(db, 2)
	done, err := false, error(nil)
	if !replace {
		_, done, err = c.Txn.Get(to)
	}
	if err == nil && !done {
		done, err = types.Copy(c.Txn, c.Key(1), to)
	} else {
		done = false
	}
	if err != nil {
		c.Fail(err)
		return
	}
	c.bool01(done)
}

func moveKey(c *Ctx) {
	if c.Node.View().Enabled() {
		c.Out.Error("ERR MOVE is not allowed in cluster mode")
		return
	}
	db, ok := c.dbIndex(2)
	if !ok {
		return
	}
	if db == c.DB {
		c.Out.Error(resp.ErrSameObject)
		return
	}
	to := c.keyIn(db, 1)
	_, taken, err := c.Txn.Get(to)
	moved := false
	if err == nil && !taken {
		moved, err = c.Txn.Move(c.Key(1), to)
	}
	if err != nil {
		c.Fail(err)
		return
	}
	c.bool01(moved)
}

// scanAll is the count that makes a scan return everything.
const scanAll = math.MaxInt32

func keysCommand(c *Ctx) {
	var found [][]byte
	pattern := c.Args[1]
	left := c.Node.leftSlots()
	_, err := c.Node.Store.Scan(c.Txn, c.Node.Store.DB(c.DB), 0, scanAll, -1, func(name []byte, _ engine.Record) {
		if (glob.MatchAll(pattern) || glob.Match(pattern, name, false)) && !left(name) {
			found = append(found, append([]byte(nil), name...))
		}
	})
	if err != nil {
		c.Fail(err)
		return
	}
	c.Out.Array(len(found))
	for _, name := range found {
		c.Out.Bulk(name)
	}
}

type scanOptions struct {
	count   int64
	pattern []byte
	typ     string
}

func (c *Ctx) scanOptions(from int) (o scanOptions, ok bool) {
	o.count = 10
	for i := from; i < len(c.Args); i += 2 {
		more := i+1 < len(c.Args)
		switch {
		case more && c.is(i, "count"):
			if o.count, ok = c.int(i + 1); !ok {
				return o, false
			}
			if o.count < 1 {
				c.syntaxError()
				return o, false
			}
		case more && c.is(i, "match"):
			o.pattern = c.Args[i+1]
			if glob.MatchAll(o.pattern) {
				o.pattern = nil
			}
		case more && c.is(i, "type"):
			o.typ = string(c.Args[i+1])
		default:
			c.syntaxError()
			return o, false
		}
	}
	return o, true
}

// selects says whether SCAN returns a key.
func (o *scanOptions) selects(name []byte, rec engine.Record) bool {
	return (o.pattern == nil || glob.Match(o.pattern, name, false)) &&
		(o.typ == "" || equalFold([]byte(o.typ), types.TypeName(rec.Type)))
}

func scan(c *Ctx) {
	cursor, ok := parseCursor(c.Args[1])
	if !ok {
		c.Out.Error(resp.ErrCursor)
		return
	}
	o, ok := c.scanOptions(2)
	if !ok {
		return
	}
	var found [][]byte
	count := int(min(o.count, scanAll))
	left := c.Node.leftSlots()
	next, err := c.Node.Store.Scan(c.Txn, c.Node.Store.DB(c.DB), cursor, count, -1, func(name []byte, rec engine.Record) {
		if o.selects(name, rec) && !left(name) {
			found = append(found, append([]byte(nil), name...))
		}
	})
	if err != nil {
		c.Fail(err)
		return
	}
	c.Out.Array(2)
	c.Out.BulkString(strconv.FormatUint(next, 10))
	c.Out.Array(len(found))
	for _, name := range found {
		c.Out.Bulk(name)
	}
}

// cursorBits is the size of a cursor; like Redis, what a client sends beyond it does not matter.
const cursorBits = 31

// parseCursor reads a cursor as Redis does, with strtoul: a sign is allowed, and nothing at all is 0.
func parseCursor(b []byte) (uint64, bool) {
	b = resp.CString(b)
	if len(b) == 0 {
		return 0, true
	}
	negative := b[0] == '-'
	if negative || b[0] == '+' {
		b = b[1:]
	}
	n, err := strconv.ParseUint(string(b), 10, 64)
	if negative {
		n = -n
	}
	return n & (1<<cursorBits - 1), err == nil
}

// randomTries is how often RANDOMKEY draws until a key is not of a slot that was handed over; in the short time until those are dropped a node that has
// hardly anything else may answer that it has none.
const randomTries = 100

func randomkey(c *Ctx) {
	left := c.Node.leftSlots()
	name, found, err := c.Node.Store.RandomKey(c.Txn, c.Node.Store.DB(c.DB))
	for try := 0; err == nil && found && left(name); try++ {
		if found = try < randomTries; found {
			name, found, err = c.Node.Store.RandomKey(c.Txn, c.Node.Store.DB(c.DB))
		}
	}
	switch {
	case err != nil:
		c.Fail(err)
	case found:
		c.Out.Bulk(name)
	default:
		c.Out.Null()
	}
}

func dbsize(c *Ctx) {
	// The transaction's own writes count too: it may hold a whole burst.
	db := c.Node.Store.DB(c.DB)
	c.Out.Int(c.Txn.DBCounts(db).Keys - c.Node.leftBehind(db).Keys)
}

// flushMode parses the optional ASYNC or SYNC: both are the same here.
func (c *Ctx) flushMode() bool {
	if len(c.Args) == 1 || (len(c.Args) == 2 && (c.is(1, "sync") || c.is(1, "async"))) {
		return true
	}
	c.syntaxError()
	return false
}

func flushall(c *Ctx) {
	if c.flushMode() {
		c.done(c.Txn.FlushAll())
	}
}

func flushdb(c *Ctx) {
	if c.flushMode() {
		c.done(c.Txn.FlushDB(c.DB))
	}
}

// done answers OK or the error.
func (c *Ctx) done(err error) {
	if err != nil {
		c.Fail(err)
		return
	}
	c.Out.OK()
}

func swapdb(c *Ctx) {
	if c.Node.View().Enabled() {
		c.Out.Error("ERR SWAPDB is not allowed in cluster mode")
		return
	}
	var db [2]int
	for i, which := range [...]string{"first", "second"} {
		n, ok := types.ParseInt(c.Args[1+i])
		if !ok || n < math.MinInt32 || n > math.MaxInt32 {
			c.Out.Error("ERR invalid " + which + " DB index")
			return
		}
		db[i] = int(n)
	}
	for _, n := range db {
		if n < 0 || n >= c.Node.Store.Databases() {
			c.Out.Error(resp.ErrDBRange)
			return
		}
	}
	c.done(c.Txn.SwapDB(db[0], db[1]))
}

// object looks up the key of an OBJECT subcommand; ok is false when it has answered.
func (c *Ctx) object() (rec engine.Record, ok bool) {
	rec, found, err := c.Txn.Get(c.Key(2))
	if err != nil {
		c.Fail(err)
		return rec, false
	}
	if !found {
		c.Out.Null()
	}
	return rec, found
}

func objectEncoding(c *Ctx) {
	if rec, ok := c.object(); ok {
		c.Out.BulkString(types.ObjectEncoding(rec))
	}
}

// Redis shares one object for each of the integers 0 to 9999 and shows this count for it.
const (
	sharedIntegers = 10000
	sharedCount    = math.MaxInt32
)

func objectRefcount(c *Ctx) {
	rec, ok := c.object()
	if !ok {
		return
	}
	n, isInt := types.ParseInt(rec.Value)
	if isInt && n >= 0 && n < sharedIntegers && types.ObjectEncoding(rec) == "int" {
		c.Out.Int(sharedCount)
		return
	}
	c.Out.Int(1)
}

// objectIdletime counts from the last write: reads leave no trace on disk.
func objectIdletime(c *Ctx) {
	if rec, ok := c.object(); ok {
		c.Out.Int(max(c.Txn.Now()/1000-int64(rec.Modified), 0))
	}
}

func objectFreq(c *Ctx) {
	if _, ok := c.object(); ok {
		c.Out.Error("ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that " +
			"when switching between policies at runtime LRU and LFU data will take some time to adjust.")
	}
}

func objectHelp(c *Ctx) {
	c.help("OBJECT",
		"ENCODING <key>",
		"    Name the encoding of the value at <key>.",
		"FREQ <key>",
		"    Return how often <key> is used, under an LFU policy.",
		"IDLETIME <key>",
		"    Return the seconds since <key> was last written.",
		"REFCOUNT <key>",
		"    Return the reference count of the value at <key>.")
}
