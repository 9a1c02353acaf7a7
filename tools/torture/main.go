// Command torture torments a real cluster of cairn processes and checks what it promises. Workers use every type, write unique values, count,
// append and run transactions, while a nemesis kills, pauses, cuts off, restarts, fails over, moves slots and fills disks. The history of each key
// must be linearizable (porcupine) as long as replicas acknowledge writes (-acks 1); without that, between any two failovers.
//
//	go run ./tools/torture -duration 1h
//	go run ./tools/torture -mode failover -trials 20
//
// As root on Linux every node gets a network namespace, so that each direction between any two can be cut, and some a small file system; elsewhere
// partitions and full disks are left out, and the program says so.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/cairndb/cairn/tools/testnode"
)

func main() {
	mode := flag.String("mode", "torture", "torture, or failover: how long slots are unavailable")
	duration := flag.Duration("duration", 10*time.Minute, "for how long to do harm")
	seed := flag.Uint64("seed", rand.Uint64N(1e9), "of what is done, and when")
	shards := flag.Int("shards", 3, "primaries")
	replicas := flag.Int("replicas", 1, "replicas of each")
	acks := flag.Int("acks", -1, "replication-acks; by default 1, and 0 in the failover mode, where a shard's last node has to serve alone")
	workers := flag.Int("workers", 12, "connections that read and write")
	pace := flag.Duration("pace", 20*time.Millisecond, "mean pause of a worker between two operations")
	faults := flag.String("faults", "", "names of faults, with commas; all by default: "+faultNames())
	trials := flag.Int("trials", 20, "of each kind, in the failover mode")
	dir := flag.String("dir", "", "an empty folder; a temporary one by default")
	flag.Parse()
	if *acks < 0 {
		*acks = 1
		if *mode == "failover" {
			*acks = 0
		}
	}
	if err := start(*mode, *dir, *trials, &campaign{
		seed: *seed, duration: *duration, workers: *workers, pace: *pace, names: *faults, out: os.Stdout,
		fleet: fleetOptions{shards: *shards, replicas: *replicas, acks: *acks, timeout: time.Second, networked: true, limits: true},
	}); err != nil {
		fmt.Fprintln(os.Stderr, "torture:", err)
		os.Exit(1)
	}
}

func start(mode, dir string, trials int, c *campaign) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if c.fleet.binary, err = testnode.Build(); err != nil {
		return err
	}
	if dir == "" {
		if dir, err = os.MkdirTemp("", "cairn-torture"); err != nil {
			return err
		}
	}
	c.fleet.dir = dir
	switch mode {
	case "torture":
		err = c.run(ctx)
	case "failover":
		err = c.failovers(ctx, trials)
	default:
		return fmt.Errorf("-mode %s: give torture or failover", mode)
	}
	if err == nil {
		_ = os.RemoveAll(dir)
	}
	return err
}

func faultNames() (names string) {
	for i, f := range faults {
		if i > 0 {
			names += ","
		}
		names += f.name
	}
	return names
}
