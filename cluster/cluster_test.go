package cluster

import (
	"fmt"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/cairndb/cairn/cluster/slotmap"
	"github.com/cairndb/cairn/tools/poll"
	"github.com/cairndb/cairn/tools/testnode"
)

// member is a node of a test's cluster; it can be stopped and started again.
type member struct {
	*Cluster
	t *testing.T
	o Options
}

func options(t *testing.T, timeout time.Duration) Options {
	return Options{
		ConfigFile: filepath.Join(t.TempDir(), "nodes.conf"),
		Port:       7000,
		BusPort:    freePort(t),
		Bind:       []string{"127.0.0.1"},
		Settings:   Settings{NodeTimeout: timeout, RequireFullCoverage: true},
	}
}

// freePort is a port that no outgoing connection can take while the node that has it is stopped.
func freePort(t *testing.T) int {
	t.Helper()
	port, err := testnode.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func start(t *testing.T, o Options) *member {
	t.Helper()
	m := &member{t: t, o: o}
	m.start()
	t.Cleanup(m.stop)
	return m
}

func (m *member) start() {
	m.t.Helper()
	c, err := Start(m.o)
	if err != nil {
		m.t.Fatal(err)
	}
	m.Cluster = c
}

func (m *member) stop() {
	if err := m.Close(); err != nil {
		m.t.Errorf("close: %v", err)
	}
}

// form makes a cluster as redis-cli --cluster create does.
func form(t *testing.T, n int, timeout time.Duration) ([]*member, *world) {
	t.Helper()
	w := newWorld()
	var members []*member
	for range n {
		o := options(t, timeout)
		o.Network = &place{w: w}
		members = append(members, start(t, o))
	}
	t.Logf("%d nodes agree and are up after %v", n, join(t, members))
	return members, w
}

func join(t *testing.T, members []*member) time.Duration {
	t.Helper()
	n := len(members)
	for i, m := range members {
		r := slotmap.Range{First: uint16(i * slots / n), Last: uint16((i+1)*slots/n - 1)}
		if err := m.AddSlots(slotmap.SetOf([]slotmap.Range{r})); err != nil {
			t.Fatal(err)
		}
		if err := m.SetEpoch(uint64(i + 1)); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range members[1:] {
		m.Meet("127.0.0.1", 7000, members[0].BusPort())
	}
	return settled(t, members)
}

// settled waits until all members agree and are up.
func settled(t *testing.T, members []*member) time.Duration {
	t.Helper()
	return poll.Within(t, "all agree and are up", time.Minute, func() bool {
		for _, m := range members {
			if !m.View().Up() || m.signature() != members[0].signature() || !m.reaches(len(members)) {
				return false
			}
		}
		return true
	})
}

func (m *member) reaches(n int) bool {
	nodes := m.Nodes()
	for _, node := range nodes {
		if !node.Connected || node.Fail || node.Suspected {
			return false
		}
	}
	return len(nodes) == n
}

// signature is what redis-cli compares: id:ranges of every node.
func (m *member) signature() string {
	var lines []string
	for _, n := range m.Nodes() {
		lines = append(lines, fmt.Sprintf("%s:%v@%d", n.ID, n.Slots, n.BusPort))
	}
	sort.Strings(lines)
	return strings.Join(lines, "|")
}

// ID is the node's own.
func (m *member) id() slotmap.NodeID { return m.View().Self().ID }

// sees returns what m knows of another node.
func (m *member) sees(id slotmap.NodeID) *Node {
	for _, n := range m.Nodes() {
		if n.ID == id {
			return n
		}
	}
	return nil
}

func (m *member) failed(id slotmap.NodeID) bool {
	n := m.sees(id)
	return n != nil && n.Fail
}

func everyone(members []*member, ok func(*member) bool) func() bool {
	return func() bool {
		for _, m := range members {
			if !ok(m) {
				return false
			}
		}
		return true
	}
}

func set(first, last uint16) *slotmap.Set {
	return slotmap.SetOf([]slotmap.Range{{First: first, Last: last}})
}
