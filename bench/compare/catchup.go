package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/cairndb/cairn/tools/testnode"
)

// catchUpRounds is how often a replica is cut off, of which medians are shown.
const catchUpRounds = 3

// absence is a replica's, and its catching up.
type absence struct {
	written float64 // records a second, by the primary meanwhile
	bytes   int64   // of the log
	took    time.Duration
	cpu     time.Duration // of the replica
}

// catchUp stops a replica until its primary has given it up and much was written, and prints how fast the replica gets what it missed.
func catchUp(ctx context.Context, o options, binary string) error {
	o.records = cmp.Or(o.records, 1_000_000)
	size := int64(o.records) * int64(o.recordSize)
	// Each node keeps the log of some rounds, and its store what was overwritten and is not compacted yet.
	if err := checkRoom(o.dir, 10*size); err != nil {
		return err
	}
	nodes, err := startTwo(o, binary, "--repl-timeout", "5", "--repl-backlog-size", fmt.Sprint(2*size))
	defer kill(nodes)
	if err != nil {
		return err
	}
	if err := follow(nodes[0], nodes[1]); err != nil {
		return err
	}
	if err := awaitReplica(ctx, nodes[0], nodes[1]); err != nil {
		return err
	}
	var rounds []absence
	for range catchUpRounds {
		a, err := beAway(ctx, nodes[0], nodes[1], o)
		if err != nil {
			return err
		}
		rounds = append(rounds, a)
		progress("written at %.0f records/s, then %.1f s for %.2f GB of log", a.written, a.took.Seconds(), float64(a.bytes)/1e9)
	}
	printCatchUp(o, rounds)
	return nil
}

func printCatchUp(o options, rounds []absence) {
	of := func(get func(absence) float64) float64 {
		var values []float64
		for _, a := range rounds {
			values = append(values, get(a))
		}
		return medianOf(values)
	}
	n := float64(o.records)
	fmt.Printf("\nPartial sync of %d records of %d random bytes, %.2f GB of log, medians of %d rounds, %s\n\n| | |\n|---|---|\n", o.records, o.recordSize,
		of(func(a absence) float64 { return float64(a.bytes) / 1e9 }), len(rounds), time.Now().Format("2006-01-02"))
	fmt.Printf("| from the moment when the replica goes on until it has everything | %.1f s, %.0f MB/s, %.0f records/s |\n", of(func(a absence) float64 { return a.took.Seconds() }),
		of(func(a absence) float64 { return float64(a.bytes) / 1e6 / a.took.Seconds() }), of(func(a absence) float64 { return n / a.took.Seconds() }))
	fmt.Printf("| for comparison, how fast clients wrote them to the primary | %.0f records/s |\n", of(func(a absence) float64 { return a.written }))
	fmt.Printf("| CPU time of the replica | %.1f µs a record |\n", of(func(a absence) float64 { return float64(a.cpu.Microseconds()) / n }))
}

// beAway has the replica miss the writes of all records, and catch up.
func beAway(ctx context.Context, primary, replica *testnode.Node, o options) (a absence, err error) {
	from, err := infoNumber(primary, "replication", "master_repl_offset")
	if err != nil {
		return a, err
	}
	full, partial, err := syncs(primary)
	if err != nil {
		return a, err
	}
	before, err := replica.Usage()
	if err != nil {
		return a, err
	}
	if a.written, err = writeWithout(ctx, primary, replica, o); err != nil {
		return a, err
	}
	began := time.Now()
	if err := replica.Resume(); err != nil {
		return a, err
	}
	if err := awaitReplica(ctx, primary, replica); err != nil {
		return a, err
	}
	a.took = time.Since(began)
	to, err := infoNumber(replica, "replication", "slave_repl_offset")
	if err != nil {
		return a, err
	}
	after, err := replica.Usage()
	if err != nil {
		return a, err
	}
	a.bytes, a.cpu = to-from, after.CPU()-before.CPU()
	nowFull, nowPartial, err := syncs(primary)
	if err == nil && (nowFull != full || nowPartial != partial+1) {
		err = fmt.Errorf("%d full and %d partial syncs, not one partial one", nowFull-full, nowPartial-partial)
	}
	return a, err
}

// writeWithout writes all records while the replica stands still, until the primary has given it up.
func writeWithout(ctx context.Context, primary, replica *testnode.Node, o options) (rate float64, err error) {
	if err := replica.Pause(); err != nil {
		return 0, err
	}
	progress("writing %d records of %d random bytes while the replica stands still", o.records, o.recordSize)
	load, err := records(primary, o.records, o.recordSize).run(ctx)
	if err != nil {
		return 0, err
	}
	return load.rate(o.records), await(ctx, primary, func() (bool, error) {
		n, err := infoNumber(primary, "replication", "connected_slaves")
		return n == 0, err
	})
}
