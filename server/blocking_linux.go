package server

import "golang.org/x/sys/unix"

// A connection of a loop that waits for keys is in phase blocking. It belongs to who runs its request meanwhile (see command.Waiters): the loop claims
// it before it touches more than what epoll needs.

// block leaves a connection to the keys that it waits for. What it sends from now on stays in its socket; that it has gone is told by EPOLLRDHUP.
func (l *loop) block(c *conn) {
	c.phase = blocking
	l.arm(c, c.events|unix.EPOLLRDHUP)
	l.letGo(c)
}

// letGo ends the loop's ownership, unless the request has to be run again first.
func (l *loop) letGo(c *conn) {
	if l.srv.node.Waiters.Release(&c.Session) {
		c.Blocked.Store(true)
		return
	}
	c.Blocked.Store(false)
	c.phase = serving
	c.more, c.v = true, full
	l.resumeLater(c)
}

// blockedEvent answers an event for a connection that waits for keys.
func (l *loop) blockedEvent(c *conn, events uint32) {
	switch {
	case events&(unix.EPOLLERR|unix.EPOLLHUP|unix.EPOLLRDHUP) != 0:
		l.closeBlocked(c)
	default:
		l.arm(c, c.events&^(unix.EPOLLIN|unix.EPOLLOUT))
	}
}

// closeBlocked closes a connection that waits for keys; one whose request is being run, when it comes back.
func (l *loop) closeBlocked(c *conn) {
	if l.srv.node.Waiters.Claim(&c.Session) {
		l.close(c)
		return
	}
	c.killed.Store(true)
	_ = l.ctl(unix.EPOLL_CTL_DEL, c.fd, 0, 0)
	c.events = 0
}

// resume and served are home's.
func (l *loop) resume(c *conn) { l.post(message{c: c, kind: released}) }

func (l *loop) served(x *executor, c *conn, v verdict) {
	if x == l.x {
		l.comeBack(c, v)
		return
	}
	l.post(message{c, served, v})
}

// comeBack takes a connection back whose request was run by somebody else and is committed.
func (l *loop) comeBack(c *conn, v verdict) {
	c.Blocked.Store(false)
	c.phase = serving
	c.v = v
	switch {
	case c.killed.Load():
		c.v = cut
	case v == ran:
		c.v, c.more = full, c.reader.Buffered() > 0
	}
	if !c.dirty {
		c.dirty = true
		l.dirty = append(l.dirty, c)
	}
}
