package epoch

import (
	"context"
	"encoding/binary"
	"sync"
	"time"

	"github.com/cairndb/cairn/cluster/slotmap"
)

// failover runs one Failover to its end: it sends what that asks for, and feeds it the answers.
func (g *Group) failover(m *member, t *Table, s *Shard) {
	ctx, cancel := context.WithTimeout(g.ctx, 4*g.o.Lease)
	var asked sync.WaitGroup
	defer asked.Wait()
	defer cancel()
	f := NewFailover(t, s, g.grace(), 3*g.o.Lease, g.o.Clock.Now())
	events := make(chan func(now time.Duration), len(t.Voters)+len(s.Members))
	r := &replacement{g: g, m: m, t: t, s: s, events: events, ctx: ctx}
	for {
		now := g.o.Clock.Now()
		for _, step := range f.Steps(now) {
			switch {
			case step.Grant != "":
				g.grantPrimary(ctx, m, s, step.Grant)
				return
			case step.GiveUp:
				g.o.Logger.Warn("no replica can be made primary", "shard", s.ID, "primary", s.Primary)
				return
			case step.Agree != "":
				asked.Go(func() { r.agree(f, step.Agree) })
			case step.Offer != "":
				asked.Go(func() { r.offer(f, step.Offer) })
			}
		}
		timer := time.NewTimer(max(f.Wake(now)-now, time.Millisecond))
		select {
		case fn := <-events:
			fn(g.o.Clock.Now())
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
		if !m.isLeader() || m.fsm.table.Load().Shard(s.ID) != s || !g.mustReplace(s) {
			return // another leader's business, or decided, or not needed any more
		}
	}
}

// mustReplace says whether a shard needs a new grant: its primary has failed, or has come back without its data, or without knowing whether it still has all
// that it acknowledged.
func (g *Group) mustReplace(s *Shard) bool {
	n := g.view.Load().node(s.Primary)
	return n == nil || !n.Alive || n.Lost && len(s.Members) > 1 || n.Doubtful && s.Strict && !g.grantedLately(s.ID)
}

// grantedLately says whether this leader has just replaced a shard's primary: gossip may not have heard yet that the new one knows what it has.
func (g *Group) grantedLately(id ShardID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	at, ok := g.mu.replaced[id]
	return ok && g.o.Clock.Now()-at < g.o.Lease+replacedFor
}

const replacedFor = 2 * time.Second

// grace is how long a failover waits for members that don't answer while others have.
func (g *Group) grace() time.Duration { return max(g.o.Lease/10, 20*time.Millisecond) }

// replacement sends a Failover's questions. What it still waits for ends with ctx.
type replacement struct {
	g      *Group
	m      *member
	t      *Table
	s      *Shard
	ctx    context.Context
	events chan func(now time.Duration)
}

func (r *replacement) tell(fn func(now time.Duration)) {
	select {
	case r.events <- fn:
	case <-r.ctx.Done():
	}
}

func (r *replacement) agree(f *Failover, voter slotmap.NodeID) {
	if voter == r.g.o.Self {
		wait := r.m.agree(r.g.o.Clock.Now(), r.s.ID, r.s.Epoch)
		r.tell(func(now time.Duration) { f.Agreed(now, voter, wait) })
		return
	}
	body := r.t.Cluster.Append(nil)
	body = binary.AppendUvarint(body, r.t.Generation)
	body = r.s.ID.Append(body)
	body = binary.AppendUvarint(body, r.s.Epoch)
	d, ok := r.ask(voter, callAgree, body)
	if wait := d.duration(); ok && !d.bad {
		r.tell(func(now time.Duration) { f.Agreed(now, voter, wait) })
	}
}

func (r *replacement) offer(f *Failover, node slotmap.NodeID) {
	if node == r.g.o.Self {
		o := r.g.offer(r.ctx, r.s.ID, r.s.Epoch)
		r.tell(func(time.Duration) { f.Offered(o) })
		return
	}
	d, ok := r.ask(node, callOffer, binary.AppendUvarint(r.s.ID.Append(nil), r.s.Epoch))
	if o := d.offer(node); ok && !d.bad {
		r.tell(func(time.Duration) { f.Offered(o) })
	}
}

func (r *replacement) ask(to slotmap.NodeID, k kind, body []byte) (*decoder, bool) {
	ctx, cancel := context.WithTimeout(r.ctx, r.g.grace())
	defer cancel()
	b, err := r.g.peers.call(ctx, to, k, body)
	d := &decoder{b: b}
	return d, err == nil && d.byte() == answerDone
}

func (g *Group) grantPrimary(ctx context.Context, m *member, s *Shard, to slotmap.NodeID) {
	r := &Request{ID: NewRequestID(), Op: OpPrimary, Shard: s.ID, Node: to, Expect: s.Epoch, Seen: g.o.Seen()}
	res, err := g.commit(ctx, m, r, appendRequest(nil, r))
	if err == nil {
		err = res.Err()
	}
	if err != nil {
		g.o.Logger.Warn("failover not granted", "shard", s.ID, "to", to, "err", err)
		return
	}
	g.mu.Lock()
	g.mu.replaced[s.ID] = g.o.Clock.Now()
	g.mu.Unlock()
	g.o.Logger.Info("failover granted", "shard", s.ID, "from", s.Primary, "to", to, "epoch", res.Epoch)
}
