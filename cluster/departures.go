package cluster

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cairndb/cairn/cluster/slotmap"
)

// departures are the slots that this node has asked the group to take from it. Until the group has decided, no command for them runs here: a key that is
// written after its slot was found empty would be left behind.
type departures struct {
	any atomic.Int32 // len(all), to look at without the lock
	mu  sync.Mutex
	all []*departure
}

type departure struct {
	slots *slotmap.Set
	ended chan struct{}
}

// begin has commands for the slots wait until the function that it returns is called. Those that have begun under their slot's lock go on: whoever
// counts the keys takes the lock after begin.
func (d *departures) begin(set *slotmap.Set) (end func()) {
	one := &departure{set, make(chan struct{})}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = append(d.all, one)
	d.any.Store(int32(len(d.all)))
	return func() {
		d.mu.Lock()
		d.all = slices.DeleteFunc(d.all, func(other *departure) bool { return other == one })
		d.any.Store(int32(len(d.all)))
		d.mu.Unlock()
		close(one.ended)
	}
}

// Departing returns a channel that is closed when it is worth looking again who serves a slot that this node is giving up; nil if it is not.
func (c *Cluster) Departing(slot uint16) <-chan struct{} {
	d := &c.departures
	if d.any.Load() == 0 {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, one := range d.all {
		if one.slots.Has(slot) {
			return one.ended
		}
	}
	return nil
}
