package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/cairndb/cairn/cluster/slotmap"
	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/server/config"
)

// Cluster is what the moves need of the cluster.
type Cluster interface {
	// DialMove opens a stream to a node's Manager.Serve.
	DialMove(ctx context.Context, to slotmap.NodeID) (net.Conn, error)
	// Serving says whether this node serves as a primary, inside its lease.
	Serving() bool
	// MoveTarget says whether this node may move the slots to the shard of a node, and returns that shard's primary. An error
	// that is ErrNotNow may pass.
	MoveTarget(set *slotmap.Set, to slotmap.NodeID) (slotmap.NodeID, error)
	// MayImport says why this node can't take the slots from another one, nil if it can.
	MayImport(set *slotmap.Set, from slotmap.NodeID) error
	// NoteLeaving puts on disk which slots may leave this node; Leaving is what a process before this one has noted.
	NoteLeaving(set *slotmap.Set) error
	Leaving() *slotmap.Set
	// PlanMove fixes what a grant of the slots to a node is based on: none comes of it once the group has decided otherwise about any of them, or
	// about the primary of either shard. The plan may be proposed again and again until the outcome is known.
	PlanMove(set *slotmap.Set, to slotmap.NodeID) (Plan, error)
	// Settle makes void every plan that was made for the slots, by whomever, and returns those that are this node's.
	Settle(ctx context.Context, set *slotmap.Set) (mine *slotmap.Set, err error)
	// AwaitVersion returns when this node routes by a table of the group that is at least that new.
	AwaitVersion(ctx context.Context, version uint64) error
	// Mine are those of the slots that this node's shard owns by the table that it routes by.
	Mine(set *slotmap.Set) *slotmap.Set
	// Remains are the slots that this node's shard has handed over and whose data this node, its primary, has yet to drop. They prove that the data
	// are old: the group keeps them (epoch.Shard.Remains).
	Remains() *slotmap.Set
	// Dropped tells the group that this node, and its replicas, have dropped what they had of slots.
	Dropped(ctx context.Context, set *slotmap.Set) error
}

// Plan asks the group for a grant. It returns the version of the table that has it, ErrDenied when it was refused for good, or another error when
// nobody knows.
type Plan func(ctx context.Context) (version uint64, err error)

var (
	// ErrDenied: the group has refused the grant, now and for ever.
	ErrDenied = errors.New("migrate: the group has refused the grant")
	// ErrNotNow: it may be possible later.
	ErrNotNow = errors.New("migrate: not now")
	// ErrNone: there is nothing to cancel.
	ErrNone error = Refusal("No migrations ongoing")
)

// Refusal is an error whose text clients get, in the words of Valkey, behind "ERR ".
type Refusal string

func (r Refusal) Error() string { return string(r) }

// Options are what a Manager is made of.
type Options struct {
	Self    slotmap.NodeID
	Cluster Cluster
	// Store is the node's store at the moment.
	Store func() *engine.Store
	// Reign ends when this node stops being a primary: what it has of its log from then on may be another one's.
	Reign func() context.Context
	// WaitHeld returns when the log is safe up to an offset: stable, and on the replicas that replication-acks asks for, or, without it, on
	// those that follow closely.
	WaitHeld func(ctx context.Context, off engine.Offset) error
	// Busy says whether MIGRATE is taking keys away.
	Busy func() bool
	// Bandwidth bounds what is sent, in bytes a second; 0 for no limit.
	Bandwidth func() int64
	Logger    *slog.Logger
}

const (
	// groupSlots bounds how many slots are handed over together.
	groupSlots = 256
	// maxExports bounds the jobs of one source that run at a time; others wait.
	maxExports = 4
	// startPatience bounds how long a new job waits for the end of an earlier one of the same slots, startPace is the time between two looks.
	startPatience = 5 * time.Second
	startPace     = 10 * time.Millisecond
	// maxKeptJobs bounds the ended jobs that are remembered (Valkey cluster-slot-migration-log-max-len).
	maxKeptJobs = 1000
	// dropDelay gives the replicas of the source time to hear of the grant: they serve reads of what is here.
	dropDelay = 500 * time.Millisecond
)

// Manager moves slots to and from this node.
type Manager struct {
	o     Options
	log   *slog.Logger
	Holds Holds

	slots    chan struct{} // one for each export that runs
	throttle throttle

	mu struct {
		sync.Mutex
		jobs []*job // the newest first
		// exporting and importing are the slots of live jobs here; dropping are moved ones whose data is still to go.
		exporting, importing, dropping slotmap.Set
		// leaving is what is noted on disk.
		leaving slotmap.Set
		closed  bool
		pauses  Pauses
	}
	notes  sync.Mutex // one write of the notes at a time
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// Pauses are for how long commands for moved slots have waited at their source.
type Pauses struct {
	Groups     int
	Last, Most time.Duration
}

// New makes a manager. It looks after what an earlier process has left behind, before this node serves it.
func New(o Options) *Manager {
	m := &Manager{o: o, log: o.Logger, slots: make(chan struct{}, maxExports)}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	m.throttle.rate = o.Bandwidth
	m.ctx, m.cancel = context.WithCancel(context.Background())
	if left := o.Cluster.Leaving(); left.Len() > 0 {
		m.mu.leaving = *left
		letGo := m.Holds.add(left)
		m.wg.Go(func() { m.resume(left, letGo) })
	}
	m.wg.Go(m.janitor)
	return m
}

// Close ends all jobs, without a word about their slots: those that are being granted stay held. Idempotent.
func (m *Manager) Close() {
	m.mu.Lock()
	m.mu.closed = true
	m.mu.Unlock()
	m.cancel()
	m.wg.Wait()
}

// Request is one job to be.
type Request struct {
	Slots  *slotmap.Set
	Target slotmap.NodeID
}

// Start begins a job for each request, or none. It waits for an earlier migration of the slots that is about to end, for a while: who has seen its
// success on the other node, or has cancelled it, may ask for the next one at once.
func (m *Manager) Start(ctx context.Context, requests []Request) error {
	var all slotmap.Set
	for _, r := range requests {
		if r.Target == m.o.Self {
			return Refusal("Target node can not be this node.")
		}
		if overlap(&all, r.Slots) {
			return Refusal("Slot ranges in migrations overlap")
		}
		union(&all, r.Slots)
	}
	for late := time.Now().Add(startPatience); ; {
		ending, err := m.tryStart(requests, &all)
		if !ending || time.Now().After(late) {
			return err
		}
		if err := pause(ctx, startPace); err != nil {
			return err
		}
	}
}

// tryStart is Start without waiting; ending says that the refusal is about to pass.
func (m *Manager) tryStart(requests []Request, all *slotmap.Set) (ending bool, _ error) {
	for _, r := range requests {
		if _, err := m.o.Cluster.MoveTarget(r.Slots, r.Target); err != nil && !errors.Is(err, ErrNotNow) {
			return false, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.closed {
		return false, errors.New("this node is stopping")
	}
	if slot, ok := common(&m.mu.exporting, all); ok {
		return m.cancelled(all), Refusal(fmt.Sprintf("I am already migrating slot %d.", slot))
	}
	if slot, ok := common(&m.mu.importing, all); ok { // they are this node's
		return true, Refusal(fmt.Sprintf("I am already migrating slot %d.", slot))
	}
	for _, moved := range []*slotmap.Set{&m.mu.leaving, &m.mu.dropping} {
		if slot, ok := common(moved, all); ok {
			return true, Refusal(fmt.Sprintf("Slot %d has just been moved.", slot))
		}
	}
	union(&m.mu.exporting, all)
	for _, r := range requests {
		j := newJob(slotmap.NewNodeID(), true, r.Slots, m.o.Self, r.Target)
		m.keep(j)
		m.wg.Go(func() { m.export(j) })
	}
	return false, nil
}

// cancelled says whether all exports of any of the slots have been cancelled. The caller holds mu.
func (m *Manager) cancelled(set *slotmap.Set) bool {
	return !slices.ContainsFunc(m.mu.jobs, func(j *job) bool {
		return j.exporting && !j.ended() && j.ctx.Err() == nil && overlap(j.slots, set)
	})
}

// keep puts a job at the head of the list. The caller holds mu.
func (m *Manager) keep(j *job) {
	m.mu.jobs = slices.Insert(m.mu.jobs, 0, j)
	ended := 0
	m.mu.jobs = slices.DeleteFunc(m.mu.jobs, func(j *job) bool {
		if !j.ended() {
			return false
		}
		ended++
		return ended > maxKeptJobs
	})
}

// Cancel ends all exports that can still be cancelled.
func (m *Manager) Cancel() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	found := false
	for _, j := range m.mu.jobs {
		if j.exporting && !j.ended() {
			found = true
			j.stop(errCancelled)
		}
	}
	if !found {
		return ErrNone
	}
	return nil
}

// Jobs are all jobs of this node, the newest first.
func (m *Manager) Jobs() []Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]Status, len(m.mu.jobs))
	for i, j := range m.mu.jobs {
		out[i] = j.status()
	}
	return out
}

// Pauses tells for how long commands have waited.
func (m *Manager) Pauses() Pauses {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.pauses
}

// Moving says whether a slot is part of a job here.
func (m *Manager) Moving(slot uint16) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.exporting.Has(slot) || m.mu.importing.Has(slot)
}

// notice logs what an operator should see.
func (m *Manager) notice(msg string, args ...any) {
	m.log.Log(m.ctx, config.LevelNotice, msg, args...)
}

// update changes what the manager knows, under its lock.
func (m *Manager) update(fn func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	fn()
}

// note adds slots to those that are noted on disk, or takes them away.
func (m *Manager) note(set *slotmap.Set, leaving bool) error {
	m.notes.Lock()
	defer m.notes.Unlock()
	m.mu.Lock()
	next := m.mu.leaving
	m.mu.Unlock()
	if leaving {
		union(&next, set)
	} else {
		minus(&next, set)
	}
	if err := m.o.Cluster.NoteLeaving(&next); err != nil {
		return err
	}
	m.update(func() { m.mu.leaving = next })
	return nil
}

// resume looks after slots that a process before this one was about to give away. As a replica it only waits: they are its primary's.
func (m *Manager) resume(set *slotmap.Set, letGo func()) {
	defer letGo()
	mine, ok := m.settle(m.ctx, set)
	if !ok {
		return
	}
	letGo()
	if gone := without(set, mine); gone.Len() > 0 {
		m.notice("slot migration: slots had moved before this node was stopped", "slots", rangesText(gone))
		m.drop(gone)
	}
	if mine.Len() == 0 {
		return
	}
	m.notice("slot migration: cancelled by this node's stop", "slots", rangesText(mine))
	if err := m.note(mine, false); err != nil {
		m.log.Warn("slot migration: the note about slots that have stayed is still there", "err", err)
	}
}

const (
	janitorPace = 200 * time.Millisecond
	settlePause = 500 * time.Millisecond
)

var errDemoted error = fatal{errors.New("this node is no primary any more")}

// term ends with this node's time as a primary (errDemoted), or when the manager is closed. Ask for it before whether this node is one.
func (m *Manager) term() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(m.ctx)
	stop := context.AfterFunc(m.o.Reign(), func() { cancel(errDemoted) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// settle has the group decide again about slots as soon as this node serves; ok is false when ctx ends first.
func (m *Manager) settle(ctx context.Context, set *slotmap.Set) (mine *slotmap.Set, ok bool) {
	for {
		if m.o.Cluster.Serving() {
			try, cancel := context.WithTimeout(ctx, linkTimeout)
			mine, err := m.o.Cluster.Settle(try, set)
			cancel()
			if err == nil {
				return mine, true
			}
			m.log.Warn("slot migration: the group has not answered whose the slots are", "slots", rangesText(set), "err", err)
		}
		if pause(ctx, settlePause) != nil {
			return nil, false
		}
	}
}

// janitor ends imports that were left behind: by a process before this one, or by the primary whose place this node has taken.
func (m *Manager) janitor() {
	for pause(m.ctx, janitorPace) == nil {
		m.update(m.forsake)
		m.sweep()
		store := m.o.Store()
		if len(store.Importing()) == 0 || !m.o.Cluster.Serving() {
			continue
		}
		left := new(slotmap.Set)
		m.update(func() { // an import is known here before it begins, and until it has ended
			for _, slot := range store.Importing() {
				left.Add(slot)
			}
			minus(left, &m.mu.importing)
			union(&m.mu.importing, left)
		})
		if left.Len() > 0 {
			m.adopt(store, left)
		}
	}
}

// forsake ends imports whose source has not gone on with their next group: it has died, or has turned to another primary. The caller holds mu.
func (m *Manager) forsake() {
	for _, j := range m.mu.jobs {
		if !j.exporting && !j.ended() && !overlap(&m.mu.importing, j.slots) && time.Now().UnixMilli()-j.acked.Load() > linkTimeout.Milliseconds() {
			j.set(Failed, "the source has not gone on")
		}
	}
}

// adopt ends an import that nobody serves.
func (m *Manager) adopt(store *engine.Store, left *slotmap.Set) {
	term, cancel := m.term()
	defer cancel()
	letGo := m.Holds.add(left)
	defer letGo()
	defer m.update(func() { minus(&m.mu.importing, left) })
	mine, ok := m.settle(term, left)
	if !ok {
		return
	}
	if err := m.endOrDrop(store, left, mine); err != nil {
		m.log.Warn("slot migration: an import that was left behind", "slots", rangesText(left), "err", err)
		return
	}
	m.notice("slot migration: ended an import that was left behind", "granted", rangesText(mine), "dropped", rangesText(without(left, mine)))
}

// endOrDrop makes visible what has been granted, and drops the rest.
func (m *Manager) endOrDrop(store *engine.Store, set, mine *slotmap.Set) error {
	if mine.Len() > 0 {
		if _, err := store.EndImport(slotsOf(mine)); err != nil {
			return err
		}
	}
	if rest := without(set, mine); rest.Len() > 0 {
		_, err := store.DropSlots(slotsOf(rest))
		return err
	}
	return nil
}

// pause waits, unless ctx ends before.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func union(a, b *slotmap.Set) {
	for i := range a {
		a[i] |= b[i]
	}
}

func minus(a, b *slotmap.Set) {
	for i := range a {
		a[i] &^= b[i]
	}
}

func without(a, b *slotmap.Set) *slotmap.Set {
	out := *a
	minus(&out, b)
	return &out
}

func both(a, b *slotmap.Set) *slotmap.Set {
	out := *a
	for i := range out {
		out[i] &= b[i]
	}
	return &out
}

// common is the first slot that is in both sets.
func common(a, b *slotmap.Set) (slot uint16, ok bool) {
	if ranges := both(a, b).Ranges(); len(ranges) > 0 {
		return ranges[0].First, true
	}
	return 0, false
}
