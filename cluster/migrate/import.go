package migrate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/cairndb/cairn/cluster/slotmap"
	"github.com/cairndb/cairn/engine"
)

const (
	// grantPatience is for how long a grant is waited for that may be under way, before the group is asked to decide again.
	grantPatience = 2 * time.Second
	// endPatience bounds how long this node may take to hear of a grant that its source has heard of.
	endPatience = 10 * time.Second
)

// importRun does what the state machine of a group asks for at its target.
type importRun struct {
	m    *Manager
	from slotmap.NodeID
	l    *link
	x    intake
	j    *job
	o    *opening
	ctx  context.Context // of the link
	term context.Context // of this node as a primary

	store    *engine.Store
	off      engine.Offset // of the last record
	letGo    func()
	delisted bool
}

// Serve takes slots in from another node. It returns when the link has ended and what came over it is settled.
func (m *Manager) Serve(from slotmap.NodeID, conn net.Conn) {
	m.mu.Lock()
	if m.mu.closed {
		m.mu.Unlock()
		_ = conn.Close()
		return
	}
	m.wg.Add(1)
	m.mu.Unlock()
	defer m.wg.Done()
	ctx, cancel := context.WithCancel(m.ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	r := &importRun{m: m, from: from, l: newLink(conn), ctx: ctx}
	var endTerm context.CancelFunc
	r.term, endTerm = m.term()
	defer endTerm()
	err := r.run()
	cancel()
	r.after(err)
}

// run serves the link until it ends.
func (r *importRun) run() error {
	for {
		kind, payload, err := r.l.read()
		if err != nil {
			return err
		}
		if kind == frameHere {
			r.alive()
			continue
		}
		h, ok := meanings[kind]
		if !ok {
			return fmt.Errorf("%w: kind %q", errFrame, kind)
		}
		if err := r.do(r.x.next(h), payload); err != nil || h == hearAbort {
			return err
		}
		if r.x.state == Success {
			return nil
		}
	}
}

var meanings = map[byte]heard{
	frameBegin: hearBegin, frameBatch: hearBatch, frameMark: hearMark, frameFinal: hearFinal, frameGranted: hearGranted, frameAbort: hearAbort,
}

func (r *importRun) alive() {
	if r.j != nil {
		r.j.heard()
	}
}

// do does one task. payload is that of the frame.
func (r *importRun) do(t task, payload []byte) error {
	reached("import:" + t.String())
	defer func() {
		if r.j != nil && !r.x.state.Ended() {
			r.j.set(r.x.state, "")
		}
	}()
	r.alive()
	switch t {
	case taskBegin:
		return r.begin(payload)
	case taskImport:
		return r.batch(payload)
	case taskAnswer, taskReady:
		return r.answer(t, payload)
	case taskEnd:
		version, ok := parseNumber(payload)
		if !ok {
			return errFrame
		}
		return r.granted(version)
	case taskDrop:
		return r.drop()
	case taskRefuse:
		return errFrame
	}
	return nil
}

// begin accepts an import, or says why not.
func (r *importRun) begin(payload []byte) error {
	o, err := parseOpening(payload)
	if err == nil {
		err = r.accept(o)
	}
	if err != nil {
		again := byte(0)
		if errors.Is(err, ErrNotNow) {
			again = 1
		}
		_, _ = r.l.write(frameRefuse, []byte{again}, []byte(cut(err.Error())))
		return err
	}
	context.AfterFunc(r.term, func() { _ = r.l.conn.Close() })
	r.m.wg.Go(func() { keepAlive(r.ctx, r.l, frameAlive) })
	_, err = r.l.write(frameAccept)
	return err
}

func (r *importRun) accept(o *opening) error {
	m := r.m
	if err := m.o.Cluster.MayImport(o.group, r.from); err != nil {
		return err
	}
	if r.term.Err() != nil {
		return fmt.Errorf("%w: this node has become a primary just now", ErrNotNow)
	}
	if err := r.enlist(o); err != nil {
		return err
	}
	r.store = m.o.Store()
	var err error
	if r.off, err = r.store.BeginImport(slotsOf(o.group)); errors.Is(err, engine.ErrSlotInUse) {
		// Nobody can reach what a node has of slots that it does not own; Redis drops it, too.
		m.log.Warn("slot migration: what this node still had of slots that come from another one is dropped", "slots", rangesText(o.group))
		if _, err = r.store.DropSlots(slotsOf(o.group)); err == nil {
			r.off, err = r.store.BeginImport(slotsOf(o.group))
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotNow, err)
	}
	return nil
}

// enlist makes the import known, unless another one has to do with the same slots.
func (r *importRun) enlist(o *opening) error {
	m := r.m
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, busy := range []*slotmap.Set{&m.mu.exporting, &m.mu.importing, &m.mu.dropping, &m.mu.leaving} {
		if slot, ok := common(busy, o.group); ok {
			return fmt.Errorf("%w: slot %d is still part of another migration", ErrNotNow, slot)
		}
	}
	i := slices.IndexFunc(m.mu.jobs, func(j *job) bool { return !j.exporting && j.name == o.name })
	if i >= 0 {
		r.j = m.mu.jobs[i]
	} else {
		r.j = newJob(o.name, false, o.all, r.from, m.o.Self)
		m.keep(r.j)
	}
	union(&m.mu.importing, o.group)
	r.o = o
	return nil
}

func (r *importRun) batch(b []byte) error {
	off, err := r.store.Import(r.term, engine.SlotBatch(b))
	if err != nil {
		return err
	}
	r.off = max(r.off, off)
	r.j.sent.Add(int64(len(b)))
	return nil
}

// answer says that everything has come and is safe. Before the last time, commands for the slots are held: they may be granted from now on.
func (r *importRun) answer(t task, payload []byte) error {
	if _, ok := parseNumber(payload); !ok {
		return errFrame
	}
	if t == taskReady {
		r.release()
		r.letGo = r.m.Holds.add(r.o.group)
	}
	if err := r.m.o.WaitHeld(r.term, r.off); err != nil {
		return err
	}
	reached("import:answered")
	_, err := r.l.write(frameMarked, payload)
	return err
}

// granted serves the slots.
func (r *importRun) granted(version uint64) error {
	began := time.Now()
	ctx, cancel := context.WithTimeout(r.term, endPatience)
	defer cancel()
	if err := r.m.o.Cluster.AwaitVersion(ctx, version); err != nil {
		return err
	}
	heard := time.Since(began)
	mine := r.m.o.Cluster.Mine(r.o.group)
	if err := r.m.endOrDrop(r.store, r.o.group, mine); err != nil {
		return err
	}
	r.release()
	r.m.log.Info("slot migration: slots are served here", "name", r.o.name, "slots", rangesText(mine), "source", r.from,
		"heard", heard.Round(10*time.Microsecond), "after", time.Since(began).Round(10*time.Microsecond))
	reached("import:ended")
	if err := r.m.o.WaitHeld(ctx, r.store.End()); err != nil {
		r.m.log.Warn("slot migration: a granted slot's data may not be on the replicas yet", "err", err)
	}
	r.finish(Success, "")
	_, _ = r.l.write(frameEnded)
	return nil
}

func (r *importRun) release() {
	if r.letGo != nil {
		r.letGo()
		r.letGo = nil
	}
}

// delist ends the import for this node: the slots may be part of another migration from now on.
func (r *importRun) delist() {
	r.release()
	if !r.delisted {
		r.delisted = true
		r.m.update(func() { minus(&r.m.mu.importing, r.o.group) })
	}
}

// finish notes how it has ended, which nobody is told before the slots are free. A job whose further groups may come is not over for that.
func (r *importRun) finish(end State, why string) {
	r.delist()
	if end == Success {
		r.x.ended()
		r.j.moved.Add(int64(r.o.group.Len()))
		if int(r.j.moved.Load()) < r.j.slots.Len() {
			return
		}
		r.m.notice("slot migration: slots have come", "name", r.j.name, "slots", rangesText(r.j.slots), "source", r.from)
	}
	r.j.set(end, why)
}

func (r *importRun) drop() error {
	r.release()
	_, err := r.store.DropSlots(slotsOf(r.o.group))
	return err
}

// after settles what the end of the link has left open. When this node is no primary any more that is for the one that has taken its place: what has
// come is in the log, so its janitor finds it.
func (r *importRun) after(err error) {
	if r.j == nil {
		return
	}
	defer r.delist()
	t := taskSettle // the grant is known, and something has failed: what it says stands
	if r.x.state != Granted {
		t = r.x.next(hearLost)
	}
	if t == taskSettle {
		t = r.settle()
	}
	if t == taskDrop && r.term.Err() == nil {
		if err := r.drop(); err != nil {
			r.m.log.Warn("slot migration: what had come is not dropped yet", "slots", rangesText(r.o.group), "err", err)
		}
	}
	if r.x.state == Success || r.m.ctx.Err() != nil {
		return
	}
	why := "the source has given up"
	if err != nil {
		why = err.Error()
	}
	if r.term.Err() != nil {
		why = context.Cause(r.term).Error()
	}
	r.finish(Failed, why)
}

// settle waits a moment for a grant that may be under way, then has the group decide again.
func (r *importRun) settle() task {
	deadline := time.Now().Add(grantPatience)
	for r.m.o.Cluster.Mine(r.o.group).Len() == 0 && time.Now().Before(deadline) {
		if pause(r.term, lookPace) != nil {
			return taskNone
		}
	}
	mine, ok := r.m.settle(r.term, r.o.group)
	if !ok {
		return taskNone
	}
	if mine.Len() == 0 {
		return r.x.next(hearOthers)
	}
	if err := r.m.endOrDrop(r.store, r.o.group, mine); err != nil {
		r.m.log.Warn("slot migration: granted slots can't be served yet", "slots", rangesText(mine), "err", err)
		return taskNone
	}
	r.finish(Success, "")
	return taskNone
}
