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
	blocking  bool // scenes with commands that wait
	maxDiffs  int
	shrinkFor time.Duration
	out       io.Writer
}

func main() {
	var o options
	var names, redis, cairn, both string
	var selfPlay bool
	flag.Uint64Var(&o.seed, "seed", rand.Uint64N(1e9), "seed of the first case; case n has seed+n")
	flag.IntVar(&o.commands, "commands", 200_000, "commands to compare")
	flag.IntVar(&o.perCase, "case", 1000, "commands between two empty states")
	flag.StringVar(&names, "families", "", "families to draw from, with commas: "+strings.Join(familyNames(), ",")+" (default all)")
	flag.BoolVar(&o.blocking, "blocking", false, "scenes in which commands wait, too: who is served late by a write may be served after the next one")
	flag.IntVar(&o.maxDiffs, "max-diffs", 10, "stop after so many kinds of differences")
	flag.DurationVar(&o.shrinkFor, "shrink", 10*time.Second, "time to look for a shorter sequence")
	flag.StringVar(&redis, "redis", "redis-server", "the program to compare with")
	flag.StringVar(&both, "both", "", "further arguments of both programs, as \"--set-max-intset-entries 4\"")
	flag.StringVar(&cairn, "cairn", "", "further arguments of Cairn, as \"--packed-max-bytes 64\"")
	flag.BoolVar(&selfPlay, "self-play", false, "compare Redis with itself, to check the tester")
	flag.Parse()
	o.out = os.Stdout
	o.families = familyNames()
	if names != "" {
		o.families = strings.Split(names, ",")
	}
	if err := run(o, redis, selfPlay, strings.Fields(both), strings.Fields(cairn)); err != nil {
		slog.Error("difftest", "err", err)
		os.Exit(1)
	}
}

func run(o options, redis string, selfPlay bool, both, cairn []string) error {
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
	cases := max((o.commands+o.perCase-1)/o.perCase, 2)
	executed, found, start := 0, 0, time.Now()
	kinds := make(map[string]bool)
	progress := time.Now()
	for i := range cases {
		seed := o.seed + uint64(i)
		restart := map[int]string{cases / 2: "TERM", cases/2 + 1: "KILL"}[i]
		if cases == 2 {
			restart = []string{"TERM", "KILL"}[i]
		}
		g := newGenerator(seed, o.families)
		if !o.blocking {
			g.scenes = nil
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
	return found, nil
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
