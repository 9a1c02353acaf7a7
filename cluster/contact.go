package cluster

import (
	"errors"
	"time"

	"github.com/cairndb/cairn/cluster/gossip"
	"github.com/cairndb/cairn/cluster/slotmap"
)

// contact is the state of this node's efforts to reach a peer.
type contact struct {
	busy  bool
	again bool  // asked for while busy, or too soon
	done  int64 // unix ms of the last one's end
	next  int64 // unix ms, not before unless there is news
	pause int64 // ms, doubles until the peer answers
}

const (
	firstPause  = 100
	maxPause    = 5000
	maxContacts = 8  // at once
	newsPause   = 20 // ms between two exchanges with one peer, whatever it tells
	meetPause   = 250 * time.Millisecond
	minMeetTime = time.Second
)

// keepContact looks for the peers that do not answer, or have not been heard since
// this node started: this is how a restarted node rejoins, from whatever address. The caller holds mu.
func (c *Cluster) keepContact(at int64) {
	t := c.mu.table
	c.doubt(at)
	if t.twins.lost || t.unsure(at) {
		return
	}
	c.keepWatch()
	for id, k := range c.mu.contacts {
		if t.peers[id] == nil {
			delete(c.mu.contacts, id)
		} else if k.again {
			c.reach(id, at, true)
		}
	}
	for id, p := range t.peers {
		if id == t.self {
			continue
		}
		if !p.answers || p.stored {
			c.reach(id, at, false)
		} else if k := c.mu.contacts[id]; k != nil {
			k.pause = firstPause
		}
	}
}

// reach starts an exchange with a peer unless one is under way, or the last failure is too recent. The caller holds mu.
func (c *Cluster) reach(id slotmap.NodeID, at int64, urgent bool) {
	busy := 0
	for _, k := range c.mu.contacts {
		if k.busy {
			busy++
		}
	}
	k := c.mu.contacts[id]
	if k == nil {
		k = &contact{pause: firstPause}
		c.mu.contacts[id] = k
	}
	if k.busy || urgent && at < k.done+newsPause || busy >= maxContacts {
		k.again = k.again || urgent
		return
	}
	if at < k.next && !urgent {
		return
	}
	p := c.mu.table.peers[id]
	if p == nil || p.IP == "" {
		return
	}
	k.busy, k.again = true, false
	addr, join := joinAddr(p.IP, p.BusPort), !p.answers
	c.spawn(func() { c.speak(id, addr, join) })
}

// speak does one exchange with a peer and lets the gossip know it if it must.
func (c *Cluster) speak(id slotmap.NodeID, addr string, join bool) {
	err := c.exchange(c.ctx, addr, id)
	if g := c.gossip.Load(); err == nil && join && g != nil {
		// What changed between the exchange and the joining was not broadcast to us: hence another exchange.
		if err = g.Join(id); err == nil {
			err = c.exchange(c.ctx, addr, id)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.mu.contacts[id]
	if k == nil {
		return
	}
	k.busy, k.done = false, now()
	if err != nil {
		c.log.Debug("cluster: no contact", "node", id, "addr", addr, "err", err)
	}
	longest := min(maxPause, max(firstPause, c.mu.table.set.NodeTimeout.Milliseconds()/2))
	k.next, k.pause = k.done+k.pause, min(2*k.pause, longest)
}

// news fetches what a broadcast tells of, from the node that has it.
func (c *Cluster) news(n gossip.News) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, at := c.mu.table, now()
	if p := t.peers[n.Subject]; p != nil && p.Version >= n.Version || t.bans[n.Subject] > at {
		return
	}
	for _, id := range []slotmap.NodeID{n.Holder, n.Subject} {
		if id != t.self && t.peers[id] != nil {
			c.reach(id, at, true)
			return
		}
	}
}

// Meet makes this node and the one at the address members of one cluster, and
// with them all the nodes that they know (CLUSTER MEET). It returns at once and tries for a node timeout.
func (c *Cluster) Meet(ip string, port, busPort int) {
	if busPort == 0 {
		busPort = port + busOffset
	}
	addr := joinAddr(ip, busPort)
	c.mu.Lock()
	defer c.mu.Unlock()
	limit := max(c.mu.table.set.NodeTimeout, minMeetTime)
	c.spawn(func() { c.meet(addr, time.Now().Add(limit)) })
}

func (c *Cluster) meet(addr string, deadline time.Time) {
	for {
		err := c.exchange(c.ctx, addr, "")
		if err == nil || c.ctx.Err() != nil {
			return
		}
		if time.Now().After(deadline) || errors.Is(err, gossip.ErrHandshake) {
			c.log.Warn("cluster: no node could be met", "addr", addr, "err", err)
			return
		}
		select {
		case <-time.After(meetPause):
		case <-c.ctx.Done():
			return
		}
	}
}
