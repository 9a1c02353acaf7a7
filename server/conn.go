package server

import (
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/server/command"
	"github.com/cairndb/cairn/server/config"
	"github.com/cairndb/cairn/server/resp"
)

// How large replies and groups may become before they are settled and sent.
const (
	// outputBurst is how many bytes of replies a connection renders before they are sent.
	outputBurst = 256 << 10
	// outputBacklog is how many bytes may wait for a reader that lags behind; beyond, its requests wait too.
	// It is generous for clients that send a long pipeline before they read the first reply.
	outputBacklog = 64 << 20
	// outputBudget bounds the waiting replies of all connections together: beyond, only what has been rendered is
	// kept, and the connection that holds most is closed.
	outputBudget = 256 << 20
	// inputBuffer is how much a connection reads at once.
	inputBuffer = 64 << 10
	// keepOutput is how large a reply buffer may be to be used again.
	keepOutput = 64 << 10
)

// conn is a client: its session, the requests that it has sent and the replies that wait. It has one
// owner at a time: the loop, a worker, its goroutine, or who serves it (see command.Waiters). Only killed may be touched by others.
type conn struct {
	command.Session
	reader resp.Reader
	sent   int // bytes of Out.Buf that the socket has taken

	// group are the replies since the first that depends on the open group: they must not be sent if its commit
	// fails. unstable are those since the first that depends on what the log may still lose: the barrier.
	group, unstable part
	barrier         engine.Offset
	store           *engine.Store // that the barrier is an offset of
	// owed: the unstable replies also wait for replicas (replication-acks).
	owed bool

	// leased: the rendered replies stand only if the node is still inside its lease, or was when it gave it up.
	leased    bool
	wait      <-chan struct{} // what the next request waits for after the verdict held
	killed    atomic.Bool
	more      bool      // requests may be left in the reader although the socket has nothing new
	softSince time.Time // since when the soft output limit is exceeded
	counted   int64     // what Server.outgoing counts for this connection

	home  home
	nc    net.Conn     // of the portable driver
	woken chan verdict // likewise: how a wait for keys ended
	taken takenConn
	epollConn
}

// part is a run of rendered replies, up to the last, that may have to be taken back.
type part struct {
	joined  bool
	start   int // in Out.Buf
	replies int // how many error replies take their place
}

// pending is the number of reply bytes that wait to be sent.
func (c *conn) pending() int { return len(c.Out.Buf) - c.sent }

// replied counts one reply.
func (c *conn) replied() {
	switch {
	case c.group.joined:
		c.group.replies++
	case c.unstable.joined:
		c.unstable.replies++
	}
}

// fail replaces the replies of a part by errors.
func (c *conn) fail(p *part, text string) {
	if !p.joined {
		return
	}
	c.Out.Buf = c.Out.Buf[:p.start]
	for range p.replies {
		c.Out.Error(text)
	}
}

// committed moves the group's replies to those that wait for the log.
func (c *conn) committed() {
	if c.unstable.joined {
		c.unstable.replies += c.group.replies
	} else {
		c.unstable = c.group
	}
	c.group = part{}
}

// final makes all rendered replies final.
func (c *conn) final() { c.group, c.unstable, c.leased, c.owed = part{}, part{}, false, false }

// mayReply says whether the rendered replies may be sent: see cluster.MayReply. It is asked when they are committed and assured, right before the first write of
// them: what they say has happened inside the lease then. What the socket does not take at once is sent later without a further look, as if it
// had been on its way for longer.
func (s *Server) mayReply(c *conn) bool {
	if !c.leased {
		return true
	}
	if !s.node.Cluster.MayReply() {
		s.log.Warn("the lease ended before a reply was sent; the connection is closed", "client", c.Addr)
		return false
	}
	return true
}

// ran ends what lasts until the next command has been run.
func (c *conn) ran(cmd *command.Command) {
	if cmd.Name != "asking" {
		c.endAsking()
	}
}

// endAsking ends what ASKING began, after the next command or the transaction that it began.
func (c *conn) endAsking() {
	if !c.InMulti {
		c.Asking = false
	}
}

// setLimits brings the reader up to date with the configuration and the session.
func (c *conn) setLimits(n *command.Node) {
	c.reader.Limits = resp.Limits{
		MaxBulk:       n.Config.ProtoMaxBulkLen(),
		QueryBuffer:   n.Config.ClientQueryBufferLimit(),
		Authenticated: n.Authenticated(&c.Session),
	}
}

// publishBuffers tells CLIENT LIST how much memory the connection holds.
func (c *conn) publishBuffers() {
	if q := int64(c.reader.Buffered()); q != c.QueryBuf.Load() {
		c.QueryBuf.Store(q)
	}
	if free := int64(c.reader.Cap() - c.reader.Buffered()); free != c.QueryFree.Load() {
		c.QueryFree.Store(free)
	}
	if out := int64(c.pending()); out != c.OutBuf.Load() {
		c.OutBuf.Store(out)
	}
}

// count keeps the sum of all connections' waiting replies.
func (s *Server) count(c *conn) {
	if n := int64(c.pending()); n != c.counted {
		s.outgoing.Add(n - c.counted)
		c.counted = n
	}
}

// mayContinue says whether a connection whose replies wait may run further requests.
func (s *Server) mayContinue(c *conn) bool {
	n := c.pending()
	return n == 0 || n < outputBacklog && s.outgoing.Load() < outputBudget
}

// overLimit says whether the waiting replies exceed client-output-buffer-limit.
func (s *Server) overLimit(c *conn, now time.Time) bool {
	n := int64(c.pending())
	if n == 0 {
		c.softSince = time.Time{}
		return false
	}
	limit := s.conf.ClientOutputLimit(config.ClassNormal)
	if limit.Hard > 0 && n > limit.Hard {
		return true
	}
	switch {
	case limit.Soft == 0 || n <= limit.Soft:
		c.softSince = time.Time{}
	case c.softSince.IsZero():
		c.softSince = now
	default:
		return now.Sub(c.softSince) > limit.SoftFor
	}
	return false
}

// protocolError answers what the reader could not parse; the connection is closed afterwards.
func (s *Server) protocolError(c *conn, err error) {
	if errors.Is(err, resp.ErrQueryBuffer) {
		s.node.Stats.QueryLimit.Add(1)
		s.log.Warn("client reached the query buffer limit", "client", c.Addr, "bytes", c.reader.Buffered())
		return
	}
	s.log.Debug("protocol error", "client", c.Addr, "err", err)
	if !c.ReplyOff && !c.ReplySkip {
		c.Out.Error("ERR " + err.Error())
	}
}

// open registers a connection whose transport stands. It returns the error reply for one that must not be served.
func (s *Server) open(c *conn, local, remote net.Addr) (refusal string) {
	c.Unix = remote == nil || remote.Network() == "unix"
	c.LAddr = local.String()
	c.Addr = c.LAddr + ":0" // as Redis shows the peers of a Unix socket
	if !c.Unix {
		c.Addr = remote.String()
	}
	switch {
	case s.node.Clients.Len() >= s.conf.MaxClients():
		s.node.Stats.RejectedConnections.Add(1)
		return resp.ErrMaxClients
	case s.conf.ProtectedMode() && s.conf.RequirePass() == "" && !c.Unix && !loopback(remote):
		s.node.Stats.RejectedConnections.Add(1)
		return resp.ErrProtectedMode
	}
	s.limitReplies(c)
	s.node.Connect(&c.Session)
	c.setLimits(s.node)
	return ""
}

// forget undoes open.
func (s *Server) forget(c *conn) {
	s.outgoing.Add(-c.counted)
	c.counted = 0
	s.node.Disconnect(&c.Session)
}

func loopback(a net.Addr) bool {
	ap, err := netip.ParseAddrPort(a.String())
	return err == nil && ap.Addr().Unmap().IsLoopback()
}

// idleTooLong says whether timeout closes the connection.
func (s *Server) idleTooLong(c *conn, now time.Time) bool {
	timeout := s.conf.Timeout()
	return timeout > 0 && now.UnixMilli()-c.LastActive.Load() > timeout.Milliseconds()
}
