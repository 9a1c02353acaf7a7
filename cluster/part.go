package cluster

import (
	"time"

	"github.com/cairndb/cairn/cluster/slotmap"
)

// part is the role that a node should have.
type part struct {
	epoch uint64
	// primary is whom to follow, empty for being one; halted: nobody, until there is a newer grant.
	primary slotmap.NodeID
	halted  bool
	host    string
	port    int
}

// part is the role that this node should have.
func (t *table) part() part {
	p := part{epoch: t.epochOf(t.me()), primary: t.primaryOf(t.self)}
	p.halted = t.promised > 0 && p.epoch <= t.promised
	if peer := t.peers[p.primary]; peer != nil {
		p.host, p.port = peer.IP, peer.Port
	}
	return p
}

// roleState decides how a node comes into its part, one step at a time. It does nothing itself and knows no clock: step says what to do, and
// took is called when that is done; what has failed is said again by the next step.
//
//   - A replica follows the present address of its primary.
//   - A primary that was granted begins a term of its log when it holds its lease, and serves from then on. Until then it takes nothing more from
//     the primary before it.
//   - A node that has promised to leave its primary follows nobody, until there is a newer grant. If none comes of it although the primary lives, the
//     node asks for a new one for that.
type roleState struct {
	// told: replication was told what part says; leads says whether that was to lead.
	told  bool
	part  part
	leads bool
	// stuck says that the node keeps a promise, since when.
	stuck bool
	since time.Duration
}

// standing is what a node finds when it looks at its role.
type standing struct {
	now  time.Duration
	want part
	// fenced: it serves inside a lease only, which it holds if leased. lease is how long one is.
	fenced, leased bool
	lease          time.Duration
	// following: it follows somebody, which an offer ends at any time (failover.go). linked: the primary has taken it on; whole: it has had all that this
	// had since.
	following, linked, whole bool
	// relead: a hand-over has failed after the term was ended.
	relead bool
	// lost: its data are gone, and if its shard has other members it gets no lease (lost.go).
	lost bool
}

// roleAct is what to do about a role.
type roleAct uint8

const (
	stay roleAct = iota
	beginToLead
	beginToFollow
	haltNow
	askGrant // for the primary that was to be left
)

func (a roleAct) String() string {
	return [...]string{"stay", "lead", "follow", "halt", "ask for a new grant"}[a]
}

// roleStep is a step towards the role.
type roleStep struct {
	act roleAct
	// continues: the log is that of the wanted primary's epoch from here on, which is noted first.
	continues bool
	// certain: the node has everything, once act is done.
	certain bool
	// soon: what is awaited should be looked for again at once.
	soon bool
}

func (r *roleState) step(s standing) roleStep {
	if s.relead {
		r.leads = false
	}
	r.stuck = r.stuck && s.want.halted
	switch {
	case s.want.halted:
		return r.halt(s)
	case s.want.primary == "":
		return r.lead(s)
	}
	return r.follow(s)
}

// took notes that what a step said was done.
func (r *roleState) took(act roleAct, want part) {
	switch act {
	case beginToLead, beginToFollow:
		r.told, r.part, r.leads = true, want, act == beginToLead
	case haltNow:
		r.told, r.part, r.leads = true, part{halted: true}, false
	case stay, askGrant:
	}
}

func (r *roleState) lead(s standing) roleStep {
	waits := s.fenced && !s.leased
	if r.told && r.leads && r.part.epoch == s.want.epoch {
		return roleStep{soon: waits}
	}
	step := roleStep{act: beginToLead, continues: true, certain: s.fenced} // noted on disk while the lease is asked for
	if waits {
		step.act, step.continues, step.certain, step.soon = stay, !s.lost, false, true
		if r.told && !r.leads && !r.part.halted {
			step.act = haltNow
		}
	}
	return step
}

func (r *roleState) follow(s standing) roleStep {
	if s.following && r.told && !r.leads && !r.part.halted && r.part.host == s.want.host && r.part.port == s.want.port {
		r.part = s.want
		return roleStep{continues: s.linked, certain: s.linked && s.whole}
	}
	if s.want.host == "" {
		return roleStep{soon: true}
	}
	return roleStep{act: beginToFollow}
}

func (r *roleState) halt(s standing) roleStep {
	switch {
	case !r.told || !r.part.halted:
		return roleStep{act: haltNow}
	case !r.stuck:
		r.stuck, r.since = true, s.now
	case s.now-r.since > 2*s.lease:
		r.stuck = false
		return roleStep{act: askGrant}
	}
	return roleStep{}
}
