package gossip

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/cairndb/cairn/cluster/slotmap"
)

// transport lets memberlist speak over the bus. memberlist knows nodes by name
// (their ID) alone: the addresses that it is told are made from the IDs, and every
// send looks the real one up in the node table. So an address may change without a
// conflict, a stranger at a reused address is not taken for the node that had it, and
// a node that was forgotten gets nothing.
type transport struct {
	self    slotmap.NodeID
	bus     *Bus
	resolve func(slotmap.NodeID) (addr string, ok bool)

	packets chan *memberlist.Packet
	streams chan net.Conn
	done    chan struct{}
	once    sync.Once
}

var errUnknownNode = errors.New("not in the node table")

// queued bounds the packets and streams that wait for memberlist.
const queued = 128

func newTransport(self slotmap.NodeID, bus *Bus, resolve func(slotmap.NodeID) (string, bool)) *transport {
	t := &transport{
		self: self, bus: bus, resolve: resolve,
		packets: make(chan *memberlist.Packet, queued),
		streams: make(chan net.Conn, queued),
		done:    make(chan struct{}),
	}
	bus.Handle(KindGossip, t.acceptStream)
	bus.HandlePackets(t.acceptPacket)
	return t
}

func (t *transport) acceptStream(conn net.Conn) {
	select {
	case t.streams <- conn:
	default:
		_ = conn.Close()
	}
}

func (t *transport) acceptPacket(b []byte, from net.Addr) {
	if len(b) == 0 {
		return
	}
	select {
	case t.packets <- &memberlist.Packet{Buf: b, From: from, Timestamp: time.Now()}:
	default: // memberlist is behind; gossip may be lost
	}
}

// FinalAdvertiseAddr gives the node an address made from its ID: a unique local IPv6 one (RFC 4193).
func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return nameAddr(t.self), namePort, nil
}

const namePort = 1

func nameAddr(id slotmap.NodeID) net.IP {
	ip := net.IP{0xfd}
	return append(ip, id.Append(nil)[:net.IPv6len-1]...)
}

// WriteTo is not used: memberlist must name the node.
func (t *transport) WriteTo([]byte, string) (time.Time, error) { return time.Time{}, errUnknownNode }

// DialTimeout is not used: memberlist must name the node.
func (t *transport) DialTimeout(string, time.Duration) (net.Conn, error) {
	return nil, errUnknownNode
}

// WriteToAddress sends a packet to the named node.
func (t *transport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	addr, ok := t.resolve(slotmap.NodeID(a.Name))
	if !ok {
		return time.Now(), nil // lost, as packets may be
	}
	return time.Now(), t.bus.SendPacket(b, addr)
}

// DialAddressTimeout opens a stream to the named node.
func (t *transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	addr, ok := t.resolve(slotmap.NodeID(a.Name))
	if !ok {
		return nil, errUnknownNode
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return t.bus.Dial(ctx, addr, KindGossip)
}

func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }
func (t *transport) StreamCh() <-chan net.Conn           { return t.streams }

// Shutdown leaves the bus, which goes on.
func (t *transport) Shutdown() error {
	t.once.Do(func() {
		t.bus.Handle(KindGossip, nil)
		t.bus.HandlePackets(nil)
		close(t.done)
		for {
			select {
			case conn := <-t.streams:
				_ = conn.Close()
			default:
				return
			}
		}
	})
	return nil
}
