package cluster

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairndb/cairn/cluster/epoch"
	"github.com/cairndb/cairn/cluster/slotmap"
	"github.com/cairndb/cairn/replication"
)

// actor is a Replicator that notes its role.
type actor struct {
	mu        sync.Mutex
	following bool
	begins    chan struct{} // NoOne has begun; it goes on when it can be received from goOn
	goOn      chan struct{}
	held      chan struct{} // End waits until it is closed, if it is not nil
}

func (a *actor) set(following bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.following = following
	return nil
}

func (a *actor) follows() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.following
}

func (a *actor) NoOne() error {
	if a.begins != nil {
		a.begins <- struct{}{}
		<-a.goOn
	}
	return a.set(false)
}

func (a *actor) ReplicaOf(string, int) error                { return a.set(true) }
func (a *actor) Halt() error                                { return a.set(true) }
func (a *actor) Freeze() error                              { return a.set(true) }
func (a *actor) Status() replication.Status                 { return replication.Status{} }
func (a *actor) Push() (func(), error)                      { return func() {}, nil }
func (a *actor) WaitAcked(context.Context, uint64) error    { return nil }
func (a *actor) SetAckRule(replication.Rule)                {}
func (a *actor) AskStable()                                 {}
func (a *actor) Quiesce(time.Time) (uint64, func(), func()) { return 1, func() {}, func() {} }

func (a *actor) End() uint64 {
	if a.held != nil {
		a.begins <- struct{}{}
		<-a.held
	}
	return 1
}

// still is a node that runs nothing by itself.
func still(t *testing.T, tab *table, rep Replicator) *Cluster {
	t.Helper()
	st, _, err := openStore(vfs.NewMem(), "nodes.conf")
	if err != nil {
		t.Fatal(err)
	}
	c := &Cluster{store: st, log: slog.New(slog.DiscardHandler), started: time.Now(), lease: short, roleChanged: make(chan struct{}, 1)}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	t.Cleanup(c.cancel)
	c.mu.table = tab
	c.view.Store(tab.view())
	c.repl.Store(&rep)
	return c
}

// ownShard makes node a the primary of a shard with a replica.
func ownShard(t *testing.T, primary slotmap.NodeID, version, at uint64) *epoch.Table {
	t.Helper()
	f := epoch.Founder{Shard: digitID("1"), Primary: primary, Epoch: at, Slots: ranges("0-16383")}
	for _, id := range digitIDs([]string{"a", "b"}) {
		if id != primary {
			f.Replicas = append(f.Replicas, id)
		}
	}
	g, err := epoch.Form(digitID("f"), []epoch.Founder{f})
	if err != nil {
		t.Fatal(err)
	}
	g.Version = version
	return g
}

// TestStoreHeld: a store that is being replaced is waited for without holding up commands, which may hold the store and ask for the nodes.
func TestStoreHeld(t *testing.T) {
	t.Parallel()
	rep := &actor{begins: make(chan struct{}, 1), held: make(chan struct{})}
	c := still(t, newTable(record{ID: digitID("a")}, Settings{}, now()), rep)
	c.group.Store(&epoch.Group{})
	var wg sync.WaitGroup
	wg.Go(func() { c.noteOffset(now()) })
	<-rep.begins
	if len(c.Nodes()) != 1 {
		t.Error("it does not know itself")
	}
	close(rep.held)
	wg.Wait()
	if got := c.mu.table.me().Offset; got != 1 {
		t.Errorf("the offset is %d", got)
	}
}

// TestOfferWhileATermBegins: a node that is asked for its offer while it begins to lead has ended that when it answers, and begins nothing afterwards.
func TestOfferWhileATermBegins(t *testing.T) {
	t.Parallel()
	rep := &actor{following: true, begins: make(chan struct{}), goOn: make(chan struct{})}
	tab := formedTable(t)
	c := still(t, tab, rep)
	c.learn(ownShard(t, digitID("a"), 2, 5))
	tab.follows = 5
	var wg sync.WaitGroup
	defer wg.Wait()
	keeper := roleKeeper{c: c}
	wg.Go(func() { keeper.step() })
	<-rep.begins
	offered := make(chan epoch.Offer, 1)
	wg.Go(func() { offered <- c.offer(context.Background(), digitID("1"), 5) })
	select {
	case <-offered:
		t.Error("an offer was made while a term began")
		close(rep.goOn)
		return
	case <-time.After(100 * time.Millisecond):
	}
	close(rep.goOn)
	if o := <-offered; !o.Willing {
		t.Error("no offer")
	}
	if !rep.follows() || c.Leads() {
		t.Errorf("after its offer it follows: %v, leads: %v", rep.follows(), c.Leads())
	}
	rep.begins = nil
	if keeper.step(); !rep.follows() || c.Leads() {
		t.Errorf("it has promised, and follows: %v, leads: %v", rep.follows(), c.Leads())
	}
}

// TestGate: commands wait for a primary that is about to serve, or to be replaced, until it is known which; not for ever, and without asking again all the time.
func TestGate(t *testing.T) {
	t.Parallel()
	rep := &actor{following: true}
	tab := formedTable(t)
	c := still(t, tab, rep)
	c.learn(ownShard(t, digitID("a"), 2, 5))
	tab.follows, tab.promised = 5, 5
	keeper := roleKeeper{c: c}
	closed := func(ch <-chan struct{}) bool {
		select {
		case <-ch:
			return true
		default:
			return false
		}
	}
	wait := c.Wait()
	keeper.step()
	keeper.step()
	if c.Leads() || closed(wait) {
		t.Fatal("what waits for a halted primary is tried again although nothing has changed")
	}
	c.learn(ownShard(t, digitID("b"), 3, 6))
	if keeper.step(); !closed(wait) {
		t.Error("it waits although there is another primary")
	}
	c.learn(ownShard(t, digitID("a"), 4, 7))
	wait = c.Wait()
	if keeper.step(); !closed(wait) || !c.Serving() {
		t.Error("it waits although the node serves")
	}
	c.gate.since = time.Now().Add(-gatePatience)
	c.gate.opened = make(chan struct{})
	if c.Wait() != nil {
		t.Error("it waits for ever")
	}
}
