package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cairndb/cairn/tools/poll"
	"github.com/cairndb/cairn/tools/testnode"
)

// startShards starts two shards of two nodes each, whose program can be stopped at each step of a migration.
func startShards(t *testing.T) (nodes []*testnode.Node) {
	t.Helper()
	for i, dir := 0, t.TempDir(); i < 4; i++ {
		n, err := testnode.New(testnode.CairnOptions(stoppableBinary(t), filepath.Join(dir, fmt.Sprintf("node%d", i)),
			"--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--replication-acks", "1", "--loglevel", "verbose"))
		if err != nil {
			t.Fatal(err)
		}
		testnode.Register(t, n)
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, n)
	}
	if err := testnode.FormCluster(nodes[:2], time.Minute); err != nil {
		t.Fatal(err)
	}
	for i, n := range nodes[2:] {
		do(t, n, "CLUSTER", "MEET", nodes[0].Host(), strconv.Itoa(nodes[0].Port))
		id := idOf(t, nodes[i])
		poll.Succeeds(t, time.Minute, func() error {
			v, err := n.Do("CLUSTER", "REPLICATE", id)
			return errors.Join(err, v.Err())
		})
	}
	whole(t, nodes)
	return nodes
}

// whole waits until all is well, with two replicas and a group that survives a failure.
func whole(t *testing.T, nodes []*testnode.Node) {
	t.Helper()
	if err := testnode.WaitClusterOK(nodes, time.Minute); err != nil {
		t.Fatal(err)
	}
	poll.Within(t, "two replicas are up, and three nodes vote", time.Minute, func() bool {
		up := 0
		for _, n := range nodes {
			info, err := n.Info("replication")
			if err != nil {
				return false
			}
			if info["role"] == "slave" && info["master_link_status"] == "up" {
				up++
			}
			if voters, _ := strconv.Atoi(infoField(t, n, "cluster_group_voters")); voters < 3 {
				return false
			}
			if strings.Count(do(t, n, "CLUSTER", "NODES"), "slave ") != 2 { // the group has not placed both yet
				return false
			}
		}
		return up == 2
	})
}

// replicaOf finds the replica of a primary.
func replicaOf(t *testing.T, nodes []*testnode.Node, primary *testnode.Node) *testnode.Node {
	t.Helper()
	id := idOf(t, primary)
	for _, n := range nodes {
		for line := range strings.Lines(do(t, n, "CLUSTER", "NODES")) {
			if strings.Contains(line, "myself,slave "+id) {
				return n
			}
		}
	}
	t.Fatalf("port %d has no replica", primary.Port)
	return nil
}

// failOver has the replica of a primary take its place: the primary is killed, or hands over.
func failOver(t *testing.T, nodes []*testnode.Node, primary *testnode.Node, kill bool) {
	t.Helper()
	next := replicaOf(t, nodes, primary)
	if kill {
		primary.Kill()
	} else {
		do(t, next, "CLUSTER", "FAILOVER")
	}
	poll.Within(t, "the replica has taken over", time.Minute, func() bool {
		v, err := next.Do("CLUSTER", "NODES")
		return err == nil && strings.Contains(v.Text, "myself,master")
	})
}

// A primary loses its place in the middle of a migration, as its target or its source, by a hand-over or by a failure: there is one owner,
// nothing is lost, nobody has to help, nothing of the migration is left on the node that is a replica now, and nothing of what was moved away is left in its shard.
func TestFailoverWhileSlotsMove(t *testing.T) {
	t.Parallel()
	nodes := startShards(t)
	const keys, first = 3_000, 0
	load(t, nodes, "still", keys)
	w := startWriters(t, nodes, 4, true)
	for _, c := range []struct {
		point  string // none: while the slots are copied
		target bool
		kill   bool
	}{
		{"", true, false}, {"import:end", true, false}, {"import:answered", true, false}, {"import:end", true, true}, {"", true, true},
		{"", false, false}, {"export:propose", false, false}, {"export:drop", false, false}, {"", false, true}, {"export:drop", false, true},
	} {
		name := fmt.Sprintf("%+v", c)
		last := 100
		if c.target {
			last = 300 // two groups: with the new primary the source goes on
		}
		source := nodes[ownerOf(t, nodes, first, last)]
		target := nodes[ownerOf(t, nodes, testnode.Slots-1, testnode.Slots-1)]
		if source == target { // the slots are at their guest's
			target = nodes[ownerOf(t, nodes, testnode.Slots/2-1, testnode.Slots/2-1)]
		}
		victim := source
		if c.target {
			victim = target
		}
		stopped := filepath.Join(victim.Dir, "stopped-at")
		if c.point == "" {
			do(t, source, "CONFIG", "SET", "slot-migration-max-bandwidth", "500")
		} else {
			arm(t, victim, c.point+" wait")
		}
		askToMove(t, source, target, first, last, false)
		if c.point == "" {
			poll.Within(t, name+": slots are copied", time.Minute, func() bool { return migrations(t, source)[0]["state"] == "snapshotting" })
		} else {
			poll.Within(t, name+" is reached", time.Minute, func() bool { _, err := os.Stat(stopped); return err == nil })
		}
		failOver(t, nodes, victim, c.kill)
		if c.point != "" {
			if err := os.Remove(stopped); err != nil {
				t.Fatal(err)
			}
		}
		if c.kill {
			if err := victim.Start(); err != nil {
				t.Fatal(err)
			}
		}
		whole(t, nodes)
		do(t, source, "CONFIG", "SET", "slot-migration-max-bandwidth", "0")
		poll.Succeeds(t, time.Minute, func() error { return settled(t, nodes, first) })
		owner := ownerOf(t, nodes, first, last)
		t.Logf("%s: the slots are at node %d", name, owner)
		poll.Succeeds(t, time.Minute, func() error { return dropped(nodes, owner, first, last) })
		checked(t, nodes, "--cluster-search-multiple-owners")
	}
	from := nodes[ownerOf(t, nodes, first, first)]
	to := nodes[ownerOf(t, nodes, testnode.Slots-1, testnode.Slots-1)]
	if from == to {
		to = nodes[ownerOf(t, nodes, testnode.Slots/2-1, testnode.Slots/2-1)]
	}
	retry(t, from, to, first, 100)
	w.end()
	verify(t, nodes, "still", keys)
}

// dropped says which node still has something of slots that belong to another shard, nil for none.
func dropped(nodes []*testnode.Node, owner, first, last int) error {
	id, err := nodes[owner].Do("CLUSTER", "MYID")
	if err != nil {
		return err
	}
	for _, n := range nodes {
		info, err := n.Info("cluster")
		if err != nil {
			return err
		}
		if left := info["cluster_slot_migration_slots_to_drop"]; left != "0" {
			return fmt.Errorf("port %d has %q slots to drop", n.Port, left)
		}
		v, err := n.Do("CLUSTER", "NODES")
		if err != nil {
			return err
		}
		if strings.Contains(v.Text, "myself,slave "+id.Text) || n == nodes[owner] {
			continue
		}
		for slot := first; slot <= last; slot++ {
			if v, err := n.Do("CLUSTER", "COUNTKEYSINSLOT", strconv.Itoa(slot)); err != nil || v.Int() != 0 {
				return fmt.Errorf("port %d has %d keys of slot %d, %v", n.Port, v.Int(), slot, err)
			}
		}
	}
	return nil
}

// settled says which node still has a part in a migration, nil for none.
func settled(t *testing.T, nodes []*testnode.Node, slot int) error {
	t.Helper()
	for _, n := range nodes {
		for _, m := range migrations(t, n) {
			if m["state"] != "success" && m["state"] != "failed" && m["state"] != "cancelled" {
				return fmt.Errorf("port %d: %v", n.Port, m)
			}
		}
		owner := slotOwner(do(t, n, "CLUSTER", "NODES"), slot)
		if v, err := n.Do("CLUSTER", "SETSLOT", strconv.Itoa(slot), "NODE", owner); err != nil || strings.Contains(v.Text, "migration") {
			return fmt.Errorf("port %d: SETSLOT: %q, %v", n.Port, v.Text, err)
		}
	}
	return nil
}
