// Package server serves Redis clients: listeners, connections, the dispatch of
// commands to server/command, limits, and the orderly end.
//
// Requests are run by executors. On Linux an epoll loop owns one: it reads, parses, runs and answers in place, and
// commits what all ready connections wrote as one group. What could make it wait (a locked slot, a read from disk, a stall,
// a slow command) goes with its whole connection to a worker, which runs the requests in blocking mode and gives the
// connection back. Elsewhere each connection has a goroutine that does what a worker does.
package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairndb/cairn/cluster"
	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/server/command"
	"github.com/cairndb/cairn/server/config"
)

// Options are what a Server is made of.
type Options struct {
	Config *config.Config
	Store  *engine.Store
	// Cluster is nil when cluster-enabled is no.
	Cluster *cluster.Cluster
	// RunID is INFO's run_id, Version its cairn_version.
	RunID, Version string
	Logger         *slog.Logger
	// Listeners are served instead of those that the configuration names. New closes them when it fails.
	Listeners []net.Listener
	// StoreOptions are what the store is opened with again after a replica has replaced it; nil for a node that cannot be a replica.
	// OnStore is called with each store before it is used, the first one included. StoreLost is called when there is none any more.
	StoreOptions func() engine.Options
	OnStore      func(*engine.Store)
	StoreLost    func(error)
	// OnShutdown is called once when a client asks for SHUTDOWN, save false for NOSAVE; it must not wait for the server's end.
	OnShutdown func(save bool)

	// portable chooses the driver without epoll also where there is epoll.
	portable bool
}

// Server is a running front end of one node. Its store outlives it.
type Server struct {
	o         Options
	node      *command.Node
	conf      *config.Config
	log       *slog.Logger
	listeners []net.Listener
	driver    driver
	workers   *workers
	replicas  sync.WaitGroup // connections that were taken over

	outgoing atomic.Int64   // bytes of replies that wait for slow readers
	serving  sync.WaitGroup // serveLater
	started  atomic.Bool
	stop     sync.Once
	stopped  chan struct{} // closed when Shutdown begins
	done     chan struct{} // closed when the driver has ended
	ended    chan struct{} // closed when nothing runs any more
}

// driver moves bytes between sockets and executors.
type driver interface {
	// serve accepts and serves until shutdown.
	serve() error
	// shutdown stops accepting, finishes what has arrived, sends the replies and closes; when ctx
	// ends before, it closes at once. Returns when no connection is left.
	shutdown(ctx context.Context)
}

// Errors of Serve and Shutdown.
var (
	// ErrClosed is what Serve returns after Shutdown.
	ErrClosed = errors.New("server: closed")
	// ErrBusy: a command still runs although it was told to give up, so the store must not be closed.
	ErrBusy = errors.New("server: a command is still running")
)

// lastMoment is how long commands that were told to give up may take for that.
const lastMoment = time.Second

// New opens the listeners, unless they are given, so that addresses in use are reported before anything is served.
func New(o Options) (*Server, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		o: o, conf: o.Config, log: o.Logger,
		node:    command.NewNode(o.Store, o.Config, o.Cluster, o.RunID, o.Logger),
		stopped: make(chan struct{}),
		done:    make(chan struct{}),
		ended:   make(chan struct{}),
	}
	s.node.Version = o.Version
	s.node.StoreOptions, s.node.OnStore, s.node.StoreLost = o.StoreOptions, o.OnStore, o.StoreLost
	if o.OnStore != nil {
		o.OnStore(o.Store)
	}
	var once sync.Once
	s.node.Shutdown = func(save bool) {
		if o.OnShutdown != nil {
			once.Do(func() { o.OnShutdown(save) })
		}
	}
	var err error
	if s.listeners = o.Listeners; s.listeners == nil {
		if s.listeners, err = Listen(o.Config); err != nil {
			return nil, err
		}
	}
	s.node.Waiters.Serve = s.serveLater
	s.workers = newWorkers(s, o.Config.WorkerThreads())
	if s.driver, err = s.newDriver(); err != nil {
		closeAll(s.listeners)
		return nil, err
	}
	if o.Cluster != nil {
		o.Cluster.Attach(s.node.ClusterRole())
	}
	return s, nil
}

// Node is the state that commands reach.
func (s *Server) Node() *command.Node { return s.node }

// Store is the store in use: a replica's may be replaced.
func (s *Server) Store() *engine.Store { return s.node.CurrentStore() }

// Addrs are the addresses that the server listens on.
func (s *Server) Addrs() []net.Addr {
	addrs := make([]net.Addr, len(s.listeners))
	for i, l := range s.listeners {
		addrs[i] = l.Addr()
	}
	return addrs
}

// Serve accepts and serves clients until Shutdown; then it returns ErrClosed.
func (s *Server) Serve() error {
	if !s.started.CompareAndSwap(false, true) {
		return errors.New("server: Serve called twice")
	}
	defer close(s.done)
	if err := s.driver.serve(); err != nil {
		return err
	}
	return ErrClosed
}

// Shutdown stops accepting, finishes what clients have sent, sends the replies and closes the connections. When ctx ends
// before that is done, it closes them at once, tells the commands that still run to give up and returns ctx's error,
// or ErrBusy if they have not within a moment. Idempotent.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop.Do(func() {
		close(s.stopped)
		closeAll(s.listeners)
		go s.end(ctx)
	})
	select {
	case <-s.ended:
		return ctx.Err()
	case <-ctx.Done():
	}
	moment := time.NewTimer(lastMoment)
	defer moment.Stop()
	select {
	case <-s.ended:
		return ctx.Err()
	case <-moment.C:
		return ErrBusy
	}
}

// end brings everything that runs to its end.
func (s *Server) end(ctx context.Context) {
	defer close(s.ended)
	if s.o.Cluster != nil {
		s.o.Cluster.StopWaiting()
	}
	stopWaiting := context.AfterFunc(ctx, s.node.Cancel)
	defer stopWaiting()
	s.driver.shutdown(ctx)
	s.workers.close()
	s.serving.Wait()
	s.node.Replication.Settle(ctx)
	_ = s.node.Replication.Close() // returns nil
	s.replicas.Wait()
	s.node.Close()
	if s.started.Load() {
		<-s.done
	}
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		_ = l.Close()
	}
}
