package epoch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairndb/cairn/cluster/slotmap"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"
)

// member is this node's part in one group: a Raft server with its log, from which a voter is made when the leader says so.
type member struct {
	id      identity
	began   time.Duration // by the clock, when it was opened
	self    slotmap.NodeID
	raft    *raft.Raft
	fsm     *fsm
	streams *streams
	net     *raft.NetworkTransport
	log     *wal.WAL
	meta    *metadb.BoltMetaDB // the log's; it doesn't close it itself
	config  *raft.Config
	snaps   raft.SnapshotStore

	notes  chan bool     // from Raft, when this member becomes the leader or is it no more
	opened atomic.Uint64 // the last term that this member opened as its leader
	pace   pace
	wg     sync.WaitGroup

	voterMu sync.Mutex
	voter   *Voter

	// asking is held, shared, by who waits for Raft's answer: one that is shut down meanwhile (v1.8.0, runFSM) may never give it.
	asking  sync.RWMutex
	closing bool
}

const (
	walSegment    = 1 << 20 // preallocated twice; an entry may be larger
	snapshotEvery = 1000    // entries
	trailingLogs  = 512
	// commitTimeout is when followers hear that the last entry was decided, at the latest twice as late: a new primary's lease, and
	// with it the pause of a failover or a move, waits for that. An idle leader pays about 70 small messages a second and voter.
	commitTimeout = 10 * time.Millisecond
)

// openMember opens or creates a member's folder.
func openMember(o *Options, dir string, id identity, publish func(*Table)) (_ *member, err error) {
	m := &member{id: id, began: o.Clock.Now(), self: o.Self, fsm: newFSM(o.Clock, publish), voter: NewVoter(o.Lease, o.Clock.Now())}
	logDir := filepath.Join(dir, "log")
	if err := os.MkdirAll(logDir, 0o750); err != nil {
		return nil, err
	}
	logger := raftLogger(o.Logger)
	m.meta = &metadb.BoltMetaDB{}
	m.log, err = wal.Open(logDir, wal.WithSegmentSize(walSegment), wal.WithLogger(logger), wal.WithMetaStore(m.meta))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("epoch: open log: %w", err), m.meta.Close())
	}
	if err := m.readable(); err != nil {
		return nil, errors.Join(err, m.log.Close(), m.meta.Close())
	}
	if m.snaps, err = raft.NewFileSnapshotStoreWithLogger(dir, 2, logger); err != nil {
		return nil, errors.Join(err, m.log.Close(), m.meta.Close())
	}
	m.config = raftConfig(o)
	m.config.Logger = logger
	return m, nil
}

// errUnreadable: the member's log is damaged. Raft would panic.
var errUnreadable = errors.New("epoch: the group's log can't be read")

// readable reads the whole log, which is short.
func (m *member) readable() error {
	first, err := m.log.FirstIndex()
	if err != nil {
		return fmt.Errorf("%w: %w", errUnreadable, err)
	}
	last, err := m.log.LastIndex()
	if err != nil {
		return fmt.Errorf("%w: %w", errUnreadable, err)
	}
	var entry raft.Log
	for i := first; i <= last && last > 0; i++ {
		if err := m.log.GetLog(i, &entry); err != nil {
			return fmt.Errorf("%w: entry %d: %w", errUnreadable, i, err)
		}
	}
	return nil
}

// start lets the member take part. Changed is called when it becomes the leader, or is it no more.
func (m *member) start(o *Options, changed func()) (err error) {
	m.streams = newStreams(o.Dialer, o.Self, m.id)
	m.net = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: m.streams, MaxPool: 2, Timeout: max(2*o.Election, time.Second), Logger: m.config.Logger,
		// No pipelines: one whose answers stop coming (v1.8.0, pipelineSend) blocks replication to that peer, and Shutdown, for ever.
		MaxRPCsInFlight: 1,
	})
	m.notes = make(chan bool, 1)
	m.config.NotifyCh = m.notes
	m.wg.Go(func() {
		for range m.notes {
			changed()
		}
	})
	m.raft, err = raft.NewRaft(m.config, m.fsm, m.log, m.log, m.snaps, m.net)
	return err
}

func raftConfig(o *Options) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(o.Self)
	c.HeartbeatTimeout, c.ElectionTimeout = o.Election, o.Election
	c.LeaderLeaseTimeout = o.Election // a shorter one would only make leaders of slow machines step down: nobody is fenced by it
	c.CommitTimeout = min(commitTimeout, o.Election/6)
	c.SnapshotThreshold, c.TrailingLogs = snapshotEvery, trailingLogs
	c.ShutdownOnRemove = false
	c.NoLegacyTelemetry = true
	return c
}

// close stops the member. Idempotent as far as Raft is.
func (m *member) close() error {
	m.asking.Lock() // a leader without a majority gives up soon
	m.closing = true
	m.asking.Unlock()
	var errs []error
	if m.raft != nil {
		errs = append(errs, m.raft.Shutdown().Error())
	}
	if m.net != nil {
		m.net.CloseStreams()
		errs = append(errs, m.net.Close())
	}
	if m.notes != nil {
		close(m.notes)
		m.wg.Wait()
	}
	return errors.Join(append(errs, m.log.Close(), m.meta.Close())...)
}

// ask waits for Raft's answer to what do asks of it.
func (m *member) ask(do func(*raft.Raft) raft.Future) error {
	m.asking.RLock()
	defer m.asking.RUnlock()
	if m.closing {
		return raft.ErrRaftShutdown
	}
	return do(m.raft).Error()
}

// transfer gives the lead to another voter.
func (m *member) transfer() error {
	return m.ask(func(r *raft.Raft) raft.Future { return r.LeadershipTransfer() })
}

func (m *member) isLeader() bool { return m.raft.State() == raft.Leader }

// leads is the term that this member leads and has opened.
func (m *member) leads() (term uint64, ok bool) {
	term = m.opened.Load()
	return term, term != 0 && m.isLeader() && term == m.raft.CurrentTerm()
}

// open begins this leader's term, once: afterwards everything that was in its log before is decided, and is in its table.
func (m *member) open(timeout time.Duration) {
	term := m.raft.CurrentTerm()
	if m.opened.Load() == term {
		return
	}
	body := appendRequest(nil, &Request{ID: NewRequestID(), Op: OpOpen})
	if m.ask(func(r *raft.Raft) raft.Future { return r.Apply(body, timeout) }) == nil {
		m.opened.Store(term)
	}
}

// leader is the leader that this member knows, empty for none.
func (m *member) leader() slotmap.NodeID {
	_, id := m.raft.LeaderWithID()
	return slotmap.NodeID(id)
}

// follows says whether the table comes by Raft's log at the moment.
func (m *member) follows(within time.Duration) bool {
	return m.isLeader() || m.leader() != "" && time.Since(m.raft.LastContact()) < within
}

// decides says whether the member's group has a table, and goes by it.
func (m *member) decides() bool {
	t := m.fsm.table.Load()
	return t.Formed() && t.Into == ""
}

// barren says whether the member is one of the first voters of a group that has come to nothing: as far as this node has heard, it has not even been asked to adopt
// claims. Such a member has promised nothing to anybody, and who leaves it takes nothing away that the group may have decided.
func (m *member) barren() bool {
	servers, err := m.servers()
	if err != nil || len(servers) == 0 || m.fsm.table.Load().Formed() {
		return false
	}
	first, err := m.log.FirstIndex()
	if err != nil || first > 1 {
		return false
	}
	last, err := m.log.LastIndex()
	if err != nil {
		return false
	}
	for i := first; i <= last; i++ {
		var l raft.Log
		if m.log.GetLog(i, &l) != nil {
			return false
		}
		if r, err := decodeRequest(l.Data); l.Type == raft.LogCommand && (err != nil || r.Op != OpOpen) {
			return false
		}
	}
	return true
}

// servers is the group's latest configuration.
func (m *member) servers() ([]raft.Server, error) {
	f := m.raft.GetConfiguration()
	if err := f.Error(); err != nil {
		return nil, err
	}
	return f.Configuration().Servers, nil
}

// bootstrap makes this member the founder of a group of voters.
func (m *member) bootstrap(voters map[slotmap.NodeID]uint64) error {
	var c raft.Configuration
	for id, incarnation := range voters {
		c.Servers = append(c.Servers, raft.Server{ID: raft.ServerID(id), Address: raftAddress(id, incarnation)})
	}
	err := m.raft.BootstrapCluster(c).Error()
	if errors.Is(err, raft.ErrCantBootstrap) {
		return nil // it was begun before, and this is the second try
	}
	return err
}

// renew answers for this member as a voter.
func (m *member) renew(now time.Duration, r Renewal) Promise {
	m.voterMu.Lock()
	defer m.voterMu.Unlock()
	m.voter.adopted = m.fsm.adopted.Load()
	return m.voter.Renew(now, m.fsm.table.Load(), m.raft.LastIndex(), r)
}

func (m *member) release(r Renewal) {
	m.voterMu.Lock()
	defer m.voterMu.Unlock()
	m.voter.Release(r)
}

func (m *member) agree(now time.Duration, shard ShardID, epoch uint64) time.Duration {
	m.voterMu.Lock()
	defer m.voterMu.Unlock()
	m.voter.adopted = m.fsm.adopted.Load()
	return m.voter.Agree(now, shard, epoch)
}
