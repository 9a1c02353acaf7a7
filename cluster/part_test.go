package cluster

import (
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/cairndb/cairn/cluster/slotmap"
)

// TestRole plays a node, of which each step is done unless it is said to fail.
//
//	primary epoch=2 | replica of=b at=7001 epoch=2 | promised epoch=2    the part that the node should have; a replica whose primary has no address knows none
//	lease held | lease gone | founder    whether it holds its lease, or needs none yet
//	link up | link whole | link down     to the primary that it follows
//	offered                              it has taken nothing more from anybody since it offered to be the primary
//	relead                               a hand-over has failed
//	lost                                 its data are gone
//	step [at=100] [fails]
func TestRole(t *testing.T) {
	t.Parallel()
	datadriven.Walk(t, "testdata/role", func(t *testing.T, path string) {
		var r roleState
		s := standing{lease: time.Second}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "primary", "replica", "promised":
				s.want = wantedBy(t, d)
			case "founder":
				s.fenced, s.leased = false, false
			case "lease":
				s.fenced, s.leased = true, d.CmdArgs[0].Key == "held"
			case "link":
				s.linked, s.whole = d.CmdArgs[0].Key != "down", d.CmdArgs[0].Key == "whole"
			case "offered":
				s.following, s.linked, s.whole = false, false, false
			case "lost":
				s.lost = true
			case "relead":
				s.relead = true
			case "step":
				fails := false
				for _, arg := range d.CmdArgs {
					if fails = fails || arg.Key == "fails"; arg.Key == "at" {
						s.now = time.Duration(number(t, arg.Vals[0])) * time.Millisecond
					}
				}
				step := r.step(s)
				if !fails {
					r.took(step.act, s.want)
					s.following = step.act == beginToFollow || step.act == stay && s.following
				}
				s.relead = false
				return step.tell(s.want)
			default:
				t.Fatalf("unknown command %s", d.Cmd)
			}
			return ""
		})
	})
}

func wantedBy(t *testing.T, d *datadriven.TestData) part {
	p := part{halted: d.Cmd == "promised"}
	for _, arg := range d.CmdArgs {
		switch arg.Key {
		case "epoch":
			p.epoch = uint64(number(t, arg.Vals[0]))
		case "of":
			p.primary = slotmap.NodeID(arg.Vals[0])
		case "at":
			p.host, p.port = "host", number(t, arg.Vals[0])
		}
	}
	return p
}

// tell says in words what a step wants done.
func (s roleStep) tell(want part) string {
	words := []string{s.act.String()}
	if s.act == beginToFollow {
		words[0] += " " + string(want.primary)
	}
	if s.continues {
		words = append(words, "note the epoch")
	}
	if s.certain {
		words = append(words, "certain")
	}
	if s.soon {
		words = append(words, "look again soon")
	}
	return strings.Join(words, ", ")
}
