package command

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cairndb/cairn/cluster/slotmap"
	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/types"
)

// SLOT-STATS is Valkey 8's: arguments, replies and texts of errors. Of Valkey's metrics it has key-count and cpu-usec, both always, since they cost next to
// nothing; stored-bytes is Cairn's own. What lies in a slot is exact and the shard's; cpu-usec is the time of this node's commands, see SlotTimes.

// slotMetrics are the metrics of a slot, in the order of the reply.
var slotMetrics = []slotMetric{
	{"key-count", func(s *slotStat) int64 { return s.Keys }},
	{"cpu-usec", func(s *slotStat) int64 { return s.took.Microseconds() }},
	{"stored-bytes", func(s *slotStat) int64 { return s.Bytes }},
}

type slotMetric struct {
	name string
	of   func(*slotStat) int64
}

type slotStat struct {
	slot uint16
	engine.Counts
	took time.Duration
}

// clusterSlotStats is CLUSTER SLOT-STATS SLOTSRANGE first last | ORDERBY metric [LIMIT n] [ASC|DESC].
func clusterSlotStats(c *Ctx) {
	switch n := len(c.Args); {
	case n == 5 && c.is(2, "slotsrange"):
		first, ok := c.slot(3)
		if !ok {
			return
		}
		last, ok := c.slot(4)
		if !ok {
			return
		}
		if first > last {
			c.Out.Error(fmt.Sprintf("ERR Start slot number %d is greater than end slot number %d", first, last))
			return
		}
		c.showSlotStats(c.slotStats(first, last))
	case n >= 4 && c.is(2, "orderby"):
		c.orderedSlotStats()
	default:
		c.unknownSubcommand()
	}
}

// slotStats are those of the slots of this node's shard.
func (c *Ctx) slotStats(first, last uint16) (all []slotStat) {
	view := c.Node.View()
	owner := view.Self()
	if owner.Primary != "" {
		owner = view.Node(owner.Primary)
	}
	for s := int(first); s <= int(last); s++ {
		if slot := uint16(s); owner != nil && view.Owner(slot) == owner {
			all = append(all, slotStat{slot, c.Node.Store.SlotCounts(slot), c.Node.Stats.SlotTimes.Of(slot)})
		}
	}
	return all
}

func (c *Ctx) showSlotStats(all []slotStat) {
	c.Out.Array(len(all))
	for i := range all {
		c.Out.Array(2)
		c.Out.Int(int64(all[i].slot))
		c.Out.Map(len(slotMetrics))
		for _, m := range slotMetrics {
			c.Out.BulkString(m.name)
			c.Out.Int(m.of(&all[i]))
		}
	}
}

// orderedSlotStats is ORDERBY: the greatest first unless told otherwise, the same in the order of slots.
func (c *Ctx) orderedSlotStats() {
	i := slices.IndexFunc(slotMetrics, func(m slotMetric) bool { return c.is(3, m.name) })
	if i < 0 {
		var names []string
		for _, m := range slotMetrics {
			names = append(names, m.name)
		}
		c.Out.Error("ERR Unrecognized sort metric for ORDERBY. The supported metrics are: " + strings.Join(names, ", ") + ".")
		return
	}
	limit, sign, ok := c.slotStatFilters()
	if !ok {
		return
	}
	all := c.slotStats(0, slotmap.Slots-1)
	slices.SortStableFunc(all, func(a, b slotStat) int {
		return sign * cmp.Compare(slotMetrics[i].of(&a), slotMetrics[i].of(&b))
	})
	c.showSlotStats(all[:min(limit, len(all))])
}

// slotStatFilters parses [LIMIT n] [ASC|DESC]; sign is 1 for ascending, -1 for descending.
func (c *Ctx) slotStatFilters() (limit, sign int, ok bool) {
	limit, sign = slotmap.Slots, -1
	limits, orders := 0, 0
	for i := 4; i < len(c.Args); i++ {
		switch {
		case c.is(i, "limit") && i+1 < len(c.Args):
			i++
			limits++
			n, number := types.ParseInt(c.Args[i])
			if !number || n < 1 || n > slotmap.Slots {
				c.Out.Error(fmt.Sprintf("ERR Limit has to lie in between 1 and %d (maximum number of slots).", slotmap.Slots))
				return 0, 0, false
			}
			limit = int(n)
		case c.is(i, "asc"):
			sign = 1
			orders++
		case c.is(i, "desc"):
			sign = -1
			orders++
		default:
			c.syntaxError()
			return 0, 0, false
		}
		if limits > 1 || orders > 1 {
			c.Out.Error("ERR Multiple filters of the same type are disallowed.")
			return 0, 0, false
		}
	}
	return limit, sign, true
}
