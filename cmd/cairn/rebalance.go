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
	By        string        `enum:"keys,bytes,slots,load" default:"keys" help:"What to even out: keys, bytes (of keys and values, before compression), slots, or load (the time that commands take on the primaries)."`
	Over      time.Duration `default:"10s" help:"With --by load: how long to measure."`
	Tolerance *float64      `help:"Move nothing while every shard is within so many percent of the mean (default: 2; with --by load, which is never the same twice, 10)."`
	Drain     []string      `placeholder:"NODE" help:"Primaries (node ID or host:port) that are to have no slots, and give theirs to the others."`
	DryRun    bool          `help:"Show the plan and do nothing."`
	Yes       bool          `short:"y" help:"Don't ask before the slots move."`
	Password  string        `env:"CAIRN_PASSWORD,REDISCLI_AUTH" help:"Send AUTH with it to every node."`
	Timeout   time.Duration `default:"10s" help:"How long a node may take to answer."`
	Wait      time.Duration `default:"1m" help:"How long to wait for a node that fails or is restarted on the way."`

	// members are the nodes of the shards to drain, by ID, with the ID of the primary that was named: a replica may take its place on the way.
	members map[string]string
}

// Help is shown by "cairn cluster rebalance --help".
func (clusterRebalanceCmd) Help() string {
	return `Shows which slots would move where, asks, and has their owners move them with CLUSTER MIGRATESLOTS while clients go on. It can be
interrupted (what is on its way is cancelled, what has moved has moved) and run again. When a node fails on the way, it waits until the
node is back or a replica has taken its place, and goes on with what is left. Name a primary with --drain to take it out of the cluster.

  cairn cluster rebalance 10.0.0.1:7000 --dry-run
  cairn cluster rebalance 10.0.0.1:7000 --by bytes --yes
  cairn cluster rebalance 10.0.0.1:7000 --by load --over 1m
  cairn cluster rebalance 10.0.0.1:7000 --drain 10.0.0.4:7000`
}

func (c *clusterRebalanceCmd) Run(out *output) error {
	if c.tolerance() < 0 || c.Timeout <= 0 || c.Wait < 0 || c.Over <= 0 {
		return usageError("--tolerance and --wait: give no less than 0; --timeout and --over: give more")
	}
	seeds, err := (&clusterStatusCmd{Addr: []string{c.Addr}, Timeout: c.Timeout}).seeds()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if c.By == byLoad {
		fmt.Fprintf(out.stdout, "Measuring the load for %v.\n", c.Over)
	}
	plan, err := c.plan(ctx, seeds)
	if err != nil {
		return err
	}
	fmt.Fprint(out.stdout, plan.text())
	if plan.slots == 0 {
		fmt.Fprintln(out.stdout, "Nothing to move.")
		return c.drained(ctx, plan, out)
	}
	if c.DryRun {
		return nil
	}
	if ok, err := c.agreed(out); err != nil || !ok {
		return err
	}
	return c.carryOut(ctx, plan, out)
}

// plan asks the nodes, the first of the seeds that answers and those that it knows, and says what is to be moved.
func (c *clusterRebalanceCmd) plan(ctx context.Context, seeds []string) (*rebalancePlan, error) {
	shards, err := c.shards(ctx, seeds)
	if err != nil {
		return nil, err
	}
	load, err := c.loads(ctx, shards)
	if err != nil {
		return nil, err
	}
	if c.By == byLoad {
		if sum := totalLoad(load); sum < c.Over.Microseconds()/hardlyAnyLoad {
			note := fmt.Sprintf("There is hardly any load: commands took %v in %v.\n", loadText(sum), c.Over)
			if len(c.Drain) == 0 {
				return &rebalancePlan{note: note}, nil
			}
			plan := planRebalance(shards, new([keys.Slots]int64), c.By, c.tolerance()/100) // slots are all that there is to even out
			plan.note = note
			return plan, nil
		}
	}
	return planRebalance(shards, load, c.By, c.tolerance()/100), nil
}

func (c *clusterRebalanceCmd) tolerance() float64 {
	switch {
	case c.Tolerance != nil:
		return *c.Tolerance
	case c.By == byLoad:
		return 10
	}
	return 2
}

// carryOut moves what the plan says. When that fails it waits until the cluster is whole again, and plans anew.
func (c *clusterRebalanceCmd) carryOut(ctx context.Context, plan *rebalancePlan, out *output) error {
	seeds := []string{c.Addr}
	for stuck := 0; plan.slots > 0; {
		for _, s := range plan.shards {
			if !slices.Contains(seeds, s.addr) {
				seeds = append(seeds, s.addr)
			}
		}
		moved, err := c.move(ctx, plan, out)
		if err == nil {
			break
		}
		if moved > 0 {
			stuck = 0
		}
		if errors.Is(err, errCancelled) {
			stuck = rebalanceTries
		}
		if stuck++; stuck < rebalanceTries && ctx.Err() == nil {
			fmt.Fprintf(out.stdout, "%v\nWaiting for the cluster to be whole, to go on with what is left.\n", err)
			plan, err = c.planAgain(ctx, seeds)
		}
		if ctx.Err() != nil {
			return errors.New("interrupted: what has moved has moved; run it again to go on")
		}
		if err != nil || stuck >= rebalanceTries {
			return fmt.Errorf("%w; what has moved has moved, run it again to go on", err)
		}
		fmt.Fprintf(out.stdout, "%d slots are left to move.\n", plan.slots)
	}
	return c.drained(ctx, plan, out)
}

// drained says what to do next with shards that have no slots any more, as soon as they have dropped the data, before which they can't be taken out.
func (c *clusterRebalanceCmd) drained(ctx context.Context, plan *rebalancePlan, out *output) error {
	empty, _ := splitDrained(plan.shards)
	for _, s := range empty {
		for deadline := time.Now().Add(c.Wait); ; {
			err := c.dropped(ctx, s.addr)
			if err == nil {
				break
			}
			if ctx.Err() != nil || time.Now().After(deadline) {
				return fmt.Errorf("%s has no slots any more, but may have their data: %w; run it again before you take the node out", s.addr, err)
			}
			select {
			case <-time.After(rebalancePoll):
			case <-ctx.Done():
			}
		}
	}
	fmt.Fprint(out.stdout, plan.next())
	return nil
}

// dropped says, by an error, that a node has not yet dropped the data of all slots that it gave away.
func (c *clusterRebalanceCmd) dropped(ctx context.Context, addr string) error {
	return c.session(ctx, addr, func(conn *wire.Conn) error {
		v, err := conn.Must("INFO", "cluster")
		if err != nil {
			return err
		}
		answer := nodeAnswer{fields: map[string]string{}}
		answer.add(v.Text)
		if left := answer.fields["cluster_slot_migration_slots_to_drop"]; left != "0" {
			return fmt.Errorf("it has yet to drop %s slots", left)
		}
		return nil
	})
}

// planAgain plans as soon as all is there for it.
func (c *clusterRebalanceCmd) planAgain(ctx context.Context, seeds []string) (*rebalancePlan, error) {
	for deadline := time.Now().Add(c.Wait); ; {
		plan, err := c.plan(ctx, seeds)
		if err == nil || ctx.Err() != nil || time.Now().After(deadline) {
			return plan, err
		}
		select {
		case <-time.After(rebalancePause):
		case <-ctx.Done():
		}
	}
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

const (
	// rebalanceChunk is how many slots are asked for at a time: an interruption costs no more than their copies.
	rebalanceChunk = 128
	rebalancePoll  = 100 * time.Millisecond
	// rebalanceTries is how often one step is tried, and how many rounds in which nothing moves there may be.
	rebalanceTries = 3
	rebalancePause = time.Second
)

// move runs the plan: each source works off its moves, all sources at the same time. It returns how many slots have moved.
func (c *clusterRebalanceCmd) move(ctx context.Context, plan *rebalancePlan, out *output) (moved int64, err error) {
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
	return done.Load(), errors.Join(all...)
}

var (
	// errFailed: the source has tried often enough by itself.
	errFailed = errors.New("the migration has failed")
	// errCancelled: somebody wants no slots to move.
	errCancelled = errors.New("the migration was cancelled")
)

// moveChunk moves some slots, and waits until they have.
func (c *clusterRebalanceCmd) moveChunk(ctx context.Context, addr string, slots []int, to *shardLoad) (err error) {
	for range rebalanceTries {
		if err = c.tryMove(ctx, addr, slots, to); err == nil || ctx.Err() != nil || errors.Is(err, errFailed) || errors.Is(err, errCancelled) {
			return err
		}
		select {
		case <-time.After(rebalancePause):
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
		case job["state"] == "failed":
			return fmt.Errorf("%w: %s", errFailed, job["message"])
		case job["state"] == "cancelled":
			return errCancelled
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
