package command

import (
	"math"

	"github.com/cairndb/cairn/engine/types"
	"github.com/cairndb/cairn/server/resp"
)

func get(c *Ctx) {
	s, err := types.OpenString(c.Txn, c.Key(1))
	if err != nil {
		c.Fail(err)
		return
	}
	c.string(&s)
}

// string writes a string's value, or null; chunks go straight into the reply.
func (c *Ctx) string(s *types.String) {
	if !s.Exists() {
		c.Out.Null()
		return
	}
	c.stringRange(s, 0, s.Len())
}

// stringRange writes the bytes from (inclusive) to (exclusive) as a bulk string.
func (c *Ctx) stringRange(s *types.String, from, to int64) {
	if value, ok := s.Inline(); ok {
		c.Out.Bulk(value[from:to])
		return
	}
	begin := len(c.Out.Buf)
	c.Out.BulkHeader(to - from)
	c.inPieces()
	err := s.Each(from, to, func(_ int64, p []byte) bool {
		c.Out.Raw(p)
		return true
	})
	c.Out.Buf = append(c.Out.Buf, "\r\n"...)
	if err != nil {
		c.Out.Buf = c.Out.Buf[:begin]
		c.Fail(err)
	}
}

// setOptions are the options of SET and GETEX.
type setOptions struct {
	nx, xx, get, keepTTL, persist bool
	expire                        int // index of the time argument, 0 for none
	unit                          expireUnit
}

// expireUnit says how a time argument counts.
type expireUnit uint8

const (
	inSeconds expireUnit = iota
	inMillis
	atSeconds
	atMillis
)

// setOptions parses args[from:]; the options of SET and of GETEX differ.
func (c *Ctx) setOptions(from int, getex bool) (o setOptions, ok bool) {
	for i := from; i < len(c.Args); i++ {
		switch {
		case !getex && c.is(i, "nx") && !o.xx:
			o.nx = true
		case !getex && c.is(i, "xx") && !o.nx:
			o.xx = true
		case !getex && c.is(i, "get"):
			o.get = true
		case !getex && c.is(i, "keepttl") && o.expire == 0:
			o.keepTTL = true
		case getex && c.is(i, "persist") && o.expire == 0:
			o.persist = true
		default:
			unit, known := c.expireUnit(i)
			if !known || o.keepTTL || o.persist || i+1 == len(c.Args) || (o.expire != 0 && o.unit != unit) {
				c.syntaxError()
				return o, false
			}
			i++
			o.expire, o.unit = i, unit
		}
	}
	return o, true
}

func (c *Ctx) expireUnit(i int) (unit expireUnit, ok bool) {
	switch {
	case c.is(i, "ex"):
		return inSeconds, true
	case c.is(i, "px"):
		return inMillis, true
	case c.is(i, "exat"):
		return atSeconds, true
	case c.is(i, "pxat"):
		return atMillis, true
	}
	return 0, false
}

// deadline parses the time args[i] of a command that refuses times up to zero, or answers the error.
func (c *Ctx) deadline(i int, unit expireUnit) (ms int64, ok bool) {
	ms, ok = c.int(i)
	if !ok {
		return 0, false
	}
	if ms > 0 {
		if ms, ok = toDeadline(ms, unit, c.Txn.Now()); ok {
			return ms, true
		}
	}
	c.invalidExpire()
	return 0, false
}

func (c *Ctx) invalidExpire() {
	c.Out.Error("ERR invalid expire time in '" + c.Cmd.Name + "' command")
}

// toDeadline converts a time to unix milliseconds; ok is false when it overflows.
func toDeadline(n int64, unit expireUnit, now int64) (ms int64, ok bool) {
	if unit == inSeconds || unit == atSeconds {
		if n > math.MaxInt64/1000 || n < math.MinInt64/1000 {
			return 0, false
		}
		n *= 1000
	}
	if unit == inSeconds || unit == inMillis {
		if n > math.MaxInt64-now {
			return 0, false
		}
		n += now
	}
	return n, true
}

func set(c *Ctx) {
	if len(c.Args) == 3 { // the plain SET needs nothing that is there
		if err := types.SetString(c.Txn, c.Key(1), c.Args[2], 0); err != nil {
			c.Fail(err)
			return
		}
		c.Out.OK()
		return
	}
	if o, ok := c.setOptions(3, false); ok {
		c.set(1, 2, o)
	}
}

// set is SET with options; key and value are indexes of arguments.
func (c *Ctx) set(key, value int, o setOptions) {
	var expireAt int64
	if o.expire != 0 {
		var ok bool
		if expireAt, ok = c.deadline(o.expire, o.unit); !ok {
			return
		}
	}
	k := c.Key(key)
	if o.nx || o.xx || o.get || o.keepTTL {
		rec, found, err := c.Txn.Get(k)
		if err != nil {
			c.Fail(err)
			return
		}
		if o.get && !c.oldValue(key) {
			return
		}
		if (o.nx && found) || (o.xx && !found) {
			if !o.get {
				c.Out.Null()
			}
			return
		}
		if o.keepTTL {
			expireAt = rec.ExpireAt
		}
	}
	if err := c.setUntil(key, value, expireAt); err != nil {
		c.Fail(err)
		return
	}
	if !o.get {
		c.Out.OK()
	}
}

// setUntil sets a key to an argument; with an expiry that has passed the key is gone at once.
func (c *Ctx) setUntil(key, value int, expireAt int64) error {
	if expireAt != 0 && expireAt <= c.Txn.Now() {
		_, err := c.Txn.Delete(c.Key(key))
		return err
	}
	return types.SetString(c.Txn, c.Key(key), c.Args[value], expireAt)
}

// oldValue writes the string at a key before it is changed; ok is false when it wrote an error.
func (c *Ctx) oldValue(key int) (ok bool) {
	s, err := types.OpenString(c.Txn, c.Key(key))
	if err != nil {
		c.Fail(err)
		return false
	}
	c.string(&s)
	return true
}

func setnx(c *Ctx) {
	k := c.Key(1)
	_, found, err := c.Txn.Get(k)
	if err == nil && !found {
		err = types.SetString(c.Txn, k, c.Args[2], 0)
	}
	if err != nil {
		c.Fail(err)
		return
	}
	c.bool01(!found)
}

func setex(c *Ctx)  { c.set(1, 3, setOptions{expire: 2, unit: inSeconds}) }
func psetex(c *Ctx) { c.set(1, 3, setOptions{expire: 2, unit: inMillis}) }

func getset(c *Ctx) { c.set(1, 2, setOptions{get: true}) }

func getex(c *Ctx) {
	o, ok := c.setOptions(2, true)
	if !ok {
		return
	}
	k := c.Key(1)
	s, err := types.OpenString(c.Txn, k)
	if err != nil {
		c.Fail(err)
		return
	}
	if !s.Exists() || (o.expire == 0 && !o.persist) {
		c.string(&s)
		return
	}
	var expireAt int64
	if o.expire != 0 {
		if expireAt, ok = c.deadline(o.expire, o.unit); !ok {
			return
		}
	}
	begin := len(c.Out.Buf)
	c.string(&s)
	if _, err := types.SetExpiry(c.Txn, k, expireAt, types.Always); err != nil {
		c.Out.Buf = c.Out.Buf[:begin]
		c.Fail(err)
	}
}

func getdel(c *Ctx) {
	begin := len(c.Out.Buf)
	if !c.oldValue(1) {
		return
	}
	if _, err := c.Txn.Delete(c.Key(1)); err != nil {
		c.Out.Buf = c.Out.Buf[:begin]
		c.Fail(err)
	}
}

func mget(c *Ctx) {
	c.Out.Array(len(c.Args) - 1)
	for i := 1; i < len(c.Args); i++ {
		s, err := types.OpenString(c.Txn, c.Key(i))
		switch {
		case err == types.ErrWrongType:
			c.Out.Null()
		case err != nil:
			c.Fail(err)
		default:
			c.string(&s)
		}
	}
}

func mset(c *Ctx) {
	if !c.pairs() {
		return
	}
	if err := c.setPairs(); err != nil {
		c.Fail(err)
		return
	}
	c.Out.OK()
}

func msetnx(c *Ctx) {
	if !c.pairs() {
		return
	}
	for i := 1; i < len(c.Args); i += 2 {
		_, found, err := c.Txn.Get(c.Key(i))
		if err != nil {
			c.Fail(err)
			return
		}
		if found {
			c.Out.Int(0)
			return
		}
	}
	if err := c.setPairs(); err != nil {
		c.Fail(err)
		return
	}
	c.Out.Int(1)
}

// pairs checks that keys and values alternate.
func (c *Ctx) pairs() bool {
	if len(c.Args)%2 == 1 {
		return true
	}
	c.wrongArity()
	return false
}

func (c *Ctx) setPairs() error {
	for i := 1; i < len(c.Args); i += 2 {
		if err := types.SetString(c.Txn, c.Key(i), c.Args[i+1], 0); err != nil {
			return err
		}
	}
	return nil
}

func incr(c *Ctx) { c.incrBy(1) }
func decr(c *Ctx) { c.incrBy(-1) }

func incrby(c *Ctx) {
	if n, ok := c.int(2); ok {
		c.incrBy(n)
	}
}

func decrby(c *Ctx) {
	n, ok := c.int(2)
	if !ok {
		return
	}
	if n == math.MinInt64 {
		c.Out.Error("ERR decrement would overflow")
		return
	}
	c.incrBy(-n)
}

func (c *Ctx) incrBy(n int64) {
	sum, err := types.IncrBy(c.Txn, c.Key(1), n)
	if err != nil {
		c.Fail(err)
		return
	}
	c.Out.Int(sum)
}

func incrbyfloat(c *Ctx) {
	sum, err := types.IncrByFloat(c.Txn, c.Key(1), c.Args[2])
	if err != nil {
		c.Fail(err)
		return
	}
	c.Out.Bulk(sum)
}

func appendCommand(c *Ctx) {
	k := c.Key(1)
	s, err := types.OpenString(c.Txn, k)
	if err != nil {
		c.Fail(err)
		return
	}
	if s.Len()+int64(len(c.Args[2])) > c.maxString() {
		c.Fail(types.ErrTooLong)
		return
	}
	if s.Exists() {
		err = s.WriteAt(s.Len(), c.Args[2])
	} else {
		err = types.SetString(c.Txn, k, c.Args[2], 0)
	}
	if err != nil {
		c.Fail(err)
		return
	}
	c.Out.Int(c.lengthAfter(&s, c.Args[2]))
}

// lengthAfter is the length once added was appended to s.
func (c *Ctx) lengthAfter(s *types.String, added []byte) int64 {
	if s.Exists() {
		return s.Len()
	}
	return int64(len(added))
}

func strlen(c *Ctx) {
	s, err := types.OpenString(c.Txn, c.Key(1))
	if err != nil {
		c.Fail(err)
		return
	}
	c.Out.Int(s.Len())
}

func setrange(c *Ctx) {
	off, ok := c.int(2)
	if !ok {
		return
	}
	if off < 0 {
		c.Out.Error(resp.ErrOffset)
		return
	}
	s, err := types.OpenString(c.Txn, c.Key(1))
	value := c.Args[3]
	switch {
	case err != nil:
	case len(value) == 0:
	case off > c.maxString()-int64(len(value)):
		err = types.ErrTooLong
	default:
		err = s.WriteAt(off, value)
	}
	if err != nil {
		c.Fail(err)
		return
	}
	c.Out.Int(s.Len())
}

func getrange(c *Ctx) {
	start, ok := c.int(2)
	if !ok {
		return
	}
	end, ok := c.int(3)
	if !ok {
		return
	}
	s, err := types.OpenString(c.Txn, c.Key(1))
	if err != nil {
		c.Fail(err)
		return
	}
	from, to := clampRange(start, end, s.Len())
	c.stringRange(&s, from, to)
}

// clampRange turns Redis's inclusive range, negative from the end, into from (inclusive) and to (exclusive).
func clampRange(start, end, length int64) (from, to int64) {
	if start < 0 && end < 0 && start > end {
		return 0, 0
	}
	if start < 0 {
		start = max(start+length, 0)
	}
	if end < 0 {
		end = max(end+length, 0)
	}
	end = min(end, length-1)
	if start > end || length == 0 {
		return 0, 0
	}
	return start, end + 1
}

type lcsOptions struct {
	idx, length, withMatchLen bool
	minMatchLen               int64
}

func (c *Ctx) lcsOptions() (o lcsOptions, ok bool) {
	for i := 3; i < len(c.Args); i++ {
		switch {
		case c.is(i, "idx"):
			o.idx = true
		case c.is(i, "len"):
			o.length = true
		case c.is(i, "withmatchlen"):
			o.withMatchLen = true
		case c.is(i, "minmatchlen") && i+1 < len(c.Args):
			i++
			if o.minMatchLen, ok = c.int(i); !ok {
				return o, false
			}
		default:
			c.syntaxError()
			return o, false
		}
	}
	if o.idx && o.length {
		c.Out.Error("ERR If you want both the length and indexes, please just use IDX.")
		return o, false
	}
	return o, true
}

func lcs(c *Ctx) {
	var text [2][]byte
	for i := range text {
		s, err := types.OpenString(c.Txn, c.Key(1+i))
		if err == nil {
			text[i], err = s.Bytes()
		}
		if err == types.ErrWrongType {
			c.Out.Error("ERR The specified keys must contain string values")
			return
		}
		if err != nil {
			c.Fail(err)
			return
		}
	}
	o, ok := c.lcsOptions()
	if !ok {
		return
	}
	sequence, matches, err := types.LCS(text[0], text[1], c.maxString())
	switch {
	case err != nil:
		c.Out.Error("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len")
	case o.idx:
		c.lcsMatches(sequence, matches, o)
	case o.length:
		c.Out.Int(int64(len(sequence)))
	default:
		c.Out.Bulk(sequence)
	}
}

func (c *Ctx) lcsMatches(sequence []byte, matches []types.Match, o lcsOptions) {
	kept := matches[:0]
	for _, m := range matches {
		if int64(m.Len()) >= o.minMatchLen {
			kept = append(kept, m)
		}
	}
	c.Out.Map(2)
	c.Out.BulkString("matches")
	c.Out.Array(len(kept))
	for _, m := range kept {
		if o.withMatchLen {
			c.Out.Array(3)
		} else {
			c.Out.Array(2)
		}
		for _, r := range [...]types.Range{m.A, m.B} {
			c.Out.Array(2)
			c.Out.Int(int64(r.Start))
			c.Out.Int(int64(r.End))
		}
		if o.withMatchLen {
			c.Out.Int(int64(m.Len()))
		}
	}
	c.Out.BulkString("len")
	c.Out.Int(int64(len(sequence)))
}

// setKeyFlags are the key flags of a SET: it reads the key only with GET.
func setKeyFlags(args [][]byte) []string {
	for _, a := range args[min(3, len(args)):] {
		if equalFold(a, "get") {
			return []string{"RW", "access", "update"}
		}
	}
	return []string{"OW", "update"}
}
