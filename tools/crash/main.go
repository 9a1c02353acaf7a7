// Command crash kills a real cairn process at random moments under load of every data type, and
// checks after each kill that every acknowledged write is there, that none is
// torn, and that "cairn check" finds nothing.
//
//	go run ./tools/crash -kills 100
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/cairndb/cairn/tools/testnode"
	"github.com/cairndb/cairn/tools/wire"
)

// campaign is a run against one server.
type campaign struct {
	node    *testnode.Node
	kills   int
	workers int
	seed    uint64
	longest time.Duration // between two kills
	redis70 bool          // instead of cairn
	check   func() error  // verifies the data folder while nobody runs
	out     io.Writer
}

func main() {
	policies := flag.String("policies", "always,everysec,no", "appendfsync policies, with commas")
	kills := flag.Int("kills", 100, "kills for each policy")
	workers := flag.Int("workers", 4, "connections that write")
	seed := flag.Uint64("seed", rand.Uint64N(1e9), "seed of the operations and the moments")
	longest := flag.Duration("longest", time.Second, "longest time between two kills")
	flag.Parse()
	binary, err := testnode.Build()
	if err != nil {
		slog.Error("crash", "err", err)
		os.Exit(1)
	}
	for _, policy := range strings.Split(*policies, ",") {
		if err := runPolicy(binary, policy, campaign{kills: *kills, workers: *workers, seed: *seed, longest: *longest, out: os.Stdout}); err != nil {
			slog.Error("crash", "policy", policy, "seed", *seed, "err", err)
			os.Exit(1)
		}
	}
}

func runPolicy(binary, policy string, c campaign) error {
	dir, err := os.MkdirTemp("", "cairn-crash")
	if err != nil {
		return err
	}
	node, err := testnode.New(testnode.CairnOptions(binary, filepath.Join(dir, "node"), "--appendfsync", policy))
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out, "appendfsync %s, seed %d, data in %s\n", policy, c.seed, dir)
	c.node, c.check = node, checkFolder(binary, node.Dir)
	if err := c.run(); err != nil {
		return fmt.Errorf("%w (the data stays in %s)", err, dir)
	}
	return os.RemoveAll(dir)
}

// checkFolder returns a function that runs "cairn check" on the folder.
func checkFolder(binary, dir string) func() error {
	return func() error {
		out, err := exec.Command(binary, "check", dir).CombinedOutput()
		if err != nil {
			return fmt.Errorf("cairn check: %w\n%s", err, out)
		}
		return nil
	}
}

// run starts the node, lets the workers write, kills it, checks, starts it again and verifies, again and again.
func (c *campaign) run() error {
	rng := rand.New(rand.NewPCG(c.seed, 1))
	var workers []*worker
	for i := range c.workers {
		workers = append(workers, newWorker(i, c.seed))
		workers[i].redis70 = c.redis70
	}
	if err := c.node.Start(); err != nil {
		return err
	}
	defer func() { c.node.Kill() }()
	start, told := time.Now(), time.Now()
	for kill := 1; kill <= c.kills; kill++ {
		if err := c.writeUntilKilled(workers, time.Duration(rng.Int64N(int64(c.longest)))); err != nil {
			return fmt.Errorf("before kill %d: %w", kill, err)
		}
		if err := c.check(); err != nil {
			return fmt.Errorf("after kill %d: %w", kill, err)
		}
		if err := c.restartAndVerify(workers); err != nil {
			return fmt.Errorf("after kill %d: %w", kill, err)
		}
		if time.Since(told) > 5*time.Second || kill == c.kills {
			told = time.Now()
			fmt.Fprintf(c.out, "  %d of %d kills, %d acknowledged operations all there, %v\n", kill, c.kills, acknowledged(workers), time.Since(start).Round(time.Second))
		}
	}
	return c.node.Stop(30 * time.Second)
}

func acknowledged(workers []*worker) (n int) {
	for _, w := range workers {
		n += w.acked
	}
	return n
}

// writeUntilKilled kills the node after the given time, while all workers write.
func (c *campaign) writeUntilKilled(workers []*worker, after time.Duration) error {
	wrong := make([]error, len(workers))
	var wg sync.WaitGroup
	for i, w := range workers {
		wg.Go(func() { wrong[i] = w.run(c.node) })
	}
	time.Sleep(after)
	c.node.Kill()
	wg.Wait()
	return errors.Join(wrong...)
}

func (c *campaign) restartAndVerify(workers []*worker) error {
	if err := c.node.Start(); err != nil {
		return err
	}
	conn, err := c.node.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	total := int64(0)
	for _, w := range workers {
		if err := w.verify(conn); err != nil {
			return err
		}
		total += int64(len(w.model))
	}
	v, err := conn.Must("DBSIZE")
	if err == nil && v.Int() != total {
		err = fmt.Errorf("DBSIZE is %d, there are %d keys", v.Int(), total)
	}
	if err != nil {
		return err
	}
	return verifyExpires(conn, workers)
}

// verifyExpires compares the number of keys with an expiry with the keys themselves.
func verifyExpires(conn *wire.Conn, workers []*worker) error {
	expires := 0
	for _, w := range workers {
		for k := range w.model {
			v, err := conn.Must("PTTL", k)
			if err != nil {
				return err
			}
			if v.Int() > 0 {
				expires++
			}
		}
	}
	v, err := conn.Must("INFO", "keyspace")
	if err != nil {
		return err
	}
	if want := fmt.Sprintf(",expires=%d,", expires); expires > 0 && !strings.Contains(v.Text, want) {
		return fmt.Errorf("%d keys have an expiry, but INFO says %q", expires, v.Text)
	}
	return nil
}
