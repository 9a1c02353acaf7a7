package main

import (
	"fmt"
	"strings"

	"github.com/cairndb/cairn/engine/keys"
)

// shown is the address, or the ID of a node without one.
func (n nodeReport) shown() string {
	if n.Address == "" {
		return n.ID
	}
	return n.Address
}

func (s *syncReport) String() string {
	if s.Total == 0 {
		return "size not known yet"
	}
	return fmt.Sprintf("%.0f%% (%s of %s)", 100*float64(s.Read)/float64(s.Total), bytesText(s.Read), bytesText(s.Total))
}

func bytesText(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	size, unit := float64(n), ""
	for _, unit = range []string{"KiB", "MiB", "GiB", "TiB"} {
		if size /= 1024; size < 1024 {
			break
		}
	}
	return fmt.Sprintf("%.1f %s", size, unit)
}

// text renders the report as one screen.
func (r *statusReport) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Cluster   %s (cluster_state:%s, as %s sees it)\n", r.Health, r.State, r.SeenBy)
	fmt.Fprintf(&b, "          %d nodes, %d shards, %d of %d slots, %d keys, epoch %d\n", r.Nodes, len(r.Shards), r.Slots, keys.Slots, r.Keys, r.Epoch)
	if g := r.Group; g != nil {
		leader := g.Leader
		if leader == "" {
			leader = "none"
		}
		fmt.Fprintf(&b, "Group     leader %s, term %d, epoch %d\n", leader, g.Term, g.Epoch)
		fmt.Fprintf(&b, "          %d of %d voters answer: %s\n", len(g.Answering), g.Voters, strings.Join(g.Answering, " "))
	}
	l := r.layout()
	for _, s := range r.Shards {
		l.shard(&b, s)
	}
	if len(r.Others) > 0 {
		b.WriteString("\nWithout slots\n")
		for _, n := range r.Others {
			l.node(&b, n)
		}
	}
	writeList(&b, "Warnings", r.Warnings)
	writeList(&b, "Notes", r.Notes)
	return b.String()
}

// layout is how wide the columns are, so that those of all shards are aligned.
type layout struct{ address, health int }

func (r *statusReport) layout() (l layout) {
	widen := func(n nodeReport) {
		l.address, l.health = max(l.address, len(n.shown())), max(l.health, len(n.Health))
	}
	for _, s := range r.Shards {
		widen(s.Primary)
		for _, n := range s.Replicas {
			widen(n)
		}
	}
	for _, n := range r.Others {
		widen(n)
	}
	return l
}

func (l layout) shard(b *strings.Builder, s shardReport) {
	count := "keys not known"
	if s.Keys != nil {
		count = fmt.Sprintf("%d keys", *s.Keys)
	}
	fmt.Fprintf(b, "\nShard %s (%d slots, %s)\n", s.Slots, s.Count, count)
	l.node(b, s.Primary)
	for _, n := range s.Replicas {
		l.node(b, n)
	}
	for _, o := range s.Open {
		preposition := "to"
		if o.State == importing {
			preposition = "from"
		}
		fmt.Fprintf(b, "  slot %d %s %s %s\n", o.Slot, o.State, preposition, o.NodeID)
	}
	for _, m := range s.Moves {
		fmt.Fprintf(b, "  slots %s move to %s: %s, %s left", m.Slots, m.To, m.State, bytesText(m.Remaining))
		if m.Message != "" {
			b.WriteString(" (" + m.Message + ")")
		}
		b.WriteByte('\n')
	}
}

func (l layout) node(b *strings.Builder, n nodeReport) {
	line := fmt.Sprintf("  %s  %-*s  %-8s  %-*s  %s", n.Role, l.address, n.shown(), n.ID[:min(8, len(n.ID))], l.health, n.Health, n.figures())
	fmt.Fprintln(b, strings.TrimRight(line, " "))
}

// figures are what is known of a node's lease, full sync, lag and log.
func (n nodeReport) figures() string {
	var parts, lag []string
	if n.LeaseMS != nil {
		parts = append(parts, fmt.Sprintf("lease %.1f s", float64(*n.LeaseMS)/1000))
	}
	if n.Sync != nil {
		parts = append(parts, n.Sync.String())
	}
	if n.LagBytes != nil {
		lag = append(lag, bytesText(*n.LagBytes))
	}
	if n.LagSeconds != nil {
		lag = append(lag, fmt.Sprintf("%d s", *n.LagSeconds))
	}
	if len(lag) > 0 {
		parts = append(parts, "lag "+strings.Join(lag, ", "))
	}
	if n.Offset != nil {
		parts = append(parts, fmt.Sprintf("offset %d", *n.Offset))
	}
	return strings.Join(parts, "  ")
}

func writeList(b *strings.Builder, title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s\n", title)
	for _, line := range lines {
		fmt.Fprintln(b, "  "+line)
	}
}
