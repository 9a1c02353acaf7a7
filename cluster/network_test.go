package cluster

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/cairndb/cairn/cluster/gossip"
)

// world is a network that can be cut between any two ports.
type world struct {
	mu   sync.Mutex
	side map[int]int // by bus port; ports on different sides do not reach each other
}

func newWorld() *world { return &world{side: make(map[int]int)} }

// split puts the members on a side of their own each call; heal puts everybody on one.
func (w *world) split(side int, members ...*member) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range members {
		w.side[m.BusPort()] = side
	}
}

func (w *world) heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.side)
}

func (w *world) cut(a, b int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.side[a] != w.side[b]
}

// place is one node's access to a world.
type place struct {
	gossip.System
	w    *world
	mu   sync.Mutex
	port int
}

func (p *place) own() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.port
}

func (p *place) Listen(addr string) (net.Listener, error) {
	l, err := p.System.Listen(addr)
	if err == nil {
		p.mu.Lock()
		p.port = l.Addr().(*net.TCPAddr).Port
		p.mu.Unlock()
	}
	return l, err
}

func (p *place) ListenPacket(addr string) (net.PacketConn, error) {
	c, err := p.System.ListenPacket(addr)
	return cuttable{c, p}, err
}

var errCut = errors.New("the network is cut")

func (p *place) Dial(ctx context.Context, local, addr string) (net.Conn, error) {
	to, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, err
	}
	if p.w.cut(p.own(), to.Port) {
		return nil, errCut
	}
	return p.System.Dial(ctx, local, addr)
}

type cuttable struct {
	net.PacketConn
	p *place
}

func (c cuttable) WriteTo(b []byte, to net.Addr) (int, error) {
	if c.p.w.cut(c.p.own(), to.(*net.UDPAddr).Port) {
		return len(b), nil
	}
	return c.PacketConn.WriteTo(b, to)
}
