package epoch

import (
	"slices"
	"strings"
	"time"

	"github.com/cairndb/cairn/cluster/slotmap"
)

// Offer is a member's answer when its shard needs a new primary.
type Offer struct {
	Node slotmap.NodeID
	// Willing: the node may be made primary (cluster-replica-no-failover, cluster-replica-validity-factor), and
	// has promised to take nothing more from a primary of the old epoch or an earlier one.
	Willing bool
	// Doubtful: the node's log may lack the end of what it has acknowledged, since its machine lost power.
	Doubtful bool
	// Term and Offset are the end of the node's log; a greater term counts more than any offset.
	Term, Offset uint64
	// Priority decides between equal logs: the smaller wins (replica-priority).
	Priority uint64
}

// best is whom to grant of those that answered, empty for nobody.
//
// Of a strict shard, each node that may be granted has had every acknowledged write. One whose machine lost power since may have lost some of them, so one that has
// not goes first, however long the logs are; and if all that answer have, the best of them is known only when all have answered.
func best(s *Shard, offers map[slotmap.NodeID]Offer) slotmap.NodeID {
	var sure, doubtful []Offer
	missing := 0
	for _, m := range s.Members {
		o, ok := offers[m]
		switch {
		case !s.Eligible(m):
		case !ok || !o.Willing:
			missing++
		case s.Strict && o.Doubtful:
			doubtful = append(doubtful, o)
		default:
			sure = append(sure, o)
		}
	}
	switch {
	case len(sure) > 0:
		return slices.MinFunc(sure, better).Node
	case len(doubtful) > 0 && missing == 0:
		return slices.MinFunc(doubtful, better).Node
	}
	return ""
}

func better(a, b Offer) int {
	switch {
	case a.Term != b.Term:
		return descending(a.Term, b.Term)
	case a.Offset != b.Offset:
		return descending(a.Offset, b.Offset)
	case a.Priority != b.Priority:
		return descending(b.Priority, a.Priority)
	}
	return strings.Compare(string(a.Node), string(b.Node))
}

func descending(a, b uint64) int {
	if a > b {
		return -1
	}
	return 1
}

// Step is what a Failover wants done: exactly one field is set.
type Step struct {
	// Agree: ask this voter whether the old primary may be replaced.
	Agree slotmap.NodeID
	// Offer: ask this member for its offer.
	Offer slotmap.NodeID
	// Grant: propose this member as primary.
	Grant slotmap.NodeID
	// GiveUp: there is nobody to grant, for now.
	GiveUp bool
}

// Failover replaces one shard's primary: first a majority of voters agrees that its lease has ended, then its members are asked for
// their logs and promise to take nothing from the old primary, then the best is granted. It knows no clock and sends nothing.
type Failover struct {
	shard    *Shard
	voters   []slotmap.NodeID
	pace     time.Duration
	deadline time.Duration

	askAt   map[slotmap.NodeID]time.Duration // when to ask again
	agreed  map[slotmap.NodeID]bool
	offers  map[slotmap.NodeID]Offer
	offered time.Duration // when members were first asked
	phase   phase
}

type phase int

const (
	agreeing phase = iota
	offering
	done
)

// NewFailover begins to replace the primary that the table names. Grace is how long members are waited for that
// don't answer, when others have; questions are repeated as often.
func NewFailover(t *Table, shard *Shard, grace, patience, now time.Duration) *Failover {
	return &Failover{
		shard: shard, voters: t.Voters, pace: grace, deadline: now + patience,
		askAt: make(map[slotmap.NodeID]time.Duration), agreed: make(map[slotmap.NodeID]bool), offers: make(map[slotmap.NodeID]Offer),
	}
}

// Agreed takes a voter's answer: wait is 0, or how long the old primary's lease goes on there.
func (f *Failover) Agreed(now time.Duration, voter slotmap.NodeID, wait time.Duration) {
	if f.phase != agreeing || !slices.Contains(f.voters, voter) {
		return
	}
	if wait > 0 {
		f.askAt[voter] = now + wait
		return
	}
	f.agreed[voter] = true
	if len(f.agreed) >= majority(len(f.voters)) {
		f.phase, f.offered = offering, now
		clear(f.askAt)
	}
}

// Offered takes a member's answer. The last one of each counts.
func (f *Failover) Offered(o Offer) {
	if f.phase == offering && f.shard.Has(o.Node) {
		f.offers[o.Node] = o
	}
}

// Steps says what to do now. It is called after every answer and at Wake.
func (f *Failover) Steps(now time.Duration) []Step {
	var steps []Step
	switch {
	case f.phase == agreeing && now < f.deadline:
		for _, v := range f.due(now, f.voters, func(v slotmap.NodeID) bool { return f.agreed[v] }) {
			steps = append(steps, Step{Agree: v})
		}
	case f.phase == offering && f.decided(now):
		f.phase = done
		if id := best(f.shard, f.offers); id != "" {
			return []Step{{Grant: id}}
		}
		return []Step{{GiveUp: true}}
	case f.phase == offering:
		for _, m := range f.due(now, f.shard.Members, func(m slotmap.NodeID) bool { _, ok := f.offers[m]; return ok }) {
			steps = append(steps, Step{Offer: m})
		}
	case f.phase == agreeing:
		f.phase = done
		return []Step{{GiveUp: true}}
	}
	return steps
}

// due lists those who have not answered and are to be asked (again).
func (f *Failover) due(now time.Duration, ids []slotmap.NodeID, answered func(slotmap.NodeID) bool) []slotmap.NodeID {
	var out []slotmap.NodeID
	for _, id := range ids {
		if at, asked := f.askAt[id]; !answered(id) && (!asked || now >= at) {
			f.askAt[id] = now + f.pace
			out = append(out, id)
		}
	}
	return out
}

// decided says whether waiting on can't, or may not, bring a better offer.
func (f *Failover) decided(now time.Duration) bool {
	missing := 0
	for _, m := range f.shard.Members {
		if _, ok := f.offers[m]; !ok && f.shard.Eligible(m) && m != f.shard.Primary {
			missing++
		}
	}
	switch {
	case now >= f.deadline:
		return true
	case now < f.offered+f.pace:
		// A primary that has restarted has the longest log of all, but mostly it is dead: nobody waits for it alone.
		return missing == 0 && best(f.shard, f.offers) != ""
	default:
		return best(f.shard, f.offers) != ""
	}
}

// Wake is when Steps has to be called next if nothing is answered.
func (f *Failover) Wake(now time.Duration) time.Duration {
	at := f.deadline
	for id, t := range f.askAt {
		if _, ok := f.offers[id]; !ok && !f.agreed[id] {
			at = min(at, t)
		}
	}
	if grace := f.offered + f.pace; f.phase == offering && now < grace {
		at = min(at, grace)
	}
	return at
}
