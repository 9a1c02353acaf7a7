package cluster

import (
	"slices"

	"github.com/cairndb/cairn/cluster/epoch"
	"github.com/cairndb/cairn/cluster/slotmap"
)

// With replication-acks, a write that was acknowledged survives every failover. A shard's in-sync set, which is part of the group's table, names the replicas
// that hold every acknowledged write; the group makes none but these primary. So, on the primary:
//
//   - A write is acknowledged when all of the set have it, and these are as many as replication-acks asks for.
//   - A replica leaves the set by a grant of the group, and is waited for until that is known. One whose leaving would make the set too small stays: without
//     it nothing would be acknowledged either.
//   - A replica is waited for before it joins the set. It may join when it has the log up to where that ended when the waiting began: what
//     was acknowledged without it lies before that.
//   - A grant whose outcome is unknown may come yet: whoever it would add is waited for, until the shard's revision has moved on. A process
//     that has just begun to lead first has one of its own decided, so that none of its predecessor's is left.
//
// inSync decides all that. It knows no clock and sends nothing; times are milliseconds.
type inSync struct {
	shard *epoch.Shard // as the table has it; nil: this node leads none
	// settled: no grant that this process does not know of can come any more.
	settled bool
	// asked is a grant whose outcome is unknown.
	asked   *inSyncGrant
	joining map[slotmap.NodeID]*joining
	pace    map[slotmap.NodeID]*progress
	lastEnd uint64
}

// inSyncGrant is what to ask of the group for a shard of this epoch and revision.
type inSyncGrant struct {
	shard           epoch.ShardID
	epoch, revision uint64
	set             []slotmap.NodeID
	strict          bool
}

// joining is a replica that is waited for, so that it may join.
type joining struct {
	since int64
	// point is where the log ended when the waiting had begun, as of the next step.
	point uint64
	begun bool
}

// progress says since when a replica has not reached where the log ended then.
type progress struct {
	target uint64
	since  int64
	gone   bool // it has no link
}

// replicaAt is a replica with what it has acknowledged; one that has no link is not mentioned.
type replicaAt struct {
	id     slotmap.NodeID
	stable uint64
}

// inSyncGoals are replication-acks, and for how long a replica may be late before it leaves, or gone.
type inSyncGoals struct {
	want       int
	late, gone int64
}

// inSyncRule is who is waited for: everybody if not bound. members is the size of the set.
type inSyncRule struct {
	bound   bool
	wait    []slotmap.NodeID
	members int
}

// learn takes the shard as the table has it, nil if this node is not its primary.
func (m *inSync) learn(s *epoch.Shard) {
	switch {
	case s == nil:
		*m = inSync{}
		return
	case m.shard == nil || m.shard.ID != s.ID || m.shard.Epoch != s.Epoch:
		*m = inSync{joining: make(map[slotmap.NodeID]*joining), pace: make(map[slotmap.NodeID]*progress)}
	case m.asked != nil && s.Revision != m.asked.revision:
		m.asked, m.settled = nil, true
	}
	m.shard = s
}

// refused notes that what was asked for is not granted, and never will be.
func (m *inSync) refused() { m.asked = nil }

// set is who is in sync for sure.
func (m *inSync) set() []slotmap.NodeID {
	if !m.shard.Strict {
		return nil
	}
	return m.shard.InSync
}

// step says what to ask the group for, nil for nothing, and who is waited for from now on. End is the end of the log, as of a moment
// at which what the last step said was in force.
func (m *inSync) step(now int64, g inSyncGoals, end uint64, replicas []replicaAt) (*inSyncGrant, inSyncRule) {
	if m.shard == nil {
		return nil, inSyncRule{bound: true}
	}
	if g.want == 0 {
		clear(m.joining)
		if m.asked == nil && m.shard.Strict {
			m.ask(nil, false)
		}
		return m.asked, inSyncRule{}
	}
	at := make(map[slotmap.NodeID]uint64, len(replicas))
	for _, r := range replicas {
		if m.shard.Has(r.id) && r.id != m.shard.Primary {
			at[r.id] = r.stable
		}
	}
	ready := m.join(now, g, end, at)
	m.measure(now, end, at)
	m.lastEnd = end
	if m.asked == nil {
		m.choose(now, g, ready)
	}
	return m.asked, m.rule()
}

// join moves on those who are about to join, and returns who may.
func (m *inSync) join(now int64, g inSyncGoals, end uint64, at map[slotmap.NodeID]uint64) (ready []slotmap.NodeID) {
	for id, j := range m.joining {
		stable, linked := at[id]
		switch {
		case slices.Contains(m.set(), id), !linked, now-j.since > g.late:
			delete(m.joining, id)
		case !j.begun:
			j.begun, j.point = true, end
		case stable >= j.point:
			ready = append(ready, id)
		}
	}
	for id, stable := range at {
		if m.joining[id] == nil && stable >= m.lastEnd && m.lastEnd > 0 && !slices.Contains(m.set(), id) {
			m.joining[id] = &joining{since: now}
		}
	}
	slices.Sort(ready)
	return ready
}

// measure notes who keeps up.
func (m *inSync) measure(now int64, end uint64, at map[slotmap.NodeID]uint64) {
	for _, id := range m.set() {
		stable, linked := at[id]
		p := m.pace[id]
		if p == nil || p.gone == linked || linked && stable >= p.target {
			m.pace[id] = &progress{target: end, since: now, gone: !linked}
		}
	}
}

// choose asks for another set if that is better than the present one.
func (m *inSync) choose(now int64, g inSyncGoals, ready []slotmap.NodeID) {
	set := m.set()
	next := slices.DeleteFunc(slices.Clone(set), func(id slotmap.NodeID) bool {
		p := m.pace[id]
		return p.gone && now-p.since >= g.gone || !p.gone && now-p.since >= g.late
	})
	next = union(next, ready)
	if len(next) < g.want {
		next = union(set, ready)
	}
	switch {
	case !m.shard.Strict && len(next) < g.want: // nothing is acknowledged yet, and anybody may be made primary
	case !m.settled || !m.shard.Strict || !slices.Equal(next, set):
		m.ask(next, true)
	}
}

func (m *inSync) ask(set []slotmap.NodeID, strict bool) {
	m.asked = &inSyncGrant{shard: m.shard.ID, epoch: m.shard.Epoch, revision: m.shard.Revision, set: set, strict: strict}
}

// rule says who is waited for.
func (m *inSync) rule() inSyncRule {
	r := inSyncRule{bound: true}
	if !m.settled || !m.shard.Strict {
		return r
	}
	r.wait, r.members = m.set(), len(m.set())
	if m.asked != nil {
		r.wait, r.members = union(r.wait, m.asked.set), min(r.members, len(m.asked.set))
	}
	for id := range m.joining {
		r.wait = union(r.wait, []slotmap.NodeID{id})
	}
	return r
}

// busy says whether something is under way that should not take longer than it must.
func (m *inSync) busy() bool { return m.asked != nil || len(m.joining) > 0 }

func union(a, b []slotmap.NodeID) []slotmap.NodeID {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}
