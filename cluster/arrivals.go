package cluster

import (
	"sync"
	"time"
)

// arrivals are the slots that are just being granted to this node.
type arrivals struct {
	mu    sync.Mutex
	slots map[uint16]chan struct{}
}

// arrivalPatience is for how long commands for such a slot wait.
const arrivalPatience = time.Second

// expect has commands for a slot wait until the function that it returns is called.
func (a *arrivals) expect(slot uint16) func() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.slots[slot] != nil {
		return func() {}
	}
	if a.slots == nil {
		a.slots = make(map[uint16]chan struct{})
	}
	ch := make(chan struct{})
	a.slots[slot] = ch
	arrived := sync.OnceFunc(func() {
		a.mu.Lock()
		delete(a.slots, slot)
		a.mu.Unlock()
		close(ch)
	})
	timer := time.AfterFunc(arrivalPatience, arrived)
	return func() {
		timer.Stop()
		arrived()
	}
}

// Arriving returns a channel that is closed when it is worth trying again to serve a slot that is just being granted to this node; nil if it is not.
func (c *Cluster) Arriving(slot uint16) <-chan struct{} {
	c.arrivals.mu.Lock()
	defer c.arrivals.mu.Unlock()
	return c.arrivals.slots[slot]
}
