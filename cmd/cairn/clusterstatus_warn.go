package main

import "fmt"

// warnOfShards warns of what is wrong with a shard as a whole, then of its nodes.
func (a *assessment) warnOfShards() {
	replicas := 0
	for _, s := range a.Shards {
		replicas += len(s.Replicas)
	}
	if replicas == 0 && len(a.Shards) > 0 {
		a.Notes = append(a.Notes, "no shard has a replica: the slots of a node that fails are not served until it is back")
	}
	for _, s := range a.Shards {
		if replicas > 0 && len(s.Replicas) == 0 {
			a.warn("shard %s: no replica", s.Slots)
		}
		if s.Primary.Health == "fail" {
			a.warn("shard %s: the primary has failed, not served", s.Slots)
		}
		if lease := s.Primary.LeaseMS; a.Group != nil && lease != nil && *lease == 0 {
			a.warn("%s: primary without a lease, does not serve", s.Primary.Address)
		}
		for _, n := range append([]nodeReport{s.Primary}, s.Replicas...) {
			a.warnOfNode(n)
		}
		for _, o := range s.Open {
			if !a.matched(s.Primary.ID, o) {
				a.doubtful(fmt.Sprintf("slot %d on %s", o.Slot, s.Primary.ID), -1,
					"slot %d: %s on %s, but not open on %s: redis-cli --cluster fix", o.Slot, o.State, s.Primary.Address, a.name(o.NodeID))
			}
		}
	}
}

// matched says whether the other side of an open slot has it open, too. A side that does not answer is not blamed.
func (a *assessment) matched(id string, o openSlot) bool {
	other := a.byID[o.NodeID]
	if other == nil {
		return true
	}
	for _, x := range other.self().open {
		if x.Slot == o.Slot && x.NodeID == id && x.State != o.State {
			return true
		}
	}
	return false
}

func (a *assessment) warnOfNode(n nodeReport) {
	switch {
	case n.Health == "ok":
	case n.Sync != nil:
		a.warn("%s: full sync under way, %s", n.Address, n.Sync)
	case n.Health == "full sync":
		a.warn("%s: full sync under way", n.Address)
	case n.Error != "" && n.Health != "unreachable":
		a.warn("%s: %s, unreachable (%s)", n.shown(), n.Health, n.Error)
	case n.Error != "":
		a.warn("%s: unreachable (%s)", n.shown(), n.Error)
	default:
		a.warn("%s: %s", n.Address, n.Health)
	}
}
