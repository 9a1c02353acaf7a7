package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/tools/difftest/differences"
	"github.com/cairndb/cairn/tools/testnode"
	"github.com/cairndb/cairn/tools/wire"
)

// cluster is Cairn as several nodes, between which the slots of a case move. Its connections do what a client of a cluster does: they
// follow MOVED and ASK, and try again after TRYAGAIN and CLUSTERDOWN.
type cluster struct {
	nodes      []*testnode.Node
	rng        *rand.Rand
	mover      *mover
	owners     [testnode.Slots]int // as MOVED has told
	last       uint16              // the slot used last
	configured [][]string          // CONFIG SETs, which a node that was restarted gets again
	holds      int
	restarts   int
	redirects  map[string]int
}

func newCluster(nodes []*testnode.Node, seed uint64) *cluster {
	c := &cluster{nodes: nodes, rng: rand.New(rand.NewPCG(seed, 9)), redirects: make(map[string]int)}
	c.mover = newMover(nodes, seed)
	return c
}

// hold waits until no slot is on its way, and keeps all where they are until release.
func (c *cluster) hold() {
	if c.holds++; c.holds == 1 {
		c.mover.mu.Lock()
	}
}

func (c *cluster) release() {
	if c.holds--; c.holds == 0 {
		c.mover.mu.Unlock()
	}
}

// restart ends a node, mostly an owner of what is used, in the middle of whatever moves, and starts it again.
func (c *cluster) restart(kill bool) error {
	i := c.owners[c.last]
	if c.rng.IntN(3) == 0 {
		i = c.rng.IntN(len(c.nodes))
	}
	c.restarts++
	if err := c.nodes[i].Restart(kill); err != nil {
		return err
	}
	for _, args := range c.configured {
		if _, err := c.nodes[i].Do(args...); err != nil {
			return err
		}
	}
	if err := c.awaitPrimary(c.nodes[i]); err != nil {
		return err
	}
	// A key that was being moved may be on both nodes until its move has been done again.
	c.hold()
	c.release()
	return c.mover.failed()
}

// awaitPrimary waits until a node knows again that it is a primary.
func (c *cluster) awaitPrimary(n *testnode.Node) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		v, err := n.Do("ROLE")
		if err != nil || len(v.Elems) > 0 && v.Elems[0].Text == "master" {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is no primary after its restart", n.Addr())
		}
	}
}

// sum asks each node and adds up what it says.
func (c *cluster) sum(ask func(*testnode.Node) (int64, error)) (total int64, err error) {
	for _, n := range c.nodes {
		v, err := ask(n)
		if err != nil {
			return 0, err
		}
		total += v
	}
	return total, nil
}

func (c *cluster) String() string {
	return fmt.Sprintf("%d moves of slots, %v redirects, %d restarts", c.mover.moves.Load(), c.redirects, c.restarts)
}

// clusterConn is a client's connections to all nodes.
type clusterConn struct {
	cluster *cluster
	nodes   []*wire.Conn
	sent    [][]string
	queue   [][]string // of the transaction, MULTI first; empty outside
	open    int        // the node that has begun the transaction, or -1
	watches bool
}

func (c *cluster) dial() (*clusterConn, error) {
	conn := &clusterConn{cluster: c, open: -1}
	for _, n := range c.nodes {
		to, err := n.Dial()
		if err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		conn.nodes = append(conn.nodes, to)
	}
	return conn, nil
}

func (c *clusterConn) Send(args ...string) error {
	c.sent = append(c.sent, args)
	return nil
}

// Flush does nothing: the commands go one by one, since those behind one that is sent on must not overtake it.
func (c *clusterConn) Flush() error { return nil }

func (c *clusterConn) SetTimeout(time.Duration) {}

func (c *clusterConn) Close() error {
	var errs []error
	for _, n := range c.nodes {
		errs = append(errs, n.Close())
	}
	c.watch(false)
	return errors.Join(errs...)
}

func (c *clusterConn) Do(args ...string) (wire.Value, error) {
	_ = c.Send(args...)
	return c.Receive()
}

func (c *clusterConn) Must(args ...string) (wire.Value, error) {
	v, err := c.Do(args...)
	if err == nil {
		err = v.Err()
	}
	return v, err
}

// watch keeps the slots in place while a key is watched: who is sent on by EXEC has to watch again, and would not see what was written before.
func (c *clusterConn) watch(on bool) {
	switch {
	case on && !c.watches:
		c.cluster.hold()
	case !on && c.watches:
		c.cluster.release()
	}
	c.watches = on
}

func (c *clusterConn) Receive() (wire.Value, error) {
	args := c.sent[0]
	c.sent = c.sent[1:]
	switch strings.ToLower(args[0]) {
	case "config", "hello", "flushall":
		return c.everywhere(args)
	case "watch":
		c.watch(true)
	}
	v, err := c.follow(args)
	switch {
	case differences.Is(args, "exec"), differences.Is(args, "discard"):
		c.queue, c.open = nil, -1
		c.watch(false)
	case differences.Is(args, "multi"), len(c.queue) > 0:
		c.queue = append(c.queue, args)
	}
	return v, err
}

// everywhere sends a command to all nodes. It returns what the first of them said.
func (c *clusterConn) everywhere(args []string) (first wire.Value, err error) {
	for i, n := range c.nodes {
		v, err := n.Do(args...)
		if err != nil {
			return v, err
		}
		if i == 0 {
			first = v
		}
	}
	if differences.Is(args, "config", "set") && !first.IsError() {
		c.cluster.configured = append(slices.DeleteFunc(c.cluster.configured, func(old []string) bool { return slices.Equal(old, args) }), args)
	}
	return first, nil
}

// patience is how long a command is sent on and tried again.
const patience = time.Minute

func (c *clusterConn) follow(args []string) (wire.Value, error) {
	cl := c.cluster
	slot := cl.slot(args)
	cl.last = slot
	at, asking := cl.owners[slot], false
	if c.open >= 0 {
		at = c.open
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		v, err := c.attempt(at, asking, args)
		if err != nil || !redirects(v) || time.Now().After(deadline) {
			return v, err
		}
		kind, rest, _ := strings.Cut(v.Text, " ")
		cl.redirects[kind]++
		number, address, _ := strings.Cut(rest, " ")
		at, asking = cl.owners[slot], kind == "ASK"
		if to := slices.IndexFunc(cl.nodes, func(n *testnode.Node) bool { return n.Addr() == address }); to >= 0 {
			at = to
			if moved, err := strconv.Atoi(number); kind == "MOVED" && err == nil {
				cl.owners[moved%testnode.Slots] = to
			}
		}
	}
}

func redirects(v wire.Value) bool {
	kind, _, _ := strings.Cut(v.Text, " ")
	return v.IsError() && slices.Contains([]string{"MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "LOADING"}, kind)
}

// slot is that of the first argument with a hash tag, or of the first one.
func (c *cluster) slot(args []string) uint16 {
	for _, a := range args[1:] {
		if strings.HasPrefix(a, "{") {
			return keys.Slot([]byte(a))
		}
	}
	if len(args) > 1 {
		return keys.Slot([]byte(args[1]))
	}
	return c.last
}

// attempt sends a command to one node; inside of a transaction that another one has begun, all of it.
func (c *clusterConn) attempt(at int, asking bool, args []string) (wire.Value, error) {
	var commands [][]string
	if asking {
		commands = append(commands, []string{"ASKING"})
	}
	if len(c.queue) > 0 && c.open != at {
		commands = append(commands, c.queue...)
	}
	if differences.Is(args, "multi") || len(c.queue) > 0 {
		c.open = at
	}
	commands = append(commands, args)
	var last wire.Value
	redirect, refused := wire.Value{}, false
	for _, command := range commands {
		v, err := c.nodes[at].Do(command...)
		if err != nil {
			return v, err
		}
		if last = v; redirects(v) && !refused {
			redirect, refused = v, true
		}
	}
	if !refused {
		return last, nil
	}
	if c.open >= 0 && !differences.Is(args, "exec") {
		if _, err := c.nodes[c.open].Do("DISCARD"); err != nil {
			return last, err
		}
	}
	c.open = -1
	return redirect, nil
}

// compareCluster compares the keys of all nodes, and what they count, while no slot moves.
func (c *comparison) compareCluster(index int) (*difference, error) {
	cl := c.cairn.cluster
	cl.hold()
	defer cl.release()
	if err := cl.mover.failed(); err != nil {
		return nil, err
	}
	want, err := c.redis.conns[0].Must("KEYS", "*")
	if err != nil {
		return nil, err
	}
	var got []string
	for _, n := range cl.nodes {
		v, err := n.Do("KEYS", "*")
		if err != nil {
			return nil, err
		}
		got = append(got, v.Strings()...)
	}
	names := want.Strings()
	slices.Sort(names)
	slices.Sort(got)
	if !slices.Equal(names, got) {
		return &difference{index, command("KEYS", "*"), fmt.Sprintf("%q", names), fmt.Sprintf("%q", got)}, nil
	}
	if d, err := c.compareCounts(index); d != nil || err != nil {
		return d, err
	}
	steps := keySteps(names)
	for _, k := range names {
		// The digest of a sorted set tells 0 and -0 apart, which are the same once they have been in a listpack.
		if v, err := c.redis.conns[0].Must("TYPE", k); err == nil && v.Text != "zset" {
			steps = append(steps, command("DEBUG", "DIGEST-VALUE", k))
		}
	}
	if d, err := c.run(steps, index); d != nil || err != nil {
		return d, err
	}
	return c.checkRandomFields(names, index)
}

// compareCounts compares the numbers of keys, of those with an expiry, and of those of the slots that move: only their owner has any.
func (c *comparison) compareCounts(index int) (*difference, error) {
	asks := map[string]func(*testnode.Node) (int64, error){
		"DBSIZE": func(n *testnode.Node) (int64, error) {
			v, err := n.Do("DBSIZE")
			return v.Int(), err
		},
		"INFO keyspace": func(n *testnode.Node) (expires int64, err error) {
			f, err := n.Info("keyspace")
			_, rest, found := strings.Cut(f["db0"], "expires=")
			if found {
				_, err = fmt.Sscanf(rest, "%d", &expires)
			}
			return expires, err
		},
	}
	for _, slot := range c.cairn.cluster.mover.using() {
		s := strconv.Itoa(int(slot))
		asks["CLUSTER COUNTKEYSINSLOT "+s] = func(n *testnode.Node) (int64, error) {
			v, err := n.Do("CLUSTER", "COUNTKEYSINSLOT", s)
			return v.Int(), err
		}
	}
	for what, ask := range asks {
		want, err := ask(c.redis.node)
		if err != nil {
			return nil, err
		}
		got, err := c.cairn.cluster.sum(ask)
		if err != nil {
			return nil, err
		}
		if want != got {
			return &difference{index, command(strings.Fields(what)...), strconv.FormatInt(want, 10), strconv.FormatInt(got, 10)}, nil
		}
	}
	return nil, nil
}
