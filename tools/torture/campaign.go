package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/cairndb/cairn/engine/keys"
)

// campaign is a whole run: rounds of harm and repair under load, each followed by a look at everything.
type campaign struct {
	seed     uint64
	duration time.Duration
	workers  int
	pace     time.Duration
	names    string // of the faults, "" for all
	fleet    fleetOptions
	out      io.Writer

	mu       sync.Mutex // of out
	began    time.Time
	cluster  *fleet
	store    *store
	router   *router
	probes   []*probe
	witness  *witness
	checked  int
	compared int // keys, with their replicas
	vague    int // objects whose search took too long
	injected map[string]*tally

	interrupted bool
}

// tally is what a kind of fault has done.
type tally struct {
	times int
	gaps  []time.Duration
}

// random is a stream of its own of the run's seed.
func (c *campaign) random(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(c.seed, stream)) }

// violation is a promise that was not kept.
type violation struct{ text string }

func (v violation) Error() string { return "VIOLATION: " + v.text }

func (c *campaign) tell(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintf(c.out, "%9.3f  %s\n", time.Since(c.began).Seconds(), fmt.Sprintf(format, args...))
}

// run starts the cluster and torments it until the time is over, ctx ends, or something is wrong. The folder stays then.
func (c *campaign) run(ctx context.Context) (err error) {
	c.began, c.injected, c.fleet.tell = time.Now(), make(map[string]*tally), c.tell
	c.tell("seed %d, %d shards with %d replicas each, replication-acks %d, folder %s", c.seed, c.fleet.shards, c.fleet.replicas, c.fleet.acks, c.fleet.dir)
	if c.cluster, err = newFleet(ctx, c.fleet); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			c.cluster.collect()
		}
		c.cluster.close(err != nil)
		c.report(err)
	}()
	c.tell("formed")
	c.store, c.router, c.witness = newStore(c.seed), newRouter(c.cluster), &witness{fleet: c.cluster}
	c.store.begin = c.began
	stop := c.load(ctx)
	defer stop()
	return c.rounds(ctx)
}

// load starts workers and probes.
func (c *campaign) load(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for i := range c.workers {
		wg.Go(func() { newWorker(i, c.seed, c.store, c.router, c.pace).run(ctx) })
	}
	for i := range 2 * c.fleet.shards {
		p := newProbe(c.router, probeKey(i, 2*c.fleet.shards), c.seed+uint64(i))
		c.probes = append(c.probes, p)
		wg.Go(func() { p.run(ctx) })
	}
	for i := range c.fleet.shards {
		wg.Go(func() { newFiller(c.router, c.seed+uint64(100+i)).run(ctx) })
	}
	if c.fleet.acks == 0 {
		wg.Go(func() { c.witness.run(ctx) })
	}
	return func() { cancel(); wg.Wait() }
}

// probeKey is a key in the i-th of n equal parts of the slots.
func probeKey(i, n int) string {
	for try := 0; ; try++ {
		key := fmt.Sprintf("probe:%d", try)
		if int(keys.Slot([]byte(key)))*n/(1<<14) == i {
			return key
		}
	}
}

const (
	// recovery is how long the cluster has to be well again by itself once all harm has ended.
	recovery = 90 * time.Second
	calm     = 700 * time.Millisecond
)

func (c *campaign) rounds(ctx context.Context) error {
	n := &nemesis{
		fleet: c.cluster, rng: c.random(1), ports: c.fleet.acks > 0, tell: c.tell, paused: make(map[int]bool), ended: make(map[int]bool),
		mover: &mover{fleet: c.cluster, store: c.store, tell: c.tell},
	}
	usable, err := n.usable(c.names)
	if err != nil {
		return err
	}
	pause(ctx, time.Second)
	for round := 1; ctx.Err() == nil && time.Since(c.began) < c.duration; round++ {
		if err := c.round(ctx, n, usable); err != nil {
			return err
		}
		if round%10 == 0 {
			if err := c.revisit(ctx); err != nil {
				return err
			}
			c.progress()
		}
	}
	return c.last(ctx)
}

// round does one or two kinds of harm, for a while, ends them, waits until all is well, and checks what was done meanwhile.
func (c *campaign) round(ctx context.Context, n *nemesis, usable []fault) error {
	from := time.Now()
	var names []string
	count := 1 + n.rng.IntN(2)
	for i := 0; i < count; i++ {
		f := pick(n.rng, usable)
		s, err := c.cluster.shape()
		if err != nil || len(s.primaries) == 0 {
			break // nobody can be asked: enough harm is done
		}
		what, err := f.do(n, ctx, s)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		if what != "" {
			c.tell("%s: %s", f.name, what)
			names = append(names, f.name)
		}
		wait := 2 * time.Second
		if f.name == "move" { // what comes in the middle of it is the point
			count, wait = 2, 300*time.Millisecond
		}
		pause(ctx, time.Duration(n.rng.Int64N(int64(wait))))
	}
	longest := 4 * time.Second
	if n.rng.IntN(8) == 0 {
		longest = 20 * time.Second // for full syncs, and for what gives up late
	}
	pause(ctx, time.Duration(n.rng.Int64N(int64(longest))))
	if err := n.unexpected(); err != nil {
		return err
	}
	did, err := n.mend()
	if err != nil {
		return violation{err.Error()}
	}
	c.tell("mended: %s", did)
	healed := time.Now()
	if err := until(ctx, recovery, func() error { return c.cluster.healthy(false) }); err != nil && ctx.Err() == nil {
		return violation{fmt.Sprintf("the cluster is not well %v after all harm has ended: %v", recovery, err)}
	}
	well := time.Now()
	if err := n.mover.finish(ctx); err != nil && ctx.Err() == nil {
		return violation{err.Error()}
	}
	c.account(strings.Join(names, "+"), from, well, well.Sub(healed))
	pause(ctx, calm)
	return c.examine(ctx, c.store.takeRetired())
}

// account notes for how long slots could not be written to.
func (c *campaign) account(names string, from, well time.Time, healing time.Duration) {
	t := c.injected[names]
	if t == nil {
		t = &tally{}
		c.injected[names] = t
	}
	t.times++
	var texts []string
	for _, p := range c.probes {
		d := p.longest(from, well.Add(time.Second))
		t.gaps = append(t.gaps, d)
		texts = append(texts, fmt.Sprintf("%.2f", d.Seconds()))
	}
	c.tell("well %.2f s later; longest time without a write, by part of the slots: %s s", healing.Seconds(), strings.Join(texts, " "))
}

// readLimit is how long the last read of an object may take while all is well.
const readLimit = time.Minute

// examine reads objects a last time and checks their histories.
func (c *campaign) examine(ctx context.Context, objects []*object) error {
	cl := newClient(c.router, c.seed)
	cl.stray = 0
	defer cl.close()
	for _, o := range objects {
		r, err := c.read(ctx, cl, o)
		if err != nil || ctx.Err() != nil {
			return err
		}
		op := operation{action: read}
		o.record(-1, op, r, c.began)
		if err := c.judge(o); err != nil {
			return err
		}
		c.checked++
		c.forget(ctx, cl, c.store.settle(o, o.observe(op, r.replies).text))
	}
	return nil
}

func (c *campaign) read(ctx context.Context, cl *client, o *object) (result, error) {
	limited, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	for {
		r := cl.do(limited, o.commands(operation{action: read})...)
		if r.outcome == acknowledged || ctx.Err() != nil {
			return r, nil
		}
		if limited.Err() != nil {
			return r, c.found(o, fmt.Sprintf("%s can't be read for %v", o.key(""), readLimit))
		}
	}
}

func (c *campaign) judge(o *object) error {
	if c.fleet.acks == 0 {
		if wrong := o.checkWeakly(c.witness.of(slotOf(o.key(""))), c.began); wrong != "" {
			return c.found(o, wrong)
		}
		return nil
	}
	switch o.check() {
	case porcupine.Illegal:
		return c.found(o, "the history of "+o.key("")+" is not linearizable")
	case porcupine.Unknown:
		c.vague++
	}
	return nil
}

// found keeps the history of an object that shows a violation.
func (c *campaign) found(o *object, text string) error {
	path := filepath.Join(c.fleet.dir, "history-"+strings.ReplaceAll(o.name, ":", "-")+".txt")
	if err := os.WriteFile(path, []byte(text+"\n"+o.String()), 0o644); err != nil {
		return errors.Join(violation{text}, err)
	}
	return violation{fmt.Sprintf("%s (slot %d; see %s)", text, slotOf(o.key("")), path)}
}

// forget deletes the keys of an object that is looked at no more.
func (c *campaign) forget(ctx context.Context, cl *client, o *object) {
	if o == nil {
		return
	}
	cl.do(ctx, append([]string{"DEL"}, o.keys()...))
}

// revisit reads again what was found right before: it must be what it was. Without acknowledgements a failover may have changed it.
func (c *campaign) revisit(ctx context.Context) error {
	if c.fleet.acks == 0 {
		return nil
	}
	cl := newClient(c.router, c.seed)
	cl.stray = 0
	defer cl.close()
	for _, s := range c.store.allSettled() {
		r, err := c.read(ctx, cl, s.object)
		if err != nil || ctx.Err() != nil {
			return err
		}
		op := operation{action: read}
		if text := s.object.observe(op, r.replies).text; text != s.text {
			s.object.record(-1, op, r, c.began)
			return c.found(s.object, fmt.Sprintf("%s was %q at its last read and is %q now", s.object.key(""), s.text, text))
		}
	}
	return nil
}

// last looks at everything once more.
func (c *campaign) last(ctx context.Context) error {
	if ctx.Err() != nil {
		c.interrupted = true
		return nil
	}
	c.store.retireAll()
	if err := until(ctx, readLimit, c.store.inUse); err != nil && ctx.Err() == nil {
		return violation{fmt.Sprintf("an operation does not end while all is well: %v", err)}
	}
	if err := c.examine(ctx, c.store.takeRetired()); err != nil {
		return err
	}
	if err := c.revisit(ctx); err != nil {
		return err
	}
	if err := c.compareReplicas(ctx); err != nil {
		return err
	}
	c.tell("%d keys are on replicas what they are on their primaries", c.compared)
	c.progress()
	return nil
}

func (c *campaign) progress() {
	s := c.store
	c.tell("%d operations, %d of unknown outcome, %d refused; %d histories checked, %d of them undecided; nothing wrong", s.operations.Load(), s.unknown.Load(), s.refused.Load(), c.checked, c.vague)
}

// report sums up.
func (c *campaign) report(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintf(c.out, "\nTime without a write of one part of the slots, in seconds\n%-28s %6s %8s %8s\n", "injected", "times", "median", "worst")
	for _, name := range slices.Sorted(maps.Keys(c.injected)) {
		t := c.injected[name]
		slices.Sort(t.gaps)
		fmt.Fprintf(c.out, "%-28s %6d %8.2f %8.2f\n", name, t.times, t.gaps[len(t.gaps)/2].Seconds(), t.gaps[len(t.gaps)-1].Seconds())
	}
	if c.router != nil {
		fmt.Fprintln(c.out, "\nError replies other than redirects")
		for _, text := range slices.Sorted(maps.Keys(c.router.strange)) {
			fmt.Fprintf(c.out, "%7d  %s\n", c.router.strange[text], text)
		}
	}
	if err != nil {
		fmt.Fprintf(c.out, "\n%v\nLogs and histories stay in %s; seed %d\n", err, c.fleet.dir, c.seed)
		return
	}
	if c.interrupted {
		fmt.Fprintf(c.out, "\nInterrupted: the newest histories were not checked. Nothing wrong was found before.\n")
		return
	}
	fmt.Fprintf(c.out, "\nNothing wrong was found.\n")
}
