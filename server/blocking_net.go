package server

import (
	"net"
	"sync/atomic"
	"time"
)

// block leaves a connection to the keys that it waits for. It returns blocked when the request has to be run again, full when somebody else has answered
// it, and closing, crashed or cut when the connection ends.
func (d *netDriver) block(c *conn) verdict {
	if !d.endlessRead(c) {
		return cut
	}
	c.woken = make(chan verdict, 1)
	peer := watchPeer(c.nc)
	defer peer.end(c)
	b := d.srv.node.Waiters
	if !b.Release(&c.Session) {
		return blocked
	}
	c.Blocked.Store(true)
	defer c.Blocked.Store(false)
	var v verdict
	select {
	case v = <-c.woken:
	case <-peer.gone:
		if !b.Claim(&c.Session) {
			<-c.woken
		}
		return cut
	}
	if v == blocked || v == cut {
		return v
	}
	x := d.executors.Get().(*executor)
	defer d.executors.Put(x)
	if text := x.waitAssured(d.srv.node.Context(), c.store, c); text != "" {
		c.fail(&c.unstable, text)
		c.barrier = 0
	}
	if v == ran {
		return full
	}
	return v
}

// endlessRead lifts the deadline of timeout, which is not for who waits; false when the server ends.
func (d *netDriver) endlessRead(c *conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.draining.Load() && c.nc.SetReadDeadline(time.Time{}) == nil
}

// resume and served are home's.
func (d *netDriver) resume(c *conn) { c.woken <- blocked }

func (d *netDriver) served(_ *executor, c *conn, v verdict) { c.woken <- v }

func (d *netDriver) sweepBlocked() {
	d.srv.node.Enter()
	defer d.srv.node.Leave()
	d.srv.node.SweepBlocked()
}

// peerWatch reads what comes from a peer whose request waits, to notice when it goes.
type peerWatch struct {
	nc    net.Conn
	gone  chan struct{}
	done  chan struct{}
	ended atomic.Bool
	read  []byte
}

func watchPeer(nc net.Conn) *peerWatch {
	w := &peerWatch{nc: nc, gone: make(chan struct{}), done: make(chan struct{})}
	go w.run()
	return w
}

// run reads no more than a connection's buffer holds: a peer that sends more is not watched.
func (w *peerWatch) run() {
	defer close(w.done)
	chunk := make([]byte, 512)
	for len(w.read) < inputBuffer {
		n, err := w.nc.Read(chunk)
		w.read = append(w.read, chunk[:n]...)
		if err != nil {
			if !w.ended.Load() {
				close(w.gone)
			}
			return
		}
	}
}

// end ends the watch and puts what has come into the connection's reader.
func (w *peerWatch) end(c *conn) {
	w.ended.Store(true)
	_ = w.nc.SetReadDeadline(time.Unix(1, 0))
	<-w.done
	if len(w.read) > 0 {
		c.reader.Filled(copy(c.reader.Space(len(w.read)), w.read))
	}
}
