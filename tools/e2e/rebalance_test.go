package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cairndb/cairn/tools/poll"
	"github.com/cairndb/cairn/tools/testnode"
)

// rebalancing is "cairn cluster rebalance" at work.
type rebalancing struct {
	t    *testing.T
	cmd  *exec.Cmd
	out  output
	done chan error
}

// output is what a process has printed by now.
type output struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func startRebalance(t *testing.T, args ...string) *rebalancing {
	t.Helper()
	r := &rebalancing{t: t, cmd: exec.CommandContext(t.Context(), testnode.Binary(t), append([]string{"cluster", "rebalance"}, args...)...), done: make(chan error, 1)}
	r.cmd.Stdout, r.cmd.Stderr = &r.out, &r.out
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { r.done <- r.cmd.Wait() }()
	return r
}

// end waits until it has ended well, and returns what it has printed.
func (r *rebalancing) end() string {
	r.t.Helper()
	if err := r.wait(); err != nil {
		r.t.Fatalf("cairn cluster rebalance: %v\n%s", err, r.out.String())
	}
	return r.out.String()
}

func (r *rebalancing) wait() (err error) {
	r.t.Helper()
	select {
	case err = <-r.done:
	case <-time.After(3 * time.Minute):
		r.t.Fatalf("cairn cluster rebalance does not end\n%s", r.out.String())
	}
	return err
}

// copying waits until a node sends slots.
func copying(t *testing.T, n *testnode.Node) {
	t.Helper()
	poll.Within(t, fmt.Sprintf("port %d sends slots", n.Port), time.Minute, func() bool {
		m := migrations(t, n)
		return len(m) > 0 && m[0]["state"] == "snapshotting"
	})
}

// A new primary gets its part, although it is killed on the way, and then a source, which is also the node that was named, and stays away for a while. Run
// once more there is nothing to do.
func TestRebalanceGoesOnAfterKills(t *testing.T) {
	t.Parallel()
	nodes := testnode.StartCluster(t, 3)
	added := testnode.StartClusterNodes(t, 1)[0]
	do(t, added, "CLUSTER", "MEET", nodes[0].Host(), strconv.Itoa(nodes[0].Port))
	all := append(nodes, added)
	if err := testnode.WaitClusterOK(all, time.Minute); err != nil {
		t.Fatal(err)
	}
	const keys = 20_000
	load(t, nodes, "still", keys)
	for _, n := range nodes {
		do(t, n, "CONFIG", "SET", "slot-migration-max-bandwidth", "10000")
	}
	r := startRebalance(t, nodes[0].Addr(), "--yes", "--by", "slots")
	copying(t, nodes[0])
	added.Kill()
	if err := added.Start(); err != nil {
		t.Fatal(err)
	}
	copying(t, nodes[0])
	nodes[0].Kill()
	for _, n := range nodes[1:] {
		do(t, n, "CONFIG", "SET", "slot-migration-max-bandwidth", "0")
	}
	poll.Within(t, "it waits for the source", 2*time.Minute, func() bool { return strings.Contains(r.out.String(), "Waiting for the cluster to be whole") })
	if err := nodes[0].Start(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", r.end())
	if got := slotsOf(t, added); got < 3500 || got > 4500 {
		t.Errorf("the new node has %d slots", got)
	}
	poll.Within(t, "the sources drop what they have given away", time.Minute, func() bool { return sizeOf(t, all) == keys })
	verify(t, all, "still", keys)
	for _, by := range []string{"bytes", "keys"} {
		if out := startRebalance(t, added.Addr(), "--yes", "--by", by, "--tolerance", "5").end(); !strings.Contains(out, "Nothing to move.") {
			t.Errorf("rebalanced once more by %s:\n%s", by, out)
		}
	}
}

// A source that never comes back is replaced by its replica, from which the rest moves.
func TestRebalanceGoesOnWithAReplica(t *testing.T) {
	t.Parallel()
	args := []string{"--cluster-node-timeout", "1000"}
	nodes := testnode.StartCluster(t, 3, args...)
	others := testnode.StartClusterNodes(t, 2, args...)
	replica, added := others[0], others[1]
	for _, n := range others {
		do(t, n, "CLUSTER", "MEET", nodes[0].Host(), strconv.Itoa(nodes[0].Port))
	}
	if err := testnode.WaitClusterOK(append(nodes, others...), time.Minute); err != nil {
		t.Fatal(err)
	}
	poll.Succeeds(t, time.Minute, func() error {
		v, err := replica.Do("CLUSTER", "REPLICATE", idOf(t, nodes[0]))
		return errors.Join(err, v.Err())
	})
	poll.Within(t, "the replica is up", time.Minute, func() bool {
		f, err := replica.Info("replication")
		return err == nil && f["master_link_status"] == "up"
	})
	const keys = 5_000
	load(t, nodes, "still", keys)
	do(t, nodes[0], "WAIT", "1", "10000")
	do(t, nodes[0], "CONFIG", "SET", "slot-migration-max-bandwidth", "10000")
	r := startRebalance(t, nodes[0].Addr(), "--yes", "--by", "slots")
	copying(t, nodes[0])
	nodes[0].Kill()
	out := r.end()
	t.Logf("%s", out)
	if got := slotsOf(t, added); got < 4000 || got > 4200 {
		t.Errorf("the new node has %d slots", got)
	}
	if got := slotsOf(t, replica); got < 4000 || got > 4200 {
		t.Errorf("the replica that has taken over has %d slots", got)
	}
	verify(t, []*testnode.Node{nodes[1], nodes[2], replica, added}, "still", keys)
}

// The slots that commands spend their time in are spread over the nodes, while clients go on; all others stay.
func TestRebalanceByLoad(t *testing.T) {
	t.Parallel()
	nodes := testnode.StartCluster(t, 3)
	const keys = 2_000
	load(t, nodes, "still", keys)
	if out := startRebalance(t, nodes[0].Addr(), "--yes", "--by", "load", "--over", "200ms").end(); !strings.Contains(out, "There is hardly any load") || !strings.Contains(out, "Nothing to move.") {
		t.Errorf("without load:\n%s", out)
	}
	const hot, size = 8, 16 << 10
	slots, first := slotsOf(t, nodes[0]), firstSlot(t, nodes[0])
	var names []string
	for i := range hot {
		names = append(names, tagIn(uint16(first+100*i)))
		do(t, nodes[0], "SETRANGE", names[i], strconv.Itoa(size-1), "\xff")
	}
	end := count(t, nodes, names)
	t.Logf("%s", startRebalance(t, nodes[1].Addr(), "--yes", "--by", "load", "--over", "2s").end())
	end()
	text := do(t, nodes[0], "CLUSTER", "NODES")
	has := map[string]int{}
	for i := range hot {
		has[slotOwner(text, first+100*i)]++
	}
	for _, n := range nodes {
		if has[idOf(t, n)] == 0 {
			t.Errorf("port %d has none of the %d slots with load", n.Port, hot)
		}
	}
	if got, want := slotsOf(t, nodes[0]), slots-hot+has[idOf(t, nodes[0])]; got != want {
		t.Errorf("the node with the load has %d slots, should have %d", got, want)
	}
	poll.Within(t, "the source drops what it has given away", time.Minute, func() bool { return sizeOf(t, nodes) == keys+hot })
	verify(t, nodes, "still", keys)
}

// A primary gives all its slots to the others while clients go on, is interrupted on the way, keeps none when it is run again, and leaves the cluster.
func TestRebalanceDrains(t *testing.T) {
	t.Parallel()
	nodes := testnode.StartCluster(t, 3)
	const keys = 20_000
	load(t, nodes, "still", keys)
	w := startWriters(t, nodes, 4, false)
	leaving, others, id := nodes[2], nodes[:2], idOf(t, nodes[2])
	do(t, leaving, "CONFIG", "SET", "slot-migration-max-bandwidth", "10000")
	r := startRebalance(t, others[0].Addr(), "--yes", "--drain", leaving.Addr())
	copying(t, leaving)
	if err := r.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := r.wait(); err == nil || !strings.Contains(r.out.String(), "run it again to go on") {
		t.Fatalf("interrupted: %v\n%s", err, r.out.String())
	}
	do(t, leaving, "CONFIG", "SET", "slot-migration-max-bandwidth", "0")
	poll.Within(t, "what was on its way is cancelled", time.Minute, func() bool { return infoField(t, leaving, "cluster_slot_migration_exports") == "0" })
	out := startRebalance(t, others[0].Addr(), "--yes", "--drain", id).end()
	t.Logf("%s", out)
	wants(t, "what to do next", out, "redis-cli --cluster del-node ", id)
	if got := slotsOf(t, leaving); got != 0 {
		t.Errorf("the drained node has %d slots", got)
	}
	for _, n := range others {
		if got := slotsOf(t, n); got < 7500 || got > 9000 {
			t.Errorf("port %d has %d slots", n.Port, got)
		}
	}
	written, failed := w.end()
	for _, err := range failed {
		t.Error(err)
	}
	t.Logf("%d writes", written)
	wants(t, "drained once more", startRebalance(t, others[1].Addr(), "--yes", "--drain", id, "--tolerance", "5").end(), "Nothing to move.", "del-node")
	manage(t, "del-node", others[0].Addr(), id)
	if err := testnode.WaitClusterOK(others, time.Minute); err != nil {
		t.Fatal(err)
	}
	verify(t, others, "still", keys)
}

// count has a client count the bits of values, each of which has 8, until end is called.
func count(t *testing.T, nodes []*testnode.Node, names []string) (end func()) {
	w := startWriters(t, nodes, 0, false)
	ctx, stop := context.WithCancel(t.Context())
	w.wg.Go(func() {
		pace := time.NewTicker(2 * time.Millisecond)
		defer pace.Stop()
		for ctx.Err() == nil {
			<-pace.C
			pipe := w.db.Pipeline()
			for i := range 20 * len(names) {
				pipe.BitCount(context.Background(), names[i%len(names)], nil)
			}
			replies, err := pipe.Exec(context.Background())
			if err != nil {
				t.Errorf("BITCOUNT: %v", err)
			}
			for _, r := range replies {
				if bits := r.(*redis.IntCmd).Val(); err == nil && bits != 8 {
					t.Errorf("%v: %d bits are set", r.Args(), bits)
				}
			}
		}
	})
	end = func() {
		stop()
		w.wg.Wait()
	}
	t.Cleanup(end)
	return end
}
