package command

import (
	"bytes"
	"math"
	"slices"
	"strconv"

	"github.com/cairndb/cairn/engine/types"
	"github.com/cairndb/cairn/server/resp"
)

// parseUint reads what Redis's string2ull does: a plain integer, or whatever strtoull takes to the end.
func parseUint(b []byte) (uint64, bool) {
	if n, ok := types.ParseInt(b); ok {
		return uint64(n), n >= 0
	}
	b = bytes.TrimLeft(b, " \t\n\v\f\r")
	negative := false
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		negative = b[0] == '-'
		b = b[1:]
	}
	if len(b) == 0 || b[0] == '+' || b[0] == '-' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(b), 10, 64)
	if negative {
		n = -n
	}
	return n, err == nil
}

// idForm says which spellings of a stream id are accepted beside <ms>-<seq> and <ms>.
type idForm uint8

const (
	idStrict  idForm = iota
	idEnds           // "-" and "+", too
	idAutoSeq        // <ms>-*, too
)

// parseStreamID reads a stream id; one without a sequence gets seq. auto says that the sequence is *.
func parseStreamID(arg []byte, seq uint64, form idForm) (id types.StreamID, auto, ok bool) {
	const longest = 127
	if len(arg) > longest {
		return id, false, false
	}
	text := resp.CString(arg)
	if len(text) == 1 && (text[0] == '-' || text[0] == '+') {
		if text[0] == '+' {
			id = types.MaxStreamID
		}
		return id, false, form == idEnds
	}
	ms, rest, hasSeq := bytes.Cut(text, []byte("-"))
	if id.Ms, ok = parseUint(ms); !ok {
		return id, false, false
	}
	id.Seq = seq
	switch {
	case !hasSeq:
	case form == idAutoSeq && string(rest) == "*":
		id.Seq, auto = 0, true
	default:
		id.Seq, ok = parseUint(rest)
	}
	return id, auto, ok
}

// streamID parses args[i], or answers that it is no stream id.
func (c *Ctx) streamID(i int) (id types.StreamID, ok bool) {
	if id, _, ok = parseStreamID(c.Args[i], 0, idStrict); !ok {
		c.Out.Error(resp.ErrStreamID)
	}
	return id, ok
}

// streamIDs parses args[i:].
func (c *Ctx) streamIDs(i int) (ids []types.StreamID, ok bool) {
	ids = make([]types.StreamID, 0, len(c.Args)-i)
	for ; i < len(c.Args); i++ {
		id, ok := c.streamID(i)
		if !ok {
			return nil, false
		}
		ids = append(ids, id)
	}
	return ids, true
}

// rangeStart and rangeEnd parse an end of a range of ids: <id>, (<id>, - or +.
func (c *Ctx) rangeStart(i int) (types.StreamID, bool) {
	return c.rangeID(i, 0, types.StreamID.Next, "ERR invalid start ID for the interval")
}

func (c *Ctx) rangeEnd(i int) (types.StreamID, bool) {
	return c.rangeID(i, math.MaxUint64, types.StreamID.Prev, "ERR invalid end ID for the interval")
}

func (c *Ctx) rangeID(i int, seq uint64, inward func(types.StreamID) (types.StreamID, bool), none string) (id types.StreamID, ok bool) {
	arg, form := c.Args[i], idEnds
	exclusive := len(arg) > 1 && arg[0] == '('
	if exclusive {
		arg, form = arg[1:], idStrict
	}
	if id, _, ok = parseStreamID(arg, seq, form); !ok {
		c.Out.Error(resp.ErrStreamID)
		return id, false
	}
	if exclusive {
		if id, ok = inward(id); !ok {
			c.Out.Error(none)
		}
	}
	return id, ok
}

// openStream opens the stream at args[i]; ok is false when it has answered an error.
func (c *Ctx) openStream(i int) (s types.Stream, ok bool) {
	s, err := types.OpenStream(c.Txn, c.Key(i))
	if err != nil {
		c.Fail(err)
	}
	return s, err == nil
}

// counted puts the header of an aggregate before what was written since at: an array of n elements, or with prefix '%' a map of n pairs.
func (c *Ctx) counted(at int, prefix byte, n int) {
	if prefix == '%' && !c.Out.Proto3 {
		prefix, n = '*', 2*n
	}
	var head [24]byte
	h := append(strconv.AppendInt(append(head[:0], prefix), int64(n), 10), "\r\n"...)
	c.Out.Buf = slices.Insert(c.Out.Buf, at, h...)
}

func (c *Ctx) writeStreamID(id types.StreamID) {
	var text [44]byte
	c.Out.Bulk(id.Append(text[:0]))
}

// streamEntry writes an entry: its id, and its fields and values.
func (c *Ctx) streamEntry(id types.StreamID, f types.Fields) {
	c.Out.Array(2)
	c.writeStreamID(id)
	c.Out.Array(2 * f.Len())
	f.Each(c.Out.Bulk)
}

// streamEntries writes up to count entries between two ids, 0 for all.
func (c *Ctx) streamEntries(s *types.Stream, from, to types.StreamID, reverse bool, count uint64) error {
	at, n := len(c.Out.Buf), 0
	err := s.Range(from, to, reverse, func(id types.StreamID, f types.Fields) bool {
		c.streamEntry(id, f)
		n++
		return uint64(n) != count
	})
	c.counted(at, '*', n)
	return err
}

// failSince takes back what a failed command has written since at, and answers the error.
func (c *Ctx) failSince(at int, err error) {
	c.Out.Buf = c.Out.Buf[:at]
	c.Fail(err)
}

// addOptions are the options of XADD and XTRIM.
type addOptions struct {
	trim       types.Trim
	trims      bool
	noMkStream bool
	id         types.StreamID
	auto       bool // the id is *
	autoSeq    bool // <ms>-*
	limitGiven bool
	fields     int // index of the first field
	limit      int64
}

// addOptions parses the options, for XADD with the id that ends them.
func (c *Ctx) addOptions(xadd bool) (o addOptions, ok bool) {
	i := 2
	for ; i < len(c.Args); i++ {
		more := len(c.Args) - 1 - i
		arg := c.Args[i]
		switch {
		case xadd && len(resp.CString(arg)) == 1 && arg[0] == '*':
			o.auto = true
		case (c.is(i, "maxlen") || c.is(i, "minid")) && more > 0:
			if i, ok = c.trimOption(i, &o); !ok {
				return o, false
			}
			continue
		case c.is(i, "limit") && more > 0:
			i++
			if o.limit, ok = c.int(i); !ok {
				return o, false
			}
			if o.limit < 0 {
				c.Out.Error("ERR The LIMIT argument must be >= 0.")
				return o, false
			}
			o.limitGiven = true
			continue
		case xadd && c.is(i, "nomkstream"):
			o.noMkStream = true
			continue
		case xadd:
			if o.id, o.autoSeq, ok = parseStreamID(arg, 0, idAutoSeq); !ok {
				c.Out.Error(resp.ErrStreamID)
				return o, false
			}
		default:
			c.syntaxError()
			return o, false
		}
		break
	}
	o.fields = i + 1
	return o, c.trimLimit(&o, xadd)
}

// trimOption parses MAXLEN or MINID at args[i] and returns the index of its last argument.
func (c *Ctx) trimOption(i int, o *addOptions) (last int, ok bool) {
	if o.trims {
		c.Out.Error("ERR syntax error, MAXLEN and MINID options at the same time are not compatible")
		return i, false
	}
	o.trims = true
	o.trim = types.Trim{ByID: c.is(i, "minid")}
	i++
	if i+1 < len(c.Args) {
		switch string(resp.CString(c.Args[i])) {
		case "~":
			o.trim.Approximate = true
			i++
		case "=":
			i++
		}
	}
	if o.trim.ByID {
		o.trim.MinID, ok = c.streamID(i)
		return i, ok
	}
	n, ok := c.int(i)
	if ok && n < 0 {
		c.Out.Error("ERR The MAXLEN argument must be >= 0.")
		return i, false
	}
	o.trim.MaxLen = uint64(n)
	return i, ok
}

// trimLimit bounds the work of approximate trimming as Redis does.
func (c *Ctx) trimLimit(o *addOptions, xadd bool) (ok bool) {
	switch {
	case o.limit > 0 && !o.trims:
		c.Out.Error("ERR syntax error, LIMIT cannot be used without specifying a trimming strategy")
	case !xadd && !o.trims:
		c.Out.Error("ERR syntax error, XTRIM must be called with a trimming strategy")
	case o.limitGiven && !o.trim.Approximate:
		c.Out.Error("ERR syntax error, LIMIT cannot be used without the special ~ option")
	default:
		if o.trim.Approximate {
			o.trim.Limit = uint64(o.limit)
			if !o.limitGiven {
				o.trim.Limit = defaultTrimLimit(c.Txn.Packing().StreamNodeEntries)
			}
		}
		return true
	}
	return false
}

// defaultTrimLimit is how many entries approximate trimming deletes at most, from the size of a node.
func defaultTrimLimit(nodeEntries int) uint64 {
	const nodes, whenUnlimited, most = 100, 10_000, 1_000_000
	if nodeEntries <= 0 {
		return whenUnlimited
	}
	return uint64(min(nodeEntries, most/nodes)) * nodes
}

func xadd(c *Ctx) {
	o, ok := c.addOptions(true)
	if !ok {
		return
	}
	n := len(c.Args) - o.fields
	if n < 2 || n%2 == 1 {
		c.Out.Error("ERR wrong number of arguments for '" + c.Cmd.Name + "' command")
		return
	}
	if !o.auto && !o.autoSeq && o.id.IsZero() {
		c.Out.Error("ERR The ID specified in XADD must be greater than 0-0")
		return
	}
	s, ok := c.openStream(1)
	if !ok {
		return
	}
	if !s.Exists() && o.noMkStream {
		c.Out.Null()
		return
	}
	id, err := c.add(&s, &o)
	if err == nil && o.trims {
		_, err = s.Trim(o.trim)
	}
	if err == nil {
		err = s.Save()
	}
	if err != nil {
		c.Fail(err)
		return
	}
	c.writeStreamID(id)
}

// add appends the entry of an XADD.
func (c *Ctx) add(s *types.Stream, o *addOptions) (id types.StreamID, err error) {
	if s.LastID() == types.MaxStreamID {
		return id, types.ErrIDsExhausted
	}
	if !s.Exists() {
		if err := s.Create(0); err != nil {
			return id, err
		}
	}
	switch {
	case o.auto:
		id, err = s.NextID(c.Txn.Now())
	case o.autoSeq:
		id, err = s.NextIDAt(o.id.Ms)
	default:
		id = o.id
	}
	if err != nil {
		return id, err
	}
	return id, s.Add(id, c.Args[o.fields:])
}

func xtrim(c *Ctx) {
	o, ok := c.addOptions(false)
	if !ok {
		return
	}
	s, ok := c.openStream(1)
	if !ok {
		return
	}
	removed, err := s.Trim(o.trim)
	if err == nil && removed > 0 {
		err = s.Save()
	}
	if err != nil {
		c.Fail(err)
		return
	}
	c.Out.Int(int64(removed))
}

func xlen(c *Ctx) {
	if s, ok := c.openStream(1); ok {
		c.Out.Int(int64(s.Len()))
	}
}

func xdel(c *Ctx) {
	s, ok := c.openStream(1)
	if !ok {
		return
	}
	if !s.Exists() {
		c.Out.Int(0)
		return
	}
	ids, ok := c.streamIDs(2)
	if !ok {
		return
	}
	n, err := s.Delete(ids)
	if err == nil && n > 0 {
		err = s.Save()
	}
	if err != nil {
		c.Fail(err)
		return
	}
	c.Out.Int(int64(n))
}

func xrange(c *Ctx)    { c.xrange(2, 3, false) }
func xrevrange(c *Ctx) { c.xrange(3, 2, true) }

func (c *Ctx) xrange(start, end int, reverse bool) {
	from, ok := c.rangeStart(start)
	if !ok {
		return
	}
	to, ok := c.rangeEnd(end)
	if !ok {
		return
	}
	count := int64(-1)
	for i := 4; i < len(c.Args); i += 2 {
		if !c.is(i, "count") || i+1 == len(c.Args) {
			c.syntaxError()
			return
		}
		if count, ok = c.int(i + 1); !ok {
			return
		}
		count = max(count, 0)
	}
	s, ok := c.openStream(1)
	switch {
	case !ok:
	case !s.Exists():
		c.Out.Array(0)
	case count == 0:
		c.Out.NullArray()
	default:
		at := len(c.Out.Buf)
		if err := c.streamEntries(&s, from, to, reverse, uint64(max(count, 0))); err != nil {
			c.failSince(at, err)
		}
	}
}

func xsetid(c *Ctx) {
	id, ok := c.streamID(2)
	if !ok {
		return
	}
	added, maxDeleted := int64(-1), types.StreamID{}
	for i := 3; i < len(c.Args); i += 2 {
		more := i+1 < len(c.Args)
		switch {
		case c.is(i, "entriesadded") && more:
			if added, ok = c.int(i + 1); !ok {
				return
			}
			if added < 0 {
				c.Out.Error("ERR entries_added must be positive")
				return
			}
		case c.is(i, "maxdeletedid") && more:
			if maxDeleted, ok = c.streamID(i + 1); !ok {
				return
			}
			if id.Compare(maxDeleted) < 0 {
				c.Out.Error("ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id")
				return
			}
		default:
			c.syntaxError()
			return
		}
	}
	s, ok := c.openStream(1)
	switch {
	case !ok:
	case !s.Exists():
		c.Out.Error(resp.ErrNoKey)
	case id.Compare(s.MaxDeletedID()) < 0:
		c.Out.Error("ERR The ID specified in XSETID is smaller than current max_deleted_entry_id")
	case s.Len() > 0 && id.Compare(s.TopID()) < 0:
		c.Out.Error("ERR The ID specified in XSETID is smaller than the target stream top item")
	case s.Len() > 0 && added != -1 && s.Len() > uint64(added):
		c.Out.Error("ERR The entries_added specified in XSETID is smaller than the target stream length")
	default:
		c.setIDs(&s, id, maxDeleted, added)
	}
}

func (c *Ctx) setIDs(s *types.Stream, last, maxDeleted types.StreamID, added int64) {
	if maxDeleted.IsZero() {
		maxDeleted = s.MaxDeletedID()
	}
	if added == -1 {
		added = int64(s.Added())
	}
	s.SetIDs(last, maxDeleted, uint64(added))
	c.done(s.Save())
}
