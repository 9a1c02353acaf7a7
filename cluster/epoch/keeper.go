package epoch

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairndb/cairn/cluster/slotmap"
)

// keeper renews this node's lease as long as the table names it a primary.
type keeper struct {
	g     *Group
	until atomic.Int64
	again chan struct{}

	mu     sync.Mutex
	holder *Holder
}

func newKeeper(g *Group) *keeper {
	k := &keeper{g: g, again: make(chan struct{}, 1), holder: NewHolder(g.o.Self, g.o.Lease, rand.Uint64())}
	k.holder.Doubt(g.o.Doubt)
	k.holder.Lose(g.o.Lost)
	return k
}

// Serving says whether this node is inside its lease as a primary. It takes no lock; ask before a command is executed and once more
// before its reply is sent.
func (g *Group) Serving() bool {
	return int64(g.o.Clock.Now()) < g.lease.until.Load()
}

// Leased says whether this node holds a lease under its present grant, or has held one that has ended.
func (g *Group) Leased() bool { return g.lease.until.Load() != 0 }

// LeaseLeft is how long this node may serve yet, 0 for not.
func (g *Group) LeaseLeft() time.Duration {
	return max(0, time.Duration(g.lease.until.Load())-g.o.Clock.Now())
}

// ReleaseLease gives this node's lease up, so that a new primary need not wait for its end. Nothing is served any more when it
// returns. It is not taken again before ResumeLease, or before this node is granted to be primary anew.
func (g *Group) ReleaseLease(ctx context.Context) {
	k := g.lease
	k.mu.Lock()
	r, ok := k.holder.Release()
	voters := k.holder.table.Voters
	k.show()
	k.mu.Unlock()
	if !ok {
		return
	}
	g.tellRelease(ctx, voters, r)
}

// tellRelease tells all voters, and waits for a majority: more are not needed to hold the lease next, and one that is dead would answer never.
func (g *Group) tellRelease(ctx context.Context, voters []slotmap.NodeID, r Renewal) {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithTimeout(ctx, g.o.Lease/3)
	defer cancel()
	told := make(chan bool, len(voters))
	for _, v := range voters {
		wg.Go(func() {
			var err error
			if v != g.o.Self {
				_, err = g.peers.call(ctx, v, callRelease, appendRenewal(nil, r))
			} else if m := g.memberOf(r.Cluster, r.Generation); m != nil {
				m.release(r)
			}
			told <- err == nil
		})
	}
	left := majority(len(voters))
	for range voters {
		if <-told {
			left--
		}
		if left == 0 {
			return
		}
	}
}

// ResumeLease takes ReleaseLease back.
func (g *Group) ResumeLease() {
	k := g.lease
	k.mu.Lock()
	k.holder.Resume()
	k.mu.Unlock()
	select {
	case k.again <- struct{}{}:
	default:
	}
}

// Doubt has no grant up to an epoch hold the lease of a strict shard: this node may have lost the end of its log after it. 0 takes it back.
func (g *Group) Doubt(epoch uint64) { g.lease.change(func(h *Holder) { h.Doubt(epoch) }) }

// Lose says whether this node has lost its data: then it holds no lease of a shard that has other members.
func (g *Group) Lose(yes bool) { g.lease.change(func(h *Holder) { h.Lose(yes) }) }

// change changes what may be held, at once.
func (k *keeper) change(fn func(*Holder)) {
	k.mu.Lock()
	fn(k.holder)
	k.show()
	k.mu.Unlock()
	select {
	case k.again <- struct{}{}:
	default:
	}
}

// show publishes what the holder says; k.mu is held.
func (k *keeper) show() { k.until.Store(int64(k.holder.Until())) }

func (k *keeper) run() {
	var wg sync.WaitGroup
	defer wg.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var learned *Table
	due, tries := time.Duration(0), 0
	for {
		t, changed := k.g.changed()
		now := k.g.o.Clock.Now()
		k.mu.Lock()
		if t != learned {
			held := k.holder.shard
			k.holder.Learn(t)
			if learned = t; held == nil || k.holder.Until() == 0 {
				due, tries = now, 0
			}
		}
		var r Renewal
		begin := false
		if now >= due {
			if r, begin = k.holder.Begin(now); begin {
				due = now + k.pace(now, tries)
				tries++
			} else {
				due = now + k.g.o.Lease
			}
		}
		k.show()
		k.mu.Unlock()
		if begin {
			k.send(&wg, t.Voters, r)
		}
		timer.Reset(max(due-now, time.Millisecond))
		select {
		case <-changed:
		case <-k.again:
			due, tries = 0, 0
		case <-timer.C:
		case <-k.g.ctx.Done():
			return
		}
	}
}

// firstPace is the time between the first two renewals under a grant, of which most voters hear a moment later than this node may.
const firstPace = 10 * time.Millisecond

// pace is the time to the next renewal: short until there is a lease, at first above all.
func (k *keeper) pace(now time.Duration, tries int) time.Duration {
	if now < k.holder.Until() {
		return k.g.o.Lease / 3
	}
	return min(max(k.g.o.Lease/20, firstPace), firstPace<<min(tries, 10))
}

func (k *keeper) send(wg *sync.WaitGroup, voters []slotmap.NodeID, r Renewal) {
	for _, v := range voters {
		wg.Go(func() {
			var p Promise
			if v == k.g.o.Self {
				p = k.g.renew(r)
			} else {
				p = k.ask(v, r)
			}
			k.mu.Lock()
			had := k.holder.Until()
			k.holder.Answered(v, r.Round, p)
			got := k.holder.Until()
			k.show()
			k.mu.Unlock()
			if had == 0 && got > 0 {
				select { // the pace changes
				case k.again <- struct{}{}:
				default:
				}
			}
		})
	}
}

func (k *keeper) ask(voter slotmap.NodeID, r Renewal) Promise {
	ctx, cancel := context.WithTimeout(k.g.ctx, k.g.o.Lease/3)
	defer cancel()
	b, err := k.g.peers.call(ctx, voter, callRenew, appendRenewal(nil, r))
	if err != nil {
		return Promise{}
	}
	d := &decoder{b: b}
	p := Promise{Granted: d.byte() == answerDone, Index: d.uvarint()}
	if d.bad {
		return Promise{}
	}
	return p
}
