package cluster

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/cairndb/cairn/cluster/epoch"
	"github.com/cairndb/cairn/cluster/slotmap"
	"github.com/cairndb/cairn/tools/poll"
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

// TestFounderIsLost: the node that forms the group is lost for good when it was elected and has not adopted the claims. The others forget it, and one who was not among the
// voters gets slot 0: they form another group, of which all are voters.
func TestFounderIsLost(t *testing.T) {
	t.Parallel()
	var members []*member
	for range 6 {
		o := options(t, short)
		o.GroupDir = filepath.Join(t.TempDir(), "epochs")
		members = append(members, start(t, o))
	}
	lost, left := members[0], members[1:]
	for _, m := range left {
		m.Meet("127.0.0.1", 7000, lost.BusPort())
	}
	poll.Within(t, "all know each other", time.Minute, everyone(members, func(m *member) bool { return m.reaches(len(members)) }))
	if err := lost.group.Load().Bootstrap(t.Context(), []epoch.Founder{{}}); err == nil {
		t.Fatal("claims of nobody were adopted")
	}
	leader := func(m *member) slotmap.NodeID {
		s, _, _ := m.GroupStatus()
		return s.Leader
	}
	var voters []*member
	var outside *member
	poll.Within(t, "the voters have a leader", time.Minute, func() bool {
		voters = nil
		for _, m := range left {
			if leader(m) != "" {
				voters = append(voters, m)
			} else {
				outside = m
			}
		}
		return len(voters) >= 2 && outside != nil
	})
	lost.stop()
	for _, m := range left {
		if err := m.Forget(string(lost.id())); err != nil {
			t.Fatal(err)
		}
	}
	poll.Within(t, "they have another one", time.Minute, everyone(voters, func(m *member) bool { return leader(m) != "" && leader(m) != lost.id() }))
	if err := errors.Join(outside.AddSlots(set(0, 8191)), voters[0].AddSlots(set(8192, slots-1))); err != nil {
		t.Fatal(err)
	}
	poll.Within(t, "they have one group, in which all vote", 2*time.Minute, everyone(left, func(m *member) bool {
		s, _, _ := m.GroupStatus()
		return m.Formed() && len(s.Voters) == len(left) && s.Leader != "" && s.Leader == leader(outside)
	}))
}
