package server

import (
	"context"
	"sync"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/server/command"
	"github.com/cairndb/cairn/server/resp"
)

// workers run connections whose requests have to wait. Goroutines are started as they are needed, up to max, and stay.
type workers struct {
	srv *Server
	max int

	mu      sync.Mutex
	wake    sync.Cond
	queue   []job // first in, first out
	running int
	idle    int
	closed  bool
	wg      sync.WaitGroup
}

// job is a connection, which its worker owns until done is called with what became of it.
type job struct {
	c    *conn
	done func(c *conn, v verdict)
}

func newWorkers(s *Server, max int) *workers {
	w := &workers{srv: s, max: max}
	w.wake.L = &w.mu
	return w
}

// submit queues a job.
func (w *workers) submit(j job) {
	w.mu.Lock()
	w.queue = append(w.queue, j)
	// A worker that was woken counts as idle until it runs: each waiting job needs one of its own.
	if len(w.queue) > w.idle && w.running < w.max {
		w.running++
		w.wg.Add(1)
		go w.work()
	}
	w.mu.Unlock()
	w.wake.Signal()
}

// close ends the workers after the queue is empty, and waits for them.
func (w *workers) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.wake.Broadcast()
	w.wg.Wait()
}

func (w *workers) next() (j job, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.idle++
	for len(w.queue) == 0 && !w.closed && w.running <= w.max {
		w.wake.Wait()
	}
	w.idle--
	if len(w.queue) == 0 {
		w.running--
		return job{}, false
	}
	j = w.queue[0]
	w.queue[0] = job{}
	w.queue = w.queue[1:]
	return j, true
}

// lend lets another worker run in place of one that waits for its client, until it is back.
func (w *workers) lend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running--
	if len(w.queue) > w.idle {
		w.running++
		w.wg.Add(1)
		go w.work()
	}
}

func (w *workers) back() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running++
}

// standIn tells the pool, if there is one, that the executor's worker waits for its client, or does no longer.
func (x *executor) standIn(waits bool) {
	switch {
	case x.pool == nil:
	case waits:
		x.pool.lend()
	default:
		x.pool.back()
	}
}

func (w *workers) work() {
	defer w.wg.Done()
	x := w.srv.newExecutor(true)
	x.pool = w
	for {
		j, ok := w.next()
		if !ok {
			return
		}
		x.warm(j.c)
		j.done(j.c, x.runStable(w.srv.node.Context(), j.c))
	}
}

// maxWarm bounds the requests that warm looks ahead.
const maxWarm = 128

// runStable runs the requests that the reader holds and waits until nothing holds their replies back but the lease, which the driver looks at when it sends them.
func (x *executor) runStable(ctx context.Context, c *conn) verdict {
	x.enter()
	v := x.run(c)
	x.settle()
	store := x.store
	x.leave()
	if text := x.waitAssured(ctx, store, c); text != "" {
		c.fail(&c.unstable, text)
		c.barrier = 0
	}
	return v
}

// warm reads the records of the requests ahead into the store's cache, one at a time, so that
// they need not be waited for later while the group holds locks.
func (x *executor) warm(c *conn) {
	x.enter()
	defer x.leave()
	if x.node.Loading() {
		return
	}
	mark, ok := c.reader.Mark()
	if !ok {
		return
	}
	defer c.reader.Rewind(mark)
	for range maxWarm {
		args, ok, err := c.reader.Next()
		if !ok || err != nil {
			return
		}
		cmd, _ := command.Lookup(args)
		if cmd == nil || !cmd.ArityOK(len(args)) || cmd.Flags&command.Unlocked != 0 || !x.node.Authenticated(&c.Session) {
			continue
		}
		need := x.need(cmd, args)
		for _, k := range need.keys {
			x.warmKey(c, k)
		}
	}
}

// warmKey ignores errors: the command itself meets them again.
func (x *executor) warmKey(c *conn, k keyAt) {
	slot := [1]uint16{k.slot}
	x.txn.Lock(slot[:], false)
	defer x.txn.Discard()
	key := engine.Key{Slot: k.slot, DB: x.store.DB(c.DB), Name: k.name}
	if !x.txn.Ready(key) {
		_, _, _ = x.txn.Get(key)
	}
}

// waitAssured waits until the replies may be sent, outside the gate. It returns the error to reply with instead, if any.
func (x *executor) waitAssured(ctx context.Context, store *engine.Store, c *conn) string {
	if err := waitStable(ctx, store, c.barrier); err != nil {
		x.srv.log.Error("a write is not known to be durable", "err", err)
		return mayStand(err)
	}
	if c.owed && x.node.Replication.WaitAcked(ctx, c.barrier) != nil {
		return resp.ErrNotAcked
	}
	return ""
}

func waitStable(ctx context.Context, store *engine.Store, barrier engine.Offset) error {
	if barrier <= store.Stable() {
		return nil
	}
	if stable, err := store.FlushLog(); err != nil || barrier <= stable {
		return err
	}
	return store.WaitStable(ctx, barrier)
}
