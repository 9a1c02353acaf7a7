package command

import (
	"bytes"
	"math"
	"slices"

	"github.com/cairndb/cairn/engine/types"
	"github.com/cairndb/cairn/server/resp"
)

// groupArgs are the options of XGROUP CREATE and SETID.
type groupArgs struct {
	mkStream bool
	read     int64
}

func (c *Ctx) groupArgs(create bool) (o groupArgs, ok bool) {
	o.read = types.UnknownRead
	for i := 5; i < len(c.Args); i++ {
		switch {
		case create && c.is(i, "mkstream"):
			o.mkStream = true
		case c.is(i, "entriesread") && i+1 < len(c.Args):
			i++
			if o.read, ok = c.int(i); !ok {
				return o, false
			}
			if o.read < types.UnknownRead {
				c.Out.Error("ERR value for ENTRIESREAD must be positive or -1")
				return o, false
			}
		default:
			c.subcommandSyntax("XGROUP")
			return o, false
		}
	}
	return o, true
}

// groupStream opens the stream of an XGROUP subcommand; it must exist unless absent is allowed.
func (c *Ctx) groupStream(absent bool) (s types.Stream, ok bool) {
	if s, ok = c.openStream(2); !ok || s.Exists() || absent {
		return s, ok
	}
	c.Out.Error("ERR The XGROUP subcommand requires the key to exist. " +
		"Note that for CREATE you may want to use the MKSTREAM option to create an empty stream automatically.")
	return s, false
}

// existingGroup opens the group args[3] of the stream args[2].
func (c *Ctx) existingGroup(s *types.Stream) (g *types.Group, ok bool) {
	if g, ok = c.streamGroup(s, c.Args[3]); !ok {
		return nil, false
	}
	if g == nil {
		c.Out.Error("NOGROUP No such consumer group '" + string(resp.CString(c.Args[3])) + "' for key name '" + string(resp.CString(c.Args[2])) + "'")
	}
	return g, g != nil
}

func xgroupCreate(c *Ctx) {
	o, ok := c.groupArgs(true)
	if !ok {
		return
	}
	s, ok := c.groupStream(o.mkStream)
	if !ok {
		return
	}
	const most = 8 // arguments
	if len(c.Args) > most {
		c.subcommandSyntax("XGROUP")
		return
	}
	last := s.LastID()
	if string(resp.CString(c.Args[4])) != "$" {
		if last, ok = c.streamID(4); !ok {
			return
		}
	}
	var err error
	if !s.Exists() {
		err = s.Create(0)
	}
	if err == nil {
		var g *types.Group
		if g, err = s.CreateGroup(c.Args[3], last, o.read); err == nil {
			err = g.Save()
		}
	}
	c.done(err)
}

func xgroupSetid(c *Ctx) {
	o, ok := c.groupArgs(false)
	if !ok {
		return
	}
	s, ok := c.groupStream(false)
	if !ok {
		return
	}
	g, ok := c.existingGroup(&s)
	if !ok {
		return
	}
	if len(c.Args) != 5 && len(c.Args) != 7 {
		c.subcommandSyntax("XGROUP")
		return
	}
	last := s.LastID()
	if string(resp.CString(c.Args[4])) != "$" {
		if last, _, ok = parseStreamID(c.Args[4], 0, idEnds); !ok {
			c.Out.Error(resp.ErrStreamID)
			return
		}
	}
	g.LastID, g.Read = last, o.read
	c.done(g.Save())
}

func xgroupDestroy(c *Ctx) {
	s, ok := c.groupStream(false)
	if !ok {
		return
	}
	g, ok := c.streamGroup(&s, c.Args[3])
	if !ok {
		return
	}
	if g != nil {
		err := g.Destroy()
		if err == nil {
			err = s.Save()
		}
		if err != nil {
			c.Fail(err)
			return
		}
	}
	c.bool01(g != nil)
}

func xgroupCreateconsumer(c *Ctx) {
	s, ok := c.groupStream(false)
	if !ok {
		return
	}
	g, ok := c.existingGroup(&s)
	if !ok {
		return
	}
	_, created, err := g.CreateConsumer(c.Args[4])
	if err == nil && created {
		err = g.Save()
	}
	if err != nil {
		c.Fail(err)
		return
	}
	c.bool01(created)
}

func xgroupDelconsumer(c *Ctx) {
	s, ok := c.groupStream(false)
	if !ok {
		return
	}
	g, ok := c.existingGroup(&s)
	if !ok {
		return
	}
	consumer, err := g.Consumer(c.Args[4])
	pending := uint64(0)
	if err == nil && consumer != nil {
		pending = consumer.Pending()
		if err = g.DeleteConsumer(consumer); err == nil {
			err = g.Save()
		}
	}
	if err != nil {
		c.Fail(err)
		return
	}
	c.Out.Int(int64(pending))
}

func xgroupHelp(c *Ctx) {
	c.help("XGROUP",
		"CREATE <key> <group> <id|$> [MKSTREAM] [ENTRIESREAD <n>]",
		"    Add a consumer group that begins behind an entry; MKSTREAM creates the stream, ENTRIESREAD says how many entries lie before.",
		"CREATECONSUMER <key> <group> <consumer>",
		"    Add a consumer to a group.",
		"DELCONSUMER <key> <group> <consumer>",
		"    Remove a consumer and what is pending for it.",
		"DESTROY <key> <group>",
		"    Remove a consumer group.",
		"SETID <key> <group> <id|$> [ENTRIESREAD <n>]",
		"    Set the last entry that the group was given.")
}

func xack(c *Ctx) {
	s, ok := c.openStream(1)
	if !ok {
		return
	}
	g, ok := c.streamGroup(&s, c.Args[2])
	if !ok {
		return
	}
	if g == nil {
		c.Out.Int(0)
		return
	}
	ids, ok := c.streamIDs(3)
	if !ok {
		return
	}
	n, err := g.Acknowledge(ids)
	if err == nil && n > 0 {
		err = g.Save()
	}
	if err != nil {
		c.Fail(err)
		return
	}
	c.Out.Int(int64(n))
}

// pendingArgs are those of the long form of XPENDING.
type pendingArgs struct {
	from, to types.StreamID
	count    int64
	minIdle  int64
	consumer []byte
}

func (c *Ctx) pendingArgs() (o pendingArgs, ok bool) {
	at := 3
	if c.is(at, "idle") {
		if o.minIdle, ok = c.int(at + 1); !ok {
			return o, false
		}
		if len(c.Args) < 8 {
			c.syntaxError()
			return o, false
		}
		at += 2
	}
	if o.count, ok = c.int(at + 2); !ok {
		return o, false
	}
	if o.from, ok = c.rangeStart(at); !ok {
		return o, false
	}
	if o.to, ok = c.rangeEnd(at + 1); !ok {
		return o, false
	}
	if at+3 < len(c.Args) {
		o.consumer = c.Args[at+3]
	}
	return o, true
}

func xpending(c *Ctx) {
	n := len(c.Args)
	if n != 3 && (n < 6 || n > 9) {
		c.syntaxError()
		return
	}
	var o pendingArgs
	ok := true
	if n > 3 {
		if o, ok = c.pendingArgs(); !ok {
			return
		}
	}
	g, ok := c.groupAt(1)
	if !ok {
		return
	}
	at := len(c.Out.Buf)
	var err error
	if n == 3 {
		err = c.pendingSummary(g)
	} else {
		err = c.pendingList(g, &o)
	}
	if err != nil {
		c.failSince(at, err)
	}
}

// groupAt opens the group args[key+1] of the stream args[key], or answers that there is none.
func (c *Ctx) groupAt(key int) (g *types.Group, ok bool) {
	s, ok := c.openStream(key)
	if !ok {
		return nil, false
	}
	if g, ok = c.streamGroup(&s, c.Args[key+1]); !ok {
		return nil, false
	}
	if g == nil {
		c.Out.Error(c.noGroup(key, c.Args[key+1]))
	}
	return g, g != nil
}

// noGroup says that the stream at args[key] or the group of it is not there.
func (c *Ctx) noGroup(key int, group []byte) string {
	return "NOGROUP No such key '" + string(resp.CString(c.Args[key])) + "' or consumer group '" + string(resp.CString(group)) + "'"
}

func (c *Ctx) pendingSummary(g *types.Group) error {
	c.Out.Array(4)
	c.Out.Int(int64(g.Pending()))
	if g.Pending() == 0 {
		c.Out.Null()
		c.Out.Null()
		c.Out.NullArray()
		return nil
	}
	first, last, err := g.PendingEnds()
	if err != nil {
		return err
	}
	c.writeStreamID(first)
	c.writeStreamID(last)
	at, n := len(c.Out.Buf), 0
	err = g.EachConsumer(func(consumer *types.Consumer) bool {
		if consumer.Pending() > 0 {
			c.Out.Array(2)
			c.Out.Bulk(consumer.Name)
			c.Out.BulkInt(int64(consumer.Pending()))
			n++
		}
		return true
	})
	c.counted(at, '*', n)
	return err
}

func (c *Ctx) pendingList(g *types.Group, o *pendingArgs) error {
	var only *types.Consumer
	if o.consumer != nil {
		var err error
		if only, err = g.Consumer(o.consumer); err != nil {
			return err
		}
		if only == nil {
			c.Out.Array(0)
			return nil
		}
	}
	if o.count <= 0 {
		c.Out.Array(0)
		return nil
	}
	now := c.Txn.Now()
	at, n := len(c.Out.Buf), int64(0)
	err := g.EachPending(only, o.from, o.to, false, func(p types.PendingEntry, consumer *types.Consumer) bool {
		if o.minIdle != 0 && p.Idle(now) < o.minIdle {
			return true
		}
		c.Out.Array(4)
		c.writeStreamID(p.ID)
		c.Out.Bulk(consumer.Name)
		c.Out.Int(max(p.Idle(now), 0))
		c.Out.Int(int64(p.Count))
		n++
		return n < o.count
	})
	c.counted(at, '*', int(n))
	return err
}

// minIdle parses the least idle time at args[4] of XCLAIM and XAUTOCLAIM.
func (c *Ctx) minIdle(command string) (ms int64, ok bool) {
	ms, ok = types.ParseInt(c.Args[4])
	if !ok {
		c.Out.Error("ERR Invalid min-idle-time argument for " + command)
	}
	return max(ms, 0), ok
}

// claimArgs are what stands behind the ids of XCLAIM.
type claimArgs struct {
	types.Claim
	ids  []types.StreamID
	last types.StreamID
}

func (c *Ctx) claimArgs() (o claimArgs, ok bool) {
	now := c.Txn.Now()
	o.Claim = types.Claim{Delivered: -1, Count: -1}
	if o.MinIdle, ok = c.minIdle("XCLAIM"); !ok {
		return o, false
	}
	i := 5
	for ; i < len(c.Args); i++ {
		id, _, ok := parseStreamID(c.Args[i], 0, idStrict)
		if !ok {
			break
		}
		o.ids = append(o.ids, id)
	}
	for ; i < len(c.Args); i++ {
		more := i+1 < len(c.Args)
		ok = true
		switch {
		case c.is(i, "force"):
			o.Force = true
		case c.is(i, "justid"):
			o.JustID = true
		case c.is(i, "idle") && more:
			i++
			o.Delivered, ok = c.claimInt(i, "IDLE")
			o.Delivered = now - o.Delivered
		case c.is(i, "time") && more:
			i++
			o.Delivered, ok = c.claimInt(i, "TIME")
		case c.is(i, "retrycount") && more:
			i++
			o.Count, ok = c.claimInt(i, "RETRYCOUNT")
		case c.is(i, "lastid") && more:
			i++
			o.last, ok = c.streamID(i)
		default:
			c.Out.Error("ERR Unrecognized XCLAIM option '" + string(resp.CString(c.Args[i])) + "'")
			return o, false
		}
		if !ok {
			return o, false
		}
	}
	if o.Delivered < 0 || o.Delivered > now {
		o.Delivered = now
	}
	return o, true
}

func (c *Ctx) claimInt(i int, option string) (n int64, ok bool) {
	n, ok = types.ParseInt(c.Args[i])
	if !ok {
		c.Out.Error("ERR Invalid " + option + " option argument for XCLAIM")
	}
	return n, ok
}

func xclaim(c *Ctx) {
	g, ok := c.groupAt(1)
	if !ok {
		return
	}
	o, ok := c.claimArgs()
	if !ok {
		return
	}
	if o.last.Compare(g.LastID) > 0 {
		g.LastID = o.last
	}
	at := len(c.Out.Buf)
	err := c.claim(g, &o)
	if err == nil {
		err = g.Save()
	}
	if err != nil {
		c.failSince(at, err)
	}
}

// claimer returns the consumer args[3], which is made if it is new.
func (c *Ctx) claimer(g *types.Group) (*types.Consumer, error) {
	consumer, _, err := g.CreateConsumer(c.Args[3])
	if err == nil {
		g.SetTimes(consumer, c.Txn.Now(), consumer.Active)
	}
	return consumer, err
}

func (c *Ctx) claim(g *types.Group, o *claimArgs) error {
	consumer, err := c.claimer(g)
	if err != nil {
		return err
	}
	at, n := len(c.Out.Buf), 0
	for _, id := range o.ids {
		f, claimed, err := g.Claim(consumer, id, o.Claim)
		if err != nil {
			return err
		}
		if claimed {
			c.claimed(id, f, o.JustID)
			n++
		}
	}
	c.counted(at, '*', n)
	return nil
}

func (c *Ctx) claimed(id types.StreamID, f types.Fields, justID bool) {
	if justID {
		c.writeStreamID(id)
	} else {
		c.streamEntry(id, f)
	}
}

// autoclaimArgs are those of XAUTOCLAIM.
type autoclaimArgs struct {
	types.Claim
	from  types.StreamID
	count int64
}

func (c *Ctx) autoclaimArgs() (o autoclaimArgs, ok bool) {
	const usualCount = 100
	const mostCount = math.MaxInt64 / 16 // Redis: of ids that fit into memory
	o = autoclaimArgs{Claim: types.Claim{Delivered: c.Txn.Now(), Count: -1}, count: usualCount}
	if o.MinIdle, ok = c.minIdle("XAUTOCLAIM"); !ok {
		return o, false
	}
	if o.from, ok = c.rangeStart(5); !ok {
		return o, false
	}
	for i := 6; i < len(c.Args); i++ {
		switch {
		case c.is(i, "count") && i+1 < len(c.Args):
			i++
			if o.count, ok = types.ParseInt(c.Args[i]); !ok || o.count < 1 || o.count > mostCount {
				c.Out.Error("ERR COUNT must be > 0")
				return o, false
			}
		case c.is(i, "justid"):
			o.JustID = true
		default:
			c.syntaxError()
			return o, false
		}
	}
	return o, true
}

func xautoclaim(c *Ctx) {
	o, ok := c.autoclaimArgs()
	if !ok {
		return
	}
	g, ok := c.groupAt(1)
	if !ok {
		return
	}
	at := len(c.Out.Buf)
	err := c.autoclaim(g, &o)
	if err == nil {
		err = g.Save()
	}
	if err != nil {
		c.failSince(at, err)
	}
}

func (c *Ctx) autoclaim(g *types.Group, o *autoclaimArgs) error {
	const attemptsFactor = 10 // Redis: entries looked at for each that may be claimed
	consumer, err := c.claimer(g)
	if err != nil {
		return err
	}
	at, n := len(c.Out.Buf), 0
	next, deleted, err := g.AutoClaim(consumer, o.from, o.count*attemptsFactor, o.count, o.Claim, func(id types.StreamID, f types.Fields) {
		c.claimed(id, f, o.JustID)
		n++
	})
	if err != nil {
		return err
	}
	c.counted(at, '*', n)
	end := len(c.Out.Buf)
	c.Out.Array(3)
	c.writeStreamID(next)
	head := bytes.Clone(c.Out.Buf[end:])
	c.Out.Buf = slices.Insert(c.Out.Buf[:end], at, head...)
	c.Out.Array(len(deleted))
	for _, id := range deleted {
		c.writeStreamID(id)
	}
	return nil
}
