package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/tools/testnode"
	"github.com/cairndb/cairn/tools/wire"
)

const (
	movedSlots = 100
	// reshardPart is the part of the keys that redis-cli moves: it is slower by far, and as fast at any number.
	reshardPart = 10
)

// migrateSlots moves the slots 0 to 99 between two primaries, forth without and back with clients, and once by redis-cli between two
// redis-servers.
func migrateSlots(ctx context.Context, o options, binary string) error {
	nodes, err := pair(o, func(dir string) testnode.Options {
		return testnode.CairnOptions(binary, dir, append([]string{"--cluster-enabled", "yes"}, o.args...)...)
	}, "cairn")
	defer kill(nodes)
	if err != nil {
		return err
	}
	if err := awaitGroup(ctx, nodes[0]); err != nil {
		return err
	}
	tags := slotTags(movedSlots)
	if err := loadSlots(ctx, nodes[0], o, tags, o.keys); err != nil {
		return err
	}
	progress("moving %d slots with %d keys", movedSlots, o.keys)
	alone, err := moveAll(ctx, nodes[0], nodes[1])
	if err != nil {
		return err
	}
	quiet, err := controlTraffic(ctx, nodes, tags, o)
	if err != nil {
		return err
	}
	traffic := startTraffic(ctx, nodes, tags, o)
	progress("moving them back under %d clients", o.clients)
	busy, err := moveAll(ctx, nodes[1], nodes[0])
	pauses, ops, failed := traffic.end()
	if err != nil {
		return err
	}
	pause, err := nodes[1].Info("cluster")
	if err != nil {
		return err
	}
	redis, err := reshard(ctx, o, tags)
	if err != nil {
		return err
	}
	rate := func(n int, d time.Duration) float64 { return float64(n) / d.Seconds() }
	fmt.Printf("| %d slots, %d keys of %d bytes | keys/s |\n|---|---|\n", movedSlots, o.keys, o.valueSize)
	fmt.Printf("| CLUSTER MIGRATESLOTS | %.0f |\n", rate(o.keys, alone))
	fmt.Printf("| with %d clients (%.0f operations/s, %d failed) | %.0f |\n", o.clients, rate(ops, busy), failed, rate(o.keys, busy))
	fmt.Printf("| redis-cli --cluster reshard, %d keys | %.0f |\n", o.keys/reshardPart, redis)
	fmt.Printf("\nLongest wait of a client by slot: median %v, p99 %v, longest %v; in %v without a move: median %v, p99 %v. Commands were held back for %s µs.\n",
		percentile(pauses, 50), percentile(pauses, 99), percentile(pauses, 100), controlTime, percentile(quiet, 50), percentile(quiet, 99), pause["cluster_slot_migration_max_pause_usec"])
	return nil
}

// pair starts two nodes and divides the slots between them.
func pair(o options, describe func(dir string) testnode.Options, name string) (nodes []*testnode.Node, err error) {
	for i := range 2 {
		n, err := testnode.New(describe(filepath.Join(o.dir, fmt.Sprintf("%s%d", name, i))))
		if err != nil {
			return nodes, err
		}
		nodes = append(nodes, n)
		if err := n.Start(); err != nil {
			return nodes, err
		}
	}
	return nodes, testnode.FormCluster(nodes, time.Minute)
}

// awaitGroup waits until there is a group that grants slots.
func awaitGroup(ctx context.Context, n *testnode.Node) error {
	for ctx.Err() == nil {
		f, err := n.Info("cluster")
		if err != nil || f["cluster_group_leader"] != "" {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
	return ctx.Err()
}

func kill(nodes []*testnode.Node) {
	for _, n := range nodes {
		n.Kill()
	}
}

// slotTags finds a hash tag for each of the first n slots.
func slotTags(n int) []string {
	tags := make([]string, n)
	for found, i := 0, 0; found < n; i++ {
		tag := strconv.Itoa(i)
		if s := int(keys.Slot([]byte(tag))); s < n && tags[s] == "" {
			tags[s] = tag
			found++
		}
	}
	return tags
}

func slotKey(tags []string, i int) string {
	return "{" + tags[i%len(tags)] + "}:" + strconv.Itoa(i/len(tags))
}

func loadSlots(ctx context.Context, n *testnode.Node, o options, tags []string, total int) error {
	_, err := loader{node: n, clients: 4, window: 200, total: total, random: o.valueSize, command: func(i int, scratch []byte) []string {
		return []string{"SET", slotKey(tags, i), string(scratch)}
	}}.run(ctx)
	return err
}

// moveAll moves the slots and waits until they have moved.
func moveAll(ctx context.Context, from, to *testnode.Node) (time.Duration, error) {
	id, err := to.Do("CLUSTER", "MYID")
	if err != nil {
		return 0, err
	}
	conn, err := from.Dial()
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	began := time.Now()
	if _, err := conn.Must("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", "0", strconv.Itoa(movedSlots-1), "NODE", id.Text); err != nil {
		return 0, err
	}
	for ctx.Err() == nil {
		v, err := conn.Must("CLUSTER", "GETSLOTMIGRATIONS")
		if err != nil {
			return 0, err
		}
		words := v.Elems[0].Strings()
		switch state := words[slices.Index(words, "state")+1]; state {
		case "success":
			return time.Since(began), nil
		case "failed", "cancelled":
			return 0, fmt.Errorf("the migration has ended: %v", words)
		}
		time.Sleep(2 * time.Millisecond)
	}
	return 0, ctx.Err()
}

// traffic reads and writes keys of all slots.
type traffic struct {
	stop    context.CancelFunc
	wg      sync.WaitGroup
	ops     atomic.Int64
	failed  atomic.Int64
	mu      sync.Mutex
	longest []time.Duration // by slot
}

func startTraffic(ctx context.Context, nodes []*testnode.Node, tags []string, o options) *traffic {
	t := &traffic{longest: make([]time.Duration, len(tags))}
	ctx, t.stop = context.WithCancel(ctx)
	for range o.clients {
		t.wg.Go(func() { t.client(ctx, nodes, tags, o) })
	}
	return t
}

// controlTime is for how long the clients run without a move, for comparison; it also leaves the source time to drop what it gave away.
const controlTime = 5 * time.Second

func controlTraffic(ctx context.Context, nodes []*testnode.Node, tags []string, o options) ([]time.Duration, error) {
	progress("%d clients without a move", o.clients)
	t := startTraffic(ctx, nodes, tags, o)
	select {
	case <-time.After(controlTime):
	case <-ctx.Done():
	}
	waits, _, _ := t.end()
	return waits, ctx.Err()
}

func (t *traffic) client(ctx context.Context, nodes []*testnode.Node, tags []string, o options) {
	conns := make([]*wire.Conn, len(nodes))
	for i, n := range nodes {
		var err error
		if conns[i], err = n.Dial(); err != nil {
			t.failed.Add(1)
			return
		}
		defer conns[i].Close()
	}
	longest := make([]time.Duration, len(tags))
	value := strings.Repeat("x", o.valueSize)
	at := 1 // where the slots are at first
	for ctx.Err() == nil {
		i := rand.IntN(o.keys)
		command := []string{"GET", slotKey(tags, i)}
		if rand.IntN(2) == 0 {
			command = []string{"SET", slotKey(tags, i), value}
		}
		began := time.Now()
		v, err := conns[at].Do(command...)
		for try := 0; err == nil && strings.HasPrefix(v.Text, "MOVED ") && v.IsError() && try < 10; try++ {
			at = 1 - at
			v, err = conns[at].Do(command...)
		}
		if err != nil || v.IsError() || v.Text == "" {
			t.failed.Add(1)
		}
		if err != nil {
			return
		}
		t.ops.Add(1)
		slot := i % len(tags)
		longest[slot] = max(longest[slot], time.Since(began))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, d := range longest {
		t.longest[i] = max(t.longest[i], d)
	}
}

func (t *traffic) end() (pauses []time.Duration, ops int, failed int64) {
	t.stop()
	t.wg.Wait()
	slices.SortFunc(t.longest, func(a, b time.Duration) int { return cmp.Compare(a, b) })
	return t.longest, int(t.ops.Load()), t.failed.Load()
}

func percentile(sorted []time.Duration, p int) time.Duration {
	return sorted[min(len(sorted)-1, len(sorted)*p/100)].Round(10 * time.Microsecond)
}

// reshard has redis-cli move the same slots, with fewer keys, and returns its keys a second.
func reshard(ctx context.Context, o options, tags []string) (float64, error) {
	server, err1 := exec.LookPath("redis-server")
	cli, err2 := exec.LookPath("redis-cli")
	if err := errors.Join(err1, err2); err != nil {
		return 0, err
	}
	nodes, err := pair(o, func(dir string) testnode.Options {
		return testnode.RedisOptions(server, dir, "--cluster-enabled", "yes")
	}, "redis")
	defer kill(nodes)
	if err != nil {
		return 0, err
	}
	total := o.keys / reshardPart
	if err := loadSlots(ctx, nodes[0], o, tags, total); err != nil {
		return 0, err
	}
	var ids []string
	for _, n := range nodes {
		v, err := n.Do("CLUSTER", "MYID")
		if err != nil {
			return 0, err
		}
		ids = append(ids, v.Text)
	}
	progress("redis-cli --cluster reshard of %d keys", total)
	began := time.Now()
	cmd := exec.CommandContext(ctx, cli, "--cluster", "reshard", nodes[0].Addr(), "--cluster-from", ids[0], "--cluster-to", ids[1],
		"--cluster-slots", strconv.Itoa(movedSlots), "--cluster-yes")
	cmd.Stderr = os.Stderr
	if out, err := cmd.Output(); err != nil {
		return 0, fmt.Errorf("%w\n%s", err, out[max(0, len(out)-2000):])
	}
	return float64(total) / time.Since(began).Seconds(), nil
}
