package e2e

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cairndb/cairn/tools/poll"
	"github.com/cairndb/cairn/tools/testnode"
)

// bigMegabytes is how large the value or the collection is; an environment variable sets another size, up to most.
func bigMegabytes(t *testing.T, variable string, usual, most int) int {
	env := os.Getenv(variable)
	if env == "" {
		return usual
	}
	n, err := strconv.Atoi(env)
	if err != nil || n < 2 || n > most {
		t.Fatalf("%s=%q", variable, env)
	}
	return n
}

// bigValue is a value that one client writes, and what it must be.
type bigValue struct {
	t       *testing.T
	db      *redis.ClusterClient
	key     string
	want    []byte
	most    int
	slowest time.Duration
	writes  int
}

// grow makes it n bytes long.
func (v *bigValue) grow(n int) {
	v.t.Helper()
	piece := make([]byte, 1<<20)
	for len(v.want) < n {
		for i := range piece {
			piece[i] = byte(rand.Uint32())
		}
		v.do(func(ctx context.Context) error { return v.db.Append(ctx, v.key, string(piece)).Err() })
		v.want = append(v.want, piece...)
	}
}

// change overwrites some of it, or makes it longer.
func (v *bigValue) change() {
	piece := bytes.Repeat([]byte{byte(rand.Uint32())}, 1+rand.IntN(100_000))
	if len(v.want)+len(piece) < v.most && rand.IntN(4) == 0 {
		v.do(func(ctx context.Context) error { return v.db.Append(ctx, v.key, string(piece)).Err() })
		v.want = append(v.want, piece...)
		return
	}
	at := rand.IntN(len(v.want) - len(piece))
	v.do(func(ctx context.Context) error { return v.db.SetRange(ctx, v.key, int64(at), string(piece)).Err() })
	copy(v.want[at:], piece)
}

// replace makes it another one, in one piece.
func (v *bigValue) replace(n int) {
	piece := bytes.Repeat([]byte{byte(rand.Uint32())}, n)
	v.do(func(ctx context.Context) error { return v.db.Set(ctx, v.key, string(piece), 0).Err() })
	v.want = piece
}

// during writes to it while something is done.
func (v *bigValue) during(pause time.Duration, write func(), fn func()) {
	v.t.Helper()
	stop, end := context.WithCancel(v.t.Context())
	var done sync.WaitGroup
	defer done.Wait()
	defer end()
	v.slowest, v.writes = 0, 0
	done.Go(func() {
		pace := time.NewTicker(pause)
		defer pace.Stop()
		for stop.Err() == nil && !v.t.Failed() {
			<-pace.C
			write()
		}
	})
	fn()
}

func (v *bigValue) do(write func(context.Context) error) {
	v.t.Helper()
	began := time.Now()
	if err := write(context.Background()); err != nil {
		v.t.Error(err)
	}
	v.slowest = max(v.slowest, time.Since(began))
	v.writes++
}

// check reads it from a node, which serves it itself.
func (v *bigValue) check(n *testnode.Node, from ...string) {
	v.t.Helper()
	conn, err := n.Dial()
	if err != nil {
		v.t.Fatal(err)
	}
	defer conn.Close()
	if len(from) > 0 {
		if _, err := conn.Must(from...); err != nil {
			v.t.Fatal(err)
		}
	}
	if got, err := conn.Must("STRLEN", v.key); err != nil || got.Int() != int64(len(v.want)) {
		v.t.Fatalf("port %d: it has %d bytes, %v; want %d", n.Port, got.Int(), err, len(v.want))
	}
	const step = 4 << 20
	for at := 0; at < len(v.want); at += step {
		end := min(at+step, len(v.want))
		got, err := conn.Must("GETRANGE", v.key, strconv.Itoa(at), strconv.Itoa(end-1))
		if err != nil || got.Text != string(v.want[at:end]) {
			v.t.Fatalf("port %d: bytes %d to %d differ, %v", n.Port, at, end, err)
		}
	}
}

// startBigMove starts two primaries, the second one with a replica, with small caches.
func startBigMove(t *testing.T) (nodes []*testnode.Node, replica *testnode.Node) {
	t.Helper()
	args := []string{"--block-cache-size", "8mb", "--record-cache-size", "8mb", "--memtable-size", "4mb", "--memtable-count", "4", "--loglevel", "verbose"}
	nodes = testnode.StartCluster(t, 2, args...)
	replica = testnode.StartClusterNodes(t, 1, args...)[0]
	do(t, replica, "CLUSTER", "MEET", nodes[1].Host(), strconv.Itoa(nodes[1].Port))
	poll.Succeeds(t, time.Minute, func() error {
		v, err := replica.Do("CLUSTER", "REPLICATE", idOf(t, nodes[1]))
		if err != nil {
			return err
		}
		return v.Err()
	})
	poll.Within(t, "the replica is up", time.Minute, func() bool {
		f, err := replica.Info("replication")
		return err == nil && f["master_link_status"] == "up"
	})
	return nodes, replica
}

// wantBounded reports the memory of source, target and replica, and fails if one of them has grown by much.
func wantBounded(t *testing.T, before, after []testnode.Usage) {
	t.Helper()
	for i, name := range []string{"source", "target", "replica"} {
		t.Logf("%s: %d MiB of memory before, at most %d MiB since", name, before[i].RSS>>20, after[i].PeakRSS>>20)
		if grown := after[i].PeakRSS - before[i].RSS; grown > 256<<20 {
			t.Errorf("the %s has grown by %d MiB", name, grown>>20)
		}
	}
}

func awaitReplicaOf(t *testing.T, primary, replica *testnode.Node) {
	t.Helper()
	poll.Within(t, "the replica has all", time.Minute, func() bool {
		a, err1 := primary.Info("replication")
		b, err2 := replica.Info("replication")
		return err1 == nil && err2 == nil && a["master_repl_offset"] == b["slave_repl_offset"]
	})
}

// The slot of one large value, which is written to and grows meanwhile, moves to a shard with a replica: the writes go on, and neither process
// needs memory for all of the value at once.
func TestSlotOfABigValueMoves(t *testing.T) {
	t.Parallel()
	nodes, replica := startBigMove(t)
	size := bigMegabytes(t, "CAIRN_BIG_VALUE_MB", 64, 512) << 20
	v := &bigValue{t: t, db: redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{nodes[0].Addr()}, ReadTimeout: 30 * time.Second}), key: tagIn(7), most: 512 << 20}
	defer v.db.Close()
	v.grow(size * 3 / 4)

	before := usages(t, nodes[0], nodes[1], replica)
	v.during(5*time.Millisecond, v.change, func() { moveSlots(t, nodes[0], nodes[1], 7, 7) })
	after := usages(t, nodes[0], nodes[1], replica)
	v.report(nodes[0], len(v.want))
	wantBounded(t, before, after)
	v.check(nodes[1])
	awaitReplicaOf(t, nodes[1], replica)
	v.check(replica, "READONLY")
	poll.Within(t, "the source drops it", time.Minute, func() bool { return keysOf(t, nodes[0]) == 0 })

	// Back, while all of it is written again and again: each time it is one record of the log.
	v.during(200*time.Millisecond, func() { v.replace(4 << 20) }, func() { moveSlots(t, nodes[1], nodes[0], 7, 7) })
	v.report(nodes[1], len(v.want))
	v.check(nodes[0])
}

// report shows the pauses of a source, and checks that commands were not kept until it lost its patience.
func (v *bigValue) report(source *testnode.Node, size int) {
	v.t.Helper()
	pause, _ := strconv.Atoi(infoField(v.t, source, "cluster_slot_migration_max_pause_usec"))
	v.t.Logf("%d MiB, longest pause %d µs, %d writes meanwhile, the slowest %v", size>>20, pause, v.writes, v.slowest.Round(time.Millisecond))
	for line := range strings.Lines(source.Log()) {
		if strings.Contains(line, "slot migration: ") {
			v.t.Log(strings.TrimSpace(line))
		}
	}
	if pause > 3_000_000 {
		v.t.Errorf("commands have waited for %d µs", pause)
	}
}

// usages counts the peaks of memory anew.
func usages(t *testing.T, nodes ...*testnode.Node) (all []testnode.Usage) {
	t.Helper()
	for _, n := range nodes {
		u, err := n.Usage()
		if err != nil {
			t.Fatal(err)
		}
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", n.PID()), []byte("5"), 0)
		all = append(all, u)
	}
	return all
}
