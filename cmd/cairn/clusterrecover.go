package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cairndb/cairn/tools/wire"
)

type clusterRecoverCmd struct {
	Addr     []string      `arg:"" help:"Nodes that are left (host:port): the first that answers tells of the others."`
	Password string        `env:"CAIRN_PASSWORD,REDISCLI_AUTH" help:"Send AUTH with it to every node."`
	Timeout  time.Duration `default:"2s" help:"How long a node may take to answer."`
	Yes      bool          `help:"Do it without asking."`
}

// Help is shown by "cairn cluster recover --help".
func (clusterRecoverCmd) Help() string {
	return `Up to five nodes vote about who owns which slot. When most of them are lost, nothing is decided any more and nothing is served. If they come back,
all goes on by itself: start them. If they never will, this command has the node that knows most form the group anew, of those that are left; these take the places of
primaries that are lost, and elect new voters.

What only the lost voters knew is lost: slots that were moved, and primaries that were replaced, in the last moments. Nodes that come back later join as what the new group says. As
long as they reach none of the nodes that are left, they must not be started: most of the old voters by themselves would decide, too.

  cairn cluster recover 10.0.0.4:7000`
}

func (c *clusterRecoverCmd) Run(out *output) error {
	seeds, err := (&clusterStatusCmd{Addr: c.Addr, Timeout: c.Timeout}).seeds()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	asker := statusAsker{password: c.Password, timeout: c.Timeout}
	answers, err := asker.cluster(ctx, seeds)
	if err != nil {
		return err
	}
	plan, err := planRecovery(answers)
	if err != nil {
		return err
	}
	plan.print(out.stdout)
	if !c.Yes {
		if err := confirm(out.stdout, "Form the group anew without the lost voters?"); err != nil {
			return err
		}
	}
	if err := c.recover(ctx, plan.chosen.addr); err != nil {
		return fmt.Errorf("%s: %w", plan.chosen.addr, err)
	}
	return c.await(ctx, out.stdout, &asker, plan)
}

// recovery is what is to be done.
type recovery struct {
	chosen     nodeAnswer
	answering  []string
	lost       []string
	voters     int // of the group
	voting     []string
	orphans    []slotRange // of primaries that are lost with all their replicas
	generation int64
}

// planRecovery chooses the node that knows most.
func planRecovery(answers []nodeAnswer) (*recovery, error) {
	p := &recovery{}
	newest := func(a, b nodeAnswer) int {
		return cmp.Or(cmp.Compare(a.number("cluster_group_generation"), b.number("cluster_group_generation")), cmp.Compare(knows(a), knows(b)), strings.Compare(b.addr, a.addr))
	}
	var grouped []nodeAnswer
	for _, a := range answers {
		if a.err != nil {
			p.lost = append(p.lost, fmt.Sprintf("%s (%v)", a.addr, a.err))
			continue
		}
		p.answering = append(p.answering, a.addr)
		if a.number("cluster_group_generation") >= 0 {
			grouped = append(grouped, a)
		}
	}
	if len(grouped) == 0 {
		return nil, errors.New("no node that answers has a group: there is nothing to recover")
	}
	p.chosen = slices.MaxFunc(grouped, newest)
	p.voters, p.generation = int(p.chosen.number("cluster_group_voters")), p.chosen.number("cluster_group_generation")
	for _, a := range grouped {
		switch a.fields["cluster_group_state"] {
		case "leader", "follower", "candidate":
			p.voting = append(p.voting, a.addr)
		}
	}
	if len(p.voting) > p.voters/2 {
		return nil, fmt.Errorf("%d of %d voters answer: there is nothing to recover", len(p.voting), p.voters)
	}
	p.orphans = orphans(p.chosen.nodes, answers)
	return p, nil
}

// knows is the last decision that a node may know of.
func knows(a nodeAnswer) int64 {
	return max(a.number("cluster_group_applied"), a.number("cluster_group_last"))
}

// orphans are the slots whose owner is lost with all its replicas.
func orphans(nodes []nodeLine, answers []nodeAnswer) (slots []slotRange) {
	alive := make(map[string]bool)
	for _, a := range answers {
		if a.err == nil {
			alive[a.self().id] = true
		}
	}
	for _, n := range nodes {
		if n.primary == "" && !alive[n.id] && !slices.ContainsFunc(nodes, func(r nodeLine) bool { return r.primary == n.id && alive[r.id] }) {
			slots = append(slots, n.slots...)
		}
	}
	return slots
}

func (p *recovery) print(w io.Writer) {
	fmt.Fprintf(w, "answer   %s\n", strings.Join(p.answering, " "))
	for _, l := range p.lost {
		fmt.Fprintf(w, "lost     %s\n", l)
	}
	fmt.Fprintf(w, "voters   %d of %d answer: %s\n", len(p.voting), p.voters, strings.Join(p.voting, " "))
	fmt.Fprintf(w, "by       %s, which knows of decisions up to %d\n", p.chosen.addr, knows(p.chosen))
	for _, s := range p.orphans {
		fmt.Fprintf(w, "without  slots %d-%d: no node that answers has their data\n", s.first, s.last)
	}
	fmt.Fprintln(w, "What only the lost voters knew is lost. They must not be started where they do not reach the nodes that are left.")
}

// recoverPatience bounds how long the chosen node looks for a majority, and the new group takes to form.
const recoverPatience = 60 * time.Second

func (c *clusterRecoverCmd) recover(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, recoverPatience)
	defer cancel()
	conn, err := wire.DialContext(ctx, addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	conn.Timeout = recoverPatience
	if c.Password != "" {
		if _, err := conn.Must("AUTH", c.Password); err != nil {
			return err
		}
	}
	_, err = conn.Must("CLUSTER", "RECOVER")
	return err
}

// await waits until all nodes that answer follow the new group.
func (c *clusterRecoverCmd) await(ctx context.Context, w io.Writer, asker *statusAsker, p *recovery) error {
	ctx, cancel := context.WithTimeout(ctx, recoverPatience)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		missing := ""
		for _, a := range asker.all(ctx, p.answering) {
			if a.err != nil || a.number("cluster_group_generation") <= p.generation {
				missing = a.addr
			}
		}
		if missing == "" {
			fmt.Fprintf(w, "recovered: %d nodes follow the new group, and serve within about one cluster-node-timeout\n", len(p.answering))
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s does not follow the new group yet; see cairn cluster status", missing)
		}
	}
}
