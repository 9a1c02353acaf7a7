package main

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"time"

	"github.com/cairndb/cairn/tools/testnode"
)

const (
	packedFields = 10 // of the small hashes
	packedValue  = 20 // bytes
	// packedField is what a field takes in a packed hash: its name and its value with a length each, and the value's flags.
	packedField = 1 + 4 + 1 + 1 + packedValue
)

// packedHashes are many hashes of one size, packed or not.
type packedHashes struct {
	title  string
	hashes int
	fields int
	args   []string // of the server
}

// packing compares hashes that are packed with ones that are not: a million small ones, and fewer that just fit into several limits.
func packing(ctx context.Context, o options, binary string) error {
	o.records = cmp.Or(o.records, 1_000_000)
	fmt.Printf("\nHashes with fields of %d bytes; HGET and HSET of random fields by 50 clients, pipeline 16, %s\n\n", packedValue, time.Now().Format("2006-01-02"))
	fmt.Print("| | hashes × fields | load, hashes/s | stored bytes a field | RSS MiB | HGET/s | CPU µs | HSET/s | CPU µs | bytes written a HSET |\n|---|---|---|---|---|---|---|---|---|---|\n")
	spread := []string{"--hash-max-listpack-entries", "0"}
	runs := []packedHashes{
		{"packed", o.records, packedFields, nil},
		{"spread", o.records, packedFields, spread},
	}
	for _, limit := range []int{512, 1 << 10, 2 << 10, 4 << 10, 8 << 10} {
		fields := (limit - 1) / packedField
		hashes := max(o.records*packedFields/fields/4, 1)
		packed := []string{"--hash-max-listpack-entries", "1000000", "--packed-max-bytes", fmt.Sprint(limit)}
		runs = append(runs,
			packedHashes{fmt.Sprintf("%d bytes, packed", limit), hashes, fields, packed},
			packedHashes{fmt.Sprintf("%d bytes, spread", limit), hashes, fields, spread})
	}
	for _, r := range runs {
		run := o
		run.args = append(slices.Clone(r.args), o.args...)
		if err := run.onNode(ctx, binary, "packing", r.measure); err != nil {
			return fmt.Errorf("%s: %w", r.title, err)
		}
	}
	return nil
}

func (p *packedHashes) measure(ctx context.Context, o options, n *testnode.Node) error {
	progress("%s: %d hashes of %d fields", p.title, p.hashes, p.fields)
	l := loader{node: n, clients: 4, window: 50, total: p.hashes, random: packedValue, command: func(i int, value []byte) []string {
		args := []string{"HSET", hashName(i)}
		for f := range p.fields {
			args = append(args, fieldName(f), string(value))
		}
		return args
	}}
	loaded, err := l.run(ctx)
	if err != nil {
		return err
	}
	u, err := n.Usage()
	if err != nil {
		return err
	}
	get, err := p.random(ctx, o, n, func(name, field string, _ []byte) []string { return []string{"HGET", name, field} })
	if err != nil {
		return err
	}
	set, err := p.random(ctx, o, n, func(name, field string, value []byte) []string { return []string{"HSET", name, field, string(value)} })
	if err != nil {
		return err
	}
	if err := n.Stop(time.Minute); err != nil { // all is in the store then
		return err
	}
	stored := diskUsage(filepath.Join(n.Dir, storeFolder))
	fmt.Printf("| %s | %d × %d | %.0f | %.1f | %d | %.0f | %.1f | %.0f | %.1f | %.0f |\n", p.title, p.hashes, p.fields, loaded.rate(p.hashes),
		float64(stored)/float64(p.hashes*p.fields), u.RSS>>20, get.rate, get.cpu, set.rate, set.cpu, set.written)
	return nil
}

// packedRun is what random requests gave: their rate, and the CPU time in µs and the bytes written that one took.
type packedRun struct{ rate, cpu, written float64 }

// random runs commands on random fields of random hashes.
func (p *packedHashes) random(ctx context.Context, o options, n *testnode.Node, command func(name, field string, value []byte) []string) (r packedRun, err error) {
	before, err := n.Usage()
	if err != nil {
		return r, err
	}
	requests := 4 * o.requests
	l := loader{node: n, clients: o.clients, window: 16, total: requests, random: packedValue, command: func(_ int, value []byte) []string {
		return command(hashName(rand.IntN(p.hashes)), fieldName(rand.IntN(p.fields)), value)
	}}
	took, err := l.run(ctx)
	if err != nil {
		return r, err
	}
	after, err := n.Usage()
	return packedRun{
		rate:    took.rate(requests),
		cpu:     float64((after.CPU() - before.CPU()).Nanoseconds()) / 1000 / float64(requests),
		written: float64(after.Written-before.Written) / float64(requests),
	}, err
}

func hashName(i int) string  { return fmt.Sprintf("hash:%08d", i) }
func fieldName(i int) string { return fmt.Sprintf("f%03d", i) }
