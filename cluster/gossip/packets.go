package gossip

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Under TLS there is no UDP: what would be its packets goes over one kept
// connection to each peer (KindPackets), as frames that the receiver counts:
//
//	→ length(2, big endian) packet
//	← one byte for each packet
//
// They may be lost as UDP's may: when the peer is not reached, or is slow. The
// receiver's bytes tell in time when a connection leads nowhere; TCP alone takes minutes.

const (
	packetsQueued = 128
	// linkPatience is how long packets may stay uncounted, linkIdle how long a connection is kept for nothing.
	linkPatience = 2 * time.Second
	linkIdle     = time.Minute
)

var errUncounted = errors.New("cluster bus: packets do not arrive")

// links are the connections that carry packets, by the peer's address.
type links struct {
	bus *Bus
	mu  sync.Mutex
	to  map[string]chan []byte
}

// send queues a packet and opens a connection if there is none. It never waits.
func (l *links) send(p []byte, addr string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	queue := l.to[addr]
	if queue == nil {
		queue = make(chan []byte, packetsQueued)
		if !l.bus.spawn(func() { l.run(addr, queue) }) {
			return
		}
		l.to[addr] = queue
	}
	select {
	case queue <- append([]byte(nil), p...):
	default:
	}
}

// run carries a queue's packets until the connection breaks or nothing is sent any more.
func (l *links) run(addr string, queue chan []byte) {
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.to, addr)
	}()
	conn, err := l.bus.Dial(l.bus.ctx, addr, KindPackets)
	if err == nil {
		err = carry(l.bus.ctx, conn, queue)
	}
	if err != nil {
		l.bus.o.Logger.Debug("cluster bus: packets are lost", "peer", addr, "err", err)
	}
}

func carry(ctx context.Context, conn net.Conn, queue <-chan []byte) error {
	var counted atomic.Uint64
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, packetsQueued)
		for {
			n, err := conn.Read(buf)
			counted.Add(uint64(n))
			if err != nil {
				return
			}
		}
	}()
	defer func() {
		_ = conn.Close()
		<-ended
	}()
	idle := time.NewTimer(linkIdle)
	defer idle.Stop()
	var sent, seen uint64
	progress := time.Now()
	for {
		select {
		case p := <-queue:
			if n := counted.Load(); n > seen || sent == n {
				seen, progress = n, time.Now()
			} else if time.Since(progress) > linkPatience {
				return errUncounted
			}
			_ = conn.SetWriteDeadline(time.Now().Add(linkPatience))
			if err := writePacket(conn, p); err != nil {
				return err
			}
			sent++
			idle.Reset(linkIdle)
		case <-ended:
			return io.ErrUnexpectedEOF
		case <-idle.C:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

func writePacket(w io.Writer, p []byte) error {
	if len(p) >= maxPacket {
		return errors.New("cluster bus: the packet is too large")
	}
	_, err := w.Write(append(binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(p)), uint16(len(p))), p...))
	return err
}

// servePackets is the receiver's side.
func (b *Bus) servePackets(conn net.Conn) {
	defer conn.Close()
	buf := make([]byte, maxPacket)
	for {
		_ = conn.SetReadDeadline(time.Now().Add(2 * linkIdle))
		if _, err := io.ReadFull(conn, buf[:2]); err != nil {
			return
		}
		p := buf[:binary.BigEndian.Uint16(buf)]
		if _, err := io.ReadFull(conn, p); err != nil {
			return
		}
		b.deliver(p, conn.RemoteAddr())
		_ = conn.SetWriteDeadline(time.Now().Add(linkPatience))
		if _, err := conn.Write([]byte{1}); err != nil {
			return
		}
	}
}
