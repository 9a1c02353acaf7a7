package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/tools/wire"
)

type clusterRebalanceCmd struct {
	Addr      string        `arg:"" help:"Any node of the cluster (host:port)."`
	By        string        `enum:"keys,slots" default:"keys" help:"What to even out: keys or slots."`
	Tolerance float64       `default:"2" help:"Move nothing while every shard is within so many percent of the mean."`
	DryRun    bool          `help:"Show the plan and do nothing."`
	Yes       bool          `short:"y" help:"Don't ask before the slots move."`
	Password  string        `env:"CAIRN_PASSWORD,REDISCLI_AUTH" help:"Send AUTH with it to every node."`
	Timeout   time.Duration `default:"10s" help:"How long a node may take to answer."`
}

// Help is shown by "cairn cluster rebalance --help".
func (clusterRebalanceCmd) Help() string {
	return `Shows which slots would move where, asks, and has their owners move them with CLUSTER MIGRATESLOTS while clients go on. It can be
interrupted (what is on its way is cancelled, what has moved has moved) and run again.

  cairn cluster rebalance 10.0.0.1:7000 --dry-run
  cairn cluster rebalance 10.0.0.1:7000 --yes`
}

func (c *clusterRebalanceCmd) Run(out *output) error {
	if c.Tolerance < 0 || c.Timeout <= 0 {
		return usageError("--tolerance and --timeout: give no less than 0")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	shards, err := c.shards(ctx)
	if err != nil {
		return err
	}
	load, err := c.loads(ctx, shards)
	if err != nil {
		return err
	}
	plan := planRebalance(shards, load, c.By, c.Tolerance/100)
	fmt.Fprint(out.stdout, plan.text(shards))
	if plan.slots == 0 {
		fmt.Fprintln(out.stdout, "Nothing to move.")
		return nil
	}
	if c.DryRun {
		return nil
	}
	if ok, err := c.agreed(out); err != nil || !ok {
		return err
	}
	return c.move(ctx, plan, out)
}

// agreed asks whether to go on.
func (c *clusterRebalanceCmd) agreed(out *output) (bool, error) {
	if c.Yes {
		return true, nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return false, usageError("give --yes to move the slots without a question, or --dry-run for the plan alone")
	}
	fmt.Fprint(out.stdout, "Move them? (yes/no) ")
	answer, _ := bufio.NewReader(os.Stdin).ReadString('\n')
	return strings.TrimSpace(answer) == "yes", nil
}

// shards are the primaries that answer, those without slots too. All of the cluster has to be there.
func (c *clusterRebalanceCmd) shards(ctx context.Context) ([]*shardLoad, error) {
	asker := statusAsker{password: c.Password, timeout: c.Timeout}
	answers, err := asker.cluster(ctx, []string{c.Addr})
	if err != nil {
		return nil, err
	}
	var shards []*shardLoad
	covered := 0
	for i := range answers {
		n := &answers[i]
		if n.err != nil {
			return nil, fmt.Errorf("%s: %w: all nodes have to answer before slots move", n.addr, n.err)
		}
		self := n.self()
		if self.primary != "" {
			continue
		}
		if len(self.open) > 0 {
			return nil, fmt.Errorf("%s: slot %d is %s by SETSLOT: end that first (redis-cli --cluster fix)", n.addr, self.open[0].Slot, self.open[0].State)
		}
		s := &shardLoad{id: self.id, addr: n.addr}
		for _, r := range self.slots {
			for slot := r.first; slot <= r.last; slot++ {
				s.slots = append(s.slots, slot)
			}
		}
		covered += len(s.slots)
		shards = append(shards, s)
	}
	if covered != keys.Slots {
		return nil, fmt.Errorf("%d of %d slots have an owner that says so: repair the cluster first, or wait a moment", covered, keys.Slots)
	}
	slices.SortFunc(shards, func(a, b *shardLoad) int { return strings.Compare(a.addr, b.addr) })
	return shards, nil
}

// loads asks each primary how much lies in each of its slots.
func (c *clusterRebalanceCmd) loads(ctx context.Context, shards []*shardLoad) (*[keys.Slots]int64, error) {
	load := new([keys.Slots]int64)
	if c.By == "slots" {
		for i := range load {
			load[i] = 1
		}
		return load, nil
	}
	for _, s := range shards {
		err := c.session(ctx, s.addr, func(conn *wire.Conn) error {
			for _, slot := range s.slots {
				if err := conn.Send("CLUSTER", "COUNTKEYSINSLOT", strconv.Itoa(slot)); err != nil {
					return err
				}
			}
			if err := conn.Flush(); err != nil {
				return err
			}
			for _, slot := range s.slots {
				v, err := conn.Receive()
				if err == nil {
					err = v.Err()
				}
				if err != nil {
					return err
				}
				load[slot] = v.Int()
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.addr, err)
		}
	}
	return load, nil
}

// session opens a connection for a few commands.
func (c *clusterRebalanceCmd) session(ctx context.Context, addr string, fn func(*wire.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	conn, err := wire.DialContext(ctx, addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if c.Password != "" {
		if _, err := conn.Must("AUTH", c.Password); err != nil {
			return err
		}
	}
	return fn(conn)
}

const (
	// rebalanceChunk is how many slots are asked for at a time: an interruption costs no more than their copies.
	rebalanceChunk = 128
	rebalancePoll  = 100 * time.Millisecond
	rebalanceTries = 3
)

// move runs the plan: each source works off its moves, all sources at the same time.
func (c *clusterRebalanceCmd) move(ctx context.Context, plan *rebalancePlan, out *output) error {
	bySource := map[string][]*slotMove{}
	for _, m := range plan.moves {
		bySource[m.from.addr] = append(bySource[m.from.addr], m)
	}
	bar := newProgress(out.stdout, "Moving", "slots", int64(plan.slots))
	defer bar.end()
	var done atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, len(bySource))
	for addr, moves := range bySource {
		wg.Go(func() {
			for _, m := range moves {
				for chunk := range slices.Chunk(m.slots, rebalanceChunk) {
					if err := c.moveChunk(ctx, addr, chunk, m.to); err != nil {
						errs <- fmt.Errorf("from %s to %s: %w", addr, m.to.addr, err)
						return
					}
					bar.set(done.Add(int64(len(chunk))))
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	if ctx.Err() != nil {
		return errors.New("interrupted: what has moved has moved; run it again to go on")
	}
	return errors.Join(all...)
}

// moveChunk moves some slots, and waits until they have.
func (c *clusterRebalanceCmd) moveChunk(ctx context.Context, addr string, slots []int, to *shardLoad) (err error) {
	for range rebalanceTries {
		if err = c.tryMove(ctx, addr, slots, to); err == nil || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}

func (c *clusterRebalanceCmd) tryMove(ctx context.Context, addr string, slots []int, to *shardLoad) error {
	args := []string{"CLUSTER", "MIGRATESLOTS", "SLOTSRANGE"}
	ranges := make([]string, 0, len(slots))
	for _, r := range slotRanges(slots) {
		args = append(args, strconv.Itoa(r.first), strconv.Itoa(r.last))
		ranges = append(ranges, fmt.Sprintf("%d-%d", r.first, r.last))
	}
	if err := c.session(ctx, addr, func(conn *wire.Conn) error {
		_, err := conn.Must(append(args, "NODE", to.id)...)
		return err
	}); err != nil {
		return err
	}
	for {
		job, err := c.job(ctx, addr, strings.Join(ranges, " "))
		switch {
		case ctx.Err() != nil:
			return errors.Join(ctx.Err(), c.cancel(addr))
		case err != nil:
			return err
		case job["state"] == "success":
			return nil
		case job["state"] == "failed" || job["state"] == "cancelled":
			return fmt.Errorf("the migration has %s: %s", job["state"], job["message"])
		}
		select {
		case <-time.After(rebalancePoll):
		case <-ctx.Done():
		}
	}
}

// job finds the newest migration of these slots.
func (c *clusterRebalanceCmd) job(ctx context.Context, addr, ranges string) (job map[string]string, err error) {
	err = c.session(ctx, addr, func(conn *wire.Conn) error {
		v, err := conn.Must("CLUSTER", "GETSLOTMIGRATIONS")
		if err != nil {
			return err
		}
		for _, m := range migrationsOf(v) {
			if m["operation"] == "EXPORT" && m["slot_ranges"] == ranges {
				job = m
				return nil
			}
		}
		return errors.New("the node knows nothing of the migration any more: it has been started again")
	})
	return job, err
}

// migrationsOf reads the reply of CLUSTER GETSLOTMIGRATIONS.
func migrationsOf(v wire.Value) (all []map[string]string) {
	for _, entry := range v.Elems {
		m := map[string]string{}
		words := entry.Strings()
		for i := 0; i+1 < len(words); i += 2 {
			m[words[i]] = words[i+1]
		}
		all = append(all, m)
	}
	return all
}

// cancel ends the migrations of a node, although this program has been interrupted.
func (c *clusterRebalanceCmd) cancel(addr string) error {
	return c.session(context.Background(), addr, func(conn *wire.Conn) error {
		_, err := conn.Do("CLUSTER", "CANCELSLOTMIGRATIONS") // it may just have ended
		return err
	})
}
