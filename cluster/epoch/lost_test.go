package epoch

import (
	"testing"
	"time"

	"github.com/cairndb/cairn/cluster/slotmap"
)

// TestLostHolder: a primary without its data holds no lease of a shard of which another member may have them, and is replaced there.
func TestLostHolder(t *testing.T) {
	t.Parallel()
	for name, replicas := range map[string][]slotmap.NodeID{"alone": nil, "with a replica": {nid(2)}} {
		table, err := Form(nid(9), []Founder{{Shard: sid(1), Primary: nid(1), Replicas: replicas, Epoch: 1, Slots: []slotmap.Range{{First: 0, Last: 16383}}}})
		if err != nil {
			t.Fatal(err)
		}
		h := NewHolder(nid(1), time.Second, 1)
		h.Lose(true)
		h.Learn(table)
		if _, holds := h.Begin(0); holds != (replicas == nil) {
			t.Errorf("%s: it asks for a lease: %v", name, holds)
		}
		g := &Group{}
		g.view.Store(&View{Nodes: []Node{{ID: nid(1), Alive: true, Lost: true}}})
		if got := g.mustReplace(table.Shard(sid(1))); got != (replicas != nil) {
			t.Errorf("%s: it is replaced: %v", name, got)
		}
		h.Lose(false)
		if _, holds := h.Begin(0); !holds {
			t.Errorf("%s: it asks for no lease although it has its data again", name)
		}
	}
}
