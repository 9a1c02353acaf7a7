package server

import "github.com/cairndb/cairn/server/resp"

// Replies that wait for replicas (replication-acks) are parked like those that wait for the disk. All replies of a connection wait
// together, so a pipeline waits once.

// watchAcks has the loop woken when the first of those parked may go on. One call is under way at a time.
func (l *loop) watchAcks() {
	if l.ackWatch.Load() {
		return
	}
	first := uint64(0)
	for _, c := range l.parked {
		if (first == 0 || c.barrier < first) && l.x.owes(c) {
			first = c.barrier
		}
	}
	if first == 0 {
		return
	}
	l.ackWatch.Store(true)
	l.x.node.Replication.OnAcked(first, func() {
		l.ackWatch.Store(false)
		l.notify()
	})
}

// expireAcks answers those whose replicas take longer than replication-acks-timeout. What waits for this node's own disk goes on waiting.
func (l *loop) expireAcks() {
	if len(l.parked) == 0 {
		return
	}
	stable := l.x.store.Stable()
	timeout := l.srv.conf.ReplicationAcksTimeout()
	for _, c := range l.parked {
		if !c.gone && c.barrier <= stable && l.now.Sub(c.parkedAt) > timeout && l.x.owes(c) {
			c.fail(&c.unstable, resp.ErrNotAcked)
			c.barrier = 0
		}
	}
	l.unpark()
}

// parkedLost answers those who wait for a store that has been replaced.
func (l *loop) parkedLost() {
	list := l.parked
	l.parked = nil
	for _, c := range list {
		if !c.gone {
			l.x.meet(c)
			l.proceed(c)
		}
	}
}
