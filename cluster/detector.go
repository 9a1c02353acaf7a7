package cluster

import (
	"slices"

	"github.com/cairndb/cairn/cluster/slotmap"
)

// Failure detection has two steps, as in Redis (Redis Cluster spec, "Failure detection"):
//
//   - A node suspects a peer (fail?) that has not answered for the node timeout: its own view only.
//   - The peer has failed (fail) when this node suspects it and, within a window of two node
//     timeouts, a majority of the nodes that own slots have said that they suspect it.
//
// A node whose port refuses is suspected at once, since its process is gone; it may
// be a restart, so that it has failed still takes the node timeout.
//
// Suspicions travel in the suspecting node's record, and are repeated while
// they last, so a report of a node that is gone itself falls out of the window. Both flags go when the peer answers.

// liveness is what this node knows of a peer's health.
type liveness struct {
	// answers says whether the gossip reaches the peer; silentSince is when it last did, while it does not.
	answers     bool
	silentSince int64
	lastAnswer  int64
	suspected   bool // silent for the node timeout
	refuses     bool // its port does
	failed      bool
	// reports are the nodes that say they suspect this one, with the time of their word.
	reports map[slotmap.NodeID]int64
}

func newLiveness(now int64) liveness {
	return liveness{silentSince: now, reports: make(map[slotmap.NodeID]int64)}
}

const (
	reportWindow = 2 // node timeouts
	// reportAgain is how often a lasting suspicion is repeated, in parts of a node timeout.
	reportAgain = 2
)

// hear notes whom the sender of a new record suspects.
func (t *table) hear(sender *peer, now int64) {
	for id, p := range t.peers {
		if id == t.self || id == sender.ID {
			continue
		}
		if slices.Contains(sender.Suspects, id) {
			p.reports[sender.ID] = now
		} else {
			delete(p.reports, sender.ID)
		}
	}
}

// answered notes that the gossip reaches a peer.
func (t *table) answered(id slotmap.NodeID, now int64) {
	if p := t.peers[id]; p != nil && id != t.self {
		p.answers, p.lastAnswer = true, now
	}
}

// silent notes that the gossip has not reached a peer since a time.
func (t *table) silent(id slotmap.NodeID, since int64) {
	if p := t.peers[id]; p != nil && p.answers {
		p.answers, p.silentSince = false, max(since, p.lastAnswer)
	}
}

// refused notes whether a peer's port refuses; it says whether that is new.
func (t *table) refused(id slotmap.NodeID, yes bool, now int64) bool {
	p := t.peers[id]
	if p == nil || id == t.self || p.refuses == yes {
		return false
	}
	p.refuses = yes
	if yes {
		t.silent(id, now)
	}
	return true
}

// detect moves every peer between its states; it says whether anything changed.
func (t *table) detect(now int64) (changed bool) {
	timeout := t.set.NodeTimeout.Milliseconds()
	var suspects []slotmap.NodeID
	for _, id := range t.ids() {
		p := t.peers[id]
		if id == t.self {
			continue
		}
		suspected := !p.answers && now-p.silentSince >= timeout
		if suspected || p.refuses {
			suspects = append(suspects, id)
		}
		changed = changed || suspected != p.suspected
		p.suspected = suspected
	}
	me := t.me()
	if !slices.Equal(me.Suspects, suspects) || len(suspects) > 0 && now-t.up.reported >= timeout/reportAgain {
		me.Suspects, t.up.reported, changed = suspects, now, true
		t.touch()
	}
	return t.agree() || changed
}

// agree decides who has failed.
func (t *table) agree() (changed bool) {
	owners := t.slotOwners()
	for _, p := range t.peers {
		failed := p.suspected && (p.failed || t.blame(p, owners) > len(owners)/2)
		if failed != p.failed {
			p.failed, changed = failed, true
		}
	}
	return changed
}

// blame counts the slot owners that suspect p, this node included.
func (t *table) blame(p *peer, owners map[slotmap.NodeID]bool) int {
	n := 0
	if owners[t.self] && p.suspected {
		n++
	}
	for id := range p.reports {
		if owners[id] {
			n++
		}
	}
	return n
}

// expireReports drops what is out of the window, and reports of nodes that are gone.
func (t *table) expireReports(now int64) {
	window := reportWindow * t.set.NodeTimeout.Milliseconds()
	for _, p := range t.peers {
		for id, at := range p.reports {
			if now-at > window || t.peers[id] == nil {
				delete(p.reports, id)
			}
		}
	}
}

// slotOwners are the nodes whose word counts.
func (t *table) slotOwners() map[slotmap.NodeID]bool {
	owners := make(map[slotmap.NodeID]bool)
	for id := range t.owners.Sets() {
		owners[id] = true
	}
	return owners
}
