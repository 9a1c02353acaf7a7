package server

import (
	"net"
	"sync"
	"time"
)

// takeover serves a connection as its session says, until it has ended.
func (s *Server) takeover(c *conn, nc net.Conn) {
	_ = nc.SetDeadline(time.Time{}) // the driver may have set one
	c.Takeover(nc)
}

// takenConn is a connection that has left its loop. CLIENT KILL closes it from another goroutine.
type takenConn struct {
	mu     sync.Mutex
	nc     net.Conn
	killed bool
}

// hold makes nc the connection; one that was killed before is closed at once.
func (t *takenConn) hold(nc net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.nc = nc
	if t.killed {
		_ = nc.Close()
	}
}

func (t *takenConn) kill() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.killed = true
	if t.nc != nil {
		_ = t.nc.Close()
	}
}
