package epoch

import (
	"testing"

	"github.com/cairndb/cairn/cluster/slotmap"
)

// A node that never claimed anything has no epoch. It would get no lease for it.
func TestFormGivesEpochs(t *testing.T) {
	t.Parallel()
	id := func(s string) slotmap.NodeID { return storyNode(s) }
	all := slotmap.Range{First: 0, Last: slotmap.Slots - 1}
	tab, err := Form(id("f"), []Founder{
		{Shard: id("1"), Primary: id("a")},
		{Shard: id("2"), Primary: id("b"), Epoch: 4, Slots: []slotmap.Range{all}},
		{Shard: id("3"), Primary: id("c")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if a, b, c := tab.Shard(id("1")).Epoch, tab.Shard(id("2")).Epoch, tab.Shard(id("3")).Epoch; a != 5 || b != 4 || c != 6 || tab.Epoch != 6 {
		t.Errorf("epochs %d %d %d, the last %d", a, b, c, tab.Epoch)
	}
	slots := slotmap.SetOf([]slotmap.Range{{First: 7, Last: 9}})
	if !tab.Owns(id("b"), slots) || tab.Owns(id("a"), slots) || tab.Owns(id("d"), slots) {
		t.Error("the wrong node owns the slots")
	}
	h := NewHolder(id("a"), 1, 1)
	h.Learn(tab)
	if _, ok := h.Begin(0); !ok {
		t.Error("a primary without slots asks for no lease")
	}
}
