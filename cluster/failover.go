package cluster

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/cairndb/cairn/cluster/epoch"
	"github.com/cairndb/cairn/cluster/slotmap"
	"github.com/cairndb/cairn/replication"
)

// offer answers for this node when its shard needs a new primary: it takes nothing more from the old one, keeps that promise over
// a restart, and says how far its log goes.
func (c *Cluster) offer(_ context.Context, shard epoch.ShardID, at uint64) epoch.Offer {
	rep := c.replicator()
	if rep == nil {
		return epoch.Offer{}
	}
	c.changing.Lock()
	defer c.changing.Unlock()
	if !c.willing(shard, rep.Status()) || c.promise(shard, at) != nil {
		return epoch.Offer{}
	}
	c.leading.Store(false)
	if err := rep.Halt(); err != nil {
		c.log.Error("cluster: no candidate for its shard", "err", err)
		return epoch.Offer{}
	}
	c.wakeRole()
	doubtful := c.doubtful.Load()
	if g := c.group.Load(); doubtful && g != nil {
		g.Doubt(at) // whoever grants this node from now on knows
	}
	c.mu.Lock()
	term, priority := c.mu.table.follows, c.mu.table.set.ReplicaPriority
	c.mu.Unlock()
	return epoch.Offer{Willing: true, Doubtful: doubtful, Term: term, Offset: rep.End(), Priority: priority}
}

func (c *Cluster) willing(shard epoch.ShardID, st replication.Status) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.table.willing(shard, st.Link)
}

// promise writes down that nothing more is taken from the shard's primary of an epoch.
func (c *Cluster) promise(shard epoch.ShardID, at uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.mu.table.promise(shard, at); err != nil {
		return err
	}
	return c.publish()
}

// regrant asks for a new epoch for a primary that lives on after all, so that those who have promised to leave it may follow it again.
func (c *Cluster) regrant(want part) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.mu.table.regrant(want.epoch)
	if r == nil || c.mu.proposing {
		return
	}
	c.inBackground(func() error {
		ctx, cancel := context.WithTimeout(c.ctx, proposeTimeout)
		defer cancel()
		_, err := c.propose(ctx, *r)
		return err
	})
}

const (
	// handOverTimeout bounds how long a primary holds its clients back for a hand-over (Redis CLUSTER_MF_TIMEOUT).
	handOverTimeout = 5 * time.Second
	handOverPace    = time.Millisecond
)

// Failover makes this replica its shard's primary (CLUSTER FAILOVER).
func (c *Cluster) Failover(mode FailoverMode) error {
	c.mu.Lock()
	t := c.mu.table
	err := t.mayFailover(mode, c.doubtful.Load())
	s, primary, self := t.shardOf(t.self), t.primaryOf(t.self), t.self
	c.mu.Unlock()
	if err != nil {
		return err
	}
	if mode == FailoverManual {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.spawn(func() {
			if err := c.askHandOver(primary); err != nil {
				c.log.Warn("cluster: manual failover", "primary", primary, "err", err)
			}
		})
		return nil
	}
	ctx, cancel := context.WithTimeout(c.patient, proposeTimeout)
	defer cancel()
	r := epoch.Request{Op: epoch.OpPrimary, Shard: s.ID, Node: self, Expect: s.Epoch, Lossy: mode == FailoverTakeover}
	if g := c.group.Load(); g != nil && mode == FailoverTakeover {
		g.Doubt(0)
		g.Lose(false)
	}
	_, err = c.propose(ctx, r)
	if refused := (*epoch.Refused)(nil); errors.As(err, &refused) && refused.Outcome == epoch.NotInSync {
		err = errNotInSync
	}
	if mode == FailoverTakeover && (errors.Is(err, epoch.ErrUnreached) || errors.Is(err, epoch.ErrUnknown)) {
		err = c.takeOver(r)
	}
	return err
}

// takeOver forces a new group upon what this node knows, and has it grant r.
func (c *Cluster) takeOver(r epoch.Request) error {
	ctx, cancel := c.proposing()
	defer cancel()
	if err := c.refound(ctx); err != nil {
		return err
	}
	_, err := c.propose(ctx, r)
	return err
}

// refound forms the group anew, with what this node knows, as its only voter; others join it by themselves.
func (c *Cluster) refound(ctx context.Context) error {
	c.log.Warn("cluster: no majority of the voters is reached, this node forms the group anew; what only the lost voters knew is lost")
	g := c.group.Load()
	if g == nil {
		return epoch.ErrClosed
	}
	return g.Recover(ctx)
}

// Recover forms the group anew when a majority of its voters is lost for good (CLUSTER RECOVER). It first makes sure that none decides.
func (c *Cluster) Recover() error {
	if c.grants() == nil {
		return refuse("The cluster has not formed its group yet")
	}
	ctx, cancel := context.WithTimeout(c.ctx, proposeTimeout)
	defer cancel()
	_, err := c.propose(ctx, epoch.Request{Op: epoch.OpForget, Node: slotmap.NewNodeID()}) // changes nothing
	switch {
	case err == nil:
		return refuse("The group of epochs has a majority of its voters: there is nothing to recover")
	case !errors.Is(err, epoch.ErrUnreached) && !errors.Is(err, epoch.ErrUnknown):
		return err
	}
	ctx, cancel = c.proposing()
	defer cancel()
	return c.refound(ctx)
}

// askHandOver asks the primary to hand over to this node.
func (c *Cluster) askHandOver(primary slotmap.NodeID) error {
	ctx, cancel := context.WithTimeout(c.ctx, 2*handOverTimeout)
	defer cancel()
	conn, err := c.Channel(kindShard).Dial(ctx, primary)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if err := writeFrame(conn, nil); err != nil {
		return err
	}
	answer, err := readFrame(conn)
	if err == nil && len(answer) > 0 {
		err = errors.New(string(answer))
	}
	return err
}

// serveHandOver is the primary's side: an empty request, an answer that is empty or says why not.
func (c *Cluster) serveHandOver(from slotmap.NodeID, conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(2 * handOverTimeout))
	if _, err := readFrame(conn); err != nil {
		return
	}
	answer := ""
	if err := c.handOver(from, true); err != nil {
		answer = err.Error()
		c.log.Warn("cluster: hand-over", "to", from, "err", err)
	}
	_ = writeFrame(conn, []byte(answer))
}

var (
	errNotPrimary = errors.New("this node is no primary, or not of that replica")
	errTooFar     = errors.New("the replica does not catch up")
)

// handOver makes a replica the primary in this node's place, without loss: writes wait, the replica gets the last of them, this node gives
// up its lease, and the group grants. A replica that is far behind has to catch up before clients wait for it. If this node stays it is in sync with the new primary.
func (c *Cluster) handOver(to slotmap.NodeID, stays bool) error {
	c.handing.Lock()
	defer c.handing.Unlock()
	t, rep, self := c.grants(), c.replicator(), c.View().self.ID
	if t == nil || rep == nil {
		return errNotPrimary
	}
	s := t.ShardOf(self)
	if s == nil || s.Primary != self || !s.Has(to) || to == self || !c.Serving() {
		return errNotPrimary
	}
	ctx, cancel := context.WithTimeout(c.ctx, handOverTimeout)
	defer cancel()
	deadline, _ := ctx.Deadline()
	if err := errors.Join(c.met(ctx, rep, to, rep.End()), c.awaitInSync(ctx, s.ID, to)); err != nil {
		return err
	}
	began := time.Now()
	end, everything, resume := rep.Quiesce(deadline)
	defer resume()
	if err := c.met(ctx, rep, to, end); err != nil {
		return err
	}
	// Replies that wait for more replicas (replication-acks) can't be sent any more once this node follows.
	if err := rep.WaitAcked(ctx, end); err != nil {
		return err
	}
	everything()
	if err := c.abdicate(ctx, rep, s, to, stays); err != nil {
		c.relead.Store(true)
		c.wakeRole()
		return err
	}
	c.log.Info("cluster: handed over", "to", to, "paused", time.Since(began).Round(time.Millisecond))
	return nil
}

// abdicate ends this node's time as a primary. The log ends for good when nothing is served any more; what a store writes by itself, as
// for expired keys, may have come since.
func (c *Cluster) abdicate(ctx context.Context, rep Replicator, s *epoch.Shard, to slotmap.NodeID, stays bool) error {
	g := c.group.Load()
	if g == nil {
		return epoch.ErrClosed // this node is being reset
	}
	c.replyUntil.Store(boottime() + int64(g.LeaseLeft()))
	if err := c.freeze(rep); err != nil {
		return err
	}
	if err := c.met(ctx, rep, to, rep.End()); err != nil {
		return err
	}
	g.ReleaseLease(ctx)
	_, err := c.propose(ctx, epoch.Request{Op: epoch.OpPrimary, Shard: s.ID, Node: to, Expect: s.Epoch, Released: stays})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, epoch.ErrUnknown):
		// It may be granted yet, and what this node took until then would be lost: it goes on under a newer grant only (halt).
		return errors.Join(err, c.promise(s.ID, s.Epoch))
	}
	g.ResumeLease()
	return err
}

// freeze ends the node's writes; see roleState for what comes next.
func (c *Cluster) freeze(rep Replicator) error {
	c.changing.Lock()
	defer c.changing.Unlock()
	c.leading.Store(false)
	return rep.Freeze()
}

// awaitInSync waits until a replica may be made the shard's primary.
func (c *Cluster) awaitInSync(ctx context.Context, shard epoch.ShardID, to slotmap.NodeID) error {
	for {
		t := c.grants()
		if t == nil {
			return errNotPrimary
		}
		if s := t.Shard(shard); s == nil || s.Eligible(to) {
			return nil
		}
		if err := c.catchUp(ctx, t); err != nil {
			return errNotInSync
		}
	}
}

// met waits until the replica has the log up to end.
func (c *Cluster) met(ctx context.Context, rep Replicator, to slotmap.NodeID, end uint64) error {
	done, err := rep.Push()
	defer done()
	if err != nil {
		return err
	}
	tick := time.NewTicker(handOverPace)
	defer tick.Stop()
	for {
		if r := replicaStatus(rep.Status(), c.View().Node(to)); r != nil && r.Written >= end {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errTooFar
		}
	}
}

// HandOver gives this primary's place to the replica that is furthest, before the node stops. A node that is no primary, or has no replica,
// has nothing to do.
func (c *Cluster) HandOver() error {
	t, rep := c.grants(), c.replicator()
	if t == nil || rep == nil || !c.Serving() {
		return nil
	}
	s := t.ShardOf(c.View().self.ID)
	if s == nil || t.SlotsOf(s.ID).Len() == 0 {
		return nil
	}
	to := successor(s, c.View(), rep.Status())
	if to == "" {
		return nil
	}
	return c.handOver(to, false)
}
