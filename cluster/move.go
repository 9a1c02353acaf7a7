package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/cairndb/cairn/cluster/epoch"
	"github.com/cairndb/cairn/cluster/migrate"
	"github.com/cairndb/cairn/cluster/slotmap"
)

// The methods below are what cluster/migrate needs (migrate.Cluster).

var _ migrate.Cluster = (*Cluster)(nil)

// DialMove opens a stream on which slots move.
func (c *Cluster) DialMove(ctx context.Context, to slotmap.NodeID) (net.Conn, error) {
	return c.Channel(kindMove).Dial(ctx, to)
}

// HandleMoves serves such streams.
func (c *Cluster) HandleMoves(fn func(from slotmap.NodeID, conn net.Conn)) {
	c.Channel(kindMove).Handle(fn)
}

// AwaitGroup waits until there is a group that decides about slots, as long as one is about to be formed.
func (c *Cluster) AwaitGroup() error {
	for ch := c.Undecided(); ch != nil; ch = c.Undecided() {
		select {
		case <-ch:
		case <-c.patient.Done():
			return c.patient.Err()
		}
	}
	if !c.Formed() {
		return errDeciding
	}
	return nil
}

// MoveTarget says whether this node may move slots to the shard of another one, and who is primary there.
func (c *Cluster) MoveTarget(set *slotmap.Set, to slotmap.NodeID) (slotmap.NodeID, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.mu.table
	if !t.formed() {
		return "", refuse("The cluster has not formed its group yet")
	}
	mine, other := t.grants.ShardOf(t.self), t.grants.ShardOf(to)
	switch {
	case mine == nil || mine.Primary != t.self:
		return "", refuse("Slot migration can only be used on primary nodes.")
	case t.peers[to] == nil:
		return "", refuse("Unknown node name: %s", to)
	case other == nil:
		return "", refuse("Node %s has no place in the cluster yet", to)
	case other.ID == mine.ID:
		return "", refuse("The target node belongs to this node's shard")
	case !t.grants.Owns(t.self, set):
		return "", refuse("Slots are not served by this node.")
	}
	if p := t.peers[other.Primary]; p == nil || p.failed || p.refuses {
		return "", fmt.Errorf("%w: the primary of the target's shard is not reached", migrate.ErrNotNow)
	}
	return other.Primary, nil
}

// MayImport says why this node can't take slots from another one, nil if it can. The two may have heard different news.
func (c *Cluster) MayImport(set *slotmap.Set, from slotmap.NodeID) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.mu.table
	if !t.formed() {
		return fmt.Errorf("%w: the cluster has not formed its group yet", migrate.ErrNotNow)
	}
	switch mine := t.grants.ShardOf(t.self); {
	case mine == nil || mine.Primary != t.self || !c.Serving():
		return fmt.Errorf("%w: this node is no primary", migrate.ErrNotNow)
	case !t.grants.Owns(from, set):
		return fmt.Errorf("%w: target node does not agree about current slot ownership", migrate.ErrNotNow)
	case mine.Remains != nil && common(mine.Remains, set).Len() > 0:
		return fmt.Errorf("%w: this node has yet to drop what it had of the slots", migrate.ErrNotNow)
	}
	for slot := range t.importing {
		if set.Has(slot) {
			return fmt.Errorf("%w: slots are being manually imported", migrate.ErrNotNow)
		}
	}
	return nil
}

// NoteLeaving puts on disk which slots this node may give away.
func (c *Cluster) NoteLeaving(set *slotmap.Set) error {
	return c.change(func(t *table, _ int64) error {
		t.leaving = *set
		return nil
	})
}

// Leaving is what has been noted.
func (c *Cluster) Leaving() *slotmap.Set {
	c.mu.Lock()
	defer c.mu.Unlock()
	set := c.mu.table.leaving
	return &set
}

// PlanMove prepares the grant of slots of this node to another one's shard.
func (c *Cluster) PlanMove(set *slotmap.Set, to slotmap.NodeID) (migrate.Plan, error) {
	t := c.grants()
	if t == nil {
		return nil, errStaleView
	}
	self := c.View().self.ID
	from, dest := t.ShardOf(self), t.ShardOf(to)
	if from == nil || dest == nil || from.Primary != self || dest.Primary != to || !t.Owns(self, set) {
		return nil, errStaleView
	}
	r := epoch.Request{
		ID: epoch.NewRequestID(), Op: epoch.OpSlots, Slots: t.Expect(set), Released: true,
		Shard: dest.ID, Expect: dest.Epoch, Node: self, Revision: from.Epoch,
	}
	return func(ctx context.Context) (uint64, error) {
		res, err := c.propose(ctx, r)
		var refused *epoch.Refused
		switch {
		case errors.As(err, &refused):
			return c.deniedMove(ctx, res.Version, set, to, err)
		case err != nil:
			return 0, err
		}
		return res.Version, nil
	}, nil
}

// deniedMove tells a refusal from a grant whose answer the group has forgotten since.
func (c *Cluster) deniedMove(ctx context.Context, at uint64, set *slotmap.Set, to slotmap.NodeID, refused error) (uint64, error) {
	if err := c.AwaitVersion(ctx, at); err != nil {
		return 0, err
	}
	if t := c.grants(); t != nil && t.Owns(to, set) {
		return t.Version, nil
	}
	return 0, fmt.Errorf("%w: %w", migrate.ErrDenied, refused)
}

// Settle grants slots once more to the shards that own them, so that no earlier request about them can be granted, and returns which are this node's.
func (c *Cluster) Settle(ctx context.Context, set *slotmap.Set) (*slotmap.Set, error) {
	for {
		t := c.grants()
		if t == nil {
			return nil, errStaleView
		}
		again, err := c.confirm(ctx, t, set)
		if err != nil {
			return nil, err
		}
		if !again {
			return c.Mine(set), nil
		}
		if err := c.catchUp(ctx, t); err != nil {
			return nil, err
		}
	}
}

// confirm does it by one table; again says that it was too old.
func (c *Cluster) confirm(ctx context.Context, t *epoch.Table, set *slotmap.Set) (again bool, err error) {
	for _, s := range t.Shards {
		part := common(t.SlotsOf(s.ID), set)
		if part.Len() == 0 {
			continue
		}
		_, err := c.propose(ctx, epoch.Request{Op: epoch.OpSlots, Slots: t.Expect(part), Shard: s.ID, Expect: s.Epoch})
		switch {
		case stale(err):
			return true, nil
		case err != nil:
			return false, err
		}
	}
	return false, nil
}

// AwaitVersion returns when this node routes by a table that is at least that new.
func (c *Cluster) AwaitVersion(ctx context.Context, version uint64) error {
	g := c.group.Load()
	if g == nil {
		return epoch.ErrClosed
	}
	t, err := g.Await(ctx, version)
	if err == nil {
		c.learn(t)
	}
	return err
}

// Mine are those of the slots that belong to this node's shard.
func (c *Cluster) Mine(set *slotmap.Set) *slotmap.Set {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.mu.table
	if s := t.shardOf(t.self); s != nil {
		return common(t.grants.SlotsOf(s.ID), set)
	}
	return new(slotmap.Set)
}

// Remains are the slots that this node's shard has handed over to another one, and whose data it has yet to drop: none for a replica.
func (c *Cluster) Remains() *slotmap.Set {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.mu.table
	if s := t.shardOf(t.self); s != nil && s.Primary == t.self {
		return t.remains()
	}
	return new(slotmap.Set)
}

// remains are those of this node's shard. What SETSLOT has marked here is none, though nothing should be both.
func (t *table) remains() *slotmap.Set {
	left := new(slotmap.Set)
	if s := t.shardOf(t.self); s != nil && s.Remains != nil {
		*left = *s.Remains
		for slot := range t.importing {
			left.Del(slot)
		}
	}
	return left
}

// Dropped tells the group that this node has dropped what it had of slots.
func (c *Cluster) Dropped(ctx context.Context, set *slotmap.Set) error {
	for {
		t, self := c.grants(), c.View().self.ID
		if t == nil {
			return errStaleView
		}
		s := t.ShardOf(self)
		if s == nil || s.Primary != self || s.Remains == nil {
			return nil
		}
		part := common(s.Remains, set)
		if part.Len() == 0 {
			return nil
		}
		_, err := c.propose(ctx, epoch.Request{Op: epoch.OpDropped, Slots: t.Expect(part), Shard: s.ID, Expect: s.Epoch, Node: self})
		if !stale(err) {
			return err
		}
		if err := c.catchUp(ctx, t); err != nil {
			return err
		}
	}
}

// LeftAnywhere says whether some shard has yet to drop what it has of a slot that it handed over. A change of the slot's owner by SETSLOT would end
// these remains (see epoch's remains.go): the data would stay there for good, and would be found again when the slot comes back.
func (c *Cluster) LeftAnywhere(slot uint16) bool {
	t := c.grants()
	return t != nil && slices.ContainsFunc(t.Shards, func(s *epoch.Shard) bool { return s.HasRemains(slot) })
}

// AwaitDropped waits, for as long as that should take, until nothing is left of a slot that was handed over.
func (c *Cluster) AwaitDropped(slot uint16) {
	late := time.After(droppedPatience)
	for c.LeftAnywhere(slot) {
		select {
		case <-time.After(droppedPace):
		case <-late:
			return
		case <-c.patient.Done():
			return
		}
	}
}

const (
	droppedPatience = 5 * time.Second
	droppedPace     = 20 * time.Millisecond
)

// stale says whether the group has refused a request since it was made by too old a table.
func stale(err error) bool {
	var refused *epoch.Refused
	return errors.As(err, &refused) && refused.Outcome == epoch.Stale
}

// common are the slots that are in both sets.
func common(a, b *slotmap.Set) *slotmap.Set {
	both := *a
	for i := range both {
		both[i] &= b[i]
	}
	return &both
}
