package epoch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/cairndb/cairn/cluster/slotmap"
	"github.com/hashicorp/raft"
)

// Bootstrap forms the group, which adopts all claims. The owner of slot 0 calls it once all slots are covered; it may be
// called again until it succeeds or the table is formed by somebody else.
func (g *Group) Bootstrap(ctx context.Context, founders []Founder) error {
	m, err := g.found(ctx)
	if err != nil {
		return err
	}
	t, err := Form(m.id.cluster, founders)
	if err != nil {
		return err
	}
	return g.adopt(ctx, m, t)
}

// adopt makes t the first table of the group that this node has founded. Another of its voters may lead by now.
func (g *Group) adopt(ctx context.Context, m *member, t *Table) error {
	r := &Request{ID: NewRequestID(), Op: OpAdopt, Table: t, Seen: g.o.Seen()}
	body := appendRequest(nil, r)
	for {
		if lead := m.leader(); lead != "" {
			if res, _, state := g.tryPropose(ctx, r, body, lead); state == tryDone {
				return res.Err()
			}
		}
		if now := m.fsm.table.Load(); now.Formed() {
			return nil
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

// found makes this node the founder of a group without a table.
func (g *Group) found(ctx context.Context) (*member, error) {
	if g.Table().Formed() {
		return nil, refusal(AlreadyFormed)
	}
	m, id, err := g.empty()
	if err != nil {
		return nil, err
	}
	if m == nil {
		if m = g.member(); m == nil {
			return nil, ErrClosed
		}
		return m, nil
	}
	return m, m.bootstrap(g.gather(ctx, id))
}

// empty makes this node a member of a new group without voters; nil if it is the member of a group that is being founded, and may yet be.
func (g *Group) empty() (*member, identity, error) {
	g.life.Lock()
	defer g.life.Unlock()
	if m := g.member(); m != nil {
		servers, err := m.servers()
		switch {
		case err != nil || len(servers) > 0 && !g.forsaken(servers):
			return nil, m.id, err
		case m.leader() != "":
			return nil, m.id, refusal(AlreadyFormed)
		}
	}
	id := identity{cluster: slotmap.NewNodeID(), incarnation: rand.Uint64()}
	if err := g.enter(id); err != nil {
		return nil, id, err
	}
	return g.member(), id, nil
}

// forsaken says whether most of a group's voters were forgotten: it will never have a leader, and so adopt nothing. What it may have decided without this node's
// hearing of it, nobody knows who is left: else this one would follow him.
func (g *Group) forsaken(servers []raft.Server) bool {
	v, known := g.view.Load(), 0
	for _, s := range servers {
		if v.node(slotmap.NodeID(s.ID)) != nil {
			known++
		}
	}
	return v.node(g.o.Self) != nil && known < majority(len(servers))
}

const (
	// fewest is with how many voters a group begins, if there are so many nodes: one that grew from a single one would be lost with either of two
	// on its way. gatherPatience is for how long nodes are asked that don't answer.
	fewest         = 3
	gatherPatience = 5 * time.Second
)

// gather invites the first voters, again and again while there are too few; those that don't answer may be added later.
func (g *Group) gather(ctx context.Context, id identity) map[slotmap.NodeID]uint64 {
	ctx, cancel := context.WithTimeout(ctx, gatherPatience)
	defer cancel()
	var alive []Node
	for _, n := range g.view.Load().Nodes {
		if n.Alive && n.Cluster == "" {
			alive = append(alive, n)
		}
	}
	wanted := chooseVoters(alive, []slotmap.NodeID{g.o.Self})
	voters := map[slotmap.NodeID]uint64{g.o.Self: id.incarnation}
	for {
		g.inviteAll(wanted, id, voters)
		if len(voters) >= min(fewest, len(wanted)) {
			break
		}
		select {
		case <-time.After(retryPause):
			continue
		case <-ctx.Done():
		case <-g.ctx.Done():
		}
		break
	}
	accepted := slices.Sorted(maps.Keys(voters))
	accepted = slices.DeleteFunc(accepted, func(n slotmap.NodeID) bool { return n == g.o.Self })
	for len(voters) > MaxVoters || len(voters)%2 == 0 {
		delete(voters, accepted[len(accepted)-1])
		accepted = accepted[:len(accepted)-1]
	}
	return voters
}

// inviteAll invites those of wanted that are not among the voters yet, and adds who accepts.
func (g *Group) inviteAll(wanted []slotmap.NodeID, id identity, voters map[slotmap.NodeID]uint64) {
	var (
		mu sync.Mutex
		wg sync.WaitGroup
	)
	asked := slices.DeleteFunc(slices.Clone(wanted), func(n slotmap.NodeID) bool {
		_, ok := voters[n]
		return ok
	})
	for _, node := range asked {
		wg.Go(func() {
			if inc, err := g.invite(node, id); err == nil {
				mu.Lock()
				voters[node] = inc
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// recoverMargin is added to the epochs of a recovered group: what the lost voters granted last may be unknown.
const recoverMargin = 1000

// Recover forces a new group upon what this node knows, with this node as its only voter, when a majority of voters is lost for good:
// others join it again by themselves. What only the lost voters knew is lost, and they must not come back as
// they were: until they hear of the new generation they could grant against it.
func (g *Group) Recover(ctx context.Context) error {
	g.life.Lock()
	defer g.life.Unlock()
	t := g.Table()
	if m := g.member(); m != nil {
		if m.leader() != "" {
			return errors.New("epoch: the group has a leader: there is nothing to recover")
		}
		id := m.id
		if err := g.leaveMember(); err != nil {
			return err
		}
		folded, err := foldLog(&g.o, id)
		if err != nil {
			return err
		}
		if folded.Formed() && folded.Newer(t) {
			t = folded
		}
	}
	if !t.Formed() {
		return refusal(NotFormed)
	}
	seed := *t
	seed.Generation++
	seed.Granted = true
	seed.Epoch = max(seed.Epoch, g.o.Seen()) + recoverMargin
	id := identity{cluster: seed.Cluster, generation: seed.Generation, incarnation: rand.Uint64()}
	if err := g.enter(id); err != nil {
		return err
	}
	m := g.member()
	if err := m.bootstrap(map[slotmap.NodeID]uint64{g.o.Self: id.incarnation}); err != nil {
		return err
	}
	return g.adopt(ctx, m, &seed)
}

// foldLog reads everything that a member's log holds, also what it does not know to be decided. It changes nothing.
func foldLog(o *Options, id identity) (_ *Table, err error) {
	m, err := openMember(o, memberDir(o.Dir, id), id, func(*Table) {})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	at, err := m.restore()
	if err != nil {
		return nil, err
	}
	last, err := m.log.LastIndex()
	if err != nil {
		return nil, err
	}
	for at++; at <= last; at++ {
		var l raft.Log
		if err := m.log.GetLog(at, &l); err != nil {
			return nil, fmt.Errorf("epoch: read entry %d: %w", at, err)
		}
		if l.Type == raft.LogCommand {
			m.fsm.Apply(&l)
		}
	}
	return m.fsm.table.Load(), nil
}

// restore takes the newest snapshot and returns its index, 0 if there is none.
func (m *member) restore() (uint64, error) {
	all, err := m.snaps.List()
	if err != nil || len(all) == 0 {
		return 0, err
	}
	meta, rc, err := m.snaps.Open(all[0].ID)
	if err != nil {
		return 0, err
	}
	return meta.Index, m.fsm.Restore(rc)
}
