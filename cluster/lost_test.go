package cluster

import (
	"testing"

	"github.com/cairndb/cairn/cluster/slotmap"
)

// TestBeginLost: a node whose nodes.conf knows of data begins without them when its store is new, and remembers that until it has data again.
func TestBeginLost(t *testing.T) {
	t.Parallel()
	two := []record{{ID: digitID("a")}, {ID: digitID("b")}}
	for _, tc := range []struct {
		name  string
		fresh bool
		was   *saved
		want  bool
	}{
		{"a new node", true, nil, false},
		{"its store is there", false, &saved{records: two, follows: 3}, false},
		{"its store is gone", true, &saved{records: two, follows: 3}, true},
		{"it had none yet", true, &saved{records: two}, false},
		{"it was gone before", false, &saved{records: two, lost: true}, true},
		{"it is alone", true, &saved{records: two[:1], follows: 3}, false},
	} {
		tab := formedTable(t)
		tab.follows = 3
		c := still(t, tab, &actor{})
		c.o.Fresh = tc.fresh
		c.beginLost(tab, tc.was)
		if c.Lost() != tc.want || (tab.follows == 0) != tc.want {
			t.Errorf("%s: lost %v, follows %d", tc.name, c.Lost(), tab.follows)
		}
	}
}

// TestLostReplica: one that has lost its data is no candidate until it has had its primary's, whatever its nodes.conf said.
func TestLostReplica(t *testing.T) {
	t.Parallel()
	tab := formedTable(t)
	c := still(t, tab, &actor{})
	c.learn(ownShard(t, digitID("b"), 2, 5))
	c.o.Fresh, tab.follows = true, 5
	c.beginLost(tab, &saved{records: []record{{ID: digitID("a")}, {ID: digitID("b")}}, follows: 5})
	if tab.willing(digitID("1"), nil) || tab.view().Synced() {
		t.Error("a replica without data is a candidate")
	}
	c.continues(part{primary: digitID("b"), epoch: 5})
	if !tab.willing(digitID("1"), nil) || c.Lost() {
		t.Error("a replica that has its data again is none")
	}
	var nobody slotmap.NodeID
	c.learn(ownShard(t, digitID("a"), 3, 6))
	if tab.me().Lost = true; tab.mayFailover(FailoverTakeover, false) != nil || tab.primaryOf(tab.self) != nobody {
		t.Error("an operator can't say that a primary begins without its data")
	}
}
