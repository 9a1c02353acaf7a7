package cluster

import (
	"maps"
	"slices"

	"github.com/cairndb/cairn/cluster/epoch"
	"github.com/cairndb/cairn/cluster/slotmap"
)

// table is everything that a node knows of its cluster, and every decision made
// on it. It does no I/O, starts no goroutine and reads no clock: times are unix
// milliseconds that the caller passes in, so a test can play any order of events.
//
// What one node says about itself is its record (record.go). Who owns a slot is
// the fold of all records' claims (slotmap), with the exceptions of local, which
// CLUSTER DELSLOTS and SETSLOT make on this node until the gossip has caught up.
type table struct {
	self  slotmap.NodeID
	peers map[slotmap.NodeID]*peer // this node too
	// currentEpoch is the greatest epoch heard of; new epochs are minted above it.
	currentEpoch uint64
	// bans are the forgotten nodes, with the time until when gossip does not bring them back.
	bans map[slotmap.NodeID]int64
	// local are this node's exceptions from the claims.
	local map[uint16]exception
	// migrating and importing are the marks of CLUSTER SETSLOT, with the other node.
	migrating, importing map[uint16]slotmap.NodeID

	owners *slotmap.Map // the fold
	// grants is the group's table: once it is formed, it alone decides about slots and roles.
	grants *epoch.Table
	// grouped: this node will have part in a group.
	grouped bool
	// promised is the greatest epoch of a primary that this node, asked for its offer, will take nothing more from.
	// follows is the epoch of the primary whose log this node's continues; 0: it has nothing of its shard's yet.
	promised, follows uint64
	// leaving are slots that this node may have given away (cluster/migrate), or whose data it has yet to drop.
	leaving slotmap.Set
	// wish is the primary that CLUSTER REPLICATE named before there was a group. dropped: the group has taken this node out.
	wish slotmap.NodeID
	// orphans are the shards whose primary has no live replica, and since when.
	orphans map[epoch.ShardID]int64
	// boot is for nodes.conf: see doubt.go.
	boot    string
	dropped bool
	set     Settings
	up      health
	twins   twins
}

// peer is one known node.
type peer struct {
	record
	created int64
	// stored says that the record is from nodes.conf and nobody has confirmed it since this node started.
	stored bool
	liveness
}

// exception overrules the claims for one slot until it expires, is confirmed, or a greater epoch claims the slot.
type exception struct {
	owner slotmap.NodeID // empty: nobody
	epoch uint64         // of the claim that is overruled
	until int64          // 0: no limit
}

const (
	banMillis = 60_000
	// exceptionMillis is how long DELSLOTS of another node's slot lasts: in Redis, until that node's next ping.
	exceptionMillis = 2000
)

func newTable(self record, set Settings, now int64) *table {
	t := &table{
		self:      self.ID,
		peers:     make(map[slotmap.NodeID]*peer),
		bans:      make(map[slotmap.NodeID]int64),
		local:     make(map[uint16]exception),
		migrating: make(map[uint16]slotmap.NodeID),
		importing: make(map[uint16]slotmap.NodeID),
		set:       set,
	}
	t.peers[self.ID] = &peer{record: self, created: now}
	t.currentEpoch = self.Epoch
	t.up.started = now
	t.fold(now)
	return t
}

func (t *table) me() *peer { return t.peers[t.self] }

// touch makes a new version of this node's own record.
func (t *table) touch() { t.me().Version++ }

// state is what this node tells others.
func (t *table) state() *state {
	s := &state{Sender: t.self, CurrentEpoch: t.currentEpoch}
	for _, id := range t.ids() {
		s.Records = append(s.Records, t.peers[id].record)
	}
	return s
}

func (t *table) ids() []slotmap.NodeID {
	return slices.SortedFunc(maps.Keys(t.peers), compareID)
}

// merge takes in a peer's state and says which records were news. A sender that
// is not in the table is ignored, unless it was met (CLUSTER MEET), so that two
// clusters never merge by accident.
func (t *table) merge(s *state, met bool, now int64) (news []slotmap.NodeID) {
	if met {
		delete(t.bans, s.Sender)
		t.dropped = false // whoever is met takes part again
	} else if t.peers[s.Sender] == nil {
		return nil
	}
	t.currentEpoch = max(t.currentEpoch, s.CurrentEpoch)
	for i := range s.Records {
		r := &s.Records[i]
		t.currentEpoch = max(t.currentEpoch, r.Epoch)
		if t.accept(r, now) {
			news = append(news, r.ID)
		}
	}
	if p := t.peers[s.Sender]; p != nil {
		p.stored = false
	}
	if len(news) > 0 {
		t.avoidCollisions()
		t.settle(now)
	}
	return news
}

// accept takes in one record and says whether it was news.
func (t *table) accept(r *record, now int64) bool {
	if r.ID == t.self {
		return t.reclaim(r)
	}
	if t.bans[r.ID] > now {
		return false
	}
	p := t.peers[r.ID]
	if p == nil {
		if len(t.peers) >= maxNodes || r.BusPort == 0 {
			return false
		}
		p = &peer{created: now, liveness: newLiveness(now)}
		t.peers[r.ID] = p
	} else if p.Version >= r.Version {
		return false
	}
	p.record = *r
	t.hear(p, now)
	return true
}

// reclaim handles this node's own record coming back: one that is newer than ours is from before a
// restart, and ours must be made newer to replace it.
func (t *table) reclaim(r *record) bool {
	me := t.me()
	t.wonder(r)
	if r.Version < me.Version || r.Version == me.Version && r.Epoch == me.Epoch && slices.Equal(r.Slots, me.Slots) {
		return false
	}
	me.Version = r.Version + 1
	return true
}

// avoidCollisions gives this node a new config epoch when another node has the
// same: the node with the lexicographically smaller ID moves (Redis clusterHandleConfigEpochCollision).
func (t *table) avoidCollisions() {
	me := t.me()
	if t.formed() || me.Primary != "" {
		return
	}
	for _, p := range t.peers {
		if p.Primary == "" && p.ID != t.self && p.Epoch == me.Epoch && t.self < p.ID {
			t.mint()
			return
		}
	}
}

// mint gives this node a config epoch greater than every one known.
func (t *table) mint() {
	t.currentEpoch = max(t.currentEpoch, t.maxEpoch()) + 1
	t.me().Epoch = t.currentEpoch
	t.touch()
}

func (t *table) maxEpoch() uint64 {
	e := t.currentEpoch
	for _, p := range t.peers {
		e = max(e, p.Epoch)
	}
	return e
}

// settle draws the conclusions from a change: who owns what, and what this node must give up.
func (t *table) settle(now int64) {
	t.fold(now)
	t.yield(now)
	t.pledge()
}

// tick lets time pass; it says whether anything that others see has changed.
func (t *table) tick(now int64) (changed bool) {
	maps.DeleteFunc(t.bans, func(_ slotmap.NodeID, until int64) bool { return now >= until })
	if len(t.local) > 0 {
		before := t.owners
		t.settle(now)
		changed = before.Assigned() != t.owners.Assigned() || len(t.local) == 0
	}
	t.expireReports(now)
	changed = t.detect(now) || changed
	return t.judge(now) || changed
}

// fold decides who owns what.
func (t *table) fold(now int64) {
	if t.formed() {
		clear(t.local)
		t.owners = t.granted()
		return
	}
	claims := make([]slotmap.Claim, 0, len(t.peers))
	for _, id := range t.ids() {
		if p := t.peers[id]; len(p.Slots) > 0 {
			claims = append(claims, p.claim())
		}
	}
	claimed := slotmap.Fold(claims...)
	t.expireExceptions(claimed, now)
	if len(t.local) > 0 {
		claimed = slotmap.Fold(t.overrule(claims)...)
	}
	t.owners = claimed
}

// expireExceptions drops those that the claims have confirmed or overtaken.
func (t *table) expireExceptions(claimed *slotmap.Map, now int64) {
	for slot, e := range t.local {
		confirmed := e.owner != "" && claimed.Owner(slot) == e.owner
		overtaken := claimed.Epoch(slot) > e.epoch && claimed.Owner(slot) != t.self
		late := e.until != 0 && now >= e.until
		gone := e.owner != "" && t.peers[e.owner] == nil
		if confirmed || overtaken || late || gone {
			delete(t.local, slot)
		}
	}
}

// overrule cuts the excepted slots out of the claims of others and adds the claims that take their place.
func (t *table) overrule(claims []slotmap.Claim) []slotmap.Claim {
	given := make(map[slotmap.NodeID]*slotmap.Set)
	for slot, e := range t.local {
		if e.owner == "" || e.owner == t.self {
			continue
		}
		if given[e.owner] == nil {
			given[e.owner] = new(slotmap.Set)
		}
		given[e.owner].Add(slot)
	}
	out := make([]slotmap.Claim, 0, len(claims)+len(given))
	for _, c := range claims {
		if c.Node != t.self {
			set := slotmap.SetOf(c.Slots)
			for slot := range t.local {
				set.Del(slot)
			}
			c.Slots = set.Ranges()
		}
		out = append(out, c)
	}
	for id, set := range given {
		out = append(out, slotmap.Claim{Node: id, Epoch: t.currentEpoch, Slots: set.Ranges()})
	}
	return out
}

// yield gives up claims of this node that others have won, and marks that make no sense any more.
func (t *table) yield(now int64) {
	me := t.me()
	t.assume()
	mine := t.owners.SlotsOf(t.self)
	if claimed := slotmap.SetOf(me.Slots); *claimed != *mine {
		me.Slots = mine.Ranges()
		t.touch()
		t.fold(now)
	}
	for slot := range t.migrating {
		if !mine.Has(slot) {
			delete(t.migrating, slot)
		}
	}
	// A node that was killed between the grant and the end of SETSLOT NODE still has the mark. A replica takes no slots (Redis clusterCloseAllSlots).
	replica := t.isReplica(t.self)
	maps.DeleteFunc(t.importing, func(slot uint16, _ slotmap.NodeID) bool { return replica || mine.Has(slot) })
}

// forget removes a node and bans it for a while.
func (t *table) forget(id slotmap.NodeID, now int64) {
	delete(t.peers, id)
	t.bans[id] = now + banMillis
	for _, marks := range []map[uint16]slotmap.NodeID{t.migrating, t.importing} {
		maps.DeleteFunc(marks, func(_ uint16, other slotmap.NodeID) bool { return other == id })
	}
	for _, p := range t.peers {
		delete(p.reports, id)
	}
	t.settle(now)
}

// reset leaves the cluster: no other node, no slot; hard also a new ID and epoch 0.
func (t *table) reset(hard bool, now int64) {
	me := t.me()
	me.Slots, me.Suspects = nil, nil
	me.Primary, me.Group, me.Generation, me.Granted = "", "", 0, false
	if me.Shard == "" || t.isReplica(t.self) {
		me.Shard = slotmap.NewNodeID()
	}
	t.grants, t.promised, t.follows, t.wish, t.dropped, me.Lost = nil, 0, 0, "", false, false
	t.leaving = slotmap.Set{}
	if hard {
		me.ID, me.Shard = slotmap.NewNodeID(), slotmap.NewNodeID()
		me.Epoch, t.currentEpoch = 0, 0
		t.self = me.ID
		t.twins = twins{asking: t.twins.asking}
	}
	t.peers = map[slotmap.NodeID]*peer{t.self: me}
	clear(t.local)
	clear(t.migrating)
	clear(t.importing)
	clear(t.bans)
	t.touch()
	t.fold(now)
}
