package migrate

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairndb/cairn/cluster/slotmap"
	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/tools/poll"
)

// shardOfOne is the cluster of a primary that looks after what its shard has left behind.
type shardOfOne struct {
	Cluster
	t     *testing.T
	store *engine.Store
	end   context.CancelFunc // of its time as a primary

	mu      sync.Mutex
	serving bool
	remains slotmap.Set
	asked   int // for the remains
	targets int // asked for the target of a move
	voidAt  int // from this question on they prove nothing any more, 0 for never
	held    engine.Offset
	told    []string
}

func (s *shardOfOne) Leaving() *slotmap.Set { return new(slotmap.Set) }

func (s *shardOfOne) NoteLeaving(*slotmap.Set) error { return nil }

func (s *shardOfOne) Serving() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.serving
}

func (s *shardOfOne) Remains() *slotmap.Set {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked++; s.asked == s.voidAt {
		s.remains = slotmap.Set{}
	}
	left := s.remains
	return &left
}

func (s *shardOfOne) Dropped(_ context.Context, set *slotmap.Set) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	each(set, func(slot uint16) {
		if n := s.store.SlotCounts(slot).Keys; n > 0 {
			s.t.Errorf("the group is told that slot %d is dropped, which has %d keys", slot, n)
		}
	})
	if s.held < s.store.End() {
		s.t.Errorf("the group is told of a drop that ends at %d, of which the replicas may have only what lies before %d", s.store.End(), s.held)
	}
	s.told = append(s.told, rangesText(set))
	minus(&s.remains, set)
	return nil
}

func (s *shardOfOne) is(fn func() bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fn()
}

func slotOf(name string) uint16 { return keys.Slot([]byte(name)) }

// startShardOfOne starts a primary that has the keys a, b and c, and whose shard has handed over the slot of a.
func startShardOfOne(t *testing.T) (*shardOfOne, *Manager) {
	t.Helper()
	store, err := engine.Open("data", engine.Options{FS: vfs.NewMem(), RecordCacheBytes: -1, FreeSpaceReserve: 1, MemTableBytes: 1 << 20, CacheBytes: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	s := &shardOfOne{t: t, store: store}
	s.remains.Add(slotOf("a"))
	txn := store.NewTxn()
	for _, name := range []string{"a", "b", "c"} {
		slot := slotOf(name)
		txn.Lock([]uint16{slot}, true)
		header := keys.Header{Type: keys.TypeString}
		if err := txn.Put(engine.Key{Slot: slot, Name: []byte(name)}, header, []byte("value")); err != nil {
			t.Fatal(err)
		}
		if err := txn.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	reign, end := context.WithCancel(context.Background())
	s.end = end
	t.Cleanup(end)
	m := New(Options{
		Self: "me", Cluster: s, Store: func() *engine.Store { return store }, Reign: func() context.Context { return reign },
		WaitHeld: func(_ context.Context, off engine.Offset) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.held = off
			return nil
		},
		Busy: func() bool { return false }, Bandwidth: func() int64 { return 0 },
	})
	t.Cleanup(m.Close)
	return s, m
}

func (s *shardOfOne) has(name string) bool { return s.store.SlotCounts(slotOf(name)).Keys > 0 }

// idle says whether nothing is on its way to be dropped.
func idle(m *Manager) (yes bool) {
	m.update(func() { yes = m.mu.dropping.Len() == 0 })
	return yes
}

// A primary that finds slots which its shard has handed over drops them, once it serves, and these only.
func TestSweep(t *testing.T) {
	t.Parallel()
	s, m := startShardOfOne(t)
	poll.Until(t, "the primary has looked", func() bool { return s.is(func() bool { return s.asked > 2 }) })
	if !s.has("a") || !idle(m) {
		t.Fatal("dropped by a node that does not serve")
	}
	s.is(func() bool { s.serving = true; return true })
	poll.Until(t, "the group is told", func() bool { return s.is(func() bool { return len(s.told) > 0 }) })
	if s.has("a") || !s.has("b") || !s.has("c") {
		t.Errorf("a %v, b %v, c %v", s.has("a"), s.has("b"), s.has("c"))
	}
	poll.Until(t, "nothing is left to do", func() bool { return idle(m) })
	if len(s.told) != 1 {
		t.Errorf("told %v", s.told)
	}
}

// What proves nothing any more when it is about to be dropped, stays.
func TestSweepLooksAgain(t *testing.T) {
	t.Parallel()
	s, m := startShardOfOne(t)
	s.is(func() bool { s.serving, s.voidAt = true, s.asked+3; return true })
	poll.Until(t, "the remains have ended", func() bool { return s.is(func() bool { return s.asked > s.voidAt+2 }) && idle(m) })
	if !s.has("a") || len(s.told) > 0 {
		t.Errorf("dropped, told %v", s.told)
	}
}

// A node that is no primary any more drops nothing: its successor does.
func TestSweepEndsWithReign(t *testing.T) {
	t.Parallel()
	s, m := startShardOfOne(t)
	s.is(func() bool { s.serving = true; return true })
	poll.Until(t, "the drop has begun", func() bool { return !idle(m) })
	s.end()
	poll.Until(t, "it has ended", func() bool { return idle(m) })
	if !s.has("a") {
		t.Error("dropped")
	}
	s.is(func() bool { s.serving = false; return true })
}

// Slots that are to be dropped can neither be moved on nor come back before that is done.
func TestDroppingExcludes(t *testing.T) {
	t.Parallel()
	s, m := startShardOfOne(t)
	s.is(func() bool { s.serving = true; return true })
	poll.Until(t, "the drop has begun", func() bool { return !idle(m) })
	r := &importRun{m: m, from: "other"}
	one := slotmap.SetOf([]slotmap.Range{{First: slotOf("a"), Last: slotOf("a")}})
	if err := r.enlist(&opening{name: "job", group: one, all: one}); err == nil && !idle(m) {
		t.Error("an import has begun")
	}
	poll.Within(t, "it is done", 10*time.Second, func() bool { return idle(m) })
}
