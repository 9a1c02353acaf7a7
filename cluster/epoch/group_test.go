package epoch

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairndb/cairn/cluster/slotmap"
	"github.com/hashicorp/raft"
)

func one(s uint16) *slotmap.Set {
	return slotmap.SetOf([]slotmap.Range{{First: s, Last: s}})
}

func TestGroupForms(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 6, 3)
	tab := c.form()
	if tab.Epoch != 3 || len(tab.Shards) != 3 || len(tab.Voters) != 5 {
		t.Fatalf("%+v", tab)
	}
	c.eventually("all primaries serve", func() bool {
		for _, n := range c.nodes[:3] {
			if !n.get().Serving() {
				return false
			}
		}
		return true
	})
	for i, n := range c.nodes { // from leader, followers and the one who is no voter
		now := n.get().Table()
		res := c.propose(n, Request{Op: OpSlots, Shard: sid(1), Expect: now.Shard(sid(1)).Epoch, Slots: now.Expect(one(uint16(i))), Released: true})
		if want := uint64(4 + i); res.Epoch != want {
			t.Fatalf("epoch %d, want %d", res.Epoch, want)
		}
		for _, m := range c.nodes {
			got, err := m.get().Await(t.Context(), res.Version)
			if err != nil {
				t.Fatal(err)
			}
			if s, e := got.Owner(uint16(i)); s.ID != sid(1) || e != res.Epoch {
				t.Fatalf("slot %d is %s's at %d", i, s.ID, e)
			}
		}
	}
	for _, n := range c.nodes[3:] {
		if n.get().Serving() {
			t.Fatalf("replica %s holds a lease", n.id)
		}
	}
}

// TestOnChangeTellsThePresentTable: after a restart the table may come, as its last one for long, before anybody asks for changes.
func TestOnChangeTellsThePresentTable(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3)
	tab := c.form()
	told := make(chan *Table, 100)
	c.nodes[0].get().OnChange(func(t *Table) { told <- t })
	select {
	case got := <-told:
		if got.Version < tab.Version {
			t.Errorf("version %d, there was %d", got.Version, tab.Version)
		}
	case <-time.After(30 * time.Second):
		t.Error("nothing was told")
	}
}

func (c *cluster) serving(s ShardID) *testNode {
	for _, n := range c.nodes {
		if g := n.get(); g != nil && g.Serving() && g.Table().ShardOf(n.id).ID == s {
			return n
		}
	}
	return nil
}

// fenced watches that no shard ever has two nodes inside their leases.
func (c *cluster) fenced() {
	type holding struct {
		n     *testNode
		until time.Duration
	}
	c.wg.Go(func() {
		for {
			by := make(map[ShardID][]holding)
			for _, n := range c.nodes {
				if g := n.get(); g != nil {
					by[n.shard] = append(by[n.shard], holding{n, time.Duration(g.lease.until.Load())})
				}
			}
			now := Boottime{}.Now()
			for s, hs := range by {
				in := 0
				for _, h := range hs {
					if now < h.until {
						in++
					}
				}
				if in > 1 {
					c.t.Errorf("shard %s: %d nodes are inside their leases", s, in)
				}
			}
			select {
			case <-c.stop:
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
}

func TestFailover(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		kill func(c *cluster) []*testNode // whom to kill
	}{
		{"a primary", func(c *cluster) []*testNode { return c.nodes[1:2] }},
		{"the leader", func(c *cluster) []*testNode { return []*testNode{c.leader()} }},
		{"two primaries, the leader among them", func(c *cluster) []*testNode { return c.nodes[:2] }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 6, 3)
			c.fenced()
			c.form()
			c.eventually("all serve", func() bool {
				return c.serving(sid(0)) != nil && c.serving(sid(1)) != nil && c.serving(sid(2)) != nil
			})
			began := time.Now()
			victims := tc.kill(c)
			for _, n := range victims {
				n.kill()
			}
			c.leader()
			t.Logf("leader after %v", time.Since(began))
			for i := range 3 {
				c.eventually("shards serve", func() bool { return c.serving(sid(i)) != nil })
			}
			t.Logf("shards serve after %v", time.Since(began))
			for _, n := range victims {
				n.start()
			}
			c.eventually("they follow", func() bool {
				now := c.leader().get().Table()
				for _, n := range c.nodes {
					if n.get().Table().Epoch != now.Epoch {
						return false
					}
				}
				return true
			})
		})
	}
}

func TestRestartsInAnyOrder(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 6, 3)
	c.fenced()
	c.form()
	res := c.propose(c.nodes[5], Request{Op: OpMember, Node: nid(7), Shard: sid(7)})
	for i, order := range [][]int{{0, 1, 2, 3, 4, 5}, {5, 4, 3, 2, 1, 0}, {3, 0, 5, 1, 4, 2}} {
		for _, n := range c.nodes {
			n.kill()
		}
		began := time.Now()
		for _, k := range order {
			c.nodes[k].start() // at a new address
		}
		c.eventually("all shards serve", func() bool {
			return c.serving(sid(0)) != nil && c.serving(sid(1)) != nil && c.serving(sid(2)) != nil
		})
		t.Logf("served again after %v", time.Since(began))
		res = c.propose(c.nodes[i], Request{Op: OpMember, Node: nid(8 + i), Shard: sid(7)})
	}
	for _, n := range c.nodes {
		tab, err := n.get().Await(t.Context(), res.Version)
		if err != nil || tab.ShardOf(nid(10)) == nil || tab.ShardOf(nid(7)).ID != sid(7) {
			t.Fatalf("%v %+v", err, tab)
		}
	}
}

func TestPartitions(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		in, out bool
	}{{"both ways", true, true}, {"nothing gets in", true, false}, {"nothing gets out", false, true}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 6, 3)
			c.fenced()
			c.form()
			c.eventually("it serves", func() bool { return c.serving(sid(1)) == c.nodes[1] })
			lonely := []slotmap.NodeID{nid(1)}
			cut := func(lost bool) {
				c.net.cut(lost && tc.in, c.ids(), lonely)
				c.net.cut(lost && tc.out, lonely, c.ids())
			}
			cut(true)
			c.mu.Lock()
			c.dead[nid(1)] = Boottime{}.Now()
			c.mu.Unlock()
			c.eventually("the replica takes over", func() bool { return c.nodes[4].get().Serving() })
			if c.nodes[1].get().Serving() {
				t.Fatal("two serve")
			}
			cut(false)
			c.mu.Lock()
			delete(c.dead, nid(1))
			c.mu.Unlock()
			c.eventually("the old primary knows", func() bool {
				return c.nodes[1].get().Table().Shard(sid(1)).Primary == nid(4)
			})
		})
	}
}

func TestRetryIsGrantedOnce(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3)
	tab := c.form()
	r := Request{ID: NewRequestID(), Op: OpSlots, Shard: sid(1), Expect: tab.Shard(sid(1)).Epoch, Slots: tab.Expect(one(9)), Released: true}
	first := c.propose(c.nodes[1], r)
	c.leader().kill()
	for _, n := range c.nodes {
		if g := n.get(); g != nil {
			if again := c.propose(n, r); again != first {
				t.Fatalf("%+v, then %+v", first, again)
			}
			r2 := r
			r2.ID = NewRequestID()
			if _, err := g.Propose(t.Context(), r2); err == nil || err.Error() != refusal(Stale).Error() {
				t.Fatalf("granted again: %v", err)
			}
		}
	}
}

func TestTakenSlotsAreGrantedALeaseLater(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3)
	tab := c.form()
	to := tab.Shard(sid(1))
	_, err := c.nodes[2].get().Propose(t.Context(), Request{Op: OpSlots, Shard: to.ID, Expect: to.Epoch, Slots: tab.Expect(one(3))})
	if err == nil || err.Error() != refusal(Owned).Error() {
		t.Fatalf("granted from under its owner: %v", err)
	}
	res := c.propose(c.nodes[2], Request{Op: OpSlots, Slots: tab.Expect(one(3))})
	began := time.Now()
	tab, err = c.nodes[2].get().Await(t.Context(), res.Version)
	if err != nil {
		t.Fatal(err)
	}
	c.propose(c.nodes[2], Request{Op: OpSlots, Shard: to.ID, Expect: to.Epoch, Slots: tab.Expect(one(3))})
	if took := time.Since(began); took < testLease*9/10 {
		t.Fatalf("granted after %v", took)
	}
}

func TestVotersAreRepaired(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 7, 3)
	before := c.form().Voters
	var victim *testNode
	for _, n := range c.nodes {
		if has(before, n.id) && n.get().Status().State != "Leader" && !n.prim {
			victim = n
		}
	}
	victim.kill()
	c.eventually("it is replaced", func() bool {
		now := c.leader().get().Table().Voters
		return len(now) == 5 && !has(now, victim.id)
	})
	victim.start()
	gone := c.leader()
	ctx, cancel := context.WithTimeout(t.Context(), testPatience)
	defer cancel()
	c.mu.Lock()
	c.gone[gone.id] = true
	c.mu.Unlock()
	if err := gone.get().Reset(ctx); err != nil {
		t.Fatal(err)
	}
	c.eventually("the one that was reset too", func() bool {
		for _, n := range c.nodes {
			if n != gone && n.get().Status().State == "Leader" {
				now := n.get().Table().Voters
				return len(now) == 5 && !has(now, gone.id)
			}
		}
		return false
	})
	c.eventually("the reset node remembers nothing", func() bool { // gossip from before may have told it of the others once more
		return !gone.get().Table().Formed() || gone.get().Reset(ctx) != nil
	})
}

func TestALostLogIsNoVoter(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3)
	c.form()
	var victim *testNode
	for _, n := range c.nodes {
		if n.get().Status().State != "Leader" {
			victim = n
		}
	}
	old := victim.get().member().id
	victim.kill()
	victim.dir = t.TempDir()
	victim.start()
	c.eventually("it is taken out first", func() bool {
		for _, n := range c.nodes {
			if n != victim && !has(n.get().Table().Voters, victim.id) {
				return true
			}
		}
		return false
	})
	c.eventually("it comes back as another", func() bool {
		m := victim.get().member()
		return m != nil && m.id.incarnation != old.incarnation && m.follows(time.Second) && len(victim.get().Table().Voters) == 3
	})
}

func TestRecover(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 6, 3)
	tab := c.form()
	var left []*testNode
	for _, n := range c.nodes {
		if has(tab.Voters, n.id) && len(left) < 2 && !n.prim {
			left = append(left, n)
		} else if has(tab.Voters, n.id) {
			n.kill()
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*testLease)
	defer cancel()
	if _, err := left[0].get().Propose(ctx, Request{Op: OpMember, Node: nid(9), Shard: sid(0)}); err == nil {
		t.Fatal("two of five decide")
	}
	c.eventually("it can be recovered", func() bool { return left[0].get().Recover(t.Context()) == nil })
	c.eventually("all survivors vote again and serve", func() bool {
		now := left[0].get().Table()
		return now.Generation == 1 && len(now.Voters) == 3 && c.serving(sid(0)) != nil
	})
	c.propose(left[1], Request{Op: OpMember, Node: nid(9), Shard: sid(1)})
	for _, n := range c.nodes { // those who were lost come back with their logs
		if n.get() == nil {
			n.start()
		}
	}
	c.eventually("all follow the new generation", func() bool {
		for _, n := range c.nodes {
			if tab := n.get().Table(); tab.Generation != 1 || tab.ShardOf(nid(9)) == nil {
				return false
			}
		}
		return true
	})
}

func TestTheGroupOfTheLargerIDGivesWay(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 6, 3)
	c.mu.Lock() // two clusters of one shard that have not met
	for i := range 6 {
		c.gone[nid(i)] = true
	}
	c.mu.Unlock()
	view := func(ids ...int) *View {
		v := &View{}
		for _, i := range ids {
			v.Nodes = append(v.Nodes, Node{ID: nid(i), Alive: true, Shard: nid(i)})
		}
		return v
	}
	all := c.founders()
	for i := range 2 {
		n := c.nodes[i].get()
		c.eventually("it has founded", func() bool {
			n.Reconcile(view(i, i+2, i+4))
			f := all[i]
			f.Slots = []slotmap.Range{{First: 0, Last: slotmap.Slots - 1}}
			return n.Bootstrap(t.Context(), []Founder{f}) == nil
		})
	}
	a, b := c.nodes[0].get().Table().Cluster, c.nodes[1].get().Table().Cluster
	if a == b {
		t.Fatal("one group only")
	}
	c.mu.Lock()
	clear(c.gone)
	c.mu.Unlock()
	c.eventually("all follow the one", func() bool {
		for _, n := range c.nodes {
			if n.get().Table().Cluster != min(a, b) {
				return false
			}
		}
		return len(c.nodes[0].get().Table().Voters) == 5
	})
}

func TestHandOver(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 6, 3)
	c.form()
	from, to := c.nodes[1], c.nodes[4]
	c.eventually("it serves", func() bool { return from.get().Serving() })
	from.get().ReleaseLease(t.Context())
	if from.get().Serving() {
		t.Fatal("it serves after it gave its lease up")
	}
	from.get().ResumeLease()
	c.eventually("it serves again", func() bool { return from.get().Serving() })

	var dead []slotmap.NodeID // a voter that is neither of both, and does not answer
	for _, n := range c.nodes {
		if n != from && n != to && n != c.leader() && has(n.get().Table().Voters, n.id) {
			dead = []slotmap.NodeID{n.id}
		}
	}
	c.net.cut(true, c.ids(), dead)
	c.net.cut(true, dead, c.ids())
	began := time.Now()
	from.get().ReleaseLease(t.Context())
	c.propose(to, Request{Op: OpPrimary, Shard: sid(1), Node: to.id, Expect: to.get().Table().Shard(sid(1)).Epoch})
	c.eventually("the other serves", func() bool { return to.get().Serving() })
	t.Logf("handed over in %v", time.Since(began))
	if from.get().Serving() {
		t.Fatal("both serve")
	}
}

// A leader whose table may lack what was decided before its term grants no slots: they may have been taken from their owner a moment ago.
func TestNoSlotsBeforeTheTermIsOpen(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3)
	tab := c.form()
	g := c.leader().get()
	m, s := g.member(), tab.Shard(sid(0))
	r := &Request{Op: OpSlots, Shard: s.ID, Expect: s.Epoch, Slots: tab.Expect(one(3))}
	c.eventually("it is refused", func() bool { // it is opened again at once
		m.opened.Store(0)
		return errors.Is(g.leaseOut(t.Context(), m, r), raft.ErrNotLeader)
	})
	c.eventually("it is granted in the open term", func() bool { return g.leaseOut(t.Context(), m, r) == nil })
}

func TestRenewalPace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		lease time.Duration
		tries int
		want  time.Duration
	}{
		{15 * time.Second, 0, 10 * time.Millisecond},
		{15 * time.Second, 3, 80 * time.Millisecond},
		{15 * time.Second, 99, 750 * time.Millisecond},
		{time.Second, 2, 40 * time.Millisecond},
		{time.Second, 3, 50 * time.Millisecond},
		{100 * time.Millisecond, 9, 10 * time.Millisecond},
	} {
		k := &keeper{g: &Group{o: Options{Lease: c.lease}}, holder: NewHolder(nid(0), c.lease, 1)}
		if got := k.pace(0, c.tries); got != c.want {
			t.Errorf("after %d tries at a lease of %v: %v, want %v", c.tries, c.lease, got, c.want)
		}
	}
}

// foundAlone has a node elect the leader of a group that adopts nothing, which goes before any other one by its ID.
func (c *cluster) foundAlone(n *testNode) {
	c.t.Helper()
	g := n.get()
	c.eventually("gossip knows the nodes", func() bool { return len(g.view.Load().Nodes) == len(c.nodes) })
	id := identity{cluster: slotmap.NodeID(strings.Repeat("0", 39) + "1"), incarnation: 7}
	g.life.Lock()
	err := g.enter(id)
	g.life.Unlock()
	if err == nil {
		err = g.member().bootstrap(g.gather(c.t.Context(), id))
	}
	if err != nil {
		c.t.Fatal(err)
	}
	c.eventually("the voters have elected it", func() bool {
		follow := 0
		for _, other := range c.nodes {
			if m := other.get().member(); m != nil && m.leader() == n.id {
				if servers, err := m.servers(); err == nil && len(servers) > 0 {
					follow++
				}
			}
		}
		return follow >= fewest
	})
}

// lose ends nodes for good: the others forget them.
func (c *cluster) lose(nodes ...*testNode) {
	for _, n := range nodes {
		n.kill()
		c.mu.Lock()
		c.gone[n.id] = true
		c.mu.Unlock()
	}
	c.eventually("they are forgotten", func() bool {
		for _, n := range c.nodes {
			if g := n.get(); g != nil && len(g.view.Load().Nodes) != len(c.view().Nodes) {
				return false
			}
		}
		return true
	})
}

// joined waits until the nodes that are left are in the founder's group, so many of them as voters.
func (c *cluster) joined(founder *testNode, voters int) {
	c.t.Helper()
	cluster := founder.get().Table().Cluster
	all := func(what string, ok func(g *Group, t *Table) bool) {
		c.t.Helper()
		c.eventually(what, func() bool {
			for _, n := range c.nodes {
				if g := n.get(); g != nil && !ok(g, g.Table()) {
					return false
				}
			}
			return true
		})
	}
	all("all follow it", func(_ *Group, t *Table) bool { return t.Cluster == cluster })
	all("all have left the other one", func(g *Group, _ *Table) bool {
		m := g.member()
		return m == nil || m.id.cluster == cluster
	})
	all("a failure is survived", func(_ *Group, t *Table) bool { return len(t.Voters) >= min(voters, fewest) })
	all("all vote", func(_ *Group, t *Table) bool { return len(t.Voters) == voters })
}

// A group whose founder is lost for good before it adopts anything has a leader and no table. Its voters leave it for the one that is formed then.
func TestFounderLost(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 6, 3)
	c.foundAlone(c.nodes[0])
	var outside *testNode // who was not invited
	for _, n := range c.nodes {
		if n.get().member() == nil {
			outside = n
		}
	}
	c.lose(c.nodes[0])
	c.leader()
	if err := outside.get().Bootstrap(t.Context(), c.successors()); err != nil {
		t.Fatal(err)
	}
	c.joined(outside, 5)
	c.propose(c.nodes[2], Request{Op: OpMember, Node: nid(9), Shard: sid(1)})
}

// When most of the voters are lost with the founder, one that is left founds the group anew.
func TestFirstVotersLost(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 6, 3)
	c.foundAlone(c.nodes[0])
	var left *testNode
	lost := []*testNode{c.nodes[0]}
	for _, n := range c.nodes[1:] {
		voter := n.get().member() != nil
		shard := slices.ContainsFunc(lost, func(l *testNode) bool { return l.shard == n.shard })
		switch {
		case voter && !shard:
			lost = append(lost, n)
		case voter:
			left = n
		}
	}
	c.lose(lost...)
	c.eventually("a group is formed", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), testPatience)
		defer cancel()
		return left.get().Bootstrap(ctx, c.successors()) == nil
	})
	c.joined(left, 3)
}

// successors are the founders among the nodes that are left: of each shard the first.
func (c *cluster) successors() []Founder {
	all := c.founders()
	for i := range all {
		members := append([]slotmap.NodeID{all[i].Primary}, all[i].Replicas...)
		members = slices.DeleteFunc(members, func(id slotmap.NodeID) bool { return c.view().node(id) == nil })
		all[i].Primary, all[i].Replicas = members[0], members[1:]
	}
	return all
}

// A leader can be closed while it decides: Raft, shut down, does not answer everything that it was asked.
func TestCloseWhileDeciding(t *testing.T) {
	t.Parallel()
	for i := range 4 {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 1, 1)
			c.form()
			n := c.nodes[0]
			g := n.get()
			var wg sync.WaitGroup
			for range 16 {
				wg.Go(func() {
					for k := 0; ; k++ {
						if _, err := g.Propose(t.Context(), Request{Op: OpMember, Node: nid(k % 10), Shard: sid(k % 5)}); errors.Is(err, ErrUnreached) || errors.Is(err, ErrUnknown) {
							return
						}
					}
				})
			}
			at := g.Table().Version + 200
			c.eventually("it decides much", func() bool { return g.Table().Version > at })
			n.kill()
			wg.Wait()
		})
	}
}
