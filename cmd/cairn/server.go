package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cairndb/cairn/cluster"
	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/server"
	"github.com/cairndb/cairn/server/config"
)

// serverCmd stands in the help only: its arguments are Redis's, see runServer.
type serverCmd struct{}

func (serverCmd) Run(out *output) error { return runServer(nil, out) }

const serverHelp = `Usage: cairn server [FILE] [--directive value ...] [-]

Runs a node until SIGTERM or SIGINT, which stop it gracefully (a second one at once).

  FILE                 a configuration file in Redis's format; cairn.conf shows every directive
  --directive value    overrides the file: --port 7000 --dir /var/lib/cairn --appendfsync always
  -                    reads more configuration from standard input

A Redis configuration works: what means nothing here is accepted with a warning.

  cairn server
  cairn server /etc/cairn.conf
  cairn server --port 7001 --cluster-enabled yes --dir ./node1

SIGHUP opens the log file again. Exit codes: 0 stopped as asked, 1 failed, 2 the configuration does not hold.
`

// runServer runs a node with the arguments behind "cairn server".
func runServer(args []string, out *output) error {
	if len(args) == 1 && (args[0] == "--help" || args[0] == "-h") {
		_, err := io.WriteString(out.stdout, serverHelp)
		return err
	}
	conf, ignored, err := loadConfig(args)
	if err != nil {
		return exitError{exitUsage, err}
	}
	if err := os.MkdirAll(conf.Dir(), 0o755); err != nil { // before the log, which may lie in it
		return fmt.Errorf("data folder: %w", err)
	}
	logs, err := newLogs(conf, out.stdout)
	if err != nil {
		return err
	}
	defer logs.close()
	logs.notice("Cairn starts", "version", version, "pid", os.Getpid(), "config", orNone(conf.File()))
	if len(ignored) > 0 {
		logs.Warn("directives without a meaning here are ignored", "names", strings.Join(ignored, " "))
	}
	limitMemory(conf, logs.Logger)
	err = runNode(conf, logs)
	if err != nil && conf.LogFile() != "" {
		logs.Error("stopped", "error", err)
	}
	return err
}

func orNone(path string) string {
	if path == "" {
		return "none"
	}
	return path
}

// loadConfig reads [FILE] [--directive value ...] [-].
func loadConfig(args []string) (*config.Config, []string, error) {
	path := ""
	var stdin io.Reader
	if len(args) > 0 && args[len(args)-1] == "-" {
		stdin, args = os.Stdin, args[:len(args)-1]
	}
	if len(args) > 0 && args[0] == "-" {
		stdin, args = os.Stdin, args[1:]
	} else if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		path, args = args[0], args[1:]
	}
	return config.LoadFrom(path, stdin, args)
}

// runNode opens everything a node is made of, serves until it is told to stop, and closes it in the opposite order.
func runNode(conf *config.Config, logs *logs) (err error) {
	stop, done := stopSignals(logs)
	defer done()

	unread, err := inspectDir(conf)
	if err != nil {
		return err
	}
	if len(unread) > 0 {
		logs.Warn("Redis's files in the data folder are not loaded; docs/operations.md tells how to bring their data in",
			"dir", conf.Dir(), "files", some(unread))
	}
	// A taken port is told before a start that may take long. Who connects meanwhile waits in the backlog.
	listeners, err := server.Listen(conf)
	if err != nil {
		return listenError(err)
	}
	defer closeAll(listeners)

	began := time.Now()
	fresh := isFresh(conf.Dir())
	o := storeOptions(conf, logs.Logger, stop)
	o.Progress = recoveryProgress(logs)
	_, _, o.Follow = conf.ReplicaOf()
	o.Follow = o.Follow || conf.ClusterEnabled() && cluster.HasGroup(groupDir(conf))
	store, err := engine.Open(conf.Dir(), o)
	if err != nil {
		return folderError(conf.Dir(), err)
	}
	closeStore := store.Close
	defer func() { err = errors.Join(err, closeStore()) }()

	closePprof, err := servePprof(conf.PprofAddress(), logs.Logger)
	if err != nil {
		return err
	}
	defer closePprof()

	member, err := openCluster(conf, fresh, logs.Logger)
	if err != nil {
		return err
	}
	if member != nil {
		defer func() { err = errors.Join(err, member.Close()) }()
	}

	srv, err := server.New(server.Options{
		Config: conf, Store: store, Cluster: member, RunID: newRunID(), Version: version, Logger: logs.Logger,
		Listeners: listeners, OnShutdown: stop.shutdownCommand,
		StoreOptions: func() engine.Options { return storeOptions(conf, logs.Logger, stop) },
		OnStore:      func(s *engine.Store) { applySettings(conf, s) },
		StoreLost:    func(err error) { stop.ask(stopCause{why: "the store is lost", err: err}) },
	})
	if err != nil {
		return err
	}
	closeStore = func() error { return srv.Store().Close() }
	followSettings(conf, func() *engine.Store { return srv.Node().Store })
	defer letReadersWait(conf, srv.Store)()
	if host, port, ok := conf.ReplicaOf(); ok {
		if err := srv.Node().Replication.ReplicaOf(host, port); err != nil {
			return err
		}
	}
	removePID, err := writePID(conf.PidFile())
	if err != nil {
		logs.Warn("no pidfile", "error", err)
	}
	defer removePID()
	served := make(chan error, 1)
	go func() { served <- srv.Serve() }()
	for _, a := range srv.Addrs() {
		logs.notice("Ready to accept connections", "address", a, "after", time.Since(began).Round(time.Millisecond))
	}

	var cause stopCause
	select {
	case cause.err = <-served:
	case cause = <-stop.asked:
		logs.notice("Stopping", "because", cause.why)
	}
	timeout := conf.ShutdownTimeout()
	if cause.atOnce {
		timeout = 0
	} else if member != nil && cause.err == nil {
		if err := member.HandOver(); err != nil {
			logs.Warn("no replica takes over before the stop", "error", err)
		}
	}
	if idle := shutdown(srv, timeout, logs); !idle || cause.atOnce {
		closeStore = func() error { return syncOnly(srv.Store(), logs) }
	} else if member != nil && srv.Store().Log().Sync() == nil {
		err = member.Kept()
	}
	return errors.Join(cause.err, err)
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		_ = l.Close() // closed already after a shutdown
	}
}

// recoveryProgress tells now and then how far a long start is.
func recoveryProgress(logs *logs) func(what string, done, total uint64) {
	shown := time.Now()
	return func(what string, done, total uint64) {
		if time.Since(shown) >= lineEvery {
			shown = time.Now()
			logs.notice("Recovering", "what", what, "done", done, "total", total)
		}
	}
}

// shutdown drains the connections for as long as the timeout allows, and says whether the store is idle: only then may
// it be closed.
func shutdown(srv *server.Server, timeout time.Duration, logs *logs) (idle bool) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	err := srv.Shutdown(ctx)
	switch {
	case errors.Is(err, server.ErrBusy):
		logs.Warn("a command did not end in time and is cut off", "timeout", timeout)
		return false
	case err != nil && timeout > 0:
		logs.Warn("connections did not end in time and were closed", "timeout", timeout)
	}
	return true
}

// syncTimeout bounds the sync of the log when the process ends without closing the store: everything acknowledged has
// reached the operating system by then, or the disk where appendfsync says so.
const syncTimeout = 5 * time.Second

// syncOnly ends the use of a store by a sync of its log; the next start replays it.
func syncOnly(store *engine.Store, logs *logs) error {
	synced := make(chan error, 1)
	go func() { synced <- store.Log().Sync() }()
	select {
	case err := <-synced:
		if err == nil {
			logs.notice("The log is synced; the store is not closed, the next start replays the log")
		}
		return err
	case <-time.After(syncTimeout):
		logs.Warn("the log could not be synced in time; the operating system has what was acknowledged", "timeout", syncTimeout)
		return nil
	}
}

// stopping is how a node hears that it has to end.
type stopping struct{ asked chan stopCause }

type stopCause struct {
	why    string
	err    error // of a node that cannot go on
	atOnce bool  // without draining connections and closing the store
}

// request asks the node to stop; the first cause counts.
func (s stopping) request(why string) { s.ask(stopCause{why: why}) }

// shutdownCommand is what the SHUTDOWN command asks for.
func (s stopping) shutdownCommand(save bool) {
	if save {
		s.request("SHUTDOWN")
	} else {
		s.ask(stopCause{why: "SHUTDOWN NOSAVE", atOnce: true})
	}
}

func (s stopping) ask(c stopCause) {
	select {
	case s.asked <- c:
	default:
	}
}

// sameRequest is how soon after a signal to stop a further one means no more than the first: a parent that is killed
// has the system send one for each of its threads.
const sameRequest = time.Second

// stopSignals turns the first SIGTERM or SIGINT into a request to stop and the second into an immediate exit; SIGHUP opens
// the log file again. done ends the listening.
func stopSignals(logs *logs) (stop stopping, done func()) {
	stop = stopping{make(chan stopCause, 1)}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	signal.Ignore(syscall.SIGPIPE)
	quit := make(chan struct{})
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		var asked time.Time
		for {
			select {
			case <-quit:
				return
			case s := <-signals:
				switch {
				case s == syscall.SIGHUP:
					logs.reopen()
				case time.Since(asked) < sameRequest:
				case !asked.IsZero():
					logs.Warn("Stopping at once")
					os.Exit(exitFailure)
				default:
					asked = time.Now()
					stop.request(s.String())
				}
			}
		}
	}()
	return stop, func() {
		signal.Stop(signals)
		close(quit)
		<-finished
	}
}

func newRunID() string {
	var b [20]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// writePID writes the pidfile, if there is to be one, and returns what removes it.
func writePID(path string) (remove func(), err error) {
	if path == "" {
		return func() {}, nil
	}
	if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil {
		return func() {}, err
	}
	return func() { _ = os.Remove(path) }, nil
}

// listenError says what to do about an address that is taken.
func listenError(err error) error {
	var op *net.OpError
	if errors.Is(err, syscall.EADDRINUSE) && errors.As(err, &op) && op.Addr != nil {
		return fmt.Errorf("%s address %s is in use: stop what listens there, or choose another --port", op.Net, op.Addr)
	}
	return err
}

// folderError says in one line why a data folder cannot be opened.
func folderError(dir string, err error) error {
	if errors.Is(err, engine.ErrLocked) {
		return fmt.Errorf("data folder %s is in use by another process", dir)
	}
	return errors.New(strings.TrimPrefix(err.Error(), "engine: "))
}
