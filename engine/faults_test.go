package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/cairndb/cairn/engine/keys"
	wal "github.com/cairndb/cairn/engine/log"
	"github.com/cairndb/cairn/tools/poll"
)

// faults makes chosen operations of a file system fail while it is on.
type faults struct {
	on   atomic.Bool
	err  error
	hits func(op errorfs.Op) bool
}

func (f *faults) String() string { return "faults" }

func (f *faults) MaybeError(op errorfs.Op) error {
	if f.on.Load() && f.hits(op) {
		return f.err
	}
	return nil
}

// writesTo hits writes, creations and preallocations of files whose path has the part in it.
func writesTo(part string) func(errorfs.Op) bool {
	return func(op errorfs.Op) bool {
		switch op.Kind {
		case errorfs.OpCreate, errorfs.OpFileWrite, errorfs.OpFileWriteAt, errorfs.OpFilePreallocate:
			return strings.Contains(op.Path, part)
		}
		return false
	}
}

func syncsOf(part string) func(errorfs.Op) bool {
	return func(op errorfs.Op) bool {
		switch op.Kind {
		case errorfs.OpFileSync, errorfs.OpFileSyncData:
			return strings.Contains(op.Path, part)
		}
		return false
	}
}

// setOne sets a key in a transaction of its own and waits until the policy holds.
func setOne(s *Store, name, value string) error {
	tx := s.NewTxn()
	tx.Lock([]uint16{key(name).Slot}, true)
	if err := tx.Put(key(name), stringHeader, []byte(value)); err != nil {
		tx.Discard()
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	return s.WaitStable(context.Background(), tx.Barrier())
}

func mustSet(t testing.TB, s *Store, name, value string) {
	t.Helper()
	if err := setOne(s, name, value); err != nil {
		t.Fatal(err)
	}
}

func fill(t testing.TB, s *Store, n int) {
	t.Helper()
	for i := range n {
		mustSet(t, s, fmt.Sprint("fill", i), strings.Repeat("x", 100))
	}
}

func wantKeys(t testing.TB, s *Store, n int) {
	t.Helper()
	for i := range n {
		if _, ok := get(t, s, fmt.Sprint("fill", i)); !ok {
			t.Fatalf("fill%d is lost", i)
		}
	}
	checkStore(t, s)
}

func TestLogDiskFull(t *testing.T) {
	t.Parallel()
	f := &faults{err: syscall.ENOSPC, hits: writesTo("/" + logFolder + "/")}
	mem := vfs.NewCrashableMem()
	o := testOptions(errorfs.Wrap(mem, f))
	o.SyncPolicy = wal.Always
	s := openTest(t, "d", o)
	fill(t, s, 100)
	f.on.Store(true)
	applied := map[string]bool{}
	var refused error
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	for i := 0; refused == nil; i++ {
		tx := s.NewTxn()
		name := fmt.Sprint("full", i)
		tx.Lock([]uint16{key(name).Slot}, true)
		mustPut(t, tx, name, strings.Repeat("y", 1000), 0)
		if refused = tx.Commit(); refused != nil {
			if _, ok := get(t, s, name); ok {
				t.Fatal("a refused write is there")
			}
			break
		}
		applied[name] = true
		_ = s.WaitStable(ctx, tx.Barrier())
	}
	if !errors.Is(refused, ErrReadOnly) {
		t.Fatalf("got %v, want ErrReadOnly", refused)
	}
	if _, err := s.TryAdmitWrite(); len(applied) > 0 && !errors.Is(err, ErrReadOnly) {
		t.Errorf("TryAdmitWrite: %v", err)
	}
	f.on.Store(false)
	poll.Until(t, "the log recovers", func() bool { return setOne(s, "after", "1") == nil })
	for name := range applied {
		if _, ok := get(t, s, name); !ok {
			t.Fatalf("%s was applied and is lost", name)
		}
	}
	crashed := mem.CrashClone(vfs.CrashCloneCfg{})
	again := openTest(t, "d", testOptions(crashed))
	wantKeys(t, again, 100)
	for name := range applied {
		if _, ok := get(t, again, name); !ok {
			t.Fatalf("%s was made stable and is lost", name)
		}
	}
}

func TestStoreDiskFull(t *testing.T) {
	t.Parallel()
	for _, part := range []string{".sst", ".blob", "MANIFEST"} {
		t.Run(part, func(t *testing.T) {
			t.Parallel()
			f := &faults{err: syscall.ENOSPC, hits: writesTo(part)}
			mem := vfs.NewCrashableMem()
			o := testOptions(errorfs.Wrap(mem, f))
			s := openTest(t, "d", o)
			fill(t, s, 200)
			f.on.Store(true)
			done := make(chan error, 1)
			go func() { done <- s.Flush(context.Background()) }()
			poll.Until(t, "writes are refused", func() bool {
				_, err := s.TryAdmitWrite()
				return errors.Is(err, ErrReadOnly)
			})
			if part != "MANIFEST" { // a MANIFEST that can't be written at all is final
				f.on.Store(false)
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				poll.Until(t, "writes are taken again", func() bool { ok, _ := s.TryAdmitWrite(); return ok })
				mustSet(t, s, "after", "1")
				wantKeys(t, s, 200)
			} else {
				poll.Until(t, "the store has failed", func() bool { return s.Err() != nil })
			}
			f.on.Store(false)
			_ = s.Close()
			again := openTest(t, "d", testOptions(mem))
			wantKeys(t, again, 200)
		})
	}
}

// TestStopDiskFull: a stop does not wait for room, whether the disk is known to be full or turns out to be, and the next start has everything.
func TestStopDiskFull(t *testing.T) {
	t.Parallel()
	for _, known := range []bool{false, true} {
		t.Run(fmt.Sprint(known), func(t *testing.T) {
			t.Parallel()
			f := &faults{err: syscall.ENOSPC, hits: writesTo(".sst")}
			mem := vfs.NewCrashableMem()
			s := openTest(t, "d", testOptions(errorfs.Wrap(mem, f)))
			fill(t, s, 200)
			f.on.Store(true)
			if known {
				go func() { _ = s.Flush(context.Background()) }()
				poll.Until(t, "writes are refused", func() bool {
					_, err := s.TryAdmitWrite()
					return errors.Is(err, ErrReadOnly)
				})
			}
			done := make(chan error, 1)
			go func() { done <- s.Close() }()
			poll.Until(t, "the store stops", func() bool {
				select {
				case err := <-done:
					if err != nil {
						t.Error(err)
					}
					return true
				default:
					return false
				}
			})
			wantKeys(t, openTest(t, "d", testOptions(mem)), 200)
		})
	}
}

// ballastFS is a disk that is full as long as the ballast file is there.
func TestBallastSavesManifest(t *testing.T) {
	t.Parallel()
	mem := vfs.NewCrashableMem()
	f := &faults{err: syscall.ENOSPC}
	f.hits = func(op errorfs.Op) bool {
		if !writesTo("MANIFEST")(op) {
			return false
		}
		_, err := mem.Stat(mem.PathJoin("d", ballastFile))
		return err == nil
	}
	o := testOptions(errorfs.Wrap(roomyFS{mem}, f))
	s := openTest(t, "d", o)
	fill(t, s, 50)
	f.on.Store(true)
	if err := s.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	if s.Err() != nil {
		t.Fatalf("the store has failed: %v", s.Err())
	}
	f.on.Store(false)
	poll.Until(t, "the ballast comes back", func() bool {
		_, err := mem.Stat(mem.PathJoin("d", ballastFile))
		return err == nil
	})
	wantKeys(t, s, 50)
}

// roomyFS has a free space that the test sets.
type roomyFS struct{ *vfs.MemFS }

func (fs roomyFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: 1 << 40, TotalBytes: 1 << 41}, nil
}

func TestFreeSpaceGuard(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 30, TotalBytes: 1 << 31})
	o := testOptions(mem)
	o.FreeSpaceReserve = 100 << 20
	s := openTest(t, "d", o)
	if err := s.AdmitWrite(context.Background()); err != nil {
		t.Fatal(err)
	}
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 99 << 20, TotalBytes: 1 << 31})
	poll.Until(t, "the guard notices", func() bool {
		err := s.AdmitWrite(context.Background())
		return errors.Is(err, ErrReadOnly) && errors.Is(err, ErrDiskFull)
	})
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 30, TotalBytes: 1 << 31})
	poll.Until(t, "writes are taken again", func() bool { return s.AdmitWrite(context.Background()) == nil })
	s.SetFreeSpaceReserve(2 << 30)
	if err := s.AdmitWrite(context.Background()); !errors.Is(err, ErrDiskFull) {
		t.Errorf("after raising the reserve: %v", err)
	}
}

// TestFinalFailures: after an error that nobody can know the outcome of, the store
// refuses writes, and the next start has all that was acknowledged.
func TestFinalFailures(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]*faults{
		"log sync":       {err: syscall.EIO, hits: syncsOf("/" + logFolder + "/")},
		"manifest write": {err: syscall.EIO, hits: writesTo("MANIFEST")},
		"manifest sync":  {err: syscall.EIO, hits: syncsOf("MANIFEST")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mem := vfs.NewCrashableMem()
			o := testOptions(errorfs.Wrap(mem, f))
			o.SyncPolicy = wal.Always
			failed := make(chan error, 1)
			o.OnFailure = func(err error) { failed <- err }
			s := openTest(t, "d", o)
			fill(t, s, 100)
			f.on.Store(true)
			if strings.HasPrefix(name, "manifest") {
				ctx, cancel := context.WithCancel(context.Background())
				go func() { <-failed; cancel(); failed <- nil }()
				_ = s.Flush(ctx)
			} else if err := setOne(s, "lost", "1"); err == nil {
				t.Fatal("a write was acknowledged without a sync")
			}
			<-failed
			if err := setOne(s, "refused", "1"); !errors.Is(err, ErrReadOnly) {
				t.Errorf("got %v, want ErrReadOnly", err)
			}
			if s.Err() == nil || !s.Stats().Failed {
				t.Error("the store does not say that it has failed")
			}
			crashed := mem.CrashClone(vfs.CrashCloneCfg{})
			_ = s.Close()
			f.on.Store(false)
			wantKeys(t, openTest(t, "d", testOptions(crashed)), 100)
		})
	}
}

// TestOpenFailures: a start that fails names the cause, changes nothing, and works once the cause is gone.
func TestOpenFailures(t *testing.T) {
	t.Parallel()
	anyWrite := func(op errorfs.Op) bool { return op.Kind.ReadOrWrite() == errorfs.OpIsWrite }
	for name, f := range map[string]*faults{
		"disk full":      {err: syscall.ENOSPC, hits: writesTo("")},
		"log disk full":  {err: syscall.ENOSPC, hits: writesTo("/" + logFolder + "/")},
		"manifest error": {err: syscall.EIO, hits: writesTo("MANIFEST")},
		"read-only":      {err: syscall.EROFS, hits: anyWrite},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mem := vfs.NewCrashableMem()
			o := testOptions(errorfs.Wrap(mem, f))
			s := openTest(t, "d", o)
			fill(t, s, 100)
			if err := s.log.Sync(); err != nil {
				t.Fatal(err)
			}
			crashed := mem.CrashClone(vfs.CrashCloneCfg{})
			o.FS = errorfs.Wrap(crashed, f)
			f.on.Store(true)
			if s, err := Open("d", o); err == nil {
				_ = s.Close()
				t.Fatal("it opens")
			} else if !errors.Is(err, f.err) {
				t.Errorf("the cause is not in the error: %v", err)
			}
			f.on.Store(false)
			wantKeys(t, openTest(t, "d", o), 100)
		})
	}
}

// files lists the files of a folder whose name matches the pattern.
func files(t testing.TB, fs vfs.FS, dir, pattern string) []string {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, n := range names {
		if ok, _ := path.Match(pattern, n); ok {
			found = append(found, fs.PathJoin(dir, n))
		}
	}
	slices.Sort(found)
	return found
}

func readAll(t testing.TB, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return b
}

// flip changes a bit in the middle of a file.
func flip(t testing.TB, fs vfs.FS, name string, at float64) {
	t.Helper()
	b := readAll(t, fs, name)
	b[int(float64(len(b))*at)] ^= 0x10
	if err := writeFile(fs, name, b); err != nil {
		t.Fatal(err)
	}
}

func TestDamage(t *testing.T) {
	t.Parallel()
	// build returns a file system with a cleanly closed store in it, or one that was killed and has its whole log to replay.
	build := func(t *testing.T, clean bool, backlog uint64) *vfs.MemFS {
		mem := vfs.NewCrashableMem()
		o := testOptions(mem)
		o.LogBacklogBytes = backlog
		o.LogSegmentBytes = 64 << 10
		o.SeparateBytes = 1 << 20
		if !clean {
			o.MemTableBytes = 8 << 20
		}
		s := openTest(t, "d", o)
		fill(t, s, 2000)
		if err := s.log.Sync(); err != nil {
			t.Fatal(err)
		}
		if !clean {
			mem = mem.CrashClone(vfs.CrashCloneCfg{})
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return mem
	}
	store, log := "d/"+storeFolder, "d/"+logFolder
	t.Run("log", func(t *testing.T) {
		t.Parallel()
		mem := build(t, false, 0)
		flip(t, mem, files(t, mem, log, "*.log")[1], 0.4)
		if _, err := Open("d", testOptions(mem)); !errors.Is(err, wal.ErrDamaged) && !errors.Is(err, ErrCorrupt) {
			t.Errorf("Open: %v", err)
		}
	})
	t.Run("missing segment", func(t *testing.T) {
		t.Parallel()
		mem := build(t, false, 0)
		if err := mem.Remove(files(t, mem, log, "*.log")[1]); err != nil {
			t.Fatal(err)
		}
		if _, err := Open("d", testOptions(mem)); !errors.Is(err, wal.ErrMissingSegment) && !errors.Is(err, ErrCorrupt) {
			t.Errorf("Open: %v", err)
		}
	})
	t.Run("sst", func(t *testing.T) {
		t.Parallel()
		mem := build(t, true, 0)
		// The greatest file has several blocks; node-local keys, without which nothing opens, are in the last.
		great, size := "", int64(0)
		for _, name := range files(t, mem, store, "*.sst") {
			if info, err := mem.Stat(name); err == nil && info.Size() > size {
				great, size = name, info.Size()
			}
		}
		flip(t, mem, great, 0.2)
		r, err := Check(context.Background(), "d", testOptions(mem))
		if err == nil {
			err = r.Err()
		}
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("Check: %v", err)
		}
		s := openTest(t, "d", testOptions(mem))
		bad, good := 0, 0
		for i := range 2000 {
			tx := s.NewTxn()
			k := key(fmt.Sprint("fill", i))
			tx.Lock([]uint16{k.Slot}, false)
			_, ok, err := tx.Get(k)
			tx.Discard()
			switch {
			case errors.Is(err, ErrCorrupt):
				bad++
			case err == nil && ok:
				good++
			default:
				t.Fatalf("%s: %v, %v", k.Name, ok, err)
			}
		}
		if bad == 0 || good == 0 {
			t.Errorf("%d keys are unreadable, %d are fine", bad, good)
		}
		if r == nil || r.ProblemCount != 1 || !strings.Contains(r.Problems[0], "could not be read") || r.Keys < uint64(good)/2 {
			t.Errorf("of %d keys that are fine Check has read %+v", good, r)
		}
	})
	// Pebble takes a damaged record of the MANIFEST for its end. An older version of the store is
	// no harm as long as the log still has what follows; otherwise the start must fail.
	for _, backlog := range []uint64{0, 1 << 30} {
		for _, at := range []float64{0.05, 0.3, 0.6, 0.9} {
			t.Run(fmt.Sprintf("manifest/backlog=%d/at=%v", backlog, at), func(t *testing.T) {
				t.Parallel()
				mem := build(t, true, backlog)
				flip(t, mem, files(t, mem, store, "MANIFEST-*")[0], at)
				s, err := Open("d", testOptions(mem))
				if err != nil {
					return
				}
				t.Cleanup(func() { _ = s.Close() })
				wantKeys(t, s, 2000)
			})
		}
	}
}

func TestWrongAppliedOffset(t *testing.T) {
	t.Parallel()
	for name, shift := range map[string]uint64{"no boundary": ^uint64(0), "beyond the end": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mem := vfs.NewMem()
			s := openTest(t, "d", testOptions(mem))
			fill(t, s, 10)
			if err := s.drain(); err != nil {
				t.Fatal(err)
			}
			applied, err := s.appliedOffset(false)
			if err != nil {
				t.Fatal(err)
			}
			b := s.db.NewBatch()
			if err := s.applyAt(b, applied+shift); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := Open("d", testOptions(mem)); !errors.Is(err, ErrCorrupt) {
				t.Errorf("Open: %v", err)
			}
		})
	}
}

func TestFolder(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	s := openTest(t, "d", testOptions(mem))
	if _, err := Open("d", testOptions(mem)); !errors.Is(err, ErrLocked) {
		t.Errorf("a second Open: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
	if err := writeFile(mem, "d/"+versionFile, []byte(drafts[0])); err != nil {
		t.Fatal(err)
	}
	r, err := Check(context.Background(), "d", testOptions(mem))
	if err == nil {
		err = r.Err()
	}
	if current, _ := checkVersion("d", mem); err != nil || current {
		t.Errorf("checking an older folder: %v, upgraded: %v", err, current)
	}
	if err := openTest(t, "d", testOptions(mem)).Close(); err != nil {
		t.Fatal(err)
	}
	if current, err := checkVersion("d", mem); err != nil || !current {
		t.Errorf("an older folder is not upgraded: %v", err)
	}
	if err := writeFile(mem, "d/"+versionFile, []byte(folderHead+"version 2\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open("d", testOptions(mem)); !errors.Is(err, ErrFolder) {
		t.Errorf("a newer folder: %v", err)
	}
	_ = mem.MkdirAll("redis/appendonlydir", 0o755)
	if _, err := Open("redis", testOptions(mem)); !errors.Is(err, ErrFolder) {
		t.Errorf("a foreign folder: %v", err)
	}
	if _, err := Check(context.Background(), "nothing", testOptions(mem)); err == nil {
		t.Error("Check of a missing folder")
	}
}

// TestCheckFinds plants damage that checksums don't show.
func TestCheckFinds(t *testing.T) {
	t.Parallel()
	k := key("k")
	meta := keys.AppendMeta(nil, k.Slot, 0, k.Name)
	var h keys.Header
	for name, plant := range map[string]func(b *pebble.Batch){
		"lost key": func(b *pebble.Batch) { _ = b.Delete(meta, nil) },
		"extra key": func(b *pebble.Batch) {
			_ = b.Set(keys.AppendMeta(nil, 7, 0, []byte("x")), stringHeader.Append(nil), nil)
		},
		"bad header":   func(b *pebble.Batch) { _ = b.Set(meta, []byte{9}, nil) },
		"lost expiry":  func(b *pebble.Batch) { h = stringHeader; h.ExpireAt = 99; _ = b.Set(meta, h.Append(nil), nil) },
		"extra expiry": func(b *pebble.Batch) { _ = b.Set(keys.AppendExpiry(nil, 3, 5, 0, 0, []byte("x")), nil, nil) },
		"orphan":       func(b *pebble.Batch) { _ = b.Set(keys.AppendSub(nil, k.Slot, 5, nil), nil, nil) },
		"unknown key":  func(b *pebble.Batch) { _ = b.Set([]byte{0xF0, 'z'}, nil, nil) },
		"bad table":    func(b *pebble.Batch) { _ = b.Set(keys.DatabasesKey, nil, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openTest(t, "d", testOptions(vfs.NewMem()))
			mustSet(t, s, "k", "v")
			checkStore(t, s)
			b := s.db.NewBatch()
			plant(b)
			if err := b.Commit(pebble.NoSync); err != nil {
				t.Fatal(err)
			}
			r, err := s.Check(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if !errors.Is(r.Err(), ErrCorrupt) {
				t.Error("Check finds nothing")
			}
		})
	}
}

// TestScanUnreadable: what cannot be read is no end of a slot: SCAN, KEYS, RANDOMKEY and CLUSTER GETKEYSINSLOT tell, and
// leave out nothing in silence.
func TestScanUnreadable(t *testing.T) {
	t.Parallel()
	f := &faults{err: errors.New("unreadable"), hits: func(op errorfs.Op) bool {
		return op.Kind == errorfs.OpFileReadAt && strings.HasSuffix(op.Path, ".sst")
	}}
	o := testOptions(errorfs.Wrap(vfs.NewMem(), f))
	s := openTest(t, "d", o)
	fill(t, s, 1000)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, "d", o)
	f.on.Store(true)
	scan := func() (n int, err error) {
		_, err = s.Scan(nil, 0, 0, 1000, -1, func([]byte, Record) { n++ })
		return n, err
	}
	// What the reclaimer's or the expirer's look at the start has left in the cache can be read.
	if n, err := scan(); err == nil && n != 1000 {
		t.Errorf("Scan: %d keys and no error", n)
	}
	if name, ok, err := s.RandomKey(nil, 0); err == nil && (!ok || !strings.HasPrefix(string(name), "fill")) {
		t.Errorf("RandomKey: %q, %v and no error", name, ok)
	}
	if names, err := s.KeysInSlot(key("fill1").Slot, 10); err == nil && !slices.ContainsFunc(names, func(n []byte) bool { return string(n) == "fill1" }) {
		t.Errorf("KeysInSlot: %q and no error", names)
	}
	f.on.Store(false)
	if n, err := scan(); n != 1000 || err != nil {
		t.Errorf("Scan afterwards: %d keys, %v", n, err)
	}
}
