package gossip

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"time"
)

// packetRelay carries packets over bus connections, one to each peer, where
// UDP would go unprotected. It keeps UDP's manners: it never waits, and a packet may be lost.
//
//	length(2, big endian) packet
type packetRelay struct {
	bus    *Bus
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex
	lanes map[string]chan []byte // by address
}

const (
	laneDepth = 64
	// laneIdle ends the connection to a peer that gets no more packets.
	laneIdle = time.Minute
	// lanePause keeps a peer that is away from being dialed for every packet.
	lanePause = 200 * time.Millisecond
)

func newPacketRelay(bus *Bus) *packetRelay {
	r := &packetRelay{bus: bus, lanes: make(map[string]chan []byte)}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

func (r *packetRelay) send(p []byte, addr string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil || len(p) >= maxPacket {
		return
	}
	lane := r.lanes[addr]
	if lane == nil {
		lane = make(chan []byte, laneDepth)
		r.lanes[addr] = lane
		r.wg.Go(func() { r.run(addr, lane) })
	}
	frame := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(p)), uint16(len(p)))
	select {
	case lane <- append(frame, p...):
	default:
	}
}

// run owns one lane until it is idle.
func (r *packetRelay) run(addr string, lane chan []byte) {
	var conn net.Conn
	defer func() {
		if conn != nil {
			_ = conn.Close()
		}
	}()
	idle := time.NewTimer(laneIdle)
	defer idle.Stop()
	for {
		select {
		case frame := <-lane:
			idle.Reset(laneIdle)
			conn = r.write(conn, addr, frame)
			if conn == nil {
				r.pause()
			}
		case <-idle.C:
			if r.retire(addr, lane) {
				return
			}
			idle.Reset(laneIdle)
		case <-r.ctx.Done():
			return
		}
	}
}

func (r *packetRelay) pause() {
	select {
	case <-time.After(lanePause):
	case <-r.ctx.Done():
	}
}

// write sends the frame and returns the connection to use next, nil after a failure.
func (r *packetRelay) write(conn net.Conn, addr string, frame []byte) net.Conn {
	if conn == nil {
		var err error
		if conn, err = r.bus.Dial(r.ctx, addr, KindPackets); err != nil {
			return nil
		}
	}
	_ = conn.SetWriteDeadline(time.Now().Add(handshakeTimeout))
	if _, err := conn.Write(frame); err != nil {
		_ = conn.Close()
		return nil
	}
	return conn
}

// retire takes the lane out of use unless a packet has come meanwhile.
func (r *packetRelay) retire(addr string, lane chan []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(lane) > 0 {
		return false
	}
	delete(r.lanes, addr)
	return true
}

func (r *packetRelay) close() {
	r.cancel()
	r.wg.Wait()
}

// readPackets is the other end of a lane.
func readPackets(conn net.Conn, deliver func(b []byte, from net.Addr)) {
	defer conn.Close()
	for {
		_ = conn.SetReadDeadline(time.Now().Add(2 * laneIdle))
		var head [2]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return
		}
		packet := make([]byte, binary.BigEndian.Uint16(head[:]))
		if _, err := io.ReadFull(conn, packet); err != nil {
			return
		}
		deliver(packet, conn.RemoteAddr())
	}
}
