package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cairndb/cairn/tools/testnode"
)

// cgroup is a memory cgroup (version 1), whose limit counts the page cache too.
type cgroup struct{ dir string }

func newCgroup(limit int64) (*cgroup, error) {
	g := &cgroup{fmt.Sprintf("/sys/fs/cgroup/memory/cairn-bench-%d", os.Getpid())}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return nil, fmt.Errorf("a memory cgroup (version 1, as root) is needed; -memory-limit 0 goes without: %w", err)
	}
	return g, os.WriteFile(filepath.Join(g.dir, "memory.limit_in_bytes"), []byte(strconv.FormatInt(limit, 10)), 0)
}

// wrap makes a command start inside the group: the shell enters it and becomes the command.
func (g *cgroup) wrap() []string {
	return []string{"/bin/sh", "-c", `echo $$ > "$0/cgroup.procs" && exec "$@"`, g.dir}
}

func (g *cgroup) peak() int64 {
	b, _ := os.ReadFile(filepath.Join(g.dir, "memory.max_usage_in_bytes"))
	n, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n
}

func (g *cgroup) remove() { _ = os.Remove(g.dir) }

// largerThanMemory loads more data than Cairn's memory holds and reads it at random.
func largerThanMemory(ctx context.Context, o options, binary string) error {
	if o.records == 0 {
		o.records = 6_000_000
	}
	var wrap []string
	var group *cgroup
	if o.memoryLimit > 0 {
		g, err := newCgroup(o.memoryLimit)
		if err != nil {
			return err
		}
		defer g.remove()
		group, wrap = g, g.wrap()
	}
	n, err := o.cairn(binary, "cairn", wrap, "--appendfsync", "everysec", "--block-cache-size", o.blockCache)
	if err != nil {
		return err
	}
	if err := n.Start(); err != nil {
		return err
	}
	defer n.Kill()

	progress("loading %d records of %d random bytes", o.records, o.recordSize)
	load, err := records(n, o.records, o.recordSize).run(ctx)
	if err != nil {
		return err
	}
	afterLoad, err := n.Usage()
	if err != nil {
		return err
	}
	loaded := float64(o.records) * float64(o.recordSize)
	fmt.Printf("\nlarger than memory: %d records of %d random bytes, block cache %s, cgroup limit %d MiB\n", o.records, o.recordSize, o.blockCache, o.memoryLimit>>20)
	fmt.Printf("load: %.0f keys/s, longest time without a reply %v, %.2f bytes written per byte loaded, %.1f µs CPU a key\n",
		load.rate(o.records), load.stall.Round(time.Millisecond), float64(afterLoad.Written)/loaded, float64(afterLoad.CPU().Microseconds())/float64(o.records))

	progress("reading %d records at random", o.gets)
	get, err := redisBenchmark(ctx, n, workload{"get", 1}, o.gets, o.clients, o.recordSize, o.records)
	if err != nil {
		return err
	}
	fmt.Printf("random GET, %d clients: %.0f/s, p50 %.2f ms, p99 %.2f ms, %.1f µs CPU a request\n", o.clients, get.rate, get.p50, get.p99, get.cpu)
	end, err := n.Usage()
	if err != nil {
		return err
	}
	fmt.Printf("disk: %.2f bytes a byte loaded; in the end %.2f bytes written per byte loaded\n", float64(diskUsage(n.Dir))/loaded, float64(end.Written)/loaded)
	fmt.Printf("memory: peak RSS %d MiB", end.PeakRSS>>20)
	if group != nil {
		fmt.Printf(", peak of the cgroup %d MiB", group.peak()>>20)
	}
	fmt.Println()
	return nil
}

// diskUsage sums the files below dir; one that vanishes meanwhile counts nothing.
func diskUsage(dir string) (total int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				total += info.Size()
			}
		}
		return nil
	})
	return total
}

// startup measures the time from the start of the process to the first GET answered.
func startup(ctx context.Context, o options, binary string) error {
	if o.records == 0 {
		o.records = 10_000_000
	}
	n, err := o.cairn(binary, "cairn", nil, "--appendfsync", "everysec", "--block-cache-size", o.blockCache)
	if err != nil {
		return err
	}
	if err := n.Start(); err != nil {
		return err
	}
	defer n.Kill()
	progress("loading %d records of %d random bytes", o.records, o.recordSize)
	if _, err := records(n, o.records, o.recordSize).run(ctx); err != nil {
		return err
	}
	stopStart := time.Now()
	if err := n.Stop(2 * time.Minute); err != nil {
		return err
	}
	stopped := time.Since(stopStart)
	clean, err := firstGet(ctx, n)
	if err != nil {
		return err
	}
	progress("clean stop took %v, then %v to the first GET; killing while writing", stopped.Round(time.Millisecond), clean.Round(time.Millisecond))
	if err := killWhileWriting(ctx, n, o); err != nil {
		return err
	}
	killed, err := firstGet(ctx, n)
	if err != nil {
		return err
	}
	fmt.Printf("\nstart-up with %d records of %d bytes (%.1f GB on disk)\n", o.records, o.recordSize, float64(diskUsage(n.Dir))/1e9)
	fmt.Printf("after a clean stop (which took %v): first GET after %v\n", stopped.Round(time.Millisecond), clean.Round(time.Millisecond))
	fmt.Printf("after SIGKILL in the middle of writing: first GET after %v\n", killed.Round(time.Millisecond))
	return nil
}

// firstGet launches the process and asks for a record until it comes.
func firstGet(ctx context.Context, n *testnode.Node) (time.Duration, error) {
	start := time.Now()
	if err := n.Launch(); err != nil {
		return 0, err
	}
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		v, err := n.Do("GET", "key:000000000001")
		if err == nil && v.Err() == nil {
			if v.Null {
				return 0, fmt.Errorf("a record is missing after the start")
			}
			return time.Since(start), nil
		}
		if !n.Running() {
			return 0, fmt.Errorf("%w\n%s", testnode.ErrExited, n.LogTail(2000))
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-tick.C:
		}
	}
}

// killWhileWriting kills the process at full load, after enough writes that the log holds much to replay.
func killWhileWriting(ctx context.Context, n *testnode.Node, o options) error {
	writing, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		// It ends with the connections: by the kill, or when it has written everything again.
		_, _ = records(n, o.records, o.recordSize).run(writing)
	}()
	select {
	case <-time.After(8 * time.Second):
	case <-done:
	}
	n.Kill()
	<-done
	return ctx.Err()
}
