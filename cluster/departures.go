package cluster

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairndb/cairn/cluster/epoch"
	"github.com/cairndb/cairn/cluster/slotmap"
)

// departures are the slots that this node has asked the group to take from it. Until it is known what the group has decided, no command for them runs
// here: a key that is written after its slot was found empty would be left behind.
type departures struct {
	any atomic.Int32 // len(all), to look at without the lock
	mu  sync.Mutex
	all []*departure
}

type departure struct {
	slots *slotmap.Set
	// again is closed when it is worth looking again; patient: commands may wait for that.
	again   chan struct{}
	patient bool
	timer   *time.Timer
}

const (
	// departurePatience is for how long a command waits before it is told to try again.
	departurePatience = 5 * time.Second
	// settleTimeout bounds one try to find out what the group has decided, settlePause is the time between two.
	settleTimeout = 5 * time.Second
	settlePause   = 200 * time.Millisecond
)

// begin has commands for the slots wait until end. Those that have begun under their slot's lock go on: whoever counts the keys takes the lock after begin.
func (d *departures) begin(set *slotmap.Set) *departure {
	one := &departure{slots: set, again: make(chan struct{}), patient: true}
	d.mu.Lock()
	defer d.mu.Unlock()
	one.timer = time.AfterFunc(departurePatience, func() { d.letLook(one) })
	d.all = append(d.all, one)
	d.any.Store(int32(len(d.all)))
	return one
}

// end has the commands go on.
func (d *departures) end(one *departure) {
	one.timer.Stop()
	d.mu.Lock()
	d.all = slices.DeleteFunc(d.all, func(other *departure) bool { return other == one })
	d.any.Store(int32(len(d.all)))
	d.mu.Unlock()
	d.letLook(one)
}

// endAll ends those of a node that leaves its cluster.
func (d *departures) endAll() {
	d.mu.Lock()
	all := slices.Clone(d.all)
	d.mu.Unlock()
	for _, one := range all {
		d.end(one)
	}
}

func (d *departures) has(one *departure) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Contains(d.all, one)
}

// letLook has those look again who wait. Who comes later does not wait.
func (d *departures) letLook(one *departure) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if one.patient {
		one.patient = false
		close(one.again)
	}
}

// Departing says whether this node is giving a slot up. wait is closed when it is worth looking again who serves the slot; nil: who comes has to be told to
// try again later.
func (c *Cluster) Departing(slot uint16) (wait <-chan struct{}, departing bool) {
	d := &c.departures
	if d.any.Load() == 0 {
		return nil, false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, one := range d.all {
		switch {
		case !one.slots.Has(slot):
		case one.patient:
			return one.again, true
		default:
			departing = true
		}
	}
	return nil, departing
}

// depart has commands for the slots wait while ask has the group take them from this node, and, if nobody can tell what came of that, until it is known.
// may comes before and says whether to ask.
func (c *Cluster) depart(set *slotmap.Set, may, ask func() error) error {
	one := c.departures.begin(set)
	err := may()
	if err == nil {
		if err = ask(); mayBeGranted(err) {
			c.log.Warn("cluster: the group has not answered whose slots are that this node was giving up; commands for them wait", "slots", set.Ranges(), "err", err)
			c.endWhenKnown(one)
			return err
		}
	}
	c.departures.end(one)
	return err
}

// mayBeGranted says whether a request that ended with err may have been granted, or may be yet.
func mayBeGranted(err error) bool {
	var refused *epoch.Refused
	var refusal Refusal
	switch {
	case err == nil, errors.As(err, &refused), errors.As(err, &refusal), errors.Is(err, epoch.ErrUnreached), errors.Is(err, errStaleView):
		return false
	}
	return true
}

// endWhenKnown ends a departure when it is known for good whose the slots are: the group grants them once more to whom they belong, which makes void
// whatever it was asked for before.
func (c *Cluster) endWhenKnown(one *departure) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spawn(func() {
		for c.departures.has(one) {
			ctx, cancel := context.WithTimeout(c.ctx, settleTimeout)
			mine, err := c.Settle(ctx, one.slots)
			cancel()
			if err == nil {
				c.log.Info("cluster: it is known whose slots are that this node was giving up", "slots", one.slots.Ranges(), "mine", mine.Ranges())
				c.departures.end(one)
				return
			}
			select {
			case <-time.After(settlePause):
			case <-c.ctx.Done():
				return // it serves nothing any more
			}
		}
	})
}

// doubtMigrating does so for the slots that a process before this one has marked MIGRATING: it may have asked the group to take them.
func (c *Cluster) doubtMigrating() {
	c.mu.Lock()
	set := new(slotmap.Set)
	for slot := range c.mu.table.migrating {
		set.Add(slot)
	}
	c.mu.Unlock()
	if set.Len() > 0 && c.fenced.Load() {
		c.endWhenKnown(c.departures.begin(set))
	}
}
