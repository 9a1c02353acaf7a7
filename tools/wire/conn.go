package wire

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"time"
)

// Conn is a connection to a server. It is used by one goroutine.
type Conn struct {
	net.Conn
	r       *bufio.Reader
	w       *bufio.Writer
	Timeout time.Duration // for each Flush and Receive; 30 s by default
}

// Dial connects to addr ("host:port", or the path of a Unix socket).
func Dial(addr string) (*Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return DialContext(ctx, addr)
}

// DialContext is Dial that ctx bounds. The connection outlives ctx.
func DialContext(ctx context.Context, addr string) (*Conn, error) {
	network := "tcp"
	if addr != "" && addr[0] == '/' {
		network = "unix"
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &Conn{Conn: c, r: bufio.NewReaderSize(c, 64<<10), w: bufio.NewWriterSize(c, 64<<10), Timeout: 30 * time.Second}, nil
}

// Do sends one command and returns its reply. The error is the connection's; an error reply is a Value.
func (c *Conn) Do(args ...string) (Value, error) {
	if err := c.Send(args...); err != nil {
		return Value{}, err
	}
	if err := c.Flush(); err != nil {
		return Value{}, err
	}
	return c.Receive()
}

// Must is Do with error replies turned into errors.
func (c *Conn) Must(args ...string) (Value, error) {
	v, err := c.Do(args...)
	if err == nil {
		err = v.Err()
	}
	if err != nil {
		err = fmt.Errorf("%s to %s: %w", args[0], c.RemoteAddr(), err)
	}
	return v, err
}

// Send puts a command into the buffer.
func (c *Conn) Send(args ...string) error {
	var scratch [24]byte
	head := func(kind byte, n int) {
		b := append(scratch[:0], kind)
		b = strconv.AppendInt(b, int64(n), 10)
		c.w.Write(append(b, '\r', '\n'))
	}
	head('*', len(args))
	for _, a := range args {
		head('$', len(a))
		c.w.WriteString(a)
		c.w.WriteString("\r\n")
	}
	return c.write(func() error { return nil })
}

// SendRaw puts bytes into the buffer as they are.
func (c *Conn) SendRaw(b string) error {
	return c.write(func() error { _, err := c.w.WriteString(b); return err })
}

// Flush writes the buffer to the socket.
func (c *Conn) Flush() error { return c.write(c.w.Flush) }

// write runs fn under the deadline; a bufio.Writer keeps its first error, which an empty write shows.
func (c *Conn) write(fn func() error) error {
	if err := c.SetWriteDeadline(time.Now().Add(c.Timeout)); err != nil {
		return err
	}
	if err := fn(); err != nil {
		return err
	}
	_, err := c.w.Write(nil)
	return err
}

// Receive reads one reply.
func (c *Conn) Receive() (Value, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.Timeout)); err != nil {
		return Value{}, err
	}
	return ReadValue(c.r)
}

const (
	maxDepth  = 64
	maxBulk   = 512 << 20 // proto-max-bulk-len
	bulkChunk = 1 << 20
)

// ReadValue reads one reply of RESP2 or RESP3.
func ReadValue(r *bufio.Reader) (Value, error) { return readValue(r, maxDepth) }

func readValue(r *bufio.Reader, depth int) (Value, error) {
	if depth == 0 {
		return Value{}, errors.New("wire: reply nested too deeply")
	}
	line, err := readLine(r)
	if err != nil {
		return Value{}, err
	}
	if len(line) == 0 {
		return Value{}, errors.New("wire: empty reply line")
	}
	v := Value{Kind: line[0], Text: string(line[1:])}
	switch v.Kind {
	case '+', '-', ':', ',', '#', '(':
		return v, nil
	case '_':
		return Value{Kind: '_', Null: true}, nil
	case '$', '=', '!':
		return readBulk(r, v)
	case '*', '%', '~', '>', '|':
		return readAggregate(r, v, depth)
	}
	return Value{}, fmt.Errorf("wire: unknown reply type %q", line)
}

func readLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	if len(line) < 2 || line[len(line)-2] != '\r' {
		return nil, fmt.Errorf("wire: line without CRLF: %q", line)
	}
	return line[:len(line)-2], nil
}

func readBulk(r *bufio.Reader, v Value) (Value, error) {
	n, err := strconv.Atoi(v.Text)
	v.Text = ""
	if err != nil || n < -1 {
		return v, fmt.Errorf("wire: bad bulk length: %v", err)
	}
	if n == -1 {
		v.Null = true
		return v, nil
	}
	if n > maxBulk {
		return v, fmt.Errorf("wire: bulk of %d bytes", n)
	}
	var b []byte
	for whole := n + 2; len(b) < whole; { // it grows with what comes, not with what was promised
		at := len(b)
		b = slices.Grow(b, min(bulkChunk, whole-at))[:min(at+bulkChunk, whole)]
		if _, err := io.ReadFull(r, b[at:]); err != nil {
			return v, err
		}
	}
	if b[n] != '\r' || b[n+1] != '\n' {
		return v, errors.New("wire: bulk without CRLF")
	}
	v.Text = string(b[:n])
	return v, nil
}

func readAggregate(r *bufio.Reader, v Value, depth int) (Value, error) {
	n, err := strconv.Atoi(v.Text)
	v.Text = ""
	if err != nil || n < -1 {
		return v, fmt.Errorf("wire: bad aggregate length: %v", err)
	}
	if n > maxBulk {
		return v, fmt.Errorf("wire: aggregate of %d elements", n)
	}
	if n == -1 {
		v.Null = true
		return v, nil
	}
	if v.Kind == '%' || v.Kind == '|' {
		n *= 2
	}
	for i := 0; i < n; i++ {
		e, err := readValue(r, depth-1)
		if err != nil {
			return v, err
		}
		v.Elems = append(v.Elems, e)
	}
	return v, nil
}
