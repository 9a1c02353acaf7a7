package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// nemesis does harm and ends it again. All that it draws comes from its seed; what comes of it depends on the moment, too.
type nemesis struct {
	fleet *fleet
	rng   *rand.Rand
	mover *mover
	ports bool // nodes may come back with other ports
	tell  func(format string, args ...any)

	paused map[int]bool
	ended  map[int]bool // those that were meant to end
	cut    bool
}

// fault is one kind of harm. It says what it did; mend, called at the round's end, undoes what can be undone.
type fault struct {
	name string
	do   func(n *nemesis, ctx context.Context, s shape) (string, error)
}

var faults = []fault{
	{"kill", (*nemesis).kill},
	{"kill-primary", (*nemesis).killPrimary},
	{"kill-two", (*nemesis).killTwo},
	{"restart", (*nemesis).restart},
	{"pause", (*nemesis).pauseOne},
	{"isolate", (*nemesis).isolate},
	{"deafen", (*nemesis).deafen},
	{"mute", (*nemesis).mute},
	{"split", (*nemesis).split},
	{"link", (*nemesis).link},
	{"failover", (*nemesis).failover},
	{"force", (*nemesis).force},
	{"move", (*nemesis).move},
	{"disk", (*nemesis).fillDisk},
	{"all", (*nemesis).killAll},
}

// usable are the faults of the given names (all when there are none) that this machine can do.
func (n *nemesis) usable(names string) ([]fault, error) {
	var out []fault
	for _, f := range faults {
		partition := slices.Contains([]string{"isolate", "deafen", "mute", "split", "link"}, f.name)
		switch {
		case names != "" && !slices.Contains(strings.Split(names, ","), f.name):
		case partition && n.fleet.network == nil:
		case f.name == "disk" && len(n.fleet.disks) == 0:
		default:
			out = append(out, f)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no usable fault among %q", names)
	}
	return out, nil
}

func (n *nemesis) label(i int, s shape) string {
	role := "replica"
	if slices.Contains(s.primaries, i) {
		role = "primary"
	}
	if i == s.leader {
		role += " and leader"
	}
	return fmt.Sprintf("node%d (%s)", i, role)
}

func (n *nemesis) killThese(s shape, which []int) (string, error) {
	var names []string
	for _, i := range which {
		names = append(names, n.label(i, s))
		n.ended[i] = true
		n.fleet.nodes[i].Kill()
	}
	return "SIGKILL " + strings.Join(names, ", "), nil
}

func (n *nemesis) kill(_ context.Context, s shape) (string, error) {
	return n.killThese(s, []int{n.rng.IntN(len(n.fleet.nodes))})
}

func (n *nemesis) killPrimary(_ context.Context, s shape) (string, error) {
	return n.killThese(s, []int{pick(n.rng, s.primaries)})
}

// killTwo kills two nodes of two shards at the same time.
func (n *nemesis) killTwo(_ context.Context, s shape) (string, error) {
	order := n.rng.Perm(len(s.primaries))
	return n.killThese(s, []int{n.member(s, s.primaries[order[0]]), n.member(s, s.primaries[order[1]])})
}

// member draws a node of a primary's shard.
func (n *nemesis) member(s shape, primary int) int {
	return pick(n.rng, append([]int{primary}, s.replicas[primary]...))
}

func (n *nemesis) killAll(_ context.Context, s shape) (string, error) {
	return n.killThese(s, n.rng.Perm(len(n.fleet.nodes)))
}

// restart stops a node as an operator does.
func (n *nemesis) restart(_ context.Context, s shape) (string, error) {
	i := n.rng.IntN(len(n.fleet.nodes))
	began := time.Now()
	n.ended[i] = true
	err := n.fleet.nodes[i].Stop(30 * time.Second)
	return fmt.Sprintf("SIGTERM %s, gone after %v", n.label(i, s), time.Since(began).Round(time.Millisecond)), err
}

func (n *nemesis) pauseOne(_ context.Context, s shape) (string, error) {
	i := n.rng.IntN(len(n.fleet.nodes))
	if n.rng.IntN(3) > 0 {
		i = pick(n.rng, s.primaries)
	}
	if !n.fleet.nodes[i].Running() {
		return "", nil
	}
	n.paused[i] = true
	return "SIGSTOP " + n.label(i, s), n.fleet.nodes[i].Pause()
}

func (n *nemesis) isolate(_ context.Context, s shape) (string, error) {
	i := n.victim(s)
	return "cut off " + n.label(i, s), n.separate([]int{i}, true, true)
}

func (n *nemesis) deafen(_ context.Context, s shape) (string, error) {
	i := n.victim(s)
	return n.label(i, s) + " receives nothing from the others", n.separate([]int{i}, false, true)
}

func (n *nemesis) mute(_ context.Context, s shape) (string, error) {
	i := n.victim(s)
	return "nothing reaches the others from " + n.label(i, s), n.separate([]int{i}, true, false)
}

// split cuts a minority off from the rest.
func (n *nemesis) split(_ context.Context, s shape) (string, error) {
	some := n.rng.Perm(len(n.fleet.nodes))[:(len(n.fleet.nodes)-1)/2]
	var names []string
	for _, i := range some {
		names = append(names, n.label(i, s))
	}
	return "cut off together " + strings.Join(names, ", "), n.separate(some, true, true)
}

// link cuts one primary off from one other node, mostly its replica: all others still see both.
func (n *nemesis) link(_ context.Context, s shape) (string, error) {
	p := pick(n.rng, s.primaries)
	other := (p + 1 + n.rng.IntN(len(n.fleet.nodes)-1)) % len(n.fleet.nodes)
	if len(s.replicas[p]) > 0 && n.rng.IntN(3) > 0 {
		other = pick(n.rng, s.replicas[p])
	}
	n.cut = true
	if n.rng.IntN(2) == 0 {
		return fmt.Sprintf("nothing reaches node%d from %s", other, n.label(p, s)), n.fleet.network.cut(p, other)
	}
	return fmt.Sprintf("no link between node%d and %s", other, n.label(p, s)), errors.Join(n.fleet.network.cut(p, other), n.fleet.network.cut(other, p))
}

// victim is mostly a primary.
func (n *nemesis) victim(s shape) int {
	if n.rng.IntN(3) == 0 {
		return n.rng.IntN(len(n.fleet.nodes))
	}
	return pick(n.rng, s.primaries)
}

// separate drops what goes out of the given nodes to the others, and what comes in.
func (n *nemesis) separate(some []int, out, in bool) error {
	n.cut = true
	var errs []error
	for a := range n.fleet.nodes {
		for _, b := range some {
			if slices.Contains(some, a) {
				continue
			}
			if out {
				errs = append(errs, n.fleet.network.cut(b, a))
			}
			if in {
				errs = append(errs, n.fleet.network.cut(a, b))
			}
		}
	}
	return errors.Join(errs...)
}

func (n *nemesis) failover(_ context.Context, s shape) (string, error) { return n.fail(s, "") }
func (n *nemesis) force(_ context.Context, s shape) (string, error)    { return n.fail(s, "FORCE") }

func (n *nemesis) fail(s shape, mode string) (string, error) {
	p := pick(n.rng, s.primaries)
	if len(s.replicas[p]) == 0 {
		return "", nil
	}
	i := pick(n.rng, s.replicas[p])
	command := []string{"CLUSTER", "FAILOVER"}
	if mode != "" {
		command = append(command, mode)
	}
	what := fmt.Sprintf("%s on node%d for node%d", strings.Join(command, " "), i, p)
	if _, err := n.fleet.ask(n.fleet.nodes[i], command...); err != nil {
		what += ": " + err.Error() // other harm is being done at the same time
	}
	return what, nil
}

func (n *nemesis) move(ctx context.Context, s shape) (string, error) {
	if len(s.primaries) < 2 {
		return "", nil
	}
	return n.mover.begin(ctx, n.rng, s), nil
}

func (n *nemesis) fillDisk(context.Context, shape) (string, error) {
	var full []int
	for i := range n.fleet.nodes {
		if n.fleet.disks[i] != nil {
			full = append(full, i)
		}
	}
	i := pick(n.rng, full)
	return fmt.Sprintf("filled the disk of node%d", i), n.fleet.disks[i].fill()
}

// unexpected names nodes that ended though nobody ended them.
func (n *nemesis) unexpected() error {
	for i, node := range n.fleet.nodes {
		if !node.Running() && !n.ended[i] {
			return violation{fmt.Sprintf("node%d ended by itself:\n%s", i, node.LogTail(3000))}
		}
	}
	return nil
}

// mend ends all harm: disks are emptied, cuts mended, paused processes go on, those that ended are started in any order, some with new ports.
func (n *nemesis) mend() (string, error) {
	var did []string
	var errs []error
	for _, d := range n.fleet.disks {
		errs = append(errs, d.empty())
	}
	if n.cut {
		n.cut = false
		for i := range n.fleet.nodes {
			errs = append(errs, n.fleet.network.mend(i))
		}
		did = append(did, "mended the network")
	}
	for _, i := range n.rng.Perm(len(n.fleet.nodes)) {
		if n.paused[i] && n.fleet.nodes[i].Running() {
			errs = append(errs, n.fleet.nodes[i].Resume())
			did = append(did, fmt.Sprint("resumed node", i))
		}
		delete(n.paused, i)
	}
	started, err := n.startAll()
	return strings.Join(append(did, started...), ", "), errors.Join(append(errs, err)...)
}

// startAll launches what does not run, and then waits for all to answer.
func (n *nemesis) startAll() (did []string, err error) {
	var launched []int
	for _, i := range n.rng.Perm(len(n.fleet.nodes)) {
		node := n.fleet.nodes[i]
		if node.Running() {
			continue
		}
		what := fmt.Sprint("started node", i)
		delete(n.ended, i)
		if n.ports && n.rng.IntN(3) == 0 {
			if err := n.fleet.renumber(i); err != nil {
				return did, err
			}
			what += fmt.Sprint(" with port ", node.Port)
		}
		if err := node.Launch(); err != nil {
			return did, err
		}
		did = append(did, what)
		launched = append(launched, i)
	}
	for _, i := range launched {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		err := n.fleet.nodes[i].WaitReady(ctx)
		cancel()
		if err != nil {
			return did, fmt.Errorf("node%d does not start: %w\n%s", i, err, n.fleet.nodes[i].LogTail(2000))
		}
	}
	return did, nil
}
