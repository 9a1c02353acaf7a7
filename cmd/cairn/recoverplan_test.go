package main

import (
	"errors"
	"strings"
	"testing"
)

// TestPlanRecovery: the node that knows most is chosen, a voter's log counts, and slots that nobody has any more are named.
func TestPlanRecovery(t *testing.T) {
	t.Parallel()
	nodes := func(self string) []nodeLine {
		all := []nodeLine{
			{id: "a", addr: "a:1", slots: []slotRange{{0, 99}}}, {id: "b", addr: "b:1", slots: []slotRange{{100, 200}}},
			{id: "c", addr: "c:1", primary: "a"}, {id: "d", addr: "d:1", primary: "b"}, {id: "e", addr: "e:1", slots: []slotRange{{201, 300}}},
		}
		for i := range all {
			if all[i].id == self {
				all[i].flags = []string{"myself"}
			}
		}
		return all
	}
	answer := func(id, state, generation, applied, last string) nodeAnswer {
		return nodeAnswer{addr: id + ":1", nodes: nodes(id), fields: map[string]string{
			"cluster_group_state": state, "cluster_group_generation": generation, "cluster_group_voters": "5", "cluster_group_applied": applied, "cluster_group_last": last,
		}}
	}
	gone := func(id string) nodeAnswer { return nodeAnswer{addr: id + ":1", err: errors.New("gone")} }
	p, err := planRecovery([]nodeAnswer{answer("c", "learner", "0", "8", "0"), answer("d", "candidate", "0", "7", "9"), gone("a"), gone("b"), gone("e")})
	if err != nil || p.chosen.addr != "d:1" || len(p.voting) != 1 || len(p.lost) != 3 || len(p.orphans) != 1 || p.orphans[0] != (slotRange{201, 300}) {
		t.Errorf("%+v %v", p, err)
	}
	if p, err = planRecovery([]nodeAnswer{answer("c", "learner", "1", "3", "0"), answer("d", "candidate", "0", "7", "9")}); err != nil || p.chosen.addr != "c:1" {
		t.Errorf("a later generation: %+v %v", p, err)
	}
	_, err = planRecovery([]nodeAnswer{answer("a", "candidate", "0", "3", "3"), answer("b", "follower", "0", "3", "3"), answer("c", "leader", "0", "3", "3"), gone("d")})
	if err == nil || !strings.Contains(err.Error(), "3 of 5 voters answer") {
		t.Error(err)
	}
	if _, err = planRecovery([]nodeAnswer{{addr: "a:1", fields: map[string]string{}}}); err == nil {
		t.Error("there is no group")
	}
}
