package main

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/cairndb/cairn/engine/keys"
)

// shardLoad is a primary with the slots that it owns.
type shardLoad struct {
	id, addr string
	slots    []int
	drain    bool // it is to have none
}

// slotMove moves slots from one primary to another.
type slotMove struct {
	from, to *shardLoad
	slots    []int
	load     int64
}

// rebalancePlan says which slots go where.
type rebalancePlan struct {
	note          string // why there is none
	unit          string
	shards        []*shardLoad
	before, after map[string]int64 // by address
	moves         []*slotMove
	slots         int
}

// hardlyAnyLoad: there is nothing to even out by load when all commands together took less than this part of the time.
const hardlyAnyLoad = 1000

func totalLoad(load *[keys.Slots]int64) (sum int64) {
	for _, n := range load {
		sum += n
	}
	return sum
}

// planRebalance evens out the loads of primaries; load is that of each slot. Slots count a little themselves, so that empty ones are spread too, but not
// by load: slots without stay where they are.
// Nothing moves for a difference of less than the tolerance, as a part of the mean. Shards that are drained give all that they have to the others, of
// which the mean is taken.
func planRebalance(shards []*shardLoad, load *[keys.Slots]int64, unit string, tolerance float64) *rebalancePlan {
	p := &rebalancePlan{unit: unit, shards: shards, before: map[string]int64{}, after: map[string]int64{}}
	total := int64(0)
	for _, s := range shards {
		for _, slot := range s.slots {
			total += load[slot]
			p.before[s.addr] += load[slot]
		}
		p.after[s.addr] = p.before[s.addr]
	}
	const finer = 1024 // so that what a slot counts itself is not lost
	own := max(1, total*finer/keys.Slots/20)
	drained, staying := splitDrained(shards)
	if unit == byLoad && len(drained) == 0 {
		own = 0
	}
	weight := func(slot int) int64 { return load[slot]*finer + own }
	have := map[*shardLoad]int64{}
	sum := int64(0)
	for _, s := range shards {
		for _, slot := range s.slots {
			have[s] += weight(slot)
		}
		sum += have[s]
	}
	mean := sum / int64(max(1, len(staying)))
	slack := int64(float64(mean) * tolerance)
	near := map[*shardLoad]bool{} // within the tolerance
	for _, s := range staying {
		near[s] = have[s] <= mean+slack && have[s] >= mean-slack
	}
	byPair := map[[2]*shardLoad]*slotMove{}
	for _, from := range slices.Concat(drained, staying) {
		enough := mean
		if p.gain(from) > 0 {
			enough += slack // it doesn't pass on what it has just got, unless that is too much
		}
		var to *shardLoad
		for _, slot := range candidates(from, load, unit) { // in order, and to one shard as long as it has room: few ranges come of it
			w := weight(slot)
			if to == nil || have[to]+w > mean+w/2 {
				to = slices.MinFunc(staying, func(a, b *shardLoad) int { return cmp.Compare(have[a], have[b]) })
			}
			if !from.drain && (have[from] <= enough || to == from || near[from] && near[to]) {
				break
			}
			if !from.drain && (have[from]-w < mean-w/2 || have[to]+w > mean+w/2 || have[to]+w > have[from]-w/4) {
				continue // it would be too much, or would only change sides; a lighter one may fit
			}
			have[from], have[to] = have[from]-w, have[to]+w
			m := byPair[[2]*shardLoad{from, to}]
			if m == nil {
				m = &slotMove{from: from, to: to}
				byPair[[2]*shardLoad{from, to}] = m
				p.moves = append(p.moves, m)
			}
			m.slots = append(m.slots, slot)
			m.load += load[slot]
			p.slots++
			p.after[from.addr] -= load[slot]
			p.after[to.addr] += load[slot]
		}
	}
	for _, m := range p.moves {
		slices.Sort(m.slots)
	}
	return p
}

// splitDrained tells the shards that are to have no slots from the others.
func splitDrained(shards []*shardLoad) (drained, staying []*shardLoad) {
	for _, s := range shards {
		if s.drain {
			drained = append(drained, s)
		} else {
			staying = append(staying, s)
		}
	}
	return drained, staying
}

// candidates are the slots of a shard in the order in which they are looked at. By load the heavy ones come first, so that few move; what differs by
// less than half stays in order.
func candidates(s *shardLoad, load *[keys.Slots]int64, unit string) []int {
	if unit != byLoad {
		return s.slots
	}
	busy := slices.DeleteFunc(slices.Clone(s.slots), func(slot int) bool { return load[slot] == 0 && !s.drain })
	slices.SortStableFunc(busy, func(a, b int) int { return bits.Len64(uint64(load[b])) - bits.Len64(uint64(load[a])) })
	return busy
}

// text shows the plan.
func (p *rebalancePlan) text() string {
	var b strings.Builder
	b.WriteString(p.note)
	for _, s := range p.shards {
		fmt.Fprintf(&b, "%s  %s", s.addr, p.amount(len(s.slots), p.before[s.addr]))
		if p.slots > 0 {
			fmt.Fprintf(&b, " → %s", p.amount(len(s.slots)+p.gain(s), p.after[s.addr]))
		}
		b.WriteByte('\n')
	}
	for _, m := range p.moves {
		fmt.Fprintf(&b, "move %s from %s to %s\n", p.amount(len(m.slots), m.load), m.from.addr, m.to.addr)
	}
	return b.String()
}

// next says what can be done with the shards that were drained.
func (p *rebalancePlan) next() string {
	var b strings.Builder
	drained, staying := splitDrained(p.shards)
	for _, s := range drained {
		fmt.Fprintf(&b, "%s has no slots. Take it out before the next rebalance, which would give it slots again unless it is named:\n", s.addr)
		fmt.Fprintf(&b, "  redis-cli --cluster del-node %s %s\n", staying[0].addr, s.id)
	}
	return b.String()
}

// amount is a number of slots with what lies in them.
func (p *rebalancePlan) amount(slots int, load int64) string {
	switch p.unit {
	case "slots":
		return fmt.Sprintf("%d slots", slots)
	case "bytes":
		return fmt.Sprintf("%d slots (%s)", slots, bytesText(load))
	case byLoad:
		return fmt.Sprintf("%d slots (%v of commands)", slots, loadText(load))
	}
	return fmt.Sprintf("%d slots (%d %s)", slots, load, p.unit)
}

// loadText is a time in µs, for people.
func loadText(micros int64) time.Duration {
	return (time.Duration(micros) * time.Microsecond).Round(time.Millisecond)
}

// gain is how many slots a shard gets more than it gives.
func (p *rebalancePlan) gain(s *shardLoad) (n int) {
	for _, m := range p.moves {
		switch s {
		case m.from:
			n -= len(m.slots)
		case m.to:
			n += len(m.slots)
		}
	}
	return n
}

// slotRanges are the runs of slots, which are ascending.
func slotRanges(slots []int) (out []slotRange) {
	for _, s := range slots {
		if n := len(out); n > 0 && out[n-1].last+1 == s {
			out[n-1].last = s
			continue
		}
		out = append(out, slotRange{s, s})
	}
	return out
}
