package epoch

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/cairndb/cairn/cluster/slotmap"
	"github.com/hashicorp/raft"
)

// The first byte of an answer. Its numbers never change.
const (
	answerDone     = 1
	answerElse     = 2 // not the leader; the leader's ID follows, or nobody's
	answerUnknown  = 3 // the outcome is unknown
	answerRefused  = 4
	answerNothing  = 5 // no newer table
	followPatience = time.Second
)

// answer serves one call. Nil ends the connection: the caller speaks another language.
func (g *Group) answer(ctx context.Context, k kind, body []byte) []byte {
	d := &decoder{b: body}
	switch k {
	case callPropose:
		return g.answerPropose(ctx, body)
	case callFollow:
		return g.answerFollow(ctx, d)
	case callInvite:
		return g.answerInvite(d)
	case callRenew:
		return g.answerRenew(d)
	case callRelease:
		if r := d.renewal(); !d.bad {
			if m := g.memberOf(r.Cluster, r.Generation); m != nil {
				m.release(r)
			}
			return []byte{answerDone}
		}
	case callAgree:
		return g.answerAgree(d)
	case callOffer:
		return g.answerOffer(ctx, d)
	case callLeave:
		return g.answerLeave(d)
	}
	return nil
}

// memberOf is this node's member if it belongs to the group that a caller means.
func (g *Group) memberOf(cluster slotmap.NodeID, generation uint64) *member {
	if m := g.member(); m != nil && m.id.cluster == cluster && m.id.generation == generation {
		return m
	}
	return nil
}

func (g *Group) answerPropose(ctx context.Context, body []byte) []byte {
	r, err := decodeRequest(body)
	if err != nil {
		return nil
	}
	m := g.member()
	if m == nil || !m.isLeader() {
		return g.elsewhere(m)
	}
	if r.Op == OpAdopt && (r.Table == nil || r.Table.Cluster != m.id.cluster) { // meant for a group that this node has left
		return g.elsewhere(nil)
	}
	res, err := g.commit(ctx, m, r, body)
	switch {
	case errors.Is(err, raft.ErrNotLeader):
		return g.elsewhere(m)
	case err != nil:
		return []byte{answerUnknown}
	}
	return appendResult([]byte{answerDone}, res)
}

func (g *Group) elsewhere(m *member) []byte {
	b := []byte{answerElse}
	if m == nil {
		return slotmap.NodeID("").Append(b)
	}
	return m.leader().Append(b)
}

// answerFollow sends a table that is newer than the caller's, as soon as there is one.
func (g *Group) answerFollow(ctx context.Context, d *decoder) []byte {
	theirs := &Table{Cluster: d.id(), Generation: d.uvarint(), Version: d.uvarint(), Granted: d.byte() == 1}
	if d.bad {
		return nil
	}
	timer := time.NewTimer(followPatience)
	defer timer.Stop()
	for {
		t, changed := g.changed()
		if t.Formed() && supersedes(t, theirs) {
			return appendTable([]byte{answerDone}, t, false)
		}
		select {
		case <-changed:
		case <-timer.C:
			if m := g.member(); m == nil || !m.follows(2*g.o.Election) {
				return g.elsewhere(m) // there may be a newer one that has not come here
			}
			return []byte{answerNothing}
		case <-ctx.Done():
			return []byte{answerNothing}
		}
	}
}

func (g *Group) answerInvite(d *decoder) []byte {
	cluster, generation := d.id(), d.uvarint()
	if d.bad || cluster == "" {
		return nil
	}
	incarnation, err := g.join(cluster, generation)
	if err != nil {
		if !errors.Is(err, errStranger) && g.ctx.Err() == nil {
			g.o.Logger.Error("can't become a voter", "err", err)
		}
		return []byte{answerRefused}
	}
	return binary.AppendUvarint([]byte{answerDone}, incarnation)
}

func appendRenewal(b []byte, r Renewal) []byte {
	b = r.Cluster.Append(b)
	for _, v := range []uint64{r.Generation, r.Session, r.Round, r.Epoch, uint64(r.Lease)} {
		b = binary.AppendUvarint(b, v)
	}
	b = r.Shard.Append(b)
	return r.Node.Append(b)
}

func (d *decoder) renewal() Renewal {
	return Renewal{
		Cluster: d.id(), Generation: d.uvarint(), Session: d.uvarint(), Round: d.uvarint(), Epoch: d.uvarint(),
		Lease: d.duration(), Shard: d.id(), Node: d.id(),
	}
}

func (d *decoder) duration() time.Duration {
	v := d.uvarint()
	if v > uint64(maxLease) {
		d.bad = true
		return 0
	}
	return time.Duration(v)
}

func (g *Group) answerRenew(d *decoder) []byte {
	r := d.renewal()
	if d.bad {
		return nil
	}
	p := g.renew(r)
	b := []byte{answerRefused}
	if p.Granted {
		b[0] = answerDone
	}
	return binary.AppendUvarint(b, p.Index)
}

// renew answers as a voter, to this node too.
func (g *Group) renew(r Renewal) Promise {
	m := g.memberOf(r.Cluster, r.Generation)
	if m == nil {
		return Promise{}
	}
	return m.renew(g.o.Clock.Now(), r)
}

func (g *Group) answerAgree(d *decoder) []byte {
	cluster, generation, shard, epoch := d.id(), d.uvarint(), d.id(), d.uvarint()
	if d.bad {
		return nil
	}
	m := g.memberOf(cluster, generation)
	if m == nil {
		return []byte{answerRefused}
	}
	wait := m.agree(g.o.Clock.Now(), shard, epoch)
	return binary.AppendUvarint([]byte{answerDone}, uint64(min(wait, maxLease)))
}

func (g *Group) answerOffer(ctx context.Context, d *decoder) []byte {
	shard, epoch := d.id(), d.uvarint()
	if d.bad {
		return nil
	}
	return appendOffer([]byte{answerDone}, g.offer(ctx, shard, epoch))
}

func (g *Group) offer(ctx context.Context, shard ShardID, epoch uint64) Offer {
	if g.o.Offer == nil {
		return Offer{Node: g.o.Self}
	}
	o := g.o.Offer(ctx, shard, epoch)
	o.Node = g.o.Self
	return o
}

func appendOffer(b []byte, o Offer) []byte {
	b = append(b, bit(o.Willing, 1)|bit(o.Doubtful, 2))
	for _, v := range []uint64{o.Term, o.Offset, o.Priority} {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

func (d *decoder) offer(node slotmap.NodeID) Offer {
	flags := d.byte()
	return Offer{Node: node, Willing: flags&1 != 0, Doubtful: flags&2 != 0, Term: d.uvarint(), Offset: d.uvarint(), Priority: d.uvarint()}
}

var errSoon = errors.New("epoch: the voters have changed a moment ago")

// answerLeave takes the caller, who is about to lose its log, out of the voters.
func (g *Group) answerLeave(d *decoder) []byte {
	node := d.id()
	m := g.member()
	if d.bad || node == "" {
		return nil
	}
	if m == nil || !m.isLeader() {
		return g.elsewhere(m)
	}
	if node == g.o.Self {
		if err := m.transfer(); err != nil {
			return []byte{answerUnknown}
		}
		return g.elsewhere(m)
	}
	err := errSoon
	g.paced(m, func() bool {
		err = m.ask(func(r *raft.Raft) raft.Future { return r.RemoveServer(raft.ServerID(node), 0, g.o.Election) })
		return true // also when the outcome is unknown
	})
	if err != nil {
		return []byte{answerUnknown} // the caller asks again
	}
	return []byte{answerDone}
}
