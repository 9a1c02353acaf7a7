package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cairndb/cairn/tools/testnode"
	"github.com/cairndb/cairn/tools/wire"
)

// fleet is the cluster of real processes. Only the nemesis starts and stops nodes; anybody may ask for addresses.
type fleet struct {
	dir     string
	nodes   []*testnode.Node
	network *network // nil: all on 127.0.0.1, nothing can be cut
	disks   map[int]*disk
	shards  int

	mu        sync.Mutex
	addresses []string
}

// fleetOptions say what to start.
type fleetOptions struct {
	binary, dir       string
	shards, replicas  int
	acks              int
	timeout           time.Duration // cluster-node-timeout
	networked, limits bool          // whether to try for namespaces and for file systems of their own
	tell              func(format string, args ...any)
}

// forming bounds each step until the cluster stands.
const forming = 2 * time.Minute

// nodesOnDisks is how many nodes get a small file system of their own.
const nodesOnDisks = 2

// newFleet starts the processes and forms the cluster.
func newFleet(ctx context.Context, o fleetOptions) (_ *fleet, err error) {
	f := &fleet{dir: o.dir, shards: o.shards, disks: make(map[int]*disk)}
	defer func() {
		if err != nil {
			f.close(true)
		}
	}()
	count := o.shards * (1 + o.replicas)
	if o.networked {
		if f.network, err = newNetwork(count); err != nil {
			o.tell("no network namespaces, so no partitions: %v", err)
			f.network = nil
		}
	}
	for i := range count {
		if err := f.add(i, o); err != nil {
			return nil, err
		}
	}
	f.publish()
	if err := testnode.FormCluster(f.nodes[:o.shards], forming); err != nil {
		return nil, err
	}
	return f, f.replicate(ctx)
}

// add starts the i-th node.
func (f *fleet) add(i int, o fleetOptions) error {
	args := []string{
		"--cluster-enabled", "yes", "--cluster-node-timeout", strconv.FormatInt(o.timeout.Milliseconds(), 10), "--loglevel", "verbose",
		"--replication-acks", strconv.Itoa(o.acks), "--cluster-bus-secret", "torture", "--protected-mode", "no",
		"--free-space-reserve", "64mb", "--block-cache-size", "16mb", "--record-cache-size", "4mb", "--memtable-size", "1mb",
		// So little of the log is kept that some replicas need a full sync when they are back.
		// Collections of a few elements are spread, and those of fewer packed.
		"--hash-max-listpack-entries", "3", "--set-max-listpack-entries", "4", "--zset-max-listpack-entries", "4", "--packed-max-bytes", "100",
		"--log-segment-size", "1mb", "--repl-backlog-size", "512kb", "--replication-max-held", "1mb",
	}
	options := testnode.CairnOptions(o.binary, filepath.Join(f.dir, fmt.Sprint("node", i)), args...)
	options.ReadyTimeout = time.Minute
	if f.network != nil {
		options.Host = f.network.host(i)
		options.Command = append([]string{"ip", "netns", "exec", f.network.namespace(i)}, options.Command...)
	}
	if o.limits && i%o.shards == 0 && len(f.disks) < nodesOnDisks {
		d, err := newDisk(options.Dir)
		if err != nil {
			o.tell("no small file systems, so no full disks: %v", err)
		} else {
			f.disks[i] = d
		}
	}
	n, err := testnode.New(options)
	if err != nil {
		return err
	}
	f.nodes = append(f.nodes, n)
	return n.Start()
}

// replicate makes the nodes behind the primaries their replicas, and waits for all to be well.
func (f *fleet) replicate(ctx context.Context) error {
	for i, n := range f.nodes[f.shards:] {
		primary := f.nodes[i%f.shards]
		if _, err := f.ask(n, "CLUSTER", "MEET", primary.Host(), strconv.Itoa(primary.Port)); err != nil {
			return err
		}
	}
	if err := testnode.WaitClusterOK(f.nodes, forming); err != nil {
		return err
	}
	for i, n := range f.nodes[f.shards:] {
		id, err := f.ask(f.nodes[i%f.shards], "CLUSTER", "MYID")
		if err != nil {
			return err
		}
		if err := until(ctx, forming, func() error {
			_, err := f.ask(n, "CLUSTER", "REPLICATE", id.Text)
			return err
		}); err != nil {
			return err
		}
	}
	return until(ctx, forming, func() error { return f.healthy(true) })
}

// until repeats fn until it succeeds, or too much time has passed.
func until(ctx context.Context, limit time.Duration, fn func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := fn()
		if err == nil || time.Now().After(deadline) || ctx.Err() != nil {
			return err
		}
		pause(ctx, 50*time.Millisecond)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// askTimeout is for how long the nemesis and its like wait for a node.
const askTimeout = 3 * time.Second

// ask sends one command on a connection of its own; an error reply is an error.
func (f *fleet) ask(n *testnode.Node, args ...string) (wire.Value, error) {
	return askAt(n.Addr(), askTimeout, args...)
}

func askAt(address string, timeout time.Duration, args ...string) (wire.Value, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	c, err := wire.DialContext(ctx, address)
	if err != nil {
		return wire.Value{}, err
	}
	defer c.Close()
	c.Timeout = timeout
	return c.Must(args...)
}

// healthy says what is wrong with the cluster as its nodes see it.
func (f *fleet) healthy(grown bool) error {
	replicas := 0
	for _, n := range f.nodes {
		v, err := f.ask(n, "CLUSTER", "INFO")
		if err != nil {
			return err
		}
		info := fields(v.Text)
		switch {
		case info["cluster_state"] != "ok":
			return fmt.Errorf("%s: cluster_state:%s", n.Addr(), info["cluster_state"])
		case info["cluster_group_leader"] == "" && info["cluster_group_state"] != "learner": // a learner does not know who leads
			return fmt.Errorf("%s: the group has no leader", n.Addr())
		case grown && info["cluster_group_voters"] != strconv.Itoa(min(5, len(f.nodes))):
			return fmt.Errorf("%s: %s voters", n.Addr(), info["cluster_group_voters"])
		}
		if v, err = f.ask(n, "INFO", "replication"); err != nil {
			return err
		}
		info = fields(v.Text)
		if info["role"] != "slave" {
			continue
		}
		replicas++
		if info["master_link_status"] != "up" || info["master_sync_in_progress"] == "1" {
			return fmt.Errorf("%s: its link to the primary is %s", n.Addr(), info["master_link_status"])
		}
	}
	if primaries := len(f.nodes) - replicas; primaries != f.shards {
		return fmt.Errorf("%d primaries", primaries)
	}
	return f.agree()
}

// agree says whether all nodes name the same owners.
func (f *fleet) agree() error {
	var first map[string]owner
	for _, n := range f.nodes {
		owners, err := f.owners(n)
		if err != nil {
			return err
		}
		if first == nil {
			first = owners
		}
		for slots, o := range owners {
			if o.failing {
				return fmt.Errorf("%s: %s, the owner of %s, is failing", n.Addr(), o.id, slots)
			}
			if was, ok := first[slots]; !ok || was.id != o.id || len(first) != len(owners) {
				return fmt.Errorf("%s: another owner of %s than elsewhere", n.Addr(), slots)
			}
		}
	}
	return nil
}

// owner is a line of CLUSTER NODES.
type owner struct {
	id, address string
	epoch       uint64
	failing     bool
	primary     string // of a replica
	slots       []string
}

// owners are the primaries with slots, by their ranges, as one node sees them.
func (f *fleet) owners(n *testnode.Node) (map[string]owner, error) {
	lines, err := f.table(n)
	if err != nil {
		return nil, err
	}
	owners := make(map[string]owner)
	for _, o := range lines {
		if len(o.slots) > 0 {
			owners[strings.Join(o.slots, " ")] = o
		}
	}
	return owners, nil
}

// table is CLUSTER NODES of one node.
func (f *fleet) table(n *testnode.Node) ([]owner, error) {
	v, err := f.ask(n, "CLUSTER", "NODES")
	if err != nil {
		return nil, err
	}
	return parseNodes(v.Text), nil
}

// parseNodes reads CLUSTER NODES; open slots ([slot->-node]) are left out.
func parseNodes(text string) []owner {
	var table []owner
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 8 {
			continue
		}
		o := owner{id: words[0], failing: strings.Contains(words[2], "fail"), slots: words[8:]}
		o.address, _, _ = strings.Cut(words[1], "@")
		o.epoch, _ = strconv.ParseUint(words[6], 10, 64)
		if words[3] != "-" {
			o.primary = words[3]
		}
		o.slots = slices.DeleteFunc(o.slots, func(s string) bool { return strings.HasPrefix(s, "[") })
		table = append(table, o)
	}
	return table
}

// fields reads the lines of INFO.
func fields(text string) map[string]string {
	m := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			m[name] = value
		}
	}
	return m
}

// shape says who is who now, as the first node that answers sees it: for each primary with slots, the index of it and of its replicas.
type shape struct {
	primaries []int
	replicas  map[int][]int
	ids       []string // by index
	leader    int      // of the group, -1 when unknown
}

func (f *fleet) shape() (shape, error) {
	var errs []error
	for _, n := range f.nodes {
		if !n.Running() {
			continue
		}
		s, err := f.shapeBy(n)
		if err == nil {
			return s, nil
		}
		errs = append(errs, err)
	}
	return shape{}, errors.Join(errs...)
}

func (f *fleet) shapeBy(n *testnode.Node) (shape, error) {
	table, err := f.table(n)
	if err != nil {
		return shape{}, err
	}
	leader := f.leader()
	s := shape{replicas: make(map[int][]int), ids: make([]string, len(f.nodes)), leader: -1}
	index := make(map[string]int)
	for _, o := range table {
		at := slices.IndexFunc(f.nodes, func(n *testnode.Node) bool { return n.Addr() == o.address })
		if at < 0 {
			return shape{}, fmt.Errorf("%s is none of the nodes", o.address)
		}
		index[o.id], s.ids[at] = at, o.id
		if o.id == leader {
			s.leader = at
		}
		if len(o.slots) > 0 {
			s.primaries = append(s.primaries, at)
		}
	}
	for _, o := range table {
		if p, ok := index[o.primary]; ok {
			s.replicas[p] = append(s.replicas[p], index[o.id])
		}
	}
	slices.Sort(s.primaries)
	return s, nil
}

// leader is the ID of the group's leader, as the first voter says that knows it; empty when nobody does.
func (f *fleet) leader() string {
	for _, n := range f.nodes {
		if !n.Running() {
			continue
		}
		if v, err := askAt(n.Addr(), time.Second, "CLUSTER", "INFO"); err == nil {
			if leader := fields(v.Text)["cluster_group_leader"]; leader != "" {
				return leader
			}
		}
	}
	return ""
}

// publish tells the clients where the nodes are.
func (f *fleet) publish() {
	addresses := make([]string, len(f.nodes))
	for i, n := range f.nodes {
		addresses[i] = n.Addr()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.addresses = addresses
}

// known are the addresses of all nodes, running or not.
func (f *fleet) known() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.addresses
}

// renumber gives a node that does not run another port.
func (f *fleet) renumber(i int) error {
	port, err := testnode.FreePort()
	if err != nil {
		return err
	}
	f.nodes[i].Port = port
	f.publish()
	return nil
}

// close ends all processes. What the small file systems hold is kept if it is wanted.
func (f *fleet) close(keep bool) {
	for _, n := range f.nodes {
		n.Kill()
	}
	if f.network != nil {
		f.network.close()
	}
	for _, d := range f.disks {
		_ = d.close(keep)
	}
}

// pick draws one of several.
func pick[T any](rng *rand.Rand, from []T) T { return from[rng.IntN(len(from))] }
