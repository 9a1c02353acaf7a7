package replication

import (
	"net"
	"slices"
	"strings"
	"time"

	"github.com/cairndb/cairn/engine"
)

// Status is a snapshot, for INFO replication, ROLE and the metrics.
type Status struct {
	// Primary: the node follows nobody.
	Primary bool
	// ID is the replication ID in force; PreviousID that of the term before, which ended at SecondOffset.
	ID, PreviousID string
	SecondOffset   engine.Offset
	Offset         engine.Offset // the end of the log
	BacklogStart   engine.Offset // the first offset from which a replica can go on
	Replicas       []ReplicaStatus
	Link           *LinkStatus // of a replica

	FullSyncs, PartialOK, PartialErr uint64 // as a primary: sync_full, sync_partial_ok, sync_partial_err
	SlotSyncs                        uint64 // as a primary: slots sent to a replica whose log had parted from this one
	Rewinds, SlotRepairs             uint64 // as a replica: logs cut, with the store as it was or with slots repaired
	Fetched, Reused                  uint64 // as a replica: bytes of full syncs and slots that came, and that were there already
}

// ReplicaStatus is a connected replica, seen from its primary.
type ReplicaStatus struct {
	NodeID    string
	Address   string
	Port      int
	State     string        // wait_bgsave, send_bulk, online
	Written   engine.Offset // acknowledged
	Stable    engine.Offset
	Synced    engine.Offset
	Lag       time.Duration // since its last acknowledgement
	SyncDone  int64         // bytes of the full sync: sent, not needed, in all
	SyncReuse int64
	SyncTotal int64
}

// LinkStatus is a replica's link to its primary.
type LinkStatus struct {
	Host   string
	Port   int
	State  string        // connect, connecting, handshake, sync, connected
	Up     bool          // master_link_status
	Down   time.Duration // since when it isn't
	LastIO time.Duration // since something came; negative if nothing ever did
	// Staleness: all that the primary had so long ago is applied; negative if that was never so.
	Staleness time.Duration
	Received  uint64 // bytes of the log
	// Syncing: a full sync is under way, of so many bytes.
	Syncing                        bool
	SyncDone, SyncReuse, SyncTotal int64
	Err                            error // why the last connection ended
}

// Status returns a snapshot.
func (m *Manager) Status() Status {
	m.mu.Lock()
	store, l := m.store, m.link
	var sessions []*session
	for s := range m.sessions {
		sessions = append(sessions, s)
	}
	m.mu.Unlock()
	log := store.Log()
	st := Status{
		Primary: !store.Following(), Offset: log.End(), BacklogStart: log.Start(),
		FullSyncs: m.fullSyncs.Load(), PartialOK: m.partialOK.Load(), PartialErr: m.partialErr.Load(),
		SlotSyncs: m.slotSyncs.Load(), Rewinds: m.rewinds.Load(), SlotRepairs: m.slotRepairs.Load(),
		Fetched: m.fetched.Load(), Reused: m.reused.Load(),
	}
	terms := log.Terms()
	if n := len(terms); n > 0 {
		st.ID = terms[n-1].ID
		if n > 1 {
			st.PreviousID, st.SecondOffset = terms[n-2].ID, terms[n-1].Start
		}
	}
	for _, s := range sessions {
		st.Replicas = append(st.Replicas, s.status())
	}
	slices.SortFunc(st.Replicas, func(a, b ReplicaStatus) int { return strings.Compare(a.NodeID, b.NodeID) })
	if l != nil {
		link := l.status()
		st.Link = &link
	}
	return st
}

func (s *session) status() ReplicaStatus {
	acked := s.m.acks.of(s)
	addr := s.hello.addr
	if addr == "" {
		addr, _, _ = net.SplitHostPort(s.conn.RemoteAddr().String())
	}
	return ReplicaStatus{
		NodeID: s.hello.nodeID, Address: addr, Port: s.hello.port, State: sessionState(s.state.Load()).String(),
		Written: acked[Written], Stable: acked[Stable], Synced: acked[Synced],
		Lag:      s.lag(),
		SyncDone: s.progress.done.Load(), SyncReuse: s.progress.reused.Load(), SyncTotal: s.progress.total.Load(),
	}
}

// lag is the time since the last acknowledgement, 0 until the log is sent.
func (s *session) lag() time.Duration {
	if !s.online() {
		return 0
	}
	return time.Since(time.Unix(0, s.lastAck.Load()))
}

func (l *link) status() LinkStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	state := linkState(l.state.Load())
	st := LinkStatus{
		Host: l.host, Port: l.port, State: state.String(), Up: state == linkConnected,
		LastIO: -1, Staleness: -1, Received: l.received.Load(), Err: l.lastErr,
	}
	if at := l.lastIO.Load(); at != 0 {
		st.LastIO = time.Since(time.Unix(0, at))
	}
	if !st.Up {
		st.Down = time.Since(time.Unix(0, l.downAt.Load()))
	}
	if !l.fresh.freshAt.IsZero() {
		st.Staleness = time.Since(l.fresh.freshAt)
	}
	if l.sync != nil {
		st.Syncing = true
		st.SyncDone, st.SyncReuse, st.SyncTotal = l.sync.done.Load(), l.sync.reused.Load(), l.sync.total.Load()
	}
	return st
}

// Online is the State of a replica that gets the log.
const Online = "online"

// Link says whether a replica has its link to the primary, and how stale its data may be: all that the primary had so long ago is applied. Negative if
// that was never so.
func (m *Manager) Link() (up bool, staleness time.Duration) {
	m.mu.Lock()
	l := m.link
	m.mu.Unlock()
	if l == nil {
		return false, -1
	}
	st := l.status()
	return st.Up, st.Staleness
}
