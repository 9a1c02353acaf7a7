// Package cluster decides who serves which slot: it keeps the node table and
// nodes.conf, hears and tells the gossip, detects failures.
package cluster

import "github.com/cairndb/cairn/cluster/slotmap"

// Node is one known node, as CLUSTER NODES shows it. (cluster owner: complete this)
type Node struct {
	ID   slotmap.NodeID
	Host string // announced address
	Port int
}

// Endpoint is where a client is redirected to: "host:port" as MOVED prints it.
func (n *Node) Endpoint() string { panic("skeleton") }

// View is an immutable snapshot of what routing needs; it is replaced as a whole when anything changes.
// In standalone mode one View owns every slot.
type View struct{}

// Enabled is false in standalone mode: no redirects, cross-slot commands allowed.
func (v *View) Enabled() bool { panic("skeleton") }

// Owns says whether this node owns the slot.
func (v *View) Owns(slot uint16) bool { panic("skeleton") }

// Owner is the owner of a slot, nil for nobody.
func (v *View) Owner(slot uint16) *Node { panic("skeleton") }

// Migrating is the target of a slot that this node owns and SETSLOT MIGRATING marked, else nil; Importing says
// whether SETSLOT IMPORTING marked the slot on this node.
func (v *View) Migrating(slot uint16) *Node { panic("skeleton") }
func (v *View) Importing(slot uint16) bool  { panic("skeleton") }

// Up is cluster_state:ok. When it is not, commands with keys are refused with CLUSTERDOWN, except reads when
// cluster-allow-reads-when-down, and slots we own when cluster-require-full-coverage is off (that is folded in here).
func (v *View) Up() bool { panic("skeleton") }

// Standalone returns the View of a node that is no cluster.
func Standalone() *View { panic("skeleton") }

// Cluster is a running member. (cluster owner: complete this)
type Cluster struct{}

// View returns the current snapshot: one atomic load.
func (c *Cluster) View() *View { panic("skeleton") }
