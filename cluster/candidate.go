package cluster

import (
	"time"

	"github.com/cairndb/cairn/cluster/epoch"
	"github.com/cairndb/cairn/cluster/slotmap"
	"github.com/cairndb/cairn/replication"
)

// What follows are a node's decisions about who may be its shard's primary. They look at nothing but the table and what they are given.

// willing says whether this node may take its primary's place: it has data that is not too old (cluster-replica-validity-factor), and is not told to stay a
// replica. link is that to its primary, nil for none.
func (t *table) willing(shard epoch.ShardID, link *replication.LinkStatus) bool {
	s := t.shardOf(t.self)
	switch {
	case s == nil || s.ID != shard || t.follows == 0 || t.twins.lost:
		return false
	case s.Primary == t.self:
		return true // it has restarted, or was cut off
	case t.set.ReplicaNoFailover || link != nil && link.Syncing:
		return false
	case t.set.ValidityFactor > 0 && link != nil && !link.Up:
		return link.Down <= t.set.NodeTimeout*time.Duration(t.set.ValidityFactor)+t.set.PingPeriod
	}
	return true
}

// promise takes nothing more from the shard's primary of an epoch, or an earlier one. It has to be on disk before anybody hears of it.
func (t *table) promise(shard epoch.ShardID, at uint64) error {
	if s := t.shardOf(t.self); s == nil || s.ID != shard || s.Epoch > at {
		return errStaleView // a newer primary is there already
	}
	t.promised = max(t.promised, at)
	return nil
}

// regrant is what to ask of the group for a primary that lives on although this node has promised to leave it, nil for nothing. At is the epoch that was promised.
func (t *table) regrant(at uint64) *epoch.Request {
	s := t.shardOf(t.self)
	if s == nil || s.Epoch != at {
		return nil
	}
	if p := t.peers[s.Primary]; p == nil || p.failed || p.refuses || p.Doubtful || p.Lost {
		return nil
	}
	return &epoch.Request{Op: epoch.OpPrimary, Shard: s.ID, Node: s.Primary, Expect: s.Epoch}
}

// How CLUSTER FAILOVER is meant.
type FailoverMode int

// The modes: with the primary's consent and without loss; without asking it; and without the group, if that has no majority any more.
const (
	FailoverManual FailoverMode = iota
	FailoverForce
	FailoverTakeover
)

// mayFailover checks CLUSTER FAILOVER. Doubtful: this node may have lost the end of its log (doubt.go).
func (t *table) mayFailover(mode FailoverMode, doubtful bool) error {
	s, primary := t.shardOf(t.self), t.primaryOf(t.self)
	peer := t.peers[primary]
	switch {
	case primary == "" && mode == FailoverTakeover && s != nil && (s.Strict && doubtful || t.me().Lost): // the others that may have its writes are lost
	case primary == "":
		return refuse("You should send CLUSTER FAILOVER to a replica")
	case peer == nil:
		return refuse("I'm a replica but my master is unknown to me")
	case s == nil && t.formed():
		return refuse("The group has not taken up this replica yet")
	case s == nil:
		return refuse("The cluster has not formed its group yet")
	case t.follows == 0 && mode != FailoverManual:
		return refuse("This replica has not had its master's data yet")
	case mode == FailoverForce && (!s.Eligible(t.self) || s.Strict && doubtful):
		return errNotInSync
	case mode == FailoverManual && (peer.failed || peer.refuses):
		return refuse("Master is down or failed, please use CLUSTER FAILOVER FORCE")
	}
	return nil
}

const errNotInSync = Refusal("This replica may miss writes that were acknowledged (replication-acks). CLUSTER FAILOVER TAKEOVER loses them")

// successor is the replica that is furthest of those to which a primary may give its place, empty for none.
func successor(s *epoch.Shard, view *View, st replication.Status) (to slotmap.NodeID) {
	var most uint64
	for _, id := range s.Members {
		n := view.Node(id)
		if n == nil || n.Fail || n.Suspected || n.NoFailover || !s.Eligible(id) {
			continue
		}
		if r := replicaStatus(st, n); r != nil && (to == "" || r.Written > most) {
			to, most = id, r.Written
		}
	}
	return to
}

// replicaStatus is what replication knows of a node. It goes by the address where that has another ID since its start (CLUSTER RESET HARD).
func replicaStatus(st replication.Status, n *Node) *replication.ReplicaStatus {
	for i := range st.Replicas {
		r := &st.Replicas[i]
		if n != nil && r.State == replication.Online && (r.NodeID == string(n.ID) || r.Address == n.IP && r.Port == n.Port) {
			return r
		}
	}
	return nil
}
