package cluster

import (
	"slices"
	"strings"
	"testing"

	"github.com/cairndb/cairn/cluster/epoch"
	"github.com/cairndb/cairn/cluster/slotmap"
)

// covered is the table of node a, which shares all slots with b; c replicates b. All answer.
func covered(t *testing.T) *table {
	t.Helper()
	tab := newTable(record{ID: digitID("a"), Epoch: 1, Shard: digitID("1"), Slots: ranges("0-8191")}, Settings{NodeTimeout: short}, 0)
	tab.grouped = true
	for _, r := range []record{
		{ID: digitID("b"), Epoch: 2, Shard: digitID("2"), Slots: ranges("8192-16383"), Version: 1, BusPort: 1, Pledged: true},
		{ID: digitID("c"), Shard: digitID("2"), Primary: digitID("b"), Version: 1, BusPort: 1, Pledged: true},
	} {
		if !tab.accept(&r, 0) {
			t.Fatal("not accepted")
		}
		tab.answered(r.ID, 0)
	}
	tab.settle(0)
	return tab
}

// formed is covered after the group has adopted everything.
func formedTable(t *testing.T) *table {
	t.Helper()
	tab := covered(t)
	founders, ok := tab.founders()
	if !ok {
		t.Fatal("no founders")
	}
	g, err := epoch.Form(digitID("f"), founders)
	if err != nil {
		t.Fatal(err)
	}
	tab.learn(g, 0)
	return tab
}

func TestPledge(t *testing.T) {
	t.Parallel()
	tab := covered(t)
	if !tab.me().Pledged || !tab.undecided() {
		t.Error("all is covered, but the node may still change its claims")
	}
	if err := unpledged(func(*table, int64) error { return nil })(tab, 0); err != errPledged {
		t.Error(err)
	}
	version := tab.me().Version
	tab.settle(0)
	if tab.me().Version != version {
		t.Error("told twice")
	}
	tab.forget(digitID("b"), 0)
	if tab.me().Pledged || tab.undecided() {
		t.Error("slots are free, but the node may not claim them")
	}

	lone := newTable(record{ID: digitID("a"), Slots: ranges("0-16383")}, Settings{NodeTimeout: short}, 0)
	lone.grouped = true
	if lone.settle(0); lone.me().Pledged {
		t.Error("a node alone needs no group")
	}
	without := covered(t)
	without.grouped = false
	if without.settle(0); without.me().Pledged {
		t.Error("without a group there is nothing to wait for")
	}
	if tab := formedTable(t); tab.me().Pledged || tab.undecided() {
		t.Error("the group is there")
	}
}

func TestFounders(t *testing.T) {
	t.Parallel()
	all, ok := covered(t).founders()
	if !ok || len(all) != 2 || all[0].Primary != digitID("a") || all[1].Primary != digitID("b") ||
		!slices.Equal(all[1].Replicas, []slotmap.NodeID{digitID("c")}) || !slices.Equal(all[1].Slots, ranges("8192-16383")) {
		t.Errorf("%v %+v", ok, all)
	}
	for name, spoil := range map[string]func(*table){
		"claims may change":         func(t *table) { t.peers[digitID("b")].Pledged = false },
		"a replica may still claim": func(t *table) { t.peers[digitID("c")].Pledged = false },
		"silent":                    func(t *table) { t.peers[digitID("b")].answers = false },
		"known from before only":    func(t *table) { t.peers[digitID("c")].stored = true },
		"no shard":                  func(t *table) { t.peers[digitID("b")].Shard = "" },
		"a shard with two":          func(t *table) { t.peers[digitID("b")].Shard = digitID("1") },
		"uncovered":                 func(t *table) { t.peers[digitID("b")].Slots = nil; t.settle(0) },
	} {
		tab := covered(t)
		if spoil(tab); func() bool { _, ok := tab.founders(); return ok }() {
			t.Errorf("%s: founded", name)
		}
	}
}

// A new table of the group overrules all records.
func TestLearn(t *testing.T) {
	t.Parallel()
	tab := formedTable(t)
	a, b, c := digitID("a"), digitID("b"), digitID("c")
	if me := tab.me(); me.Group != digitID("f") || me.Pledged {
		t.Errorf("%+v", me.record)
	}
	tab.peers[b].Slots, tab.peers[b].Epoch = ranges("0-16383"), 99
	tab.settle(0)
	if tab.owners.Owner(0) != a || !slices.Equal(tab.me().Slots, ranges("0-8191")) || tab.epochOf(tab.peers[b]) != 2 {
		t.Error("a record counts more than the group")
	}
	if tab.primaryOf(c) != b || tab.isReplica(b) || tab.shardID(tab.peers[c]) != digitID("2") {
		t.Error("roles are wrong")
	}
	if err := unpledged(func(*table, int64) error { return nil })(tab, 0); err != errPledged {
		t.Error("a claim without the group:", err)
	}
}

// TestGrantEndsImport: the marks of a slot end with its grant, also when the node hears of it only after a restart.
func TestGrantEndsImport(t *testing.T) {
	t.Parallel()
	tab := covered(t)
	founders, _ := tab.founders()
	g, err := epoch.Form(digitID("f"), founders)
	if err != nil {
		t.Fatal(err)
	}
	// What nodes.conf says of a node that has been granted slot 5 meanwhile, and imports another one.
	tab.importing[5], tab.importing[9000] = digitID("b"), digitID("b")
	tab.learn(g, 0)
	if len(tab.importing) != 1 || tab.importing[9000] == "" {
		t.Errorf("importing %v", tab.importing)
	}
	// A replica takes no slots: it would answer READONLY to clients that ASK has sent.
	g, err = epoch.Form(digitID("f"), []epoch.Founder{
		{Shard: digitID("2"), Primary: digitID("b"), Replicas: []slotmap.NodeID{digitID("a"), digitID("c")}, Epoch: 3, Slots: ranges("0-16383")},
	})
	if err != nil {
		t.Fatal(err)
	}
	g.Version = 2
	if tab.learn(g, 0); len(tab.importing) != 0 {
		t.Errorf("a replica imports %v", tab.importing)
	}
}

func TestMayReplicate(t *testing.T) {
	t.Parallel()
	tab := covered(t)
	for node, want := range map[string]string{
		"d": "Unknown node", "a": "Can't replicate myself", "c": "I can only replicate a master", "b": "To set a master the node must be empty",
	} {
		if err := tab.mayReplicate(digitID(node)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", node, err)
		}
	}
	tab.flushSlots()
	tab.settle(0)
	if err := tab.replicate(digitID("b")); err != nil || tab.primaryOf(tab.self) != digitID("b") || tab.me().Shard != digitID("2") {
		t.Error(err)
	}
}

func TestGroupView(t *testing.T) {
	t.Parallel()
	tab := covered(t)
	tab.peers[digitID("b")].refuses, tab.peers[digitID("b")].silentSince = true, 400
	v := tab.groupView(1000)
	alive := func(i int, id string, primary, want bool) {
		if n := v.Nodes[i]; n.ID != digitID(id) || n.Primary != primary || n.Alive != want {
			t.Errorf("%+v", n)
		}
	}
	alive(0, "a", true, true)
	alive(1, "b", true, false)
	alive(2, "c", false, true)
	if v.Nodes[1].Dead != millis(600) {
		t.Error(v.Nodes[1].Dead)
	}
}

// A replica that was stopped while its former primary went to another shard stays where the group has it.
func TestLearnKeepsThePlace(t *testing.T) {
	t.Parallel()
	a, b, d := digitID("a"), digitID("b"), digitID("d")
	form := func(founders ...epoch.Founder) *epoch.Table {
		t.Helper()
		founders = append(founders, epoch.Founder{Shard: digitID("2"), Primary: b, Epoch: 2, Slots: ranges("8192-16383")})
		g, err := epoch.Form(digitID("f"), founders)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	follower := func() *table {
		tab := newTable(record{ID: a, Shard: digitID("1"), Primary: b}, Settings{NodeTimeout: short}, 0)
		tab.accept(&record{ID: b, Shard: digitID("2"), Version: 1, BusPort: 1}, 0)
		return tab
	}
	for _, c := range []struct {
		name string
		g    *epoch.Table
		want slotmap.NodeID
	}{
		{"a replica of another primary by now", form(epoch.Founder{Shard: digitID("1"), Primary: d, Replicas: []slotmap.NodeID{a}, Epoch: 1, Slots: ranges("0-8191")}), ""},
		{"a primary by now", form(epoch.Founder{Shard: digitID("1"), Primary: a, Epoch: 1, Slots: ranges("0-8191")}), ""},
		{"not heard of", form(), b},
		{"taken for a primary of its own", form(epoch.Founder{Shard: digitID("1"), Primary: a, Epoch: 1}), b},
	} {
		tab := follower()
		if tab.learn(c.g, 0); tab.wish != c.want {
			t.Errorf("%s: it wants to replicate %q", c.name, tab.wish)
		}
	}
}

// What was promised about the primary of one shard says nothing about that of another, whose epoch may be smaller.
func TestPromiseEndsWithTheShard(t *testing.T) {
	t.Parallel()
	tab := formedTable(t)
	tab.promised, tab.follows = 7, 7
	tab.settle(0)
	if tab.promised != 7 {
		t.Error("a promise is forgotten")
	}
	moved, err := epoch.Form(digitID("f"), []epoch.Founder{
		{Shard: digitID("2"), Primary: digitID("b"), Replicas: []slotmap.NodeID{digitID("a"), digitID("c")}, Epoch: 2, Slots: ranges("0-16383")},
	})
	if err != nil {
		t.Fatal(err)
	}
	tab.learn(moved, 0)
	if tab.promised != 0 || tab.follows != 0 || tab.primaryOf(tab.self) != digitID("b") {
		t.Errorf("promised %d, follows %d", tab.promised, tab.follows)
	}
}

func TestMayGrant(t *testing.T) {
	t.Parallel()
	a, b, c := digitID("a"), digitID("b"), digitID("c")
	for _, tc := range []struct {
		name     string
		slot     uint16
		to, from slotmap.NodeID
		keys     int64
		ask      bool
		err      string
	}{
		{"given away, empty", 1, b, "", 0, true, ""},
		{"given away, with keys", 1, b, "", 1, false, "Can't assign hashslot 1"},
		{"to nobody known", 1, digitID("e"), "", 0, false, "Unknown node"},
		{"its own already", 1, a, "", 5, false, ""},
		{"imported from its owner", 9000, a, b, 5, true, ""},
		{"imported from one who is its owner no more", 9000, a, c, 5, false, "Slot 9000 is imported from"},
		{"taken without a mark", 9000, a, "", 0, true, ""},
		{"between others", 9000, c, "", 0, false, ""},
	} {
		tab := formedTable(t)
		if tc.from != "" {
			tab.importing[tc.slot] = tc.from
		}
		ask, err := tab.mayGrant(tc.slot, tc.to, tc.keys)
		if ask != tc.ask || (err == nil) != (tc.err == "") || err != nil && !strings.HasPrefix(err.Error(), tc.err) {
			t.Errorf("%s: %v %v", tc.name, ask, err)
		}
	}
}
