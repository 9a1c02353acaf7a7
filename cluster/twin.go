package cluster

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"time"

	"github.com/cairndb/cairn/cluster/gossip"
	"github.com/cairndb/cairn/cluster/slotmap"
)

// A data folder that is copied and started twice makes two processes with one
// node ID, which would take each other's slots in turns. Every process has a random
// nonce in its record. A process that hears of its own ID with another nonce, or
// reads in nodes.conf where it lived last, asks at that address. Nobody there, or
// itself: it was its own past. Another process: the one that runs for a shorter time
// withdraws, which means that it serves nothing and leaves the gossip and the group of epochs until it is
// restarted or gets a new ID (CLUSTER RESET HARD).
//
// Who withdraws is decided by the one that is asked, from durations alone:
//
//	asker → asked: format(1) id(20) nonce(8) uptime(8, ms)
//	asked → asker: verdict(1)
const (
	identityFormat  = 1
	identitySize    = 1 + slotmap.NodeIDBytes + 8 + 8
	identityTimeout = time.Second
	// doubtPause is the least time between two questions, in milliseconds.
	doubtPause = 1000
	maxCleared = 64
)

// The verdicts.
const (
	verdictStranger = iota // no other process of the asker's node
	verdictYield           // the asker withdraws
	verdictStay            // the one who was asked withdraws
)

// twins is what this node knows of other processes that say they are it.
type twins struct {
	// doubt is where such a process was heard of, and has not been asked yet.
	doubt  *record
	asking bool
	next   int64 // unix ms, no question before
	// cleared holds the newest version of the processes that were not there.
	cleared map[whereabouts]uint64
	// lost says that this process is the one that withdraws.
	lost bool
}

type whereabouts struct {
	nonce uint64
	addr  string
}

func (r *record) whereabouts() whereabouts {
	return whereabouts{r.Nonce, joinAddr(r.IP, r.BusPort)}
}

// wonder notes a record of this node that another process may have made.
func (t *table) wonder(r *record) {
	if r.Nonce == t.me().Nonce || r.IP == "" || r.BusPort == 0 {
		return
	}
	if v, ok := t.twins.cleared[r.whereabouts()]; ok && v >= r.Version {
		return
	}
	doubt := *r
	t.twins.doubt = &doubt
}

// clear notes that nobody else lives where the record said.
func (t *table) clear(r *record) {
	w := &t.twins
	if w.cleared == nil || len(w.cleared) >= maxCleared {
		w.cleared = make(map[whereabouts]uint64)
	}
	w.cleared[r.whereabouts()] = r.Version
	if w.doubt != nil && w.doubt.whereabouts() == r.whereabouts() && w.doubt.Version <= r.Version {
		w.doubt = nil
	}
}

// unsure says whether this node, just started, should first find out whether it is alone.
func (t *table) unsure(now int64) bool {
	return t.twins.doubt != nil && now-t.up.started < startDelay
}

// doubt asks after another process that may be this node. The caller holds mu.
func (c *Cluster) doubt(at int64) {
	w := &c.mu.table.twins
	if w.doubt == nil || w.asking || w.lost || at < w.next {
		return
	}
	r := *w.doubt
	w.asking, w.next = true, at+doubtPause
	c.spawn(func() { c.question(&r) })
}

func (c *Cluster) question(r *record) {
	addr := joinAddr(r.IP, r.BusPort)
	verdict, err := c.ask(addr, r.ID)
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.mu.table
	t.twins.asking = false
	if t.self != r.ID {
		return
	}
	switch {
	case err != nil && r.Version > t.me().Version-1 && r.Nonce != 0:
		c.log.Warn("cluster: another process may run with this node's ID, but does not answer: was a data folder copied?", "node", r.ID, "addr", addr, "err", err)
	case verdict == verdictYield:
		c.withdraw(addr)
	case verdict == verdictStay:
		c.boast(addr)
	}
	t.clear(r)
	c.keepContact(now())
}

func (c *Cluster) ask(addr string, id slotmap.NodeID) (verdict byte, err error) {
	ctx, cancel := context.WithTimeout(c.ctx, identityTimeout)
	defer cancel()
	conn, err := c.bus.Dial(ctx, addr, gossip.KindIdentity)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	b := id.Append([]byte{identityFormat})
	b = binary.BigEndian.AppendUint64(b, c.nonce)
	b = binary.BigEndian.AppendUint64(b, uint64(c.uptime().Milliseconds()))
	if _, err := conn.Write(b); err != nil {
		return 0, err
	}
	var answer [1]byte
	_, err = io.ReadFull(conn, answer[:])
	return answer[0], err
}

// serveIdentity is the side that is asked, and decides.
func (c *Cluster) serveIdentity(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(identityTimeout))
	b := make([]byte, identitySize)
	if _, err := io.ReadFull(conn, b); err != nil || b[0] != identityFormat {
		return
	}
	id, b := slotmap.DecodeNodeID(b[1:]), b[1+slotmap.NodeIDBytes:]
	verdict := c.compare(id, binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), conn.RemoteAddr().String())
	_, _ = conn.Write([]byte{verdict})
}

func (c *Cluster) compare(id slotmap.NodeID, nonce, uptime uint64, from string) byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case id != c.mu.table.self || nonce == c.nonce:
		return verdictStranger
	case c.mu.table.twins.lost:
		return verdictStay
	case uptime > uint64(c.uptime().Milliseconds()):
		c.withdraw(from)
		return verdictStay
	default:
		c.boast(from)
		return verdictYield
	}
}

func (c *Cluster) uptime() time.Duration { return time.Since(c.started) }

// withdraw makes this process harmless. The caller holds mu.
func (c *Cluster) withdraw(peer string) {
	t := c.mu.table
	if t.twins.lost {
		return
	}
	t.twins.lost = true
	c.withdrawn.Store(true)
	t.judge(now())
	c.show()
	c.log.Error("cluster: ANOTHER PROCESS RUNS WITH THIS NODE'S ID, and longer than this one: this one serves nothing. "+
		"Was a data folder copied? Stop this process; to make a new node of its folder, empty it with CLUSTER RESET HARD",
		"node", t.self, "other", peer)
	c.spawn(func() {
		if c.withdrawn.Load() {
			c.stopGossip()
			if err := c.closeGroup(); err != nil { // two processes must not be one voter
				c.log.Error("cluster: leaving the group of epochs", "err", err)
			}
		}
	})
}

// boast says that the other process has withdrawn. The caller holds mu.
func (c *Cluster) boast(peer string) {
	c.log.Error("cluster: another process was started with this node's ID; it withdraws, this one goes on. Was a data folder copied? Stop the other one",
		"node", c.mu.table.self, "other", peer)
}
