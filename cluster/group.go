package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/cairndb/cairn/cluster/epoch"
	"github.com/cairndb/cairn/cluster/gossip"
	"github.com/cairndb/cairn/cluster/slotmap"
)

// The kinds of the streams that carry the group's traffic, what the nodes of one shard ask of each other, and slots on their way.
const (
	kindGroup = gossip.FirstKind + iota
	kindShard
	kindMove
)

const (
	// formAfter is for how long all slots have to be covered before the group is formed, in milliseconds.
	formAfter = 500
	// foundTimeout bounds one attempt to form the group.
	foundTimeout = 10 * time.Second
	// proposeTimeout bounds a change that a command asks of the group; slots that were taken from their owner a moment ago take a lease more.
	proposeTimeout = 5 * time.Second
	// refreshTimeout bounds asking the leader for what would come by itself.
	refreshTimeout = time.Second
	// offsetPause is how often the end of this node's log goes into its record, in milliseconds.
	offsetPause = 5000
)

func millis(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// groupDialer finds the group's peers by their IDs.
type groupDialer struct{ *Channel }

func (d groupDialer) DialNode(ctx context.Context, id slotmap.NodeID) (net.Conn, error) {
	return d.Dial(ctx, id)
}

// HasGroup says whether a folder is of a node that has belonged to a group: its role is the group's to say.
func HasGroup(dir string) bool {
	all, err := os.ReadDir(dir)
	return err == nil && len(all) > 0
}

// openGroup opens this node's part in the group under its present ID.
func (c *Cluster) openGroup() error {
	if c.o.GroupDir == "" {
		return nil
	}
	v, lost := c.View(), c.Lost()
	if HasGroup(c.o.GroupDir) || lost {
		c.fenced.Store(true) // also before this node has found its group's table
	}
	g, err := epoch.Open(epoch.Options{
		Dir: c.o.GroupDir, Self: v.self.ID, Dialer: groupDialer{c.Channel(kindGroup)}, Lease: c.lease,
		Seen:  func() uint64 { return c.View().currentEpoch },
		Offer: c.offer, Doubt: c.doubted(), Lost: lost, Logger: c.log,
	})
	if err != nil {
		return fmt.Errorf("the group of epochs: %w", err)
	}
	c.group.Store(g)
	c.learn(g.Table()) // what is known is in force before the node serves
	g.OnChange(c.learn)
	c.Channel(kindGroup).Handle(func(_ slotmap.NodeID, conn net.Conn) { g.Serve(conn) })
	return nil
}

func (c *Cluster) closeGroup() error {
	g := c.group.Swap(nil)
	if g == nil {
		return nil
	}
	c.Channel(kindGroup).Handle(nil)
	return g.Close()
}

// resetGroup makes this node forget its group. With a new ID it starts anew.
func (c *Cluster) resetGroup() error {
	if c.o.GroupDir == "" {
		return nil
	}
	if g := c.group.Load(); g != nil {
		ctx, cancel := context.WithTimeout(c.ctx, proposeTimeout)
		defer cancel()
		if err := errors.Join(g.Reset(ctx), c.closeGroup()); err != nil {
			return err
		}
	}
	c.fenced.Store(false)
	c.foundingUntil.Store(0)
	return os.RemoveAll(filepath.Clean(c.o.GroupDir))
}

// learn takes a newer table of the group.
func (c *Cluster) learn(t *epoch.Table) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil || !c.mu.table.isNews(t) {
		return
	}
	if c.mu.table.grants == nil {
		c.foundingUntil.Store(boottime() + int64(foundingGrace))
	}
	c.mu.table.learn(t, now())
	c.endDeciding()
	c.show()
	c.wakeRole()
}

// tend does what the group needs from time to time. The caller holds mu.
func (c *Cluster) tend(at int64) {
	g := c.group.Load()
	if g == nil {
		return
	}
	t := c.mu.table
	g.Reconcile(t.groupView(at))
	switch {
	case c.mu.proposing:
	case t.formed():
		if c.takePlace(t); !c.mu.proposing {
			if a := t.adopt(at); a != nil {
				c.askAdoption(a)
			}
		}
	default:
		c.found(g, at)
	}
}

// found forms the group once all slots have been covered for a moment: the owner of slot 0 does it. A node alone needs none. The
// caller holds mu.
func (c *Cluster) found(g *epoch.Group, at int64) {
	t := c.mu.table
	founders, ok := t.founders()
	if !ok || len(t.peers) < 2 || t.owners.Owner(0) != t.self || !t.up.ok || t.knowsGroup() {
		c.mu.covered = 0
		return
	}
	if c.mu.covered == 0 {
		c.mu.covered = at
	}
	if at-c.mu.covered < formAfter {
		return
	}
	c.inBackground(func() error {
		ctx, cancel := context.WithTimeout(c.ctx, foundTimeout)
		defer cancel()
		return g.Bootstrap(ctx, founders)
	})
}

// knowsGroup says whether another node has a group: then this one will follow that.
func (t *table) knowsGroup() bool {
	for _, p := range t.peers {
		if p.Group != "" && p.ID != t.self {
			return true
		}
	}
	return false
}

// inBackground runs one of this node's own requests at a time. The caller holds mu.
func (c *Cluster) inBackground(fn func() error) {
	c.mu.proposing = true
	c.spawn(func() {
		if err := fn(); err != nil && c.ctx.Err() == nil {
			c.log.Warn("cluster: the group of epochs", "err", err)
		}
		c.mu.Lock()
		c.mu.proposing = false
		c.mu.Unlock()
	})
}

// takePlace asks the group for the place that this node should have: its own shard if it is new, or, when it was told so before
// there was a group, that of the primary that it replicates. One that was forgotten waits to be told. The caller holds mu.
func (c *Cluster) takePlace(t *table) {
	s, to := t.grants.ShardOf(t.self), t.grants.ShardOf(t.wish)
	switch {
	case to != nil && to == s:
		t.wish = ""
	case to != nil:
		c.askPlace(to.ID)
	case s == nil && !t.dropped && t.wish == "":
		id := t.me().Shard
		if t.grants.Shard(id) != nil {
			id = slotmap.NewNodeID()
		}
		c.askPlace(id)
	}
}

func (c *Cluster) askPlace(shard epoch.ShardID) {
	self := c.mu.table.self
	c.inBackground(func() error {
		ctx, cancel := context.WithTimeout(c.ctx, proposeTimeout)
		defer cancel()
		_, err := c.propose(ctx, epoch.Request{Op: epoch.OpMember, Shard: shard, Node: self})
		return err
	})
}

// noteOffset puts the end of this node's log into its record now and then. The caller does not hold mu: whoever uses the store may wait for it.
func (c *Cluster) noteOffset(at int64) {
	r := c.replicator()
	if r == nil || c.group.Load() == nil || at-c.offsetAt < offsetPause {
		return
	}
	c.offsetAt = at
	end := r.End()
	c.mu.Lock()
	defer c.mu.Unlock()
	if me := c.mu.table.me(); end != me.Offset {
		me.Offset = end
		c.mu.table.touch()
	}
}

// propose asks the group for a change, and returns when this node's view has it.
func (c *Cluster) propose(ctx context.Context, r epoch.Request) (epoch.Result, error) {
	g := c.group.Load()
	if g == nil {
		return epoch.Result{}, epoch.ErrClosed
	}
	res, err := g.Propose(ctx, r)
	if err != nil {
		return res, err
	}
	t, err := g.Await(ctx, res.Version)
	if err == nil {
		c.learn(t)
	}
	return res, err
}

// grants is the group's table, nil while there is none that decides.
func (c *Cluster) grants() *epoch.Table {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.mu.table.formed() {
		return nil
	}
	return c.mu.table.grants
}

func (c *Cluster) proposing() (context.Context, context.CancelFunc) {
	return context.WithTimeout(c.patient, proposeTimeout+2*c.lease)
}

// grantSlots has the group grant slots to the shard of a node, or to nobody. Released: their owner serves them no more, as SETSLOT's protocol has
// it, or the operator says so.
func (c *Cluster) grantSlots(set *slotmap.Set, to slotmap.NodeID, released bool) error {
	ctx, cancel := c.proposing()
	defer cancel()
	for {
		t := c.grants()
		if t == nil {
			return errStaleView
		}
		r := epoch.Request{Op: epoch.OpSlots, Slots: t.Expect(set), Released: released}
		if to != "" {
			s := t.ShardOf(to)
			if s == nil {
				return refuse("Node %s has no place in the cluster yet", to)
			}
			r.Shard, r.Expect = s.ID, s.Epoch
		}
		_, err := c.propose(ctx, r)
		if stale(err) && ctx.Err() == nil {
			if err := c.catchUp(ctx, t); err != nil {
				return err
			}
			if now := c.grants(); to != "" && now != nil && now.Owns(to, set) {
				return nil // another node has asked for the same
			}
			continue
		}
		return err
	}
}

var errStaleView = errors.New("the cluster has changed meanwhile")

// catchUp waits for a table that is newer than t.
func (c *Cluster) catchUp(ctx context.Context, t *epoch.Table) error {
	g := c.group.Load()
	if g == nil {
		return epoch.ErrClosed
	}
	next, err := g.Await(ctx, t.Version+1)
	if err == nil {
		c.learn(next)
	}
	return err
}

// refresh asks the leader for what the group has decided by now.
func (c *Cluster) refresh() {
	if g := c.group.Load(); g != nil {
		ctx, cancel := context.WithTimeout(c.patient, refreshTimeout)
		defer cancel()
		c.learn(g.Refresh(ctx))
	}
}

// Formed says whether there is a group that decides about slots and roles.
func (c *Cluster) Formed() bool {
	return c.grants() != nil
}

// GroupStatus is the group as this node sees it; ok is false when the node has no part in one.
func (c *Cluster) GroupStatus() (s epoch.Status, lease time.Duration, ok bool) {
	g := c.group.Load()
	if g == nil {
		return s, 0, false
	}
	return g.Status(), g.LeaseLeft(), true
}
