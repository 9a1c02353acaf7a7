package epoch

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairndb/cairn/cluster/slotmap"
)

// A connection for calls carries frames, in both directions:
//
//	length(4, little endian, of what follows) call(8) kind(1) body
//
// An answer repeats the call's number and kind. Calls are answered in any order.
const (
	frameHead = 4
	callHead  = 8 + 1
	maxFrame  = 4 << 20 // a table of scattered slots and some thousand nodes takes less than 1 MiB
	maxCalls  = 64      // that are served for one connection at a time; more wait in the socket
	maxQueued = 256     // frames that wait for the socket
)

const writeTimeout = 5 * time.Second

// kind of a call. Its numbers never change.
type kind byte

const (
	callPropose kind = 1
	callFollow  kind = 2
	callInvite  kind = 3
	callRenew   kind = 4
	callRelease kind = 5
	callAgree   kind = 6
	callOffer   kind = 7
	callLeave   kind = 8
)

var (
	errBusy = errors.New("epoch: too many calls to this node at once")
	errLost = errors.New("epoch: connection lost")
)

// peers are this node's connections for calls to others, at most one each.
type peers struct {
	dialer Dialer
	ctx    context.Context // ends them all
	mu     sync.Mutex
	conns  map[slotmap.NodeID]*peer
	wg     sync.WaitGroup
}

func newPeers(ctx context.Context, d Dialer) *peers {
	return &peers{dialer: d, ctx: ctx, conns: make(map[slotmap.NodeID]*peer)}
}

// call asks a node and waits for its answer.
func (p *peers) call(ctx context.Context, to slotmap.NodeID, k kind, body []byte) ([]byte, error) {
	c, err := p.get(to)
	if err != nil {
		return nil, err
	}
	return c.call(ctx, k, body)
}

func (p *peers) get(to slotmap.NodeID) (*peer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		return nil, net.ErrClosed
	}
	if c := p.conns[to]; c != nil && !c.isLost() {
		return c, nil
	}
	ctx, cancel := context.WithCancel(p.ctx)
	c := &peer{ctx: ctx, cancel: cancel, out: make(chan []byte, maxQueued), waiting: make(map[uint64]chan []byte)}
	p.conns[to] = c
	p.wg.Go(func() { c.run(p.dialer, to) })
	return c, nil
}

// close waits for all connections; p.ctx has ended.
func (p *peers) close() { p.wg.Wait() }

// peer is the calling end of one connection.
type peer struct {
	ctx      context.Context
	cancel   context.CancelFunc
	out      chan []byte
	received atomic.Uint64

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan []byte
}

func (c *peer) isLost() bool { return c.ctx.Err() != nil }

func (c *peer) run(d Dialer, to slotmap.NodeID) {
	defer c.cancel()
	dial, cancel := context.WithTimeout(c.ctx, helloTimeout)
	conn, err := d.DialNode(dial, to)
	cancel()
	if err != nil {
		return
	}
	stop := context.AfterFunc(c.ctx, func() { _ = conn.Close() })
	defer stop()
	defer func() { _ = conn.Close() }()
	var wg sync.WaitGroup
	wg.Go(func() {
		defer c.cancel()
		if _, err := conn.Write([]byte{purposeCalls}); err == nil {
			writeFrames(c.ctx, conn, c.out)
		}
	})
	c.read(conn)
	c.cancel()
	_ = conn.Close()
	wg.Wait()
}

func (c *peer) read(conn net.Conn) {
	r := bufio.NewReader(conn)
	for {
		call, _, body, err := readFrame(r)
		if err != nil {
			return
		}
		c.received.Add(1)
		c.mu.Lock()
		ch := c.waiting[call]
		delete(c.waiting, call)
		c.mu.Unlock()
		if ch != nil {
			ch <- body // has room for one
		}
	}
}

func (c *peer) call(ctx context.Context, k kind, body []byte) ([]byte, error) {
	if len(body) > maxFrame-callHead {
		return nil, errEncoding
	}
	answer := make(chan []byte, 1)
	c.mu.Lock()
	c.last++
	call := c.last
	c.waiting[call] = answer
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.waiting, call)
		c.mu.Unlock()
	}()
	before := c.received.Load()
	select {
	case c.out <- frame(call, k, body):
	default:
		return nil, errBusy
	}
	select {
	case b := <-answer:
		return b, nil
	case <-c.ctx.Done():
		return nil, errLost
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) && c.received.Load() == before {
			c.cancel() // nothing comes back: the next call takes a new connection, perhaps to a new address
		}
		return nil, ctx.Err()
	}
}

func frame(call uint64, k kind, body []byte) []byte {
	b := make([]byte, 0, frameHead+callHead+len(body))
	b = binary.LittleEndian.AppendUint32(b, uint32(callHead+len(body)))
	b = binary.LittleEndian.AppendUint64(b, call)
	b = append(b, byte(k))
	return append(b, body...)
}

// readFrame allocates as bytes arrive, not as a stranger announces them.
func readFrame(r *bufio.Reader) (call uint64, k kind, body []byte, err error) {
	var head [frameHead + callHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, 0, nil, err
	}
	n := binary.LittleEndian.Uint32(head[:])
	if n < callHead || n > maxFrame {
		return 0, 0, nil, errEncoding
	}
	body, err = readN(r, int(n-callHead))
	return binary.LittleEndian.Uint64(head[frameHead:]), kind(head[frameHead+8]), body, err
}

func readN(r io.Reader, n int) ([]byte, error) {
	b := make([]byte, 0, min(n, 64<<10))
	for len(b) < n {
		step := min(n-len(b), 64<<10)
		b = append(b, make([]byte, step)...)
		if _, err := io.ReadFull(r, b[len(b)-step:]); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func writeFrames(ctx context.Context, conn net.Conn, out <-chan []byte) {
	for {
		select {
		case b := <-out:
			_ = conn.SetWriteDeadline(time.Now().Add(writeTimeout))
			if _, err := conn.Write(b); err != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// serveCalls answers the calls of one connection until it ends. A nil answer ends it.
func serveCalls(ctx context.Context, conn net.Conn, answer func(ctx context.Context, k kind, body []byte) []byte) {
	ctx, cancel := context.WithCancel(ctx)
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	out := make(chan []byte, maxCalls)
	slots := make(chan struct{}, maxCalls)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		defer cancel()
		writeFrames(ctx, conn, out)
	})
	r := bufio.NewReader(conn)
	for {
		call, k, body, err := readFrame(r)
		if err != nil {
			return
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		wg.Go(func() {
			defer func() { <-slots }()
			reply := answer(ctx, k, body)
			if reply == nil {
				cancel()
				return
			}
			select {
			case out <- frame(call, k, reply):
			case <-ctx.Done():
			}
		})
	}
}
