package cluster

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/cairndb/cairn/tools/poll"
)

// A slot that is moved between full coverage and the forming of the group stays where it was moved to.
func TestMoveBeforeGroup(t *testing.T) {
	t.Parallel()
	var members []*member
	for range 3 {
		o := options(t, 5*time.Second)
		o.GroupDir = filepath.Join(t.TempDir(), "epochs")
		members = append(members, start(t, o))
	}
	join(t, members)
	a, b := members[0], members[1]
	if err := b.Assign(7, string(b.id()), holds(0)); err != nil {
		t.Fatal(err)
	}
	if !b.Formed() {
		t.Error("moved before there was a group")
	}
	poll.Within(t, "all know the new owner from the group", 20*time.Second, everyone(members, func(m *member) bool {
		return m.Formed() && m.View().Owner(7).ID == b.id() && m.Undecided() == nil
	}))
	if err := a.Assign(7, string(b.id()), holds(0)); err != nil { // what redis-cli sends next changes nothing
		t.Fatal(err)
	}
	if err := a.AddSlots(set(6000, 6000)); err == nil {
		t.Error("a slot was added that has an owner")
	}
	if err := a.DelSlots(set(6000, 6000), false); err != nil || a.View().Owner(6000).ID != b.id() {
		t.Error("a slot was taken from its owner:", err)
	}
	if err := a.FlushSlots(holds(1)); err == nil || err.Error() != "DB must be empty to perform CLUSTER FLUSHSLOTS." {
		t.Error(err)
	}
}

// TestStopWaiting: a change that no majority can decide about holds up no stop.
func TestStopWaiting(t *testing.T) {
	t.Parallel()
	var members []*member
	for range 3 {
		o := options(t, 20*time.Second)
		o.GroupDir = filepath.Join(t.TempDir(), "epochs")
		members = append(members, start(t, o))
	}
	join(t, members)
	a := members[0]
	poll.Within(t, "the group is there", time.Minute, everyone(members, func(m *member) bool { return m.Formed() && m.Undecided() == nil }))
	members[1].stop()
	members[2].stop()
	done := make(chan error, 1)
	go func() { done <- a.DelSlots(set(7, 7), true) }()
	a.StopWaiting()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
