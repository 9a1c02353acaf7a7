package cluster

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"syscall"
	"time"

	"github.com/cairndb/cairn/cluster/gossip"
	"github.com/cairndb/cairn/cluster/slotmap"
)

// Every node keeps one silent stream to each other node. It ends with the process
// at its other end, which the gossip would notice much later; where the port then
// refuses, the node is suspected at once. That a host is gone, or a process stands
// still, only the gossip tells.

const (
	// The pauses between two attempts; the port may refuse a moment later than the connections end.
	firstWatchPause = 5 * time.Millisecond
	maxWatchPause   = 200 * time.Millisecond
	// maxWatched bounds the nodes of a cluster that are watched, and so the connections.
	maxWatched = 1000
)

// serveWatch holds a stream until the peer is gone.
func serveWatch(_ slotmap.NodeID, conn net.Conn) {
	defer conn.Close()
	_, _ = io.Copy(io.Discard, conn)
}

// keepWatch starts and ends watches as nodes come and go. The caller holds mu.
func (c *Cluster) keepWatch() {
	t := c.mu.table
	for id, end := range c.mu.watches {
		if t.peers[id] == nil || id == t.self {
			end()
			delete(c.mu.watches, id)
		}
	}
	for id := range t.peers {
		if id == t.self || c.mu.watches[id] != nil || len(c.mu.watches) >= maxWatched {
			continue
		}
		ctx, end := context.WithCancel(c.ctx)
		c.mu.watches[id] = end
		c.spawn(func() { c.watch(ctx, id) })
	}
}

func (c *Cluster) watch(ctx context.Context, id slotmap.NodeID) {
	channel, pause := c.Channel(gossip.KindWatch), firstWatchPause
	for ctx.Err() == nil {
		conn, err := channel.Dial(ctx, id)
		if !isOwnFault(err) {
			c.refused(id, errors.Is(err, syscall.ECONNREFUSED))
		}
		if err == nil {
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			_, _ = io.Copy(io.Discard, conn)
			stop()
			_ = conn.Close()
			pause = firstWatchPause
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, maxWatchPause)
		case <-ctx.Done():
		}
	}
}

// isOwnFault says that a dial failed for want of something on this side, so it tells nothing of the peer.
func isOwnFault(err error) bool {
	return slices.ContainsFunc([]error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.EADDRNOTAVAIL, net.ErrClosed, context.Canceled},
		func(own error) bool { return errors.Is(err, own) })
}

// refused notes whether a node's port refuses.
func (c *Cluster) refused(id slotmap.NodeID, yes bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := now()
	if t := c.mu.table; c.ctx.Err() == nil && t.refused(id, yes, at) && t.tick(at) {
		c.show()
	}
}
