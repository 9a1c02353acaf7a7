package server

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rawRead and rawWrite are read(2) and write(2) on non-blocking sockets. They return at once, so
// the Go runtime need not be told, which halves their overhead.

func rawRead(fd int, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return int(n), errno
}

func rawWrite(fd int, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_NOSIGNAL, 0, 0)
	return int(n), errno
}

// push is home's.
func (l *loop) push(c *conn, wait time.Duration) (int, error) {
	n, errno := rawWrite(c.fd, c.Out.Buf[c.sent:])
	switch errno {
	case 0:
		return n, nil
	case unix.EINTR:
		return 0, nil
	case unix.EAGAIN:
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLOUT}}, int(wait/time.Millisecond))
		if err == unix.EINTR {
			err = nil
		}
		return 0, err
	}
	return 0, errno
}
