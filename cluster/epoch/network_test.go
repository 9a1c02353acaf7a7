package epoch

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/cairndb/cairn/cluster/slotmap"
)

// network connects the nodes of a test over loopback and loses what it is told to lose, without a word, as a firewall does.
type network struct {
	mu    sync.Mutex
	addrs map[slotmap.NodeID]string
	cuts  map[[2]slotmap.NodeID]bool // from, to
}

func newNetwork() *network {
	return &network{addrs: make(map[slotmap.NodeID]string), cuts: make(map[[2]slotmap.NodeID]bool)}
}

func (n *network) isCut(from, to slotmap.NodeID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cuts[[2]slotmap.NodeID{from, to}]
}

// cut loses everything that goes from one of the nodes to one of the others.
func (n *network) cut(lost bool, from, to []slotmap.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, a := range from {
		for _, b := range to {
			if a != b {
				n.cuts[[2]slotmap.NodeID{a, b}] = lost
			}
		}
	}
}

// part is one node's end of the network.
type part struct {
	net  *network
	self slotmap.NodeID
}

func (p part) DialNode(ctx context.Context, id slotmap.NodeID) (net.Conn, error) {
	p.net.mu.Lock()
	addr := p.net.addrs[id]
	p.net.mu.Unlock()
	switch {
	case addr == "":
		return nil, errors.New("address unknown")
	case p.net.isCut(p.self, id) || p.net.isCut(id, p.self):
		<-ctx.Done()
		return nil, ctx.Err()
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if _, err := c.Write([]byte(p.self)); err != nil {
		_ = c.Close()
		return nil, err
	}
	return &lossy{Conn: c, net: p.net, from: p.self, to: id}, nil
}

// listen serves a node at a new address until the listener is closed.
func (n *network) listen(t *testing.T, self slotmap.NodeID, serve func(net.Conn)) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n.mu.Lock()
	n.addrs[self] = l.Addr().String()
	n.mu.Unlock()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				var from [2 * slotmap.NodeIDBytes]byte
				if _, err := io.ReadFull(c, from[:]); err != nil {
					_ = c.Close()
					return
				}
				serve(&lossy{Conn: c, net: n, from: self, to: slotmap.NodeID(from[:])})
			}()
		}
	}()
	return l
}

// lossy is one end of a connection. What is written while it is cut is lost, and so is all that comes later.
type lossy struct {
	net.Conn
	net      *network
	from, to slotmap.NodeID
	mu       sync.Mutex
	broken   bool
}

func (c *lossy) Write(b []byte) (int, error) {
	c.mu.Lock()
	c.broken = c.broken || c.net.isCut(c.from, c.to)
	broken := c.broken
	c.mu.Unlock()
	if broken {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

const (
	testLease    = 600 * time.Millisecond
	testElection = 300 * time.Millisecond
	testPatience = 10 * time.Second // for a loaded machine; hardly ever waited for
)

// cluster is some nodes of a test, each with its group.
type cluster struct {
	t     *testing.T
	net   *network
	nodes []*testNode
	mu    sync.Mutex
	dead  map[slotmap.NodeID]time.Duration
	gone  map[slotmap.NodeID]bool
	stop  chan struct{}
	wg    sync.WaitGroup
}

type testNode struct {
	c     *cluster
	id    slotmap.NodeID
	shard ShardID
	prim  bool
	dir   string
	opts  func(*Options)

	mu       sync.Mutex
	group    *Group
	listener net.Listener
	offset   uint64
}

// newCluster starts nodes in shards: node i is in shard i%shards, the first of each is its primary.
func newCluster(t *testing.T, nodes, shards int, opts ...func(*Options)) *cluster {
	t.Helper()
	c := &cluster{t: t, net: newNetwork(), dead: make(map[slotmap.NodeID]time.Duration), gone: make(map[slotmap.NodeID]bool), stop: make(chan struct{})}
	for i := range nodes {
		n := &testNode{c: c, id: nid(i), shard: sid(i % shards), prim: i < shards, dir: t.TempDir(), offset: uint64(100 - i)}
		for _, o := range opts {
			n.opts = o
		}
		c.nodes = append(c.nodes, n)
		n.start()
	}
	c.wg.Go(c.gossip)
	t.Cleanup(func() {
		close(c.stop)
		c.wg.Wait()
		for _, n := range c.nodes {
			n.kill()
		}
	})
	return c
}

// nid and sid are IDs that a reader can tell apart.
func nid(i int) slotmap.NodeID {
	return slotmap.NodeID("0000000000000000000000000000000000000000"[:38]) + slotmap.NodeID([]byte{'a' + byte(i/10), '0' + byte(i%10)})
}
func sid(i int) ShardID {
	return ShardID("5000000000000000000000000000000000000000"[:39]) + ShardID([]byte{'0' + byte(i)})
}

func (n *testNode) start() {
	n.c.t.Helper()
	o := Options{
		Dir: n.dir, Self: n.id, Dialer: part{n.c.net, n.id}, Lease: testLease, Election: testElection, Patience: 500 * time.Millisecond,
		Offer: func(context.Context, ShardID, uint64) Offer { return Offer{Willing: true, Term: 1, Offset: n.offset} },
	}
	if n.opts != nil {
		n.opts(&o)
	}
	g, err := Open(o)
	if err != nil {
		n.c.t.Fatal(err)
	}
	n.mu.Lock()
	n.group = g
	n.mu.Unlock()
	n.listener = n.c.net.listen(n.c.t, n.id, g.Serve)
	n.c.mu.Lock()
	delete(n.c.dead, n.id)
	n.c.mu.Unlock()
}

// kill stops the node. Nothing that it does on the way out helps the others.
func (n *testNode) kill() {
	n.mu.Lock()
	g := n.group
	n.group = nil
	n.mu.Unlock()
	if g == nil {
		return
	}
	_ = n.listener.Close()
	if err := g.Close(); err != nil {
		n.c.t.Errorf("close %s: %v", n.id, err)
	}
	n.c.mu.Lock()
	n.c.dead[n.id] = Boottime{}.Now()
	n.c.mu.Unlock()
}

func (n *testNode) get() *Group {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.group
}

// gossip tells all groups what the test has made of the nodes.
func (c *cluster) gossip() {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		v := c.view()
		for _, n := range c.nodes {
			if g := n.get(); g != nil && v.node(n.id) != nil {
				g.Reconcile(v)
			}
		}
		select {
		case <-ticker.C:
		case <-c.stop:
			return
		}
	}
}

func (c *cluster) view() *View {
	v := &View{}
	for _, n := range c.nodes {
		g := n.get()
		c.mu.Lock()
		since, dead := c.dead[n.id]
		gone := c.gone[n.id]
		c.mu.Unlock()
		if gone {
			continue
		}
		x := Node{ID: n.id, Host: "h", Shard: n.shard, Primary: n.prim, Alive: !dead}
		if dead {
			x.Dead = Boottime{}.Now() - since
		}
		if g != nil {
			t := g.Table()
			x.Cluster, x.Generation, x.Granted = t.Cluster, t.Generation, t.Granted
		}
		v.Nodes = append(v.Nodes, x)
	}
	return v
}

// founders are the claims of the nodes as they would be after redis-cli --cluster create.
func (c *cluster) founders() []Founder {
	by := make(map[ShardID]*Founder)
	var order []ShardID
	for _, n := range c.nodes {
		if n.prim {
			by[n.shard] = &Founder{Shard: n.shard, Primary: n.id, Epoch: uint64(len(order) + 1)}
			order = append(order, n.shard)
		} else {
			by[n.shard].Replicas = append(by[n.shard].Replicas, n.id)
		}
	}
	var out []Founder
	for i, id := range order {
		f := by[id]
		f.Slots = []slotmap.Range{{First: uint16(i * slotmap.Slots / len(order)), Last: uint16((i+1)*slotmap.Slots/len(order) - 1)}}
		out = append(out, *f)
	}
	return out
}

func (c *cluster) form() *Table {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), testPatience)
	defer cancel()
	if err := c.nodes[0].get().Bootstrap(ctx, c.founders()); err != nil {
		c.t.Fatal(err)
	}
	voters := min(MaxVoters, len(c.nodes)-(len(c.nodes)+1)%2)
	c.eventually("all nodes know the table and its voters", func() bool {
		for _, n := range c.nodes {
			if t := n.get().Table(); !t.Formed() || len(t.Voters) != voters {
				return false
			}
		}
		return true
	})
	return c.nodes[0].get().Table()
}

func (c *cluster) eventually(what string, ok func() bool) {
	c.t.Helper()
	deadline := time.Now().Add(testPatience)
	for !ok() {
		if time.Now().After(deadline) {
			for _, n := range c.nodes {
				if g := n.get(); g != nil {
					c.t.Logf("%s %+v lease %v", n.id, g.Status(), g.LeaseLeft())
				}
			}
			c.t.Fatalf("never: %s", what)
		}
		poll()
	}
}

// poll lets a little time pass between two looks.
func poll() { <-time.After(5 * time.Millisecond) }

// leader waits for a leader that is alive.
func (c *cluster) leader() *testNode {
	c.t.Helper()
	var found *testNode
	c.eventually("a leader", func() bool {
		for _, n := range c.nodes {
			if g := n.get(); g != nil && g.Status().State == "Leader" {
				found = n
				return true
			}
		}
		return false
	})
	return found
}

func (c *cluster) propose(n *testNode, r Request) Result {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), testPatience)
	defer cancel()
	res, err := n.get().Propose(ctx, r)
	if err != nil {
		c.t.Fatalf("propose %+v: %v", r, err)
	}
	return res
}

func (c *cluster) ids() []slotmap.NodeID {
	var ids []slotmap.NodeID
	for _, n := range c.nodes {
		ids = append(ids, n.id)
	}
	return ids
}
