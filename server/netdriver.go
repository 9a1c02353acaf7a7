package server

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairndb/cairn/server/config"
)

// netDriver serves each connection with a goroutine on package net: the driver for systems without epoll.
type netDriver struct {
	srv       *Server
	executors sync.Pool
	draining  atomic.Bool

	mu    sync.Mutex
	conns map[*conn]struct{}
	wg    sync.WaitGroup
}

func newNetDriver(s *Server) *netDriver {
	d := &netDriver{srv: s, conns: make(map[*conn]struct{})}
	d.executors.New = func() any { return s.newExecutor(true) }
	return d
}

func (d *netDriver) serve() error {
	var accepting sync.WaitGroup
	for _, l := range d.srv.listeners {
		accepting.Add(1)
		go func() {
			defer accepting.Done()
			d.accept(l)
		}()
	}
	stop := make(chan struct{})
	sampling := make(chan struct{})
	go func() {
		defer close(sampling)
		d.sample(stop)
	}()
	<-d.srv.stopped
	accepting.Wait()
	d.wg.Wait()
	close(stop)
	<-sampling
	return nil
}

// sample feeds INFO's rates.
func (d *netDriver) sample(stop <-chan struct{}) {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case now := <-ticker.C:
			d.srv.node.Stats.Sample(now)
			d.sweepBlocked()
		}
	}
}

func (d *netDriver) accept(l net.Listener) {
	for {
		nc, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // no descriptors left: others have to close theirs first
			d.srv.log.Error("accept failed", "err", err)
			select {
			case <-d.srv.stopped:
				return
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		d.admit(nc)
	}
}

func (d *netDriver) admit(nc net.Conn) {
	c := &conn{nc: nc, home: d}
	c.FD, c.Conn = -1, c
	c.Kill = func() {
		c.killed.Store(true)
		_ = nc.Close()
	}
	remote := nc.RemoteAddr()
	if tcp, ok := nc.(*net.TCPConn); ok {
		period := d.srv.conf.TCPKeepAlive()
		_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: period > 0, Idle: period, Interval: period / 3, Count: 3})
	} else {
		remote = nil
	}
	if refusal := d.srv.open(c, nc.LocalAddr(), remote); refusal != "" {
		_, _ = nc.Write([]byte("-" + refusal + "\r\n"))
		_ = nc.Close()
		return
	}
	d.mu.Lock()
	d.conns[c] = struct{}{}
	d.mu.Unlock()
	d.wg.Add(1)
	go func() {
		defer d.wg.Done()
		d.handle(c)
		_ = nc.Close()
		d.mu.Lock()
		delete(d.conns, c)
		d.mu.Unlock()
		d.srv.forget(c)
	}()
}

// handle serves a connection until it ends.
func (d *netDriver) handle(c *conn) {
	for {
		buf := c.reader.Space(0)
		if !d.setReadDeadline(c) {
			return
		}
		n, err := c.nc.Read(buf)
		c.reader.Filled(n)
		if n > 0 {
			d.srv.node.Stats.NetInput.Add(uint64(n))
			d.srv.node.Stats.Reads.Add(1)
			c.LastActive.Store(time.Now().UnixMilli())
			if !d.process(c) {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// setReadDeadline applies timeout, or the end of the server: then only what has arrived already is read.
func (d *netDriver) setReadDeadline(c *conn) bool {
	deadline := time.Time{}
	if timeout := d.srv.conf.Timeout(); timeout > 0 {
		deadline = time.Now().Add(timeout)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.draining.Load() {
		return false
	}
	return c.nc.SetReadDeadline(deadline) == nil
}

// process runs what the reader holds and sends the replies; false when the connection ends.
func (d *netDriver) process(c *conn) bool {
	c.setLimits(d.srv.node)
	v := d.run(c)
	for {
		if v == cut || c.killed.Load() || !d.srv.mayReply(c) {
			return false
		}
		c.final()
		if !d.send(c) {
			return false
		}
		switch v {
		case drained:
			c.reader.Shrink()
			c.publishBuffers()
			return true
		case closing, crashed:
			return false
		case taken:
			d.srv.takeover(c, c.nc)
			return false
		case paused, held:
			end := d.srv.pauseEnd
			if v == held {
				end = func() func() { return d.srv.holdEnd(c) }
			}
			c.Blocked.Store(true)
			end()()
			c.Blocked.Store(false)
			if d.draining.Load() {
				return false
			}
		case blocked:
			if v = d.block(c); v != blocked {
				continue
			}
		}
		v = d.run(c)
	}
}

// run runs what the reader holds.
func (d *netDriver) run(c *conn) verdict {
	x := d.executors.Get().(*executor)
	defer d.executors.Put(x)
	return x.runStable(d.srv.node.Context(), c)
}

// send writes all replies. A peer that does not read them stops its own requests; the output limits bound for how long.
func (d *netDriver) send(c *conn) bool {
	if c.pending() == 0 {
		return true
	}
	d.srv.count(c)
	defer d.srv.count(c)
	c.publishBuffers()
	if d.srv.overLimit(c, time.Now()) {
		d.overLimit(c)
		return false
	}
	deadline := time.Time{}
	if limit := d.srv.conf.ClientOutputLimit(config.ClassNormal); limit.Soft > 0 && int64(c.pending()) > limit.Soft {
		deadline = time.Now().Add(limit.SoftFor)
	}
	_ = c.nc.SetWriteDeadline(deadline)
	n, err := c.nc.Write(c.Out.Buf[c.sent:])
	d.srv.node.Stats.NetOutput.Add(uint64(n))
	d.srv.node.Stats.Writes.Add(1)
	c.sent = n
	if err != nil {
		if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() && !deadline.IsZero() {
			d.overLimit(c)
		}
		return false
	}
	c.Out.Buf, c.sent, c.softSince = c.Out.Buf[:0], 0, time.Time{}
	if cap(c.Out.Buf) > keepOutput {
		c.Out.Buf = nil
	}
	return true
}

// push is home's.
func (d *netDriver) push(c *conn, wait time.Duration) (int, error) {
	_ = c.nc.SetWriteDeadline(time.Now().Add(wait))
	n, err := c.nc.Write(c.Out.Buf[c.sent:])
	if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
		err = nil
	}
	return n, err
}

func (d *netDriver) overLimit(c *conn) {
	d.srv.node.Stats.ClientOutLimit.Add(1)
	d.srv.log.Warn("client closed: it does not read its replies", "client", c.Addr, "bytes", c.pending())
}

func (d *netDriver) shutdown(ctx context.Context) {
	d.mu.Lock()
	d.draining.Store(true)
	for c := range d.conns {
		_ = c.nc.SetReadDeadline(time.Now())
	}
	d.mu.Unlock()
	stop := context.AfterFunc(ctx, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		for c := range d.conns {
			_ = c.nc.Close()
		}
	})
	defer stop()
	if d.srv.started.Load() {
		<-d.srv.done
	}
}
