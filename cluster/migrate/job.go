package migrate

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairndb/cairn/cluster/slotmap"
)

// Status is what CLUSTER GETSLOTMIGRATIONS tells of a job.
type Status struct {
	Name           slotmap.NodeID
	Export         bool
	Slots          *slotmap.Set
	Source, Target slotmap.NodeID
	// Created, Updated and Acked are when it began, when its state changed, when the other side was heard last.
	Created, Updated, Acked time.Time
	State                   State
	Message                 string
	// Remaining is about how many bytes are still to be sent, Sent how many have been, Moved how many slots are done.
	Remaining, Sent int64
	Moved           int
}

// Operation is EXPORT or IMPORT.
func (s *Status) Operation() string {
	if s.Export {
		return "EXPORT"
	}
	return "IMPORT"
}

// job is a move of slots, as one side sees it.
type job struct {
	name           slotmap.NodeID
	exporting      bool
	slots          *slotmap.Set
	source, target slotmap.NodeID
	created        time.Time
	ctx            context.Context // of an export: ends with the operator's cancellation
	stop           context.CancelCauseFunc

	acked           atomic.Int64 // unix milliseconds
	sent, remaining atomic.Int64
	moved           atomic.Int64

	mu struct {
		sync.Mutex
		state   State
		updated time.Time
		message string
	}
}

var errCancelled = errors.New("cancelled by CLUSTER CANCELSLOTMIGRATIONS")

func newJob(name slotmap.NodeID, exporting bool, slots *slotmap.Set, source, target slotmap.NodeID) *job {
	j := &job{name: name, exporting: exporting, slots: slots, source: source, target: target, created: time.Now()}
	j.mu.updated = j.created
	j.heard()
	j.ctx, j.stop = context.WithCancelCause(context.Background())
	if !exporting {
		j.mu.state = WaitingForAck
	}
	return j
}

func (j *job) heard() { j.acked.Store(time.Now().UnixMilli()) }

func (j *job) set(state State, message string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.mu.state != state || j.mu.message != message {
		j.mu.state, j.mu.message, j.mu.updated = state, message, time.Now()
	}
}

func (j *job) ended() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.mu.state.Ended()
}

func (j *job) status() Status {
	j.mu.Lock()
	defer j.mu.Unlock()
	return Status{
		Name: j.name, Export: j.exporting, Slots: j.slots, Source: j.source, Target: j.target,
		Created: j.created, Updated: j.mu.updated, Acked: time.UnixMilli(j.acked.Load()), State: j.mu.state, Message: j.mu.message,
		Remaining: j.remaining.Load(), Sent: j.sent.Load(), Moved: int(j.moved.Load()),
	}
}

// rangesText is a set as CLUSTER GETSLOTMIGRATIONS prints it.
func rangesText(set *slotmap.Set) string {
	var b strings.Builder
	for i, r := range set.Ranges() {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(fullRange(r))
	}
	return b.String()
}

// SlotRanges is how CLUSTER GETSLOTMIGRATIONS prints the slots.
func (s *Status) SlotRanges() string { return rangesText(s.Slots) }

// fullRange is a range with both ends, also of one slot.
func fullRange(r slotmap.Range) string {
	return strconv.Itoa(int(r.First)) + "-" + strconv.Itoa(int(r.Last))
}
