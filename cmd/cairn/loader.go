package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/tools/wire"
)

const (
	batchCommands = 512
	batchBytes    = 256 << 10
	maxSamples    = 5
	redoTimeout   = 30 * time.Second // for a command that the cluster cannot serve now
)

// loader pipelines commands to the owners of their slots: one connection a node, so that what has one key stays in order.
type loader struct {
	ctx      context.Context
	cancel   context.CancelCauseFunc
	password string
	addr     string
	cluster  bool

	mu     sync.Mutex
	owners [keys.Slots]string

	lanes   map[string]*lane
	wg      sync.WaitGroup
	loaded  atomic.Int64
	failed  atomic.Int64
	samples []string // error replies, under mu
}

// lane is the queue of one node.
type lane struct {
	addr  string
	queue chan []string
	conns map[string]*wire.Conn // its own to addr, and others that it was redirected to
}

// newLoader asks the node at addr who owns which slot.
func newLoader(ctx context.Context, addr, password string) (*loader, error) {
	l := &loader{addr: addr, password: password, lanes: map[string]*lane{}}
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	conn, err := l.dial(addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return l, l.learn(conn)
}

func (l *loader) dial(addr string) (*wire.Conn, error) {
	conn, err := wire.Dial(addr)
	if err != nil {
		return nil, err
	}
	if l.password != "" {
		if _, err := conn.Must("AUTH", l.password); err != nil {
			_ = conn.Close()
			return nil, err
		}
	}
	return conn, nil
}

// learn fills the slot table from CLUSTER SLOTS; a node that is no cluster owns all.
func (l *loader) learn(conn *wire.Conn) error {
	v, err := conn.Do("CLUSTER", "SLOTS")
	if err != nil {
		return err
	}
	if v.IsError() {
		if strings.Contains(v.Text, "cluster support disabled") {
			return nil
		}
		return v.Err()
	}
	l.cluster = true
	for _, entry := range v.Elems {
		if len(entry.Elems) < 3 || len(entry.Elems[2].Elems) < 2 {
			return errors.New("CLUSTER SLOTS: unexpected reply")
		}
		first, last, node := entry.Elems[0].Int(), entry.Elems[1].Int(), entry.Elems[2].Elems
		for slot := max(first, 0); slot <= min(last, keys.Slots-1); slot++ {
			l.owners[slot] = net.JoinHostPort(node[0].Text, strconv.FormatInt(node[1].Int(), 10))
		}
	}
	return nil
}

// describe names the target for people.
func (l *loader) describe() string {
	if l.cluster {
		return fmt.Sprintf("the cluster at %s (%d nodes)", l.addr, len(l.lanes))
	}
	return "the node at " + l.addr
}

// load sends every command of the source and waits for all replies.
func (l *loader) load(source records, bar *progress) (loaded, failed int64, err error) {
	stopBar := l.show(bar)
	err = source(func(args []string) error {
		select {
		case l.lane(args).queue <- args:
			return nil
		case <-l.ctx.Done():
			return context.Cause(l.ctx)
		}
	})
	for _, lane := range l.lanes {
		close(lane.queue)
	}
	l.wg.Wait()
	stopBar()
	if cause := context.Cause(l.ctx); err == nil && cause != nil {
		err = cause
	}
	l.cancel(nil)
	return l.loaded.Load(), l.failed.Load(), err
}

// show moves the bar until the returned function is called.
func (l *loader) show(bar *progress) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				bar.set(l.loaded.Load())
			case <-quit:
				bar.set(l.loaded.Load())
				return
			}
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}

// lane returns the queue of the node that owns the command's slot, and starts it at its first use. It is called by
// one goroutine.
func (l *loader) lane(args []string) *lane {
	addr := l.addr
	if l.cluster && len(args) > 1 {
		if owner := l.owner(args); owner != "" {
			addr = owner
		}
	}
	n := l.lanes[addr]
	if n == nil {
		n = &lane{addr: addr, queue: make(chan []string, 2*batchCommands), conns: map[string]*wire.Conn{}}
		l.lanes[addr] = n
		l.wg.Go(func() {
			if err := l.run(n); err != nil {
				l.cancel(fmt.Errorf("node %s: %w", n.addr, err))
			}
		})
	}
	return n
}

func (l *loader) owner(args []string) string {
	slot := keys.Slot([]byte(args[1]))
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.owners[slot]
}

// run sends a lane's commands in batches until its queue is closed.
func (l *loader) run(n *lane) error {
	defer func() {
		for _, c := range n.conns {
			_ = c.Close()
		}
	}()
	var batch [][]string
	for {
		batch = batch[:0]
		first, ok := <-n.queue
		if !ok {
			return nil
		}
		batch = append(batch, first)
		for size := length(first); len(batch) < batchCommands && size < batchBytes; {
			var next []string
			select {
			case next = <-n.queue:
			default:
			}
			if next == nil {
				break
			}
			batch = append(batch, next)
			size += length(next)
		}
		if err := l.send(n, batch); err != nil {
			return err
		}
	}
}

func length(args []string) (n int) {
	for _, a := range args {
		n += len(a)
	}
	return n
}

// send pipelines a batch and reads its replies; what the node did not serve is sent again, one by one.
func (l *loader) send(n *lane, batch [][]string) error {
	conn, err := l.conn(n, n.addr)
	if err != nil {
		return err
	}
	for _, args := range batch {
		if err := conn.Send(args...); err != nil {
			return err
		}
	}
	if err := conn.Flush(); err != nil {
		return err
	}
	var again [][]string
	for _, args := range batch {
		v, err := conn.Receive()
		if err != nil {
			return err
		}
		if _, _, retry := elsewhere(v); retry {
			again = append(again, args)
			continue
		}
		l.count(args, v)
	}
	for _, args := range again {
		if err := l.redo(n, args); err != nil {
			return err
		}
	}
	return nil
}

func (l *loader) count(args []string, v wire.Value) {
	if !v.IsError() {
		l.loaded.Add(1)
		return
	}
	l.failed.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.samples) < maxSamples {
		l.samples = append(l.samples, fmt.Sprintf("%s: %s", args[0], v.Text))
	}
}

// elsewhere reads a reply that says that the command was not executed: because another node has the slot (addr;
// asking for a slot that moves), or because it cannot be served now (addr is empty).
func elsewhere(v wire.Value) (addr string, asking, retry bool) {
	if !v.IsError() {
		return "", false, false
	}
	words := strings.Fields(v.Text)
	if len(words) == 0 {
		return "", false, false
	}
	switch words[0] {
	case "MOVED", "ASK":
		if len(words) == 3 {
			return words[2], words[0] == "ASK", true
		}
	case "TRYAGAIN", "CLUSTERDOWN", "LOADING":
		return "", false, true
	}
	return "", false, false
}

// redo sends one command, following redirects and waiting while the cluster cannot serve it.
func (l *loader) redo(n *lane, args []string) error {
	deadline := time.Now().Add(redoTimeout)
	addr, asking := n.addr, false
	for {
		v, err := l.one(n, addr, asking, args)
		if err != nil {
			return err
		}
		next, ask, retry := elsewhere(v)
		if !retry || time.Now().After(deadline) {
			l.count(args, v)
			return nil
		}
		if next == "" {
			select {
			case <-time.After(100 * time.Millisecond):
			case <-l.ctx.Done():
				return context.Cause(l.ctx)
			}
			continue
		}
		addr, asking = next, ask
		if !ask && len(args) > 1 {
			l.mu.Lock()
			l.owners[keys.Slot([]byte(args[1]))] = next
			l.mu.Unlock()
		}
	}
}

func (l *loader) one(n *lane, addr string, asking bool, args []string) (wire.Value, error) {
	conn, err := l.conn(n, addr)
	if err != nil {
		return wire.Value{}, err
	}
	if asking {
		if _, err := conn.Must("ASKING"); err != nil {
			return wire.Value{}, err
		}
	}
	return conn.Do(args...)
}

// conn returns the lane's connection to a node.
func (l *loader) conn(n *lane, addr string) (*wire.Conn, error) {
	if c := n.conns[addr]; c != nil {
		return c, nil
	}
	c, err := l.dial(addr)
	if err == nil {
		n.conns[addr] = c
	}
	return c, err
}
