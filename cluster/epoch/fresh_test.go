package epoch

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairndb/cairn/cluster/slotmap"
)

// TestFreshVoter: a voter in its first life promises at once, but replaces no primary soon that it has not heard of; one that was
// restarted says nothing for a lease.
func TestFreshVoter(t *testing.T) {
	t.Parallel()
	w := newWorld(1)
	tab, lease := w.table(), w.lease
	s := tab.Shard(sid(0))
	renewal := Renewal{Cluster: tab.Cluster, Session: 1, Round: 1, Shard: s.ID, Node: s.Primary, Epoch: s.Epoch, Lease: lease}
	fresh := NewVoter(lease, 0)
	fresh.Fresh = true
	if wait := fresh.Agree(2*lease, s.ID, s.Epoch); wait != foundingPatience-2*lease {
		t.Errorf("a primary that was not heard of is replaced after %v more", wait)
	}
	if !fresh.Renew(0, tab, 1, renewal).Granted {
		t.Error("a fresh voter is silent")
	}
	if wait := fresh.Agree(lease/2, s.ID, s.Epoch); wait != lease/2 {
		t.Errorf("a primary that was heard of is replaced after %v more", wait)
	}
	if wait := fresh.Agree(lease, s.ID, s.Epoch); wait != 0 {
		t.Errorf("a primary whose lease has ended is replaced after %v more", wait)
	}
	again := NewVoter(lease, 0)
	if again.Renew(lease-1, tab, 1, renewal).Granted || again.Agree(lease-1, s.ID, s.Epoch) != 1 {
		t.Error("a voter that has forgotten is not silent")
	}
	if !again.Renew(lease, tab, 1, renewal).Granted || again.Agree(2*lease, s.ID, s.Epoch) != 0 {
		t.Error("a voter is silent for more than a lease")
	}
}

// TestFoundersAreFenced: a primary that is granted right after the group was formed, in the place of one that may still serve without a lease, gets none
// before that one can't any more.
func TestFoundersAreFenced(t *testing.T) {
	t.Parallel()
	w := newWorld(1)
	tab, lease := w.table(), w.lease
	s := tab.Shard(sid(0))
	other := nid(2) // its replica
	forced, res := apply(tab, tab.Version+1, &Request{Op: OpPrimary, Shard: s.ID, Node: other, Expect: s.Epoch})
	if res.Outcome != OK {
		t.Fatal(res.Outcome)
	}
	renewal := Renewal{Cluster: tab.Cluster, Session: 1, Round: 1, Shard: s.ID, Node: other, Epoch: res.Epoch, Lease: lease}
	voter := func(fresh bool) *Voter {
		v := NewVoter(lease, 0)
		v.Fresh, v.adopted = fresh, &adopted{table: tab, at: lease}
		return v
	}
	if v := voter(true); v.Renew(lease+foundingPatience-1, forced, 1, renewal).Granted || !v.Renew(lease+foundingPatience, forced, 1, renewal).Granted {
		t.Error("the founder is not waited for, or too long")
	}
	if v := voter(false); !v.Renew(lease, forced, 1, renewal).Granted {
		t.Error("a voter that was restarted since waits for the founder")
	}
	held := renewal
	held.Node, held.Epoch = s.Primary, s.Epoch
	if v := voter(true); !v.Renew(lease, tab, 1, held).Granted || !v.Renew(3*lease, forced, 1, renewal).Granted {
		t.Error("a founder that holds a lease is fenced by that alone")
	}
}

// TestPromiseIsNotShortened: a renewal of the primary's last life that was read off the clock earlier, and is answered late, takes nothing back.
func TestPromiseIsNotShortened(t *testing.T) {
	t.Parallel()
	w := newWorld(1)
	tab, lease := w.table(), w.lease
	s := tab.Shard(sid(0))
	v := NewVoter(lease, -lease)
	r := Renewal{Cluster: tab.Cluster, Session: 2, Round: 1, Shard: s.ID, Node: s.Primary, Epoch: s.Epoch, Lease: lease}
	old := r
	old.Session, old.Round = 1, 9
	if !v.Renew(500*time.Millisecond, tab, 1, r).Granted || !v.Renew(0, tab, 1, old).Granted {
		t.Fatal("refused")
	}
	if wait := v.Agree(lease, s.ID, s.Epoch); wait != 500*time.Millisecond {
		t.Errorf("the promise goes on for %v", wait)
	}
}

func TestPace(t *testing.T) {
	t.Parallel()
	var p pace
	const lease = time.Second
	at := func(term uint64, now time.Duration, want bool) {
		t.Helper()
		if got := p.begin(term, now, lease); got != want {
			t.Errorf("term %d at %v: %v", term, now, got)
		}
	}
	at(1, 0, false) // all that was in the leader's log has just been decided
	at(1, lease, true)
	at(1, 2*lease, false) // one is under way
	p.end(3 * lease)
	at(1, 3*lease-1, false)
	at(2, 3*lease, false)
	at(2, 4*lease, true)
	p.end(0) // nothing was changed
	at(2, 4*lease, true)
}

// TestDeletedLogIsLost: a member whose log was deleted beside its identity is none.
func TestDeletedLogIsLost(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := storeIdentity(dir, identity{cluster: slotmap.NewNodeID(), incarnation: 7}); err != nil {
		t.Fatal(err)
	}
	g, err := Open(Options{Dir: dir, Self: slotmap.NewNodeID(), Dialer: part{}, Lease: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if g.member() != nil {
		t.Error("votes with an empty log under its old name")
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
}

// deaf is a Dialer that does not reach anybody at first.
type deaf struct {
	Dialer
	left atomic.Int32
}

func (d *deaf) DialNode(ctx context.Context, id slotmap.NodeID) (net.Conn, error) {
	if d.left.Add(-1) >= 0 {
		return nil, errLost
	}
	return d.Dialer.DialNode(ctx, id)
}

// TestGroupDoesNotBeginAlone: nodes that are too busy to answer at once are asked again, so that the group survives a failure from its beginning.
func TestGroupDoesNotBeginAlone(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 5, 3, func(o *Options) {
		d := &deaf{Dialer: o.Dialer}
		d.left.Store(4)
		o.Dialer = d
	})
	g := c.nodes[0].get()
	c.eventually("gossip knows the nodes", func() bool { return len(g.view.Load().Nodes) == 5 })
	_, id, err := g.empty()
	if err != nil {
		t.Fatal(err)
	}
	if voters := g.gather(t.Context(), id); len(voters) < 3 {
		t.Errorf("%d voters", len(voters))
	}
}
