package cluster

import (
	"errors"
	"fmt"

	"github.com/cairndb/cairn/cluster/slotmap"
)

// The methods below are what CLUSTER's subcommands do. Their errors' texts are
// Redis's, without "ERR ". They return when nodes.conf is on disk.

// change applies one change to the table.
func (c *Cluster) change(fn func(t *table, now int64) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := now()
	if err := fn(c.mu.table, at); err != nil {
		return err
	}
	c.mu.table.settle(at)
	c.mu.table.judge(at)
	if err := c.publish(); err != nil {
		return fmt.Errorf("error saving the cluster node config: %w", err)
	}
	return nil
}

// AddSlots claims slots that nobody owns.
func (c *Cluster) AddSlots(set *slotmap.Set) error {
	return c.change(func(t *table, _ int64) error { return t.addSlots(set) })
}

// DelSlots gives up claims; those of other nodes are disregarded here until heard again.
func (c *Cluster) DelSlots(set *slotmap.Set) error {
	return c.change(func(t *table, now int64) error { return t.delSlots(set, now) })
}

// FlushSlots gives up all claims of this node.
func (c *Cluster) FlushSlots() error {
	return c.change(func(t *table, _ int64) error { t.flushSlots(); return nil })
}

// Migrate marks a slot as MIGRATING to a node.
func (c *Cluster) Migrate(slot uint16, to string) error {
	return c.change(func(t *table, _ int64) error { return t.migrate(slot, slotmap.NodeID(to)) })
}

// Import marks a slot as IMPORTING from a node.
func (c *Cluster) Import(slot uint16, from string) error {
	return c.change(func(t *table, _ int64) error { return t.imports(slot, slotmap.NodeID(from)) })
}

// Stable clears both marks of a slot.
func (c *Cluster) Stable(slot uint16) error {
	return c.change(func(t *table, _ int64) error { t.stable(slot); return nil })
}

// Assign gives a slot to a node (SETSLOT NODE); keys is how many this node holds in it.
func (c *Cluster) Assign(slot uint16, to string, keys int64) error {
	return c.change(func(t *table, now int64) error { return t.assign(slot, slotmap.NodeID(to), keys, now) })
}

// Bump gives this node the greatest config epoch; changed is false if it has it.
func (c *Cluster) Bump() (epoch uint64, changed bool, err error) {
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
	return c.change(func(t *table, now int64) error {
		id := slotmap.NodeID(node)
		switch {
		case id == t.self:
			return refuse("I tried hard but I can't forget myself...")
		case t.peers[id] == nil && t.bans[id] > now:
			return nil
		case t.peers[id] == nil:
			return refuse("Unknown node %s", node)
		}
		t.forget(id, now)
		return nil
	})
}

// Reset leaves the cluster; hard also takes a new ID and epoch 0.
func (c *Cluster) Reset(hard bool) error {
	c.stopGossip()
	err := c.change(func(t *table, now int64) error {
		t.reset(hard, now)
		c.withdrawn.Store(t.twins.lost)
		clear(c.mu.contacts)
		return nil
	})
	return errors.Join(err, c.startGossip())
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
