package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cairndb/cairn/tools/testnode"
)

// mover moves slots between shards, as an operator would: what was interrupted is done again when the cluster is well.
type mover struct {
	fleet *fleet
	store *store
	tell  func(format string, args ...any)

	mu      sync.Mutex
	open    []moving // begun and not known to be done
	running sync.WaitGroup
}

// moving is a slot on its way to a node's shard.
type moving struct {
	slot   uint16
	target string // a node's ID
	atOnce bool   // by CLUSTER MIGRATESLOTS, not key by key
}

// slotsAtATime is how many slots one injection moves: enough for other harm to come in between.
const slotsAtATime = 40

// begin moves some slots that are in use to other shards, in the background.
func (m *mover) begin(ctx context.Context, rng *rand.Rand, s shape) string {
	var moves []moving
	keys := m.store.keysInUse()
	atOnce := rng.IntN(2) == 0
	target := pick(rng, s.primaries)
	for range slotsAtATime {
		moves = append(moves, moving{slotOf(pick(rng, keys)), s.ids[target], atOnce})
	}
	slices.SortFunc(moves, func(a, b moving) int { return int(a.slot) - int(b.slot) })
	moves = slices.Compact(moves)
	m.mu.Lock()
	moves = slices.DeleteFunc(moves, func(a moving) bool {
		return slices.ContainsFunc(m.open, func(b moving) bool { return a.slot == b.slot })
	})
	m.open = append(m.open, moves...)
	m.mu.Unlock()
	m.running.Go(func() {
		for _, mv := range moves {
			if ctx.Err() == nil && m.once(ctx, mv, false) == nil {
				m.done(mv)
			}
		}
	})
	how := "key by key"
	if atOnce {
		how = "by CLUSTER MIGRATESLOTS"
	}
	return fmt.Sprintf("moving %d slots to node%d, %s", len(moves), target, how)
}

func (m *mover) done(mv moving) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.open = slices.DeleteFunc(m.open, func(other moving) bool { return other == mv })
}

// finish completes what is open; the cluster is well again.
func (m *mover) finish(ctx context.Context) error {
	m.running.Wait()
	m.mu.Lock()
	open := slices.Clone(m.open)
	m.mu.Unlock()
	for _, mv := range open {
		if err := until(ctx, 30*time.Second, func() error { return m.once(ctx, mv, true) }); err != nil {
			return fmt.Errorf("moving slot %d to the shard of %s: %w", mv.slot, mv.target, err)
		}
		m.done(mv)
	}
	return nil
}

var errUnsupported = errors.New("the server does not know CLUSTER MIGRATESLOTS")

// once tries to move a slot. Again: an earlier try may have ended anywhere.
func (m *mover) once(ctx context.Context, mv moving, again bool) error {
	source, target, err := m.ends(mv)
	if err != nil || source == target && !again {
		return err
	}
	if mv.atOnce && source != target {
		if err := m.atOnce(ctx, mv.slot, source, target); !errors.Is(err, errUnsupported) {
			return err
		}
	}
	return m.byKey(ctx, mv.slot, source, target, again)
}

// end is one side of a move.
type end struct {
	id   string
	node *testnode.Node
}

// ends finds the slot's owner and the primary of the target's shard, as they are now.
func (m *mover) ends(mv moving) (source, target end, err error) {
	for _, n := range m.fleet.nodes {
		var table []owner
		if table, err = m.fleet.table(n); err != nil {
			continue
		}
		to := mv.target
		for _, o := range table {
			if o.id == to && o.primary != "" {
				to = o.primary
			}
		}
		for _, o := range table {
			at := slices.IndexFunc(m.fleet.nodes, func(n *testnode.Node) bool { return n.Addr() == o.address })
			if at < 0 {
				continue
			}
			e := end{o.id, m.fleet.nodes[at]}
			if o.id == to {
				target = e
			}
			if o.owns(mv.slot) {
				source = e
			}
		}
		if source.node != nil && target.node != nil {
			return source, target, nil
		}
		err = errors.New("no owner, or no target, is known")
	}
	return source, target, err
}

func (o owner) owns(slot uint16) bool {
	for _, span := range o.slots {
		first, last, pair := strings.Cut(span, "-")
		if !pair {
			last = first
		}
		a, _ := strconv.Atoi(first)
		b, _ := strconv.Atoi(last)
		if a <= int(slot) && int(slot) <= b {
			return true
		}
	}
	return false
}

// moveLimit bounds the wait for a move that the server does by itself.
const moveLimit = 20 * time.Second

func (m *mover) atOnce(ctx context.Context, slot uint16, source, target end) error {
	s := strconv.Itoa(int(slot))
	if _, err := m.fleet.ask(source.node, "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", s, s, "NODE", target.id); err != nil {
		if strings.Contains(err.Error(), "unknown subcommand") {
			return errUnsupported
		}
		if !strings.Contains(err.Error(), "already") {
			return err
		}
	}
	return until(ctx, moveLimit, func() error {
		table, err := m.fleet.table(target.node)
		if err != nil {
			return err
		}
		for _, o := range table {
			if o.id == target.id && o.owns(slot) {
				return nil
			}
		}
		return errors.New("the move does not end")
	})
}

// byKey does what redis-cli --cluster reshard does.
func (m *mover) byKey(ctx context.Context, slot uint16, source, target end, again bool) error {
	s := strconv.Itoa(int(slot))
	ask := m.fleet.ask
	if source != target {
		if _, err := ask(target.node, "CLUSTER", "SETSLOT", s, "IMPORTING", source.id); err != nil {
			return err
		}
		if _, err := ask(source.node, "CLUSTER", "SETSLOT", s, "MIGRATING", target.id); err != nil {
			return err
		}
		if err := m.migrateKeys(ctx, s, source.node, target.node, again); err != nil {
			return err
		}
	}
	nodes := []*testnode.Node{target.node, source.node}
	for _, n := range m.fleet.nodes {
		if n != target.node && n != source.node {
			nodes = append(nodes, n)
		}
	}
	for _, n := range nodes {
		if _, err := ask(n, "CLUSTER", "SETSLOT", s, "NODE", target.id); err != nil && !strings.Contains(err.Error(), "only with masters") {
			return err
		}
	}
	return nil
}

func (m *mover) migrateKeys(ctx context.Context, slot string, source, target *testnode.Node, again bool) error {
	for ctx.Err() == nil {
		v, err := m.fleet.ask(source, "CLUSTER", "GETKEYSINSLOT", slot, "10")
		if err != nil || len(v.Elems) == 0 {
			return err
		}
		command := []string{"MIGRATE", target.Host(), strconv.Itoa(target.Port), "", "0", "2000"}
		if again {
			command = append(command, "REPLACE")
		}
		if _, err := m.fleet.ask(source, append(append(command, "KEYS"), v.Strings()...)...); err != nil {
			return err
		}
	}
	return ctx.Err()
}
