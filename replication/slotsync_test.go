package replication

import (
	"context"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/tools/poll"
)

// backlog keeps the log of what is in the store's files.
func backlog(n *node) { n.o.LogBacklogBytes = 8 << 20 }

// parted makes a replica b of a, promotes it, and has both write, so that their logs part. What a alone has is in its files.
func parted(t *testing.T, a, b *node, tail func()) {
	t.Helper()
	b.follow(a)
	a.put(0, 1000, 100)
	converge(t, a, b)
	if err := b.m.NoOne(); err != nil {
		t.Fatal(err)
	}
	tail()
	a.stop()
	a.start()
	b.put(1000, 2000, 100)
}

// TestDivergentTailOnDisk: the old primary's lonely writes are in Pebble's files, so the slots that they touch are fetched, and only these.
func TestDivergentTailOnDisk(t *testing.T) {
	t.Parallel()
	a, b, c := newNode(t, "a", backlog), newNode(t, "b", backlog), newNode(t, "c", backlog)
	parted(t, a, b, func() {
		a.put(0, 60, 10)
		a.put(5000, 5020, 10)
		large(t, a, "large", 1<<20)
		remove(t, a, "key:700")
	})
	remove(t, b, "key:3")
	large(t, b, "large", 1<<20)
	c.follow(a) // what it has is repaired, too, when the one before it is
	converge(t, a, c)
	c.stop()
	c.start()
	a.follow(b)
	b.put(10, 20, 50)
	c.follow(a)
	converge(t, b, a, c)
	if st := b.m.Status(); st.FullSyncs != 0 || st.SlotSyncs != 1 {
		t.Errorf("%+v", st)
	}
	st := a.m.Status()
	if st.SlotRepairs != 1 || st.Fetched == 0 {
		t.Errorf("%+v", st)
	}
	if st := c.m.Status(); st.SlotRepairs+st.Rewinds == 0 {
		t.Errorf("%+v", st)
	}
	// The store is whole: it can be a primary, and be parted from again.
	if err := a.m.NoOne(); err != nil {
		t.Fatal(err)
	}
	a.put(300, 400, 10)
	b.put(350, 450, 20)
	if err := b.m.Store().Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	b.follow(a)
	converge(t, a, b)
	if st := b.m.Status(); st.SlotRepairs != 1 {
		t.Errorf("%+v", st)
	}
}

// remove deletes a key.
func remove(t *testing.T, n *node, name string) {
	t.Helper()
	tx := n.m.Store().NewTxn()
	slot := keys.Slot([]byte(name))
	tx.Lock([]uint16{slot}, true)
	if _, err := tx.Delete(engine.Key{Slot: slot, Name: []byte(name)}); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if _, err := n.m.Store().FlushLog(); err != nil {
		t.Fatal(err)
	}
}

// TestDivergentTailNeedsAll: when the tail touches everything, or is not all there, or a repair would send more than there is, everything is
// fetched.
func TestDivergentTailNeedsAll(t *testing.T) {
	t.Parallel()
	for name, tail := range map[string]func(*testing.T, *node){
		"flushall": func(t *testing.T, a *node) {
			tx := a.m.Store().NewTxn()
			tx.LockWorld()
			if err := tx.FlushAll(); err != nil {
				t.Fatal(err)
			}
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
			a.put(0, 10, 10)
		},
		"dropped": func(t *testing.T, a *node) {
			for i := range 10 {
				a.put(i*500, i*500+500, 1000)
			}
		},
		"much": func(_ *testing.T, a *node) { a.put(0, 1000, 10) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := newNode(t, "a", func(n *node) {
				if name != "dropped" {
					backlog(n)
				}
			}), newNode(t, "b", backlog)
			parted(t, a, b, func() { tail(t, a) })
			b.m.mu.Lock()
			b.m.smallRepair = 1
			b.m.mu.Unlock()
			for range 3 {
				b.put(0, 1500, 100) // the log grows, what is stored does not
			}
			a.follow(b)
			converge(t, b, a)
			if st := b.m.Status(); st.FullSyncs != 1 || st.SlotSyncs != 0 {
				t.Errorf("%+v", st)
			}
			if st := a.m.Status(); st.SlotRepairs != 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}

// TestBrokenRepair: the link breaks, or turns a bit, in the repair of slots: it is tried again, and then everything is fetched.
func TestBrokenRepair(t *testing.T) {
	t.Parallel()
	for _, corrupt := range []bool{false, true} {
		var left atomic.Int64
		left.Store(1 << 40)
		var dials, always atomic.Int64
		a := newNode(t, "a", backlog, func(n *node) {
			n.wrap = func(c net.Conn) net.Conn {
				if dials.Add(1) <= always.Load() {
					left.Store(30_000)
				} else {
					left.Store(1 << 40)
				}
				return &breaker{Conn: c, left: &left, corrupt: corrupt}
			}
		})
		b := newNode(t, "b", backlog)
		parted(t, a, b, func() { a.put(0, 500, 10) })
		dials.Store(0)
		always.Store(3)
		a.follow(b)
		converge(t, b, a)
		if st := a.m.Status(); st.SlotRepairs != 1 {
			t.Errorf("corrupt %v: %+v", corrupt, st)
		}
	}
}

// TestRepairLosesPower: again and again a node with lonely writes in its files loses power while it is being repaired.
func TestRepairLosesPower(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	disk := vfs.NewCrashableMem()
	a := newNode(t, "a", backlog, func(n *node) { n.dir, n.o.FS = "/data", disk })
	b := newNode(t, "b", backlog)
	parted(t, a, b, func() { a.put(0, 300, 100) })
	for range 8 {
		a.follow(b)
		b.put(rng.IntN(500), 500+rng.IntN(500), 100)
		at := b.m.Store().End()
		if wait := rng.IntN(3); wait > 0 {
			poll.Within(t, "a is on its way", patience, func() bool {
				st := a.m.Status()
				return wait == 1 && st.Fetched > 0 || a.m.Store().End() >= at && st.Link.Up
			})
		}
		crashed := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
		a.kill()
		disk = crashed
		a.o.FS, a.o.Follow = disk, false // alone for a moment, it writes again
		a.start()
		a.put(rng.IntN(1000), 1000+rng.IntN(100), 10)
		if rng.IntN(2) == 0 {
			if err := a.m.Store().Flush(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	a.follow(b)
	converge(t, b, a)
}
