package migrate

import (
	"testing"

	"github.com/cairndb/cairn/cluster/slotmap"
	"github.com/cairndb/cairn/tools/poll"
)

// MoveTarget lets moves begin, and get nowhere.
func (s *shardOfOne) MoveTarget(*slotmap.Set, slotmap.NodeID) (slotmap.NodeID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.targets++
	return "", ErrNotNow
}

func (s *shardOfOne) Mine(set *slotmap.Set) *slotmap.Set { return set }

// A job whose slots are still part of an earlier one that is about to end waits for that, one whose slots are being moved does not.
func TestStartWaits(t *testing.T) {
	t.Parallel()
	s, m := startShardOfOne(t)
	one := slotmap.SetOf([]slotmap.Range{{First: slotOf("b"), Last: slotOf("b")}})
	start := func() error { return m.Start(t.Context(), []Request{{Slots: one, Target: "other"}}) }
	for _, busy := range []*slotmap.Set{&m.mu.importing, &m.mu.leaving, &m.mu.dropping} {
		m.update(func() { union(busy, one) })
		asked := 0
		s.is(func() bool { asked = s.targets; return true })
		done := make(chan error, 1)
		go func() { done <- start() }()
		poll.Until(t, "it looks again", func() bool { return s.is(func() bool { return s.targets > asked+2 }) })
		select {
		case err := <-done:
			t.Fatalf("it has not waited: %v", err)
		default:
		}
		m.update(func() { minus(busy, one) })
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if err := start(); err == nil {
			t.Fatal("two jobs move a slot")
		}
		if err := m.Cancel(); err != nil {
			t.Fatal(err)
		}
		if err := start(); err != nil {
			t.Fatalf("after the cancellation: %v", err)
		}
		if err := m.Cancel(); err != nil {
			t.Fatal(err)
		}
		poll.Until(t, "all have ended", func() (ended bool) {
			m.update(func() { ended = m.mu.exporting.Len() == 0 })
			return ended
		})
	}
}

// Nobody is told that an import has ended before its slots may be part of the next one, which its own end does not disturb.
func TestImportedSlotsAreFree(t *testing.T) {
	t.Parallel()
	_, m := startShardOfOne(t)
	one := slotmap.SetOf([]slotmap.Range{{First: slotOf("b"), Last: slotOf("b")}})
	runs := []*importRun{{m: m, from: "other"}, {m: m, from: "another"}}
	for i, r := range runs {
		name := slotmap.NewNodeID()
		if err := r.enlist(&opening{name: name, group: one, all: one}); err != nil {
			t.Fatalf("import %d: %v", i, err)
		}
		if i == 0 {
			r.finish(Success, "")
		}
	}
	runs[0].after(nil)
	if !m.Moving(slotOf("b")) {
		t.Error("the second import is not known any more")
	}
	runs[1].finish(Success, "")
	if m.Moving(slotOf("b")) {
		t.Error("the slot is not free")
	}
}
