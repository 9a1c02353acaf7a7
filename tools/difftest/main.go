// Command difftest sends the same seeded random commands to Redis and to Cairn
// and compares the replies exactly.
//
//	go run ./tools/difftest -commands 200000
//
// A difference is printed with its seed, the shortest sequence found that shows
// it, and both replies. Differences that are intended stand in
// docs/differences.md.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/tools/testnode"
)

// maxTold is how many steps before a difference are printed; the seed gives the others.
const maxTold = 40

// options of a run.
type options struct {
	seed      uint64
	commands  int // in all
	perCase   int // between two empty states
	families  []string
	small     bool // thresholds, so that most collections are spread
	restarts  int  // cases from one with a restart to the next; 0: two in the middle of all
	maxDiffs  int
	shrinkFor time.Duration
	out       io.Writer
}

func main() {
	var o options
	var names, redis, cairn, both string
	var nodes int
	var selfPlay bool
	flag.Uint64Var(&o.seed, "seed", rand.Uint64N(1e9), "seed of the first case; case n has seed+n")
	flag.IntVar(&o.commands, "commands", 200_000, "commands to compare")
	flag.IntVar(&o.perCase, "case", 1000, "commands between two empty states")
	flag.StringVar(&names, "families", "", "families to draw from, with commas: "+strings.Join(familyNames(), ",")+" (default all)")
	flag.IntVar(&o.maxDiffs, "max-diffs", 10, "stop after so many kinds of differences")
	flag.DurationVar(&o.shrinkFor, "shrink", 10*time.Second, "time to look for a shorter sequence")
	flag.StringVar(&redis, "redis", "redis-server", "the program to compare with")
	flag.StringVar(&both, "both", "", "further arguments of both programs, as \"--set-max-intset-entries 4\"")
	flag.StringVar(&cairn, "cairn", "", "further arguments of Cairn, as \"--packed-max-bytes 64\"")
	flag.IntVar(&nodes, "cluster", 0, "so many nodes of Cairn, between which the slots of all keys move to and fro; Redis is a cluster of one")
	flag.IntVar(&o.restarts, "restarts", 0, "a restart in one of so many cases (default: two in the middle of all)")
	flag.BoolVar(&o.small, "small", false, "begin each case with small thresholds, so that most collections are spread")
	flag.BoolVar(&selfPlay, "self-play", false, "compare Redis with itself, to check the tester")
	flag.Parse()
	o.out = os.Stdout
	o.families = familyNames()
	if names != "" {
		o.families = strings.Split(names, ",")
	}
	if nodes > 0 && names == "" {
		o.families = clusterFamilies()
	}
	if err := run(o, redis, selfPlay, nodes, strings.Fields(both), strings.Fields(cairn)); err != nil {
		slog.Error("difftest", "err", err)
		os.Exit(1)
	}
}

func run(o options, redis string, selfPlay bool, nodes int, both, cairn []string) error {
	for _, name := range o.families {
		if families[name] == nil {
			return fmt.Errorf("no family %q; there are %s", name, strings.Join(familyNames(), ", "))
		}
	}
	dir, err := os.MkdirTemp("", "difftest")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if nodes > 0 {
		both = append(both, clusterArgs...)
	}
	other := testnode.RedisOptions(redis, filepath.Join(dir, "other"), both...)
	if !selfPlay {
		binary, err := testnode.Build()
		if err != nil {
			return err
		}
		args := slices.Concat([]string{"--enable-debug-command", "yes"}, both, cairn)
		other = testnode.CairnOptions(binary, filepath.Join(dir, "cairn"), args...)
	}
	c := &comparison{}
	if c.redis, err = startServer(testnode.RedisOptions(redis, filepath.Join(dir, "redis"), both...)); err != nil {
		return err
	}
	defer c.redis.node.Kill()
	if c.cairn, err = startServer(other); err != nil {
		return err
	}
	defer c.cairn.node.Kill()
	if nodes > 0 {
		end, err := c.spread(other, nodes, o.seed)
		if err != nil {
			return err
		}
		defer end()
	}
	found, err := c.campaign(o)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, c.cairn.node.LogTail(4000))
	}
	if found > 0 {
		return fmt.Errorf("%d differences", found)
	}
	return nil
}

func startServer(o testnode.Options) (*server, error) {
	n, err := testnode.New(o)
	if err != nil {
		return nil, err
	}
	return &server{node: n}, n.Start()
}

// spread makes Redis a cluster of one node, and Cairn one of several, between which slots move until end is called.
func (c *comparison) spread(o testnode.Options, nodes int, seed uint64) (end func(), err error) {
	all := []*testnode.Node{c.cairn.node}
	kill := func() {
		for _, n := range all[1:] {
			n.Kill()
		}
	}
	for i := 1; i < nodes && err == nil; i++ {
		options := o
		options.Dir = fmt.Sprint(o.Dir, i)
		var s *server
		if s, err = startServer(options); s != nil {
			all = append(all, s.node)
		}
	}
	if err = errors.Join(err, c.gather(all, seed)); err != nil {
		kill()
		return nil, err
	}
	c.cairn.cluster.mover.start()
	return func() { c.cairn.cluster.mover.close(); kill() }, nil
}

// gather forms the clusters.
func (c *comparison) gather(nodes []*testnode.Node, seed uint64) error {
	if err := testnode.FormCluster([]*testnode.Node{c.redis.node}, patience); err != nil {
		return err
	}
	c.cairn.cluster = newCluster(nodes, seed)
	return testnode.FormCluster(nodes, patience)
}

// clusterArgs are those of nodes of a cluster, in which what a killed node had been granted does not hold the others up for long.
var clusterArgs = []string{"--cluster-enabled", "yes", "--cluster-node-timeout", "2000"}

// clusterFamilies are those whose commands have keys: the others are about connections and nodes.
func clusterFamilies() []string {
	return slices.DeleteFunc(familyNames(), func(name string) bool {
		return slices.Contains([]string{"connection", "server", "introspection", "transactions"}, name)
	})
}

func familyNames() []string {
	var names []string
	for name := range families {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// campaign runs cases until the wanted number of commands is reached, with a
// restart in the case in the middle and one by SIGKILL in the one after it. It returns the number of differences.
func (c *comparison) campaign(o options) (int, error) {
	c.small = o.small
	cases := max((o.commands+o.perCase-1)/o.perCase, 2)
	executed, found, start := 0, 0, time.Now()
	kinds := make(map[string]bool)
	progress := time.Now()
	for i := range cases {
		seed := o.seed + uint64(i)
		restart := o.restart(i, cases)
		g := newGenerator(seed, o.families)
		if cl := c.cairn.cluster; cl != nil {
			g.tags = caseTags(seed)
			cl.mover.use(slotsOf(g.tags))
			g.scenes = nil // their keys lie in several slots
		}
		steps := g.steps(o.perCase, restart)
		d, err := c.runCase(steps)
		if err != nil {
			return found, fmt.Errorf("seed %d: %w", seed, err)
		}
		executed += len(steps)
		if d != nil {
			found++
			// One difference of a kind is told in full.
			if !kinds[d.kind()] {
				kinds[d.kind()] = true
				c.report(o, seed, steps, d)
			}
			if len(kinds) >= o.maxDiffs {
				break
			}
		}
		if time.Since(progress) > 5*time.Second {
			progress = time.Now()
			fmt.Fprintf(o.out, "%d of %d commands, %d differences, %v\n", executed, cases*o.perCase, found, time.Since(start).Round(time.Second))
		}
	}
	fmt.Fprintf(o.out, "%d commands compared, %d differences, seeds from %d, %v\n", executed, found, o.seed, time.Since(start).Round(time.Millisecond))
	if c.cairn.cluster != nil {
		fmt.Fprintln(o.out, c.cairn.cluster)
	}
	return found, nil
}

// restart is the kind of restart in a case, "" for none.
func (o options) restart(i, cases int) string {
	kinds := []string{"TERM", "KILL"}
	switch {
	case o.restarts > 0 && i%o.restarts == o.restarts/2:
		return kinds[i/o.restarts%2]
	case o.restarts > 0:
		return ""
	case cases == 2:
		return kinds[i]
	}
	return map[int]string{cases / 2: kinds[0], cases/2 + 1: kinds[1]}[i]
}

// caseTags are the hash tags of a case's keys in a cluster.
func caseTags(seed uint64) []string {
	return []string{fmt.Sprint("a", seed%1000), fmt.Sprint("b", seed%1000)}
}

func slotsOf(tags []string) (slots []uint16) {
	for _, tag := range tags {
		slots = append(slots, keys.Slot([]byte(tag)))
	}
	return slots
}

func (c *comparison) report(o options, seed uint64, steps []step, d *difference) {
	short, last := steps[:min(d.index+1, len(steps))], d
	if o.shrinkFor > 0 {
		short, last = c.shrink(steps, d, o.shrinkFor)
	}
	fmt.Fprintf(o.out, "difference with seed %d at step %d of %d\n", seed, d.index, len(steps))
	before := short[:max(0, min(last.index, len(short)))]
	if omitted := len(before) - maxTold; omitted > 0 {
		fmt.Fprintf(o.out, "    (%d steps before)\n", omitted)
		before = before[omitted:]
	}
	for _, s := range before {
		fmt.Fprintf(o.out, "    %v\n", s)
	}
	fmt.Fprintf(o.out, "  %v\n", last)
}
