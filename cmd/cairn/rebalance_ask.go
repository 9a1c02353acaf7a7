package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/tools/wire"
)

// shards are the primaries that answer, those without slots too. All slots have to be theirs, and at rest.
func (c *clusterRebalanceCmd) shards(ctx context.Context, seeds []string) ([]*shardLoad, error) {
	asker := statusAsker{password: c.Password, timeout: c.Timeout}
	answers, err := asker.cluster(ctx, seeds)
	if err != nil {
		return nil, err
	}
	var shards []*shardLoad
	var silent []error
	covered := 0
	for i := range answers {
		n := &answers[i]
		if n.err != nil {
			silent = append(silent, fmt.Errorf("%s: %w", n.addr, n.err))
			continue
		}
		self := n.self()
		if self.primary != "" {
			continue
		}
		if err := n.atRest(); err != nil {
			return nil, err
		}
		s := &shardLoad{id: self.id, addr: n.addr}
		for _, r := range self.slots {
			for slot := r.first; slot <= r.last; slot++ {
				s.slots = append(s.slots, slot)
			}
		}
		covered += len(s.slots)
		shards = append(shards, s)
	}
	if covered != keys.Slots {
		err := fmt.Errorf("%d of %d slots have an owner that says so: repair the cluster first, or wait a moment", covered, keys.Slots)
		return nil, errors.Join(append(silent, err)...)
	}
	if err := c.markDrained(answers, shards); err != nil {
		return nil, err
	}
	slices.SortFunc(shards, func(a, b *shardLoad) int { return strings.Compare(a.addr, b.addr) })
	return shards, nil
}

// markDrained finds the shards that are to have no slots. Later it knows them again, also when a replica has taken the place of the primary that was
// named.
func (c *clusterRebalanceCmd) markDrained(answers []nodeAnswer, shards []*shardLoad) error {
	isShard := func(id string) bool {
		return slices.ContainsFunc(shards, func(s *shardLoad) bool { return s.id == id })
	}
	if c.members == nil {
		members := map[string]string{}
		for _, name := range c.Drain {
			n, err := findNode(answers, name)
			switch {
			case err != nil:
				return err
			case n.primary != "":
				return fmt.Errorf("--drain %s: it is a replica and has no slots: name its primary, %s", name, n.primary)
			case !isShard(n.id):
				return fmt.Errorf("--drain %s: it does not answer: start it, or name the primary that has its slots now", name)
			}
			members[n.id] = n.id
			for _, other := range allLines(answers) {
				if other.primary == n.id {
					members[other.id] = n.id
				}
			}
		}
		c.members = members
	}
	left := 0
	for _, s := range shards {
		named := c.members[s.id]
		if s.drain = named != "" && (named == s.id || !isShard(named)); !s.drain {
			left++
		}
	}
	if left == 0 {
		return errors.New("--drain: these are all primaries: leave one out, or add one first, which takes the slots")
	}
	return nil
}

// findNode finds a node by its ID or its address.
func findNode(answers []nodeAnswer, name string) (nodeLine, error) {
	for _, n := range allLines(answers) {
		if n.id == name || n.addr == name {
			return n, nil
		}
	}
	return nodeLine{}, fmt.Errorf("--drain %s: there is no such node: give the ID or the host:port of a primary as CLUSTER NODES shows it", name)
}

// allLines are what the nodes that answer say of themselves, and then of others.
func allLines(answers []nodeAnswer) (lines []nodeLine) {
	for i := range answers {
		lines = append(lines, answers[i].self())
	}
	for i := range answers {
		lines = append(lines, answers[i].nodes...)
	}
	return lines
}

// atRest says why no slots of a primary should be moved now.
func (answer *nodeAnswer) atRest() error {
	switch self := answer.self(); {
	case answer.fields["cluster_state"] != "ok":
		return fmt.Errorf("%s: cluster_state is %s", answer.addr, answer.fields["cluster_state"])
	case len(self.open) > 0:
		return fmt.Errorf("%s: slot %d is %s by SETSLOT: end that first (redis-cli --cluster fix)", answer.addr, self.open[0].Slot, self.open[0].State)
	case len(answer.moves) > 0:
		return fmt.Errorf("%s: slots are moving: wait, or cancel that (CLUSTER CANCELSLOTMIGRATIONS)", answer.addr)
	}
	return nil
}

// slotMetrics are the names in CLUSTER SLOT-STATS of what can be evened out.
var slotMetrics = map[string]string{"keys": "key-count", "bytes": "stored-bytes", byLoad: "cpu-usec"}

// byLoad evens out the time that commands take, in µs.
const byLoad = "load"

// loads is what each slot counts: how much lies in it, or how long commands for it take in a while.
func (c *clusterRebalanceCmd) loads(ctx context.Context, shards []*shardLoad) (*[keys.Slots]int64, error) {
	load := new([keys.Slots]int64)
	if c.By == "slots" {
		for i := range load {
			load[i] = 1
		}
		return load, nil
	}
	if err := c.readAll(ctx, shards, load); err != nil || c.By != byLoad {
		return load, err
	}
	select {
	case <-time.After(c.Over):
	case <-ctx.Done():
		return nil, errors.New("interrupted")
	}
	later := new([keys.Slots]int64)
	err := c.readAll(ctx, shards, later)
	return grown(load, later), err
}

// grown is by how much counters have grown; those that were reset meanwhile, since then.
func grown(before, after *[keys.Slots]int64) *[keys.Slots]int64 {
	by := new([keys.Slots]int64)
	for slot := range by {
		by[slot] = after[slot]
		if before[slot] <= after[slot] {
			by[slot] -= before[slot]
		}
	}
	return by
}

// readAll asks each primary for the metric of its slots.
func (c *clusterRebalanceCmd) readAll(ctx context.Context, shards []*shardLoad, load *[keys.Slots]int64) error {
	for _, s := range shards {
		err := c.session(ctx, s.addr, func(conn *wire.Conn) error {
			stats, err := conn.Must("CLUSTER", "SLOT-STATS", "SLOTSRANGE", "0", strconv.Itoa(keys.Slots-1))
			if err != nil {
				return err
			}
			return readLoads(load, stats, slotMetrics[c.By])
		})
		if err != nil {
			return fmt.Errorf("%s: %w", s.addr, err)
		}
	}
	return nil
}

// readLoads takes a metric out of a reply of CLUSTER SLOT-STATS.
func readLoads(load *[keys.Slots]int64, stats wire.Value, metric string) error {
	for _, entry := range stats.Elems {
		if len(entry.Elems) != 2 {
			return fmt.Errorf("CLUSTER SLOT-STATS answers %v", entry)
		}
		slot, values := entry.Elems[0].Int(), entry.Elems[1].Elems
		i := slices.IndexFunc(values, func(v wire.Value) bool { return v.Text == metric })
		if slot < 0 || slot >= keys.Slots || i < 0 || i+1 >= len(values) {
			return fmt.Errorf("CLUSTER SLOT-STATS does not tell the %s of slot %d", metric, slot)
		}
		load[slot] = max(0, values[i+1].Int())
	}
	return nil
}

// session opens a connection for a few commands.
func (c *clusterRebalanceCmd) session(ctx context.Context, addr string, fn func(*wire.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	conn, err := wire.DialContext(ctx, addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if c.Password != "" {
		if _, err := conn.Must("AUTH", c.Password); err != nil {
			return err
		}
	}
	return fn(conn)
}
