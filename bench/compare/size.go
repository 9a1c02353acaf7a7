package main

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cairndb/cairn/tools/testnode"
	"github.com/cairndb/cairn/tools/wire"
)

const (
	// smallSize is the collection that a large one is held against, of elements too long to be packed.
	smallSize = 1000
	// elementBytes are appended to an element's number.
	elementBytes = 80
	loadedAtOnce = 100
	timedOps     = 2000
	// deleteBar is the longest that DEL may take, sizeBar how many times as long an operation on the large collection may take.
	deleteBar = 2 * time.Millisecond
	sizeBar   = 2.0
)

// sized is a type of collection. Each function builds a command for the elements with these numbers, in a collection of n.
type sized struct {
	name string
	add  func(key string, i int) []string // the arguments that add element i
	verb []string                         // before key and arguments
	ops  []sizedOp
}

type sizedOp struct {
	name string
	// deep operations have no bar against the small collection: they are what costs more than one look-up.
	deep    bool
	command func(key string, i, n int) []string
}

// noise is text that does not compress, but for what letters waste.
var noise = func() string {
	rng := rand.New(rand.NewPCG(1, 1))
	b := make([]byte, 1<<20)
	for i := range b {
		b[i] = byte('!' + rng.IntN(64))
	}
	return string(b)
}()

func element(i int) string {
	at := i * 7919 % (len(noise) - elementBytes)
	return fmt.Sprintf("%010d", i) + noise[at:at+elementBytes]
}

func words(format string, args ...any) []string {
	return strings.Fields(fmt.Sprintf(format, args...))
}

var sizedTypes = []sized{
	{name: "hash", verb: []string{"HSET"}, add: func(_ string, i int) []string { return []string{element(i), "value"} }, ops: []sizedOp{
		{"HGET", false, func(key string, i, _ int) []string { return []string{"HGET", key, element(i)} }},
		{"HSET", false, func(key string, i, _ int) []string { return []string{"HSET", key, element(i), "other"} }},
		{"HRANDFIELD", false, func(key string, _, _ int) []string { return []string{"HRANDFIELD", key} }},
		{"HSCAN", true, func(key string, _, _ int) []string { return []string{"HSCAN", key, "0", "COUNT", "100"} }},
	}},
	{name: "set", verb: []string{"SADD"}, add: func(_ string, i int) []string { return []string{element(i)} }, ops: []sizedOp{
		{"SISMEMBER", false, func(key string, i, _ int) []string { return []string{"SISMEMBER", key, element(i)} }},
		{"SADD", false, func(key string, i, _ int) []string { return []string{"SADD", key, element(i) + "new"} }},
		{"SRANDMEMBER", false, func(key string, _, _ int) []string { return []string{"SRANDMEMBER", key} }},
		{"SPOP", false, func(key string, _, _ int) []string { return []string{"SPOP", key} }},
	}},
	{name: "zset", verb: []string{"ZADD"}, add: func(_ string, i int) []string { return []string{fmt.Sprint(i), element(i)} }, ops: []sizedOp{
		{"ZSCORE", false, func(key string, i, _ int) []string { return []string{"ZSCORE", key, element(i)} }},
		{"ZADD", false, func(key string, i, _ int) []string {
			return []string{"ZADD", key, fmt.Sprint(i, ".5"), element(i) + "new"}
		}},
		{"ZRANK", true, func(key string, i, _ int) []string { return []string{"ZRANK", key, element(i)} }},
		{"ZRANGE at depth", true, func(key string, i, _ int) []string { return words("ZRANGE %s %d %d", key, i, i+9) }},
		{"ZRANGEBYSCORE LIMIT at depth", true, func(key string, _, n int) []string { return words("ZRANGEBYSCORE %s -inf +inf LIMIT %d 10", key, n/2) }},
		{"ZPOPMIN", false, func(key string, _, _ int) []string { return []string{"ZPOPMIN", key} }},
	}},
	{name: "list", verb: []string{"RPUSH"}, add: func(_ string, i int) []string { return []string{element(i)} }, ops: []sizedOp{
		{"LINDEX", false, func(key string, i, _ int) []string { return words("LINDEX %s %d", key, i) }},
		{"LINDEX in the middle", false, func(key string, _, n int) []string { return words("LINDEX %s %d", key, n/2) }},
		{"LSET", false, func(key string, i, _ int) []string { return []string{"LSET", key, fmt.Sprint(i), element(i)} }},
		{"LRANGE of 100 in the middle", true, func(key string, _, n int) []string { return words("LRANGE %s %d %d", key, n/2, n/2+99) }},
		{"LPUSH", false, func(key string, i, _ int) []string { return []string{"LPUSH", key, element(i)} }},
		{"LPOP", false, func(key string, _, _ int) []string { return []string{"LPOP", key} }},
	}},
	{name: "stream", verb: []string{"XADD"}, add: func(_ string, i int) []string { return []string{fmt.Sprintf("%d-1", i+1), "field", element(i)} }, ops: []sizedOp{
		{"XRANGE of one", false, func(key string, i, _ int) []string { return words("XRANGE %s %d-1 %d-1", key, i+1, i+1) }},
		{"XADD", false, func(key string, i, _ int) []string { return []string{"XADD", key, "*", "field", element(i)} }},
		{"XREAD of 100 in the middle", true, func(key string, _, n int) []string { return words("XREAD COUNT 100 STREAMS %s %d-1", key, n/2) }},
	}},
}

// sizes loads one collection of each type with so many elements, and prints what it and its commands cost.
func sizes(ctx context.Context, o options, binary string) error {
	o.records = cmp.Or(o.records, 10_000_000)
	if err := checkRoom(o.dir, int64(o.records)*int64(4*elementBytes)); err != nil {
		return err
	}
	names := strings.Split(cmp.Or(o.tests, "hash,set,zset,list,stream,many,flushall,lpop,zpopmin,spop,xtrim"), ",")
	for _, t := range sizedTypes {
		if slices.Contains(names, t.name) {
			if err := o.onNode(ctx, binary, t.name, t.measure); err != nil {
				return err
			}
		}
	}
	for _, r := range roomCases {
		if slices.Contains(names, r.name) {
			if err := o.onNode(ctx, binary, r.name, r.measure); err != nil {
				return err
			}
		}
	}
	return nil
}

// onNode measures on a node of its own, whose data are removed afterwards.
func (o options) onNode(ctx context.Context, binary, name string, measure func(context.Context, options, *testnode.Node) error) error {
	n, err := o.cairn(binary, name, nil, "--block-cache-size", o.blockCache)
	if err != nil {
		return err
	}
	if err = n.Start(); err == nil {
		err = measure(ctx, o, n)
	}
	n.Kill()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return os.RemoveAll(n.Dir)
}

func (t *sized) measure(ctx context.Context, o options, n *testnode.Node) error {
	progress("a %s of %d elements", t.name, o.records)
	if _, err := t.load(ctx, n, "small", smallSize); err != nil {
		return err
	}
	loaded, err := t.load(ctx, n, "large", o.records)
	if err != nil {
		return err
	}
	stored := diskUsage(filepath.Join(n.Dir, storeFolder))
	fmt.Printf("\nA %s of %d elements of %d bytes, %s\n\n| | |\n|---|---|\n", t.name, o.records, len(element(0)), time.Now().Format("2006-01-02"))
	fmt.Printf("| load | %.1f s, %.0f elements/s, longest time without a reply %v |\n", loaded.elapsed.Seconds(), loaded.rate(o.records), loaded.stall.Round(time.Millisecond))
	fmt.Printf("| in the store; with the log | %.1f; %.1f bytes an element |\n", float64(stored)/float64(o.records), float64(diskUsage(n.Dir))/float64(o.records))
	c, err := n.Dial()
	if err != nil {
		return err
	}
	defer c.Close()
	for _, op := range t.ops {
		if err := op.measure(c, o.records); err != nil {
			return err
		}
	}
	if err := t.remove(ctx, o, n, c, stored); err != nil {
		return err
	}
	return printMemory(n)
}

// load adds n elements, in commands of many, but for streams in commands of one.
func (t *sized) load(ctx context.Context, n *testnode.Node, key string, elements int) (loadResult, error) {
	each := loadedAtOnce
	if t.name == "stream" {
		each = 1
	}
	l := loader{node: n, clients: 1, window: 1000 / each, total: (elements + each - 1) / each, command: func(at int, _ []byte) []string {
		args := append(slices.Clone(t.verb), key)
		for i := at * each; i < min((at+1)*each, elements); i++ {
			args = append(args, t.add(key, i)...)
		}
		return args
	}}
	return l.run(ctx)
}

// measure times an operation on the small and on the large collection, in turn.
func (op *sizedOp) measure(c *wire.Conn, elements int) error {
	keys, n := [...]string{"small", "large"}, [...]int{smallSize / 2, elements} // pops leave half of the small one
	var times [2][]time.Duration
	for range timedOps {
		for side, key := range keys {
			args := op.command(key, rand.IntN(n[side]/2), n[side])
			began := time.Now()
			if _, err := c.Must(args...); err != nil {
				return fmt.Errorf("%s: %w", op.name, err)
			}
			times[side] = append(times[side], time.Since(began))
		}
	}
	slices.Sort(times[0])
	slices.Sort(times[1])
	small, large := times[0][len(times[0])/2], times[1][len(times[1])/2]
	ratio, verdict := float64(large)/float64(small), ""
	if !op.deep {
		verdict = fmt.Sprintf(" (≤ %.1f): ok", sizeBar)
		if ratio > sizeBar {
			verdict = fmt.Sprintf(" (≤ %.1f): above", sizeBar)
		}
	}
	fmt.Printf("| %s, small / large, p50 (p99) | %v (%v) / %v (%v), ratio %.2f%s |\n", op.name,
		small.Round(time.Microsecond), percentile(times[0], 99), large.Round(time.Microsecond), percentile(times[1], 99), ratio, verdict)
	return nil
}

// remove deletes the collection while another connection is served, and waits until the disk has its space back.
func (t *sized) remove(ctx context.Context, o options, n *testnode.Node, c *wire.Conn, stored int64) error {
	other := options{records: 1000, recordSize: 100}
	if _, err := records(n, other.records, other.recordSize).run(ctx); err != nil {
		return err
	}
	var took time.Duration
	waits, err := probed(ctx, n, other, func() error {
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
		began := time.Now()
		_, err := c.Must("DEL", "large")
		took = time.Since(began)
		if err != nil {
			return err
		}
		return pause(ctx, 5*time.Second)
	})
	if err != nil {
		return err
	}
	stats, err := n.Info("commandstats")
	if err != nil {
		return err
	}
	verdict := "ok"
	if took > deleteBar {
		verdict = "above"
	}
	fmt.Printf("| DEL, in the server: %s |\n", stats["cmdstat_del"])
	fmt.Printf("| DEL | %v (≤ %v): %s; longest wait of another client around it %v, p99 %v |\n", took.Round(time.Microsecond), deleteBar, verdict,
		percentile(waits, 100), percentile(waits, 99))
	return awaitRoom(ctx, n, stored, o.records)
}
