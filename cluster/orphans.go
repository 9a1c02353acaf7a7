package cluster

import (
	"context"
	"errors"

	"github.com/cairndb/cairn/cluster/epoch"
	"github.com/cairndb/cairn/cluster/slotmap"
)

// A primary with slots that has no live replica is orphaned: its next failure takes its slots away. After a while a replica of the primary that
// has most of them moves to it (Redis Cluster spec, "Replica migration"; cluster-allow-replica-migration). All replicas decide alike, and only
// the one with the smallest ID asks the group, which grants it only if both shards are what they were when that was decided: exactly one moves.

// orphanPatience is for how long a primary must have been orphaned (Redis CLUSTER_SLAVE_MIGRATION_DELAY), in milliseconds.
const orphanPatience = 5000

// adoption moves this node to another shard; the revisions are those of the shards when it was decided.
type adoption struct{ from, to *epoch.Shard }

// orphaned notes since when shards have no live replica, and returns the first that has had none for long enough.
func (t *table) orphaned(now int64) *epoch.Shard {
	var first *epoch.Shard
	since := make(map[epoch.ShardID]int64)
	for _, s := range t.grants.Shards {
		if !t.alive(s.Primary) || len(t.liveReplicas(s)) > 0 || t.owners.SlotsOf(s.Primary).Len() == 0 {
			continue
		}
		at, ok := t.orphans[s.ID]
		if !ok {
			at = now
		}
		if since[s.ID] = at; first == nil && now-at >= orphanPatience {
			first = s
		}
	}
	t.orphans = since
	return first
}

// adopt says whether this node, a replica, should move to an orphaned primary.
func (t *table) adopt(now int64) *adoption {
	if !t.formed() {
		return nil
	}
	to, from := t.orphaned(now), t.shardOf(t.self)
	if to == nil || from == nil || from.Primary == t.self || !t.up.ok || !t.set.ReplicaMigration || t.wish != "" {
		return nil
	}
	// The primary keeps as many as it should have at least, and as its writes wait for.
	if keep := max(t.set.MigrationBarrier, t.set.ReplicationAcks, 1); len(t.liveReplicas(from)) <= keep {
		return nil
	}
	if t.donor() != t.self {
		return nil
	}
	return &adoption{from, to}
}

// donor is the replica that goes: of the primaries with most live replicas, the one with the smallest ID.
func (t *table) donor() (donor slotmap.NodeID) {
	most := 0
	for _, s := range t.grants.Shards {
		if !t.alive(s.Primary) {
			continue
		}
		live := t.liveReplicas(s)
		if len(live) > most {
			most, donor = len(live), ""
		}
		if len(live) == most && most > 0 && (donor == "" || live[0] < donor) {
			donor = live[0]
		}
	}
	return donor
}

func (t *table) alive(id slotmap.NodeID) bool {
	p := t.peers[id]
	return p != nil && (id == t.self || !p.failed && !p.refuses && !p.suspected)
}

// liveReplicas are ascending.
func (t *table) liveReplicas(s *epoch.Shard) (live []slotmap.NodeID) {
	for _, id := range s.Members {
		if id != s.Primary && t.alive(id) {
			live = append(live, id)
		}
	}
	return live
}

// askAdoption asks the group for the move. The caller holds mu.
func (c *Cluster) askAdoption(a *adoption) {
	self := c.mu.table.self
	c.inBackground(func() error {
		ctx, cancel := context.WithTimeout(c.ctx, proposeTimeout)
		defer cancel()
		_, err := c.propose(ctx, epoch.Request{
			Op: epoch.OpMember, Shard: a.to.ID, Node: self, Released: true, Revision: a.to.Revision, Expect: a.from.Revision,
		})
		if refused := (*epoch.Refused)(nil); errors.As(err, &refused) && refused.Outcome == epoch.Stale {
			return nil // another one was first, or the shard is no orphan any more
		}
		if err == nil {
			c.log.Info("cluster: this replica moves to a primary that has none", "primary", a.to.Primary, "from", a.from.Primary)
			c.wakeRole()
		}
		return err
	})
}
