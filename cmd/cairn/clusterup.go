package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/tools/wire"
)

type clusterCmd struct {
	Up        clusterUpCmd        `cmd:"" help:"Start a cluster on 127.0.0.1, or resume it with its data; Ctrl-C stops it."`
	Recover   clusterRecoverCmd   `cmd:"" help:"Form the group that decides anew, when most of its voters are lost for good."`
	Rebalance clusterRebalanceCmd `cmd:"" help:"Even out the shards: move slots, with their keys, while clients go on. Plan first; --dry-run, --yes."`
	Status    clusterStatusCmd    `cmd:"" help:"Show how a cluster is: shards, replicas, leases, what is wrong. Exit code 0 healthy, 1 degraded, 2 unusable."`
}

type clusterUpCmd struct {
	Nodes    int    `default:"3" help:"How many primaries."`
	Replicas int    `default:"-1" help:"Replicas of each primary: 1 in a new folder, or what the folder's cluster has."`
	Port     int    `default:"7000" help:"The first node's port; the others follow, the bus is at port + 10000."`
	Dir      string `default:"./data/cluster" type:"path" help:"The folder of all nodes' data."`
}

const (
	startTimeout = 60 * time.Second // also for a node that replays its log
	stopTimeout  = 60 * time.Second
	maxNodes     = 100
	maxPort      = 65535 - 10000 // the bus port must exist, too
)

func (c *clusterUpCmd) Run(out *output) error {
	if err := c.validate(); err != nil {
		return err
	}
	// The nodes are told to end when the thread that started them ends: keep it.
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return c.run(ctx, out.stdout)
}

func (c *clusterUpCmd) validate() error {
	switch {
	case c.Nodes < 1 || c.Nodes > maxNodes:
		return usageError("--nodes %d: give 1 to %d", c.Nodes, maxNodes)
	case c.Replicas < -1 || c.total() > maxNodes:
		return usageError("--replicas %d: give 0 or more, for %d nodes at most", c.Replicas, maxNodes)
	case c.Port < 1 || c.Port+c.total()-1 > maxPort:
		return usageError("--port %d: give 1 to %d, so that all client and bus ports exist", c.Port, maxPort-c.total()+1)
	}
	return nil
}

// total is the number of processes.
func (c *clusterUpCmd) total() int { return c.Nodes * (1 + max(c.Replicas, 0)) }

// run starts the nodes, forms the cluster if it is new, and waits for ctx's end or that of all nodes.
func (c *clusterUpCmd) run(ctx context.Context, out io.Writer) (err error) {
	state, err := c.open()
	if err != nil {
		return err
	}
	if err := c.checkPorts(); err != nil {
		return err
	}
	n := c.total()
	fmt.Fprintf(out, "Cairn cluster of %s with %s each on 127.0.0.1:%d-%d, data in %s\n", counted(c.Nodes, "primary", "primaries"),
		counted(c.Replicas, "replica", "replicas"), c.Port, c.Port+n-1, c.Dir)
	began := time.Now()
	group := &nodeGroup{out: out, primaries: c.Nodes, ended: make(chan *process, n)}
	defer func() { err = errors.Join(err, group.stop()) }()
	for i := range n {
		if err := group.start(c.Port+i, filepath.Join(c.Dir, strconv.Itoa(c.Port+i))); err != nil {
			return err
		}
	}
	starting, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := group.form(starting, state, c.Dir); err != nil {
		if ctx.Err() != nil {
			return nil // stopped by Ctrl-C
		}
		return err
	}
	fmt.Fprintf(out, "cluster_state:ok after %v\n%s", time.Since(began).Round(10*time.Millisecond), c.advice())
	return group.watch(ctx)
}

// counted is a number with what it counts.
func counted(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

func (c *clusterUpCmd) advice() string {
	fail := ""
	if c.Replicas > 0 {
		fail = "\nFail:      kill -9 a primary's process (INFO server tells its process_id) and watch CLUSTER NODES: its replica takes over"
	}
	return fmt.Sprintf(`
Connect:   redis-cli -c -p %[1]d
Try:       SET greeting "hello, world"        (-c follows the redirect to the slot's owner)
           GET greeting
           CLUSTER NODES
Load:      %[2]s load --demo auto --addr 127.0.0.1:%[1]d
Check:     %[2]s cluster status 127.0.0.1:%[1]d, redis-cli --cluster check 127.0.0.1:%[1]d%[3]s

Ctrl-C stops the nodes. The data stays: the same command resumes the cluster.
`, c.Port, os.Args[0], fail)
}

// clusterState is a small file in the cluster's folder that says whose folder it is.
type clusterState struct {
	Nodes    int  `json:"nodes"`
	Replicas int  `json:"replicas"`
	Port     int  `json:"port"`
	Formed   bool `json:"formed"`
}

const stateFile = "cairn-cluster.json"

// open reads the folder's state, or begins a new one in a folder that is empty or does not exist.
func (c *clusterUpCmd) open() (*clusterState, error) {
	content, err := os.ReadFile(filepath.Join(c.Dir, stateFile))
	if err == nil {
		return c.resume(content)
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	entries, err := os.ReadDir(c.Dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if len(entries) > 0 {
		return nil, fmt.Errorf("%s holds other things than a cluster (%s, …): give an empty folder with --dir", c.Dir, entries[0].Name())
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return nil, err
	}
	if c.Replicas < 0 {
		c.Replicas = 1
	}
	s := &clusterState{Nodes: c.Nodes, Replicas: c.Replicas, Port: c.Port}
	return s, s.save(c.Dir)
}

func (c *clusterUpCmd) resume(content []byte) (*clusterState, error) {
	s := &clusterState{}
	if err := json.Unmarshal(content, s); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(c.Dir, stateFile), err)
	}
	if c.Replicas < 0 {
		c.Replicas = s.Replicas
	}
	if s.Nodes != c.Nodes || s.Replicas != c.Replicas || s.Port != c.Port {
		return nil, fmt.Errorf("%s holds a cluster of --nodes %d --replicas %d --port %d: give these, or another --dir", c.Dir, s.Nodes, s.Replicas, s.Port)
	}
	return s, nil
}

func (s *clusterState) save(dir string) error {
	content, err := json.Marshal(s)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, stateFile)
	if err := os.WriteFile(path+".new", append(content, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// checkPorts says which port is taken before anything is started.
func (c *clusterUpCmd) checkPorts() error {
	for i := range c.total() {
		for _, port := range []int{c.Port + i, c.Port + i + 10000} {
			l, err := net.Listen("tcp4", loopback(port))
			if errors.Is(err, syscall.EADDRINUSE) {
				return fmt.Errorf("port %d is in use: stop what listens there (another cairn cluster up?), or choose other ports with --port", port)
			}
			if err != nil {
				return err
			}
			_ = l.Close()
		}
	}
	return nil
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// form gives a new cluster its slots, epochs and acquaintances by the ordinary commands, and waits until every node
// reports it as ok. Steps that an interrupted run has done are left out.
func (g *nodeGroup) form(ctx context.Context, state *clusterState, dir string) error {
	for _, p := range g.nodes {
		if err := g.until(ctx, p, "answers", func() error { return p.do(nil, "PING") }); err != nil {
			return err
		}
	}
	if !state.Formed {
		for i, p := range g.nodes {
			if err := p.join(i, g.nodes[:g.primaries]); err != nil {
				return fmt.Errorf("node %d: %w", p.port, err)
			}
		}
	}
	for _, p := range g.nodes {
		if err := g.until(ctx, p, "reports cluster_state:ok", func() error { return p.clusterOK(len(g.nodes)) }); err != nil {
			return err
		}
	}
	for i, p := range g.nodes[g.primaries:] {
		if err := g.until(ctx, p, "has its primary's data", func() error { return p.replicate(g.nodes[i%g.primaries], state.Formed) }); err != nil {
			return err
		}
	}
	if state.Formed {
		return nil
	}
	state.Formed = true
	return state.save(dir)
}

// replicate makes the node a replica of another one, and says whether it is one that is up to date. In a cluster that was
// formed before, it may have any role by now.
func (p *process) replicate(primary *process, formed bool) error {
	var text, id string
	if err := p.do(&text, "INFO", "replication"); err != nil {
		return err
	}
	info := fields(text)
	switch {
	case info["role"] == "master" && formed, info["master_link_status"] == "up":
		return nil
	case info["role"] == "master":
		if err := primary.do(&id, "CLUSTER", "MYID"); err != nil {
			return err
		}
		if err := p.do(nil, "CLUSTER", "REPLICATE", id); err != nil {
			return err
		}
	}
	return errors.New("it has no link to its primary")
}

// join assigns node i, if it is one of the primaries, its share of the slots and its epoch, and introduces it to the first node.
func (p *process) join(i int, all []*process) error {
	info, err := p.clusterInfo()
	if err != nil {
		return err
	}
	first, last := i*keys.Slots/len(all), (i+1)*keys.Slots/len(all)-1
	var owner string
	if err := p.do(&owner, "CLUSTER", "NODES"); err != nil {
		return err
	}
	if i < len(all) && !ownsSlots(owner) {
		if err := p.do(nil, "CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(first), strconv.Itoa(last)); err != nil {
			return err
		}
	}
	if i < len(all) && info["cluster_current_epoch"] == "0" && info["cluster_known_nodes"] == "1" {
		if err := p.do(nil, "CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1)); err != nil {
			return err
		}
	}
	if i == 0 {
		return nil
	}
	return p.do(nil, "CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(all[0].port))
}

// ownsSlots reads CLUSTER NODES: slots stand behind the eight fixed fields of the line that is marked "myself".
func ownsSlots(nodes string) bool {
	for line := range strings.Lines(nodes) {
		fields := strings.Fields(line)
		if len(fields) > 8 && strings.Contains(fields[2], "myself") {
			return true
		}
	}
	return false
}

func (p *process) clusterOK(nodes int) error {
	info, err := p.clusterInfo()
	if err != nil {
		return err
	}
	if info["cluster_state"] != "ok" || info["cluster_known_nodes"] != strconv.Itoa(nodes) {
		return fmt.Errorf("cluster_state:%s with %s known nodes", info["cluster_state"], info["cluster_known_nodes"])
	}
	return nil
}

func (p *process) clusterInfo() (map[string]string, error) {
	var text string
	if err := p.do(&text, "CLUSTER", "INFO"); err != nil {
		return nil, err
	}
	return fields(text), nil
}

// fields reads lines of name:value.
func fields(text string) map[string]string {
	info := map[string]string{}
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[k] = v
		}
	}
	return info
}

// do sends one command; an error reply is an error.
func (p *process) do(text *string, args ...string) error {
	conn, err := wire.Dial(loopback(p.port))
	if err != nil {
		return err
	}
	defer conn.Close()
	v, err := conn.Must(args...)
	if err == nil && text != nil {
		*text = v.Text
	}
	return err
}

// until retries fn until it succeeds, the node ends or ctx ends.
func (g *nodeGroup) until(ctx context.Context, p *process, what string, fn func() error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := fn()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("node %d never %s: %w\n%s", p.port, what, err, p.logTail())
		case dead := <-g.ended:
			return errors.New(dead.obituary())
		case <-tick.C:
		}
	}
}
