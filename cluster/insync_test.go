package cluster

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/cairndb/cairn/cluster/epoch"
	"github.com/cairndb/cairn/cluster/slotmap"
)

// TestInSync plays a primary, p, of the replicas a, b and c. The group grants what it is asked for by "grant"; "shard" is what else becomes of the shard.
func TestInSync(t *testing.T) {
	t.Parallel()
	datadriven.Walk(t, "testdata/insync", func(t *testing.T, path string) {
		m, at, goals := inSync{}, int64(0), inSyncGoals{want: 1, late: 500, gone: 100}
		shard := &epoch.Shard{ID: digitID("1"), Primary: digitID("f"), Epoch: 1, Revision: 1, Members: []slotmap.NodeID{digitID("a"), digitID("b"), digitID("c"), digitID("f")}}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "want":
				goals.want = number(t, d.CmdArgs[0].Key)
				return ""
			case "shard":
				next := *shard
				next.Revision++
				for _, arg := range d.CmdArgs {
					switch arg.Key {
					case "epoch":
						next.Epoch = uint64(number(t, arg.Vals[0]))
					case "insync":
						next.InSync, next.Strict = digitIDs(arg.Vals), true
					}
				}
				shard = &next
				m.learn(shard)
				return ""
			case "none":
				m.learn(nil)
				return ""
			case "grant":
				next := *shard
				if m.asked == nil || m.asked.epoch != shard.Epoch || m.asked.revision != shard.Revision {
					return "nothing to grant"
				}
				next.Revision, next.InSync, next.Strict = next.Revision+1, m.asked.set, m.asked.strict
				shard = &next
				m.learn(shard)
				return ""
			case "refuse":
				m.refused()
				return ""
			case "step":
			default:
				t.Fatalf("unknown command %s", d.Cmd)
			}
			end, replicas := 0, []replicaAt(nil)
			for _, arg := range d.CmdArgs {
				switch arg.Key {
				case "at":
					at = int64(number(t, arg.Vals[0]))
				case "end":
					end = number(t, arg.Vals[0])
				default:
					replicas = append(replicas, replicaAt{digitID(arg.Key), uint64(number(t, arg.Vals[0]))})
				}
			}
			ask, rule := m.step(at, goals, uint64(end), replicas)
			out := ""
			switch {
			case !rule.bound:
				out = "anybody counts"
			case len(rule.wait) == 0:
				out = "nothing is acknowledged"
			default:
				out = fmt.Sprintf("wait for %s, %d in sync", digits(rule.wait), rule.members)
			}
			if ask != nil {
				out += fmt.Sprintf("\nask for [%s], strict %v", digits(ask.set), ask.strict)
			}
			return out
		})
	})
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func digitIDs(names []string) (ids []slotmap.NodeID) {
	for _, s := range names {
		if s != "" {
			ids = append(ids, digitID(s))
		}
	}
	slices.Sort(ids)
	return ids
}

func digits(ids []slotmap.NodeID) string {
	var out []string
	for _, id := range ids {
		out = append(out, string(id[:1]))
	}
	return strings.Join(out, ",")
}
