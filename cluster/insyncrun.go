package cluster

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cairndb/cairn/cluster/epoch"
	"github.com/cairndb/cairn/cluster/slotmap"
	"github.com/cairndb/cairn/replication"
)

const (
	// inSyncPace is how often the in-sync set is looked at, inSyncHaste the same while a replica is about to join or leave.
	inSyncPace  = 50 * time.Millisecond
	inSyncHaste = 5 * time.Millisecond
	// goneFor is how long a replica may have no link before it leaves the set; one that has a link may be late for half of replication-acks-timeout.
	goneFor = 100 * time.Millisecond
	minLate = 100 * time.Millisecond
)

// keepInSync lets inSync decide until the cluster is closed.
func (c *Cluster) keepInSync() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var m inSync
	for {
		select {
		case <-timer.C:
		case <-c.ctx.Done():
			return
		}
		c.stepInSync(&m)
		if m.busy() {
			timer.Reset(inSyncHaste)
		} else {
			timer.Reset(inSyncPace)
		}
	}
}

func (c *Cluster) stepInSync(m *inSync) {
	rep := c.replicator()
	if rep == nil {
		return
	}
	shard, goals := c.inSyncGoals()
	m.learn(shard)
	switch {
	case shard == nil:
		if c.grants() == nil { // before there is a group everybody counts
			c.unruled(rep)
		}
		return
	case !c.leading.Load():
		return // the rule of a new term is made before it begins (lead)
	}
	end, st, view := rep.End(), rep.Status(), c.View()
	var replicas []replicaAt
	names := make(map[slotmap.NodeID]string)
	for _, id := range shard.Members {
		if r := replicaStatus(st, view.Node(id)); r != nil {
			replicas = append(replicas, replicaAt{id, r.Stable})
			names[id] = r.NodeID
		}
	}
	if goals.want > 0 && m.busy() {
		rep.AskStable()
	}
	ask, rule := m.step(time.Since(c.started).Milliseconds(), goals, end, replicas)
	r := replication.Rule{Bound: rule.bound, Members: rule.members}
	for _, id := range rule.wait {
		name := names[id]
		if name == "" {
			name = string(id)
		}
		r.Wait = append(r.Wait, name)
	}
	c.rule(rep, shard.Epoch, r)
	if ask != nil {
		c.askInSync(m, ask)
	}
}

// ruled is the epoch of the newest rule, so that one that was made for an earlier term is not put in force late.
type ruled struct {
	sync.Mutex
	epoch uint64
}

func (c *Cluster) rule(rep Replicator, epoch uint64, r replication.Rule) {
	c.ruled.Lock()
	defer c.ruled.Unlock()
	if epoch >= c.ruled.epoch {
		c.ruled.epoch = epoch
		rep.SetAckRule(r)
	}
}

// unruled lets every replica count, as long as there is no group.
func (c *Cluster) unruled(rep Replicator) {
	c.ruled.Lock()
	defer c.ruled.Unlock()
	c.ruled.epoch = 0 // those of another group mean nothing
	rep.SetAckRule(replication.Rule{})
}

func (c *Cluster) inSyncGoals() (*epoch.Shard, inSyncGoals) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.mu.table
	g := inSyncGoals{want: t.set.ReplicationAcks, late: max(t.set.AcksTimeout/2, minLate).Milliseconds(), gone: goneFor.Milliseconds()}
	if s := t.shardOf(t.self); s != nil && s.Primary == t.self {
		return s, g
	}
	return nil, g
}

func (c *Cluster) askInSync(m *inSync, ask *inSyncGrant) {
	ctx, cancel := context.WithTimeout(c.ctx, c.lease)
	defer cancel()
	_, err := c.propose(ctx, epoch.Request{
		Op: epoch.OpInSync, Shard: ask.shard, Expect: ask.epoch, Revision: ask.revision, InSync: ask.set, Strict: ask.strict,
	})
	if refused := (*epoch.Refused)(nil); errors.As(err, &refused) {
		m.refused()
		return
	}
	if err != nil {
		c.log.Debug("cluster: the in-sync set", "set", ask.set, "err", err)
		return
	}
	c.log.Info("cluster: in-sync set", "replicas", ask.set, "bound", ask.strict)
}
