package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cairndb/cairn/tools/testnode"
)

// popBar is how much more CPU time an operation may take in the last tenth of a collection than in the first. Of rates there is
// no bar: compactions, which come and go, change them more.
const popBar = 1.5

// popping empties a collection of a type from an end.
type popping struct {
	name, of string
	command  func(i int) []string // takes the i-th element
	// commands for an element; with more than one they come from a single client, in their order.
	commands int
}

// entryID is the id of the i-th entry of a stream that was loaded by sizedTypes.
func entryID(i int) string { return strconv.Itoa(i+1) + "-1" }

var poppings = []popping{
	{"SPOP", "set", func(int) []string { return []string{"SPOP", "large"} }, 1},
	{"ZPOPMIN", "zset", func(int) []string { return []string{"ZPOPMIN", "large"} }, 1},
	{"ZPOPMAX", "zset", func(int) []string { return []string{"ZPOPMAX", "large"} }, 1},
	{"LPOP", "list", func(int) []string { return []string{"LPOP", "large"} }, 1},
	{"RPOP", "list", func(int) []string { return []string{"RPOP", "large"} }, 1},
	{"XDEL", "stream", func(i int) []string { return []string{"XDEL", "large", entryID(i)} }, 1},
	{"XTRIM", "stream", func(i int) []string { return []string{"XTRIM", "large", "MINID", entryID(i + 1)} }, 1},
	{"XREADGROUP, XACK, XDEL", "stream", func(i int) []string {
		switch id := entryID(i / 3); i % 3 {
		case 0:
			return []string{"XREADGROUP", "GROUP", "group", "consumer", "COUNT", "1", "STREAMS", "large", ">"}
		case 1:
			return []string{"XACK", "large", "group", id}
		default:
			return []string{"XDEL", "large", id}
		}
	}, 3},
}

// pops empties a collection of each type and prints how the first and the last tenth of it went.
func pops(ctx context.Context, o options, binary string) error {
	o.records = cmp.Or(o.records, 1_000_000)
	if err := checkRoom(o.dir, int64(o.records)*int64(4*elementBytes)); err != nil {
		return err
	}
	fmt.Printf("\nEmptying a collection of %d elements of %d bytes, pipeline 16, %s\n\n", o.records, len(element(0)), time.Now().Format("2006-01-02"))
	fmt.Print("| | elements/s, first tenth | last tenth | ratio | CPU µs an element, first tenth | last tenth | ratio | longest time without a reply | |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, p := range poppings {
		if o.tests == "" || slices.Contains(strings.Split(o.tests, ","), strings.ToLower(p.name)) {
			if err := o.onNode(ctx, binary, "popping", p.measure); err != nil {
				return err
			}
		}
	}
	return nil
}

// popPart is what emptying a tenth of a collection took.
type popPart struct{ rate, cpu float64 }

func (p *popping) measure(ctx context.Context, o options, n *testnode.Node) error {
	progress("%s, %d elements", p.name, o.records)
	t := sizedTypes[slices.IndexFunc(sizedTypes, func(t sized) bool { return t.name == p.of })]
	if _, err := t.load(ctx, n, "large", o.records); err != nil {
		return err
	}
	c, err := n.Dial()
	if err != nil {
		return err
	}
	defer c.Close()
	if p.commands > 1 {
		if _, err := c.Must("XGROUP", "CREATE", "large", "group", "0"); err != nil {
			return err
		}
	}
	var parts []popPart
	var stall time.Duration
	each := o.records / 10
	for at := 0; at+each <= o.records; at += each {
		part, longest, err := p.part(ctx, n, at, each)
		if err != nil {
			return fmt.Errorf("from element %d on: %w", at, err)
		}
		parts = append(parts, part)
		stall = max(stall, longest)
	}
	first, last := parts[0], parts[len(parts)-1]
	verdict := "ok"
	if last.cpu > first.cpu*popBar {
		verdict = "above"
	}
	fmt.Printf("| %s | %.0f | %.0f | %.2f | %.1f | %.1f | %.2f (≤ %.1f) | %v | %s |\n", p.name, first.rate, last.rate, last.rate/first.rate,
		first.cpu, last.cpu, last.cpu/first.cpu, popBar, stall.Round(time.Millisecond), verdict)
	return nil
}

// part takes so many elements from one on.
func (p *popping) part(ctx context.Context, n *testnode.Node, from, elements int) (part popPart, stall time.Duration, err error) {
	before, err := n.Usage()
	if err != nil {
		return part, 0, err
	}
	l := loader{node: n, clients: 50, window: 16, total: elements * p.commands, command: func(i int, _ []byte) []string {
		return p.command(from*p.commands + i)
	}}
	if p.commands > 1 {
		l.clients, l.window = 1, 16*p.commands
	}
	took, err := l.run(ctx)
	if err != nil {
		return part, 0, err
	}
	after, err := n.Usage()
	cpu := float64((after.CPU() - before.CPU()).Microseconds()) / float64(elements)
	return popPart{took.rate(elements), cpu}, took.stall, err
}
