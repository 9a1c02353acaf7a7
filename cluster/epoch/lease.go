package epoch

import (
	"slices"
	"time"

	"github.com/cairndb/cairn/cluster/slotmap"
)

// Renewal asks one voter for a lease.
type Renewal struct {
	Cluster    slotmap.NodeID
	Generation uint64
	// Session is random for each start of a node, Round counts its renewals: a late release can be told from a fresh one.
	Session, Round uint64
	Shard          ShardID
	Node           slotmap.NodeID
	// Epoch is that of the node's grant as primary.
	Epoch uint64
	// Lease is what the node takes for a lease.
	Lease time.Duration
}

// Promise is a voter's answer to a Renewal.
type Promise struct {
	// Granted: the voter lets no other node hold the lease for a full lease from now on.
	Granted bool
	// Index is the last entry in the voter's log. The promise counts once the holder's table has come so far.
	Index uint64
}

// servePart is the part of a lease in which its holder serves, in tenths. Voters wait all of it, so clocks
// may run wrong by the rate r as long as 9/10 <= (1-r)/(1+r): 5 %.
const servePart = 9

// foundingPatience is for how long a group that was just formed replaces no primary that has not renewed yet: it may serve for a moment after it has
// heard of the group.
const foundingPatience = 5 * time.Second

// maxLease bounds what a voter can be made to wait.
const maxLease = time.Hour

// Holder is a primary's side of its shard's lease: it knows no clock and sends nothing.
type Holder struct {
	node    slotmap.NodeID
	lease   time.Duration
	session uint64
	round   uint64
	sent    map[uint64]time.Duration // rounds of the last lease
	table   *Table
	shard   *Shard // nil: nothing to hold
	acks    map[slotmap.NodeID]*ack
	until   time.Duration
	// released is the epoch of the grant whose lease was given up, 0 for none. doubt is the greatest epoch of a grant that holds nothing in a
	// strict shard, since this node may have lost the end of its log after it.
	released, doubt uint64
	// lost: this node has lost its data, and holds nothing as long as its shard has other members, which may have them.
	lost bool
}

// ack is what one voter promised: for a renewal sent at sent, and for a later one, at next, that counts when the table has come to index.
type ack struct {
	sent, next time.Duration
	index      uint64
	counts     bool
}

// NewHolder makes the holder of a node that has just started. Session must be random.
func NewHolder(node slotmap.NodeID, lease time.Duration, session uint64) *Holder {
	h := &Holder{node: node, lease: lease, session: session}
	h.Learn(empty())
	return h
}

// Learn takes a newer table. What was promised for another grant is worth nothing.
func (h *Holder) Learn(t *Table) {
	s := t.ShardOf(h.node)
	if s != nil && (s.Primary != h.node || s.Epoch == h.released || s.Strict && s.Epoch <= h.doubt || h.lost && len(s.Members) > 1) || t.Into != "" {
		s = nil
	}
	same := h.shard != nil && s != nil && h.shard.ID == s.ID && h.shard.Epoch == s.Epoch &&
		h.table.Cluster == t.Cluster && h.table.Generation == t.Generation
	h.table, h.shard = t, s
	if !same {
		h.drop()
	}
	h.settle()
}

func (h *Holder) drop() {
	h.sent = make(map[uint64]time.Duration)
	h.acks = make(map[slotmap.NodeID]*ack)
	h.until = 0
}

// Begin starts a round of renewals: the caller sends it to all the table's voters. False: there is nothing to hold.
func (h *Holder) Begin(now time.Duration) (Renewal, bool) {
	if h.shard == nil {
		return Renewal{}, false
	}
	for r, at := range h.sent {
		if now-at > h.lease {
			delete(h.sent, r)
		}
	}
	h.round++
	h.sent[h.round] = now
	return h.renewal(), true
}

func (h *Holder) renewal() Renewal {
	return Renewal{
		Cluster: h.table.Cluster, Generation: h.table.Generation, Session: h.session, Round: h.round,
		Shard: h.shard.ID, Node: h.node, Epoch: h.shard.Epoch, Lease: h.lease,
	}
}

// Answered takes a voter's promise for the round. Late, repeated and lost ones do no harm.
func (h *Holder) Answered(voter slotmap.NodeID, round uint64, p Promise) {
	sent, ok := h.sent[round]
	if !ok || !p.Granted {
		return
	}
	a := h.acks[voter]
	if a == nil {
		a = &ack{}
		h.acks[voter] = a
	}
	if sent > a.next || a.index == 0 {
		a.next, a.index = sent, p.Index
	}
	h.settle()
}

// settle finds the latest moment for which a majority has promised.
func (h *Holder) settle() {
	var sent []time.Duration
	for _, v := range h.table.Voters {
		a := h.acks[v]
		if a == nil {
			continue
		}
		if a.index <= h.table.Version {
			a.sent, a.counts = a.next, true
		}
		if a.counts {
			sent = append(sent, a.sent)
		}
	}
	need := majority(len(h.table.Voters))
	if h.shard == nil || need == 0 || len(sent) < need {
		return
	}
	slices.Sort(sent)
	h.until = max(h.until, sent[len(sent)-need]+h.lease*servePart/10)
}

// Until is the end of the lease; it is held before that moment only.
func (h *Holder) Until() time.Duration { return h.until }

// Release gives the lease up at once, until there is another grant or Resume is called: nothing is served from here on.
// The caller tells all voters.
func (h *Holder) Release() (Renewal, bool) {
	if h.shard == nil {
		return Renewal{}, false
	}
	h.round++
	r := h.renewal()
	h.drop()
	h.released, h.shard = h.shard.Epoch, nil
	return r, true
}

// Resume takes a Release back.
func (h *Holder) Resume() {
	h.released = 0
	h.Learn(h.table)
}

// Doubt lets no grant up to an epoch hold the lease of a strict shard; 0 takes it back.
func (h *Holder) Doubt(epoch uint64) {
	h.doubt = epoch
	h.Learn(h.table)
}

// Lose says whether this node has lost its data.
func (h *Holder) Lose(yes bool) {
	h.lost = yes
	h.Learn(h.table)
}

// majority of n voters; 0 of none.
func majority(n int) int {
	if n == 0 {
		return 0
	}
	return n/2 + 1
}

// Voter is a voter's side of all leases. It forgets everything with its process, and so says nothing for a full lease after its start.
type Voter struct {
	// Fresh: this is the first life of this voter's log, so it need not be silent first.
	//
	// What it could have forgotten is what the same node promised with an earlier log, which it lost or gave up. That is worth nothing any more: a
	// log is never exchanged for another one in one step (repairOne). The voter with the old log is taken out of the set, and the one with the new log
	// is in the next set but one at the earliest, and a lease of the old set does not last until that counts: see "Why two primaries are never inside leases".
	// A log that has not come into the set yet has no table, by which nothing is promised. A folder that was deleted beside its identity is a
	// log that was lost (Open), and a new generation (Recover) is never fresh, since its set follows upon none.
	//
	// It agrees to no failover for a full lease all the same, nor, of a primary that it has not heard of, for foundingPatience:
	// the first primaries serve before they hold a lease.
	Fresh bool
	// adopted is the group's first table and when it came, if this voter was there: until foundingPatience later nobody but the shard's first primary gets
	// a promise, unless that one has held one and so is fenced by it, since it may serve without.
	adopted *adopted
	lease   time.Duration
	start   time.Duration
	held    map[ShardID]held
}

type held struct {
	node           slotmap.NodeID
	epoch          uint64
	session, round uint64
	until          time.Duration
	// deposed: the primary of this epoch gets nothing before refuse.
	deposed uint64
	refuse  time.Duration
}

// NewVoter makes a voter that has just started.
func NewVoter(lease, now time.Duration) *Voter {
	return &Voter{lease: lease, start: now, held: make(map[ShardID]held)}
}

// Renew answers a renewal. t and index are the voter's own table and the last entry in its log.
func (v *Voter) Renew(now time.Duration, t *Table, index uint64, r Renewal) Promise {
	s := t.Shard(r.Shard)
	refused := Promise{Index: index}
	switch {
	case t.Cluster != r.Cluster || t.Generation != r.Generation || t.Into != "":
		return refused
	case s == nil || s.Primary != r.Node || s.Epoch != r.Epoch:
		return refused
	case !v.Fresh && now < v.start+max(v.lease, r.Lease) || r.Lease > maxLease:
		return refused
	}
	h := v.held[r.Shard]
	switch {
	case h.node != r.Node && now < h.until:
		return refused
	case h.deposed == r.Epoch && now < h.refuse:
		return refused
	case h.node == "" && v.founding(now, r):
		return refused
	case h.node == r.Node && h.session == r.Session && r.Round < h.round:
		return refused // overtaken by a later renewal or release
	}
	until := now + max(v.lease, r.Lease)
	if h.node == r.Node {
		until = max(until, h.until) // a promise is never shortened, however late this one comes to be made
	}
	h.node, h.epoch, h.session, h.round, h.until = r.Node, r.Epoch, r.Session, r.Round, until
	v.held[r.Shard] = h
	v.prune(now, t)
	return Promise{Granted: true, Index: index}
}

// founding says whether a shard's first primary, which is another node, may still serve without a lease.
func (v *Voter) founding(now time.Duration, r Renewal) bool {
	if !v.Fresh || v.adopted == nil || now >= v.adopted.at+foundingPatience {
		return false
	}
	first := v.adopted.table.Shard(r.Shard)
	return first != nil && first.Primary != r.Node
}

// Release ends a lease that its holder gives up.
func (v *Voter) Release(r Renewal) {
	h := v.held[r.Shard]
	if h.node == r.Node && h.session == r.Session && r.Round > h.round {
		h.round, h.until = r.Round, 0
		v.held[r.Shard] = h
	}
}

// Agree says whether this voter lets the primary of the epoch be replaced: its lease has ended. It then
// gets no new one for a full lease. Else the answer is how long to wait.
func (v *Voter) Agree(now time.Duration, shard ShardID, epoch uint64) (wait time.Duration) {
	h := v.held[shard]
	since := v.start + v.lease
	if v.Fresh && h.epoch != epoch {
		since = v.start + max(v.lease, foundingPatience)
		if v.adopted != nil {
			since = max(since, v.adopted.at+foundingPatience)
		}
	}
	if wait = max(since, h.until) - now; wait > 0 {
		return wait
	}
	h.deposed, h.refuse = epoch, now+v.lease
	v.held[shard] = h
	return 0
}

// prune forgets shards that are gone, so that the map stays as small as the table.
func (v *Voter) prune(now time.Duration, t *Table) {
	if len(v.held) <= 2*len(t.Shards)+16 {
		return
	}
	for id, h := range v.held {
		if t.Shard(id) == nil && now >= h.until && now >= h.refuse {
			delete(v.held, id)
		}
	}
}
