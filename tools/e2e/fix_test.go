package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/tools/poll"
	"github.com/cairndb/cairn/tools/testnode"
)

// tagIn finds a hash tag of the slot.
func tagIn(slot uint16) string {
	for i := 0; ; i++ {
		if tag := "{" + strconv.Itoa(i) + "}"; keys.Slot([]byte(tag)) == slot {
			return tag
		}
	}
}

// fill writes count keys of a slot to its owner, and returns their names.
func fill(t *testing.T, owner *testnode.Node, slot uint16, count int) (names []string) {
	t.Helper()
	tag := tagIn(slot)
	for i := range count {
		names = append(names, fmt.Sprintf("%s:%d", tag, i))
		do(t, owner, "SET", names[i], "value of "+names[i])
	}
	return names
}

// migrateTo sends keys by MIGRATE.
func migrateTo(t *testing.T, from, to *testnode.Node, names []string) {
	t.Helper()
	args := append([]string{"MIGRATE", "127.0.0.1", strconv.Itoa(to.Port), "", "0", "5000", "KEYS"}, names...)
	if got := do(t, from, args...); got != "OK" {
		t.Fatalf("MIGRATE: %s", got)
	}
}

// TestFix breaks a cluster in every way that redis-cli --cluster fix knows, and lets it repair.
func TestFix(t *testing.T) {
	t.Parallel()
	nodes := testnode.StartCluster(t, 3, "--cluster-node-timeout", "5000") // slots that are taken from their owner stay free for so long
	a, b, c := nodes[0], nodes[1], nodes[2]
	ids := []string{idOf(t, a), idOf(t, b), idOf(t, c)}
	const count = 60
	states := []struct {
		name string
		slot uint16 // of a
		make func(slot string, names []string)
		says string
	}{
		{"migrating only", 10, func(slot string, _ []string) {
			do(t, a, "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
		}, "Fixing open slot 10"},
		{"importing only", 11, func(slot string, _ []string) {
			do(t, b, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
		}, "Fixing open slot 11"},
		{"half moved", 12, func(slot string, names []string) {
			do(t, b, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
			do(t, a, "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
			migrateTo(t, a, b, names[:count/2])
		}, "Fixing open slot 12"},
		{"half moved, and the source has forgotten", 13, func(slot string, names []string) {
			do(t, b, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
			do(t, a, "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
			migrateTo(t, a, b, names[:count/2])
			do(t, a, "CLUSTER", "SETSLOT", slot, "STABLE")
		}, "Moving all the"},
		{"all moved, and the end is missing", 14, func(slot string, names []string) {
			do(t, b, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
			do(t, a, "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
			migrateTo(t, a, b, names)
		}, "Fixing open slot 14"},
		{"nobody's", 15, func(slot string, _ []string) {
			do(t, a, "CLUSTER", "DELSLOTS", slot)
			for _, n := range nodes {
				poll.Succeeds(t, 10*time.Second, func() error {
					if info := do(t, n, "CLUSTER", "INFO"); !strings.Contains(info, "cluster_slots_assigned:16383") {
						return fmt.Errorf("%s", info)
					}
					return nil
				})
			}
		}, "Fixing slots coverage"},
		{"keys on several nodes", 16, func(slot string, names []string) {
			do(t, b, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
			do(t, a, "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
			migrateTo(t, a, b, names[:count/2])
			do(t, a, "CLUSTER", "SETSLOT", slot, "STABLE")
			do(t, b, "CLUSTER", "SETSLOT", slot, "STABLE")
			out, _ := tryManage(t, "check", a.Addr(), "--cluster-search-multiple-owners")
			wants(t, "check --cluster-search-multiple-owners", out, "[WARNING] Slot 16 has 2 owners")
		}, "Fixing multiple owners"},
	}
	for _, s := range states {
		names := fill(t, a, s.slot, count)
		s.make(strconv.Itoa(int(s.slot)), names)
		out, err := tryManage(t, "fix", c.Addr(), "--cluster-search-multiple-owners")
		if err != nil || !strings.Contains(out, s.says) {
			t.Errorf("%s: fix: %v\n%s", s.name, err, out)
		}
		if err := testnode.WaitClusterOK(nodes, 20*time.Second); err != nil {
			t.Fatal(err)
		}
		checked(t, nodes, "--cluster-search-multiple-owners")
		for _, name := range names {
			if got := strings.TrimSpace(cli(t, c, "", "-c", "GET", name)); got != "value of "+name {
				t.Errorf("%s: %s is %q", s.name, name, got)
			}
		}
	}
}

// TestImport moves the keys of a redis-server into a cluster.
func TestImport(t *testing.T) {
	t.Parallel()
	source, nodes := testnode.StartRedis(t), testnode.StartCluster(t, 3)
	const count = 500
	write := func(value string) {
		for i := range count {
			do(t, source, "SET", fmt.Sprintf("key:%d", i), fmt.Sprintf("%s %d", value, i))
		}
	}
	write("old")
	do(t, source, "PEXPIRE", "key:1", "1000000")
	from := []string{"import", nodes[0].Addr(), "--cluster-from", source.Addr()}
	manage(t, append(from, "--cluster-copy")...)
	if got := keysOf(t, source); got != count {
		t.Errorf("after a copy the source has %d keys", got)
	}
	if got := strings.TrimSpace(cli(t, nodes[0], "", "-c", "PTTL", "key:1")); len(got) != 6 {
		t.Errorf("the copy has a life of %s ms", got)
	}
	write("value")
	wants(t, "import over what is there", manage(t, append(from, "--cluster-replace")...), "Migrating key:1 to")
	if got := keysOf(t, source); got != 0 {
		t.Errorf("after a move the source has %d keys", got)
	}
	verify(t, nodes, "key", count)
}

// TestKilledReshard kills each kind of node in the middle of a reshard; when it is back, fix completes the move.
func TestKilledReshard(t *testing.T) {
	t.Parallel()
	nodes := testnode.StartCluster(t, 3, "--cluster-node-timeout", "2000")
	const count = 20_000
	load(t, nodes, "key", count)
	clients := startWriters(t, nodes, 4, true)
	source, target := nodes[0], nodes[1]
	for _, victim := range nodes {
		began := keysOf(t, source)
		done := make(chan string, 1)
		go func() {
			out, _ := tryManage(t, "reshard", nodes[0].Addr(), "--cluster-from", idOf(t, source), "--cluster-to", idOf(t, target), "--cluster-slots", "1500", "--cluster-yes", "--cluster-pipeline", "1")
			done <- out
		}()
		poll.Succeeds(t, time.Minute, func() error {
			if left := keysOf(t, source); left > began-50 {
				return fmt.Errorf("only %d keys moved", began-left)
			}
			return nil
		})
		victim.Kill()
		if victim == nodes[2] { // takes no part: the move fails as soon as it is asked for
			if err := victim.Start(); err != nil {
				t.Fatal(err)
			}
		}
		out := <-done
		if !victim.Running() {
			if err := victim.Start(); err != nil {
				t.Fatal(err)
			}
		}
		if err := testnode.WaitClusterOK(nodes, 30*time.Second); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		// A node that has just come back still learns who owns what: until then fix says that nodes don't agree.
		poll.Succeeds(t, 30*time.Second, func() error {
			fixed, err := tryManage(t, "fix", nodes[2].Addr())
			if out += fixed; err != nil {
				return fmt.Errorf("fix: %w\n%s", err, fixed)
			}
			return nil
		})
		checked(t, nodes, "--cluster-search-multiple-owners")
		t.Logf("%s", firstLines(out, "open slot"))
	}
	written, failed := clients.end()
	t.Logf("%d writes, %d failed", written, len(failed))
	verify(t, nodes, "key", count)
}

// firstLines are the lines that contain a text.
func firstLines(out, text string) string {
	var found []string
	for line := range strings.Lines(out) {
		if strings.Contains(line, text) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return strings.Join(found, "; ")
}
