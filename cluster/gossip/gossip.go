package gossip

import (
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"math"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/cairndb/cairn/cluster/slotmap"
)

// Options configure a Gossip. The functions are called from several goroutines,
// some while memberlist holds its lock: they must not call back into Gossip,
// except Announce.
type Options struct {
	ID  slotmap.NodeID
	Bus *Bus
	// NodeTimeout is cluster-node-timeout: how fast peers are probed follows from it.
	NodeTimeout time.Duration
	// Resolve gives the bus address of a node in the node table; nobody else is spoken with.
	Resolve func(slotmap.NodeID) (addr string, ok bool)
	// State is this node's whole state, Merge takes in a peer's.
	State func() []byte
	Merge func([]byte)
	// Answered is called for every answered probe.
	Answered func(slotmap.NodeID)
	// News is called when a peer tells of state that is newer than any told before.
	News   func(News)
	Logger *slog.Logger
}

// News says that Holder has Subject's state at a version. It is the only thing
// that is broadcast, since a broadcast beyond a packet's size would never leave memberlist's queue.
type News struct {
	Subject slotmap.NodeID
	Version uint64
	Holder  slotmap.NodeID
}

// Gossip is a running member of the gossip.
type Gossip struct {
	o         Options
	list      *memberlist.Memberlist
	queue     *memberlist.TransmitLimitedQueue
	probe     time.Duration
	suspicion time.Duration

	size atomic.Int64 // of the cluster, as last seen

	mu struct {
		sync.Mutex
		told map[slotmap.NodeID]uint64 // the newest version told of
	}
}

// Start joins nobody yet.
func Start(o Options) (*Gossip, error) {
	g := &Gossip{o: o}
	g.mu.told = make(map[slotmap.NodeID]uint64)
	g.queue = &memberlist.TransmitLimitedQueue{NumNodes: g.members, RetransmitMult: 3}
	list, err := memberlist.Create(g.config())
	if err != nil {
		return nil, err
	}
	g.list = list
	return g, nil
}

// config tunes memberlist so that a silent peer is reported well inside the
// node timeout; who counts as failed, and when, is decided above.
func (g *Gossip) config() *memberlist.Config {
	c := memberlist.DefaultLANConfig()
	c.Name = string(g.o.ID)
	c.Transport = newTransport(g.o.ID, g.o.Bus, g.o.Resolve)
	c.RequireNodeNames = true
	c.EnableCompression = false // LZW costs more than these small messages
	if g.o.Bus.o.TLS == nil {
		c.SecretKey = derive([]byte(g.o.Bus.o.Secret), "cairn gossip 1")
	}
	c.Logger = memberlistLogger(g.o.Logger)
	c.DeadNodeReclaimTime = time.Second
	c.Delegate, c.Alive, c.Ping = delegate{g}, gate{g}, pings{g}

	c.ProbeInterval = min(max(g.o.NodeTimeout/10, 200*time.Millisecond), 500*time.Millisecond)
	c.ProbeTimeout = min(c.ProbeInterval*2/3, 500*time.Millisecond)
	c.SuspicionMult = max(2, int(g.o.NodeTimeout/4/c.ProbeInterval))
	c.SuspicionMaxTimeoutMult = 1
	c.AwarenessMaxMultiplier = 2
	c.GossipInterval = 50 * time.Millisecond
	c.GossipNodes = 3
	c.PushPullInterval = time.Second
	c.TCPTimeout = min(max(g.o.NodeTimeout/2, time.Second), 10*time.Second)
	g.probe, g.suspicion = c.ProbeInterval, time.Duration(c.SuspicionMult)*c.ProbeInterval
	return c
}

// Alive are the other nodes that answer. One that is missing has not answered for about Silence.
func (g *Gossip) Alive() map[slotmap.NodeID]bool {
	members := g.list.Members()
	g.size.Store(int64(len(members)))
	alive := make(map[slotmap.NodeID]bool, len(members))
	for _, m := range members {
		alive[slotmap.NodeID(m.Name)] = true
	}
	delete(alive, g.o.ID)
	return alive
}

// Silence is how long a node has not answered, at least, when memberlist takes it for dead: it was
// probed, and then suspected (memberlist suspicionTimeout).
func (g *Gossip) Silence() time.Duration {
	scale := math.Max(1, math.Log10(float64(g.members())))
	return g.probe + time.Duration(scale*float64(g.suspicion))
}

func (g *Gossip) members() int { return max(1, int(g.size.Load())) }

// Join makes the named node's acquaintance, and that of everyone it knows.
func (g *Gossip) Join(id slotmap.NodeID) error {
	addr := net.JoinHostPort(nameAddr(id).String(), strconv.Itoa(namePort))
	_, err := g.list.Join([]string{string(id) + "/" + addr})
	return err
}

// Announce spreads news.
func (g *Gossip) Announce(n News) {
	if g.fresh(n) {
		g.queue.QueueBroadcast(broadcast(n))
	}
}

// maxTold bounds what strangers' names can make us remember.
const maxTold = 4096

// fresh says whether n is newer than all told before, and remembers it.
func (g *Gossip) fresh(n News) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if v, ok := g.mu.told[n.Subject]; ok && v >= n.Version {
		return false
	}
	if len(g.mu.told) >= maxTold {
		clear(g.mu.told)
	}
	g.mu.told[n.Subject] = n.Version
	return true
}

// Close leaves without a word: what follows is for the failure detection to say.
func (g *Gossip) Close() error { return g.list.Shutdown() }

// newsTag begins a broadcast; the numbers never change.
const newsTag = 1

var errNews = errors.New("malformed news")

func appendNews(b []byte, n News) []byte {
	b = append(b, newsTag)
	b = n.Subject.Append(b)
	b = binary.BigEndian.AppendUint64(b, n.Version)
	return n.Holder.Append(b)
}

func decodeNews(b []byte) (News, error) {
	const size = 1 + 2*slotmap.NodeIDBytes + 8
	if len(b) < size || b[0] != newsTag {
		return News{}, errNews
	}
	b = b[1:]
	return News{
		Subject: slotmap.DecodeNodeID(b),
		Version: binary.BigEndian.Uint64(b[slotmap.NodeIDBytes:]),
		Holder:  slotmap.DecodeNodeID(b[slotmap.NodeIDBytes+8:]),
	}, nil
}

// broadcast is news in memberlist's queue; newer news of a subject replaces older.
type broadcast News

func (b broadcast) Invalidates(other memberlist.Broadcast) bool {
	o, ok := other.(broadcast)
	return ok && o.Subject == b.Subject
}
func (b broadcast) Name() string    { return string(b.Subject) }
func (b broadcast) Message() []byte { return appendNews(nil, News(b)) }
func (b broadcast) Finished()       {}

// delegate passes state and news.
type delegate struct{ g *Gossip }

func (d delegate) NodeMeta(int) []byte               { return nil }
func (d delegate) LocalState(bool) []byte            { return d.g.o.State() }
func (d delegate) MergeRemoteState(b []byte, _ bool) { d.g.o.Merge(b) }
func (d delegate) GetBroadcasts(overhead, limit int) [][]byte {
	return d.g.queue.GetBroadcasts(overhead, limit)
}

// NotifyMsg passes news on at first sight: memberlist relays nothing by itself.
func (d delegate) NotifyMsg(b []byte) {
	n, err := decodeNews(b)
	if err != nil || !d.g.fresh(n) {
		return
	}
	d.g.queue.QueueBroadcast(broadcast(n))
	d.g.o.News(n)
}

// gate lets nobody in who is not in the node table, so clusters cannot merge through a stray packet.
type gate struct{ g *Gossip }

func (a gate) NotifyAlive(n *memberlist.Node) error {
	id := slotmap.NodeID(n.Name)
	if id == a.g.o.ID {
		return nil
	}
	if _, ok := a.g.o.Resolve(id); !ok {
		return errUnknownNode
	}
	if !n.Addr.Equal(nameAddr(id)) || n.Port != namePort {
		return errors.New("an address that does not follow from the name")
	}
	return nil
}

// pings passes on answers.
type pings struct{ g *Gossip }

func (p pings) AckPayload() []byte { return nil }

func (p pings) NotifyPingComplete(n *memberlist.Node, _ time.Duration, _ []byte) {
	p.g.o.Answered(slotmap.NodeID(n.Name))
}

var _ io.Closer = (*Gossip)(nil)
