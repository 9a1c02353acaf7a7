package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	wal "github.com/cairndb/cairn/engine/log"
)

// catchUp hands the log of one store to another, in pieces of random sizes.
func catchUp(t testing.TB, rng *rand.Rand, from, to *Store) {
	t.Helper()
	if _, err := from.FlushLog(); err != nil {
		t.Fatal(err)
	}
	in, err := from.Log().ReadRaw(to.End())
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var pending []byte
	end := from.Log().Written()
	for in.Offset() < end {
		buf := make([]byte, min(uint64(1+rng.IntN(20_000)), end-in.Offset()))
		n, err := in.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		pending = append(pending, buf[:n]...)
		n, need, err := to.ApplyReplicated(context.Background(), pending)
		if err != nil {
			t.Fatal(err)
		}
		if pending = pending[n:]; need > 0 && need <= len(pending) {
			t.Fatalf("%d bytes are left, although only %d are needed", len(pending), need)
		}
	}
	if len(pending) > 0 {
		t.Fatalf("%d bytes are left", len(pending))
	}
}

// sameStores compares two stores. It returns false when their logs don't end at the same offset.
func sameStores(t testing.TB, a, b *Store) bool {
	t.Helper()
	want, at, err := a.Digest(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	got, gotAt, err := b.Digest(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if gotAt != at {
		return false
	}
	if got != want {
		t.Fatalf("the stores differ at %d", at)
	}
	checkStore(t, b)
	return true
}

// TestApplyReplicated runs the model's transactions on one store and applies its log to another, whose memory (counters, cache,
// databases) must be the same too: Check and the model's comparisons say so. It is opened again and promoted in between.
func TestApplyReplicated(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	clock := newFakeClock()
	o := testOptions(vfs.NewMem())
	o.Now = clock.now
	o.LogBacklogBytes = 1 << 30
	a := openTest(t, "/a", o)
	a.SetActiveExpire(false)
	o.FS = vfs.NewMem()
	o.Follow = true
	b := openTest(t, "/b", o)
	mt := &modelTest{t: t, rng: rng, s: a, tx: a.NewTxn(), m: model{}, clock: clock, names: 300}
	for round := range 6 {
		for range 120 {
			mt.group()
		}
		for caughtUp := false; !caughtUp; { // the reclaimer may write at any time
			catchUp(t, rng, a, b)
			caughtUp = sameStores(t, a, b)
		}
		other := &modelTest{t: t, rng: rng, s: b, tx: b.NewTxn(), m: mt.m, clock: clock, names: 300}
		other.compareAll()
		if round == 3 {
			if err := b.CloseUnflushed(); err != nil {
				t.Fatal(err)
			}
			b = openTest(t, "/b", o)
		}
	}
	if err := setOne(b, "x", "y"); !errors.Is(err, ErrReplica) {
		t.Errorf("a write to a follower: %v", err)
	}
	if err := b.Promote(); err != nil {
		t.Fatal(err)
	}
	other := &modelTest{t: t, rng: rng, s: b, tx: b.NewTxn(), m: mt.m, clock: clock, names: 300}
	for range 50 {
		other.group()
	}
	other.compareAll()
	if _, _, err := b.ApplyReplicated(context.Background(), []byte("x")); !errors.Is(err, ErrDiverged) {
		t.Errorf("a primary applies: %v", err)
	}
	if terms := b.Log().Terms(); len(terms) != len(a.Log().Terms())+1 {
		t.Errorf("terms %v", terms)
	}
	checkStore(t, b)
}

// TestApplyRefuses: bytes that don't continue the log change nothing.
func TestApplyRefuses(t *testing.T) {
	t.Parallel()
	a := openTest(t, "/a", testOptions(vfs.NewMem()))
	mustSet(t, a, "k", "v")
	if _, err := a.FlushLog(); err != nil {
		t.Fatal(err)
	}
	raw := make([]byte, a.End())
	in, err := a.Log().ReadRaw(0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Read(raw); err != nil {
		t.Fatal(err)
	}
	in.Close()
	o := testOptions(vfs.NewMem())
	o.Follow = true
	b := openTest(t, "/b", o)
	for i := range raw {
		bad := append([]byte(nil), raw...)
		bad[i] ^= 1
		n, _, err := b.ApplyReplicated(context.Background(), bad)
		if err == nil && n == len(raw) {
			t.Fatalf("byte %d is flipped and nobody sees it", i)
		}
		if b.End() != 0 { // the first record is whole
			break
		}
	}
	if n, _, err := b.ApplyReplicated(context.Background(), raw[b.End():]); err != nil || uint64(n)+b.End() < a.End() {
		t.Fatal(n, err)
	}
	if !sameStores(t, a, b) {
		t.Fatal("the logs differ")
	}
}

// fetched makes in dir what a full sync of src fetches: a checkpoint's files and the log that belongs to it. Commits go on meanwhile.
func fetched(t testing.TB, src *Store, dir string, fs vfs.FS) {
	t.Helper()
	c, err := src.Checkpoint(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fill(t, src, 20)
	fetchCheckpoint(t, c, dir, fs)
}

// fetchCheckpoint makes in dir what a full sync fetches of a checkpoint.
func fetchCheckpoint(t testing.TB, c *Checkpoint, dir string, fs vfs.FS) {
	t.Helper()
	src := c.s
	store, log := Incoming(dir, fs)
	if err := fs.MkdirAll(store, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range c.Files {
		copyBetween(t, src.o.FS, src.o.FS.PathJoin(c.Dir, f.Name), fs, fs.PathJoin(store, f.Name))
	}
	if err := syncDir(fs, store); err != nil {
		t.Fatal(err)
	}
	l, err := wal.Create(log, c.Start, wal.Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	in, err := src.Log().ReadRaw(c.Start.Offset)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	raw := make([]byte, c.Until-c.Start.Offset)
	if _, err := in.Read(raw); err != nil && len(raw) > 0 {
		t.Fatal(err)
	}
	for len(raw) > 0 {
		v, size, _, err := wal.DecodeRecord(raw, l.End(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.AppendVerbatim(&v); err != nil {
			t.Fatal(err)
		}
		raw = raw[size:]
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func copyBetween(t testing.TB, from vfs.FS, src string, to vfs.FS, dst string) {
	t.Helper()
	f, err := from.Open(src)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, info.Size())
	if _, err := f.ReadAt(b, 0); err != nil && len(b) > 0 {
		t.Fatal(err)
	}
	if err := writeFile(to, dst, b); err != nil {
		t.Fatal(err)
	}
}

// TestInstallCrash: Install is cut off at each of its writes, by a killed process and by a power loss. What is opened
// afterwards is the old store or, from some write on, the new one; and it works.
func TestInstallCrash(t *testing.T) {
	t.Parallel()
	src := openTest(t, "/src", testOptions(vfs.NewMem()))
	fill(t, src, 300)
	for _, percent := range []int{0, 50, 100} {
		installed := false
		for at := 0; ; at++ {
			fs := vfs.NewCrashableMem()
			o := testOptions(fs)
			s := openTest(t, "/data", o)
			mustSet(t, s, "old", "1")
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			fetched(t, src, "/data", fs)
			n := at
			var crashed *vfs.MemFS
			inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
				if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
					if n == 0 {
						crashed = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(uint64(at), 0))})
					}
					n--
				}
				return nil
			})
			o.FS = errorfs.Wrap(fs, inject)
			if err := Install("/data", o); err != nil {
				t.Fatal(err)
			}
			done := crashed == nil
			if done {
				crashed = fs
			}
			isNew := openInstalled(t, crashed, fmt.Sprintf("%d %%, write %d", percent, at))
			if installed && !isNew || done && !isNew {
				t.Fatalf("%d %%, write %d: the old store is back", percent, at)
			}
			installed = isNew
			if done {
				break
			}
		}
	}
}

// openInstalled opens what a crash has left, and says which store it is.
func openInstalled(t testing.TB, fs vfs.FS, when string) (isNew bool) {
	t.Helper()
	o := testOptions(fs)
	o.Follow = true
	s, err := Open("/data", o)
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	defer s.Close()
	checkStore(t, s)
	_, isOld := get(t, s, "old")
	if isNew = s.DBCounts(0).Keys >= 300; isNew == isOld {
		t.Fatalf("%s: old %v, new %v", when, isOld, isNew)
	}
	if err := s.Promote(); err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	mustSet(t, s, "later", "2")
	return isNew
}

// TestRewindStore: the log is cut behind what Pebble has flushed, and nowhere else.
func TestRewindStore(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	o := testOptions(fs)
	s := openTest(t, "/data", o)
	fill(t, s, 10)
	if err := s.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	flushed := s.End()
	mustSet(t, s, "kept", "1")
	to := s.End()
	mustSet(t, s, "cut", "1")
	if err := s.CloseUnflushed(); err != nil {
		t.Fatal(err)
	}
	if err := Rewind("/data", flushed-1, o); !errors.Is(err, ErrAhead) {
		t.Errorf("behind what is flushed: %v", err)
	}
	if err := Rewind("/data", to, o); err != nil {
		t.Fatal(err)
	}
	o.Follow = true
	s = openTest(t, "/data", o)
	if s.End() != to {
		t.Errorf("the log ends at %d, not %d", s.End(), to)
	}
	if _, ok := get(t, s, "cut"); ok {
		t.Error("what was cut is there")
	}
	if _, ok := get(t, s, "kept"); !ok {
		t.Error("what was kept is gone")
	}
	checkStore(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Rewind("/data", flushed, o); !errors.Is(err, ErrAhead) {
		t.Errorf("after a clean stop: %v", err)
	}
	if err := Install("/data", o); !errors.Is(err, ErrNotWhole) || !strings.Contains(err.Error(), "store.new") {
		t.Errorf("nothing to install: %v", err)
	}
}

// openPair opens a store that keeps its whole log, and another one, with the options o, to follow it.
func openPair(t *testing.T) (primary, replica *Store, o Options) {
	t.Helper()
	o = testOptions(vfs.NewMem())
	o.LogBacklogBytes = 1 << 30
	primary = openTest(t, "/a", o)
	o.FS = vfs.NewMem()
	o.Follow = true
	return primary, openTest(t, "/b", o), o
}

// TestFlushAllOfWhatIsDeletedHereOnly: the primary knows a slot to be empty and leaves it out of its FLUSHALL, while here the deletion
// stands in the record table only. The key must not come back.
func TestFlushAllOfWhatIsDeletedHereOnly(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 1))
	a, b, o := openPair(t)
	flush := func(stores ...*Store) {
		t.Helper()
		for _, s := range stores {
			if err := s.Flush(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	mustSet(t, a, "k", "v")
	mustSet(t, a, "other", "v")
	catchUp(t, rng, a, b)
	flush(a, b)
	tx := a.NewTxn()
	tx.Lock([]uint16{key("k").Slot}, true)
	if _, err := tx.Delete(key("k")); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	catchUp(t, rng, a, b)
	flush(a)
	tx.LockWorld()
	if err := tx.FlushAll(); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	catchUp(t, rng, a, b)
	for range 2 {
		if v, ok := get(t, b, "k"); ok {
			t.Fatalf("the key is back: %q", v)
		}
		if !sameStores(t, a, b) {
			t.Fatal("the logs differ")
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		b = openTest(t, "/b", o)
	}
}

// TestReadsWhileFollowing: readers see each group of records whole: all its keys have one value.
func TestReadsWhileFollowing(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 1))
	a, b, _ := openPair(t)
	names := []string{"{x}1", "{x}2", "{x}3"}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			tx := b.NewTxn()
			for {
				select {
				case <-stop:
					return
				default:
				}
				var seen []string
				tx.Lock([]uint16{key(names[0]).Slot}, false)
				for _, name := range names {
					r, _, err := tx.Get(key(name))
					if err != nil {
						t.Error(err)
					}
					seen = append(seen, string(r.Value))
				}
				tx.Discard()
				if seen[0] != seen[1] || seen[1] != seen[2] {
					t.Errorf("half a commit: %q", seen)
				}
				if _, err := b.Scan(nil, 0, 0, 10, -1, func([]byte, Record) {}); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	tx := a.NewTxn()
	for i := range 300 {
		tx.Lock([]uint16{key(names[0]).Slot}, true)
		for _, name := range names {
			mustPut(t, tx, name, fmt.Sprint(i), 0)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if i%10 == 0 {
			catchUp(t, rng, a, b)
		}
	}
	close(stop)
	wg.Wait()
	catchUp(t, rng, a, b)
	if !sameStores(t, a, b) {
		t.Error("the logs differ")
	}
}

// TestIncomingIsDiscarded: what a node has fetched goes when it is a primary after all.
func TestIncomingIsDiscarded(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	o := testOptions(fs)
	src := openTest(t, "/src", testOptions(vfs.NewMem()))
	s := openTest(t, "/data", o)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	fetched(t, src, "/data", fs)
	there := func(want bool) {
		t.Helper()
		store, log := Incoming("/data", fs)
		for _, folder := range []string{store, log} {
			if _, err := fs.Stat(folder); (err == nil) != want {
				t.Errorf("%s: %v", folder, err)
			}
		}
	}
	o.Follow = true
	s = openTest(t, "/data", o)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	there(true)
	o.Follow = false
	openTest(t, "/data", o)
	there(false)
}

// TestFreeze: a frozen store writes nothing more, and goes on as a primary with a new term, or as a follower.
func TestFreeze(t *testing.T) {
	t.Parallel()
	s := openTest(t, "/data", testOptions(vfs.NewMem()))
	mustSet(t, s, "k", "1")
	terms := len(s.Log().Terms())
	frozen := func() {
		t.Helper()
		end := s.End()
		if s.Freeze() || !s.Freeze() {
			t.Error("it is not told whether it was frozen")
		}
		if err := setOne(s, "k", "2"); !errors.Is(err, ErrReplica) || s.End() != end || s.Log().Foreign() {
			t.Errorf("%v, and the log ends at %d, not %d", err, s.End(), end)
		}
	}
	frozen()
	if err := s.Promote(); err != nil || len(s.Log().Terms()) != terms+1 {
		t.Errorf("%v %v", err, s.Log().Terms())
	}
	mustSet(t, s, "k", "3")
	frozen()
	if err := s.Follow(); err != nil || !s.Following() || !s.Log().Foreign() {
		t.Error(err)
	}
	if err := s.Promote(); err != nil || s.Log().Foreign() {
		t.Error(err)
	}
	mustSet(t, s, "k", "4")
}
