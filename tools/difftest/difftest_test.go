package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/cairndb/cairn/tools/testnode"
	"github.com/cairndb/cairn/tools/wire"
)

// compareNodes runs a campaign on two servers and returns what it found and printed.
func compareNodes(t *testing.T, a, b *testnode.Node, o options) (found int, printed string) {
	t.Helper()
	var out bytes.Buffer
	o.out = &out
	if o.families == nil {
		o.families = familyNames()
	}
	c := &comparison{redis: &server{node: a}, cairn: &server{node: b}}
	found, err := c.campaign(o)
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	return found, out.String()
}

// TestRedisAgainstItself checks the tester: whatever it reports here is its own fault.
func TestRedisAgainstItself(t *testing.T) {
	t.Parallel()
	o := options{seed: 1, commands: 4000, perCase: 1000, maxDiffs: 5}
	// Without background syncs, Redis loses nothing when it is killed.
	if found, out := compareNodes(t, testnode.StartRedis(t), testnode.StartRedis(t, "--appendfsync", "no"), o); found > 0 {
		t.Error(out)
	}
}

// TestFindsDifferences lets the tester find a real one and shrink it to the single command that shows it.
func TestFindsDifferences(t *testing.T) {
	t.Parallel()
	a, b := testnode.StartRedis(t), testnode.StartRedis(t, "--proto-max-bulk-len", "1mb")
	c := &comparison{redis: &server{node: a}, cairn: &server{node: b}}
	steps := newGenerator(1, []string{"strings"}).steps(200, "")
	steps = append(steps, command("SETRANGE", "k0", "2000000", "x"), command("GET", "k0"))
	d, err := c.runCase(steps)
	if err != nil || d == nil {
		t.Fatalf("found %v, %v", d, err)
	}
	short, d := c.shrink(steps, d, 20*time.Second)
	if len(short) != 1 || short[0].args[0] != "SETRANGE" || !strings.Contains(d.String(), "exceeds maximum") {
		t.Errorf("shrunk to %d steps ending with %v", len(short), d)
	}
}

// TestGeneratorIsRepeatable: a seed printed is a case found again.
func TestGeneratorIsRepeatable(t *testing.T) {
	t.Parallel()
	render := func() string {
		var b strings.Builder
		for _, s := range newGenerator(7, familyNames()).steps(5000, "KILL") {
			b.WriteString(s.String() + "\n")
		}
		return b.String()
	}
	first := render()
	if first != render() {
		t.Error("the same seed gave two cases")
	}
	for _, want := range []string{"restart", "cross", "scan", "raw"} {
		if !strings.Contains(first, "> "+want) {
			t.Errorf("no %s step in 5000", want)
		}
	}
}

func TestTemplate(t *testing.T) {
	t.Parallel()
	g := newGenerator(1, nil)
	for range 200 {
		got := strings.Join(parseTemplate("A (B C|D)+ [E] <bit>").expand(g, nil), " ")
		words := strings.Fields(strings.ToUpper(got))
		if len(words) < 2 || words[0] != "A" || (words[1] != "B" && words[1] != "D") {
			t.Fatalf("expanded to %q", got)
		}
	}
}

func TestSame(t *testing.T) {
	t.Parallel()
	num := func(s string) wire.Value { return wire.Value{Kind: ':', Text: s} }
	list := func(s ...string) wire.Value {
		v := wire.Value{Kind: '*'}
		for _, e := range s {
			v.Elems = append(v.Elems, wire.Value{Kind: '$', Text: e})
		}
		return v
	}
	for _, c := range []struct {
		args string
		a, b wire.Value
		want bool
	}{
		{"GET k", num("1"), num("1"), true},
		{"GET k", num("1"), num("2"), false},
		{"GET k", num("1"), wire.Value{Kind: '$', Text: "1"}, false},
		{"PTTL k", num("100000"), num("99000"), true},
		{"PTTL k", num("100000"), num("90000"), false},
		{"TTL k", num("-1"), num("-2"), false},
		{"TTL k", num("1"), num("-1"), false},
		{"keys *", list("a", "b"), list("b", "a"), true},
		{"keys *", list("a", "b"), list("b", "b"), false},
		{"MGET a b", list("a", "b"), list("b", "a"), false},
		{"TIME", list("1", "2"), list("3", "4"), true},
		{"TIME", list("1", "2"), wire.Value{Kind: '*', Null: true}, false},
		{"TIME", wire.Value{Kind: '-', Text: "ERR a"}, wire.Value{Kind: '-', Text: "ERR b"}, false},
		{"CONFIG GET a b", list("a", "1", "b", "2"), list("b", "2", "a", "1"), true},
		{"CONFIG GET a b", list("a", "1", "b", "2"), list("a", "1"), false},
	} {
		if got := same(strings.Fields(c.args), c.a, c.b); got != c.want {
			t.Errorf("%s: %s and %s: same is %v", c.args, c.a, c.b, got)
		}
	}
}
