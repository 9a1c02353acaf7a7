// Package testnode runs real server processes for tests and benchmarks: cairn
// and redis-server on free ports with folders of their own, started, stopped,
// killed, paused, watched and measured.
package testnode

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cairndb/cairn/tools/wire"
)

// Options say what to start.
type Options struct {
	// Command is the program and its leading arguments: {"redis-server"} or {"bin/cairn", "server"}.
	Command []string
	// Dir is the data folder; it is created.
	Dir string
	// Host is the address to listen on; 127.0.0.1 by default.
	Host string
	// Port is the client port; 0 takes a free one whose bus port (+10000) is free too.
	Port int
	// Args are further "--directive value" arguments.
	Args []string
	// Password is sent by AUTH on each connection that this package opens.
	Password string
	// ReadyTimeout bounds Start; 30 s by default.
	ReadyTimeout time.Duration
}

// Node is a server process, or the place of one that is not running. Its
// folder, port and log file stay over restarts.
type Node struct {
	opts Options
	// Port may be changed while the process is not running.
	Port int
	Dir  string
	// LogFile gets what the process prints, of all its runs.
	LogFile string

	cmd     *exec.Cmd
	exited  chan struct{} // closed when the process ended; exitErr is valid then
	exitErr error
}

// ErrExited reports a process that ended although it should run.
var ErrExited = errors.New("process ended")

// New prepares a node without starting it.
func New(o Options) (*Node, error) {
	if o.Port == 0 {
		port, err := FreePort()
		if err != nil {
			return nil, err
		}
		o.Port = port
	}
	if o.Host == "" {
		o.Host = "127.0.0.1"
	}
	if o.ReadyTimeout == 0 {
		o.ReadyTimeout = 30 * time.Second
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return &Node{opts: o, Port: o.Port, Dir: dir, LogFile: dir + ".log"}, nil
}

// Addr is the client address.
func (n *Node) Addr() string { return net.JoinHostPort(n.opts.Host, strconv.Itoa(n.Port)) }

// Host is the address that the node listens on.
func (n *Node) Host() string { return n.opts.Host }

// SetArgs replaces the further arguments for the next start.
func (n *Node) SetArgs(args ...string) { n.opts.Args = args }

// Start runs the process and waits until it answers PING.
func (n *Node) Start() error {
	if err := n.Launch(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), n.opts.ReadyTimeout)
	defer cancel()
	if err := n.WaitReady(ctx); err != nil {
		err = fmt.Errorf("%s on port %d: %w\n%s", n.opts.Command[0], n.Port, err, n.LogTail(2000))
		n.Kill()
		return err
	}
	return nil
}

// Launch runs the process without waiting for it to serve.
func (n *Node) Launch() error {
	if n.Running() {
		return fmt.Errorf("port %d: already running", n.Port)
	}
	log, err := os.OpenFile(n.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	args := append([]string{}, n.opts.Command[1:]...)
	args = append(args, "--port", strconv.Itoa(n.Port), "--bind", n.opts.Host, "--dir", n.Dir)
	cmd := exec.Command(n.opts.Command[0], append(args, n.opts.Args...)...)
	cmd.Dir = n.Dir
	cmd.Stdout, cmd.Stderr = log, log
	dieWithParent(cmd)
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	n.cmd, n.exited = cmd, exited
	go func() {
		n.exitErr = cmd.Wait()
		close(exited)
	}()
	return nil
}

// WaitReady waits until the node answers PING with something else than LOADING.
func (n *Node) WaitReady(ctx context.Context) error {
	return poll(ctx, 10*time.Millisecond, func() (bool, error) {
		if !n.Running() {
			return false, fmt.Errorf("%w: %v", ErrExited, n.exitErr)
		}
		c, err := n.Dial()
		if err != nil {
			return false, nil
		}
		defer c.Close()
		v, err := c.Do("PING")
		return err == nil && !strings.HasPrefix(v.Text, "LOADING"), nil
	})
}

// poll calls fn until it is done, fails, or ctx ends.
func poll(ctx context.Context, every time.Duration, fn func() (done bool, err error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if done, err := fn(); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// Running reports whether the process was started and has not ended.
func (n *Node) Running() bool {
	if n.cmd == nil {
		return false
	}
	select {
	case <-n.exited:
		return false
	default:
		return true
	}
}

// PID is the process ID, 0 when it is not running.
func (n *Node) PID() int {
	if !n.Running() {
		return 0
	}
	return n.cmd.Process.Pid
}

// Signal sends a signal to the process.
func (n *Node) Signal(s syscall.Signal) error {
	if !n.Running() {
		return ErrExited
	}
	return n.cmd.Process.Signal(s)
}

// Pause freezes the process, Resume lets it go on. When it returns the process stands still: the signal alone takes its time on a busy machine, and
// meanwhile the process answers what it receives.
func (n *Node) Pause() error {
	if err := n.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), n.opts.ReadyTimeout)
	defer cancel()
	return poll(ctx, time.Millisecond, func() (bool, error) {
		pid := n.PID()
		if pid == 0 {
			return false, ErrExited
		}
		return stopped(pid)
	})
}

// Resume lets a paused process go on.
func (n *Node) Resume() error { return n.Signal(syscall.SIGCONT) }

// Kill ends the process at once (SIGKILL) and waits for its end.
func (n *Node) Kill() {
	if n.Running() {
		_ = n.cmd.Process.Kill()
		<-n.exited
	}
}

// Stop asks the process to end (SIGTERM) and waits; its exit code must be 0.
// After the timeout it is killed and an error returned.
func (n *Node) Stop(timeout time.Duration) error {
	if !n.Running() {
		return nil
	}
	if err := n.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return n.Wait(ctx)
}

// Wait waits for the process to end by itself and returns its exit error; when ctx ends first it is killed.
func (n *Node) Wait(ctx context.Context) error {
	if n.cmd == nil {
		return nil
	}
	select {
	case <-n.exited:
		return n.exitErr
	case <-ctx.Done():
		n.Kill()
		return fmt.Errorf("port %d: did not end: %w", n.Port, ctx.Err())
	}
}

// Restart kills or stops the process and starts it again.
func (n *Node) Restart(kill bool) error {
	if kill {
		n.Kill()
	} else if err := n.Stop(30 * time.Second); err != nil {
		return err
	}
	return n.Start()
}

// Dial opens a connection, authenticated if a password is set.
func (n *Node) Dial() (*wire.Conn, error) {
	c, err := wire.Dial(n.Addr())
	if err != nil || n.opts.Password == "" {
		return c, err
	}
	if _, err := c.Must("AUTH", n.opts.Password); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Do runs one command on a connection of its own.
func (n *Node) Do(args ...string) (wire.Value, error) {
	c, err := n.Dial()
	if err != nil {
		return wire.Value{}, err
	}
	defer c.Close()
	return c.Do(args...)
}

// Info returns a section of INFO as a map from field to value.
func (n *Node) Info(section string) (map[string]string, error) {
	v, err := n.Do("INFO", section)
	if err == nil {
		err = v.Err()
	}
	if err != nil {
		return nil, err
	}
	fields := make(map[string]string)
	for _, line := range strings.Split(v.Text, "\r\n") {
		if k, val, ok := strings.Cut(line, ":"); ok {
			fields[k] = val
		}
	}
	return fields, nil
}

// Log returns everything that the process has printed so far.
func (n *Node) Log() string {
	b, _ := os.ReadFile(n.LogFile)
	return string(b)
}

// LogTail returns the last max bytes of the log.
func (n *Node) LogTail(max int) string {
	s := n.Log()
	return s[len(s)-min(max, len(s)):]
}
