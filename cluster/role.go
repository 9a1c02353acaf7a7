package cluster

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cairndb/cairn/cluster/epoch"
	"github.com/cairndb/cairn/cluster/slotmap"
	"github.com/cairndb/cairn/replication"
)

// A node's role is the group's word, or before there is one its own. The goroutine below brings replication in line with it:
// a replica follows the present address of its primary; a primary that was granted begins a term of its log when it
// holds its lease, and serves from then on.

// Replicator is what the cluster tells whom to follow.
type Replicator interface {
	// ReplicaOf follows a primary, NoOne makes this node one. Halt takes nothing more from anybody: the node stays a follower, of nobody.
	ReplicaOf(host string, port int) error
	NoOne() error
	Halt() error
	// Freeze is Halt without waiting for the disk. Any of the others has to follow.
	Freeze() error
	Status() replication.Status
	// End is the end of the node's log.
	End() uint64
	// Push gives the replicas all of the log at once, and has them acknowledge what they have without delay until done is called.
	Push() (done func(), err error)
	// WaitAcked waits for the replicas that replication-acks asks for; an error says that it took too long.
	WaitAcked(ctx context.Context, off uint64) error
	// SetAckRule says which replicas count for replication-acks; AskStable has them acknowledge at once what they have.
	SetAckRule(r replication.Rule)
	AskStable()
	// Quiesce holds all writes back, and later with everything all commands, until resume is called or the time has passed. It returns when none
	// of those is under way, with the end of the log.
	Quiesce(until time.Time) (end uint64, everything, resume func())
}

// gate is where commands wait for a primary that has no lease yet.
type gate struct {
	mu     sync.Mutex
	opened chan struct{}
	since  time.Time // when the first came
}

// Attach gives the cluster what replicates the node's log. It is called once, before the node serves.
func (c *Cluster) Attach(r Replicator) {
	c.repl.Store(&r)
	c.wakeRole()
}

func (c *Cluster) replicator() Replicator {
	if r := c.repl.Load(); r != nil {
		return *r
	}
	return nil
}

func (c *Cluster) wakeRole() {
	select {
	case c.roleChanged <- struct{}{}:
	default:
	}
}

// part is the role that the node should have.
type part struct {
	epoch uint64
	// primary is whom to follow, empty for being one; halted: nobody, until there is a newer grant.
	primary slotmap.NodeID
	halted  bool
	host    string
	port    int
}

func (c *Cluster) wantedPart() part {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.mu.table
	p := part{epoch: t.epochOf(t.me()), primary: t.primaryOf(t.self)}
	p.halted = t.promised > 0 && p.epoch <= t.promised
	if peer := t.peers[p.primary]; peer != nil {
		p.host, p.port = peer.IP, peer.Port
	}
	return p
}

const (
	// rolePace is how often the role is looked at, roleHaste the same while something is awaited.
	rolePace  = 50 * time.Millisecond
	roleHaste = 2 * time.Millisecond
	// foundingGrace is for how long the first primaries serve on before they hold their first lease: nothing can have been granted to others.
	foundingGrace = 2 * time.Second
	// gatePatience is how long commands wait for the lease of a primary.
	gatePatience = time.Second
)

// roles keeps the node in its role until the cluster is closed.
func (c *Cluster) roles() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var r roleState
	for {
		select {
		case <-c.roleChanged:
		case <-timer.C:
		case <-c.ctx.Done():
			return
		}
		if c.step(&r) {
			timer.Reset(rolePace)
		} else {
			timer.Reset(roleHaste)
		}
	}
}

// roleState is what replication was told last.
type roleState struct {
	told    bool
	part    part
	leads   bool
	stuck   time.Time
	failing error
}

// step takes one step towards the role; it says whether the node has it.
func (c *Cluster) step(r *roleState) (settled bool) {
	rep := c.replicator()
	if rep == nil {
		c.leading.Store(c.o.GroupDir == "") // nobody waits for a role, or it comes soon
		return true
	}
	want := c.wantedPart()
	if c.relead.Swap(false) {
		r.leads = false
	}
	switch {
	case want.halted:
		return c.halt(r, rep, want)
	case want.primary == "":
		r.stuck = time.Time{}
		return c.lead(r, rep, want)
	default:
		r.stuck = time.Time{}
		return c.follow(r, rep, want)
	}
}

// did notes what replication answered.
func (c *Cluster) did(r *roleState, want part, leads bool, err error) bool {
	if err != nil {
		if r.failing == nil || r.failing.Error() != err.Error() {
			c.log.Error("cluster: can't take the role", "primary", want.primary, "epoch", want.epoch, "err", err)
		}
		r.failing = err
		return true // at the usual pace
	}
	r.told, r.part, r.leads, r.failing = true, want, leads, nil
	return true
}

func (c *Cluster) lead(r *roleState, rep Replicator, want part) bool {
	fenced := c.fenced.Load()
	if g := c.group.Load(); !fenced && g != nil && c.grants() != nil && (g.Serving() || !c.founding(g)) {
		c.fenced.Store(true)
		fenced = true
	}
	if r.told && r.leads && r.part.epoch == want.epoch {
		c.openGate()
		return !fenced || c.leased()
	}
	c.continues(want) // on disk before it serves, while the lease is asked for
	if fenced && !c.leased() {
		if r.told && !r.leads && !r.part.halted {
			_ = c.did(r, part{halted: true}, false, rep.Halt())
		}
		return false
	}
	if c.grants() != nil {
		c.rule(rep, want.epoch, replication.Rule{Bound: true}) // nothing is acknowledged before it is known who is in sync
	}
	err := rep.NoOne()
	if err == nil {
		c.certain(fenced)
		c.leading.Store(true)
		c.openGate()
		if r.told && !r.leads {
			c.log.Info("cluster: this node is its shard's primary", "epoch", want.epoch)
		}
	}
	return c.did(r, want, true, err)
}

func (c *Cluster) follow(r *roleState, rep Replicator, want part) bool {
	c.leading.Store(false)
	c.openGate()
	if r.told && !r.leads && !r.part.halted && r.part.host == want.host && r.part.port == want.port {
		r.part = want
		if st := rep.Status(); st.Link != nil && st.Link.Up {
			c.continues(want)
			if st.Link.Staleness >= 0 { // it has had all that its primary had since it began to follow
				c.certain(true)
			}
		}
		return true
	}
	if want.host == "" {
		return false
	}
	c.log.Info("cluster: this node follows", "primary", want.primary, "host", want.host, "port", want.port, "epoch", want.epoch)
	return c.did(r, want, false, rep.ReplicaOf(want.host, want.port))
}

// halt keeps the promise of an offer. If no grant comes of it although the primary lives, this node asks for a new one for it.
func (c *Cluster) halt(r *roleState, rep Replicator, want part) bool {
	c.leading.Store(false)
	c.openGate()
	if !r.told || !r.part.halted {
		return c.did(r, part{halted: true}, false, rep.Halt())
	}
	if r.stuck.IsZero() {
		r.stuck = time.Now()
	}
	if time.Since(r.stuck) > 2*c.lease {
		r.stuck = time.Time{}
		c.regrant(want)
	}
	return true
}

// continues notes that this node's log continues that of the primary which it was told to follow, or to be, unless that has changed meanwhile.
func (c *Cluster) continues(p part) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.mu.table
	if at := max(p.epoch, 1); t.follows != at && t.primaryOf(t.self) == p.primary && t.epochOf(t.me()) == p.epoch {
		t.follows = at
		_ = c.publish()
	}
}

// founding says whether a primary that has held no lease yet may serve: before there is a group, and for a moment afterwards. The clock is read each
// time, and not left to the goroutine above: a process that was stopped meanwhile must not serve before that has run.
func (c *Cluster) founding(g *epoch.Group) bool {
	until := c.foundingUntil.Load()
	return until == 0 || boottime() < until && (g == nil || !g.Leased())
}

// Serving says whether this node may serve the slots that it owns: before there is a group always, then inside its lease only.
// Ask before a command is run.
func (c *Cluster) Serving() bool {
	if !c.leading.Load() {
		return false
	}
	g := c.group.Load()
	return g != nil && g.Serving() || !c.fenced.Load() && c.founding(g)
}

// Leads says whether this node has begun to serve as a primary and has not given that up; whether it is inside its lease is Serving's to say.
func (c *Cluster) Leads() bool { return c.leading.Load() }

// leased says whether this node is inside its lease. It has none while it leaves its group.
func (c *Cluster) leased() bool {
	g := c.group.Load()
	return g != nil && g.Serving()
}

// MayReply says whether the reply of a command that was run as the slot's primary may still be sent. A lease that was given up for a hand-over
// covers what was run before.
func (c *Cluster) MayReply() bool {
	return c.Serving() || boottime() < c.replyUntil.Load()
}

func boottime() int64 {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return 1<<63 - 1
	}
	return ts.Nano()
}

// Wait returns a channel that is closed when it is worth trying again to serve a slot that this node owns, without a lease for the moment. nil: it
// has waited long enough.
func (c *Cluster) Wait() <-chan struct{} {
	g := &c.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.opened == nil {
		g.opened, g.since = make(chan struct{}), time.Now()
		opened := g.opened
		time.AfterFunc(gatePatience, func() { c.giveUpGate(opened) })
		c.wakeRole()
	}
	if time.Since(g.since) >= gatePatience {
		return nil
	}
	return g.opened
}

// openGate lets go who waits at the gate, unless the node is still about to serve.
func (c *Cluster) openGate() {
	if c.leading.Load() && !c.Serving() {
		return
	}
	g := &c.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.opened != nil {
		closeOnce(g.opened)
		g.opened = nil
	}
}

// giveUpGate lets go who waits at a gate that has not opened in time; it stays shut until the node serves.
func (c *Cluster) giveUpGate(opened chan struct{}) {
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	if c.gate.opened == opened {
		closeOnce(opened)
	}
}

func closeOnce(ch chan struct{}) {
	select {
	case <-ch:
	default:
		close(ch)
	}
}
