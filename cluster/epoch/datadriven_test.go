package epoch

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cairndb/cairn/cluster/slotmap"
	"github.com/cockroachdb/datadriven"
)

// In the stories a node is "a0", "a1", … and a shard "0", "1", ….
func storyNode(s string) slotmap.NodeID {
	if s == "" {
		return ""
	}
	return nid(0)[:40-len(s)] + slotmap.NodeID(s)
}

func short(id slotmap.NodeID) string {
	if id == "" {
		return "-"
	}
	return strings.TrimLeft(strings.TrimPrefix(string(id[:39]), "5"), "0") + string(id[39:])
}

func shorts(ids []slotmap.NodeID) string {
	var out []string
	for _, id := range ids {
		out = append(out, short(id))
	}
	return strings.Join(out, ",")
}

func storyShard(s string) ShardID {
	if s == "" {
		return ""
	}
	return sid(0)[:39] + ShardID(s)
}

type args struct {
	t *testing.T
	d *datadriven.TestData
}

func (a args) list(key string) []string {
	for _, arg := range a.d.CmdArgs {
		if arg.Key == key {
			return arg.Vals
		}
	}
	return nil
}

func (a args) str(key string) string {
	if v := a.list(key); len(v) > 0 {
		return v[0]
	}
	return ""
}

func (a args) has(key string) bool {
	return slices.ContainsFunc(a.d.CmdArgs, func(c datadriven.CmdArg) bool { return c.Key == key })
}

func (a args) num(key string) uint64 {
	v := a.str(key)
	if v == "" {
		return 0
	}
	if v == "max" {
		return math.MaxUint64
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		a.t.Fatal(err)
	}
	return n
}

func (a args) nodes(key string) (out []slotmap.NodeID) {
	for _, s := range a.list(key) {
		out = append(out, storyNode(s))
	}
	return out
}

func (a args) slots() *slotmap.Set {
	var rs []slotmap.Range
	for _, s := range a.list("slots") {
		r, ok := slotmap.ParseRange(s)
		if !ok {
			a.t.Fatalf("slots %q", s)
		}
		rs = append(rs, r)
	}
	return slotmap.SetOf(rs)
}

func (t *Table) story() string {
	var b strings.Builder
	fmt.Fprintf(&b, "epoch %d", t.Epoch)
	if t.Into != "" {
		fmt.Fprintf(&b, ", gave way to %s", short(t.Into))
	}
	b.WriteByte('\n')
	for _, s := range t.Shards {
		fmt.Fprintf(&b, "shard %s at %d: primary %s of %s", short(s.ID), s.Epoch, short(s.Primary), shorts(s.Members))
		if s.Strict {
			fmt.Fprintf(&b, ", in sync [%s]", shorts(s.InSync))
		}
		if s.Remains != nil {
			fmt.Fprintf(&b, ", remains %v", s.Remains.Ranges())
		}
		b.WriteByte('\n')
	}
	t.Runs(func(r slotmap.Range, owner *Shard, epoch uint64) {
		id := ShardID("")
		if owner != nil {
			id = owner.ID
		}
		fmt.Fprintf(&b, "  %s %s at %d\n", r, short(id), epoch)
	})
	return b.String()
}

// TestTable tells what each request does. A retry is the same request under the same name.
func TestTable(t *testing.T) {
	t.Parallel()
	datadriven.Walk(t, "testdata/table", func(t *testing.T, path string) {
		tab := empty()
		names := make(map[string]RequestID)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			a := args{t, d}
			r := Request{
				ID: NewRequestID(), Seen: a.num("seen"), Shard: storyShard(a.str("shard")), Node: storyNode(a.str("node")), Expect: a.num("expect"),
				Released: a.has("released"), Strict: a.has("strict"), Lossy: a.has("lossy"), InSync: a.nodes("insync"), Cluster: storyNode(a.str("cluster")),
			}
			if a.has("slots") {
				r.Slots = tab.Expect(a.slots())
			}
			if a.has("stale") {
				r.Slots[0].Epoch++
			}
			if s := tab.Shard(r.Shard); s != nil {
				r.Revision = s.Revision
				if !a.has("expect") {
					r.Expect = s.Epoch
				}
			}
			if a.has("revision") {
				r.Revision = a.num("revision")
			}
			if name := a.str("id"); name != "" {
				if _, ok := names[name]; !ok {
					names[name] = r.ID
				}
				r.ID = names[name]
			}
			switch d.Cmd {
			case "show":
				return tab.story()
			case "adopt":
				r.Op = OpAdopt
				r.Table = a.founders()
			case "slots":
				r.Op = OpSlots
			case "primary":
				r.Op = OpPrimary
			case "insync":
				r.Op = OpInSync
			case "member":
				r.Op = OpMember
			case "forget":
				r.Op = OpForget
			case "dissolve":
				r.Op = OpDissolve
			case "dropped":
				r.Op = OpDropped
			case "recover":
				seed := *tab
				seed.Generation++
				r.Op, r.Table, tab = OpAdopt, &seed, empty()
			default:
				t.Fatalf("unknown command %s", d.Cmd)
			}
			next, res := apply(tab, tab.Version+1, &r)
			tab = next
			if err := tab.check(); err != nil {
				t.Fatal(err)
			}
			if res.Epoch != 0 {
				return fmt.Sprintf("%v: epoch %d", res.Outcome, res.Epoch)
			}
			return res.Outcome.String()
		})
	})
}

// founders reads one shard a line: shard epoch primary,replica,… slots…
func (a args) founders() *Table {
	var fs []Founder
	for line := range strings.Lines(a.d.Input) {
		f := strings.Fields(line)
		nodes := strings.Split(f[2], ",")
		e, err := strconv.ParseUint(f[1], 10, 64)
		if err != nil {
			a.t.Fatal(err)
		}
		fo := Founder{Shard: storyShard(f[0]), Epoch: e, Primary: storyNode(nodes[0])}
		for _, n := range nodes[1:] {
			fo.Replicas = append(fo.Replicas, storyNode(n))
		}
		for _, s := range f[3:] {
			r, ok := slotmap.ParseRange(s)
			if !ok {
				a.t.Fatalf("slots %q", s)
			}
			fo.Slots = append(fo.Slots, r)
		}
		fs = append(fs, fo)
	}
	tab, err := Form(storyNode(a.str("cluster")), fs)
	if err != nil {
		a.t.Fatal(err)
	}
	return tab
}

// TestFailoverStories plays answers to a Failover: times are milliseconds, grace is 100.
func TestFailoverStories(t *testing.T) {
	t.Parallel()
	datadriven.Walk(t, "testdata/failover", func(t *testing.T, path string) {
		var f *Failover
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			a := args{t, d}
			now := time.Duration(a.num("at")) * time.Millisecond
			switch d.Cmd {
			case "start":
				s := &Shard{ID: sid(0), Primary: storyNode("a0"), Epoch: 1, Members: sorted(a.nodes("members")), Strict: a.has("strict"), InSync: a.nodes("insync")}
				f = NewFailover(&Table{Voters: a.nodes("voters")}, s, 100*time.Millisecond, 3*time.Second, now)
			case "agreed":
				for _, v := range a.nodes("voter") {
					f.Agreed(now, v, time.Duration(a.num("wait"))*time.Millisecond)
				}
			case "offer":
				f.Offered(Offer{Node: storyNode(a.str("node")), Willing: !a.has("unwilling"), Doubtful: a.has("doubtful"), Term: a.num("term"), Offset: a.num("offset"), Priority: a.num("priority")})
			case "tick":
			default:
				t.Fatalf("unknown command %s", d.Cmd)
			}
			var out []string
			for _, s := range f.Steps(now) {
				switch {
				case s.Agree != "":
					out = append(out, "ask voter "+short(s.Agree))
				case s.Offer != "":
					out = append(out, "ask member "+short(s.Offer))
				case s.Grant != "":
					out = append(out, "grant "+short(s.Grant))
				case s.GiveUp:
					out = append(out, "give up")
				}
			}
			if f.phase == done {
				return strings.Join(append(out, "over"), "\n")
			}
			return strings.Join(append(out, fmt.Sprintf("next at %d", f.Wake(now).Milliseconds())), "\n")
		})
	})
}
