package server

import (
	"slices"
	"time"

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
	// push sends what of the connection's replies its socket takes within a time, for the worker that has the connection.
	push(c *conn, wait time.Duration) (sent int, err error)
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

// serveWaiters serves those who wait for the keys that the last request has written, and for what they write in turn, while the group holds the keys'
// locks. The reply of that request is complete. When somebody can't be served without waiting, serveLater goes on.
func (x *executor) serveWaiters() {
	b := x.node.Waiters
	blocking := x.blocking
	x.waking, x.blocking = true, false
	for len(x.toServe) > 0 {
		q := x.toServe[0]
		x.toServe = slices.Delete(x.toServe, 0, 1)
		if b.Serving() || !x.serveQueue(q) {
			b.Later(slices.Insert(x.toServe, 0, q))
			break
		}
	}
	clear(x.toServe)
	x.toServe = x.toServe[:0]
	x.waking, x.blocking = false, blocking
}

// serveLater is command.Waiters.Serve: there is one at a time.
func (s *Server) serveLater() {
	s.serving.Go(func() {
		x := s.newExecutor(true)
		x.waking = true
		for more := true; more; {
			if x.toServe, more = s.node.Waiters.More(x.toServe); more {
				x.serveReady()
			}
		}
	})
}

// serveReady is serveWaiters that waits for what it needs, but with no lock held for who needs that.
func (x *executor) serveReady() {
	x.enter()
	defer x.leave()
	x.serving = x.node.Serving()
	for len(x.toServe) > 0 {
		q := x.toServe[0]
		x.toServe = slices.Delete(x.toServe, 0, 1)
		x.serveQueue(q)
	}
	x.settle()
}

// serveQueue runs the requests of those who wait for a key, in the order of their arrival, until the key has nothing left for them. It returns false if
// it would have to wait.
func (x *executor) serveQueue(q *command.WaitQueue) bool {
	var idle map[string]bool // groups that found nothing
	var batch []*command.Waiter
	after := uint64(0)
	for most := firstWaiters; ; most *= 2 {
		t, ok := x.typeOf(q)
		if !ok {
			return false
		}
		batch = x.node.Waiters.Next(batch[:0], q, t, after, most)
		for _, w := range batch {
			after = w.Arrival()
			if g := w.Group(); g != "" && idle[g] {
				continue
			}
			if t, ok = x.typeOf(q); !ok {
				return false
			}
			if !w.Wants(t) {
				continue
			}
			switch x.serveOne(w) {
			case unserved:
				return false
			case idling:
				if w.Group() == "" {
					break
				}
				if idle == nil {
					idle = make(map[string]bool)
				}
				idle[w.Group()] = true
			}
			if x.large() {
				if !x.blocking {
					return false
				}
				x.settle()
			}
		}
		if len(batch) < most {
			return true
		}
	}
}

// typeOf is the type of a key that is waited for; ok is false if it would have to wait to know it.
func (x *executor) typeOf(q *command.WaitQueue) (t keys.Type, ok bool) {
	k := q.Key(x.store)
	slot := [1]uint16{k.Slot}
	if !x.lock(slot[:], false) {
		return 0, false
	}
	defer x.txn.EndCommand()
	if !x.blocking && !x.txn.Ready(k) {
		return 0, false
	}
	rec, found, err := x.txn.Get(k)
	switch {
	case err != nil:
		x.node.Waiters.WakeQueue(q) // they meet the error and answer it
	case found:
		return rec.Type, true
	}
	return keys.TypeNone, true
}

// outcome is what became of an attempt to serve somebody.
type outcome uint8

const (
	// answered: the request was answered, or the connection waits no longer.
	answered outcome = iota
	// idling: it goes on waiting.
	idling
	// unserved: it can't be run without waiting.
	unserved
)

// serveOne runs the request of a connection that waits.
func (x *executor) serveOne(w *command.Waiter) outcome {
	b := x.node.Waiters
	switch x.own(w) {
	case command.Left:
		return answered
	case command.Away:
		return idling
	case command.Busy:
		return unserved
	}
	c := w.Session().Conn.(*conn)
	if c.killed.Load() {
		b.Return(w)
		return answered
	}
	x.meet(c)
	args, ok, err := c.reader.Next()
	if !ok || err != nil { // it was parsed before
		b.Return(w)
		return idling
	}
	v := x.one(c, args)
	switch {
	case v == blocked:
		c.reader.Unread()
		if !b.Release(&c.Session) {
			c.Resume()
		}
		return idling
	case v == wouldBlock:
		c.reader.Unread()
		if !b.Release(&c.Session) {
			c.Resume()
		}
		return unserved
	case v.again():
		c.reader.Unread()
		b.Return(w)
		return idling
	case v == ran && c.CloseAfterReply:
		v = closing
	}
	c.reader.Reclaim()
	x.guests = append(x.guests, guest{c, v})
	return answered
}

// own makes the executor the owner of a waiter.
func (x *executor) own(w *command.Waiter) command.Taken {
	b := x.node.Waiters
	taken := b.Take(w)
	if taken != command.Busy || !x.blocking {
		return taken
	}
	x.settle()
	x.leave()
	taken = b.Await(w)
	x.enter()
	x.serving = x.node.Serving()
	return taken
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

// part takes a connection that begins to wait out of the group: it has no replies, and is somebody else's from now on.
func (x *executor) part(c *conn) {
	if c.group.joined {
		i := slices.Index(x.members, c)
		x.members = slices.Delete(x.members, i, i+1)
	}
	c.final()
	c.barrier = 0
}

// reserved returns what a request has to wait for since others, who came before, are just being served with what it names.
func (x *executor) reserved(c *conn, n *need) <-chan struct{} {
	b := x.node.Waiters
	if !b.Serving() || c.Waits() {
		return nil
	}
	if n.world || n.whole {
		return b.Served()
	}
	for _, k := range n.keys {
		if wait := b.Reserved(k.name); wait != nil {
			return wait
		}
	}
	return nil
}

// look begins another look at the keys of a connection that waits, if it does.
func (x *executor) look(c *conn) {
	if c.Waits() {
		x.node.Waiters.BeginLook(&c.Session)
	}
}
