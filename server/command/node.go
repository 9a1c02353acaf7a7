package command

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/cairndb/cairn/cluster"
	"github.com/cairndb/cairn/cluster/migrate"
	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/server/config"
)

// Node is the process-wide state that commands reach. It is made by NewNode.
type Node struct {
	// Store may change while the node runs, see Enter.
	Store   *engine.Store
	Cluster *cluster.Cluster // nil when cluster-enabled is no
	Config  *config.Config
	Clients *Clients
	Started time.Time
	RunID   string
	Version string // Cairn's; set by server
	Logger  *slog.Logger

	Stats   *Stats
	Slowlog *Slowlog
	Latency *Latency
	Watches *Watches
	Saves   *Saves
	// Waiters is who waits for keys.
	Waiters *Waiters
	// Migrations is what MIGRATE commands share, and the keys that they hold back.
	Migrations *Migrations
	// Moves gives and takes slots; nil when cluster-enabled is no.
	Moves *migrate.Manager

	// Replication is the node's part in replication; never nil.
	Replication *Replication
	// StoreOptions are what the store is opened with when it is replaced, nil where that can't be; OnStore is called with each further
	// store before it is used, StoreLost when there is none. Set by server.
	StoreOptions func() engine.Options
	OnStore      func(*engine.Store)
	StoreLost    func(error)

	// Shutdown asks the server to stop, without a clean close of the store unless save is set; set by server.
	Shutdown func(save bool)

	ctx        context.Context
	cancel     context.CancelFunc
	standalone *cluster.View
	errands    sync.WaitGroup

	gate    sync.RWMutex
	loading bool // under gate
}

// NewNode ties a store, a configuration and a cluster (nil for none) together. Call it before the store has traffic: it
// registers for the store's modifications.
func NewNode(store *engine.Store, conf *config.Config, cl *cluster.Cluster, runID string, logger *slog.Logger) *Node {
	n := &Node{
		Store:      store,
		Cluster:    cl,
		Config:     conf,
		Clients:    &Clients{},
		Started:    time.Now(),
		RunID:      runID,
		Logger:     logger,
		Stats:      newStats(),
		Slowlog:    &Slowlog{},
		Latency:    &Latency{},
		Watches:    &Watches{},
		Waiters:    &Waiters{},
		Migrations: newMigrations(conf.WorkerThreads()),
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.Saves = newSaves(n.ctx, n.Started)
	if cl == nil {
		n.standalone = cluster.Standalone()
	} else {
		n.Stats.SlotTimes = new(SlotTimes)
	}
	n.Replication = newReplication(n)
	n.adopt(store)
	if cl != nil {
		n.startMoves()
	}
	return n
}

// Context ends when commands must wait no longer: see Cancel.
func (n *Node) Context() context.Context { return n.ctx }

// Cancel makes commands that wait, and saves in the background, give up.
func (n *Node) Cancel() {
	n.cancel()
	n.Migrations.cancel()
}

// Close cancels, and waits for what the node runs in the background. The store is closed after it.
func (n *Node) Close() {
	n.Cancel()
	if n.Moves != nil {
		n.Moves.Close()
	}
	n.Migrations.close()
	n.errands.Wait()
	n.Saves.background.Wait()
}

// View is the routing snapshot, also in standalone mode.
func (n *Node) View() *cluster.View {
	if n.Cluster == nil {
		return n.standalone
	}
	return n.Cluster.View()
}

// Connect makes s a registered session in the state of a new connection. Its socket's fields are set before.
func (n *Node) Connect(s *Session) {
	if s.FD == 0 {
		s.FD = -1
	}
	s.User = DefaultUser
	s.Authed = n.Config.RequirePass() == ""
	s.Created = time.Now()
	s.LastActive.Store(s.Created.UnixMilli())
	n.Clients.Add(s)
	s.publish()
	n.Stats.Connections.Add(1)
}

// Disconnect undoes Connect; nothing of s is used afterwards.
func (n *Node) Disconnect(s *Session) {
	if s.errand != nil {
		s.errand.cancel()
		s.errand = nil
	}
	if s.waiter != nil {
		n.Waiters.remove(s)
	}
	s.unblock.Store(nil)
	s.discard(n)
	n.Clients.Remove(s)
}

// Authenticated says whether s may run commands that are not NoAuth.
func (n *Node) Authenticated(s *Session) bool {
	return s.Authed || n.Config.RequirePass() == ""
}

// Writes says whether cmd is run as a write: also one that only keeps what it finds out (Keeps), where and when writes are taken.
func (n *Node) Writes(cmd *Command) bool {
	if cmd.Flags&(Write|Keeps) != Keeps {
		return cmd.Flags&Write != 0
	}
	if n.Replication.RefuseWrite() != "" {
		return false
	}
	ok, err := n.Store.TryAdmitWrite()
	return ok && err == nil
}

// Call runs c.Cmd's handler under the locks that dispatch took, and returns how long it took.
func (n *Node) Call(c *Ctx) (took time.Duration) {
	c.LastCmd.Store(c.Cmd)
	return n.run(c)
}

// run runs the handler, undoes the writes of a command that replied with an error, and keeps its
// statistics. EXEC runs each queued command through it.
func (n *Node) run(c *Ctx) (took time.Duration) {
	reply := len(c.Out.Buf)
	mark := 0
	if c.Txn != nil {
		mark = c.Txn.Mark()
	}
	start := time.Since(n.Started) // half the price of time.Now, which reads the calendar's clock, too
	if c.Txn != nil && c.Cmd.Flags&ReadOnly != 0 {
		n.runRead(c)
	} else {
		c.Cmd.Run(c)
	}
	took = time.Since(n.Started) - start - c.Away
	if c.found != Something { // it is counted when it is answered
		return took
	}
	failed := c.Away == 0 && reply < len(c.Out.Buf) && c.Out.Buf[reply] == '-'
	if failed {
		if c.Txn != nil {
			c.Txn.Rollback(mark)
		}
		n.Stats.countError(c.Out.Buf[reply+1:])
	}
	if c.Torn != nil {
		failed = true
		n.Stats.countError([]byte(ErrorText(c.Torn)))
	}
	n.Stats.of(c.Cmd).record(took, failed, n.Config.LatencyTracking())
	n.observe(c, took)
	return took
}

// runRead runs a handler and counts the keys that it finds and those that it does not.
func (n *Node) runRead(c *Ctx) {
	hits, misses := c.Txn.Lookups()
	c.Cmd.Run(c)
	h, m := c.Txn.Lookups()
	if h != hits {
		n.Stats.Hits.Add(h - hits)
	}
	if m != misses {
		n.Stats.Misses.Add(m - misses)
	}
}

// observe feeds the slow log and the latency monitor.
func (n *Node) observe(c *Ctx, took time.Duration) {
	if slow := n.Config.SlowlogLogSlowerThan(); slow >= 0 && took >= slow && c.Cmd.Flags&SkipSlowlog == 0 {
		n.Slowlog.add(c, time.Now().Add(-took), took, n.Config.SlowlogMaxLen())
	}
	if limit := n.Config.LatencyMonitorThreshold(); limit > 0 && took >= limit {
		event := "command"
		if c.Cmd.Flags&Fast != 0 {
			event = "fast-command"
		}
		n.Latency.Add(event, took)
	}
}

// Redirect answers a command that routing sends elsewhere or refuses. It fails the transaction that s may be
// queueing; one that is redirected at EXEC is dropped, and the reply is the redirection itself, as in Redis.
func (n *Node) Redirect(s *Session, cmd *Command, text string) {
	n.Stats.of(cmd).rejected.Add(1)
	if cmd.Name == "exec" {
		s.discard(n)
	} else {
		s.flagMulti()
	}
	n.Stats.countError([]byte(text))
	s.Out.Error(text)
}

// Reject answers a command that dispatch refuses before it runs, with the text of an error reply. It fails the
// transaction that s may be queueing. cmd is nil for an unknown one.
func (n *Node) Reject(s *Session, cmd *Command, text string) {
	s.flagMulti()
	if cmd != nil {
		n.Stats.of(cmd).rejected.Add(1)
		if cmd.Name == "exec" {
			s.discard(n)
			text = "EXECABORT Transaction discarded because of: " + strings.TrimPrefix(text, "ERR ")
		}
	}
	n.Stats.countError([]byte(text))
	s.Out.Error(text)
}
