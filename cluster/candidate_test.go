package cluster

import (
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/cairndb/cairn/cluster/epoch"
	"github.com/cairndb/cairn/cluster/slotmap"
	"github.com/cairndb/cairn/replication"
)

// TestCandidate plays node a, of shard 1, whose other members are b and c; d is the primary of shard 2.
//
//	table version=2 primary=b epoch=3 [shard=2] [strict] [insync=(a)]   a table of the group arrives; the shard is that of a
//	data from=2 | data lost               the epoch of the primary whose log a's continues
//	link up | syncing | none | down=5000  to the primary, for so many milliseconds
//	peer b failed | refuses | doubtful | fine
//	stay | validity 10                    cluster-replica-no-failover, cluster-replica-validity-factor
//	offer epoch=2 [shard=2]               a is asked for its offer
//	part                                  what its role should be
//	regrant epoch=2                       what it asks for when nothing comes of a promise
//	failover force [doubtful]
func TestCandidate(t *testing.T) {
	t.Parallel()
	datadriven.Walk(t, "testdata/candidate", func(t *testing.T, path string) {
		w := newCandidate(t)
		datadriven.RunTest(t, path, w.run)
	})
}

type candidate struct {
	tab  *table
	link *replication.LinkStatus
}

func newCandidate(t *testing.T) *candidate {
	t.Helper()
	tab := newTable(record{ID: digitID("a"), Shard: digitID("1"), BusPort: 1}, Settings{NodeTimeout: short, PingPeriod: short}, 0)
	tab.grouped = true
	for i, name := range []string{"b", "c", "d"} {
		if !tab.accept(&record{ID: digitID(name), Version: 1, IP: "host", Port: i + 1, BusPort: 1}, 0) {
			t.Fatal("not accepted")
		}
		tab.answered(digitID(name), 0)
	}
	return &candidate{tab: tab}
}

func (w *candidate) run(t *testing.T, d *datadriven.TestData) string {
	args := make(map[string]string)
	for _, arg := range d.CmdArgs {
		args[arg.Key] = ""
		if len(arg.Vals) > 0 {
			args[arg.Key] = arg.Vals[0]
		}
	}
	at := func(key string) uint64 { return uint64(number(t, args[key])) }
	has := func(key string) bool { _, ok := args[key]; return ok }
	shard := func() slotmap.NodeID {
		if has("shard") {
			return digitID(args["shard"])
		}
		return digitID("1")
	}
	switch d.Cmd {
	case "table":
		g := w.group(t, shard(), digitID(args["primary"]), at("epoch"))
		g.Version = at("version")
		if s := g.Shard(shard()); has("strict") {
			s.Strict, s.InSync = true, digitIDs([]string{args["insync"]})
		}
		if !w.tab.isNews(g) {
			return "no news"
		}
		w.tab.learn(g, 0)
		return ""
	case "data":
		w.tab.follows = 0
		if has("from") {
			w.tab.follows = at("from")
		}
	case "link":
		w.setLink(t, args)
	case "peer":
		p := w.tab.peers[digitID(d.CmdArgs[0].Key)]
		p.failed, p.refuses, p.Doubtful = has("failed"), has("refuses"), has("doubtful")
	case "stay":
		w.tab.set.ReplicaNoFailover = true
	case "validity":
		w.tab.set.ValidityFactor = number(t, d.CmdArgs[0].Key)
	case "offer":
		switch {
		case !w.tab.willing(shard(), w.link):
			return "unwilling"
		case w.tab.promise(shard(), at("epoch")) != nil:
			return "too late"
		}
		return fmt.Sprintf("promised %d, has the log of %d", w.tab.promised, w.tab.follows)
	case "part":
		return w.part()
	case "regrant":
		if r := w.tab.regrant(at("epoch")); r != nil {
			return fmt.Sprintf("%s again, if its epoch is %d", digits([]slotmap.NodeID{r.Node}), r.Expect)
		}
		return "nothing"
	case "failover":
		mode := map[string]FailoverMode{"manual": FailoverManual, "force": FailoverForce, "takeover": FailoverTakeover}[d.CmdArgs[0].Key]
		if err := w.tab.mayFailover(mode, has("doubtful")); err != nil {
			return err.Error()
		}
		return "yes"
	default:
		t.Fatalf("unknown command %s", d.Cmd)
	}
	return ""
}

// group is a table in which a has its place in a shard.
func (w *candidate) group(t *testing.T, shard, primary slotmap.NodeID, at uint64) *epoch.Table {
	t.Helper()
	founders := []epoch.Founder{{Shard: digitID("1"), Primary: digitID("b"), Epoch: 1, Slots: ranges("0-8191")}, {Shard: digitID("2"), Primary: digitID("d"), Epoch: 1, Slots: ranges("8192-16383")}}
	for i := range founders {
		f := &founders[i]
		members := []slotmap.NodeID{digitID("b"), digitID("c")}
		if f.Shard == digitID("2") {
			members = []slotmap.NodeID{digitID("d")}
		}
		if f.Shard == shard {
			f.Primary, f.Epoch = primary, at
			members = append(members, digitID("a"))
		}
		for _, id := range members {
			if id != f.Primary {
				f.Replicas = append(f.Replicas, id)
			}
		}
	}
	g, err := epoch.Form(digitID("f"), founders)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func (w *candidate) setLink(t *testing.T, args map[string]string) {
	w.link = nil
	for state, value := range args {
		switch state {
		case "up":
			w.link = &replication.LinkStatus{Up: true}
		case "syncing":
			w.link = &replication.LinkStatus{Syncing: true}
		case "down":
			w.link = &replication.LinkStatus{Down: time.Duration(number(t, value)) * time.Millisecond}
		}
	}
}

func (w *candidate) part() string {
	p := w.tab.part()
	switch {
	case p.halted:
		return fmt.Sprintf("follow nobody since epoch %d", p.epoch)
	case p.primary == "":
		return fmt.Sprintf("lead at epoch %d", p.epoch)
	}
	return fmt.Sprintf("follow %s at %s:%d, epoch %d", digits([]slotmap.NodeID{p.primary}), p.host, p.port, p.epoch)
}

// TestSuccessor: a primary that stops gives its place to the replica that is furthest, of those that are reached and may be granted.
func TestSuccessor(t *testing.T) {
	t.Parallel()
	a, b, c := digitID("a"), digitID("b"), digitID("c")
	at := func(id slotmap.NodeID, written uint64, state string) replication.ReplicaStatus {
		return replication.ReplicaStatus{NodeID: string(id), Address: "elsewhere", Written: written, State: state}
	}
	for _, tc := range []struct {
		name     string
		shard    epoch.Shard
		silent   slotmap.NodeID
		replicas []replication.ReplicaStatus
		want     slotmap.NodeID
	}{
		{"nobody is linked", epoch.Shard{}, "", nil, ""},
		{"the furthest", epoch.Shard{}, "", []replication.ReplicaStatus{at(b, 5, replication.Online), at(c, 7, replication.Online)}, c},
		{"not one that is being filled", epoch.Shard{}, "", []replication.ReplicaStatus{at(b, 5, replication.Online), at(c, 7, "send_bulk")}, b},
		{"not one that is silent", epoch.Shard{}, c, []replication.ReplicaStatus{at(b, 5, replication.Online), at(c, 7, replication.Online)}, b},
		{"not one that may miss writes", epoch.Shard{Strict: true, InSync: []slotmap.NodeID{b}}, "", []replication.ReplicaStatus{at(b, 5, replication.Online), at(c, 7, replication.Online)}, b},
		{"not one that is to stay a replica", epoch.Shard{}, "", []replication.ReplicaStatus{at(b, 5, replication.Online), at(digitID("e"), 7, replication.Online)}, b},
		{"not another shard's", epoch.Shard{}, "", []replication.ReplicaStatus{at(digitID("d"), 9, replication.Online)}, ""},
	} {
		w := newCandidate(t)
		if p := w.tab.peers[tc.silent]; p != nil {
			p.suspected = true
		}
		s := tc.shard
		s.Primary, s.Members = a, []slotmap.NodeID{a, b, c, digitID("e")}
		w.tab.accept(&record{ID: digitID("e"), Version: 1, BusPort: 1, NoFailover: true}, 0)
		if got := successor(&s, w.tab.view(), replication.Status{Replicas: tc.replicas}); got != tc.want {
			t.Errorf("%s: %q", tc.name, got)
		}
	}
}
