package server

import (
	"slices"

	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/server/command"
)

// Connections that wait for keys: see command.Waiters. Here is how they are served by who writes one of their keys.

// home is who has a connection while nothing of it runs: its driver.
type home interface {
	// resume has the connection run its request again. It is called from any goroutine, once each time the connection is given away.
	resume(c *conn)
	// served gives the connection back after its request was run by x and the group is committed.
	served(x *executor, c *conn, v verdict)
}

// Resume is command.Waker's.
func (c *conn) Resume() { c.home.resume(c) }

// firstWaiters is how many waiters of a key are looked at first; then twice as many each time.
const firstWaiters = 8

// noteWritten keeps the queues of the keys that a command may have made ready.
func (x *executor) noteWritten(n *need) {
	b := x.node.Waiters
	if n.world {
		x.toServe = b.AllQueues(x.toServe[:0])
		return
	}
	for _, k := range n.keys {
		had := len(x.toServe)
		x.toServe = b.Queues(x.toServe, k.name)
		if had > 0 && len(x.toServe) > had && slices.Contains(x.toServe[:had], x.toServe[had]) {
			x.toServe = x.toServe[:had]
		}
	}
}

// serveWaiters serves those who wait for the keys that the last request has written, and for what they write in turn. The reply of that request is
// complete, and nothing is waited for: who can't be served at once is left to their own connection.
func (x *executor) serveWaiters() {
	blocking := x.blocking
	x.waking, x.blocking = true, false
	for len(x.toServe) > 0 {
		q := x.toServe[0]
		x.toServe = slices.Delete(x.toServe, 0, 1)
		x.serveQueue(q)
	}
	x.waking, x.blocking = false, blocking
}

// serveQueue runs the requests of those who wait for a key, in the order of their arrival, until the key has nothing left for them.
func (x *executor) serveQueue(q *command.WaitQueue) {
	var idle map[string]bool // groups that found nothing
	var batch []*command.Waiter
	after := uint64(0)
	for most := firstWaiters; ; most *= 2 {
		t, ok := x.typeOf(q)
		if !ok {
			x.node.Waiters.WakeQueue(q)
			return
		}
		batch = x.node.Waiters.Next(batch[:0], q, t, after, most)
		for _, w := range batch {
			after = w.Arrival()
			if g := w.Group(); g != "" && idle[g] {
				continue
			}
			if t, ok = x.typeOf(q); !ok {
				x.node.Waiters.WakeQueue(q)
				return
			}
			if w.Wants(t) && !x.serveOne(w) && w.Group() != "" {
				if idle == nil {
					idle = make(map[string]bool)
				}
				idle[w.Group()] = true
			}
			if x.large() {
				x.settle()
			}
		}
		if len(batch) < most {
			return
		}
	}
}

// typeOf is the type of a key that is waited for; ok is false if it can't be looked at without waiting.
func (x *executor) typeOf(q *command.WaitQueue) (t keys.Type, ok bool) {
	k := q.Key(x.store)
	if !x.txn.TryLock(k.Slot, false) || !x.txn.Ready(k) {
		x.txn.EndCommand()
		return 0, false
	}
	rec, found, err := x.txn.Get(k)
	x.txn.EndCommand()
	switch {
	case err != nil:
		return 0, false // who waits meets the error and answers it
	case found:
		return rec.Type, true
	}
	return keys.TypeNone, true
}

// serveOne runs the request of a connection that waits. It returns false if the request goes on waiting, or is left to its connection: then it comes
// before those behind it.
func (x *executor) serveOne(w *command.Waiter) (answered bool) {
	b := x.node.Waiters
	taken, busy := b.Take(w)
	if !taken {
		return !busy
	}
	c := w.Session().Conn.(*conn)
	if c.killed.Load() {
		b.Return(w)
		return false
	}
	x.meet(c)
	args, ok, err := c.reader.Next()
	if !ok || err != nil { // it was parsed before
		b.Return(w)
		return false
	}
	v := x.one(c, args)
	switch {
	case v == blocked:
		c.reader.Unread()
		if !b.Release(&c.Session) {
			c.Resume()
		}
		return false
	case v.again():
		c.reader.Unread()
		b.Return(w)
		return false
	case v == ran && c.CloseAfterReply:
		v = closing
	}
	c.reader.Reclaim()
	x.guests = append(x.guests, guest{c, v})
	return true
}

// guest is a connection of somebody else whose request was run.
type guest struct {
	c *conn
	v verdict
}

// sendHome gives the guests back, whose replies depend on nothing but the log by now.
func (x *executor) sendHome() {
	for i, g := range x.guests {
		x.guests[i] = guest{}
		g.c.home.served(x, g.c, g.v)
	}
	x.guests = x.guests[:0]
}

// look begins another look at the keys of a connection that waits, if it does.
func (x *executor) look(c *conn) {
	if c.Waits() {
		x.node.Waiters.BeginLook(&c.Session)
	}
}
