package main

import (
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairndb/cairn/tools/poll"
	"github.com/cairndb/cairn/tools/testnode"
	"github.com/cairndb/cairn/tools/wire"
)

// sixNodes is a cluster of three primaries with a replica each, made by redis-cli.
func sixNodes(t *testing.T, args ...string) []*testnode.Node {
	t.Helper()
	cli := testnode.Peer(t, "redis-cli")
	nodes := testnode.StartClusterNodes(t, 6, append([]string{"--cluster-node-timeout", "1000", "--loglevel", "verbose"}, args...)...)
	create := []string{"--cluster", "create"}
	for _, n := range nodes {
		create = append(create, n.Addr())
	}
	create = append(create, "--cluster-replicas", "1", "--cluster-yes")
	if out, err := exec.CommandContext(t.Context(), cli, create...).CombinedOutput(); err != nil || strings.Contains(string(out), "[ERR]") {
		t.Fatalf("%v\n%s", err, out)
	}
	replicated(t, nodes, 3)
	return nodes
}

// replicated waits until all nodes agree that all is well, with so many replicas that are up to date.
func replicated(t *testing.T, nodes []*testnode.Node, replicas int) {
	t.Helper()
	if err := testnode.WaitClusterOK(nodes, 60*time.Second); err != nil {
		t.Fatal(err)
	}
	poll.Succeeds(t, 60*time.Second, func() error {
		up := 0
		for _, n := range nodes {
			info, err := n.Info("replication")
			if err != nil {
				return err
			}
			if info["role"] == "slave" && info["master_link_status"] == "up" {
				up++
			}
			v, err := n.Do("CLUSTER", "INFO")
			if err != nil || !strings.Contains(v.Text, "cluster_group_state:") {
				return fmt.Errorf("port %d has no group: %v", n.Port, err)
			}
			if strings.Contains(v.Text, "cluster_group_voters:1\r") || strings.Contains(v.Text, "cluster_group_voters:2\r") {
				return fmt.Errorf("port %d: the group is still growing", n.Port) // and survives no failure yet
			}
			if v, err = n.Do("CLUSTER", "NODES"); err != nil || strings.Count(v.Text, "slave ") != replicas {
				return fmt.Errorf("port %d: the group has not placed all replicas yet: %v, %v", n.Port, v, err)
			}
		}
		if up != replicas {
			return fmt.Errorf("%d replicas are up", up)
		}
		return nil
	})
}

// TestReplicasByRedisCLI makes a cluster with replicas as an operator does, and looks at it as clients do.
func TestReplicasByRedisCLI(t *testing.T) {
	t.Parallel()
	nodes := sixNodes(t)
	out, err := exec.CommandContext(t.Context(), testnode.Peer(t, "redis-cli"), "--cluster", "check", nodes[0].Addr()).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "[OK] All 16384 slots covered") || strings.Count(string(out), "\nS: ") != 3 {
		t.Fatalf("%v\n%s", err, out)
	}
}

// writer writes unique values to keys of one slot, one after the other, each as soon as the last was answered, to whoever owns the
// slot, and keeps what was acknowledged.
type writer struct {
	t     *testing.T
	nodes []*testnode.Node
	key   string
	// patience is after how long without an answer the writer turns to another node.
	patience time.Duration

	mu       sync.Mutex
	acked    map[string]string
	last     time.Time     // of the last acknowledgement
	gap      time.Duration // the longest between two
	errors   map[string]int
	stopping chan struct{}
	done     chan struct{}
}

func startWriter(t *testing.T, nodes []*testnode.Node, key string) *writer {
	return startPatientWriter(t, nodes, key, 300*time.Millisecond)
}

// startPatientWriter is startWriter with the time after which the writer turns to another node.
func startPatientWriter(t *testing.T, nodes []*testnode.Node, key string, patience time.Duration) *writer {
	w := &writer{
		t: t, nodes: nodes, key: key, acked: map[string]string{}, errors: map[string]int{},
		stopping: make(chan struct{}), done: make(chan struct{}), patience: patience,
	}
	go w.run()
	t.Cleanup(w.stop)
	return w
}

func (w *writer) run() {
	defer close(w.done)
	var conn *wire.Conn
	at := 0
	drop := func() {
		if conn != nil {
			_ = conn.Close()
			conn = nil
		}
	}
	defer drop()
	for i := 0; ; i++ {
		select {
		case <-w.stopping:
			return
		default:
		}
		if conn == nil {
			c, err := wire.Dial(w.nodes[at].Addr())
			if err != nil {
				at = (at + 1) % len(w.nodes)
				continue
			}
			c.Timeout = w.patience
			conn = c
		}
		key, value := fmt.Sprintf("{%s}%d", w.key, i), fmt.Sprintf("value-%d", i)
		v, err := conn.Do("SET", key, value)
		switch {
		case err != nil:
			w.failed("connection")
			drop()
			at = (at + 1) % len(w.nodes)
		case v.Kind == '+':
			w.acknowledged(key, value)
		case strings.HasPrefix(v.Text, "MOVED "):
			drop()
			at = w.index(v.Text)
		default:
			w.failed(v.Text)
			drop()
			at = (at + 1) % len(w.nodes)
		}
	}
}

func (w *writer) index(moved string) int {
	for i, n := range w.nodes {
		if strings.HasSuffix(moved, fmt.Sprintf(":%d", n.Port)) {
			return i
		}
	}
	return 0
}

func (w *writer) failed(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.errors[text]++
}

func (w *writer) acknowledged(key, value string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if !w.last.IsZero() {
		w.gap = max(w.gap, now.Sub(w.last))
	}
	w.acked[key], w.last = value, now
}

// mark forgets the longest gap, and returns how many writes are acknowledged.
func (w *writer) mark() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gap = 0
	return len(w.acked)
}

// progress waits for n further acknowledgements.
func (w *writer) progress(n int, limit time.Duration) {
	w.t.Helper()
	w.mu.Lock()
	begin := len(w.acked)
	w.mu.Unlock()
	poll.Succeeds(w.t, limit, func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.acked) < begin+n {
			return fmt.Errorf("%d writes acknowledged, errors %v", len(w.acked)-begin, w.errors)
		}
		return nil
	})
}

// longest is the longest time between two acknowledgements since mark.
func (w *writer) longest() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.gap
}

func (w *writer) stop() {
	select {
	case <-w.stopping:
	default:
		close(w.stopping)
	}
	<-w.done
}

// lost counts the acknowledged writes that the slot's owner does not have.
func (w *writer) lost() (n int) {
	w.t.Helper()
	w.stop()
	owner := owner(w.t, w.nodes, w.key)
	conn, err := owner.Dial()
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	keys := slices.Collect(maps.Keys(w.acked))
	for some := range slices.Chunk(keys, 500) {
		for _, key := range some {
			if err := conn.Send("GET", key); err != nil {
				w.t.Fatal(err)
			}
		}
		if err := conn.Flush(); err != nil {
			w.t.Fatal(err)
		}
		for _, key := range some {
			v, err := conn.Receive()
			if err != nil || v.Kind == '-' {
				w.t.Fatalf("GET: %v %v", v, err)
			}
			if v.Text != w.acked[key] {
				n++
			}
		}
	}
	return n
}

// owner is the node that serves a key's slot.
func owner(t *testing.T, nodes []*testnode.Node, key string) *testnode.Node {
	t.Helper()
	var found *testnode.Node
	poll.Succeeds(t, 30*time.Second, func() error {
		for _, n := range nodes {
			if !n.Running() {
				continue
			}
			if v, err := n.Do("GET", "{"+key+"}"); err == nil && v.Kind != '-' {
				found = n
				return nil
			}
		}
		return errors.New("nobody owns the slot")
	})
	return found
}

// replicaOf is the running node that replicates another one.
func replicaOf(t *testing.T, nodes []*testnode.Node, primary *testnode.Node) *testnode.Node {
	t.Helper()
	for _, n := range nodes {
		if info, err := n.Info("replication"); err == nil && info["master_port"] == fmt.Sprint(primary.Port) {
			return n
		}
	}
	t.Fatal("no replica")
	return nil
}

// TestFailover kills a primary under a writer: its replica takes over, and the old primary, when it is back, follows that.
func TestFailover(t *testing.T) {
	t.Parallel()
	nodes := sixNodes(t)
	w := startWriter(t, nodes, "a")
	w.progress(1000, 20*time.Second)
	old := owner(t, nodes, "a")
	before := w.mark()
	old.Kill()
	w.progress(200, 30*time.Second)
	w.mu.Lock()
	t.Logf("writes work again after %v; errors %v", w.gap, w.errors)
	w.mu.Unlock()
	if err := old.Launch(); err != nil {
		t.Fatal(err)
	}
	replicated(t, nodes, 3)
	w.progress(100, 20*time.Second)
	lost := w.lost()
	t.Logf("%d writes acknowledged, %d before the failure; %d lost", len(w.acked), before, lost)
	if owner(t, nodes, "a") == old {
		t.Error("the old primary is the owner again")
	}
	if lost > before/2 { // replication is asynchronous: some milliseconds' worth
		t.Errorf("%d acknowledged writes lost", lost)
	}
}

// TestManualFailover swaps the roles of a primary and its replica under a writer, there and back.
func TestManualFailover(t *testing.T) {
	t.Parallel()
	nodes := sixNodes(t)
	w := startPatientWriter(t, nodes, "b", 20*time.Second) // no node fails
	w.progress(100, 20*time.Second)
	for range 4 {
		old := owner(t, nodes, "b")
		next := replicaOf(t, nodes, old)
		w.mark()
		if v, err := next.Do("CLUSTER", "FAILOVER"); err != nil || v.Kind != '+' {
			t.Fatal(v, err)
		}
		poll.Succeeds(t, 20*time.Second, func() error {
			if owner(t, nodes, "b") != next {
				return errors.New("the replica has not taken over")
			}
			return nil
		})
		w.progress(100, 20*time.Second)
		w.mu.Lock()
		t.Logf("longest pause %v", w.gap)
		w.mu.Unlock()
		replicated(t, nodes, 3)
	}
	if lost := w.lost(); lost != 0 || len(w.errors) != 0 {
		t.Errorf("%d of %d acknowledged writes lost; errors %v", lost, len(w.acked), w.errors)
	}
}

// TestPausedPrimary stops a primary's process for a while under a writer, which is served by the replica meanwhile.
func TestPausedPrimary(t *testing.T) {
	t.Parallel()
	nodes := sixNodes(t)
	w := startWriter(t, nodes, "c")
	w.progress(100, 20*time.Second)
	old := owner(t, nodes, "c")
	conn, err := old.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	w.mark()
	if err := old.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(conn.Send("SET", "{c}late", "x"), conn.Flush()); err != nil {
		t.Fatal(err)
	}
	w.progress(200, 30*time.Second)
	w.mu.Lock()
	t.Logf("writes work again after %v; errors %v", w.gap, w.errors)
	w.mu.Unlock()
	if err := old.Resume(); err != nil {
		t.Fatal(err)
	}
	if v, err := conn.Receive(); err == nil && v.Kind == '+' {
		t.Error("a primary that was paused acknowledges what it received meanwhile")
	}
	w.progress(100, 20*time.Second)
	w.stop()
	began := time.Now()
	replicated(t, nodes, 3)
	t.Logf("the old primary is a replica that is up to date after %v", time.Since(began))
	lost := w.lost()
	t.Logf("%d writes acknowledged; %d lost", len(w.acked), lost)
}

// TestAllNodesRestart kills all nodes and starts them again.
func TestAllNodesRestart(t *testing.T) {
	t.Parallel()
	nodes := sixNodes(t)
	w := startWriter(t, nodes, "d")
	w.progress(200, 20*time.Second)
	w.stop()
	for _, n := range nodes {
		n.Kill()
	}
	began := time.Now()
	for _, n := range nodes {
		if err := n.Launch(); err != nil {
			t.Fatal(err)
		}
	}
	owner(t, nodes, "d")
	t.Logf("served again after %v", time.Since(began))
	replicated(t, nodes, 3)
	if lost := w.lost(); lost != 0 {
		t.Errorf("%d of %d acknowledged writes lost", lost, len(w.acked))
	}
}

// TestAddAndRemoveReplica adds a replica, and removes it again, by redis-cli.
func TestAddAndRemoveReplica(t *testing.T) {
	t.Parallel()
	cli := testnode.Peer(t, "redis-cli")
	nodes := sixNodes(t)
	fresh := testnode.StartClusterNodes(t, 1, "--cluster-node-timeout", "1000", "--loglevel", "verbose")[0]
	w := startWriter(t, nodes, "e")
	w.progress(100, 20*time.Second)
	primary, err := owner(t, nodes, "e").Do("CLUSTER", "MYID")
	if err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), cli, append([]string{"--cluster"}, args...)...).CombinedOutput()
		if err != nil || strings.Contains(string(out), "ERR") {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	run("add-node", fresh.Addr(), nodes[0].Addr(), "--cluster-slave", "--cluster-master-id", primary.Text)
	all := append(slices.Clone(nodes), fresh)
	replicated(t, all, 4)
	if v, err := fresh.Do("GET", "{e}1"); err != nil || !strings.HasPrefix(v.Text, "MOVED ") {
		t.Errorf("a replica answers %v, %v without READONLY", v, err)
	}
	conn, err := fresh.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Must("READONLY"); err != nil {
		t.Fatal(err)
	}
	if v, err := conn.Do("GET", "{e}1"); err != nil || v.Text != "value-1" {
		t.Errorf("a replica answers %v, %v to READONLY", v, err)
	}
	if v, err := conn.Do("SET", "{e}1", "x"); err != nil || !strings.HasPrefix(v.Text, "MOVED ") {
		t.Errorf("a replica answers %v, %v to a write", v, err)
	}
	id, err := fresh.Do("CLUSTER", "MYID")
	if err != nil {
		t.Fatal(err)
	}
	run("del-node", nodes[0].Addr(), id.Text)
	replicated(t, nodes, 3)
	poll.Succeeds(t, 20*time.Second, func() error {
		info, err := fresh.Do("CLUSTER", "INFO")
		if err != nil {
			return err
		}
		size, err := fresh.Do("DBSIZE")
		if err != nil || size.Int() != 0 || !strings.Contains(info.Text, "cluster_known_nodes:1\r\n") {
			return fmt.Errorf("%v keys, %v\n%s", size, err, info.Text)
		}
		return nil
	})
	run("check", nodes[1].Addr())
}

// TestRemovePrimaryWithReplica removes an empty primary, by redis-cli, which first has its replica follow another one: that fetches other data then.
func TestRemovePrimaryWithReplica(t *testing.T) {
	t.Parallel()
	cli := testnode.Peer(t, "redis-cli")
	nodes := sixNodes(t)
	for _, key := range []string{"a", "b", "c"} {
		w := startWriter(t, nodes, key)
		w.progress(3000, 60*time.Second)
		w.stop()
	}
	fresh := testnode.StartClusterNodes(t, 2, "--cluster-node-timeout", "1000", "--loglevel", "verbose")
	id := func(n *testnode.Node) string { return do(t, n.Port, "CLUSTER", "MYID").Text }
	run := func(args ...string) {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), cli, append([]string{"--cluster"}, args...)...).CombinedOutput()
		if err != nil || strings.Contains(string(out), "[ERR]") || strings.Contains(string(out), "replied with error") {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	run("add-node", fresh[0].Addr(), nodes[0].Addr())
	replicated(t, append(slices.Clone(nodes), fresh[0]), 3)
	run("add-node", fresh[1].Addr(), nodes[0].Addr(), "--cluster-slave", "--cluster-master-id", id(fresh[0]))
	replicated(t, append(slices.Clone(nodes), fresh...), 4)
	run("del-node", nodes[0].Addr(), id(fresh[0]))
	replicated(t, append(slices.Clone(nodes), fresh[1]), 4)
	run("check", nodes[1].Addr())
}
