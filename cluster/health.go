package cluster

// health is cluster_state and what it takes to change.
type health struct {
	ok bool
	// started is when this node started.
	started int64
	// minority is when this node last did not reach a majority, 0 for never.
	minority int64
	// reported is when this node last told of its suspects.
	reported int64
}

// A node that starts, or comes back from a minority, waits before it serves, so that newer claims can
// reach it first (Redis CLUSTER_WRITABLE_DELAY, CLUSTER_MIN_REJOIN_DELAY, CLUSTER_MAX_REJOIN_DELAY). In milliseconds.
const (
	startDelay = 2000
	minRejoin  = 500
	maxRejoin  = 5000
)

// judge sets cluster_state; it says whether it changed. The state is ok while
// every slot is owned by a node that has not failed (or full coverage is not
// required), this node reaches a majority of the slot owners, and no other process is this node (twin.go).
func (t *table) judge(now int64) (changed bool) {
	ok := t.covered()
	if !t.majority() {
		ok = false
		if t.up.ok {
			t.up.minority = now
		}
	}
	ok = ok && !t.twins.lost
	if ok && !t.up.ok && t.mustWait(now) {
		ok = false
	}
	changed = ok != t.up.ok
	t.up.ok = ok
	return changed
}

func (t *table) mustWait(now int64) bool {
	if now-t.up.started < startDelay && t.unconfirmed() || t.unsure(now) {
		return true
	}
	rejoin := min(max(t.set.NodeTimeout.Milliseconds(), minRejoin), maxRejoin)
	return t.up.minority != 0 && now-t.up.minority < rejoin
}

// unconfirmed says whether a slot owner known from nodes.conf has not been heard since this node started.
func (t *table) unconfirmed() bool {
	for id := range t.slotOwners() {
		if p := t.peers[id]; p != nil && p.stored {
			return true
		}
	}
	return false
}

func (t *table) covered() bool {
	if !t.set.RequireFullCoverage {
		return true
	}
	for id := range t.slotOwners() {
		if p := t.peers[id]; p == nil || p.failed {
			return false
		}
	}
	return t.owners.Assigned() == slots
}

// majority says whether this node reaches more than half of the slot owners. One that has not
// been heard since this node started is not reached: its claims may have moved on.
func (t *table) majority() bool {
	owners, reached := t.slotOwners(), 0
	for id := range owners {
		p := t.peers[id]
		if id == t.self || p != nil && !p.suspected && !p.stored {
			reached++
		}
	}
	return reached > len(owners)/2
}
