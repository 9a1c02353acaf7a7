package command

import (
	"context"
	"net"
	"sync/atomic"
)

// errand is what a connection waits for: see Await.
type errand struct {
	done   chan struct{}
	cancel context.CancelFunc
	reply  func(*Ctx)
	ended  atomic.Pointer[string] // by CLIENT UNBLOCK: the error, or nothing
}

// Await has the connection wait for work, which runs in a goroutine of its own and holds nothing up; then reply answers. The
// handler returns without a reply. work must not touch c, the session and the request; its context ends with the connection. Only
// for Unlocked commands outside EXEC.
func (c *Ctx) Await(work func(context.Context), reply func(*Ctx)) {
	n := c.Node // c is used again for the next request
	ctx, cancel := context.WithCancel(n.ctx)
	e := &errand{done: make(chan struct{}), cancel: cancel, reply: reply}
	c.errand = e
	n.errands.Add(1)
	go func() {
		defer n.errands.Done()
		defer close(e.done)
		work(ctx)
	}()
}

// AwaitTimed is Await for work that has a time-out: CLIENT UNBLOCK ends it, too.
func (c *Ctx) AwaitTimed(work func(context.Context), reply func(*Ctx)) {
	c.Await(work, reply)
	e := c.errand
	unblock := func(text string) bool {
		if !e.ended.CompareAndSwap(nil, &text) {
			return false
		}
		e.cancel()
		return true
	}
	c.unblock.Store(&unblock)
}

// Awaiting is closed when the connection's request can be answered; nil if it waits for nothing.
func (s *Session) Awaiting() <-chan struct{} {
	if s.errand == nil {
		return nil
	}
	return s.errand.done
}

// Finish answers a request whose Awaiting is closed.
func (n *Node) Finish(c *Ctx) {
	e := c.errand
	c.errand = nil
	c.unblock.Store(nil)
	e.cancel()
	if text := e.ended.Load(); text != nil && *text != "" {
		c.Out.Error(*text)
		return
	}
	e.reply(c)
}

// Takeover is what takes a connection over from the server: see CAIRN.SYNC. It returns when the connection has ended.
type Takeover func(conn net.Conn)
