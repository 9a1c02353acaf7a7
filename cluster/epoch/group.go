package epoch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairndb/cairn/cluster/slotmap"
)

// Options configure a Group.
type Options struct {
	// Dir is the group's own folder. A full sync never copies it: votes belong to one node.
	Dir    string
	Self   slotmap.NodeID
	Dialer Dialer
	// Lease is how long a primary is fenced for after its last renewal: cluster-node-timeout. All nodes have the same.
	Lease time.Duration
	// Election is Raft's time-out; if 0 a third of the lease, but 300 ms at least and 1 s at most.
	Election time.Duration
	// Patience is for how long a dead voter is kept, 30 s if 0.
	Patience time.Duration
	// Seen is the greatest epoch that gossip has heard of; nil for none.
	Seen func() uint64
	// Offer answers for this node when its shard needs a new primary. The node promises to take nothing more from a primary
	// of that epoch or an earlier one, and keeps the promise over a restart. nil: this node is no candidate.
	Offer func(ctx context.Context, shard ShardID, epoch uint64) Offer
	// Doubt: this node may have lost the end of its log; see Group.Doubt.
	Doubt uint64
	// Lost: this node has lost its data; see Group.Lose.
	Lost bool
	// Manual: shards whose primary died get a new one by Failover only.
	Manual bool
	Clock  Clock
	Logger *slog.Logger
}

func (o *Options) defaults() error {
	if o.Dir == "" || o.Self == "" || o.Dialer == nil || o.Lease <= 0 {
		return errors.New("epoch: Dir, Self, Dialer and Lease are required")
	}
	if o.Election == 0 {
		o.Election = min(max(o.Lease/3, 300*time.Millisecond), time.Second)
	}
	if o.Patience == 0 {
		o.Patience = 30 * time.Second
	}
	if o.Seen == nil {
		o.Seen = func() uint64 { return 0 }
	}
	if o.Clock == nil {
		o.Clock = Boottime{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Group is this node's part in the cluster's one Raft group: as a voter, or as one who follows its table.
type Group struct {
	o      Options
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	peers  *peers
	lease  *keeper
	table  atomic.Pointer[Table]
	view   atomic.Pointer[View]
	poke   chan struct{} // the leader's work may have changed

	// life is held while the member is replaced, which waits for disk; mu never while anything is waited for.
	life sync.Mutex
	mu   struct {
		sync.Mutex
		closed   bool
		member   *member
		changed  chan struct{} // closed when the table changes
		conns    map[net.Conn]struct{}
		replaced map[ShardID]time.Duration // when this leader last replaced a primary
	}
}

// ErrClosed: the group was closed on this node.
var ErrClosed = errors.New("epoch: closed")

// Open opens or creates this node's part in the group. Without one it waits until Bootstrap is called on some node.
func Open(o Options) (*Group, error) {
	if err := o.defaults(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o750); err != nil {
		return nil, err
	}
	g := &Group{o: o, poke: make(chan struct{}, 1)}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	g.peers = newPeers(g.ctx, o.Dialer)
	g.table.Store(loadTable(o.Dir))
	g.view.Store(&View{})
	g.mu.changed = make(chan struct{})
	g.mu.replaced = make(map[ShardID]time.Duration)
	g.mu.conns = make(map[net.Conn]struct{})
	g.lease = newKeeper(g)
	id, ok, err := loadIdentity(o.Dir)
	if err == nil && ok {
		err = g.reenter(id)
	}
	if err != nil {
		g.cancel()
		return nil, err
	}
	g.wg.Go(g.follow)
	g.wg.Go(g.lead)
	g.wg.Go(g.repair)
	g.wg.Go(g.lease.run)
	return g, nil
}

// Close stops this node's part. Idempotent.
func (g *Group) Close() error {
	g.mu.Lock()
	if g.mu.closed {
		g.mu.Unlock()
		return nil
	}
	g.mu.closed = true
	for c := range g.mu.conns {
		_ = c.Close()
	}
	g.mu.Unlock()
	g.cancel()
	g.life.Lock()
	err := g.leaveMember()
	g.life.Unlock()
	g.wg.Wait()
	g.peers.close()
	return err
}

// Serve takes a connection that another node's Dialer made. It returns when the connection has ended and is closed.
func (g *Group) Serve(conn net.Conn) {
	g.mu.Lock()
	if g.mu.closed {
		g.mu.Unlock()
		_ = conn.Close()
		return
	}
	g.mu.conns[conn] = struct{}{}
	g.wg.Add(1)
	g.mu.Unlock()
	defer g.wg.Done()
	done := func() {
		g.mu.Lock()
		delete(g.mu.conns, conn)
		g.mu.Unlock()
	}
	_ = conn.SetReadDeadline(time.Now().Add(helloTimeout))
	var purpose [1]byte
	if _, err := conn.Read(purpose[:]); err != nil {
		purpose[0] = 0
	}
	switch purpose[0] {
	case purposeCalls:
		_ = conn.SetReadDeadline(time.Time{})
		serveCalls(g.ctx, conn, g.answer)
	case purposeRaft:
		c := &served{Conn: conn, closed: make(chan struct{})}
		if g.serveRaft(c) {
			<-c.closed
			done()
			return
		}
	}
	_ = conn.Close()
	done()
}

// served is a connection that Raft closes.
type served struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *served) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

func (g *Group) serveRaft(conn net.Conn) bool {
	var hello [raftHello]byte
	for n := 0; n < len(hello); {
		k, err := conn.Read(hello[n:])
		if err != nil {
			return false
		}
		n += k
	}
	_ = conn.SetReadDeadline(time.Time{})
	m := g.member()
	if m == nil || m.id != decodeIdentity(hello[:]) {
		return false
	}
	m.streams.offer(conn)
	return true
}

func (g *Group) member() *member {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mu.member
}

// enter makes this node a member under an identity, whose folder may exist. g.life is held, or nobody knows g yet.
func (g *Group) enter(id identity) error {
	if err := g.leaveMember(); err != nil {
		return err
	}
	if err := storeIdentity(g.o.Dir, id); err != nil {
		return err
	}
	dir := memberDir(g.o.Dir, id)
	_, known := os.Stat(dir)
	m, err := openMember(&g.o, dir, id, g.publish)
	if err != nil {
		return err
	}
	// A new generation means to exclude the lease of an older one, whose promises its voters must not take for none.
	m.voter.Fresh = errors.Is(known, os.ErrNotExist) && id.generation == 0
	if err := m.start(&g.o, g.wake); err != nil {
		return errors.Join(err, m.close())
	}
	g.mu.Lock()
	closed := g.mu.closed
	if !closed {
		g.mu.member = m
	}
	g.mu.Unlock()
	if closed {
		return errors.Join(ErrClosed, m.close())
	}
	return removeOthers(g.o.Dir, id)
}

// reenter makes this node a member again. Without its log, or with one that is damaged, it is none until the leader invites it.
func (g *Group) reenter(id identity) error {
	dir := memberDir(g.o.Dir, id)
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		g.o.Logger.Warn("the log of this voter is gone; the group takes it in anew")
		return nil
	}
	err := g.enter(id)
	if !errors.Is(err, errUnreadable) {
		return err
	}
	aside := filepath.Join(g.o.Dir, damagedFolder)
	g.o.Logger.Error("the log of this voter is damaged and set aside; the group takes it in anew", "err", err, "folder", aside)
	return errors.Join(os.RemoveAll(aside), os.Rename(dir, aside))
}

// leaveMember stops the member, if there is one.
func (g *Group) leaveMember() error {
	g.mu.Lock()
	m := g.mu.member
	g.mu.member = nil
	g.mu.Unlock()
	if m == nil {
		return nil
	}
	return m.close()
}

// join makes this node ready to become a voter of a group and returns its incarnation.
func (g *Group) join(cluster slotmap.NodeID, generation uint64) (uint64, error) {
	g.life.Lock()
	defer g.life.Unlock()
	if t := g.Table(); t.Formed() && (t.Cluster != cluster && t.Granted || t.Cluster == cluster && t.Generation > generation) {
		return 0, errStranger
	}
	if m := g.member(); m != nil {
		switch {
		case m.id.cluster == cluster && m.id.generation == generation:
			return m.id.incarnation, nil
		case m.id.cluster == cluster && m.id.generation > generation:
			return 0, errStranger
		case m.id.cluster != cluster && !g.mayLeave(m, cluster):
			return 0, errStranger
		}
	}
	id := identity{cluster: cluster, generation: generation, incarnation: rand.Uint64()}
	return id.incarnation, g.enter(id)
}

var errStranger = errors.New("epoch: this node belongs to another group")

// mayLeave says whether a member of one group may join another: its own has dissolved, or was not formed.
func (g *Group) mayLeave(m *member, other slotmap.NodeID) bool {
	t := m.fsm.table.Load()
	switch {
	case t.Into != "":
		return true
	case t.Granted:
		return false
	case t.Formed():
		return g.Table().Cluster == other && m.leader() == ""
	}
	return other < m.id.cluster || m.leader() == ""
}

// publish takes a table from Raft or from another node, if it is news.
func (g *Group) publish(t *Table) {
	for {
		cur := g.table.Load()
		if !supersedes(t, cur) {
			return
		}
		if g.table.CompareAndSwap(cur, t) {
			break
		}
	}
	g.mu.Lock()
	close(g.mu.changed)
	g.mu.changed = make(chan struct{})
	g.mu.Unlock()
}

// supersedes says whether t may take cur's place.
func supersedes(t, cur *Table) bool {
	switch {
	case !t.Formed():
		return !cur.Formed() && t.Version > cur.Version
	case !cur.Formed():
		return true
	case t.Cluster == cur.Cluster:
		return t.Newer(cur)
	default:
		return cur.Into == t.Cluster || yields(cur.Cluster, cur.Granted, t.Cluster, t.Granted)
	}
}

// yields says whether the group a gives way to b: it has granted nothing yet, and b has, or has the smaller ID.
func yields(a slotmap.NodeID, aGranted bool, b slotmap.NodeID, bGranted bool) bool {
	return a != b && !aGranted && (bGranted || b < a)
}

// Table is the newest table that this node knows.
func (g *Group) Table() *Table { return g.table.Load() }

// changed returns the newest table and a channel that is closed when there is a newer one.
func (g *Group) changed() (*Table, <-chan struct{}) {
	g.mu.Lock()
	ch := g.mu.changed
	g.mu.Unlock()
	return g.table.Load(), ch
}

// Await waits until this node's table has come to a version, as a Result names it. It asks who may have it: what Raft's log has decided reaches the
// others up to two commitTimeouts later.
func (g *Group) Await(ctx context.Context, version uint64) (*Table, error) {
	if t := g.Table(); t.Version >= version {
		return t, nil
	}
	asking, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { g.fetch(asking, version) })
	for {
		t, ch := g.changed()
		if t.Version >= version {
			return t, nil
		}
		select {
		case <-ch:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-g.ctx.Done():
			return nil, ErrClosed
		}
	}
}

// OnChange has fn called with the present table and with each newer one, in one goroutine; tables that come quickly are skipped.
// Don't call it once Close may have been.
func (g *Group) OnChange(fn func(*Table)) {
	g.wg.Go(func() {
		var told *Table
		for g.ctx.Err() == nil {
			t, ch := g.changed()
			if t != told {
				fn(t)
				told = t
			}
			select {
			case <-ch:
			case <-g.ctx.Done():
			}
		}
	})
}

// Reconcile tells the group what gossip knows. The leader repairs the voters and replaces dead primaries by it.
func (g *Group) Reconcile(v *View) {
	g.view.Store(v)
	g.wake()
}

func (g *Group) wake() {
	select {
	case g.poke <- struct{}{}:
	default:
	}
}

// Status is the group as this node sees it.
type Status struct {
	// State is none, follower (of the table only), or Raft's: Follower, Candidate, Leader.
	State   string
	Leader  slotmap.NodeID
	Term    uint64
	Voters  []slotmap.NodeID
	Applied uint64
	// Last is the index of the last entry in this node's log, of which the newest may be undecided.
	Last       uint64
	Cluster    slotmap.NodeID
	Generation uint64
	Epoch      uint64
}

// Status is the group as this node sees it.
func (g *Group) Status() Status {
	t := g.Table()
	s := Status{State: "none", Voters: t.Voters, Applied: t.Version, Cluster: t.Cluster, Generation: t.Generation, Epoch: t.Epoch}
	if t.Formed() {
		s.State = "learner"
	}
	if m := g.member(); m != nil && (m.id.cluster == t.Cluster || !t.Formed()) && (has(t.Voters, g.o.Self) || m.leader() != "") {
		s.State = m.raft.State().String()
		s.Leader, s.Term, s.Last = m.leader(), m.raft.CurrentTerm(), m.raft.LastIndex()
	}
	return s
}

func memberDir(dir string, id identity) string {
	return filepath.Join(dir, "raft-"+strconv.FormatUint(id.incarnation, 16))
}

func removeOthers(dir string, keep identity) error {
	all, err := filepath.Glob(filepath.Join(dir, "raft-*"))
	if err != nil {
		return err
	}
	for _, d := range all {
		if d != memberDir(dir, keep) {
			if err := os.RemoveAll(d); err != nil {
				return err
			}
		}
	}
	return nil
}

// Reset makes this node forget the group, after it was taken out of it as well as that is possible: CLUSTER RESET.
func (g *Group) Reset(ctx context.Context) error {
	if t := g.Table(); has(t.Voters, g.o.Self) && len(t.Voters) > 1 {
		g.askToLeave(ctx)
	}
	g.life.Lock()
	defer g.life.Unlock()
	if err := g.leaveMember(); err != nil {
		return err
	}
	if err := g.forgetMember(); err != nil {
		return err
	}
	if err := remove(filepath.Join(g.o.Dir, tableFile)); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.view.Store(&View{})
	g.table.Store(empty())
	close(g.mu.changed)
	g.mu.changed = make(chan struct{})
	return nil
}

// forgetMember deletes what a member that has stopped kept.
func (g *Group) forgetMember() error {
	if err := remove(filepath.Join(g.o.Dir, identityFile)); err != nil {
		return err
	}
	return removeOthers(g.o.Dir, identity{})
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// askToLeave has the leader take this node out of the voters, if that is possible before ctx ends.
func (g *Group) askToLeave(ctx context.Context) {
	if m := g.member(); m != nil && m.isLeader() {
		if err := m.transfer(); err != nil {
			g.o.Logger.Warn("no other voter takes the lead", "err", err)
			return
		}
	}
	if err := g.askLeader(ctx, callLeave, g.o.Self.Append(nil)); err != nil {
		g.o.Logger.Warn("the leader was not told that this node leaves", "err", err)
	}
}

const identityFile = "identity"

func loadIdentity(dir string) (identity, bool, error) {
	b, err := os.ReadFile(filepath.Join(dir, identityFile))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return identity{}, false, nil
	case err != nil:
		return identity{}, false, err
	}
	body, ok := unseal(b)
	if !ok || len(body) != raftHello {
		return identity{}, false, fmt.Errorf("epoch: %s is damaged: this node has to be reset and joined again", filepath.Join(dir, identityFile))
	}
	return decodeIdentity(body), true, nil
}

func storeIdentity(dir string, id identity) error {
	return writeFile(filepath.Join(dir, identityFile), seal(id.append(nil)))
}
