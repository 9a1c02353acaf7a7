package epoch

import (
	"testing"

	"github.com/cairndb/cairn/cluster/slotmap"
)

// What a primary says of its slots is void once another node has its place.
func TestReleaseByAFormerPrimary(t *testing.T) {
	t.Parallel()
	a, b, replica := nid(1), nid(2), nid(3)
	was, err := Form(nid(9), []Founder{
		{Shard: sid(1), Primary: a, Replicas: []slotmap.NodeID{replica}, Epoch: 1, Slots: []slotmap.Range{{First: 0, Last: 9}}},
		{Shard: sid(2), Primary: b, Epoch: 2, Slots: []slotmap.Range{{First: 10, Last: 16383}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	move := func(id byte) *Request {
		from, to := was.Shard(sid(1)), was.Shard(sid(2))
		return &Request{
			ID: RequestID{id}, Op: OpSlots, Released: true, Slots: was.Expect(slotmap.SetOf([]slotmap.Range{{First: 3, Last: 4}})),
			Shard: to.ID, Expect: to.Epoch, Node: a, Revision: from.Epoch,
		}
	}
	failed, res := apply(was, 5, &Request{ID: RequestID{1}, Op: OpPrimary, Shard: sid(1), Node: replica, Expect: 1})
	if res.Outcome != OK {
		t.Fatal(res.Outcome)
	}
	if _, res = apply(failed, 6, move(2)); res.Outcome != Stale {
		t.Errorf("after a failover: %v", res.Outcome)
	}
	now, res := apply(was, 5, move(3))
	if owner, _ := now.Owner(3); res.Outcome != OK || owner.ID != sid(2) {
		t.Errorf("without one: %v", res.Outcome)
	}
}
