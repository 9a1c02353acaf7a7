package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cairndb/cairn/cluster/epoch"
	"github.com/cairndb/cairn/cluster/slotmap"
)

// The methods below are what CLUSTER's subcommands do. Their errors' texts are
// Redis's, without "ERR ". They return when nodes.conf is on disk.

// change applies one change to the table.
func (c *Cluster) change(fn func(t *table, now int64) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.apply(fn); err != nil {
		return err
	}
	if err := c.publish(); err != nil {
		return fmt.Errorf("error saving the cluster node config: %w", err)
	}
	return nil
}

// apply changes the table and draws the conclusions. The caller holds mu.
func (c *Cluster) apply(fn func(t *table, now int64) error) error {
	at := now()
	if err := fn(c.mu.table, at); err != nil {
		return err
	}
	c.mu.table.settle(at)
	c.mu.table.judge(at)
	return nil
}

// alone makes a change of claims that nobody else decides about.
func (c *Cluster) alone(fn func(t *table, now int64) error) func() error {
	return func() error { return c.change(unpledged(fn)) }
}

// AddSlots claims slots that nobody owns.
func (c *Cluster) AddSlots(set *slotmap.Set) error {
	return c.decide(
		c.alone(func(t *table, _ int64) error { return t.addSlots(set) }),
		func() error {
			view := c.View()
			if view.self.Primary != "" {
				return refuse("Slots can only be assigned to masters")
			}
			return c.grantSlots(set, view.self.ID, false)
		})
}

// DelSlots gives up claims; those of other nodes are disregarded here until heard again. In a group that is at once, unless the other node has failed,
// or this one is taking its slots: redis-cli --cluster fix adds them in the same transaction.
func (c *Cluster) DelSlots(set *slotmap.Set, taking bool) error {
	return c.decide(
		c.alone(func(t *table, now int64) error { return t.delSlots(set, now) }),
		func() error {
			if !taking {
				set = c.claimable(set)
			}
			if set.Len() == 0 {
				return nil
			}
			return c.depart(set, func() error { return nil }, func() error { return c.grantSlots(set, "", true) })
		})
}

// claimable are those of the slots that no other live node has.
func (c *Cluster) claimable(set *slotmap.Set) *slotmap.Set {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, left := c.mu.table, *set
	for _, r := range set.Ranges() {
		for s := int(r.First); s <= int(r.Last); s++ {
			if p := t.peers[t.owners.Owner(uint16(s))]; p != nil && p.ID != t.self && !p.failed {
				left.Del(uint16(s))
			}
		}
	}
	return &left
}

// FlushSlots gives up all claims of this node, which must have no keys: see Assign for holding.
func (c *Cluster) FlushSlots(holding func(func(keys int64) error) error) error {
	empty := func(then func() error) func() error {
		return func() error {
			return holding(func(keys int64) error {
				if keys > 0 {
					return refuse("DB must be empty to perform CLUSTER FLUSHSLOTS.")
				}
				return then()
			})
		}
	}
	return c.decide(
		empty(c.alone(func(t *table, _ int64) error { t.flushSlots(); return nil })),
		func() error {
			set := slotmap.SetOf(c.View().self.Slots)
			return c.depart(set, empty(func() error { return nil }), func() error {
				if set.Len() == 0 {
					return nil
				}
				return c.grantSlots(set, "", true)
			})
		})
}

// Migrate marks a slot as MIGRATING to a node.
func (c *Cluster) Migrate(slot uint16, to string) error {
	id := slotmap.NodeID(to)
	return c.mark(noteMigrating(slot, id), func(t *table) error { return t.migrate(slot, id) })
}

// Import marks a slot as IMPORTING from a node.
func (c *Cluster) Import(slot uint16, from string) error {
	id := slotmap.NodeID(from)
	return c.mark(noteImporting(slot, id), func(t *table) error { return t.imports(slot, id) })
}

// Stable clears both marks of a slot.
func (c *Cluster) Stable(slot uint16) error {
	return c.mark(noteStable(slot), func(t *table) error { t.stable(slot); return nil })
}

// Assign gives a slot to a node (SETSLOT NODE). holding runs what it is given while no command touches the slot, with the number of keys that this
// node has in it. A grant is waited for without that: while this node gives the slot up, no further key can come into it here.
func (c *Cluster) Assign(slot uint16, to string, holding func(func(keys int64) error) error) error {
	id := slotmap.NodeID(to)
	return c.decide(
		func() error {
			return holding(func(keys int64) error { return c.assignAlone(slot, id, keys) })
		},
		func() error {
			var left int64
			count := func() error { return holding(func(keys int64) error { left = keys; return nil }) }
			ask := func() error { return c.assign(slot, id, left) }
			if id != c.View().self.ID {
				return c.depart(slotmap.SetOf([]slotmap.Range{{First: slot, Last: slot}}), count, ask)
			}
			if c.AwaitDropped(slot); c.View().Left(slot) {
				return errLeft
			}
			if err := count(); err != nil {
				return err
			}
			return ask()
		})
}

// assignAlone gives a slot to a node as long as that is for this node to say. That another node has it may be on disk a little
// later: a node that starts hears of the newer claim before it serves.
func (c *Cluster) assignAlone(slot uint16, to slotmap.NodeID, keys int64) error {
	assign := unpledged(func(t *table, now int64) error { return t.assign(slot, to, keys, now) })
	if to == c.View().self.ID {
		return c.change(assign)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.apply(assign); err != nil {
		return err
	}
	c.show()
	return nil
}

// assign gives a slot to a node by a grant of the group. That another node, its owner, has no more keys of it, and sends away who asks for
// new ones, is for SETSLOT's protocol to ensure. A node that has nothing to do with the slot only looks: after the reply its clients see
// the new owner too, if there is one.
func (c *Cluster) assign(slot uint16, to slotmap.NodeID, keys int64) error {
	v := c.View()
	self := v.self.ID
	if o := v.Owner(slot); to != self && (o == nil || o.ID != to) { // redis-cli has told the target first: mostly it has been granted by now
		c.refresh()
	}
	ask, err := c.mayGrant(slot, to, keys)
	if err != nil {
		return err
	}
	if ask {
		if to == self {
			defer c.arrivals.expect(slot)()
		}
		if err := c.grantSlots(slotmap.SetOf([]slotmap.Range{{First: slot, Last: slot}}), to, true); err != nil {
			return err
		}
	}
	if keys != 0 && to != self {
		return nil
	}
	return c.Stable(slot) // the grant is on the voters' disks
}

func (c *Cluster) mayGrant(slot uint16, to slotmap.NodeID, keys int64) (ask bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.table.mayGrant(slot, to, keys)
}

// Replicate makes this node a replica of another one (CLUSTER REPLICATE).
func (c *Cluster) Replicate(node string) error {
	id := slotmap.NodeID(node)
	c.mu.Lock()
	err := c.mu.table.mayReplicate(id)
	s, self := c.mu.table.shardOf(id), c.mu.table.self
	c.mu.Unlock()
	switch {
	case err != nil:
		return err
	case s == nil:
		return c.change(func(t *table, _ int64) error {
			t.wish = id
			return t.replicate(id)
		})
	}
	ctx, cancel := c.proposing()
	defer cancel()
	if _, err := c.propose(ctx, epoch.Request{Op: epoch.OpMember, Shard: s.ID, Node: self}); err != nil {
		return err
	}
	c.mu.Lock()
	c.mu.table.wish = ""
	c.mu.Unlock()
	c.wakeRole()
	return nil
}

// Bump gives this node the greatest config epoch; changed is false if it has it.
func (c *Cluster) Bump() (epoch uint64, changed bool, err error) {
	if c.grants() != nil { // epochs come from the group only
		return c.View().self.Epoch, false, nil
	}
	err = c.change(func(t *table, _ int64) error {
		changed = t.bump()
		epoch = t.me().Epoch
		return nil
	})
	return epoch, changed, err
}

// SetEpoch sets a new node's config epoch.
func (c *Cluster) SetEpoch(epoch uint64) error {
	return c.change(func(t *table, _ int64) error { return t.setEpoch(epoch) })
}

// Forget removes a node and keeps gossip from bringing it back for a minute.
func (c *Cluster) Forget(node string) error {
	id := slotmap.NodeID(node)
	if err := c.forgetGrants(id); err != nil {
		return err
	}
	return c.change(func(t *table, now int64) error {
		switch {
		case id == t.self:
			return refuse("I tried hard but I can't forget myself...")
		case t.peers[id] == nil && t.bans[id] > now:
			return nil
		case t.peers[id] == nil:
			return refuse("Unknown node %s", node)
		case t.primaryOf(t.self) == id:
			return refuse("Can't forget my master!")
		}
		t.forget(id, now)
		return nil
	})
}

// forgetGrants has the group take a node out of its shard. A primary that has slots or replicas keeps its place.
func (c *Cluster) forgetGrants(id slotmap.NodeID) error {
	t := c.grants()
	v := c.View()
	if t == nil || t.ShardOf(id) == nil || id == v.self.ID || v.Node(id) == nil || v.self.Primary == id {
		return nil
	}
	ctx, cancel := c.proposing()
	defer cancel()
	_, err := c.propose(ctx, epoch.Request{Op: epoch.OpForget, Node: id})
	if refused := (*epoch.Refused)(nil); errors.As(err, &refused) {
		return nil
	}
	return err
}

// leaveShard has the group take this node, which is about to forget it, out of its shard, if it can.
func (c *Cluster) leaveShard() {
	if t := c.grants(); t == nil || t.ShardOf(c.View().self.ID) == nil {
		return
	}
	ctx, cancel := context.WithTimeout(c.ctx, leaveTimeout)
	defer cancel()
	if _, err := c.propose(ctx, epoch.Request{Op: epoch.OpForget, Node: c.View().self.ID}); err != nil {
		c.log.Warn("cluster: reset: the group was not told", "err", err)
	}
}

const leaveTimeout = 2 * time.Second

// Reset leaves the cluster; hard also takes a new ID and epoch 0.
func (c *Cluster) Reset(hard bool) error {
	c.leaveShard()
	c.stopGossip()
	if err := c.resetGroup(); err != nil {
		return errors.Join(err, c.openGroup(), c.startGossip())
	}
	err := c.change(func(t *table, now int64) error {
		t.reset(hard, now)
		c.departures.endAll()
		c.withdrawn.Store(t.twins.lost)
		clear(c.mu.contacts)
		return nil
	})
	c.wakeRole()
	return errors.Join(err, c.openGroup(), c.startGossip())
}

// Save writes nodes.conf.
func (c *Cluster) Save() error {
	return c.change(func(*table, int64) error { c.store.forget(); return nil })
}

// FailureReports is how many other nodes say that they do not reach a node; ok is false for an unknown one.
func (c *Cluster) FailureReports(node string) (n int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.mu.table.peers[slotmap.NodeID(node)]
	if p == nil {
		return 0, false
	}
	return len(p.reports), true
}

// Nodes are all known nodes with what is known of them now, ascending by ID.
func (c *Cluster) Nodes() []*Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.table.nodes()
}

// Marks are this node's MIGRATING and IMPORTING slots, as CLUSTER NODES prints them.
func (c *Cluster) Marks() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.table.marks()
}

// Traffic counts what went over the bus.
func (c *Cluster) Traffic() (sent, received uint64) { return c.bus.Traffic() }
