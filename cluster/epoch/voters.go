package epoch

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/cairndb/cairn/cluster/slotmap"
)

// MaxVoters is how many nodes decide at most: two of five may fail at once.
const MaxVoters = 5

// Node is what gossip knows of a node.
type Node struct {
	ID slotmap.NodeID
	// Host is the node's IP address.
	Host  string
	Shard ShardID
	// Primary: the node says of itself that it is one.
	Primary bool
	// Alive: it answers, or its failure is not agreed yet. Dead is for how long it has not been.
	Alive bool
	Dead  time.Duration
	// Doubtful: it may have lost the end of its log (Offer.Doubtful), and does not serve as the primary of a strict shard before it is granted anew.
	Doubtful bool
	// Lost: it has lost its data, and serves only a shard that has no other members.
	Lost bool
	// Cluster, Generation and Granted are those of the node's table.
	Cluster    slotmap.NodeID
	Generation uint64
	Granted    bool
}

// View is what gossip knows of the cluster. Nodes that were forgotten or reset are not in it.
type View struct{ Nodes []Node }

func (v *View) node(id slotmap.NodeID) *Node {
	for i := range v.Nodes {
		if v.Nodes[i].ID == id {
			return &v.Nodes[i]
		}
	}
	return nil
}

// change is one step towards the wanted voters.
type change struct {
	add    bool
	node   slotmap.NodeID
	reason string
}

// planVoters lists what should be changed about the voters, the most urgent first. Only the first is meant to be done:
// afterwards all is looked at again. A voter is kept while it is not dead for patience.
func planVoters(v *View, current []slotmap.NodeID, patience time.Duration) []change {
	var changes []change
	gone := func(id slotmap.NodeID) bool {
		return slices.ContainsFunc(changes, func(c change) bool { return c.node == id })
	}
	for _, id := range current {
		switch n := v.node(id); {
		case n == nil:
			changes = append(changes, change{node: id, reason: "forgotten"})
		case !n.Alive && n.Dead >= patience && spare(v, current): // without a spare nothing is won
			changes = append(changes, change{node: id, reason: "dead"})
		}
	}
	var usable []Node
	for _, n := range v.Nodes {
		if voter := slices.Contains(current, n.ID); n.Alive || voter && !gone(n.ID) {
			usable = append(usable, n)
		}
	}
	wanted := chooseVoters(usable, current)
	for _, id := range wanted {
		if n := v.node(id); !slices.Contains(current, id) && n.Alive {
			changes = append(changes, change{add: true, node: id, reason: "spread"})
		}
	}
	for _, id := range current {
		if !gone(id) && !slices.Contains(wanted, id) {
			changes = append(changes, change{node: id, reason: "surplus"})
		}
	}
	return changes
}

// spare says whether there is a live node that is no voter yet.
func spare(v *View, current []slotmap.NodeID) bool {
	return slices.ContainsFunc(v.Nodes, func(n Node) bool { return n.Alive && !slices.Contains(current, n.ID) })
}

// chooseVoters picks an odd number of nodes, one after the other: first of the host that has the fewest yet, then of the
// shard that has the fewest, then those that are voters already, then primaries.
func chooseVoters(nodes []Node, current []slotmap.NodeID) []slotmap.NodeID {
	hosts, shards := make(map[string]int), make(map[ShardID]int)
	left := slices.Clone(nodes)
	n := min(MaxVoters, len(nodes)-(len(nodes)+1)%2)
	var chosen []slotmap.NodeID
	for len(chosen) < n {
		next := slices.MinFunc(left, func(a, b Node) int {
			return cmp.Or(
				cmp.Compare(hosts[a.Host], hosts[b.Host]),
				cmp.Compare(shards[a.Shard], shards[b.Shard]),
				first(slices.Contains(current, a.ID), slices.Contains(current, b.ID)),
				first(a.Primary, b.Primary),
				strings.Compare(string(a.ID), string(b.ID)),
			)
		})
		chosen = append(chosen, next.ID)
		hosts[next.Host]++
		shards[next.Shard]++
		left = slices.DeleteFunc(left, func(x Node) bool { return x.ID == next.ID })
	}
	return chosen
}

func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}
