package command

import (
	"github.com/cairndb/cairn/engine/types"
	"github.com/cairndb/cairn/server/resp"
)

// infoStream opens the stream args[2] of an XINFO subcommand, which must exist.
func (c *Ctx) infoStream() (s types.Stream, ok bool) {
	if s, ok = c.openStream(2); ok && !s.Exists() {
		c.Out.Error(resp.ErrNoKey)
		return s, false
	}
	return s, ok
}

func (c *Ctx) infoInt(name string, n int64) {
	c.Out.BulkString(name)
	c.Out.Int(n)
}

func (c *Ctx) infoID(name string, id types.StreamID) {
	c.Out.BulkString(name)
	c.writeStreamID(id)
}

// infoMaybe writes a number that may be unknown.
func (c *Ctx) infoMaybe(name string, n int64, known bool) {
	c.Out.BulkString(name)
	if known {
		c.Out.Int(n)
	} else {
		c.Out.Null()
	}
}

func xinfoStream(c *Ctx) {
	s, ok := c.infoStream()
	if !ok {
		return
	}
	full, count, ok := c.infoFull()
	if !ok {
		return
	}
	at := len(c.Out.Buf)
	var err error
	if full {
		c.Out.Map(9)
		c.infoState(&s)
		err = c.infoEntriesAndGroups(&s, count)
	} else {
		c.Out.Map(10)
		c.infoState(&s)
		err = c.infoEnds(&s)
	}
	if err != nil {
		c.failSince(at, err)
	}
}

// infoFull parses FULL and its COUNT.
func (c *Ctx) infoFull() (full bool, count uint64, ok bool) {
	const usual = 10
	n := len(c.Args)
	if n == 3 {
		return false, 0, true
	}
	if n != 4 && n != 6 || !c.is(3, "full") || n == 6 && !c.is(4, "count") {
		c.subcommandSyntax("XINFO")
		return false, 0, false
	}
	if n == 4 {
		return true, usual, true
	}
	asked, ok := c.int(5)
	if asked < 0 {
		asked = usual
	}
	return true, uint64(asked), ok
}

// infoState writes seven pairs.
func (c *Ctx) infoState(s *types.Stream) {
	c.infoInt("length", int64(s.Len()))
	c.infoInt("radix-tree-keys", int64(s.NodeCount()))
	c.infoInt("radix-tree-nodes", int64(s.NodeCount()+1))
	c.infoID("last-generated-id", s.LastID())
	c.infoID("max-deleted-entry-id", s.MaxDeletedID())
	c.infoInt("entries-added", int64(s.Added()))
	c.infoID("recorded-first-entry-id", s.FirstID())
}

// infoEnds writes three pairs.
func (c *Ctx) infoEnds(s *types.Stream) error {
	c.infoInt("groups", int64(s.GroupCount()))
	for _, end := range [...]struct {
		name    string
		reverse bool
	}{{"first-entry", false}, {"last-entry", true}} {
		c.Out.BulkString(end.name)
		if s.Len() == 0 {
			c.Out.Null()
			continue
		}
		err := s.Range(types.StreamID{}, types.MaxStreamID, end.reverse, func(id types.StreamID, f types.Fields) bool {
			c.streamEntry(id, f)
			return false
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// infoEntriesAndGroups writes two pairs, with up to count entries in each list, 0 for all.
func (c *Ctx) infoEntriesAndGroups(s *types.Stream, count uint64) error {
	c.Out.BulkString("entries")
	if err := c.streamEntries(s, types.StreamID{}, types.MaxStreamID, false, count); err != nil {
		return err
	}
	c.Out.BulkString("groups")
	c.Out.Array(int(s.GroupCount()))
	var bad error
	err := s.EachGroup(func(g *types.Group) bool {
		bad = c.infoGroupFull(g, count)
		return bad == nil
	})
	if err != nil {
		return err
	}
	return bad
}

func (c *Ctx) infoGroupFull(g *types.Group, count uint64) error {
	c.Out.Map(7)
	c.Out.BulkString("name")
	c.Out.Bulk(g.Name)
	c.infoProgress(g)
	c.infoInt("pel-count", int64(g.Pending()))
	c.Out.BulkString("pending")
	err := c.infoPending(g, nil, count)
	if err != nil {
		return err
	}
	c.Out.BulkString("consumers")
	c.Out.Array(int(g.Consumers()))
	var bad error
	err = g.EachConsumer(func(consumer *types.Consumer) bool {
		c.Out.Map(5)
		c.Out.BulkString("name")
		c.Out.Bulk(consumer.Name)
		c.infoInt("seen-time", consumer.Seen)
		c.infoInt("active-time", consumer.Active)
		c.infoInt("pel-count", int64(consumer.Pending()))
		c.Out.BulkString("pending")
		bad = c.infoPending(g, consumer, count)
		return bad == nil
	})
	if err != nil {
		return err
	}
	return bad
}

// infoProgress writes three pairs: how far a group has come.
func (c *Ctx) infoProgress(g *types.Group) {
	c.infoID("last-delivered-id", g.LastID)
	c.infoMaybe("entries-read", g.Read, g.Read != types.UnknownRead)
	lag, known := g.Lag()
	c.infoMaybe("lag", lag, known)
}

// infoPending writes up to count pending entries, 0 for all, of a consumer or, with their consumers, of the group.
func (c *Ctx) infoPending(g *types.Group, only *types.Consumer, count uint64) error {
	at, n := len(c.Out.Buf), 0
	err := g.EachPending(only, types.StreamID{}, types.MaxStreamID, false, func(p types.PendingEntry, consumer *types.Consumer) bool {
		if only != nil {
			c.Out.Array(3)
			c.writeStreamID(p.ID)
		} else {
			c.Out.Array(4)
			c.writeStreamID(p.ID)
			c.Out.Bulk(consumer.Name)
		}
		c.Out.Int(p.Delivered)
		c.Out.Int(int64(p.Count))
		n++
		return uint64(n) != count
	})
	c.counted(at, '*', n)
	return err
}

func xinfoGroups(c *Ctx) {
	s, ok := c.infoStream()
	if !ok {
		return
	}
	at := len(c.Out.Buf)
	c.Out.Array(int(s.GroupCount()))
	err := s.EachGroup(func(g *types.Group) bool {
		c.Out.Map(6)
		c.Out.BulkString("name")
		c.Out.Bulk(g.Name)
		c.infoInt("consumers", int64(g.Consumers()))
		c.infoInt("pending", int64(g.Pending()))
		c.infoProgress(g)
		return true
	})
	if err != nil {
		c.failSince(at, err)
	}
}

func xinfoConsumers(c *Ctx) {
	s, ok := c.infoStream()
	if !ok {
		return
	}
	g, ok := c.existingGroup(&s)
	if !ok {
		return
	}
	now, at := c.Txn.Now(), len(c.Out.Buf)
	c.Out.Array(int(g.Consumers()))
	err := g.EachConsumer(func(consumer *types.Consumer) bool {
		inactive := consumer.Active
		if inactive != -1 {
			inactive = now - inactive
		}
		c.Out.Map(4)
		c.Out.BulkString("name")
		c.Out.Bulk(consumer.Name)
		c.infoInt("pending", int64(consumer.Pending()))
		c.infoInt("idle", max(now-consumer.Seen, 0))
		c.infoInt("inactive", inactive)
		return true
	})
	if err != nil {
		c.failSince(at, err)
	}
}

func xinfoHelp(c *Ctx) {
	c.help("XINFO",
		"CONSUMERS <key> <group>",
		"    Describe the consumers of a group.",
		"GROUPS <key>",
		"    Describe the consumer groups of a stream.",
		"STREAM <key> [FULL [COUNT <count>]]",
		"    Describe a stream; FULL with its groups, and with so many of each list.")
}
