package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/cairndb/cairn/tools/testnode"
)

const (
	// pauseBar is the longest that a client of the primary may have to wait during a full sync.
	pauseBar = 50 * time.Millisecond
	// compared is how many records are read from both nodes after a full sync.
	compared = 1000
)

// copying is what a full sync showed.
type copying struct {
	took          time.Duration
	quiet, during []time.Duration // waits of a client of the primary, sorted
	// The primary before and after, and the replica after.
	loaded, after, copied testnode.Usage
	stored                int64      // bytes in the replica's folder
	disk                  [2]float64 // bytes a second, before and after
}

// fullSync attaches an empty replica to a primary with much data, and prints how fast it got everything beside the disk's own speed, and how long
// clients of the primary waited meanwhile.
func fullSync(ctx context.Context, o options, binary string) error {
	o.records = cmp.Or(o.records, 5_000_000)
	size := int64(o.records) * int64(o.recordSize)
	// Both stores, the logs, and what compactions write before they remove what was there.
	if err := checkRoom(o.dir, 5*size/2); err != nil {
		return err
	}
	var c copying
	var err error
	if c.disk[0], err = writeSpeed(ctx, o.dir, size); err != nil {
		return err
	}
	if err := c.run(ctx, o, binary); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(o.dir, "replica")); err != nil {
		return err
	}
	if c.disk[1], err = writeSpeed(ctx, o.dir, size); err != nil {
		return err
	}
	c.print(o, float64(size))
	return nil
}

// run loads the primary and attaches the replica.
func (c *copying) run(ctx context.Context, o options, binary string) error {
	nodes, err := startTwo(o, binary)
	defer kill(nodes)
	if err != nil {
		return err
	}
	primary, replica := nodes[0], nodes[1]
	progress("loading %d records of %d random bytes", o.records, o.recordSize)
	if _, err := records(primary, o.records, o.recordSize).run(ctx); err != nil {
		return err
	}
	if c.loaded, err = primary.Usage(); err != nil {
		return err
	}
	if c.quiet, err = probed(ctx, primary, o, func() error { return pause(ctx, controlTime) }); err != nil {
		return err
	}
	progress("attaching a replica")
	began := time.Now()
	c.during, err = probed(ctx, primary, o, func() error {
		if err := follow(primary, replica); err != nil {
			return err
		}
		defer func() { c.took = time.Since(began) }()
		return awaitWhole(ctx, primary, replica)
	})
	if err != nil {
		return err
	}
	if err := sameRecords(ctx, primary, replica, o); err != nil {
		return err
	}
	c.stored = diskUsage(replica.Dir)
	if c.after, err = primary.Usage(); err != nil {
		return err
	}
	c.copied, err = replica.Usage()
	return err
}

func (c *copying) print(o options, size float64) {
	rate := size / c.took.Seconds()
	verdict := "ok"
	if c.during[len(c.during)-1] > pauseBar {
		verdict = "above"
	}
	fmt.Printf("\nFull sync of %d records of %d random bytes (%.2f GB, %.2f GB in the replica's folder), %s\n\n| | |\n|---|---|\n",
		o.records, o.recordSize, size/1e9, float64(c.stored)/1e9, time.Now().Format("2006-01-02"))
	fmt.Printf("| from `REPLICAOF` until the link is up and `DBSIZE` equal | %.1f s, %.0f MB/s |\n", c.took.Seconds(), rate/1e6)
	fmt.Printf("| the disk, before / after: a file of the same size written through the page cache, then fsync | %.0f / %.0f MB/s |\n", c.disk[0]/1e6, c.disk[1]/1e6)
	fmt.Printf("| ratio to the mean of these | %.2f |\n", rate/((c.disk[0]+c.disk[1])/2))
	fmt.Printf("| waits of a client of the primary meanwhile (%d requests) | p50 %v, p99 %v, longest %v (≤ %v): %s |\n",
		len(c.during), percentile(c.during, 50), percentile(c.during, 99), percentile(c.during, 100), pauseBar, verdict)
	fmt.Printf("| the same in %v without a sync | p50 %v, p99 %v, longest %v |\n", controlTime, percentile(c.quiet, 50), percentile(c.quiet, 99), percentile(c.quiet, 100))
	fmt.Printf("| CPU time of the primary / replica | %.1f / %.1f s |\n", (c.after.CPU() - c.loaded.CPU()).Seconds(), c.copied.CPU().Seconds())
	fmt.Printf("| peak RSS of the primary before / after, of the replica | %d / %d, %d MiB |\n", c.loaded.PeakRSS>>20, c.after.PeakRSS>>20, c.copied.PeakRSS>>20)
}

// probed does something while a probe runs.
func probed(ctx context.Context, n *testnode.Node, o options, do func() error) ([]time.Duration, error) {
	p := startProbe(ctx, n, o)
	err := do()
	waits, probeErr := p.end()
	return waits, errors.Join(err, probeErr)
}

// awaitWhole waits until a replica has its link and as many keys as its primary.
func awaitWhole(ctx context.Context, primary, replica *testnode.Node) error {
	want, err := primary.Do("DBSIZE")
	if err != nil {
		return err
	}
	return await(ctx, replica, func() (bool, error) {
		f, err := replica.Info("replication")
		if err != nil || f["master_link_status"] != "up" {
			return false, nil
		}
		got, err := replica.Do("DBSIZE")
		return err == nil && got.Kind == ':' && got.Text == want.Text, nil
	})
}

// sameRecords compares some records, and makes sure that there was one full sync.
func sameRecords(ctx context.Context, primary, replica *testnode.Node, o options) error {
	if err := awaitReplica(ctx, primary, replica); err != nil {
		return err
	}
	full, _, err := syncs(primary)
	if err != nil || full != 1 {
		return fmt.Errorf("%d full syncs (%v)", full, err)
	}
	for range compared {
		key := fmt.Sprintf("key:%012d", rand.IntN(o.records))
		a, err1 := primary.Do("GET", key)
		b, err2 := replica.Do("GET", key)
		if err := errors.Join(err1, err2, a.Err(), b.Err()); err != nil {
			return err
		}
		if a.Null || a.Text != b.Text {
			return fmt.Errorf("%s differs on the replica", key)
		}
	}
	return nil
}

// writeSpeed is how many bytes a second the disk takes: a file of so many random bytes is written through the page cache, synced, and removed.
func writeSpeed(ctx context.Context, dir string, size int64) (rate float64, err error) {
	progress("writing a file of %d MiB", size>>20)
	block := make([]byte, 16<<20)
	// Read of a ChaCha8 never fails.
	_, _ = rand.NewChaCha8([32]byte{byte(size)}).Read(block)
	f, err := os.Create(filepath.Join(dir, "sequential"))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	began := time.Now()
	for left := size; left > 0 && ctx.Err() == nil; {
		n, err := f.Write(block[:min(left, int64(len(block)))])
		if err != nil {
			return 0, err
		}
		left -= int64(n)
	}
	if err := errors.Join(ctx.Err(), f.Sync()); err != nil {
		return 0, err
	}
	return float64(size) / time.Since(began).Seconds(), nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
