package epoch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cairndb/cairn/cluster/slotmap"
	"github.com/hashicorp/raft"
)

var (
	// ErrUnreached: no leader was found in time. The request was not made.
	ErrUnreached = errors.New("epoch: no leader of the group was reached")
	// ErrUnknown: the request was made, and may be granted yet. Its ID may be proposed again to learn the outcome.
	ErrUnknown = errors.New("epoch: the outcome is unknown")
)

const (
	maxRequest = 1 << 20
	retryPause = 20 * time.Millisecond
)

// Propose asks the group for a change, from any node, and waits for the decision. A retry with the same ID, by this
// call or by the caller, is not granted twice. A decision against it is an error of type *Refused.
func (g *Group) Propose(ctx context.Context, r Request) (Result, error) {
	if r.ID == (RequestID{}) {
		r.ID = NewRequestID()
	}
	r.Seen = max(r.Seen, g.o.Seen())
	r.InSync = sorted(r.InSync)
	body := appendRequest(nil, &r)
	if len(body) > maxRequest {
		return Result{}, refusal(Malformed)
	}
	made := false
	for hint := slotmap.NodeID(""); ; {
		res, next, state := g.tryPropose(ctx, &r, body, hint)
		switch state {
		case tryDone:
			return res, res.Err()
		case tryUnknown:
			made = true
		case tryElsewhere:
		}
		if hint = next; hint != "" {
			continue // it costs a round trip, and a wrong hint comes back empty
		}
		select {
		case <-time.After(retryPause):
			continue
		case <-ctx.Done():
		case <-g.ctx.Done():
		}
		if made {
			return Result{}, fmt.Errorf("%w: %w", ErrUnknown, context.Cause(ctx))
		}
		return Result{}, fmt.Errorf("%w: %w", ErrUnreached, context.Cause(ctx))
	}
}

type tryState int

const (
	tryDone tryState = iota
	tryElsewhere
	tryUnknown
)

// tryPropose makes one try: here if this node leads, else with the hinted node, else with those who may know.
func (g *Group) tryPropose(ctx context.Context, r *Request, body []byte, hint slotmap.NodeID) (Result, slotmap.NodeID, tryState) {
	if m := g.member(); m != nil && m.isLeader() {
		res, err := g.commit(ctx, m, r, body)
		switch {
		case err == nil:
			return res, "", tryDone
		case !errors.Is(err, raft.ErrNotLeader):
			return Result{}, "", tryUnknown
		}
	}
	state := tryElsewhere
	for _, to := range g.leaders(hint) {
		if ctx.Err() != nil {
			break
		}
		limit := g.o.Election
		if r.Op == OpSlots {
			limit += 2 * g.o.Lease // the leader may let a lease run out first
		}
		try, cancel := context.WithTimeout(ctx, limit)
		b, err := g.peers.call(try, to, callPropose, body)
		cancel()
		d := &decoder{b: b}
		switch code := d.byte(); {
		case err != nil || code == answerUnknown:
			state = tryUnknown
		case code == answerDone:
			if res := d.result(); !d.bad {
				return res, "", tryDone
			}
			state = tryUnknown
		case code == answerElse:
			if id := d.id(); id != "" && id != to && id != hint && id != g.o.Self {
				return Result{}, id, state
			}
		}
	}
	return Result{}, "", state
}

// leaders are the nodes that may lead, the likeliest first.
func (g *Group) leaders(hint slotmap.NodeID) []slotmap.NodeID {
	var ids []slotmap.NodeID
	add := func(id slotmap.NodeID) {
		if id != "" && id != g.o.Self && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	if hint != "" {
		return []slotmap.NodeID{hint}
	}
	if m := g.member(); m != nil {
		add(m.leader())
	}
	for _, id := range g.Table().Voters {
		add(id)
	}
	if len(ids) == 0 {
		for _, n := range g.view.Load().Nodes {
			if n.Cluster != "" {
				add(n.ID)
			}
		}
	}
	return ids
}

// askLeader has the leader do something that is no request.
func (g *Group) askLeader(ctx context.Context, k kind, body []byte) error {
	for {
		for _, to := range g.leaders("") {
			try, cancel := context.WithTimeout(ctx, g.o.Election)
			b, err := g.peers.call(try, to, k, body)
			cancel()
			if err == nil && len(b) > 0 && b[0] == answerDone {
				return nil
			}
		}
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			return ctx.Err()
		case <-g.ctx.Done():
			return ErrClosed
		}
	}
}

// commit puts a request into the log of this leader and waits for the decision.
func (g *Group) commit(ctx context.Context, m *member, r *Request, body []byte) (Result, error) {
	if err := g.leaseOut(ctx, m, r); err != nil {
		return Result{}, err
	}
	var f raft.ApplyFuture
	err := m.ask(func(r *raft.Raft) raft.Future {
		f = r.Apply(body, g.o.Election)
		return f
	})
	if err != nil {
		return Result{}, err
	}
	res, ok := f.Response().(Result)
	if !ok {
		return Result{}, ErrUnknown
	}
	return res, nil
}

// leaseOut holds back a grant of slots that were taken from their owner, until the lease in which that one may still serve
// them has ended: from then on it has renewed with a table that says so, or serves nothing.
func (g *Group) leaseOut(ctx context.Context, m *member, r *Request) error {
	if r.Op != OpSlots || r.Shard == "" {
		return nil
	}
	if _, ok := m.leads(); !ok {
		return raft.ErrNotLeader // of what was decided before its term, some may not be in its table yet
	}
	t := m.fsm.table.Load()
	free := slices.ContainsFunc(r.Slots, func(at SlotsAt) bool {
		for s := int(at.First); s <= int(at.Last); s++ {
			if t.slots[s].shard == 0 && t.slots[s].epoch != 0 {
				return true
			}
		}
		return false
	})
	if !free {
		return nil
	}
	wait := g.o.Lease - m.fsm.sinceDisowned()
	if wait <= 0 {
		return nil
	}
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
