package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/cairndb/cairn/cluster/gossip"
	"github.com/cairndb/cairn/cluster/slotmap"
)

// An exchange is one request and one answer over the bus, in which two nodes
// tell each other all they know:
//
//	length(4, big endian) format(1) flags(1) expected(20) state     →
//	                      ← length(4, big endian) status(1) state
//
// The caller names the node that it expects at the address, so a stranger there learns and tells
// nothing; only CLUSTER MEET expects nobody in particular. A node that does not know the caller (it was reset, or
// has forgotten the caller) answers with its own record alone.
const (
	exchangeFormat  = 1
	flagMeet        = 1
	exchangeTimeout = 3 * time.Second
	requestHead     = 2 + slotmap.NodeIDBytes
)

// The answers' statuses.
const (
	statusOK = iota
	statusOther
	statusStranger
)

var (
	errOther    = errors.New("another node lives there")
	errStranger = errors.New("the node there does not know this one")

	errWithdrawn = errors.New("another process runs with this node's ID")
)

// exchange speaks with the node at addr. expect is empty to meet whoever is there.
func (c *Cluster) exchange(ctx context.Context, addr string, expect slotmap.NodeID) error {
	if c.withdrawn.Load() {
		return errWithdrawn
	}
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	conn, err := c.bus.Dial(ctx, addr, gossip.KindState)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	c.learnIP(conn.LocalAddr())

	flags := byte(0)
	if expect == "" {
		flags = flagMeet
	}
	request := expect.Append([]byte{exchangeFormat, flags})
	if err := writeFrame(conn, append(request, c.encodeState()...)); err != nil {
		return err
	}
	answer, err := readFrame(conn)
	if err != nil {
		return err
	}
	return c.absorb(answer, expect == "")
}

// absorb takes in an answer.
func (c *Cluster) absorb(answer []byte, met bool) error {
	if len(answer) == 0 {
		return errState
	}
	if answer[0] == statusOther {
		return errOther
	}
	s, err := decodeState(answer[1:])
	if err != nil {
		return err
	}
	c.merge(s, met)
	if answer[0] == statusStranger {
		return errStranger
	}
	return nil
}

// serveExchange is the other side.
func (c *Cluster) serveExchange(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(exchangeTimeout))
	request, err := readFrame(conn)
	if err != nil {
		return
	}
	answer, err := c.answer(request, conn.LocalAddr())
	if err != nil {
		c.log.Debug("cluster: malformed exchange", "peer", conn.RemoteAddr(), "err", err)
		return
	}
	_ = writeFrame(conn, answer)
}

func (c *Cluster) answer(request []byte, local net.Addr) ([]byte, error) {
	if len(request) < requestHead || request[0] != exchangeFormat {
		return nil, errState
	}
	meet := request[1]&flagMeet != 0
	expected := slotmap.DecodeNodeID(request[2:])
	s, err := decodeState(request[requestHead:])
	if err != nil {
		return nil, err
	}
	view := c.View()
	switch {
	case !meet && expected != view.self.ID || c.withdrawn.Load():
		return []byte{statusOther}, nil
	case !meet && view.Node(s.Sender) == nil:
		return appendState([]byte{statusStranger}, c.ownState()), nil
	}
	c.learnIP(local)
	return appendState([]byte{statusOK}, c.trade(s, meet)), nil
}

// trade takes in a caller's state and returns this node's. When another process was the caller's node
// before, it is that one's record that the caller is told: it may still be there (twin.go).
func (c *Cluster) trade(s *state, met bool) *state {
	c.mu.Lock()
	var before record
	if p := c.mu.table.peers[s.Sender]; p != nil {
		before = p.record
	}
	c.mu.Unlock()
	c.merge(s, met)
	c.mu.Lock()
	defer c.mu.Unlock()
	mine := c.mu.table.state()
	for i, r := range mine.Records {
		if r.ID == before.ID && r.Nonce != before.Nonce {
			mine.Records[i] = before
		}
	}
	return mine
}

func writeFrame(w io.Writer, b []byte) error {
	frame := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(b)), uint32(len(b)))
	_, err := w.Write(append(frame, b...))
	return err
}

// readFrame lets its buffer grow with what arrives, so that a length alone costs nothing.
func readFrame(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > maxState {
		return nil, fmt.Errorf("%w: %d bytes", errState, size)
	}
	b, err := io.ReadAll(io.LimitReader(r, int64(size)))
	if err == nil && len(b) < int(size) {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}

// learnIP takes the address at which a connection reached this node for its own, unless one is
// announced or a better one is known. Redis does so when a node is met.
func (c *Cluster) learnIP(local net.Addr) {
	host, _, err := net.SplitHostPort(local.String())
	ip := net.ParseIP(host)
	if err != nil || ip == nil || ip.IsUnspecified() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	me := c.mu.table.me()
	known := net.ParseIP(me.IP)
	if c.mu.table.set.AnnounceIP != "" || known != nil && (!known.IsLoopback() || ip.IsLoopback()) {
		return
	}
	me.IP = ip.String()
	c.mu.table.touch()
	c.publish()
}
