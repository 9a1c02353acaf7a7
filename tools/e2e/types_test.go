package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cairndb/cairn/tools/poll"
	"github.com/cairndb/cairn/tools/testnode"
	"github.com/cairndb/cairn/tools/wire"
)

// everyType writes collections of each type, small and large, half of them with an expiry, and returns their digests.
func everyType(t *testing.T, n *testnode.Node) map[string]string {
	t.Helper()
	conn, err := n.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	must := func(args ...string) wire.Value {
		t.Helper()
		v, err := conn.Must(args...)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	digests := make(map[string]string)
	for _, size := range []int{3, 700} {
		names := make(map[string][]string)
		for i := range size {
			e := fmt.Sprintf("element %d", i)
			for name, more := range map[string][]string{
				"list": {"RPUSH", e}, "hash": {"HSET", e, strconv.Itoa(i)}, "set": {"SADD", e}, "ints": {"SADD", strconv.Itoa(i)}, "zset": {"ZADD", strconv.Itoa(i / 3), e},
				"stream": {"XADD", "1-*", "f", e}, "sketch": {"PFADD", e}, "places": {"GEOADD", strconv.Itoa(i % 180), "45", e},
			} {
				names[name] = slices.Concat(more[:1], []string{fmt.Sprintf("%s:%d", name, size)}, more[1:])
				must(names[name]...)
			}
		}
		must("XGROUP", "CREATE", fmt.Sprintf("stream:%d", size), "g", "0")
		must("XREADGROUP", "GROUP", "g", "c", "COUNT", "2", "STREAMS", fmt.Sprintf("stream:%d", size), ">")
		for _, command := range names {
			if size > 3 {
				must("EXPIRE", command[1], "100000")
			}
			digests[command[1]] = must("DEBUG", "DIGEST-VALUE", command[1]).String()
		}
	}
	return digests
}

// wantTypes compares what the nodes have, and their counts, with the digests.
func wantTypes(t *testing.T, when string, nodes []*testnode.Node, want map[string]string) {
	t.Helper()
	poll.Succeeds(t, 30*time.Second, func() error {
		keys, expires := 0, 0
		got := make(map[string]string)
		for _, n := range nodes {
			names, err := n.Do("KEYS", "*")
			if err != nil {
				return err
			}
			for _, name := range names.Strings() {
				v, err := n.Do("DEBUG", "DIGEST-VALUE", name)
				if err != nil {
					return err
				}
				got[name] = v.String()
			}
			size, err := n.Do("DBSIZE")
			if err != nil {
				return err
			}
			f, err := n.Info("keyspace")
			if err != nil {
				return err
			}
			keys += int(size.Int())
			if _, rest, found := strings.Cut(f["db0"], "expires="); found {
				number, _, _ := strings.Cut(rest, ",")
				some, _ := strconv.Atoi(number)
				expires += some
			}
		}
		if keys != len(want) || expires != len(want)/2 || len(got) != len(want) {
			return fmt.Errorf("%s: %d keys, %d of them with an expiry, %d found; want %d", when, keys, expires, len(got), len(want))
		}
		for name, digest := range want {
			if got[name] != digest {
				return fmt.Errorf("%s: %s has the digest %s, want %s", when, name, got[name], digest)
			}
		}
		return nil
	})
}

// TestEveryTypeMoves brings values of all types from a redis-server into a cluster, and moves them between its nodes by both protocols.
func TestEveryTypeMoves(t *testing.T) {
	t.Parallel()
	source, nodes := testnode.StartRedis(t), testnode.StartCluster(t, 2, "--enable-debug-command", "yes")
	want := everyType(t, source)
	manage(t, "import", nodes[0].Addr(), "--cluster-from", source.Addr())
	wantTypes(t, "after the import", nodes, want)

	moveSlots(t, nodes[0], nodes[1], 0, 8191)
	wantTypes(t, "after MIGRATESLOTS", nodes, want)
	for name := range want {
		slot := do(t, nodes[1], "CLUSTER", "KEYSLOT", name)
		keyByKey(t, slot, nodes[1], nodes[0])
	}
	wantTypes(t, "after SETSLOT and MIGRATE", nodes, want)
	if n := keysOf(t, nodes[1]); n != 0 {
		t.Errorf("the source still has %d keys", n)
	}
}

// keyByKey moves a slot as redis-cli does.
func keyByKey(t *testing.T, slot string, from, to *testnode.Node) {
	t.Helper()
	text := do(t, to, "CLUSTER", "NODES")
	if n, _ := strconv.Atoi(slot); slotOwner(text, n) == idOf(t, to) {
		return
	}
	do(t, to, "CLUSTER", "SETSLOT", slot, "IMPORTING", idOf(t, from))
	do(t, from, "CLUSTER", "SETSLOT", slot, "MIGRATING", idOf(t, to))
	v, err := from.Do("CLUSTER", "GETKEYSINSLOT", slot, "100")
	if err != nil {
		t.Fatal(err)
	}
	if names := v.Strings(); len(names) > 0 {
		do(t, from, append([]string{"MIGRATE", to.Host(), strconv.Itoa(to.Port), "", "0", "10000", "KEYS"}, names...)...)
	}
	do(t, to, "CLUSTER", "SETSLOT", slot, "NODE", idOf(t, to))
	do(t, from, "CLUSTER", "SETSLOT", slot, "NODE", idOf(t, to))
}
