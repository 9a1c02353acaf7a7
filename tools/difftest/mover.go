package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairndb/cairn/tools/testnode"
	"github.com/cairndb/cairn/tools/wire"
)

// mover moves slots to and fro between nodes, one after the other without a pause: some with CLUSTER MIGRATESLOTS, some as redis-cli does, key by
// key. What a restart interrupts is done again.
type mover struct {
	nodes []*testnode.Node
	rng   *rand.Rand
	moves atomic.Int64

	mu sync.Mutex // held while a slot is on its way

	state sync.Mutex // of what follows
	slots []uint16
	err   error
	stop  chan struct{}
	ended sync.WaitGroup
}

func newMover(nodes []*testnode.Node, seed uint64) *mover {
	return &mover{nodes: nodes, rng: rand.New(rand.NewPCG(seed, 11)), stop: make(chan struct{})}
}

// start lets the slots move until close.
func (m *mover) start() {
	m.ended.Go(func() {
		for m.failed() == nil {
			select {
			case <-m.stop:
				return
			case <-time.After(time.Millisecond):
			}
			if slots := m.using(); len(slots) > 0 {
				m.mu.Lock()
				m.fail(m.move(slots[m.rng.IntN(len(slots))]))
				m.mu.Unlock()
			}
		}
	})
}

func (m *mover) close() {
	close(m.stop)
	m.ended.Wait()
}

func (m *mover) using() []uint16 {
	m.state.Lock()
	defer m.state.Unlock()
	return m.slots
}

// use says which slots move from now on.
func (m *mover) use(slots []uint16) {
	m.state.Lock()
	defer m.state.Unlock()
	m.slots = slots
}

func (m *mover) failed() error {
	m.state.Lock()
	defer m.state.Unlock()
	return m.err
}

func (m *mover) fail(err error) {
	m.state.Lock()
	defer m.state.Unlock()
	m.err = errors.Join(m.err, err)
}

// move brings a slot from its owner to another node.
func (m *mover) move(slot uint16) error {
	to, atOnce, again := -1, m.rng.IntN(2) == 0, false
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		var from int
		if from, err = m.owner(slot); err != nil {
			continue
		}
		if to < 0 {
			to = (from + 1 + m.rng.IntN(len(m.nodes)-1)) % len(m.nodes)
		}
		switch {
		case atOnce && from != to:
			err = m.atOnce(slot, from, to)
		default:
			err = m.byKey(slot, from, to, again)
		}
		if err == nil {
			m.moves.Add(1)
			return nil
		}
		again = true
	}
	return fmt.Errorf("slot %d does not move: %w", slot, err)
}

// owner is the one node that says that the slot is its own.
func (m *mover) owner(slot uint16) (int, error) {
	owner := -1
	for i := range m.nodes {
		v, err := m.ask(i, "CLUSTER", "NODES")
		if err != nil {
			return -1, err
		}
		for line := range strings.Lines(v.Text) {
			words := strings.Fields(line)
			if len(words) < 8 || !strings.Contains(words[2], "myself") || !slices.ContainsFunc(words[8:], func(s string) bool { return covers(s, slot) }) {
				continue
			}
			if owner >= 0 {
				return -1, fmt.Errorf("two nodes own slot %d", slot)
			}
			owner = i
		}
	}
	if owner < 0 {
		return -1, fmt.Errorf("nobody owns slot %d", slot)
	}
	return owner, nil
}

// covers says whether a range of CLUSTER NODES has the slot.
func covers(span string, slot uint16) bool {
	first, last, pair := strings.Cut(span, "-")
	if !pair {
		last = first
	}
	a, err1 := strconv.Atoi(first)
	b, err2 := strconv.Atoi(last)
	return err1 == nil && err2 == nil && a <= int(slot) && int(slot) <= b
}

// ask is on a connection of its own: nodes are restarted.
func (m *mover) ask(i int, args ...string) (wire.Value, error) {
	v, err := m.nodes[i].Do(args...)
	if err == nil {
		err = v.Err()
	}
	return v, err
}

// atOnce has the server move the slot, and waits until it has.
func (m *mover) atOnce(slot uint16, from, to int) error {
	id, err := m.ask(to, "CLUSTER", "MYID")
	if err != nil {
		return err
	}
	s := strconv.Itoa(int(slot))
	if _, err := m.ask(from, "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", s, s, "NODE", id.Text); err != nil {
		return err
	}
	for {
		v, err := m.ask(from, "CLUSTER", "GETSLOTMIGRATIONS")
		if err != nil {
			return err
		}
		if len(v.Elems) == 0 {
			return errors.New("the migration is forgotten")
		}
		switch state := pairs(v.Elems[0])["state"].Text; state {
		case "success":
			return nil
		case "failed", "cancelled":
			return fmt.Errorf("the migration is %s", state)
		}
		time.Sleep(time.Millisecond)
	}
}

// byKey does what redis-cli --cluster reshard does, with time for commands in between.
func (m *mover) byKey(slot uint16, from, to int, again bool) error {
	s := strconv.Itoa(int(slot))
	id, err := m.ask(to, "CLUSTER", "MYID")
	if err != nil {
		return err
	}
	if from != to {
		source, err := m.ask(from, "CLUSTER", "MYID")
		if err != nil {
			return err
		}
		if _, err := m.ask(to, "CLUSTER", "SETSLOT", s, "IMPORTING", source.Text); err != nil {
			return err
		}
		if _, err := m.ask(from, "CLUSTER", "SETSLOT", s, "MIGRATING", id.Text); err != nil {
			return err
		}
		if err := m.migrate(s, from, to, again); err != nil {
			return err
		}
	}
	order := []int{to, from}
	for i := range m.nodes {
		if i != to && i != from {
			order = append(order, i)
		}
	}
	for _, i := range order {
		if _, err := m.ask(i, "CLUSTER", "SETSLOT", s, "NODE", id.Text); err != nil {
			return err
		}
	}
	return nil
}

func (m *mover) migrate(slot string, from, to int, again bool) error {
	for {
		v, err := m.ask(from, "CLUSTER", "GETKEYSINSLOT", slot, strconv.Itoa(1+m.rng.IntN(8)))
		if err != nil || len(v.Elems) == 0 {
			return err
		}
		command := []string{"MIGRATE", m.nodes[to].Host(), strconv.Itoa(m.nodes[to].Port), "", "0", "5000"}
		if again {
			command = append(command, "REPLACE")
		}
		if _, err := m.ask(from, append(append(command, "KEYS"), v.Strings()...)...); err != nil {
			return err
		}
		time.Sleep(time.Duration(m.rng.IntN(3)) * time.Millisecond)
	}
}
