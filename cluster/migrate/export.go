package migrate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cairndb/cairn/cluster/slotmap"
	"github.com/cairndb/cairn/engine"
	wal "github.com/cairndb/cairn/engine/log"
)

const (
	connectTimeout   = 5 * time.Second
	establishTimeout = 10 * time.Second
	markTimeout      = 30 * time.Second
	// drainPatience is for how long commands wait for the last records to arrive before they are let go again.
	drainPatience = time.Second
	// proposePatience bounds one proposal; it is made again until the outcome is known.
	proposePatience = 3 * time.Second
	// nearTime: when sending what was written since takes no longer than this, from end to end, little is left.
	nearTime = 10 * time.Millisecond
	// enoughRounds is how often more is asked of a writer that leaves ever more to be sent.
	enoughRounds = 50
	// nearBytes is how much of the log may be left to be sent while commands wait. Twice as much each time it was more.
	nearBytes    = 2 << 20
	lookPace     = 50 * time.Millisecond
	firstBackoff = 200 * time.Millisecond
	maxBackoff   = 5 * time.Second
	checkPace    = 100 * time.Millisecond
)

// fatal is an error that further tries don't change.
type fatal struct{ error }

func (f fatal) Unwrap() error { return f.error }

// export runs a job at its source: its slots in groups, one after the other.
func (m *Manager) export(j *job) {
	defer j.stop(nil)
	defer m.update(func() { minus(&m.mu.exporting, j.slots) })
	select {
	case m.slots <- struct{}{}:
		defer func() { <-m.slots }()
	case <-j.ctx.Done():
		j.set(Cancelled, "")
		return
	case <-m.ctx.Done():
		return
	}
	began := time.Now()
	m.notice("slot migration: begins", "name", j.name, "slots", rangesText(j.slots), "target", j.target)
	m.estimate(j, j.slots)
	left := j.slots
	for _, group := range split(j.slots, groupSlots) {
		if end := m.exportGroup(j, group, left); end != Success {
			return
		}
		j.moved.Add(int64(group.Len()))
		m.update(func() { minus(&m.mu.exporting, group) })
		left = without(left, group)
		m.estimate(j, left)
	}
	j.remaining.Store(0)
	j.set(Success, "")
	m.notice("slot migration: done", "name", j.name, "slots", rangesText(j.slots), "target", j.target, "bytes", j.sent.Load(), "took", time.Since(began).Round(time.Millisecond))
}

// estimate is about how many bytes the slots have.
func (m *Manager) estimate(j *job, set *slotmap.Set) {
	store, n := m.o.Store(), int64(0)
	each(m.o.Cluster.Mine(set), func(slot uint16) { n += store.SlotCounts(slot).Bytes })
	j.remaining.Store(n)
}

// split makes groups of at most n slots.
func split(set *slotmap.Set, n int) (groups []*slotmap.Set) {
	var group *slotmap.Set
	count := 0
	each(set, func(slot uint16) {
		if count%n == 0 {
			group = new(slotmap.Set)
			groups = append(groups, group)
		}
		group.Add(slot)
		count++
	})
	return groups
}

// exportRun does what the state machine of a group asks for.
type exportRun struct {
	m     *Manager
	j     *job
	group *slotmap.Set
	left  *slotmap.Set // the job's that have not been moved yet, the group's included
	x     export

	ctx   context.Context // ends when the job is cancelled, or can't be done any more
	end   context.CancelCauseFunc
	why   error // of the last event
	pause time.Duration

	store *engine.Store
	link  *sourceLink
	hold  *wal.Hold
	at    engine.Offset // the tail goes on from there
	marks uint64

	letGo func()
	// held is when commands began to wait, ready when the target had all, granted when the group had answered.
	held, ready, granted time.Time
	slow                 int // how often they were let go again
	noted                bool
	plan                 Plan
	table                uint64
}

// exportGroup moves one group, and returns the state in which that ended; Granting or the like when the manager was closed.
func (m *Manager) exportGroup(j *job, group, left *slotmap.Set) State {
	r := &exportRun{m: m, j: j, group: group, left: left}
	term, endTerm := m.term()
	defer endTerm()
	r.ctx, r.end = context.WithCancelCause(term)
	defer r.end(nil)
	defer context.AfterFunc(j.ctx, func() { r.end(context.Cause(j.ctx)) })()
	stop := make(chan struct{})
	defer close(stop)
	m.wg.Go(func() { r.watch(stop) })
	defer r.closeLink()

	for e := evStart; ; {
		act := r.x.next(e)
		if act == actWait {
			m.log.Warn("slot migration: will be tried again", "name", j.name, "target", j.target, "err", r.why, "tries", r.x.tries)
		}
		if r.x.state.Ended() {
			break
		}
		j.set(r.x.state, r.message())
		err := r.do(act)
		if m.ctx.Err() != nil && err != nil {
			return r.x.state // what is held stays held
		}
		e = r.event(err)
	}
	switch r.x.state {
	case Failed:
		j.set(Failed, r.message())
		m.log.Warn("slot migration: failed", "name", j.name, "slots", rangesText(group), "target", j.target, "err", r.why)
	case Cancelled:
		j.set(Cancelled, "")
		m.notice("slot migration: cancelled", "name", j.name, "slots", rangesText(group))
	}
	return r.x.state
}

func (r *exportRun) message() string {
	if r.why == nil {
		return ""
	}
	return r.why.Error()
}

var errSlow = errors.New("commands would have waited for too long")

// event is what the result of an action means.
func (r *exportRun) event(err error) event {
	if r.x.doing == actPropose {
		switch {
		case err == nil:
			return evGranted
		case errors.Is(err, ErrDenied):
			r.why = err
			return evDenied
		}
		return evUnknown
	}
	var f fatal
	switch {
	case err != nil && (r.x.doing == actConclude || r.x.doing == actDrop):
		return evLost
	case err == nil && r.x.doing == actUndo && errors.Is(context.Cause(r.ctx), errCancelled):
		return evCancel
	case err == nil:
		return evDone
	case errors.Is(err, errSlow):
		return evSlow
	case errors.Is(err, errCancelled) || errors.Is(context.Cause(r.ctx), errCancelled):
		return evCancel
	}
	if cause := context.Cause(r.ctx); cause != nil {
		err = cause
	}
	r.why = err
	if errors.As(err, &f) {
		return evFatal
	}
	return evLost
}

// watch ends the run when this node can't move the slots any more.
func (r *exportRun) watch(stop <-chan struct{}) {
	tick := time.NewTicker(checkPace)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if _, err := r.target(); errors.As(err, &fatal{}) {
				r.end(err)
				return
			}
		case <-stop:
			return
		case <-r.m.ctx.Done():
			return
		}
	}
}

// target is the primary that the slots go to.
func (r *exportRun) target() (slotmap.NodeID, error) {
	to, err := r.m.o.Cluster.MoveTarget(r.group, r.j.target)
	if err != nil && !errors.Is(err, ErrNotNow) {
		err = fatal{err}
	}
	return to, err
}

func (r *exportRun) do(act action) error {
	reached("export:" + act.String())
	switch act {
	case actConnect:
		return r.connect()
	case actEstablish:
		return r.establish()
	case actCopy:
		return r.copy()
	case actFollow:
		return r.follow()
	case actNote:
		return r.note()
	case actHold:
		return r.holdBack()
	case actDrain:
		return r.drain()
	case actPropose:
		return r.propose()
	case actConclude:
		return r.conclude()
	case actDrop:
		r.noted = false // drop removes it
		r.m.drop(r.group)
		return nil
	case actLetGo:
		r.release()
		return nil
	case actUndo:
		return r.undo()
	case actWait:
		r.pause = min(max(firstBackoff, 2*r.pause), maxBackoff)
		return pause(r.ctx, r.pause)
	}
	return fmt.Errorf("migrate: nothing to do in state %v", r.x.state)
}

func (r *exportRun) connect() error {
	r.closeLink()
	to, err := r.target()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.ctx, connectTimeout)
	defer cancel()
	conn, err := r.m.o.Cluster.DialMove(ctx, to)
	if err != nil {
		return err
	}
	r.store = r.m.o.Store()
	r.link = newSourceLink(r.m, r.j, conn)
	return nil
}

func (r *exportRun) closeLink() {
	if r.link != nil {
		r.link.close()
		r.link = nil
	}
	if r.hold != nil {
		r.hold.Release()
		r.hold = nil
	}
}

func (r *exportRun) establish() error {
	o := opening{name: r.j.name, group: r.group, all: r.left}
	if err := r.link.send(frameBegin, o.encode()); err != nil {
		return err
	}
	_, err := r.link.wait(r.ctx, establishTimeout, frameAccept, 0)
	return err
}

func (r *exportRun) copy() error {
	log := r.store.Log()
	hold, err := log.Hold(log.End())
	if err != nil {
		return err
	}
	r.hold, r.at = hold, 0
	first := true
	for _, slot := range slotsOf(r.group) {
		at, err := r.store.ExportSlot(r.ctx, slot, r.batch)
		if err != nil {
			return r.engineError(err)
		}
		if first || at < r.at {
			r.at, first = at, false
		}
		reached("export:slot")
	}
	r.at = max(r.at, hold.Offset())
	return nil
}

// batch sends one batch as fast as it may be.
func (r *exportRun) batch(b engine.SlotBatch) error {
	n, err := r.link.l.write(frameBatch, b)
	r.j.sent.Add(int64(n))
	r.j.remaining.Store(max(0, r.j.remaining.Load()-int64(len(b))))
	if err != nil {
		return r.link.why(err)
	}
	return r.m.throttle.wait(r.ctx, n)
}

// engineError: what the log has lost, and what databases were swapped for, needs another try from the beginning.
func (r *exportRun) engineError(err error) error {
	if r.m.o.Store() != r.store {
		return fatal{errors.New("this node's data were replaced")}
	}
	return err
}

// tail sends what the log has up to an offset.
func (r *exportRun) tail(ctx context.Context, to engine.Offset) error {
	at, err := r.store.SlotTail(ctx, slotsOf(r.group), r.at, to, r.batch)
	if err != nil {
		return r.engineError(err)
	}
	r.at = at
	r.hold.Move(at)
	return nil
}

// follow goes on until it takes little time to send what was written meanwhile, and to have it held.
func (r *exportRun) follow() error {
	for round := 0; ; round++ {
		began := time.Now()
		if err := r.tail(r.ctx, r.store.End()); err != nil {
			return err
		}
		if err := r.mark(frameMark, markTimeout); err != nil {
			return err
		}
		took := time.Since(began)
		if took < nearTime || round > enoughRounds && took < drainPatience/4 {
			return nil
		}
	}
}

// mark waits until the target has everything that was sent.
func (r *exportRun) mark(kind byte, patience time.Duration) error {
	r.marks++
	if err := r.link.send(kind, number(r.marks)); err != nil {
		return err
	}
	_, err := r.link.wait(r.ctx, patience, frameMarked, r.marks)
	return err
}

// note is on disk before the slots may go, and plan fixed before anything is held.
func (r *exportRun) note() error {
	to, err := r.target()
	if err != nil {
		return err
	}
	if r.plan, err = r.m.o.Cluster.PlanMove(r.group, to); err != nil {
		return err
	}
	if err := r.m.note(r.group, true); err != nil {
		return err
	}
	r.noted = true
	// Writing it took time, in which more was written.
	if err := r.tail(r.ctx, r.store.End()); err != nil {
		return err
	}
	return r.mark(frameMark, markTimeout)
}

// holdBack returns when no command for the slots is under way.
func (r *exportRun) holdBack() error {
	r.held = time.Now()
	r.letGo = r.m.Holds.add(r.group)
	passLocks(r.store, r.group)
	if r.m.o.Busy() {
		return errSlow // MIGRATE has read keys, and is about to delete them
	}
	return r.ctx.Err()
}

// passLocks returns when those commands for held slots have ended that had begun before.
func passLocks(store *engine.Store, set *slotmap.Set) {
	txn := store.NewTxn()
	for _, slot := range slotsOf(set) {
		txn.Lock([]uint16{slot}, true)
		txn.Discard()
	}
}

// drain sends the last records and waits until the target holds everything.
func (r *exportRun) drain() error {
	if end := r.store.End(); end-r.at > nearBytes<<min(r.slow, 20) { // a large value came in the last moment
		r.slow++
		return errSlow
	}
	ctx, cancel := context.WithTimeoutCause(r.ctx, drainPatience, errSlow)
	defer cancel()
	err := r.tail(ctx, r.store.End())
	if err == nil {
		err = r.mark(frameFinal, drainPatience)
	}
	if err != nil && (errors.Is(context.Cause(ctx), errSlow) || errors.Is(err, errNoAnswer)) && r.ctx.Err() == nil {
		return errSlow
	}
	r.ready = time.Now()
	return err
}

// propose leaves nothing but the group's answer behind.
func (r *exportRun) propose() error {
	ctx, cancel := context.WithTimeout(r.m.ctx, proposePatience)
	defer cancel()
	version, err := r.plan(ctx)
	if err == nil {
		r.table, r.granted = version, time.Now()
		return nil
	}
	if !errors.Is(err, ErrDenied) {
		r.m.log.Warn("slot migration: the group has not answered; the slots wait", "slots", rangesText(r.group), "err", err)
		_ = pause(r.m.ctx, lookPace)
	}
	return err
}

// conclude lets the commands go: they are sent to the target, which serves them from now on.
func (r *exportRun) conclude() error {
	_ = r.link.send(frameGranted, number(r.table))
	paused := r.release()
	r.m.update(func() { r.m.mu.pauses.Groups++ })
	r.m.log.Info("slot migration: handed over", "name", r.j.name, "slots", rangesText(r.group), "target", r.j.target, "paused", paused.Round(10*time.Microsecond),
		"drained", r.ready.Sub(r.held).Round(10*time.Microsecond), "granted", r.granted.Sub(r.ready).Round(10*time.Microsecond))
	_, err := r.link.wait(r.m.ctx, establishTimeout, frameEnded, 0)
	return err
}

// release lets the commands go, if they are held, and returns for how long they have waited.
func (r *exportRun) release() (paused time.Duration) {
	if r.letGo == nil {
		return 0
	}
	r.letGo()
	r.letGo = nil
	paused = time.Since(r.held)
	r.m.update(func() {
		p := &r.m.mu.pauses
		p.Last, p.Most = paused, max(p.Most, paused)
	})
	return paused
}

// undo leaves everything as it was. There is no proposal that could still be granted.
func (r *exportRun) undo() error {
	r.release()
	if r.link != nil {
		_ = r.link.send(frameAbort, []byte(cut(r.message())))
	}
	r.closeLink()
	if r.noted {
		if err := r.m.note(r.group, false); err != nil {
			r.m.log.Warn("slot migration: the note about slots that have stayed is still there", "err", err)
		} else {
			r.noted = false
		}
	}
	return nil
}

func cut(s string) string { return s[:min(len(s), maxText)] }
