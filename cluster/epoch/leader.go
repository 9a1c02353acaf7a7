package epoch

import (
	"context"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"github.com/cairndb/cairn/cluster/slotmap"
	"github.com/hashicorp/raft"
)

// tick is how often the leader looks at its work when nothing calls for it.
const tick = 100 * time.Millisecond

// lead does the leader's work that must not wait for the repair of voters: it opens its term, and replaces dead primaries.
func (g *Group) lead() {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	running := newRunning()
	defer running.wait()
	for {
		if m := g.member(); m != nil && m.isLeader() {
			m.open(g.o.Election)
			if !g.o.Manual {
				g.replaceDead(m, running)
			}
		}
		select {
		case <-g.poke:
		case <-ticker.C:
		case <-g.ctx.Done():
			return
		}
	}
}

// replaceDead starts a failover for every shard whose primary has failed.
func (g *Group) replaceDead(m *member, running *running) {
	t, v := m.fsm.table.Load(), g.view.Load()
	if !t.Formed() || t.Into != "" || v.node(g.o.Self) == nil {
		return
	}
	for _, s := range t.Shards {
		if g.mustReplace(s) {
			running.start(s.ID, func() { g.failover(m, t, s) })
		}
	}
}

// repair keeps the voters as planVoters wants them while this node leads, and gives way to another group if it has to.
func (g *Group) repair() {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	told := uint64(0)
	for {
		select {
		case <-ticker.C:
		case <-g.ctx.Done():
			return
		}
		m := g.member()
		if m == nil {
			continue
		}
		g.shed(m)
		term, ok := m.leads()
		if !ok {
			continue
		}
		if told != term {
			told = term
			g.o.Logger.Info("this node leads the group of epochs", "term", term)
		}
		g.giveWay(m)
		g.paced(m, func() bool { return g.repairOne(m) })
	}
}

// pace lets a full lease pass between two changes of the voters, and between the beginning of a leader's term and its first change: see "Why two primaries are
// never inside leases".
type pace struct {
	mu    sync.Mutex
	term  uint64
	after time.Duration
	busy  bool
}

// begin says whether the voters may be changed now. End has to follow.
func (p *pace) begin(term uint64, now, lease time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.term != term {
		p.term, p.after = term, now+lease
	}
	if p.busy || now < p.after {
		return false
	}
	p.busy = true
	return true
}

// end notes when the next change may come.
func (p *pace) end(after time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy, p.after = false, max(p.after, after)
}

// paced runs change, which says whether the voters may have changed, if it is time for that; else it reports false.
func (g *Group) paced(m *member, change func() bool) bool {
	term, ok := m.leads()
	if !ok || !m.pace.begin(term, g.o.Clock.Now(), g.o.Lease) {
		return false
	}
	after := time.Duration(0)
	if change() {
		after = g.o.Clock.Now() + g.o.Lease
	}
	m.pace.end(after)
	return true
}

// shed leaves a group that has given way, once this node follows the other, one that was recovered without this member, and one that has come to nothing
// while another one was formed.
func (g *Group) shed(m *member) {
	into, t := m.fsm.table.Load().Into, g.Table()
	outdated := t.Cluster == m.id.cluster && t.Generation > m.id.generation
	vain := t.Formed() && t.Cluster != m.id.cluster && g.o.Clock.Now()-m.began > g.o.Lease && m.barren()
	if !outdated && !vain && (into == "" || t.Cluster != into) {
		return
	}
	g.life.Lock()
	defer g.life.Unlock()
	if g.member() != m {
		return
	}
	if err := g.leaveMember(); err != nil {
		g.o.Logger.Warn("leaving a dissolved group", "err", err)
	}
	if err := g.forgetMember(); err != nil {
		g.o.Logger.Warn("leaving a dissolved group", "err", err)
	}
}

// giveWay dissolves this group if gossip has found one that goes before it.
func (g *Group) giveWay(m *member) {
	t := m.fsm.table.Load()
	if !t.Formed() || t.Into != "" || t.Granted {
		return
	}
	for _, n := range g.view.Load().Nodes {
		if n.Cluster != "" && n.Alive && yields(t.Cluster, t.Granted, n.Cluster, n.Granted) {
			g.o.Logger.Info("the group gives way to another one", "cluster", t.Cluster, "to", n.Cluster)
			r := &Request{ID: NewRequestID(), Op: OpDissolve, Cluster: n.Cluster, Released: n.Granted}
			_, _ = g.commit(g.ctx, m, r, appendRequest(nil, r)) // the next tick tries again
			return
		}
	}
}

// repairOne changes one thing about the voters, and says whether it did.
func (g *Group) repairOne(m *member) bool {
	v, t := g.view.Load(), m.fsm.table.Load()
	if v.node(g.o.Self) == nil || !t.Formed() || t.Into != "" {
		return false
	}
	servers, err := m.servers()
	if err != nil {
		return false
	}
	var current []slotmap.NodeID
	for _, s := range servers {
		current = append(current, slotmap.NodeID(s.ID))
	}
	changes := planVoters(v, current, g.o.Patience)
	for _, s := range servers {
		if n := v.node(slotmap.NodeID(s.ID)); n != nil && n.Alive && n.ID != g.o.Self {
			if inc, err := g.invite(n.ID, m.id); err == nil && raftAddress(n.ID, inc) != s.Address {
				changes = slices.Insert(changes, 0, change{node: n.ID, reason: "lost its log"}) // with its new one it may come later: see Voter.Fresh
			}
		}
	}
	if len(changes) == 0 || !m.isLeader() {
		return false
	}
	return g.change(m, changes[0])
}

func (g *Group) change(m *member, c change) bool {
	var do func(*raft.Raft) raft.Future
	switch {
	case c.add:
		incarnation, err := g.invite(c.node, m.id)
		if err != nil {
			return false
		}
		do = func(r *raft.Raft) raft.Future {
			return r.AddVoter(raft.ServerID(c.node), raftAddress(c.node, incarnation), 0, g.o.Election)
		}
	case c.node == g.o.Self:
		do = func(r *raft.Raft) raft.Future { return r.LeadershipTransfer() } // the next leader removes this node
	default:
		do = func(r *raft.Raft) raft.Future { return r.RemoveServer(raft.ServerID(c.node), 0, g.o.Election) }
	}
	if err := m.ask(do); err != nil {
		g.o.Logger.Warn("can't change the voters", "add", c.add, "node", c.node, "reason", c.reason, "err", err)
		return true // whether it was done or not is unknown
	}
	g.o.Logger.Info("voters changed", "add", c.add, "node", c.node, "reason", c.reason)
	return true
}

// invite makes a node ready to be a voter and returns the incarnation of its log.
func (g *Group) invite(node slotmap.NodeID, id identity) (uint64, error) {
	if node == g.o.Self {
		return id.incarnation, nil
	}
	ctx, cancel := context.WithTimeout(g.ctx, g.o.Election)
	defer cancel()
	b, err := g.peers.call(ctx, node, callInvite, binary.AppendUvarint(id.cluster.Append(nil), id.generation))
	if err != nil {
		return 0, err
	}
	d := &decoder{b: b}
	if d.byte() != answerDone {
		return 0, errStranger
	}
	incarnation := d.uvarint()
	if d.bad {
		return 0, errEncoding
	}
	return incarnation, nil
}
