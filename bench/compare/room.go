package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/cairndb/cairn/tools/testnode"
	"github.com/cairndb/cairn/tools/wire"
)

// roomCase fills a node and removes what it has written: how long clients wait meanwhile, and how soon the disk has the room back.
type roomCase struct {
	name, title string
	fill        func(elements int) loader
	// remove builds the i-th of count removing commands.
	remove func(i, elements int) []string
	count  func(elements int) int
}

const (
	// manyEach is the elements of each of many collections, about 1 MB of them.
	manyEach = 10_000
	// popped is how many elements one command pops.
	popped = 100
	// storeFolder is where a node has its store, beside its log.
	storeFolder = "store"
	// roomLimit is how long the disk may take to have the room back.
	roomLimit = 3 * time.Minute
)

func one(int) int                   { return 1 }
func batchesOf(n int) func(int) int { return func(elements int) int { return (elements + n - 1) / n } }

// filler loads elements by commands of loadedAtOnce.
func filler(elements, perKey int, verb string, add func(i int) []string) loader {
	return loader{clients: 1, window: 10, total: (elements + loadedAtOnce - 1) / loadedAtOnce, command: func(at int, _ []byte) []string {
		from := at * loadedAtOnce
		args := []string{verb, fmt.Sprintf("c:%d", from/perKey)}
		for i := from; i < min(from+loadedAtOnce, elements); i++ {
			args = append(args, add(i)...)
		}
		return args
	}}
}

func member(i int) []string { return []string{element(i)} }
func scored(i int) []string { return []string{fmt.Sprint(i), element(i)} }
func field(i int) []string  { return []string{element(i), "value"} }

func popper(verb string) func(i, elements int) []string {
	return func(int, int) []string { return words("%s c:0 %d", verb, popped) }
}

var roomCases = []roomCase{
	{"many", "DEL of collections of 10,000 elements", func(n int) loader { return filler(n, manyEach, "HSET", field) },
		func(i, _ int) []string { return words("DEL c:%d", i) }, batchesOf(manyEach)},
	{"flushall", "FLUSHALL of collections of 10,000 elements", func(n int) loader { return filler(n, manyEach, "HSET", field) },
		func(int, int) []string { return []string{"FLUSHALL"} }, one},
	{"lpop", "LPOP of all elements, 100 at a time", func(n int) loader { return filler(n, n, "RPUSH", member) }, popper("LPOP"), batchesOf(popped)},
	{"zpopmin", "ZPOPMIN of all elements, 100 at a time", func(n int) loader { return filler(n, n, "ZADD", scored) }, popper("ZPOPMIN"), batchesOf(popped)},
	{"spop", "SPOP of all elements, 100 at a time", func(n int) loader { return filler(n, n, "SADD", member) }, popper("SPOP"), batchesOf(popped)},
	{"xtrim", "XTRIM of all elements, 100 at a time", func(n int) loader {
		return loader{clients: 1, window: 1000, total: n, command: func(i int, _ []byte) []string { return words("XADD c:0 %d-1 field %s", i+1, element(i)) }}
	}, func(i, _ int) []string { return words("XTRIM c:0 MINID %d", (i+1)*popped+1) }, batchesOf(popped)},
}

func (r *roomCase) measure(ctx context.Context, o options, n *testnode.Node) error {
	progress("%s: %d elements", r.title, o.records)
	l := r.fill(o.records)
	l.node = n
	if _, err := l.run(ctx); err != nil {
		return err
	}
	other := options{records: 1000, recordSize: 100}
	if _, err := records(n, other.records, other.recordSize).run(ctx); err != nil {
		return err
	}
	if err := pause(ctx, 15*time.Second); err != nil { // compactions come to rest
		return err
	}
	c, err := n.Dial()
	if err != nil {
		return err
	}
	defer c.Close()
	stored := diskUsage(filepath.Join(n.Dir, storeFolder))
	fmt.Printf("\n%s, %d elements, %s\n\n| | |\n|---|---|\n| in the store | %.1f bytes an element |\n", r.title, o.records, time.Now().Format("2006-01-02"), float64(stored)/float64(o.records))
	var took []time.Duration
	waits, err := probed(ctx, n, other, func() error {
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
		if took, err = r.removeAll(ctx, c, o.records); err != nil {
			return err
		}
		return pause(ctx, 2*time.Second)
	})
	if err != nil && r.name != "flushall" { // the probe's records are gone, too
		return err
	}
	r.printTimes(took)
	if err == nil {
		fmt.Printf("| longest wait of another client, p99 | %v, %v |\n", percentile(waits, 100), percentile(waits, 99))
	}
	if err := awaitRoom(ctx, n, stored, o.records); err != nil {
		return err
	}
	return printMemory(n)
}

// awaitRoom waits until the store's files take no more than a twentieth of what they did.
func awaitRoom(ctx context.Context, n *testnode.Node, stored int64, elements int) error {
	store := filepath.Join(n.Dir, storeFolder)
	began := time.Now()
	for diskUsage(store) > stored/20 && time.Since(began) < roomLimit {
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
	fmt.Printf("| in the store %v later | %.1f bytes an element |\n", time.Since(began).Round(time.Second), float64(diskUsage(store))/float64(elements))
	return nil
}

// printMemory shows the greatest memory of the process beside what its configuration adds up to.
func printMemory(n *testnode.Node) error {
	u, err := n.Usage()
	if err != nil {
		return err
	}
	info, err := n.Info("engine")
	if err != nil {
		return err
	}
	limit, err := strconv.ParseInt(info["engine_memory_budget"], 10, 64)
	fmt.Printf("| peak RSS (what is configured) | %d (%d) MiB |\n", u.PeakRSS>>20, limit>>20)
	return err
}

func (r *roomCase) removeAll(ctx context.Context, c *wire.Conn, elements int) (took []time.Duration, err error) {
	for i := range r.count(elements) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		began := time.Now()
		if _, err := c.Must(r.remove(i, elements)...); err != nil {
			return nil, err
		}
		took = append(took, time.Since(began))
	}
	return took, nil
}

// printTimes shows what the commands took: of many the first tenth beside the last.
func (r *roomCase) printTimes(took []time.Duration) {
	tenth := len(took) / 10
	if tenth == 0 {
		fmt.Printf("| command | %v |\n", took[0].Round(time.Microsecond))
		return
	}
	median := func(part []time.Duration) time.Duration {
		part = slices.Clone(part)
		slices.Sort(part)
		return percentile(part, 50)
	}
	fmt.Printf("| command, p50 of the first tenth / the last; longest | %v / %v; %v |\n", median(took[:tenth]), median(took[len(took)-tenth:]), slices.Max(took).Round(time.Microsecond))
}
