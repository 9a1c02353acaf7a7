package replication

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairndb/cairn/engine"
	wal "github.com/cairndb/cairn/engine/log"
)

// ErrClosed: the manager is closed, or is replacing its store.
var ErrClosed = errors.New("replication: closed")

// Options describe a node; they don't change.
type Options struct {
	// NodeID names the node to its primary.
	NodeID string
	// Dir and FS are the store's folder.
	Dir string
	FS  vfs.FS
	// LogSegmentBytes is the size of the segments of a log that is fetched.
	LogSegmentBytes int64
	// Replace closes the store, calls swap with its folder and options, and opens it again, as a follower (Options.Follow), also when swap has
	// failed. It returns swap's error if the store is open again, and no store if it could not be opened.
	Replace func(ctx context.Context, swap func(dir string, o engine.Options) error) (*engine.Store, error)
	// Dial connects to a primary; plain TCP if nil.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// Logger is discarded if nil.
	Logger *slog.Logger
}

// Compression says when the stream is compressed.
type Compression uint8

// The choices.
const (
	CompressAuto Compression = iota // unless the link is loopback
	CompressYes
	CompressNo
)

// Settings may be changed at any time.
type Settings struct {
	User, Password string // masteruser, masterauth
	// Address and Port are where clients reach the node (replica-announce-ip, -port). An empty address is where its connection comes from.
	Address     string
	Port        int
	PingPeriod  time.Duration // repl-ping-replica-period; a ping comes twice a second at least
	Timeout     time.Duration // repl-timeout
	SyncRate    int64         // bytes a second of a full sync, 0 for no limit
	Compression Compression
	// MaxHeld bounds the log that is kept beyond the backlog for a connected replica that is behind; 0 for no bound.
	MaxHeld uint64
}

// DefaultSettings are Redis's defaults.
func DefaultSettings() Settings {
	return Settings{PingPeriod: 10 * time.Second, Timeout: 60 * time.Second, MaxHeld: 16 << 30}
}

// Manager is a node's part in replication: it serves replicas, and may itself be one.
//
// Lock order: roleMu, mu, acks.mu. roleMu is held while a role changes, which takes as long as it takes.
type Manager struct {
	o        Options
	settings atomic.Pointer[Settings]
	acks     Acks

	roleMu sync.Mutex

	mu        sync.Mutex
	store     *engine.Store
	sessions  map[*session]context.CancelFunc
	retained  map[string]*retained
	link      *link
	replacing bool
	closed    bool
	active    sync.WaitGroup     // sessions
	reign     context.Context    // see Reign; changed under roleMu, too
	endReign  context.CancelFunc // under roleMu

	filling     atomic.Bool
	smallRepair int64 // the constant; tests change it under mu

	fullSyncs, partialOK, partialErr, slotSyncs atomic.Uint64 // as a primary
	rewinds, slotRepairs                        atomic.Uint64 // as a replica
	fetched, reused                             atomic.Uint64 // bytes of full syncs and slots, as a replica
}

// retained keeps the log for a replica that is gone for a moment.
type retained struct {
	hold  *wal.Hold
	timer *time.Timer
}

// NewManager returns a manager of an open store. If the store follows, ReplicaOf has to be called.
func NewManager(store *engine.Store, o Options, s Settings) *Manager {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Dial == nil {
		o.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}
	}
	m := &Manager{o: o, store: store, sessions: map[*session]context.CancelFunc{}, retained: map[string]*retained{}, smallRepair: smallRepair}
	m.beginReign()
	m.SetSettings(s)
	return m
}

// SetSettings changes the settings at once; those of a connection under way (compression, password, address) with the next one.
func (m *Manager) SetSettings(s Settings) {
	d := DefaultSettings()
	if s.PingPeriod <= 0 {
		s.PingPeriod = d.PingPeriod
	}
	if s.Timeout <= 0 {
		s.Timeout = d.Timeout
	}
	m.settings.Store(&s)
}

func (m *Manager) timeout() time.Duration { return m.settings.Load().Timeout }

// levelNotice is what operators see by default: server/config's LevelNotice.
const levelNotice = slog.LevelInfo + 2

func (m *Manager) notice(msg string, args ...any) {
	m.o.Logger.Log(context.Background(), levelNotice, msg, args...)
}

// Acks knows what the connected replicas have acknowledged.
func (m *Manager) Acks() *Acks { return &m.acks }

// GoodReplicas returns how many replicas follow and were heard of within maxLag (min-replicas-to-write, min-replicas-max-lag).
func (m *Manager) GoodReplicas(maxLag time.Duration) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for s := range m.sessions {
		if s.online() && s.lag() <= maxLag {
			n++
		}
	}
	return n
}

// Filling says whether the node, as a replica, is getting its first data: what it has is not the primary's data of any time that a client could have seen.
func (m *Manager) Filling() bool { return m.filling.Load() }

// Store is the store in use; it changes when it is replaced.
func (m *Manager) Store() *engine.Store {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.store
}

// ReplicaOf makes the node a replica of the one at host and port, or of another one than before. It returns when the store takes
// no more writes; the rest goes on by itself.
func (m *Manager) ReplicaOf(host string, port int) error {
	m.roleMu.Lock()
	defer m.roleMu.Unlock()
	if err := m.stopLink(); err != nil {
		return err
	}
	if err := m.follow(); err != nil {
		return err
	}
	l := &link{m: m, host: host, port: port}
	m.mu.Lock()
	m.link = l
	m.mu.Unlock()
	l.start()
	return nil
}

// NoOne makes the node a primary: a new term begins at the end of what it has.
func (m *Manager) NoOne() error {
	m.roleMu.Lock()
	defer m.roleMu.Unlock()
	if err := m.stopLink(); err != nil {
		return err
	}
	if err := m.Store().Promote(); err != nil {
		return err
	}
	m.beginReign()
	m.filling.Store(false)
	return engine.DiscardIncoming(m.o.Dir, m.o.FS)
}

// Halt makes the node take nothing more from anybody: its store stays, or becomes, a follower, of nobody. What came before is in the log when
// it returns. ReplicaOf or NoOne end it.
func (m *Manager) Halt() error {
	m.roleMu.Lock()
	defer m.roleMu.Unlock()
	if err := m.stopLink(); err != nil {
		return err
	}
	return m.follow()
}

// Reign ends when the node, which is a primary, takes no more writes: what waits for its replicas waits for them no longer. Ask for it before
// whether it is a primary.
func (m *Manager) Reign() context.Context {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reign
}

func (m *Manager) beginReign() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.reign == nil || m.reign.Err() != nil {
		m.reign, m.endReign = context.WithCancel(context.Background())
	}
}

// follow makes the store a follower. Caller holds roleMu.
func (m *Manager) follow() error {
	err := m.Store().Follow()
	if err == nil {
		m.endReign()
	}
	return err
}

// Freeze is Halt without waiting for the disk: nothing comes into the log any more, and Halt, ReplicaOf or NoOne has to come next.
func (m *Manager) Freeze() error {
	m.roleMu.Lock()
	defer m.roleMu.Unlock()
	if err := m.stopLink(); err != nil {
		return err
	}
	m.Store().Freeze()
	return nil
}

// stopLink ends the replica's side, and waits for it. Caller holds roleMu.
func (m *Manager) stopLink() error {
	m.mu.Lock()
	l := m.link
	m.link = nil
	closed := m.closed
	m.mu.Unlock()
	if l != nil {
		l.stop()
	}
	if closed {
		return ErrClosed
	}
	return nil
}

// Close ends everything; the store stays open. Idempotent.
func (m *Manager) Close() error {
	m.roleMu.Lock()
	defer m.roleMu.Unlock()
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	_ = m.stopLink()
	m.endSessions()
	m.mu.Lock()
	for id, r := range m.retained {
		m.release(id, r)
	}
	m.mu.Unlock()
	m.acks.close()
	m.endReign()
	return nil
}

const (
	settlePace = 2 * time.Millisecond
	// settleLag is how long a replica may have been silent that Settle waits for.
	settleLag = time.Second
)

// Settle waits, before the node stops and when no more clients write, until the replicas that are there have the whole log, or ctx ends.
func (m *Manager) Settle(ctx context.Context) {
	store := m.Store()
	if store.Following() {
		return
	}
	if _, err := store.Log().Flush(); err != nil {
		return
	}
	for end := store.Log().Written(); m.anyBehind(end) && sleep(ctx, settlePace) == nil; {
	}
}

func (m *Manager) anyBehind(end engine.Offset) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for s := range m.sessions {
		if s.online() && s.lag() <= settleLag && m.acks.of(s)[Written] < end {
			return true
		}
	}
	return false
}

// endSessions hangs up on all replicas, and waits for that.
func (m *Manager) endSessions() {
	m.mu.Lock()
	for _, cancel := range m.sessions {
		cancel()
	}
	m.mu.Unlock()
	m.active.Wait()
}

// register adds a session, in place of one of the same node that has not ended yet: its link broke and only the node knows. done
// removes it, and keeps the log for its replica for a while.
func (m *Manager) register(s *session) (ctx context.Context, done func(), err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || m.replacing {
		return nil, nil, ErrClosed
	}
	for old, cancel := range m.sessions {
		if old.hello.nodeID == s.hello.nodeID {
			cancel()
			m.acks.leave(old)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.store = m.store
	m.sessions[s] = cancel
	m.active.Add(1)
	return ctx, func() {
		cancel()
		m.mu.Lock()
		delete(m.sessions, s)
		m.retain(s)
		m.mu.Unlock()
		m.active.Done()
	}, nil
}

// retain keeps what a session held, until its replica is back or repl-timeout has passed. Caller holds mu.
func (m *Manager) retain(s *session) {
	if s.hold == nil {
		return
	}
	id := s.hello.nodeID
	if old := m.retained[id]; old != nil {
		m.release(id, old)
	}
	if m.closed || m.replacing {
		s.hold.Release()
		return
	}
	r := &retained{hold: s.hold}
	m.retained[id] = r
	r.timer = time.AfterFunc(m.timeout(), func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.retained[id] == r {
			m.release(id, r)
		}
	})
}

// release ends what retain has begun. Caller holds mu.
func (m *Manager) release(id string, r *retained) {
	if r.timer != nil {
		r.timer.Stop()
	}
	r.hold.Release()
	delete(m.retained, id)
}

// replace exchanges the store, after all its replicas were hung up on. They come again.
func (m *Manager) replace(ctx context.Context, swap func(dir string, o engine.Options) error) error {
	m.mu.Lock()
	m.replacing = true
	m.mu.Unlock()
	m.endSessions()
	m.mu.Lock()
	for id, r := range m.retained {
		m.release(id, r)
	}
	m.mu.Unlock()
	store, err := m.o.Replace(ctx, swap)
	m.mu.Lock()
	defer m.mu.Unlock()
	if store != nil {
		m.store = store
		m.replacing = false
	}
	return err
}

// compressFor decides whether the stream over a connection is compressed.
func (m *Manager) compressFor(conn net.Conn) bool {
	switch m.settings.Load().Compression {
	case CompressYes:
		return true
	case CompressNo:
		return false
	}
	addr, ok := conn.RemoteAddr().(*net.TCPAddr)
	return !ok || !addr.IP.IsLoopback()
}
