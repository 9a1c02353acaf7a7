// Package slotmap is the immutable map from slots to nodes, with the epoch of
// every claim.
//
// A node claims slots at an epoch. Who owns a slot is decided by the claims
// alone, in any order of arrival, so that every node that has heard the same
// claims has the same map:
//
//   - the claim with the larger epoch wins;
//   - of equal epochs the one of the lexicographically smaller node ID wins.
//
// The second rule agrees with Redis's cure of an epoch collision, in which the
// node with the smaller ID takes a new, larger epoch (Redis
// clusterHandleConfigEpochCollision).
package slotmap

import "slices"

// Slots is the number of hash slots (Redis Cluster spec, "Key distribution model").
const Slots = 16384

// Claim says that a node owns slots since an epoch.
type Claim struct {
	Node  NodeID
	Epoch uint64
	// Slots are ascending and do not touch each other.
	Slots []Range
}

// Map says who owns which slot. It never changes once made.
type Map struct {
	claims []Claim
	// owner holds 1 + the index in claims of each slot's winner, 0 for nobody.
	owner    [Slots]uint16
	assigned int
}

// Fold decides between claims; later ones do not count more than earlier ones.
func Fold(claims ...Claim) *Map {
	m := &Map{claims: slices.Clone(claims)}
	for i := range m.claims {
		for _, r := range m.claims[i].Slots {
			m.award(r, i)
		}
	}
	for _, o := range m.owner {
		if o != 0 {
			m.assigned++
		}
	}
	return m
}

func (m *Map) award(r Range, claim int) {
	for s := int(r.First); s <= int(r.Last) && s < Slots; s++ {
		holder := m.owner[s]
		if holder == 0 || Beats(m.claims[claim].Epoch, m.claims[claim].Node, m.claims[holder-1].Epoch, m.claims[holder-1].Node) {
			m.owner[s] = uint16(claim + 1)
		}
	}
}

// Beats is the rule of the map: whether a claim of node a at epoch ea wins against that of node b at eb.
func Beats(ea uint64, a NodeID, eb uint64, b NodeID) bool {
	return ea > eb || ea == eb && a < b
}

// Owner is the node that owns a slot, empty for nobody.
func (m *Map) Owner(slot uint16) NodeID {
	if o := m.owner[slot%Slots]; o != 0 {
		return m.claims[o-1].Node
	}
	return ""
}

// Epoch is the epoch of the claim that won the slot, 0 for nobody's.
func (m *Map) Epoch(slot uint16) uint64 {
	if o := m.owner[slot%Slots]; o != 0 {
		return m.claims[o-1].Epoch
	}
	return 0
}

// Assigned is the number of slots that have an owner.
func (m *Map) Assigned() int { return m.assigned }

// SlotsOf is the set of slots that a node owns.
func (m *Map) SlotsOf(id NodeID) *Set {
	s := new(Set)
	for slot, o := range m.owner {
		if o != 0 && m.claims[o-1].Node == id {
			s.Add(uint16(slot))
		}
	}
	return s
}

// Sets returns the slots of every node that owns any.
func (m *Map) Sets() map[NodeID]*Set {
	sets := make(map[NodeID]*Set)
	won := make([]*Set, len(m.claims))
	for slot, o := range m.owner {
		if o == 0 {
			continue
		}
		if won[o-1] == nil {
			id := m.claims[o-1].Node
			if sets[id] == nil {
				sets[id] = new(Set)
			}
			won[o-1] = sets[id]
		}
		won[o-1].Add(uint16(slot))
	}
	return sets
}
