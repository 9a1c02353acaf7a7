package server

import (
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// release gives a connection whose replies are sent to what takes it over, on a goroutine of its own.
func (l *loop) release(c *conn) {
	if c.pending() > 0 { // a peer that doesn't read
		l.close(c)
		return
	}
	_ = l.ctl(unix.EPOLL_CTL_DEL, c.fd, 0, 0)
	l.conns[c.fd] = nil
	l.open--
	c.gone = true
	file := os.NewFile(uintptr(c.fd), "connection "+strconv.Itoa(c.fd))
	nc, err := net.FileConn(file) // with a descriptor of its own
	_ = file.Close()
	if err != nil {
		l.srv.log.Error("a connection could not be taken over", "client", c.Addr, "err", err)
		l.srv.forget(c)
		return
	}
	c.taken.hold(nc)
	l.srv.replicas.Add(1)
	go func() {
		defer l.srv.replicas.Done()
		defer l.srv.forget(c)
		defer nc.Close()
		l.srv.takeover(c, nc)
	}()
}
