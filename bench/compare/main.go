// Command compare measures Cairn beside Debian's redis-server on this machine.
//
//	go run ./bench/compare                           # throughput, latency and CPU, side by side
//	go run ./bench/compare -always                   # the same for SET with appendfsync always
//	go run ./bench/compare -mode collections         # the commands on lists, sets, hashes, sorted sets, streams
//	go run ./bench/compare -mode size                # one collection of each type with 10 million elements
//	go run ./bench/compare -mode popping             # a million elements popped from one collection of each type: the first and the last tenth
//	go run ./bench/compare -mode packing             # a million small hashes, packed into their records or not
//	go run ./bench/compare -mode memory              # Cairn with data larger than its memory (needs root: a memory cgroup)
//	go run ./bench/compare -mode startup             # time to the first GET, after a clean stop and after SIGKILL
//	go run ./bench/compare -mode migrate             # 100 slots moved, without and with clients, beside redis-cli --cluster reshard
//	go run ./bench/compare -mode replica             # what a replica costs, beside a redis-server and its replica
//	go run ./bench/compare -mode fullsync            # a replica attached to 5 GB: MB/s beside the disk's, and how long clients waited
//	go run ./bench/compare -mode catchup             # a replica that missed 1 GB of writes: how fast it gets them
//
// Tables go to the standard output, progress to the standard error.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/cairndb/cairn/tools/testnode"
)

// options of a run; see the flags in main.
type options struct {
	mode      string
	dir       string
	replica   string // where the replica's data goes if not there
	rounds    int
	requests  int
	clients   int
	valueSize int
	keys      int
	always    bool
	tests     string
	pipelines string
	args      []string // further directives for Cairn

	records     int
	recordSize  int
	blockCache  string
	memoryLimit int64
	gets        int
}

func main() {
	var o options
	var limit time.Duration
	flag.StringVar(&o.mode, "mode", "compare", "compare, collections, size, popping, packing, memory, startup, migrate, replica, fullsync or catchup")
	flag.StringVar(&o.dir, "dir", "", "where to make a folder for the data, removed afterwards (default: where temporary files go)")
	flag.StringVar(&o.replica, "replica-dir", "", "where to make a folder for a replica's data (another disk), removed afterwards (default: dir)")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds, of which medians are shown")
	flag.IntVar(&o.requests, "requests", 200_000, "requests of a run at pipeline 1; four times as many when pipelined")
	flag.IntVar(&o.clients, "clients", 50, "client connections")
	flag.IntVar(&o.valueSize, "d", 128, "bytes of a value")
	flag.IntVar(&o.keys, "keys", 1_000_000, "random keys")
	flag.BoolVar(&o.always, "always", false, "compare SET with appendfsync always on both")
	flag.StringVar(&o.tests, "tests", "", "tests of redis-benchmark (default set,get,incr,mset; set,get for replica)")
	flag.StringVar(&o.pipelines, "pipelines", "1,16", "pipeline depths")
	flag.IntVar(&o.records, "records", 0, "records to load (default 6 million for memory, 10 million for startup, 5 million for fullsync, 1 million for catchup, popping and packing)")
	flag.IntVar(&o.recordSize, "record-size", 1024, "random bytes of a record")
	flag.StringVar(&o.blockCache, "block-cache", "256mb", "Cairn's block-cache-size in the modes that load records")
	flag.Int64Var(&o.memoryLimit, "memory-limit", 1<<30, "bytes that the cgroup grants, page cache included; 0 for no cgroup")
	flag.IntVar(&o.gets, "gets", 500_000, "random GETs of the mode memory")
	flag.DurationVar(&limit, "limit", 40*time.Minute, "end after this time")
	flag.Parse()
	o.args = flag.Args()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	binary, err := testnode.Build()
	if err != nil {
		return err
	}
	if o.dir, err = os.MkdirTemp(o.dir, "cairn-bench"); err != nil {
		return err
	}
	defer os.RemoveAll(o.dir)
	if o.replica != "" {
		folder, err := os.MkdirTemp(o.replica, "cairn-bench")
		if err != nil {
			return err
		}
		defer os.RemoveAll(folder)
		if err := os.Symlink(folder, filepath.Join(o.dir, "replica")); err != nil {
			return err
		}
	}
	switch o.mode {
	case "compare":
		return compare(ctx, o, binary)
	case "collections":
		return collections(ctx, o, binary)
	case "size":
		return sizes(ctx, o, binary)
	case "popping":
		return pops(ctx, o, binary)
	case "packing":
		return packing(ctx, o, binary)
	case "memory":
		return largerThanMemory(ctx, o, binary)
	case "startup":
		return startup(ctx, o, binary)
	case "migrate":
		return migrateSlots(ctx, o, binary)
	case "replica":
		return withReplica(ctx, o, binary)
	case "fullsync":
		return fullSync(ctx, o, binary)
	case "catchup":
		return catchUp(ctx, o, binary)
	}
	return errors.New("unknown mode " + o.mode)
}

// cairn prepares a node with its data in a folder of o.dir; wrap is put before the command (a cgroup's shell).
func (o options) cairn(binary, folder string, wrap []string, args ...string) (*testnode.Node, error) {
	opts := testnode.CairnOptions(binary, filepath.Join(o.dir, folder), append(args, o.args...)...)
	opts.Command = append(wrap, opts.Command...)
	opts.ReadyTimeout = 2 * time.Minute
	return testnode.New(opts)
}

// progress tells what goes on, on the standard error.
func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
