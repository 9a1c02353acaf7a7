package epoch

import (
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/cairndb/cairn/cluster/slotmap"
	"github.com/hashicorp/raft"
)

// fsm folds Raft's log into a table.
type fsm struct {
	table   atomic.Pointer[Table]
	clock   Clock
	publish func(*Table)
	// disowned is when slots were last seen to be taken from their owner.
	disowned atomic.Int64
	// adopted is the group's first table, if this member has seen it come, and when.
	adopted atomic.Pointer[adopted]
}

type adopted struct {
	table *Table
	at    time.Duration
}

func newFSM(c Clock, publish func(*Table)) *fsm {
	f := &fsm{clock: c, publish: publish}
	f.table.Store(empty())
	f.disowned.Store(int64(c.Now()))
	return f
}

// Apply is part of raft.FSM.
func (f *fsm) Apply(l *raft.Log) any {
	r, err := decodeRequest(l.Data)
	if err != nil {
		r = &Request{Op: OpOpen}
	}
	t, res := apply(f.table.Load(), l.Index, r)
	if err != nil {
		res.Outcome = Malformed
	}
	if r.Op == OpSlots && r.Shard == "" {
		f.disowned.Store(int64(f.clock.Now()))
	}
	if r.Op == OpAdopt && res.Outcome == OK {
		f.adopted.Store(&adopted{t, f.clock.Now()})
	}
	f.set(t)
	return res
}

// StoreConfiguration is part of raft.ConfigurationStore.
func (f *fsm) StoreConfiguration(index uint64, c raft.Configuration) {
	var voters []slotmap.NodeID
	for _, s := range c.Servers {
		if s.Suffrage == raft.Voter {
			voters = append(voters, slotmap.NodeID(s.ID))
		}
	}
	f.set(configure(f.table.Load(), index, voters))
}

func (f *fsm) set(t *Table) {
	f.table.Store(t)
	f.publish(t)
}

// sinceDisowned is how long all slots have kept an owner, as far as this node knows.
func (f *fsm) sinceDisowned() time.Duration {
	return f.clock.Now() - time.Duration(f.disowned.Load())
}

// Snapshot is part of raft.FSM.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) { return snapshot{f.table.Load()}, nil }

// Restore is part of raft.FSM.
func (f *fsm) Restore(rc io.ReadCloser) error {
	defer func() { _ = rc.Close() }()
	b, err := io.ReadAll(io.LimitReader(rc, maxFrame+1))
	if err != nil {
		return err
	}
	t, err := decodeTable(b)
	if err != nil {
		return err
	}
	f.disowned.Store(int64(f.clock.Now()))
	f.set(t)
	return nil
}

type snapshot struct{ table *Table }

// Persist is part of raft.FSMSnapshot.
func (s snapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := sink.Write(appendTable(nil, s.table, true)); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

// Release is part of raft.FSMSnapshot.
func (snapshot) Release() {}
