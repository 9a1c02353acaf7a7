package command

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

var latencyCommands = []*Command{{
	Name: "latency", Arity: -2, Flags: Unlocked, Group: "server", Since: "2.8.13", Complexity: "Depends on subcommand.",
	Summary: "Holds the commands about latency.",
	Sub: []*Command{
		latencyRow("doctor", 2, latencyDoctor, "Reports on the latency events seen."),
		latencyRow("graph", 3, latencyGraph, "Draws an event's samples.", arg("event", "string")),
		latencyRow("histogram", -2, latencyHistogram, "Returns the distribution of the latencies of commands.", arg("command", "string").opt().many()),
		latencyRow("history", 3, latencyHistory, "Returns an event's samples.", arg("event", "string")),
		latencyRow("latest", 2, latencyLatest, "Returns the latest sample of each event."),
		latencyRow("reset", -2, latencyReset, "Forgets the samples of events.", arg("event", "string").opt().many()).
			tips("request_policy:all_nodes", "response_policy:all_succeeded"),
		{Name: "latency|help", Arity: 2, Flags: Loading | Stale | Unlocked, Run: latencyHelp,
			Group: "server", Since: "2.8.13", Complexity: "O(1)", Summary: "Describes the subcommands."},
	},
}}

func latencyRow(name string, arity int, run func(*Ctx), summary string, args ...Arg) *Command {
	c := &Command{Name: "latency|" + name, Arity: arity, Flags: Admin | NoScript | Loading | Stale | Unlocked, Run: run,
		Group: "server", Since: "2.8.13", Complexity: "O(1)", Summary: summary, Args: args,
		Tips: []string{"nondeterministic_output", "request_policy:all_nodes", "response_policy:special"}}
	if name == "histogram" {
		c.Since = "7.0.0"
		c.Complexity = "O(N) where N is the number of commands with latency information being retrieved."
	}
	return c
}

// latencySamples is how many samples an event keeps, one a second at most, as in Redis.
const latencySamples = 160

// Latency is the latency monitor: the worst durations of each event, second by second. The zero value is ready for use.
type Latency struct {
	mu     sync.Mutex
	events map[string]*latencyEvent
}

type latencyEvent struct {
	samples []latencySample // oldest first
	max     int64           // ms, since the last reset
}

type latencySample struct {
	at int64 // unix seconds
	ms int64
}

// Add records that an event took so long. Callers compare with latency-monitor-threshold first.
func (l *Latency) Add(event string, took time.Duration) {
	now, ms := time.Now().Unix(), took.Milliseconds()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.events == nil {
		l.events = make(map[string]*latencyEvent)
	}
	e := l.events[event]
	if e == nil {
		e = &latencyEvent{}
		l.events[event] = e
	}
	e.max = max(e.max, ms)
	if n := len(e.samples); n > 0 && e.samples[n-1].at == now {
		e.samples[n-1].ms = max(e.samples[n-1].ms, ms)
		return
	}
	if len(e.samples) == latencySamples {
		copy(e.samples, e.samples[1:])
		e.samples = e.samples[:latencySamples-1]
	}
	e.samples = append(e.samples, latencySample{now, ms})
}

// Reset forgets the named events, or all, and returns how many there were.
func (l *Latency) Reset(names ...string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(names) == 0 {
		n := len(l.events)
		clear(l.events)
		return n
	}
	n := 0
	for _, name := range names {
		if _, ok := l.events[name]; ok {
			delete(l.events, name)
			n++
		}
	}
	return n
}

// snapshot copies the events, so that a reply is written without the lock.
func (l *Latency) snapshot() map[string]latencyEvent {
	l.mu.Lock()
	defer l.mu.Unlock()
	copied := make(map[string]latencyEvent, len(l.events))
	for name, e := range l.events {
		copied[name] = latencyEvent{slices.Clone(e.samples), e.max}
	}
	return copied
}

func latencyLatest(c *Ctx) {
	events := c.Node.Latency.snapshot()
	c.Out.Array(len(events))
	for _, name := range slices.Sorted(maps.Keys(events)) {
		e := events[name]
		last := e.samples[len(e.samples)-1]
		c.Out.Array(4)
		c.Out.BulkString(name)
		c.Out.Int(last.at)
		c.Out.Int(last.ms)
		c.Out.Int(e.max)
	}
}

func latencyHistory(c *Ctx) {
	samples := c.Node.Latency.snapshot()[string(c.Args[2])].samples
	c.Out.Array(len(samples))
	for _, s := range samples {
		c.Out.Array(2)
		c.Out.Int(s.at)
		c.Out.Int(s.ms)
	}
}

func latencyReset(c *Ctx) {
	names := make([]string, len(c.Args)-2)
	for i := range names {
		names[i] = string(c.Args[i+2])
	}
	c.Out.Int(int64(c.Node.Latency.Reset(names...)))
}

func latencyHelp(c *Ctx) {
	c.help("LATENCY",
		"DOCTOR", "    Return a human readable latency analysis report.",
		"GRAPH <event>", "    Return an ASCII latency graph for the <event> class.",
		"HISTORY <event>", "    Return time-latency samples for the <event> class.",
		"LATEST", "    Return the latest latency samples for all events.",
		"RESET [<event> ...]", "    Reset latency data of one or more <event> classes.", "    (default: reset all data for all event classes)",
		"HISTOGRAM [COMMAND ...]", "    Return a cumulative distribution of latencies in the format of a histogram for the specified command names.",
		"    If no commands are specified then all histograms are replied.")
}

func latencyGraph(c *Ctx) {
	name := string(c.Args[2])
	e, ok := c.Node.Latency.snapshot()[name]
	if !ok {
		c.Out.Error("ERR No samples available for event '" + quote(c.Args[2]) + "'")
		return
	}
	c.Out.Verbatim("txt", e.graph(name, time.Now().Unix()))
}

const graphRows = 4 // as many as Redis draws

// graph draws the samples as columns between the lowest and the highest, the newest at the right, with their age below.
func (e *latencyEvent) graph(name string, now int64) string {
	lo, hi := e.samples[0].ms, e.samples[0].ms
	for _, s := range e.samples {
		lo, hi = min(lo, s.ms), max(hi, s.ms)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s - high %d ms, low %d ms (all time high %d ms)\n", name, hi, lo, e.max)
	b.WriteString(strings.Repeat("-", 80) + "\n")
	labels := make([]string, len(e.samples))
	for i, s := range e.samples {
		labels[i] = age(now - s.at)
	}
	for row := graphRows - 1; row >= 0; row-- {
		for _, s := range e.samples {
			b.WriteByte(graphMark(s.ms, lo, hi, row))
		}
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	for i := range slices.MaxFunc(labels, func(a, b string) int { return len(a) - len(b) }) {
		for _, l := range labels {
			if i < len(l) {
				b.WriteByte(l[i])
			} else {
				b.WriteByte(' ')
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// graphMark is what a column shows in a row: nothing above its top, then '#' for the highest, 'o' and '_' for parts of a row, '|' below.
func graphMark(ms, lo, hi int64, row int) byte {
	const steps = 3 // marks within a row
	height := 1.0
	if hi > lo {
		height = float64(ms-lo) / float64(hi-lo)
	}
	level := int(height * (graphRows*steps - 1))
	switch top := level / steps; {
	case row > top:
		return ' '
	case row < top:
		return '|'
	}
	return "_o#"[level%steps]
}

// age writes seconds as LATENCY GRAPH labels a column.
func age(seconds int64) string {
	for _, u := range []struct {
		seconds int64
		letter  string
	}{{24 * 3600, "d"}, {3600, "h"}, {60, "m"}} {
		if seconds >= u.seconds {
			return strconv.FormatInt(seconds/u.seconds, 10) + u.letter
		}
	}
	return strconv.FormatInt(seconds, 10) + "s"
}

func latencyDoctor(c *Ctx) {
	c.Out.Verbatim("txt", latencyReport(c.Node.Config.LatencyMonitorThreshold(), c.Node.Latency.snapshot()))
}

// latencyAdvice is what LATENCY DOCTOR says about an event, by its name.
var latencyAdvice = map[string]string{
	"command":      "Commands of more than constant cost were slow. SLOWLOG GET shows which, once slowlog-log-slower-than is low enough.",
	"fast-command": "Commands of constant cost were slow, so something else was in their way: a busy machine, a disk that does not keep up, very large values.",
}

func latencyReport(threshold time.Duration, events map[string]latencyEvent) string {
	if len(events) == 0 {
		if threshold == 0 {
			return "The latency monitor is off: CONFIG SET latency-monitor-threshold <milliseconds> turns it on.\n"
		}
		return "No latency event was seen since the monitor was turned on or reset.\n"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Events that took %d ms or more:\n", threshold.Milliseconds())
	for _, name := range slices.Sorted(maps.Keys(events)) {
		e := events[name]
		sum := int64(0)
		for _, s := range e.samples {
			sum += s.ms
		}
		n := int64(len(e.samples))
		fmt.Fprintf(&b, "\n%s: spikes %d, average %d ms, worst %d ms.\n", name, n, sum/n, e.max)
		if advice := latencyAdvice[name]; advice != "" {
			b.WriteString("  " + advice + "\n")
		}
	}
	return b.String()
}

func latencyHistogram(c *Ctx) {
	var rows []*Command
	add := func(cmd *Command) {
		if c.Node.Stats.of(cmd).latency.Load() != nil {
			rows = append(rows, cmd)
		}
	}
	if len(c.Args) == 2 {
		eachCommand(add)
	}
	for _, name := range c.Args[2:] {
		container, sub, _ := strings.Cut(strings.ToLower(string(name)), "|")
		cmd := find(table, []byte(container))
		switch {
		case cmd == nil:
		case sub != "":
			if s := find(cmd.subs, []byte(sub)); s != nil {
				add(s)
			}
		default:
			add(cmd)
			for _, s := range cmd.Sub {
				add(s)
			}
		}
	}
	c.Out.Map(len(rows))
	for _, cmd := range rows {
		c.Node.Stats.of(cmd).latency.Load().write(c, cmd.Name)
	}
}

// write writes LATENCY HISTOGRAM's entry of one command: cumulative counts at powers of two, where there is anything new.
func (h *histogram) write(c *Ctx, name string) {
	type point struct{ micros, calls uint64 }
	buckets, calls := h.counts()
	var points []point
	seen, next, reported := uint64(0), uint64(1)<<10, uint64(0)
	for i, n := range buckets {
		seen += n
		if bucketEnd(i) < next {
			continue
		}
		if seen > reported {
			points = append(points, point{bucketEnd(i) / 1000, seen})
			reported = seen
		}
		next *= 2
	}
	if seen > reported {
		points = append(points, point{bucketEnd(len(buckets)-1) / 1000, seen})
	}
	w := &c.Out
	w.BulkString(name)
	w.Map(2)
	w.BulkString("calls")
	w.Int(int64(calls))
	w.BulkString("histogram_usec")
	w.Map(len(points))
	for _, p := range points {
		w.Int(int64(p.micros))
		w.Int(int64(p.calls))
	}
}
