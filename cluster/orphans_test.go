package cluster

import (
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/cairndb/cairn/cluster/epoch"
	"github.com/cairndb/cairn/cluster/slotmap"
)

// TestAdoption plays a cluster as all of its nodes see it. Its primaries share the slots, but "none" names those without; "tick" says who wants to move where.
//
//	cluster a=(1,2) b=(3) c= …   primaries with their replicas; how long primaries have been orphaned is kept, the rest is new
//	silent 3 b                   these have failed from now on, or answer again
//	barrier 2 | acks 2 | forbid  settings of all nodes
//	tick 5000
func TestAdoption(t *testing.T) {
	t.Parallel()
	datadriven.Walk(t, "testdata/adoption", func(t *testing.T, path string) {
		w := &orphanage{set: Settings{NodeTimeout: short, ReplicaMigration: true, MigrationBarrier: 1}, orphans: make(map[slotmap.NodeID]map[epoch.ShardID]int64)}
		datadriven.RunTest(t, path, w.run)
	})
}

type orphanage struct {
	set      Settings
	founders []epoch.Founder
	nodes    []slotmap.NodeID
	silent   []slotmap.NodeID
	orphans  map[slotmap.NodeID]map[epoch.ShardID]int64
}

func (w *orphanage) run(t *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "cluster":
		w.cluster(d)
	case "silent":
		w.silent = nil
		for _, arg := range d.CmdArgs {
			w.silent = append(w.silent, digitID(arg.Key))
		}
	case "barrier":
		w.set.MigrationBarrier = number(t, d.CmdArgs[0].Key)
	case "acks":
		w.set.ReplicationAcks = number(t, d.CmdArgs[0].Key)
	case "forbid":
		w.set.ReplicaMigration = false
	case "tick":
		return w.tick(t, int64(number(t, d.CmdArgs[0].Key)))
	default:
		t.Fatalf("unknown command %s", d.Cmd)
	}
	return ""
}

func (w *orphanage) cluster(d *datadriven.TestData) {
	w.founders, w.nodes = nil, nil
	slot := uint16(0)
	for i, arg := range d.CmdArgs {
		name, without := strings.CutPrefix(arg.Key, "none-")
		f := epoch.Founder{Shard: digitID(name), Primary: digitID(name), Epoch: uint64(i + 1), Replicas: digitIDs(arg.Vals)}
		if !without {
			last := slot + 100
			if i == len(d.CmdArgs)-1 {
				last = slots - 1
			}
			f.Slots = []slotmap.Range{{First: slot, Last: last}}
			slot = last + 1
		}
		w.founders = append(w.founders, f)
		w.nodes = append(append(w.nodes, f.Primary), f.Replicas...)
	}
	slices.Sort(w.nodes)
}

func (w *orphanage) tick(t *testing.T, now int64) string {
	g, err := epoch.Form(digitID("f"), w.founders)
	if err != nil {
		t.Fatal(err)
	}
	out := ""
	for _, self := range w.nodes {
		if slices.Contains(w.silent, self) {
			continue
		}
		tab := newTable(record{ID: self, Shard: self}, w.set, 0)
		tab.grouped = true
		for _, id := range w.nodes {
			if id != self {
				tab.accept(&record{ID: id, Version: 1, BusPort: 1}, 0)
				tab.answered(id, 0)
				tab.peers[id].failed = slices.Contains(w.silent, id)
			}
		}
		tab.learn(g, now)
		tab.up.ok, tab.orphans = true, w.orphans[self]
		if a := tab.adopt(now); a != nil {
			out += digits([]slotmap.NodeID{self}) + " moves to " + digits([]slotmap.NodeID{a.to.Primary}) + "\n"
		}
		w.orphans[self] = tab.orphans
	}
	if out == "" {
		return "nobody moves"
	}
	return out
}
