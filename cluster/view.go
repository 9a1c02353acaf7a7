package cluster

import (
	"net"
	"slices"
	"strconv"

	"github.com/cairndb/cairn/cluster/slotmap"
)

// Node is one known node, as clients are told of it. A Node in a View never changes.
type Node struct {
	ID slotmap.NodeID
	// IP is the announced address, empty while a lone node does not know its own.
	IP string
	// Hostname is cluster-announce-hostname, or empty.
	Hostname string
	Port     int
	BusPort  int
	// Host is the address that clients are redirected to, by cluster-preferred-endpoint-type.
	Host string

	// Primary is the node that this one replicates, empty for a primary. Offset is the end of its log, as last heard.
	Primary slotmap.NodeID
	Offset  uint64
	// ShardID names the primary and its replicas together.
	ShardID slotmap.NodeID
	// Epoch is the config epoch.
	Epoch uint64
	// Myself marks this node; Fail and Suspected are agreed and own suspicion (fail and fail?).
	Myself, Fail, Suspected bool
	// NoFailover: as a replica it takes its primary's place only when a client says so (cluster-replica-no-failover).
	NoFailover bool
	// Connected says whether the node answers.
	Connected bool
	// PingSent and PongReceived are unix milliseconds, as CLUSTER NODES shows them: an unanswered
	// probe's start (else 0), and the last answer.
	PingSent, PongReceived int64
	// Slots are the slots that the node serves, ascending.
	Slots []slotmap.Range
	// Created is the unix millisecond when this node first heard of it.
	Created int64

	endpoint string
}

// Endpoint is where a client is redirected to: "host:port" as MOVED prints it.
func (n *Node) Endpoint() string { return n.endpoint }

// Flags are as CLUSTER NODES prints them.
func (n *Node) Flags() string {
	f := "master"
	if n.Primary != "" {
		f = "slave"
	}
	if n.Myself {
		f = "myself," + f
	}
	switch {
	case n.Fail:
		f += ",fail"
	case n.Suspected:
		f += ",fail?"
	}
	if n.NoFailover {
		f += ",nofailover"
	}
	return f
}

// seal derives what a finished Node answers without computing.
func (n *Node) seal() *Node {
	n.endpoint = n.Host + ":" + strconv.Itoa(n.Port)
	return n
}

// BusAddr is the address of the node's bus.
func (n *Node) BusAddr() string { return net.JoinHostPort(n.IP, strconv.Itoa(n.BusPort)) }

// MyID is this node's ID.
func (c *Cluster) MyID() string { return string(c.View().self.ID) }

// View is an immutable snapshot of what routing needs; it is replaced as a whole when anything changes.
// In standalone mode one View owns every slot. Lookups are one array access and do not allocate.
type View struct {
	enabled       bool
	up            bool
	readsWhenDown bool
	synced        bool // this node's data are, or were, its shard's
	self          *Node
	selfIndex     uint16
	nodes         []*Node // ascending by ID
	// owner holds 1 + the index in nodes, 0 for nobody.
	owner     [slotmap.Slots]uint16
	assigned  int
	migrating map[uint16]*Node
	importing map[uint16]*Node
	remains   *slotmap.Set // nil for none
	// currentEpoch is the greatest epoch heard of.
	currentEpoch uint64
}

// Enabled is false in standalone mode: no redirects, cross-slot commands allowed.
func (v *View) Enabled() bool { return v.enabled }

// Owns says whether this node owns the slot.
func (v *View) Owns(slot uint16) bool { return v.owner[slot%slotmap.Slots] == v.selfIndex }

// Replicates says whether this node is a replica of a slot's owner, and has its data: not before its first sync is complete.
func (v *View) Replicates(slot uint16) bool {
	o := v.Owner(slot)
	return o != nil && v.synced && v.self.Primary == o.ID
}

// Synced says whether this node has, or had, its shard's data.
func (v *View) Synced() bool { return v.synced }

// Replicas are the known replicas of a node, ascending by ID.
func (v *View) Replicas(id slotmap.NodeID) []*Node {
	var out []*Node
	for _, n := range v.nodes {
		if n.Primary == id {
			out = append(out, n)
		}
	}
	return out
}

// Owner is the owner of a slot, nil for nobody.
func (v *View) Owner(slot uint16) *Node {
	if o := v.owner[slot%slotmap.Slots]; o != 0 {
		return v.nodes[o-1]
	}
	return nil
}

// Migrating is the target of a slot that this node owns and SETSLOT MIGRATING marked, else nil.
func (v *View) Migrating(slot uint16) *Node { return v.migrating[slot] }

// Importing says whether SETSLOT IMPORTING marked the slot on this node.
func (v *View) Importing(slot uint16) bool { return v.importing[slot] != nil }

// Open says whether SETSLOT has marked any slot on this node as IMPORTING, and as MIGRATING.
func (v *View) Open() (importing, migrating bool) { return len(v.importing) > 0, len(v.migrating) > 0 }

// Remains are the slots that were handed over to another shard and whose data this node's shard has yet to drop, nil for none. Nobody reaches
// what is left of them here.
func (v *View) Remains() *slotmap.Set { return v.remains }

// Left says whether a slot is among them.
func (v *View) Left(slot uint16) bool { return v.remains != nil && v.remains.Has(slot) }

// Up is cluster_state:ok. When it is not, commands with keys are refused with CLUSTERDOWN, except
// reads when ReadsWhenDown. A slot without an owner is refused in either state.
func (v *View) Up() bool { return v.up }

// ReadsWhenDown is cluster-allow-reads-when-down: reads are served although Up is false.
func (v *View) ReadsWhenDown() bool { return v.readsWhenDown }

// Self is this node.
func (v *View) Self() *Node { return v.self }

// Nodes are all known nodes, this one too, ascending by ID. They must not be changed.
func (v *View) Nodes() []*Node { return v.nodes }

// Node finds a known node by its ID, nil for an unknown one.
func (v *View) Node(id slotmap.NodeID) *Node {
	i, ok := slices.BinarySearchFunc(v.nodes, id, func(n *Node, id slotmap.NodeID) int {
		return compareID(n.ID, id)
	})
	if !ok {
		return nil
	}
	return v.nodes[i]
}

func compareID(a, b slotmap.NodeID) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Assigned is the number of slots that have an owner.
func (v *View) Assigned() int { return v.assigned }

// CurrentEpoch is the greatest epoch that this node has heard of.
func (v *View) CurrentEpoch() uint64 { return v.currentEpoch }

var standalone = func() *View {
	v := &View{up: true, synced: true, self: &Node{Myself: true}, selfIndex: 1, assigned: slotmap.Slots}
	v.nodes = []*Node{v.self}
	for i := range v.owner {
		v.owner[i] = 1
	}
	return v
}()

// Standalone returns the View of a node that is no cluster.
func Standalone() *View { return standalone }
