package cluster

import (
	"github.com/cairndb/cairn/cluster/epoch"
	"github.com/cairndb/cairn/cluster/slotmap"
)

// Until the group is formed, a node's record says what it owns and whom it replicates, as in Redis. From then on the
// group's table does, and the record of a node only repeats what that says of it, for those who do not have it yet.

// formed says whether there is a group that decides.
func (t *table) formed() bool { return t.grants != nil && t.grants.Formed() && t.grants.Into == "" }

// isNews says whether a table of the group is newer than the one that this node has, or of another group.
func (t *table) isNews(g *epoch.Table) bool {
	return g.Formed() && (t.grants == nil || t.grants.Cluster != g.Cluster || g.Newer(t.grants))
}

// learn takes a newer table of the group.
func (t *table) learn(g *epoch.Table, now int64) {
	if t.formed() && g.Cluster == t.grants.Cluster && t.grants.ShardOf(t.self) != nil {
		t.dropped = g.ShardOf(t.self) == nil
	}
	if t.grants == nil && t.me().Primary != "" && unplaced(g, t.self) {
		t.wish = t.me().Primary
	}
	t.grants = g
	t.currentEpoch = max(t.currentEpoch, g.Epoch)
	me := t.me()
	if me.Group != g.Cluster || me.Generation != g.Generation || me.Granted != g.Granted {
		me.Group, me.Generation, me.Granted = g.Cluster, g.Generation, g.Granted
		t.touch()
	}
	t.settle(now)
	t.judge(now)
}

// unplaced says whether the group knows nothing of a node that may be a replica: it has no place, or one of its own, without slots.
func unplaced(g *epoch.Table, id slotmap.NodeID) bool {
	s := g.ShardOf(id)
	return s == nil || s.Primary == id && g.SlotsOf(s.ID).Len() == 0
}

// granted is who owns what by the group's table.
func (t *table) granted() *slotmap.Map {
	var claims []slotmap.Claim
	t.grants.Runs(func(r slotmap.Range, owner *epoch.Shard, at uint64) {
		if owner != nil {
			claims = append(claims, slotmap.Claim{Node: owner.Primary, Epoch: at, Slots: []slotmap.Range{r}})
		}
	})
	return slotmap.Fold(claims...)
}

// assume brings this node's record in line with the group's table.
func (t *table) assume() {
	if !t.formed() {
		return
	}
	me, s := t.me(), t.grants.ShardOf(t.self)
	if s == nil {
		return
	}
	primary := t.primaryOf(t.self)
	if me.Shard != s.ID {
		t.promised = 0 // it was about the primary of another shard
		if primary != "" {
			t.follows = 0
		}
	}
	if me.Shard != s.ID || me.Primary != primary || me.Epoch != s.Epoch {
		me.Shard, me.Primary, me.Epoch = s.ID, primary, s.Epoch
		t.touch()
	}
}

// shardOf is the group's word on a node's shard, nil if it has none.
func (t *table) shardOf(id slotmap.NodeID) *epoch.Shard {
	if !t.formed() {
		return nil
	}
	return t.grants.ShardOf(id)
}

// primaryOf is whom a node replicates, empty for a primary.
func (t *table) primaryOf(id slotmap.NodeID) slotmap.NodeID {
	if s := t.shardOf(id); s != nil {
		if s.Primary != id {
			return s.Primary
		}
		if id == t.self && t.peers[t.wish] != nil && len(t.me().Slots) == 0 {
			return t.wish // the group was formed a moment before it could hear of this, and will soon
		}
		return ""
	}
	if p := t.peers[id]; p != nil {
		return p.Primary
	}
	return ""
}

func (t *table) isReplica(id slotmap.NodeID) bool { return t.primaryOf(id) != "" }

// shardID names a node's shard.
func (t *table) shardID(p *peer) slotmap.NodeID {
	if s := t.shardOf(p.ID); s != nil {
		return s.ID
	}
	if primary := t.peers[p.Primary]; primary != nil {
		return primary.Shard
	}
	return p.Shard
}

// epochOf is a node's config epoch; a replica's is its primary's.
func (t *table) epochOf(p *peer) uint64 {
	if s := t.shardOf(p.ID); s != nil {
		return s.Epoch
	}
	if primary := t.peers[p.Primary]; primary != nil {
		return primary.Epoch
	}
	return p.Epoch
}

// replicate makes this node a replica of another one, as far as it can say so itself.
func (t *table) replicate(id slotmap.NodeID) error {
	if err := t.mayReplicate(id); err != nil {
		return err
	}
	me := t.me()
	if shard := t.shardID(t.peers[id]); me.Primary != id {
		if me.Shard != shard {
			t.follows = 0
		}
		me.Primary, me.Shard, me.Slots = id, shard, nil
		t.touch()
	}
	return nil
}

// mayReplicate checks what CLUSTER REPLICATE asks for.
func (t *table) mayReplicate(id slotmap.NodeID) error {
	switch {
	case t.peers[id] == nil:
		return refuse("Unknown node %s", id)
	case id == t.self:
		return refuse("Can't replicate myself")
	case t.isReplica(id):
		return refuse("I can only replicate a master, not a replica.")
	case !t.isReplica(t.self) && t.owners.SlotsOf(t.self).Len() > 0:
		return refuse("To set a master the node must be empty and without assigned slots.")
	}
	return nil
}

// mayGrant checks SETSLOT NODE, and says whether there is anything to ask the group for.
func (t *table) mayGrant(slot uint16, to slotmap.NodeID, keys int64) (ask bool, err error) {
	owner, from := t.owners.Owner(slot), t.importing[slot]
	switch {
	case t.peers[to] == nil:
		return false, refuse("Unknown node %s", to)
	case owner == t.self && to != t.self && keys != 0:
		return false, refuse("Can't assign hashslot %d to a different node while I still hold keys for this hash slot.", slot)
	case to == t.self && owner != to && owner != "" && from != "" && from != owner:
		// A replica has taken the source's place meanwhile. It does not have the source's mark, and may have taken new keys.
		return false, refuse("Slot %d is imported from %s, but belongs to %s now", slot, from, owner)
	}
	return owner != to && (owner == t.self || to == t.self || owner == "" || from != ""), nil
}

// pledge says to all, once there is nothing left to claim, that this node changes its claims no more by itself: the group that is
// about to be formed adopts what a record says, and what came after that would be lost with the keys that were moved for it.
func (t *table) pledge() {
	pledged := t.grouped && !t.formed() && len(t.peers) > 1 && t.owners.Assigned() == slots
	if me := t.me(); me.Pledged != pledged {
		me.Pledged = pledged
		t.touch()
	}
}

// undecided says whether it is about to be known who decides about slots: the group is being formed, or this node will have a place in it.
func (t *table) undecided() bool {
	switch {
	case t.formed():
		return !t.dropped && t.grants.ShardOf(t.self) == nil
	default:
		return t.me().Pledged || !t.dropped && t.grouped && t.knowsGroup()
	}
}

// founders are all shards as gossip knows them, for the group to adopt. ok is false while that is not all of them, or one may still change.
func (t *table) founders() (all []epoch.Founder, ok bool) {
	if t.owners.Assigned() != slots {
		return nil, false
	}
	sets := t.owners.Sets()
	for _, id := range t.ids() {
		p := t.peers[id]
		if p.stored || !p.answers && id != t.self || p.Shard == "" || !p.Pledged {
			return nil, false
		}
		if p.Primary != "" && t.peers[p.Primary] != nil && t.peers[p.Primary].Primary == "" {
			continue
		}
		f := epoch.Founder{Shard: p.Shard, Primary: id, Epoch: p.Epoch}
		if set := sets[id]; set != nil {
			f.Slots = set.Ranges()
		}
		for _, other := range t.ids() {
			if t.peers[other].Primary == id {
				f.Replicas = append(f.Replicas, other)
			}
		}
		all = append(all, f)
	}
	return all, distinct(all)
}

// distinct says whether no two primaries say that they have one shard: one of them was a replica a moment ago.
func distinct(all []epoch.Founder) bool {
	seen := make(map[slotmap.NodeID]bool, len(all))
	for _, f := range all {
		if seen[f.Shard] {
			return false
		}
		seen[f.Shard] = true
	}
	return true
}

// groupView is what the group should know of the nodes. A process whose port refuses is dead at once: that its lease
// has ended is for the voters to say. Where too few slot owners are reached for them to agree that others have failed, this node's own word has to do.
func (t *table) groupView(now int64) *epoch.View {
	agreed := t.majority()
	v := &epoch.View{Nodes: make([]epoch.Node, 0, len(t.peers))}
	for _, id := range t.ids() {
		p := t.peers[id]
		dead := p.failed || p.refuses || p.suspected && !agreed
		n := epoch.Node{
			ID: id, Host: p.IP, Shard: t.shardID(p), Primary: t.primaryOf(id) == "", Alive: !dead || id == t.self,
			Doubtful: p.Doubtful, Lost: p.Lost, Cluster: p.Group, Generation: p.Generation, Granted: p.Granted,
		}
		if !n.Alive {
			n.Dead = millis(now - p.silentSince)
		}
		v.Nodes = append(v.Nodes, n)
	}
	return v
}
