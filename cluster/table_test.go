package cluster

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/cairndb/cairn/cluster/slotmap"
)

// TestTable plays the stories in testdata/table. Nodes are named by one hex digit; times are milliseconds; the
// node timeout is 1000. Commands:
//
//	nodes a=0-5 b=6-9 …  a new table of node a, which knows the others and hears them
//	at 1500              what follows happens then
//	silent b since=900   the gossip does not reach b
//	answers b            it does
//	says c suspects=b epoch=5 slots=0-5  c's new record arrives
//	tick                 time passes; prints what has changed
//	add|del|migrate|import|stable|assign|bump|forget  as CLUSTER subcommands
func TestTable(t *testing.T) {
	t.Parallel()
	datadriven.Walk(t, "testdata/table", func(t *testing.T, path string) {
		s := &story{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			return s.run(t, d)
		})
	})
}

type story struct {
	table *table
	now   int64
}

func digitID(s string) slotmap.NodeID {
	return slotmap.NodeID(strings.Repeat(s, 2*slotmap.NodeIDBytes))
}

func ranges(s string) []slotmap.Range {
	set := new(slotmap.Set)
	for _, word := range strings.Split(s, ",") {
		if r, ok := slotmap.ParseRange(word); ok {
			set.AddRange(r)
		}
	}
	return set.Ranges()
}

func (s *story) run(t *testing.T, d *datadriven.TestData) string {
	var node string
	if len(d.CmdArgs) > 0 {
		node = d.CmdArgs[0].Key
	}
	id := digitID(node)
	var err error
	switch d.Cmd {
	case "nodes":
		s.nodes(d)
		return s.show()
	case "at":
		_, _ = fmt.Sscan(node, &s.now)
		return ""
	case "silent":
		since := s.now
		d.MaybeScanArgs(t, "since", &since)
		s.table.silent(id, since)
		return ""
	case "answers":
		s.table.answered(id, s.now)
		return ""
	case "says":
		s.says(t, d, id)
	case "tick":
		s.table.tick(s.now)
	case "add":
		err = s.table.addSlots(slotmap.SetOf(ranges(node)))
	case "del":
		err = s.table.delSlots(slotmap.SetOf(ranges(node)), s.now)
	case "migrate":
		err = s.table.migrate(ranges(node)[0].First, digitID(d.CmdArgs[1].Key))
	case "import":
		err = s.table.imports(ranges(node)[0].First, digitID(d.CmdArgs[1].Key))
	case "stable":
		s.table.stable(ranges(node)[0].First)
	case "assign":
		keys := int64(0)
		d.MaybeScanArgs(t, "keys", &keys)
		err = s.table.assign(ranges(node)[0].First, digitID(d.CmdArgs[1].Key), keys, s.now)
	case "bump":
		s.table.bump()
	case "forget":
		s.table.forget(id, s.now)
	default:
		t.Fatalf("%s: unknown command", d.Cmd)
	}
	if err != nil {
		return err.Error() + "\n"
	}
	s.table.settle(s.now)
	s.table.judge(s.now)
	return s.show()
}

func (s *story) nodes(d *datadriven.TestData) {
	s.now = 0
	set := Settings{NodeTimeout: time.Second}
	for i, arg := range d.CmdArgs {
		r := record{ID: digitID(arg.Key), Version: 1, Epoch: uint64(i + 1), BusPort: 1, Slots: ranges(strings.Join(arg.Vals, ","))}
		if i == 0 {
			s.table = newTable(r, set, 0)
			continue
		}
		s.table.merge(&state{Sender: r.ID, Records: []record{r}}, true, 0)
		s.table.answered(r.ID, 0)
	}
	s.table.tick(0)
}

func (s *story) says(t *testing.T, d *datadriven.TestData, id slotmap.NodeID) {
	r := record{ID: id, BusPort: 1}
	if p := s.table.peers[id]; p != nil {
		r = p.record
		r.Suspects = nil
	}
	r.Version++
	for _, arg := range d.CmdArgs[1:] {
		switch arg.Key {
		case "suspects":
			for _, v := range arg.Vals {
				r.Suspects = append(r.Suspects, digitID(v))
			}
		case "slots":
			r.Slots = ranges(strings.Join(arg.Vals, ","))
		case "epoch":
			arg.Scan(t, 0, &r.Epoch)
		}
	}
	via := id
	if d.HasArg("via") {
		var by string
		d.ScanArgs(t, "via", &by)
		via = digitID(by)
	}
	s.table.merge(&state{Sender: via, Records: []record{r}}, d.HasArg("met"), s.now)
}

// show prints the state and each node: slots, epoch, flags, marks.
func (s *story) show() string {
	var b strings.Builder
	state := "fail"
	if s.table.up.ok {
		state = "ok"
	}
	fmt.Fprintf(&b, "%s epoch=%d\n", state, s.table.currentEpoch)
	for _, n := range s.table.nodes() {
		var words []string
		for _, r := range n.Slots {
			words = append(words, r.String())
		}
		fmt.Fprintf(&b, "%s@%d %s [%s]", n.ID[:1], n.Epoch, n.Flags(), strings.Join(words, " "))
		if p := s.table.peers[n.ID]; len(p.reports) > 0 {
			var by []string
			for id := range p.reports {
				by = append(by, string(id[:1]))
			}
			slices.Sort(by)
			fmt.Fprintf(&b, " reported by %s", strings.Join(by, ","))
		}
		b.WriteByte('\n')
	}
	for _, mark := range s.table.marks() {
		fmt.Fprintf(&b, "%s\n", mark[:strings.LastIndexByte(mark, '-')+2]+"]")
	}
	return b.String()
}
