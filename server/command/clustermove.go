package command

import (
	"fmt"

	"github.com/cairndb/cairn/cluster"
	"github.com/cairndb/cairn/cluster/migrate"
	"github.com/cairndb/cairn/cluster/slotmap"
	"github.com/cairndb/cairn/engine/types"
	"github.com/cairndb/cairn/server/resp"
)

// MIGRATESLOTS, GETSLOTMIGRATIONS and CANCELSLOTMIGRATIONS are Valkey 9's: names, arguments, replies and texts of errors.

// clusterMigrateSlots is CLUSTER MIGRATESLOTS SLOTSRANGE first last [first last ...] NODE id [SLOTSRANGE ... NODE id ...].
func clusterMigrateSlots(c *Ctx) {
	view := c.Node.View()
	if view.Self().Primary != "" {
		c.Out.Error("ERR Slot migration can only be used on primary nodes.")
		return
	}
	if text := openMarks(view); text != "" {
		c.Out.Error(text)
		return
	}
	var requests []migrate.Request
	for i := 2; i < len(c.Args); {
		if !c.is(i, "slotsrange") {
			c.syntaxError()
			return
		}
		r, next, ok := c.migrationGroup(view, i+1)
		if !ok {
			return
		}
		requests = append(requests, r)
		i = next
	}
	n := c.Node
	c.changing(func() error {
		if err := n.Cluster.AwaitGroup(); err != nil {
			return err
		}
		return n.Moves.Start(n.Cluster.Patience(), requests)
	})
}

// openMarks refuses to mix the two ways of moving slots.
func openMarks(view *cluster.View) string {
	importing, migrating := view.Open()
	switch {
	case importing:
		return "ERR Slots are being manually imported"
	case migrating:
		return "ERR Slots are being manually migrated"
	}
	return ""
}

// migrationGroup parses ranges from args[i] on, and the node behind them.
func (c *Ctx) migrationGroup(view *cluster.View, i int) (r migrate.Request, next int, ok bool) {
	r.Slots = new(slotmap.Set)
	if i, ok = c.migrationRanges(view, i, r.Slots); !ok {
		return r, 0, false
	}
	if i+1 >= len(c.Args) || !c.is(i, "node") {
		c.syntaxError()
		return r, 0, false
	}
	name := string(c.Args[i+1])
	switch {
	case len(name) != 2*slotmap.NodeIDBytes:
		c.Out.Error(fmt.Sprintf("ERR Invalid node name: %.128s", resp.CString(c.Args[i+1])))
	case view.Node(slotmap.NodeID(name)) == nil:
		c.Out.Error("ERR Unknown node name: " + string(resp.CString(c.Args[i+1])))
	default:
		r.Target = slotmap.NodeID(name)
		return r, i + 2, true
	}
	return r, 0, false
}

// migrationRanges parses pairs of slots, of which this node owns all, until something else comes.
func (c *Ctx) migrationRanges(view *cluster.View, i int, set *slotmap.Set) (next int, ok bool) {
	var owner *cluster.Node
	for ; i < len(c.Args); i += 2 {
		if _, number := types.ParseInt(c.Args[i]); !number {
			break
		}
		first, ok := c.slot(i)
		if !ok {
			return 0, false
		}
		if i+1 >= len(c.Args) {
			c.Out.Error("ERR No end slot for final slot range")
			return 0, false
		}
		last, ok := c.slot(i + 1)
		if !ok {
			return 0, false
		}
		if first > last {
			c.Out.Error(fmt.Sprintf("ERR Start slot number %d is greater than end slot number %d.", first, last))
			return 0, false
		}
		if !c.addRange(view, slotmap.Range{First: first, Last: last}, set, &owner) {
			return 0, false
		}
	}
	switch {
	case owner == nil:
		c.Out.Error("ERR No slot ranges specified")
	case owner != view.Self():
		c.Out.Error("ERR Slots are not served by this node.")
	default:
		return i, true
	}
	return 0, false
}

func (c *Ctx) addRange(view *cluster.View, r slotmap.Range, set *slotmap.Set, owner **cluster.Node) bool {
	for s := int(r.First); s <= int(r.Last); s++ {
		slot := uint16(s)
		of := view.Owner(slot)
		switch {
		case of == nil:
			c.Out.Error(fmt.Sprintf("ERR Slot %d has no node served.", s))
			return false
		case *owner != nil && *owner != of:
			c.Out.Error("ERR Requested slots span multiple shards")
			return false
		case set.Has(slot):
			c.Out.Error(fmt.Sprintf("ERR Slot range %d-%d overlaps with previous range %s.", r.First, r.Last, previous(set, slot)))
			return false
		}
		*owner = of
	}
	set.AddRange(r)
	return true
}

// previous is the range of a set that a slot lies in.
func previous(set *slotmap.Set, slot uint16) string {
	for _, r := range set.Ranges() {
		if r.First <= slot && slot <= r.Last {
			return fmt.Sprintf("%d-%d", r.First, r.Last)
		}
	}
	return ""
}

// clusterSlotMigrations is CLUSTER GETSLOTMIGRATIONS.
func clusterSlotMigrations(c *Ctx) {
	jobs := c.Node.Moves.Jobs()
	c.Out.Array(len(jobs))
	for i := range jobs {
		s := &jobs[i]
		c.Out.Map(12)
		text := func(name, value string) {
			c.Out.BulkString(name)
			c.Out.BulkString(value)
		}
		number := func(name string, n int64) {
			c.Out.BulkString(name)
			c.Out.Int(n)
		}
		text("name", string(s.Name))
		text("operation", s.Operation())
		text("slot_ranges", s.SlotRanges())
		text("target_node", string(s.Target))
		text("source_node", string(s.Source))
		number("create_time", s.Created.Unix())
		number("last_update_time", s.Updated.Unix())
		number("last_ack_time", s.Acked.Unix())
		text("state", s.State.String())
		text("message", s.Message)
		number("cow_size", 0) // nothing is copied
		number("remaining_repl_size", s.Remaining)
	}
}

// clusterCancelMigrations is CLUSTER CANCELSLOTMIGRATIONS.
func clusterCancelMigrations(c *Ctx) { c.changed(c.Node.Moves.Cancel()) }
