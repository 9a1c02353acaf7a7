package cluster

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cairndb/cairn/cluster/epoch"
	"github.com/cairndb/cairn/replication"
)

// A node's role is the group's word, or before there is one its own. The goroutine below brings replication in line with it, as roleState decides.
//
// Whoever changes the role (this goroutine, an offer, a hand-over) holds changing, and the order is always the same: the node leads after its store takes writes
// of its own, and leads no more before its store follows. So a command that finds the store following, although it is routed to this node, can be
// routed again: it is sent to another node, or waits at the gate.

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

func (c *Cluster) wantedPart() part {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.table.part()
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
	keeper := roleKeeper{c: c}
	for {
		select {
		case <-c.roleChanged:
		case <-timer.C:
		case <-c.ctx.Done():
			return
		}
		if keeper.step() {
			timer.Reset(roleHaste)
		} else {
			timer.Reset(rolePace)
		}
	}
}

// roleKeeper takes the steps that roleState decides on.
type roleKeeper struct {
	c       *Cluster
	state   roleState
	failing error
}

// step takes one step towards the role; soon says that another one should follow at once.
func (k *roleKeeper) step() (soon bool) {
	c := k.c
	rep := c.replicator()
	if rep == nil {
		c.leading.Store(c.o.GroupDir == "") // nobody waits for a role, or it comes soon
		return false
	}
	c.changing.Lock()
	defer c.changing.Unlock()
	s := c.standing(rep)
	step := k.state.step(s)
	if s.want.halted || s.want.primary != "" {
		c.leading.Store(false)
	}
	if step.continues {
		c.continues(s.want)
	}
	err := c.take(rep, step, s, k.state.told && !k.state.leads)
	if err == nil {
		k.state.took(step.act, s.want)
		c.certain(step.certain)
	} else if k.failing == nil || k.failing.Error() != err.Error() {
		c.log.Error("cluster: can't take the role", "primary", s.want.primary, "epoch", s.want.epoch, "err", err)
	}
	k.failing = err
	c.openGate()
	return step.soon && err == nil
}

// standing looks at the role.
func (c *Cluster) standing(rep Replicator) standing {
	s := standing{now: time.Since(c.started), want: c.wantedPart(), fenced: c.fenced.Load(), leased: c.leased(), lease: c.lease, relead: c.relead.Swap(false), lost: c.Lost()}
	switch {
	case s.want.halted:
	case s.want.primary != "":
		st := rep.Status()
		s.following = st.Link != nil
		s.linked = s.following && st.Link.Up
		s.whole = s.linked && st.Link.Staleness >= 0
	case !s.fenced:
		if g := c.group.Load(); g != nil && c.grants() != nil && (g.Serving() || !c.founding(g)) {
			c.fenced.Store(true)
			s.fenced = true
		}
	}
	return s
}

// take does what a step says.
func (c *Cluster) take(rep Replicator, step roleStep, s standing, followed bool) error {
	switch step.act {
	case beginToLead:
		return c.lead(rep, s.want, followed)
	case beginToFollow:
		c.log.Info("cluster: this node follows", "primary", s.want.primary, "host", s.want.host, "port", s.want.port, "epoch", s.want.epoch)
		return rep.ReplicaOf(s.want.host, s.want.port)
	case haltNow:
		return rep.Halt()
	case askGrant:
		c.regrant(s.want)
	case stay:
	}
	return nil
}

// lead begins to serve as a primary.
func (c *Cluster) lead(rep Replicator, want part, followed bool) error {
	if c.grants() != nil {
		c.rule(rep, want.epoch, replication.Rule{Bound: true}) // nothing is acknowledged before it is known who is in sync
	}
	if err := rep.NoOne(); err != nil {
		return err
	}
	c.leading.Store(true)
	if followed {
		c.log.Info("cluster: this node is its shard's primary", "epoch", want.epoch)
	}
	return nil
}

// continues notes that this node's log continues that of the primary which it was told to follow, or to be, unless that has changed meanwhile.
func (c *Cluster) continues(p part) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.mu.table
	if at := max(p.epoch, 1); t.follows != at && t.primaryOf(t.self) == p.primary && t.epochOf(t.me()) == p.epoch {
		t.follows = at
		c.regained()
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

// openGate lets go who waits at the gate, when the node serves, or sends its clients to another one.
func (c *Cluster) openGate() {
	if !c.Serving() && c.View().self.Primary == "" {
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
