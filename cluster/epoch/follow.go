package epoch

import (
	"context"
	"encoding/binary"
	"slices"
	"time"

	"github.com/cairndb/cairn/cluster/slotmap"
)

// follow keeps the table up to date where Raft doesn't: a call waits at a voter until there is a newer one.
func (g *Group) follow() {
	var stored *Table
	failed := 0
	for g.ctx.Err() == nil {
		t, changed := g.changed()
		m := g.member()
		if m != nil && m.decides() && m.follows(2*g.o.Election) {
			g.pause(changed, g.o.Election)
			continue
		}
		from := g.sources(t)
		if len(from) == 0 {
			g.pause(changed, g.o.Election)
			continue
		}
		if !g.followFrom(from[failed%len(from)], t) {
			failed++
			g.pause(nil, min(retryPause<<min(failed/len(from), 5), g.o.Election))
			continue
		}
		if t = g.Table(); t != stored && t.Formed() {
			if err := storeTable(g.o.Dir, t); err != nil {
				g.o.Logger.Warn("can't keep the slot table for the next start", "err", err)
			}
			stored = t
		}
	}
}

func (g *Group) pause(changed <-chan struct{}, most time.Duration) {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	case <-g.ctx.Done():
	}
}

// sources are the nodes to follow: those of a later generation, or who have a table at all if this node has none, the voters, then whoever has this table.
func (g *Group) sources(t *Table) []slotmap.NodeID {
	var later, voters, others []slotmap.NodeID
	for _, id := range t.Voters {
		if id != g.o.Self {
			voters = append(voters, id)
		}
	}
	for _, n := range g.view.Load().Nodes {
		switch {
		case n.ID == g.o.Self || n.Cluster == "" || slices.Contains(voters, n.ID):
		case !t.Formed() || n.Cluster == t.Cluster && n.Generation > t.Generation || yields(t.Cluster, t.Granted, n.Cluster, n.Granted):
			later = append(later, n.ID)
		case n.Cluster == t.Cluster:
			others = append(others, n.ID)
		}
	}
	if !t.Formed() && len(later) > 0 {
		return later // the other voters of a group without a table know no more
	}
	return slices.Concat(later, voters, others)
}

// followFrom waits at another node for a newer table; false if that node is no help.
func (g *Group) followFrom(id slotmap.NodeID, t *Table) bool {
	ctx, cancel := context.WithTimeout(g.ctx, followPatience+2*g.o.Election)
	defer cancel()
	return g.take(ctx, id, t, t)
}

// take asks another node for a newer table than one, which it may wait for, and makes it this node's, whose present one is t.
func (g *Group) take(ctx context.Context, id slotmap.NodeID, than, t *Table) bool {
	body := than.Cluster.Append(nil)
	body = binary.AppendUvarint(body, than.Generation)
	body = binary.AppendUvarint(body, than.Version)
	body = append(body, bit(than.Granted, 1))
	b, err := g.peers.call(ctx, id, callFollow, body)
	if err != nil || len(b) == 0 {
		return false
	}
	if b[0] != answerDone {
		return b[0] == answerNothing
	}
	newer, err := decodeTable(b[1:])
	if err != nil {
		return false
	}
	if t.Formed() && !g.Table().Formed() {
		return false // this node was reset meanwhile
	}
	g.publish(newer)
	return true
}

// Refresh asks the leader for its table, and returns the newest that this node knows then.
func (g *Group) Refresh(ctx context.Context) *Table {
	if m := g.member(); m == nil || !m.isLeader() {
		g.fetch(ctx, g.Table().Version+1)
	}
	return g.Table()
}

// fetch asks those who may lead for their tables, each once, until this node's has come to a version.
func (g *Group) fetch(ctx context.Context, version uint64) {
	for _, id := range g.leaders("") {
		if g.Table().Version >= version || ctx.Err() != nil {
			return
		}
		try, cancel := context.WithTimeout(ctx, g.o.Election)
		g.take(try, id, empty(), g.Table())
		cancel()
	}
}
