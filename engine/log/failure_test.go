package log

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/cairndb/cairn/tools/poll"
)

// faults fails chosen operations with an error while it is on.
type faults struct {
	on   atomic.Bool
	kind errorfs.OpKind
	err  error
	hits atomic.Int64
}

func (f *faults) String() string { return "faults" }

func (f *faults) MaybeError(op errorfs.Op) error {
	if !f.on.Load() || op.Kind != f.kind {
		return nil
	}
	f.hits.Add(1)
	return f.err
}

func TestNoRoomForNextSegment(t *testing.T) {
	t.Parallel()
	mem, full := newMem(t), &faults{kind: errorfs.OpFilePreallocate, err: syscall.ENOSPC}
	l := openTest(t, errorfs.Wrap(mem, full), Options{SegmentSize: 2000, SyncInterval: time.Hour})
	full.on.Store(true)
	n := 0
	var err error
	for ; err == nil; n++ {
		_, err = l.Append(KindBatch, []uint16{uint16(n)}, payload(n))
	}
	n-- // the last one was refused
	if !errors.Is(err, ErrNoSpace) || !errors.Is(l.Err(), ErrNoSpace) || n < 5 {
		t.Fatal(n, err)
	}
	end := l.End()
	if err := l.Sync(); err != nil || l.Synced() != end {
		t.Fatal("what was appended can be synced: ", err)
	}
	if err := l.Recover(); !errors.Is(err, ErrNoSpace) {
		t.Fatal(err)
	}
	full.on.Store(false)
	if err := l.Recover(); err != nil {
		t.Fatal(err)
	}
	appendN(t, l, n, n+50)
	l.Sync()
	checkRecords(t, mustReadAll(t, l), n+50)
}

func TestRoomComesBackByItself(t *testing.T) {
	t.Parallel()
	mem, full := newMem(t), &faults{kind: errorfs.OpFilePreallocate, err: syscall.ENOSPC}
	full.on.Store(true)
	if _, err := Open(testDir, Options{FS: errorfs.Wrap(mem, full)}); !errors.Is(err, ErrNoSpace) {
		t.Fatal("a new log needs room: ", err)
	}
	full.on.Store(false)
	openTest(t, mem, Options{}).Close()
	full.on.Store(true)
	l := openTest(t, errorfs.Wrap(mem, full), Options{SyncInterval: time.Millisecond})
	if _, err := l.Append(KindBatch, nil, payload(0)); !errors.Is(err, ErrNoSpace) {
		t.Fatal("an old one opens without: ", err)
	}
	full.on.Store(false)
	poll.Until(t, "the log recovers", func() bool { return l.Err() == nil })
	appendN(t, l, 0, 1)
}

// shortFS writes only the first bytes of each write while it is full, as a full disk does.
type shortFS struct {
	vfs.FS
	full atomic.Bool
}

type shortFile struct {
	vfs.File
	fs *shortFS
}

func (fs *shortFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := fs.FS.OpenReadWrite(name, c, o...)
	return &shortFile{f, fs}, err
}

func (f *shortFile) WriteAt(p []byte, off int64) (int, error) {
	if !f.fs.full.Load() {
		return f.File.WriteAt(p, off)
	}
	n, _ := f.File.WriteAt(p[:len(p)/2], off)
	return n, syscall.ENOSPC
}

// A write that the disk takes half of is finished when there is room, in order,
// and until then nothing is appended behind it.
func TestShortWrite(t *testing.T) {
	t.Parallel()
	for _, policy := range []Policy{Always, EverySec} {
		mem := newMem(t)
		fs := &shortFS{FS: mem}
		l := openTest(t, fs, Options{Policy: policy, SyncInterval: time.Hour})
		appendN(t, l, 0, 10)
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
		synced := l.End()
		appendN(t, l, 10, 20)
		fs.full.Store(true)
		stable, err := l.Flush()
		if !errors.Is(err, ErrStalled) || !errors.Is(err, ErrNoSpace) || stable != synced {
			t.Fatal(stable, err)
		}
		if _, err := l.Append(KindBatch, nil); !errors.Is(err, ErrStalled) {
			t.Fatal(err)
		}
		if err := l.WaitStable(context.Background(), l.End()); !errors.Is(err, ErrStalled) {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		l.OnStable(l.End(), func(err error) { done <- err })
		if err := errors.Join(l.Recover(), l.Sync()); !errors.Is(err, ErrStalled) || !l.Stats().Stalled {
			t.Fatal(err)
		}
		crashed := openTest(t, mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))}), Options{})
		if records := mustReadAll(t, crashed); len(records) < 10 || len(records) >= 20 {
			t.Fatal(len(records))
		}
		fs.full.Store(false)
		if err := l.Recover(); err != nil {
			t.Fatal(err)
		}
		if policy != Always {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		appendN(t, l, 20, 30)
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
		if policy == Always {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		checkRecords(t, mustReadAll(t, l), 30)
		l.Close()
		l = openTest(t, mem, Options{})
		checkRecords(t, mustReadAll(t, l), 30)
	}
}

func TestCloseWhileStalled(t *testing.T) {
	t.Parallel()
	fs := &shortFS{FS: newMem(t)}
	l := openTest(t, fs, Options{SyncInterval: time.Hour})
	appendN(t, l, 0, 10)
	fs.full.Store(true)
	if err := l.Close(); !errors.Is(err, ErrStalled) {
		t.Fatal(err)
	}
	fs.full.Store(false)
	l = openTest(t, fs, Options{})
	if records := mustReadAll(t, l); len(records) >= 10 {
		t.Fatal(len(records))
	}
}

func TestFailedSyncIsFinal(t *testing.T) {
	t.Parallel()
	mem, broken := newMem(t), &faults{kind: errorfs.OpFileSyncData, err: syscall.EIO}
	told := make(chan error, 10)
	l := openTest(t, errorfs.Wrap(mem, broken), Options{Policy: Always, SyncInterval: time.Millisecond,
		OnFailure: func(err error) { told <- err }})
	appendN(t, l, 0, 10)
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	synced := l.Synced()
	broken.on.Store(true)
	appendN(t, l, 10, 20)
	done := make(chan error, 2)
	l.OnStable(synced, func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	l.OnStable(l.End(), func(err error) { done <- err })
	for _, err := range []error{<-done, <-told, l.WaitStable(context.Background(), l.End())} {
		if !errors.Is(err, ErrFailed) || !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
	}
	broken.on.Store(false)
	_, appendErr := l.Append(KindBatch, nil)
	for _, err := range []error{appendErr, l.Sync(), l.Recover(), l.Err(), l.BeginTerm(testID(1))} {
		if !errors.Is(err, ErrFailed) {
			t.Fatal(err)
		}
	}
	l.OnStable(l.End(), func(err error) { done <- err })
	if err := <-done; !errors.Is(err, ErrFailed) {
		t.Fatal(err)
	}
	if broken.hits.Load() != 1 || l.Synced() != synced || !l.Stats().Failed {
		t.Fatal(broken.hits.Load(), l.Synced(), synced)
	}
	if err := l.Close(); !errors.Is(err, ErrFailed) {
		t.Fatal(err)
	}
	if len(told) > 0 {
		t.Fatal("told twice")
	}
	l = openTest(t, mem.CrashClone(vfs.CrashCloneCfg{}), Options{})
	checkRecords(t, mustReadAll(t, l), 10)
}

func TestReadOnlyFolder(t *testing.T) {
	t.Parallel()
	for _, kind := range []errorfs.OpKind{errorfs.OpCreate, errorfs.OpOpen, errorfs.OpMkdirAll, errorfs.OpList, errorfs.OpRename, errorfs.OpFileSync} {
		broken := &faults{kind: kind, err: syscall.EROFS}
		broken.on.Store(true)
		mem := vfs.NewMem()
		l, err := Open("log", Options{FS: errorfs.Wrap(mem, broken)})
		if err == nil {
			broken.on.Store(false)
			l.Close()
		}
		if broken.hits.Load() > 0 && (!errors.Is(err, syscall.EROFS) || !strings.HasPrefix(err.Error(), "log: ")) {
			t.Fatal(kind, err)
		}
	}
}

// Whatever operation fails, and whenever: no promise is broken, nothing is written out of order, and the
// log opens again.
func TestCrashAmidRandomFaults(t *testing.T) {
	t.Parallel()
	for seed := range crashSeeds(t, 100, 3) {
		rng := rand.New(rand.NewPCG(uint64(seed), 2))
		var on atomic.Bool
		var roll atomic.Uint64
		mem := newMem(t)
		inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
			// Syncs fail seldom, since that ends the run.
			odds := uint64(20)
			if op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData {
				odds = 300
			}
			if on.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpFileClose &&
				splitMix(roll.Add(1)+uint64(seed)<<32)%odds == 0 {
				return syscall.ENOSPC
			}
			return nil
		})
		o := Options{FS: errorfs.Wrap(mem, inject), SegmentSize: 4000, BufferSize: 1000,
			Policy: Policy(rng.IntN(3)), SyncInterval: time.Millisecond}
		n, synced := 0, uint64(0)
		for range 3 {
			l, err := Open(testDir, o)
			if err != nil {
				t.Fatal(seed, err)
			}
			records := mustReadAll(t, l)
			if l.End() < synced || len(records) > n {
				t.Fatal(seed, l.End(), synced)
			}
			n = len(records)
			checkRecords(t, records, n)
			on.Store(true)
			for range 300 {
				if _, err := l.Append(KindBatch, []uint16{uint16(n % MaxSlots)}, payload(n)); err == nil {
					n++
				}
				if rng.IntN(5) == 0 {
					l.Flush()
				}
				if rng.IntN(20) == 0 {
					l.Recover()
				}
			}
			on.Store(false)
			synced = l.Synced()
			mem = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
			l.Close()
			o.FS = errorfs.Wrap(mem, inject)
		}
	}
}

// splitMix is a hash that makes a counter look random.
func splitMix(x uint64) uint64 {
	x *= 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
