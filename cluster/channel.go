package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/cairndb/cairn/cluster/gossip"
	"github.com/cairndb/cairn/cluster/slotmap"
)

// Channel is one kind of streams between the cluster's nodes, who are named by
// their IDs: where a node lives is looked up at every dial, so addresses may change.
// Streams share the bus's listener and its protection. After the bus's handshake:
//
//	caller → node: expected(20) caller(20)
//	node → caller: status(1)
//
// so that a stranger at a reused address gets nothing, and a node that is not in the table no stream.
type Channel struct {
	c    *Cluster
	kind gossip.Kind
}

// Channel gives access to the streams of a kind. Each subsystem has a kind of its own, from gossip.FirstKind on.
func (c *Cluster) Channel(kind gossip.Kind) *Channel { return &Channel{c, kind} }

// What a dial may end with besides the network's errors.
var (
	ErrUnknownNode = errors.New("cluster: unknown node, or its address is not known")
	ErrOtherNode   = errors.New("cluster: another node lives at the address, or that node does not know this one")
)

const (
	channelHead    = 2 * slotmap.NodeIDBytes
	channelTimeout = 5 * time.Second
)

// Dial opens a stream to a node.
func (ch *Channel) Dial(ctx context.Context, id slotmap.NodeID) (net.Conn, error) {
	c := ch.c
	addr, ok := c.resolve(id)
	if !ok {
		return nil, ErrUnknownNode
	}
	conn, err := c.bus.Dial(ctx, addr, ch.kind)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	_ = conn.SetDeadline(time.Now().Add(channelTimeout))
	if err := ch.introduce(conn, id); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("%s: %w", addr, err)
	}
	return conn, conn.SetDeadline(time.Time{})
}

func (ch *Channel) introduce(conn net.Conn, id slotmap.NodeID) error {
	if _, err := conn.Write(ch.c.View().self.ID.Append(id.Append(nil))); err != nil {
		return err
	}
	var status [1]byte
	if _, err := io.ReadFull(conn, status[:]); err != nil {
		return err
	}
	if status[0] != statusOK {
		return ErrOtherNode
	}
	return nil
}

// Handle serves the streams that other nodes open: fn gets each in a goroutine of its own and closes
// it. A nil fn serves none any more.
func (ch *Channel) Handle(fn func(from slotmap.NodeID, conn net.Conn)) {
	if fn == nil {
		ch.c.bus.Handle(ch.kind, nil)
		return
	}
	ch.c.bus.Handle(ch.kind, func(conn net.Conn) {
		from, err := ch.admit(conn)
		if err != nil {
			ch.c.log.Debug("cluster: stream refused", "kind", ch.kind, "peer", conn.RemoteAddr(), "err", err)
			_ = conn.Close()
			return
		}
		fn(from, conn)
	})
}

func (ch *Channel) admit(conn net.Conn) (from slotmap.NodeID, err error) {
	_ = conn.SetDeadline(time.Now().Add(channelTimeout))
	head := make([]byte, channelHead)
	if _, err := io.ReadFull(conn, head); err != nil {
		return "", err
	}
	expected, from := slotmap.DecodeNodeID(head), slotmap.DecodeNodeID(head[slotmap.NodeIDBytes:])
	status := byte(statusOK)
	if v := ch.c.View(); expected != v.self.ID || v.Node(from) == nil || ch.c.withdrawn.Load() {
		status = statusOther
	}
	if _, err := conn.Write([]byte{status}); err != nil {
		return "", err
	}
	if status != statusOK {
		return "", ErrOtherNode
	}
	return from, conn.SetDeadline(time.Time{})
}
