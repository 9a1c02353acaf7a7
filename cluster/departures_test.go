package cluster

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/cairndb/cairn/cluster/epoch"
	"github.com/cairndb/cairn/tools/poll"
)

func TestDepartures(t *testing.T) {
	t.Parallel()
	c := &Cluster{}
	departing := func(slot uint16) (<-chan struct{}, bool) { return c.Departing(slot) }
	if _, yes := departing(7); yes {
		t.Error("nothing departs")
	}
	both := c.departures.begin(set(7, 8))
	one := c.departures.begin(set(8, 8))
	seven, yes7 := departing(7)
	eight, yes8 := departing(8)
	if _, yes9 := departing(9); seven == nil || eight == nil || !yes7 || !yes8 || yes9 {
		t.Fatal("slots 7 and 8 depart")
	}
	c.departures.end(both)
	<-seven
	_, yes7 = departing(7)
	if _, yes8 = departing(8); yes7 || !yes8 {
		t.Error("slot 8 departs still")
	}
	<-eight // it is worth looking again
	c.departures.letLook(one)
	if wait, yes := departing(8); wait != nil || !yes {
		t.Error("slot 8 departs still, but is not to be waited for")
	}
	c.departures.end(one)
	if _, yes := departing(8); yes {
		t.Error("nothing departs any more")
	}
	late := c.departures.begin(set(9, 9))
	c.departures.endAll()
	if _, yes := departing(9); yes || c.departures.has(late) {
		t.Error("all have ended")
	}
}

func TestMayBeGranted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want bool
	}{
		{nil, false}, {&epoch.Refused{Outcome: epoch.Stale}, false}, {refuse("no"), false}, {fmt.Errorf("%w: late", epoch.ErrUnreached), false},
		{errStaleView, false}, {fmt.Errorf("%w: late", epoch.ErrUnknown), true}, {errors.New("the view has not come"), true},
	} {
		if got := mayBeGranted(c.err); got != c.want {
			t.Errorf("%v: %v", c.err, got)
		}
	}
}

// A grant that nobody has answered is made later: until that is known no command for the slot runs at the node that gave it up. What is
// written there would be lost. So it is after a restart of that node.
func TestLateGrant(t *testing.T) {
	t.Parallel()
	var members []*member
	for range 3 {
		o := options(t, 2*time.Second)
		o.GroupDir = filepath.Join(t.TempDir(), "epochs")
		members = append(members, start(t, o))
	}
	join(t, members)
	poll.Within(t, "the group is there, with all as voters", time.Minute, everyone(members, func(m *member) bool {
		s, _, ok := m.GroupStatus()
		return m.Formed() && m.Undecided() == nil && ok && len(s.Voters) == 3 && s.Leader != ""
	}))
	// The source is the group's leader: what it asks for while it is alone is in its log, and is granted when the others are back.
	source, others := members[0], members[1:]
	s, _, _ := source.GroupStatus()
	for i, m := range members {
		if m.id() == s.Leader {
			source, others = m, append(append([]*member(nil), members[:i]...), members[i+1:]...)
		}
	}
	target, slot := others[0].id(), source.View().Self().Slots[0].First
	if err := source.Migrate(slot, string(target)); err != nil {
		t.Fatal(err)
	}
	for _, m := range others {
		m.stop()
	}
	err := source.Assign(slot, string(target), holds(0))
	if err == nil {
		t.Fatal("granted without a majority")
	}
	t.Logf("unanswered: %v", err)
	if _, yes := source.Departing(slot); !yes && mayBeGranted(err) {
		t.Error("commands run although the slot may be granted to another node yet")
	}
	source.stop()
	again := func(m *member) {
		m.o.BusPort, m.o.Port = 0, m.BusPort()-busOffset
		m.start()
	}
	again(source)
	if _, yes := source.Departing(slot); !yes {
		t.Error("after the restart commands run although the slot may be granted to another node yet")
	}
	for _, m := range others {
		again(m)
	}
	poll.Within(t, "it is known whose the slot is", time.Minute, func() bool { _, yes := source.Departing(slot); return !yes })
	owner := source.View().Owner(slot).ID
	t.Logf("granted late: %v", owner == target)
	settled(t, members)
	for _, m := range members {
		if now := m.View().Owner(slot).ID; now != owner {
			t.Errorf("the slot was %s's when commands were let go, and is %s's", owner, now)
		}
	}
}
