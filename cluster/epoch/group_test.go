package epoch

import (
	"testing"

	"github.com/cairndb/cairn/cluster/slotmap"
)

func one(s uint16) *slotmap.Set {
	return slotmap.SetOf([]slotmap.Range{{First: s, Last: s}})
}

func TestGroupForms(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 6, 3)
	tab := c.form()
	if tab.Epoch != 3 || len(tab.Shards) != 3 || len(tab.Voters) != 5 {
		t.Fatalf("%+v", tab)
	}
	c.eventually("all primaries serve", func() bool {
		for _, n := range c.nodes[:3] {
			if !n.get().Serving() {
				return false
			}
		}
		return true
	})
	for i, n := range c.nodes { // from leader, followers and the one who is no voter
		now := n.get().Table()
		res := c.propose(n, Request{Op: OpSlots, Shard: sid(1), Expect: now.Shard(sid(1)).Epoch, Slots: now.Expect(one(uint16(i))), Released: true})
		if want := uint64(4 + i); res.Epoch != want {
			t.Fatalf("epoch %d, want %d", res.Epoch, want)
		}
		for _, m := range c.nodes {
			got, err := m.get().Await(t.Context(), res.Version)
			if err != nil {
				t.Fatal(err)
			}
			if s, e := got.Owner(uint16(i)); s.ID != sid(1) || e != res.Epoch {
				t.Fatalf("slot %d is %s's at %d", i, s.ID, e)
			}
		}
	}
	for _, n := range c.nodes[3:] {
		if n.get().Serving() {
			t.Fatalf("replica %s holds a lease", n.id)
		}
	}
}
