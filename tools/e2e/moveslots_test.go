package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairndb/cairn/tools/poll"
	"github.com/cairndb/cairn/tools/testnode"
)

// migrations are what CLUSTER GETSLOTMIGRATIONS says, the newest first.
func migrations(t *testing.T, n *testnode.Node) (all []map[string]string) {
	t.Helper()
	v, err := n.Do("CLUSTER", "GETSLOTMIGRATIONS")
	if err == nil {
		err = v.Err()
	}
	if err != nil {
		t.Fatalf("port %d: %v", n.Port, err)
	}
	for _, entry := range v.Elems {
		m := make(map[string]string)
		words := entry.Strings()
		for i := 0; i+1 < len(words); i += 2 {
			m[words[i]] = words[i+1]
		}
		all = append(all, m)
	}
	return all
}

// moveSlots starts a migration and waits for its success, which it returns.
func moveSlots(t *testing.T, from, to *testnode.Node, first, last int) map[string]string {
	t.Helper()
	do(t, from, "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", strconv.Itoa(first), strconv.Itoa(last), "NODE", idOf(t, to))
	var m map[string]string
	poll.Succeeds(t, time.Minute, func() error {
		if m = migrations(t, from)[0]; m["state"] != "success" && m["state"] != "failed" {
			return fmt.Errorf("%v", m)
		}
		return nil
	})
	if m["state"] != "success" {
		t.Fatalf("the migration has failed: %v", m)
	}
	return m
}

// ownerOf waits until all nodes say that one node owns all slots of a range, and returns its index.
func ownerOf(t *testing.T, nodes []*testnode.Node, first, last int) (owner int) {
	t.Helper()
	poll.Succeeds(t, time.Minute, func() error {
		seen := make(map[string]bool)
		for _, n := range nodes {
			v, err := n.Do("CLUSTER", "NODES")
			if err != nil {
				return err
			}
			for slot := first; slot <= last; slot++ {
				seen[slotOwner(v.Text, slot)] = true
			}
		}
		if len(seen) != 1 || seen[""] {
			return fmt.Errorf("owners of %d-%d: %v", first, last, seen)
		}
		for i, n := range nodes {
			if id, err := n.Do("CLUSTER", "MYID"); err == nil && seen[id.Text] {
				owner = i
			}
		}
		return nil
	})
	return owner
}

// slotOwner finds a slot's owner in the text of CLUSTER NODES.
func slotOwner(text string, slot int) string {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		for _, w := range words[min(8, len(words)):] {
			a, b, pair := strings.Cut(w, "-")
			if !pair {
				b = a
			}
			first, err1 := strconv.Atoi(a)
			last, err2 := strconv.Atoi(b)
			if err1 == nil && err2 == nil && first <= slot && slot <= last {
				return words[0]
			}
		}
	}
	return ""
}

func sizeOf(t *testing.T, nodes []*testnode.Node) (sum int) {
	t.Helper()
	for _, n := range nodes {
		v, err := n.Do("DBSIZE")
		if err != nil {
			t.Fatal(err)
		}
		sum += int(v.Int())
	}
	return sum
}

// Slots move forth and back while clients write: no write fails, and no value is lost, stale or there twice. Large values, values in
// blob files and times of expiry move with them.
func TestSlotsMoveWhileClientsUseThem(t *testing.T) {
	t.Parallel()
	nodes := testnode.StartCluster(t, 3)
	const keys = 20_000
	load(t, nodes, "still", keys)
	w := startWriters(t, nodes, 8, false)
	ctx := context.Background()
	big := strings.Repeat("0123456789abcdef", 1<<19) // 8 MiB
	for i := range 8 {
		if err := w.db.Set(ctx, fmt.Sprintf("big:%d", i), big, 0).Err(); err != nil {
			t.Fatal(err)
		}
		w.db.Set(ctx, fmt.Sprintf("medium:%d", i), big[:300_000], 0)
		w.db.Set(ctx, fmt.Sprintf("later:%d", i), "v", time.Hour)
		w.db.Set(ctx, fmt.Sprintf("gone:%d", i), "v", 2*time.Second)
	}
	for range 2 {
		moveSlots(t, nodes[0], nodes[1], 0, 5460)
		if owner := ownerOf(t, nodes, 0, 5460); owner != 1 {
			t.Fatalf("node %d owns the slots", owner)
		}
		if m := migrations(t, nodes[1]); m[0]["operation"] != "IMPORT" && m[1]["operation"] != "IMPORT" {
			t.Errorf("the target shows %v", m)
		}
		if n := sizeOf(t, nodes[:1]); n != 0 {
			t.Errorf("the source counts %d keys that are another node's", n)
		}
		poll.Within(t, "the source drops what it has given away", 10*time.Second, func() bool {
			return infoField(t, nodes[0], "cluster_slot_migration_slots_to_drop") == "0" && sizeOf(t, nodes[:1]) == 0
		})
		moveSlots(t, nodes[1], nodes[0], 0, 5460)
	}
	written, failed := w.end()
	if len(failed) > 0 {
		t.Errorf("%d writes have failed: %v", len(failed), failed[0])
	}
	t.Logf("%d writes, longest pauses %s and %s µs", written, infoField(t, nodes[0], "cluster_slot_migration_max_pause_usec"), infoField(t, nodes[1], "cluster_slot_migration_max_pause_usec"))
	verify(t, nodes, "still", keys)
	for i := range 8 {
		for key, want := range map[string]string{fmt.Sprintf("big:%d", i): big, fmt.Sprintf("medium:%d", i): big[:300_000]} {
			if got, err := w.db.Get(ctx, key).Result(); err != nil || got != want {
				t.Errorf("%s has %d bytes, %v", key, len(got), err)
			}
		}
		if left := w.db.TTL(ctx, fmt.Sprintf("later:%d", i)).Val(); left < 50*time.Minute || left > time.Hour {
			t.Errorf("later:%d lives for %v", i, left)
		}
		poll.Within(t, "a key expires", 10*time.Second, func() bool { return w.db.Exists(ctx, fmt.Sprintf("gone:%d", i)).Val() == 0 })
	}
	checked(t, nodes, "--cluster-search-multiple-owners")
}

func infoField(t *testing.T, n *testnode.Node, name string) string {
	t.Helper()
	f, err := n.Info("cluster")
	if err != nil {
		t.Fatal(err)
	}
	return f[name]
}

func TestMigrationsAreCancelled(t *testing.T) {
	t.Parallel()
	nodes := testnode.StartCluster(t, 3)
	const keys = 20_000
	load(t, nodes, "still", keys)
	do(t, nodes[0], "CONFIG", "SET", "slot-migration-max-bandwidth", "10000")
	do(t, nodes[0], "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", "0", "99", "NODE", idOf(t, nodes[1]), "SLOTSRANGE", "200", "299", "NODE", idOf(t, nodes[2]))
	poll.Until(t, "both copy", func() bool {
		m := migrations(t, nodes[0])
		return m[0]["state"] == "snapshotting" && m[1]["state"] == "snapshotting"
	})
	for args, want := range map[string]string{
		"SLOTSRANGE 50 60 NODE " + idOf(t, nodes[2]):     "ERR I am already migrating slot 50.",
		"SLOTSRANGE 0 0 NODE " + idOf(t, nodes[0]):       "ERR Target node can not be this node.",
		"SLOTSRANGE 6000 6000 NODE " + idOf(t, nodes[2]): "ERR Slots are not served by this node.",
		"SLOTSRANGE 9 8 NODE x":                          "ERR Start slot number 9 is greater than end slot number 8.",
		"SLOTSRANGE 7 8 8 9 NODE x":                      "ERR Slot range 8-9 overlaps with previous range 7-8.",
		"SLOTSRANGE 7 8 NODE x":                          "ERR Invalid node name: x",
		"SLOTSRANGE NODE x":                              "ERR No slot ranges specified",
	} {
		v, err := nodes[0].Do(append([]string{"CLUSTER", "MIGRATESLOTS"}, strings.Fields(args)...)...)
		if err != nil || v.Text != want {
			t.Errorf("%s: %q, %v, want %q", args, v.Text, err, want)
		}
	}
	do(t, nodes[0], "CLUSTER", "CANCELSLOTMIGRATIONS")
	poll.Until(t, "both are cancelled", func() bool {
		m := migrations(t, nodes[0])
		return m[0]["state"] == "cancelled" && m[1]["state"] == "cancelled"
	})
	poll.Until(t, "the targets have dropped what had come", func() bool {
		a, b := migrations(t, nodes[1]), migrations(t, nodes[2])
		return a[0]["state"] == "failed" && b[0]["state"] == "failed"
	})
	if v, _ := nodes[0].Do("CLUSTER", "CANCELSLOTMIGRATIONS"); v.Text != "ERR No migrations ongoing" {
		t.Errorf("cancelled twice: %q", v.Text)
	}
	do(t, nodes[0], "CONFIG", "SET", "slot-migration-max-bandwidth", "0")
	moveSlots(t, nodes[0], nodes[1], 0, 99)
	verify(t, nodes, "still", keys)
	checked(t, nodes, "--cluster-search-multiple-owners")
}

var stoppable struct {
	sync.Once
	path string
	err  error
}

// stoppableBinary is a program that can be stopped at each step of a migration.
func stoppableBinary(t *testing.T) string {
	t.Helper()
	stoppable.Do(func() { stoppable.path, stoppable.err = testnode.BuildTagged("cairnstops") })
	if stoppable.err != nil {
		t.Fatal(stoppable.err)
	}
	return stoppable.path
}

// startStoppable starts three primaries of that program.
func startStoppable(t *testing.T) (nodes []*testnode.Node) {
	t.Helper()
	binary, dir := stoppableBinary(t), t.TempDir()
	for i := range 3 {
		n, err := testnode.New(testnode.CairnOptions(binary, filepath.Join(dir, fmt.Sprintf("node%d", i)), "--cluster-enabled", "yes", "--cluster-node-timeout", "2000"))
		if err != nil {
			t.Fatal(err)
		}
		testnode.Register(t, n)
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, n)
	}
	if err := testnode.FormCluster(nodes, time.Minute); err != nil {
		t.Fatal(err)
	}
	return nodes
}

// parts waits for the group's leader, and returns the two others as source and target.
func parts(t *testing.T, nodes []*testnode.Node) (source, target, leader *testnode.Node) {
	t.Helper()
	poll.Within(t, "the group has three voters and a leader", time.Minute, func() bool {
		leader = nil
		id := infoField(t, nodes[0], "cluster_group_leader")
		var others []*testnode.Node
		for _, n := range nodes {
			if infoField(t, n, "cluster_group_voters") != "3" || infoField(t, n, "cluster_group_leader") != id {
				return false
			}
			if idOf(t, n) == id {
				leader = n
			} else {
				others = append(others, n)
			}
		}
		if leader != nil {
			source, target = others[0], others[1]
		}
		return leader != nil
	})
	return source, target, leader
}

// firstSlot is the first slot that a node owns.
func firstSlot(t *testing.T, n *testnode.Node) int {
	t.Helper()
	id, text := idOf(t, n), do(t, n, "CLUSTER", "NODES")
	for slot := range testnode.Slots {
		if slotOwner(text, slot) == id {
			return slot
		}
	}
	t.Fatalf("port %d owns no slot", n.Port)
	return 0
}

// arm has a process stop at a step.
func arm(t *testing.T, n *testnode.Node, what string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(n.Dir, "stop-at.new"), []byte(what), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(n.Dir, "stop-at.new"), filepath.Join(n.Dir, "stop-at")); err != nil {
		t.Fatal(err)
	}
}

// settle waits until everything is as it should be after a crash, with the slots at one of the two, and brings them back to the source.
func settle(t *testing.T, point string, nodes []*testnode.Node, source, target *testnode.Node, first, last int) {
	t.Helper()
	if err := testnode.WaitClusterOK(nodes, time.Minute); err != nil {
		t.Fatalf("%s: %v", point, err)
	}
	poll.Within(t, point+": the source's jobs end", time.Minute, func() bool {
		for _, m := range migrations(t, source) {
			if m["state"] != "success" && m["state"] != "failed" && m["state"] != "cancelled" {
				return false
			}
		}
		return true
	})
	owner := nodes[ownerOf(t, nodes, first, last)]
	if owner != source && owner != target {
		t.Fatalf("%s: port %d owns the slots", point, owner.Port)
	}
	t.Logf("%s: the %s owns the slots", point, map[bool]string{true: "source", false: "target"}[owner == source])
	if owner == source {
		retry(t, source, target, first, last)
	}
	retry(t, target, source, first, last)
}

// retry moves slots; what an earlier try has left behind may still be in the way for a moment.
func retry(t *testing.T, from, to *testnode.Node, first, last int) {
	t.Helper()
	poll.Succeeds(t, time.Minute, func() error {
		v, err := from.Do("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", strconv.Itoa(first), strconv.Itoa(last), "NODE", idOf(t, to))
		if err == nil {
			err = v.Err()
		}
		return err
	})
	poll.Succeeds(t, time.Minute, func() error {
		if m := migrations(t, from)[0]; m["state"] != "success" {
			return fmt.Errorf("%v", m)
		}
		return nil
	})
}

// askToMove starts a migration, as soon as the source has ended its part in an earlier one. mayDie: it may be killed before it has answered.
func askToMove(t *testing.T, source, target *testnode.Node, first, last int, mayDie bool) {
	t.Helper()
	to := idOf(t, target)
	poll.Succeeds(t, time.Minute, func() error {
		v, err := source.Do("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", strconv.Itoa(first), strconv.Itoa(last), "NODE", to)
		switch {
		case err == nil:
			return v.Err()
		case mayDie:
			return nil
		}
		return err
	})
}

// stops are the steps at which a process is stopped, with its part.
var stops = []struct {
	point  string
	target bool
}{
	{"export:establish", false}, {"export:copy", false}, {"export:slot", false}, {"export:follow", false}, {"export:note", false}, {"export:hold", false},
	{"export:drain", false}, {"export:propose", false}, {"export:conclude", false}, {"export:drop", false}, {"export:dropped", false},
	{"import:begin", true}, {"import:import", true}, {"import:answer", true}, {"import:ready", true}, {"import:answered", true}, {"import:end", true}, {"import:ended", true},
}

// At each step the process is killed: then there is one owner, nothing is lost, nobody has to help, and the next try moves the slots.
func TestKilledWhileSlotsMove(t *testing.T) {
	t.Parallel()
	nodes := startStoppable(t)
	source, target, _ := parts(t, nodes)
	const keys = 5_000
	load(t, nodes, "still", keys)
	w := startWriters(t, nodes, 4, true)
	first := firstSlot(t, source)
	last := first + 200 // one group: they go together
	for _, s := range stops {
		victim := source
		if s.target {
			victim = target
		}
		arm(t, victim, s.point+" kill")
		askToMove(t, source, target, first, last, victim == source)
		poll.Within(t, s.point+" is reached", time.Minute, func() bool { return !victim.Running() })
		if err := victim.Start(); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(victim.Dir, "stopped-at")); err != nil {
			t.Fatal(err)
		}
		settle(t, s.point, nodes, source, target, first, last)
	}
	w.end()
	verify(t, nodes, "still", keys)
	checked(t, nodes, "--cluster-search-multiple-owners")
}

// The leader of the group is killed at each step of the source.
func TestLeaderKilledWhileSlotsMove(t *testing.T) {
	t.Parallel()
	nodes := startStoppable(t)
	const keys = 5_000
	load(t, nodes, "still", keys)
	for _, point := range []string{"export:copy", "export:note", "export:hold", "export:drain", "export:propose", "export:conclude", "export:drop"} {
		source, target, leader := parts(t, nodes)
		first := firstSlot(t, source)
		last := first + 100
		arm(t, source, point+" wait")
		askToMove(t, source, target, first, last, false)
		stopped := filepath.Join(source.Dir, "stopped-at")
		poll.Within(t, point+" is reached", time.Minute, func() bool { _, err := os.Stat(stopped); return err == nil })
		leader.Kill()
		if err := os.Remove(stopped); err != nil {
			t.Fatal(err)
		}
		poll.Within(t, point+": the migration ends without that leader", time.Minute, func() bool { return migrations(t, source)[0]["state"] == "success" })
		if err := leader.Start(); err != nil {
			t.Fatal(err)
		}
		settle(t, point, nodes, source, target, first, last)
	}
	verify(t, nodes, "still", keys)
}
