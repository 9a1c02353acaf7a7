package command

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Limits of the connections that MIGRATE keeps (Redis: MIGRATE_SOCKET_CACHE_ITEMS, MIGRATE_SOCKET_CACHE_TTL).
const (
	maxIdleTargets = 64
	targetIdle     = 10 * time.Second
	// targetChunk is what must be written within one timeout, so that a large value may take several.
	targetChunk = 64 << 10
	// targetLine bounds one reply.
	targetLine = 4 << 10
)

// target is a connection to a node that keys are sent to. One MIGRATE uses it at a time.
type target struct {
	addr    string
	conn    net.Conn
	r       *bufio.Reader
	w       *bufio.Writer
	timeout time.Duration // for each chunk written and each reply read
	db      int64         // the database that is selected there, -1 for not known
	auth    string        // the credentials that it has accepted
	expiry  *time.Timer   // closes it when it has been idle
}

// errReply: the peer does not speak the protocol.
var errReply = errors.New("malformed reply")

func dialTarget(ctx context.Context, addr string, timeout time.Duration) (*target, error) {
	conn, err := (&net.Dialer{Timeout: timeout}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	t := &target{addr: addr, conn: conn, timeout: timeout}
	t.r = bufio.NewReaderSize(conn, targetLine)
	t.w = bufio.NewWriterSize(chunked{t}, targetChunk)
	return t, nil
}

// chunked gives each chunk that is written its own deadline.
type chunked struct{ t *target }

func (c chunked) Write(b []byte) (n int, err error) {
	for chunk := range slices.Chunk(b, targetChunk) {
		if err := c.t.conn.SetWriteDeadline(time.Now().Add(c.t.timeout)); err != nil {
			return n, err
		}
		m, err := c.t.conn.Write(chunk)
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// send puts one command into the buffer.
func (t *target) send(args ...[]byte) error {
	var head []byte
	head = append(strconv.AppendInt(append(head, '*'), int64(len(args)), 10), "\r\n"...)
	for _, a := range args {
		head = append(strconv.AppendInt(append(head, '$'), int64(len(a)), 10), "\r\n"...)
		if _, err := t.w.Write(head); err != nil {
			return err
		}
		if _, err := t.w.Write(a); err != nil {
			return err
		}
		head = append(head[:0], "\r\n"...)
	}
	_, err := t.w.Write(head)
	return err
}

// receive reads the reply of a command that answers +OK or an error, whose text it returns.
func (t *target) receive() (refusal string, err error) {
	if t.r.Buffered() == 0 {
		if err := t.conn.SetReadDeadline(time.Now().Add(t.timeout)); err != nil {
			return "", err
		}
	}
	line, err := t.r.ReadSlice('\n')
	switch {
	case err != nil:
		return "", err
	case bytes.HasPrefix(line, []byte("-")):
		return string(bytes.TrimRight(line[1:], "\r\n")), nil
	case bytes.HasPrefix(line, []byte("+")):
		return "", nil
	}
	return "", errReply
}

func (t *target) close() { _ = t.conn.Close() }

func timedOut(err error) bool {
	ne := net.Error(nil)
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &ne) && ne.Timeout()
}

// targets keeps the connections that no MIGRATE uses.
type targets struct {
	mu     sync.Mutex
	idle   []*target // the one used last at the end
	closed bool
}

// take returns a connection to addr that is not in use, nil if there is none.
func (p *targets) take(addr string) *target {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.idle) - 1; i >= 0; i-- {
		t := p.idle[i]
		if t.addr == addr && t.expiry.Stop() {
			p.idle = slices.Delete(p.idle, i, i+1)
			return t
		}
	}
	return nil
}

// keep takes a connection back.
func (p *targets) keep(t *target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		t.close()
		return
	}
	if len(p.idle) == maxIdleTargets {
		p.idle[0].expiry.Stop()
		p.idle[0].close()
		p.idle = slices.Delete(p.idle, 0, 1)
	}
	p.idle = append(p.idle, t)
	t.expiry = time.AfterFunc(targetIdle, func() { p.expire(t) })
}

func (p *targets) expire(t *target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.idle, t); i >= 0 {
		p.idle = slices.Delete(p.idle, i, i+1)
	}
	t.close()
}

// forget closes the idle connections to addr: when one of them is broken, so are likely the others.
func (p *targets) forget(addr string) {
	for t := p.take(addr); t != nil; t = p.take(addr) {
		t.close()
	}
}

func (p *targets) len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.idle)
}

func (p *targets) closeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, t := range p.idle {
		t.expiry.Stop()
		t.close()
	}
	p.idle = nil
}
