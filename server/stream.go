package server

import (
	"time"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/server/command"
	"github.com/cairndb/cairn/server/config"
)

// A large reply goes to its client while it is written, in pieces, so that it takes no more memory than a piece. It is written by one walk over what was stored
// when the command began; when the first piece is full the command lets its locks go, and the gate. Its errors can't be told any more from then on:
// they end the connection.
//
// A client that is slow holds up its worker, for which another one stands in, and nobody else. One that takes less than a piece in pieceLimit is closed, since the
// walk keeps from being removed what has been deleted since.

const (
	// pieceLimit is how long a piece may take, unless client-output-buffer-limit has a soft limit for normal clients.
	pieceLimit = time.Minute
	// pieceWait is how long one look at the socket may take.
	pieceWait = 100 * time.Millisecond
	// replyLimit bounds the replies of a connection that nobody can send yet: those of EXEC, and of commands that have to see all before the first is known.
	replyLimit = 1 << 30
)

// pieces is a reply that is sent in pieces.
type pieces struct {
	x     *executor
	c     *conn
	txn   *engine.Txn
	begin int  // where it begins in c.Out.Buf
	began bool // the locks are given up, and what stands before it has been sent
	over  bool // the connection has to end
	done  bool // the handler has returned
}

// takesPieces says whether a request on a worker is to be sent in pieces; full means that what was rendered before has to be sent first.
func (x *executor) takesPieces(c *conn, n *need) (*pieces, verdict) {
	if !x.blocking || n.queue != nil || n.cmd.Flags&command.Streams == 0 || len(n.keys) != 1 || c.ReplyOff || c.ReplySkip {
		return nil, proceed
	}
	k := n.keys[0]
	if _, large := x.txn.Large(engine.Key{Slot: k.slot, DB: x.store.DB(c.DB), Name: k.name}); !large {
		return nil, proceed
	}
	if v := x.beforeSlow(c); v != proceed {
		return nil, v
	}
	return &pieces{x: x, c: c, txn: x.txn, begin: len(c.Out.Buf)}, proceed
}

// callInPieces is call for such a reply, with cut if the connection has to end.
func (x *executor) callInPieces(p *pieces, cmd *command.Command, args [][]byte) (took time.Duration, v verdict) {
	defer p.end()
	took = x.callWith(p.c, cmd, args, x.txn, p.arm)
	p.done = true
	if err := x.ctx.Torn; err != nil && !p.over {
		x.srv.log.Error("a reply could not be finished; the connection is closed", "client", p.c.Addr, "command", cmd.Name, "err", err)
		p.giveUp()
	}
	if p.over {
		return took, cut
	}
	return took, proceed
}

// arm is Ctx.Pieces.
func (p *pieces) arm() {
	p.c.Out.Spill, p.c.Out.SpillAt = p.spill, p.begin+outputBurst
}

// spill sends what has been written. It is called in the midst of the handler.
func (p *pieces) spill() {
	start := time.Now()
	c := p.c
	switch {
	case p.over:
	case !p.began && !p.txn.Detach():
		p.x.srv.limitReplies(c) // it comes from something else than a walk, and is not as large
		return
	default:
		if !p.began {
			p.x.node.Leave()
			p.began = true
			p.over = !p.x.mayBegin(c)
		}
		if p.over = p.over || !p.send(); p.over {
			p.giveUp()
			p.txn.Abort()
		}
	}
	p.clear()
	p.x.ctx.Away += max(time.Since(start), 1)
}

// giveUp has the connection end without the rest of the reply.
func (p *pieces) giveUp() {
	p.over = true
	p.c.killed.Store(true)
	p.clear()
}

// clear drops what has been written of the reply and is sent, or won't be.
func (p *pieces) clear() {
	p.c.Out.Buf = p.c.Out.Buf[:p.begin]
	p.c.sent = p.begin
}

// mayBegin waits until nothing holds back what was rendered.
func (x *executor) mayBegin(c *conn) bool {
	if x.waitAssured(x.srv.node.Context(), x.store, c) != "" || !x.srv.mayReply(c) {
		return false
	}
	c.final()
	return true
}

// end ends what spill has begun, in a panic, too: then the client has a part of a reply.
func (p *pieces) end() {
	p.x.srv.limitReplies(p.c)
	if !p.began {
		return
	}
	if !p.done {
		p.c.killed.Store(true)
	}
	p.txn.Attach()
	p.x.node.Enter()
	p.x.serving = p.x.node.Serving()
}

// send hands everything to the socket.
func (p *pieces) send() bool {
	c, s := p.c, p.x.srv
	limit := pieceLimit
	if l := s.conf.ClientOutputLimit(config.ClassNormal); l.Soft > 0 {
		limit = l.SoftFor
	}
	began, taken, waiting := time.Now(), 0, false
	defer func() {
		s.count(c)
		if waiting {
			p.x.standIn(false)
		}
	}()
	for c.pending() > 0 {
		if p.mustEnd() {
			return false
		}
		n, err := c.home.push(c, pieceWait)
		if err != nil {
			return false
		}
		c.sent += n
		if taken += n; taken >= outputBurst {
			began, taken = time.Now(), 0
		}
		s.node.Stats.NetOutput.Add(uint64(n))
		s.node.Stats.Writes.Add(1)
		if c.pending() == 0 {
			break
		}
		s.count(c)
		if !waiting {
			waiting = true
			p.x.standIn(true)
			c.publishBuffers()
		}
		if time.Since(began) > limit || s.outgoing.Load() > outputBudget && c.pending() > outputBacklog/16 {
			s.node.Stats.ClientOutLimit.Add(1)
			s.log.Warn("client closed: it does not read a large reply fast enough", "client", c.Addr, "bytes", c.pending())
			return false
		}
	}
	return true
}

// mustEnd says that the store or the node is about to be closed, or that the connection was killed.
func (p *pieces) mustEnd() bool {
	select {
	case <-p.x.store.Closing():
		return true
	case <-p.x.srv.node.Context().Done():
		return true
	default:
		return p.c.killed.Load()
	}
}

// limitReplies has the connection end when its replies become longer than any may be.
func (s *Server) limitReplies(c *conn) {
	c.Out.SpillAt = replyLimit
	c.Out.Spill = func() {
		if !c.killed.Swap(true) {
			s.node.Stats.ClientOutLimit.Add(1)
			s.log.Warn("client closed: its reply is too long", "client", c.Addr, "bytes", len(c.Out.Buf))
		}
		c.Out.Buf = c.Out.Buf[:replyLimit/2]
	}
}
