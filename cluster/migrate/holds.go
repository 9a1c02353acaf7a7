package migrate

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairndb/cairn/cluster/slotmap"
)

// Holds are the slots whose commands wait, since it is just being decided who serves them. Dispatch asks under the slots' locks, and
// waits outside of them; so whoever has added a hold and then has had each slot's lock once knows that nothing runs there any more.
type Holds struct {
	n  atomic.Int32
	mu sync.Mutex
	by map[uint16]*hold
}

type hold struct {
	over    chan struct{} // closed when it is worth trying again
	patient bool          // more may wait
	timer   *time.Timer
}

// holdPatience is for how long a command waits before it is told to try again.
const holdPatience = 5 * time.Second

// Any says whether any slot is held.
func (h *Holds) Any() bool { return h.n.Load() > 0 }

// On says whether a slot is held. wait is closed when it is worth looking again; nil: who comes has to be told to try again later.
func (h *Holds) On(slot uint16) (wait <-chan struct{}, held bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return answer(h.by[slot])
}

// OnAny is On for whatever slot is held.
func (h *Holds) OnAny() (wait <-chan struct{}, held bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, x := range h.by {
		return answer(x)
	}
	return nil, false
}

func answer(x *hold) (<-chan struct{}, bool) {
	if x == nil {
		return nil, false
	}
	if !x.patient {
		return nil, true
	}
	return x.over, true
}

// add holds the slots, which nobody else holds, until the function that it returns is called.
func (h *Holds) add(set *slotmap.Set) (letGo func()) {
	x := &hold{over: make(chan struct{}), patient: true}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.by == nil {
		h.by = make(map[uint16]*hold)
	}
	var mine []uint16
	each(set, func(slot uint16) {
		if h.by[slot] == nil {
			h.by[slot] = x
			mine = append(mine, slot)
		}
	})
	h.n.Add(int32(len(mine)))
	x.timer = time.AfterFunc(holdPatience, func() { h.end(x) })
	return sync.OnceFunc(func() {
		x.timer.Stop()
		h.mu.Lock()
		for _, slot := range mine {
			delete(h.by, slot)
		}
		h.n.Add(-int32(len(mine)))
		h.mu.Unlock()
		h.end(x)
	})
}

// end lets go who waits.
func (h *Holds) end(x *hold) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if x.patient {
		x.patient = false
		close(x.over)
	}
}

func each(set *slotmap.Set, fn func(slot uint16)) {
	for _, r := range set.Ranges() {
		for s := int(r.First); s <= int(r.Last); s++ {
			fn(uint16(s))
		}
	}
}

func slotsOf(set *slotmap.Set) []uint16 {
	out := make([]uint16, 0, set.Len())
	each(set, func(slot uint16) { out = append(out, slot) })
	return out
}

func overlap(a, b *slotmap.Set) bool {
	for i := range a {
		if a[i]&b[i] != 0 {
			return true
		}
	}
	return false
}
