package cluster

import (
	"testing"
	"time"

	"github.com/cairndb/cairn/cluster/epoch"
	"github.com/cairndb/cairn/cluster/slotmap"
)

// TestFoundersStopByTheClock: a founder whose process was stopped serves nothing when it goes on, although nothing else of it has run yet.
func TestFoundersStopByTheClock(t *testing.T) {
	t.Parallel()
	c := &Cluster{}
	c.leading.Store(true)
	if !c.Serving() {
		t.Error("without a group a primary does not serve")
	}
	c.foundingUntil.Store(boottime() + int64(time.Hour))
	if !c.Serving() {
		t.Error("a founder does not serve")
	}
	c.foundingUntil.Store(boottime() - 1)
	if c.Serving() || c.MayReply() {
		t.Error("a founder serves for ever without a lease")
	}
	c.foundingUntil.Store(0)
	c.fenced.Store(true)
	if c.Serving() || c.MayReply() {
		t.Error("a primary serves without its lease")
	}
}

// TestReadsWaitForTheFirstSync: a replica serves no reads before its log continues that of the shard it has now.
func TestReadsWaitForTheFirstSync(t *testing.T) {
	t.Parallel()
	node := func(i byte) slotmap.NodeID {
		return slotmap.NodeID([]byte("000000000000000000000000000000000000000" + string('a'+rune(i))))
	}
	self, one, two := node(0), node(1), node(2)
	tab := newTable(record{ID: self, Shard: node(10), BusPort: 1}, Settings{}, 0)
	half := slotmap.Range{First: 0, Last: 8191}
	rest := slotmap.Range{First: 8192, Last: slotmap.Slots - 1}
	tab.peers[one] = &peer{record: record{ID: one, Shard: node(11), BusPort: 1, Epoch: 1}}
	tab.peers[two] = &peer{record: record{ID: two, Shard: node(12), BusPort: 1, Epoch: 2}}
	tab.follows = 3 // its own term, as a primary
	group := func(version uint64, replicas ...slotmap.NodeID) *epoch.Table {
		founders := []epoch.Founder{
			{Shard: node(11), Primary: one, Epoch: 1, Slots: []slotmap.Range{half}},
			{Shard: node(12), Primary: two, Epoch: 2, Slots: []slotmap.Range{rest}},
		}
		for i, r := range replicas {
			if r != "" {
				founders[i].Replicas = []slotmap.NodeID{r}
			}
		}
		g, err := epoch.Form(node(20), founders)
		if err != nil {
			t.Fatal(err)
		}
		g.Version = version
		return g
	}
	c := &Cluster{}
	c.mu.table = tab
	want := func(slot uint16, yes bool) {
		t.Helper()
		if got := tab.view().Replicates(slot); got != yes {
			t.Errorf("serves reads of slot %d: %v", slot, got)
		}
	}
	tab.learn(group(1, self), 1)
	want(0, false)
	tab.follows = 1
	want(0, true)
	want(9000, false)
	tab.learn(group(2, "", self), 2)
	want(0, false)
	want(9000, false)
	stale := part{primary: one, epoch: 1}
	c.continues(stale) // comes late
	want(9000, false)
}
