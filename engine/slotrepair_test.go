package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/cairndb/cairn/engine/keys"
	wal "github.com/cairndb/cairn/engine/log"
)

// fork is two stores whose logs part: the old primary in /a, and the new one.
type fork struct {
	t   testing.TB
	rng *rand.Rand
	at  Offset
	o   Options // of the old one
	// The old one has written what the new one does not know. It is on its disk.
	old, primary *modelTest
}

const forkDir = "/a"

func newFork(t testing.TB, seed uint64, fs vfs.FS) *fork {
	t.Helper()
	f := &fork{t: t, rng: rand.New(rand.NewPCG(seed, 1)), o: testOptions(fs)}
	clock := newFakeClock()
	f.o.Now = clock.now
	f.o.LogBacklogBytes = 1 << 30
	if f.rng.IntN(2) == 0 {
		f.o.RecordCacheBytes = 1 << 20 // Pebble lacks more of what is written
	}
	model := func(dir string, o Options) *modelTest {
		s := openTest(t, dir, o)
		s.SetActiveExpire(false)
		return &modelTest{t: t, rng: f.rng, s: s, tx: s.NewTxn(), m: model{}, clock: clock, names: 300}
	}
	f.old = model(forkDir, f.o)
	o := f.o
	o.FS, o.Follow = vfs.NewMem(), true
	f.primary = model("/b", o)
	a, b := f.old, f.primary
	for range 100 {
		a.group()
	}
	settled(a)
	for caughtUp := false; !caughtUp; {
		catchUp(t, f.rng, a.s, b.s)
		caughtUp = sameStores(t, a.s, b.s)
	}
	for range 15 { // not in Pebble yet, when the logs part
		f.tail()
	}
	catchUp(t, f.rng, a.s, b.s)
	b.m = a.m.clone()
	f.at = b.s.End()
	a.fatal(b.s.Promote())
	for range 20 {
		f.tail()
	}
	for range f.rng.IntN(20) {
		b.group()
	}
	a.fatal(a.s.drain())
	for range 5 {
		f.tail()
	}
	a.fatal(a.s.Flush(context.Background()))
	f.tail()
	a.fatal(a.s.Follow())
	return f
}

// settled makes the store end by itself what it has begun: the end of a FLUSHDB would touch everything.
func settled(mt *modelTest) {
	mt.t.Helper()
	mt.s.SetActiveExpire(true)
	mt.settle()
	mt.s.SetActiveExpire(false)
}

// tail lets the old primary write to slots.
func (f *fork) tail() {
	mt := f.old
	for range 1 + mt.rng.IntN(4) {
		k, k2 := mt.randomKey(), mt.randomKey()
		if !mt.tx.TryLock(mt.key(k).Slot, true) || !mt.tx.TryLock(mt.key(k2).Slot, true) {
			break
		}
		mt.one(k, k2)
		mt.tx.EndCommand()
	}
	mt.fatal(mt.tx.Commit())
	mt.drain()
}

// collect fetches what a repair needs, while the new primary goes on writing, and closes the old store.
func (f *fork) collect() (until Offset) {
	t, fs, b := f.t, f.o.FS, f.primary
	t.Helper()
	slots, err := f.old.s.Divergent(f.at)
	b.fatal(err)
	r, err := NewSlotRepair(forkDir, fs, f.at, slots)
	b.fatal(err)
	at, err := b.s.CopySlots(context.Background(), slots, writerFunc(func(p []byte) (int, error) {
		if f.rng.IntN(4) == 0 {
			b.group()
		}
		return r.Write(p)
	}))
	b.fatal(err)
	b.fatal(r.Close())
	_, err = b.s.FlushLog()
	b.fatal(err)
	if until = b.s.Log().Written(); until < at {
		t.Fatalf("the log is written up to %d, copies are of %d", until, at)
	}
	link, err := b.s.Log().LinkAt(f.at)
	b.fatal(err)
	_, log := Incoming(forkDir, fs)
	b.fatal(fs.RemoveAll(log))
	l, err := wal.Create(log, wal.Start{Offset: f.at, Link: link, Terms: b.s.Log().Terms()}, wal.Options{FS: fs, SegmentSize: 32 << 10})
	b.fatal(err)
	b.fatal(appendLog(l, b.s.Log()))
	until = l.End()
	b.fatal(l.Close())
	b.fatal(f.old.s.CloseUnflushed())
	return until
}

type writerFunc func(p []byte) (int, error)

func (fn writerFunc) Write(p []byte) (int, error) { return fn(p) }

// TestSlotRepair: whatever the old primary wrote to slots, and whatever the new one has done to them and to everything since, after a repair
// the old one is the new one's replica, byte for byte.
func TestSlotRepair(t *testing.T) {
	t.Parallel()
	for range 8 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			t.Parallel()
			f := newFork(t, seed, vfs.NewMem())
			for round := range 2 {
				until := f.collect()
				f.primary.fatal(Repair(forkDir, f.o))
				o := f.o
				o.Follow = true
				s := openTest(t, forkDir, o)
				if s.End() != until || s.recovery.Reach > until {
					t.Fatalf("the log ends at %d, the store reaches to %d, want %d", s.End(), s.recovery.Reach, until)
				}
				checkStore(t, s)
				f.follows(s)
				if round > 0 {
					break
				}
				// They part once more, with the other writing on from what was repaired.
				f.at = s.End()
				f.primary.fatal(s.Promote())
				f.old.s, f.old.tx, f.old.m = s, s.NewTxn(), f.primary.m.clone()
				s.SetActiveExpire(false)
				for range 10 {
					f.tail()
					f.primary.group()
				}
				f.primary.fatal(s.Flush(context.Background()))
				f.primary.fatal(s.Follow())
			}
		})
	}
}

// follows goes on with the new primary's log, and compares everything.
func (f *fork) follows(s *Store) {
	f.t.Helper()
	for range 20 {
		f.primary.group()
	}
	settled(f.primary)
	for caughtUp := false; !caughtUp; {
		catchUp(f.t, f.rng, f.primary.s, s)
		caughtUp = sameStores(f.t, f.primary.s, s)
	}
	replica := &modelTest{t: f.t, rng: f.rng, s: s, tx: s.NewTxn(), m: f.primary.m, clock: f.primary.clock, names: 300}
	replica.compareAll()
}

// TestSlotRepairCrash: a repair is cut off at any of its writes, by a killed process and by a power loss, and so is what finishes it. What is
// opened afterwards is the store as it was or the repaired one.
func TestSlotRepairCrash(t *testing.T) {
	t.Parallel()
	fs := vfs.NewCrashableMem()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	f := newFork(t, seed, fs)
	before, end, err := f.old.s.Digest(context.Background())
	f.primary.fatal(err)
	until := f.collect()
	whole := vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: f.rng}
	after := ""
	digest := func(o Options, when string) (string, Offset) {
		o.Follow = true
		s, err := Open(forkDir, o)
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		defer s.Close()
		checkStore(t, s)
		sum, at, err := s.Digest(context.Background())
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		return sum, at
	}
	// How many writes there are, and the result.
	var writes atomic.Int64
	count := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			writes.Add(1)
		}
		return nil
	})
	o := f.o
	o.FS = errorfs.Wrap(fs.CrashClone(whole), count)
	f.primary.fatal(Repair(forkDir, o))
	total := int(writes.Load())
	after, at := digest(o, "not crashed")
	if at != until {
		t.Fatalf("the log ends at %d, want %d", at, until)
	}
	// crashAt runs fn and returns what a crash at the n-th write leaves, nil if there are not so many.
	crashAt := func(from *vfs.MemFS, n int, cfg vfs.CrashCloneCfg, fn func(o Options) error) *vfs.MemFS {
		cr := &crasher{fs: from, cfg: cfg}
		cr.countdown.Store(int64(n) + 1)
		o := f.o
		o.FS = errorfs.Wrap(from, cr)
		if err := fn(o); err != nil {
			t.Fatal(err)
		}
		cr.mu.Lock()
		defer cr.mu.Unlock()
		return cr.crashed
	}
	var asBefore, repaired int
	for n := 0; n < total; n += 1 + f.rng.IntN(2+n/4) {
		cfg := vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 50, 100}[f.rng.IntN(3)], RNG: rand.New(rand.NewPCG(seed, uint64(n)))}
		when := fmt.Sprintf("write %d of %d, %d %%", n, total, cfg.UnsyncedDataPercent)
		crashed := crashAt(fs.CrashClone(whole), n, cfg, func(o Options) error { return Repair(forkDir, o) })
		if crashed == nil {
			continue
		}
		if again := crashAt(crashed.CrashClone(whole), f.rng.IntN(total), cfg, func(o Options) error {
			s, err := Open(forkDir, Options{FS: o.FS, Follow: true, MemTableBytes: o.MemTableBytes, CacheBytes: o.CacheBytes, Now: o.Now})
			if err == nil {
				err = s.CloseUnflushed()
			}
			return err
		}); again != nil {
			crashed = again
		}
		o := f.o
		o.FS = crashed
		got, at := digest(o, when)
		switch {
		case at == end && got == before:
			asBefore++
			f.primary.fatal(Repair(forkDir, o))
			if got, at = digest(o, when); at != until || got != after {
				t.Fatalf("%s: repaired again, the store differs", when)
			}
		case at == until && got == after:
			repaired++
		default:
			t.Fatalf("%s: the store is neither the old one nor the repaired one: it ends at %d, they at %d and %d", when, at, end, until)
		}
	}
	t.Logf("%d writes; %d times as before, %d times repaired", total, asBefore, repaired)
}

// TestSlotRepairRefuses: what touches more than slots, or is not known, is not repaired; nor is a store with what belongs to another.
func TestSlotRepairRefuses(t *testing.T) {
	t.Parallel()
	refused := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, ErrNoRepair) {
			t.Errorf("%s: %v", what, err)
		}
	}
	o := testOptions(vfs.NewMem())
	for name, fn := range map[string]func(*Txn) error{
		"FLUSHALL": (*Txn).FlushAll,
		"FLUSHDB":  func(tx *Txn) error { return tx.FlushDB(0) },
		"SWAPDB":   func(tx *Txn) error { return tx.SwapDB(0, 1) },
	} {
		s := openTest(t, "/"+name, o)
		fill(t, s, 5)
		inWorld(t, s, func(tx *Txn) error {
			return tx.Put(Key{Slot: keys.Slot([]byte("other")), DB: s.DB(1), Name: []byte("other")}, stringHeader, []byte("1"))
		})
		from := s.End()
		mustSet(t, s, "one", "1")
		if slots, err := s.Divergent(from); err != nil || len(slots) != 1 || slots[0] != keys.Slot([]byte("one")) {
			t.Errorf("slots %v, %v", slots, err)
		}
		inWorld(t, s, fn)
		_, err := s.Divergent(from)
		refused(name, err)
		_, err = s.Divergent(from + 1)
		refused("no boundary", err)
		_, err = s.Divergent(s.End() + 1)
		refused("behind the end", err)
	}
	f := newFork(t, 1, vfs.NewMem())
	f.collect()
	collected := f.o.FS.PathJoin(forkDir, newSlotsFile)
	file, err := f.o.FS.Open(collected)
	if err != nil {
		t.Fatal(err)
	}
	good, err := io.ReadAll(file)
	if err = errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	try := func(what string, b []byte) {
		t.Helper()
		if err := writeFile(f.o.FS, collected, b); err != nil {
			t.Fatal(err)
		}
		refused(what, Repair(forkDir, f.o))
	}
	try("cut off", good[:len(good)-1])
	try("a header only in part", good[:100])
	for _, at := range []int{5, 20, repairHeader + 2, repairHeader + 6, len(good) - 1} {
		b := bytes.Clone(good)
		b[at] ^= 1
		try(fmt.Sprint("byte ", at), b)
	}
	r, err := NewSlotRepair(forkDir, f.o.FS, f.at, []uint16{1})
	if err = errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	err = Repair(forkDir, f.o)
	refused("slots are missing", err)
	if !strings.Contains(fmt.Sprint(err), "not repaired") {
		t.Error(err)
	}
	if r, err = NewSlotRepair(forkDir, f.o.FS, f.at-1, []uint16{1}); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	refused("another fork", Repair(forkDir, f.o))
	_, log := Incoming(forkDir, f.o.FS)
	if err := errors.Join(writeFile(f.o.FS, collected, good), f.o.FS.RemoveAll(log)); err != nil {
		t.Fatal(err)
	}
	refused("no log", Repair(forkDir, f.o))
	o = f.o
	o.Follow = true
	checkStore(t, openTest(t, forkDir, o))
}
