package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/tools/testnode"
	"github.com/cairndb/cairn/tools/wire"
)

// The failover mode measures for how long slots can't be written to when their primary is lost or gives its place up.

// trial is one kind of loss.
type trial struct {
	name string
	// batch and pace make the load of each writer.
	batch int
	pace  time.Duration
	// do brings the loss about and returns the primaries concerned, and since when; fence, if any, is asked at the end what went wrong.
	do func(c *campaign, ctx context.Context, s shape) (victims []int, began time.Time, fence func() error, err error)
	// gap: the old primary may serve on for a while, so the longest time between two writes counts, not the time to the first one.
	gap bool
	// lossless: not one acknowledged write may be lost, with or without acknowledgements by replicas.
	lossless bool
	leader   bool // the group's leader has to be a primary
	network  bool // needs namespaces
}

const (
	writersPerShard = 3
	usualBatch      = 4
	usualPace       = 4 * time.Millisecond
)

var trials = []trial{
	{name: "primary killed", batch: usualBatch, pace: usualPace, do: (*campaign).tryKill},
	{name: "primary paused", batch: usualBatch, pace: usualPace, do: (*campaign).tryPause},
	{name: "two primaries killed, the leader among them", batch: usualBatch, pace: usualPace, do: (*campaign).tryTwo, leader: true},
	{name: "CLUSTER FAILOVER", batch: 16, pace: 12 * time.Millisecond, do: (*campaign).tryManual, gap: true, lossless: true},
	{name: "primary cut off", batch: usualBatch, pace: usualPace, do: cut(true, true), gap: true, network: true},
	{name: "primary hears nobody", batch: usualBatch, pace: usualPace, do: cut(false, true), gap: true, network: true},
	{name: "nobody hears the primary", batch: usualBatch, pace: usualPace, do: cut(true, false), gap: true, network: true},
}

// failovers runs each kind so many times on one cluster.
func (c *campaign) failovers(ctx context.Context, times int) (err error) {
	c.began, c.fleet.tell = time.Now(), c.tell
	if c.cluster, err = newFleet(ctx, c.fleet); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			c.cluster.collect()
		}
		c.cluster.close(err != nil)
	}()
	took := make(map[string][]time.Duration)
	for i := range times {
		for _, t := range trials {
			if t.network && c.cluster.network == nil {
				continue
			}
			d, err := c.try(ctx, t, i)
			if err != nil {
				return fmt.Errorf("%s, trial %d: %w", t.name, i+1, err)
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			took[t.name] = append(took[t.name], d)
		}
	}
	fmt.Fprintf(c.out, "\n%-46s %7s %9s %9s\n", "", "trials", "median s", "worst s")
	for _, t := range trials {
		if all := took[t.name]; len(all) > 0 {
			slices.Sort(all)
			fmt.Fprintf(c.out, "%-46s %7d %9.3f %9.3f\n", t.name, len(all), all[len(all)/2].Seconds(), all[len(all)-1].Seconds())
		}
	}
	return nil
}

// try brings one loss about under load, measures, mends and verifies.
func (c *campaign) try(ctx context.Context, t trial, number int) (time.Duration, error) {
	if err := until(ctx, recovery, func() error { return c.cluster.healthy(true) }); err != nil {
		return 0, err
	}
	s, err := c.cluster.shape()
	if err != nil {
		return 0, err
	}
	if t.leader {
		if s, err = c.leaderFirst(ctx, s); err != nil {
			return 0, err
		}
	}
	writers, stop := c.write(ctx, t, s, number)
	defer stop()
	pause(ctx, time.Second)
	victims, began, fence, err := t.do(c, ctx, s)
	if err != nil {
		return 0, err
	}
	down, err := c.downtime(ctx, t, writers, victims, began)
	if err != nil {
		return 0, err
	}
	if fence != nil {
		if err := fence(); err != nil {
			return 0, err
		}
	}
	pause(ctx, 300*time.Millisecond)
	stop()
	n := &nemesis{fleet: c.cluster, rng: c.random(uint64(number)), tell: c.tell, paused: make(map[int]bool), ended: make(map[int]bool), cut: c.cluster.network != nil}
	if _, err := n.mend(); err != nil {
		return 0, err
	}
	if err := until(ctx, recovery, func() error { return c.cluster.healthy(false) }); err != nil {
		return 0, err
	}
	return down, c.verify(t, writers, number, down)
}

// write starts the writers of all shards: by the shard's primary.
func (c *campaign) write(ctx context.Context, t trial, s shape, number int) (writers map[int][]*writer, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	writers = make(map[int][]*writer)
	for _, p := range s.primaries {
		members := []string{c.cluster.nodes[p].Addr()}
		for _, r := range s.replicas[p] {
			members = append(members, c.cluster.nodes[r].Addr())
		}
		for i := range writersPerShard {
			w := newWriter(c.tagOf(p, fmt.Sprintf("%s:%d:%d", t.name, number, i)), members, t.batch, t.pace)
			writers[p] = append(writers[p], w)
			wg.Go(func() { w.run(ctx) })
		}
	}
	return writers, func() { cancel(); wg.Wait() }
}

// tagOf is a hash tag of a slot that the node owns.
func (c *campaign) tagOf(node int, name string) string {
	table, err := c.cluster.table(c.cluster.nodes[node])
	for try := 0; err == nil; try++ {
		tag := fmt.Sprintf("%s:%d", name, try)
		for _, o := range table {
			if o.address == c.cluster.nodes[node].Addr() && o.owns(keys.Slot([]byte(tag))) {
				return tag
			}
		}
	}
	return name
}

// downLimit bounds the wait for slots to be written to again.
const downLimit = 30 * time.Second

// downtime waits until all writers of the victims' slots have been acknowledged by others.
func (c *campaign) downtime(ctx context.Context, t trial, writers map[int][]*writer, victims []int, began time.Time) (time.Duration, error) {
	worst := time.Duration(0)
	for _, v := range victims {
		for _, w := range writers[v] {
			err := until(ctx, downLimit, func() error {
				d := w.since(began, c.cluster.nodes[v].Addr())
				if d == 0 {
					return fmt.Errorf("no write to the slots of node%d for %v", v, downLimit)
				}
				if t.gap {
					d = w.longest(began)
				}
				worst = max(worst, d)
				return nil
			})
			if err != nil {
				return 0, err
			}
		}
	}
	return worst, nil
}

// verify looks for every acknowledged write.
func (c *campaign) verify(t trial, writers map[int][]*writer, number int, down time.Duration) error {
	s, err := c.cluster.shape()
	if err != nil {
		return err
	}
	written, lost, strange := 0, 0, make(map[string]int)
	for _, of := range writers {
		for _, w := range of {
			address := c.ownerOf(s, w.tag)
			n, err := w.lost(address)
			if err != nil {
				return err
			}
			lost += n
			written += len(w.acked)
			for kind, times := range w.strange {
				strange[kind] += times
			}
		}
	}
	text := ""
	for _, kind := range slices.Sorted(maps.Keys(strange)) {
		text += fmt.Sprintf(", %d times %s", strange[kind], kind)
	}
	c.tell("%s, trial %d: %.3f s; %d writes acknowledged, %d of them lost%s", t.name, number+1, down.Seconds(), written, lost, text)
	if lost > 0 && (t.lossless || c.fleet.acks > 0) {
		return violation{fmt.Sprintf("%d acknowledged writes are lost", lost)}
	}
	return nil
}

// ownerOf is the address of a tag's owner.
func (c *campaign) ownerOf(s shape, tag string) string {
	for _, p := range s.primaries {
		if table, err := c.cluster.table(c.cluster.nodes[p]); err == nil {
			for _, o := range table {
				if o.owns(keys.Slot([]byte(tag))) {
					return o.address
				}
			}
		}
	}
	return ""
}

func (c *campaign) tryKill(_ context.Context, s shape) ([]int, time.Time, func() error, error) {
	victim := pick(c.random(uint64(time.Now().UnixNano())), s.primaries)
	c.cluster.nodes[victim].Kill()
	return []int{victim}, time.Now(), nil, nil
}

// tryTwo kills the group's leader, which is a primary, and another primary.
func (c *campaign) tryTwo(_ context.Context, s shape) ([]int, time.Time, func() error, error) {
	victims := []int{s.leader}
	for _, p := range s.primaries {
		if p != s.leader && len(victims) < 2 {
			victims = append(victims, p)
		}
	}
	for _, v := range victims {
		_ = c.cluster.nodes[v].Signal(9)
	}
	for _, v := range victims {
		c.cluster.nodes[v].Kill()
	}
	return victims, time.Now(), nil, nil
}

// leaderFirst makes the group's leader a primary, if it is a replica.
func (c *campaign) leaderFirst(ctx context.Context, s shape) (shape, error) {
	err := until(ctx, recovery, func() (err error) {
		if s, err = c.cluster.shape(); err != nil {
			return err
		}
		switch {
		case s.leader < 0:
			return fmt.Errorf("the group has no leader")
		case slices.Contains(s.primaries, s.leader):
			return nil
		}
		_, _ = c.cluster.ask(c.cluster.nodes[s.leader], "CLUSTER", "FAILOVER")
		pause(ctx, 300*time.Millisecond)
		return fmt.Errorf("the leader is no primary")
	})
	return s, err
}

// cut separates a primary from all other nodes, in one direction or both; clients reach it on.
func cut(out, in bool) func(*campaign, context.Context, shape) ([]int, time.Time, func() error, error) {
	return func(c *campaign, _ context.Context, s shape) ([]int, time.Time, func() error, error) {
		victim := pick(c.random(uint64(time.Now().UnixNano())), s.primaries)
		n := &nemesis{fleet: c.cluster}
		return []int{victim}, time.Now(), nil, n.separate([]int{victim}, out, in)
	}
}

func (c *campaign) tryManual(ctx context.Context, s shape) ([]int, time.Time, func() error, error) {
	victim := pick(c.random(uint64(time.Now().UnixNano())), s.primaries)
	began := time.Now()
	_, err := c.cluster.ask(c.cluster.nodes[s.replicas[victim][0]], "CLUSTER", "FAILOVER")
	return []int{victim}, began, nil, err
}

// tryPause stops the process of a primary. When its slots are written to elsewhere, it is sent writes, goes on, and is sent more: it must not
// acknowledge any of them.
func (c *campaign) tryPause(_ context.Context, s shape) ([]int, time.Time, func() error, error) {
	victim := pick(c.random(uint64(time.Now().UnixNano())), s.primaries)
	node := c.cluster.nodes[victim]
	tag := c.tagOf(victim, "fenced")
	var conns []*wire.Conn
	for range 4 {
		conn, err := node.Dial()
		if err != nil {
			return nil, time.Time{}, nil, err
		}
		conns = append(conns, conn)
	}
	if err := node.Pause(); err != nil {
		return nil, time.Time{}, nil, err
	}
	return []int{victim}, time.Now(), func() error { return fenced(node, tag, conns) }, nil
}

// fenced resumes the node and looks at what it answers to writes that it receives from then on.
func fenced(node *testnode.Node, tag string, conns []*wire.Conn) error {
	for range 4 { // the system accepts connections for a process that stands still
		if conn, err := node.Dial(); err == nil {
			conns = append(conns, conn)
		}
	}
	for _, conn := range conns {
		defer conn.Close()
		conn.Timeout = 5 * time.Second
		if err := conn.Send("SET", "{"+tag+"}", "late"); err == nil {
			_ = conn.Flush()
		}
	}
	if err := node.Resume(); err != nil {
		return err
	}
	for until := time.Now().Add(time.Second); time.Now().Before(until); {
		for _, conn := range conns {
			if v, err := conn.Receive(); err == nil && !v.IsError() {
				return violation{fmt.Sprintf("a paused primary acknowledged a write after it went on: %v", v)}
			}
			if conn.Send("SET", "{"+tag+"}", "later") == nil {
				_ = conn.Flush()
			}
		}
	}
	return nil
}
