package server

import (
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// newDriver prepares the epoll loops; the listeners belong to the first.
func (s *Server) newDriver() (driver, error) {
	if s.o.portable {
		return newNetDriver(s), nil
	}
	d := &epollDriver{srv: s}
	for range max(s.conf.IOThreads(), 1) {
		l, err := newLoop(s)
		if err != nil {
			return nil, err
		}
		l.driver = d
		d.loops = append(d.loops, l)
	}
	for _, ln := range s.listeners {
		if err := d.loops[0].listen(ln, s.conf.TCPBacklog()); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// listen moves a listener's descriptor into the loop.
func (l *loop) listen(ln net.Listener, backlog int) error {
	filer, ok := ln.(interface{ File() (*os.File, error) })
	if !ok {
		return fmt.Errorf("a listener of type %T has no descriptor", ln)
	}
	file, err := filer.File() // a duplicate
	if err != nil {
		return err
	}
	fd := int(file.Fd())
	if err := unix.SetNonblock(fd, true); err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	if backlog > 0 { // net.Listen has chosen the system's maximum
		if err := unix.Listen(fd, backlog); err != nil {
			return os.NewSyscallError("listen", err)
		}
	}
	l.listeners = append(l.listeners, &listener{file: file, fd: fd, local: ln.Addr()})
	return l.ctl(unix.EPOLL_CTL_ADD, fd, 0, unix.EPOLLIN)
}

// accept takes new connections and spreads them over the loops.
func (l *loop) accept(ln *listener) {
	for range maxAccepts {
		fd, sa, err := unix.Accept4(ln.fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch {
		case err == unix.EAGAIN:
			return
		case err == unix.EINTR || err == unix.ECONNABORTED:
			continue
		case outOfDescriptors(err):
			l.srv.log.Error("no connection can be accepted", "err", err)
			_ = l.ctl(unix.EPOLL_CTL_DEL, ln.fd, 0, 0)
			ln.resume = l.now.Add(cronEvery)
			return
		case err != nil:
			l.srv.log.Error("accept failed", "err", err)
			return
		}
		l.admit(ln, fd, sa)
	}
}

// admit makes a connection of an accepted socket, or refuses it with Redis's error.
func (l *loop) admit(ln *listener, fd int, sa unix.Sockaddr) {
	c := &conn{epollConn: epollConn{fd: fd}}
	c.FD = fd
	remote := address(sa)
	local := ln.local
	if remote != nil {
		if lsa, err := unix.Getsockname(fd); err == nil {
			local = address(lsa)
		}
		setTCPOptions(fd, l.srv.conf.TCPKeepAlive())
	}
	c.FD = fd
	target := l.driver.pick()
	c.loop, c.home, c.Conn = target, target, c
	c.Kill = func() {
		if c.killed.CompareAndSwap(false, true) {
			c.taken.kill()
			target.post(message{c: c, kind: kill})
		}
	}
	if refusal := l.srv.open(c, local, remote); refusal != "" {
		_, _ = rawWrite(fd, []byte("-"+refusal+"\r\n"))
		_ = unix.Close(fd)
		return
	}
	if target == l {
		l.adopt(c)
	} else {
		target.post(message{c: c, kind: adopted})
	}
}

// pick chooses the loop of the next connection.
func (d *epollDriver) pick() *loop {
	d.next = (d.next + 1) % len(d.loops)
	return d.loops[d.next]
}

// adopt registers a connection with this loop.
func (l *loop) adopt(c *conn) {
	for c.fd >= len(l.conns) {
		l.conns = append(l.conns, make([]*conn, max(64, len(l.conns)))...)
	}
	l.gen++
	c.gen = l.gen
	l.conns[c.fd] = c
	l.open++
	c.events = unix.EPOLLIN
	if err := l.ctl(unix.EPOLL_CTL_ADD, c.fd, c.gen, c.events); err != nil {
		l.srv.log.Error("a connection could not be registered", "err", err)
		l.close(c)
	}
}

// address converts what accept returned; nil for a Unix socket.
func address(sa unix.Sockaddr) net.Addr {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return &net.TCPAddr{IP: net.IP(sa.Addr[:]), Port: sa.Port}
	case *unix.SockaddrInet6:
		return &net.TCPAddr{IP: net.IP(sa.Addr[:]), Port: sa.Port}
	}
	return nil
}

// setTCPOptions sends small replies at once, and lets the kernel find dead peers within about twice the given
// time (Redis: anetKeepAlive). Errors only cost these comforts.
func setTCPOptions(fd int, keepAlive time.Duration) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if keepAlive <= 0 {
		return
	}
	seconds := max(int(keepAlive/time.Second), 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, seconds)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, max(seconds/3, 1))
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 3)
}
