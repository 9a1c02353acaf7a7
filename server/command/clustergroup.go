package command

import (
	"context"
	"strings"
	"time"

	"github.com/cairndb/cairn/cluster"
	"github.com/cairndb/cairn/cluster/epoch"
	"github.com/cairndb/cairn/replication"
)

// groupInfo shows the group of epochs, for CLUSTER INFO and INFO cluster.
func (n *Node) groupInfo(field func(name string, value any)) {
	s, lease, ok := n.Cluster.GroupStatus()
	if !ok || s.State == "none" {
		return
	}
	field("cluster_group_state", groupState(s))
	field("cluster_group_id", s.Cluster)
	field("cluster_group_generation", s.Generation)
	field("cluster_group_leader", s.Leader)
	field("cluster_group_term", s.Term)
	field("cluster_group_voters", len(s.Voters))
	field("cluster_group_epoch", s.Epoch)
	field("cluster_group_applied", s.Applied)
	field("cluster_group_last", s.Last)
	field("cluster_lease_ms", lease.Milliseconds())
}

// groupState is leader, follower or candidate of a voter, learner of a node that only follows the table, none before there is a group.
func groupState(s epoch.Status) string {
	switch s.State {
	case "Leader":
		return "leader"
	case "Follower":
		return "follower"
	case "Candidate":
		return "candidate"
	}
	return s.State
}

// Serving says whether the node may serve the slots that it owns.
func (n *Node) Serving() bool { return n.Cluster == nil || n.Cluster.Serving() }

// ClusterRole is how the cluster sees the node's replication.
func (n *Node) ClusterRole() cluster.Replicator { return clusterRole{n.Replication, n} }

type clusterRole struct {
	*Replication
	node *Node
}

func (r clusterRole) End() uint64 {
	r.node.Enter()
	defer r.node.Leave()
	return r.node.Store.End()
}

func (r clusterRole) Push() (done func(), err error) {
	_, err = r.node.CurrentStore().Log().Flush()
	return r.Acks().Ask(replication.Written), err
}

func (r clusterRole) SetAckRule(rule replication.Rule) {
	if rule.Bound && rule.Members == 0 {
		r.mark.reset() // another term may begin, in which an offset of the last one means something else
	}
	r.Acks().SetRule(rule)
}

func (r clusterRole) AskStable() { r.Acks().AskNow() }

func (r clusterRole) Quiesce(until time.Time) (end uint64, everything, resume func()) {
	clients := r.node.Clients
	clients.Hold(until, true)
	r.node.Enter()
	defer r.node.Leave()
	txn := r.node.Store.NewTxn()
	defer txn.Discard()
	txn.LockWorld() // whoever has begun to write has ended
	return r.node.Store.End(), func() { clients.Hold(until, false) }, clients.LetGo
}

// refusedInExec refuses a change of role inside EXEC: it waits until the store is used by nobody, EXEC included.
func (c *Ctx) refusedInExec() bool {
	if c.Txn != nil {
		c.Out.Error("ERR A node's role can't be changed inside MULTI")
	}
	return c.Txn != nil
}

// changing answers a change that may wait for other nodes. In EXEC it is waited for in place, outside the gate: the transaction holds nothing, as that of
// redis-cli --cluster fix, which only adds and deletes slots (see QueueNeeds).
func (c *Ctx) changing(change func() error) {
	var err error
	if c.Txn != nil {
		c.Node.Outside(func() { err = change() })
		c.changed(err)
		return
	}
	c.Await(func(context.Context) { err = change() }, func(c *Ctx) { c.changed(err) })
}

// LeavesStore says whether the command uses nothing but the node table and counters: it is served even while the store is replaced, so that tools and
// clients that ask a new replica get an answer, and it can forget the primary that it had before (redis-cli --cluster del-node). (Redis says LOADING.)
func (c *Command) LeavesStore() bool {
	switch c.Name {
	case "cluster|forget", "cluster|meet", "cluster|saveconfig":
		return true
	}
	return strings.HasPrefix(c.Name, "cluster|") && c.Flags&Slow == 0
}

// waitsForOthers says whether the command may wait for other nodes, also in EXEC.
func (c *Command) waitsForOthers() bool {
	return c.changesClaims() || c.Name == "cluster|forget" || c.Name == "cluster|reset"
}

// changesClaims says whether the command may wait until it is known who decides about slots.
func (c *Command) changesClaims() bool {
	switch c.Name {
	case "cluster|addslots", "cluster|addslotsrange", "cluster|delslots", "cluster|delslotsrange", "cluster|flushslots", "cluster|setslot":
		return true
	}
	return false
}

// emptyTimeout bounds how long a replica that was reset may take to become a primary.
const emptyTimeout = 10 * time.Second

// empty deletes the data of a node that was a replica, as soon as it follows nobody any more.
func (n *Node) empty() error {
	ctx, cancel := context.WithTimeout(n.ctx, emptyTimeout)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for n.CurrentStore().Following() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	n.Enter()
	defer n.Leave()
	txn := n.Store.NewTxn()
	defer txn.Discard()
	txn.LockWorld()
	if err := txn.FlushAll(); err != nil {
		return err
	}
	return txn.Commit()
}
