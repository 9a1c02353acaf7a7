package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"path"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/cairndb/cairn/tools/poll"
)

// blobTest is a store with values in blob files, of which one is damaged.
type blobTest struct {
	*testing.T
	mem    *vfs.MemFS
	clock  *fakeClock
	o      Options
	values map[string]string
	file   string // the damaged one
	inFile map[string]bool
}

const blobKeys = 100

func blobValue(name, version string) string {
	return strings.Repeat(fmt.Sprintf("value of %s, %s;", name, version), 80)
}

// newBlobTest closes a store with two sets of larger values, written to different blob files, and one of small values. Some expire.
func newBlobTest(t *testing.T) *blobTest {
	bt := &blobTest{T: t, mem: vfs.NewMem(), clock: newFakeClock(), values: map[string]string{}}
	bt.o = testOptions(bt.mem)
	bt.o.Compression, bt.o.SeparateBytes, bt.o.Now = "none", 512, bt.clock.now
	s := openTest(t, "d", bt.o)
	for _, set := range []string{"a", "b", "small"} {
		for i := range blobKeys {
			name := fmt.Sprint(set, i)
			bt.values[name] = name
			if set != "small" {
				bt.values[name] = blobValue(name, "old")
			}
			at := int64(0)
			if i%3 == 0 {
				at = bt.clock.now().Add(time.Hour).UnixMilli() + int64(i)
			}
			inTxn(t, s, key(name).Slot, func(tx *Txn) error {
				mustPut(t, tx, name, bt.values[name], at)
				return nil
			})
		}
		if err := s.Flush(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return bt
}

// damage changes the file in which the value of a key stands.
func (bt *blobTest) damage(name string, change func(b []byte, at int) []byte) {
	bt.Helper()
	for _, f := range files(bt, bt.mem, "d/"+storeFolder, "*.blob") {
		b := readAll(bt, bt.mem, f)
		at := bytes.Index(b, []byte(bt.values[name]))
		if at < 0 {
			continue
		}
		bt.file, bt.inFile = f, map[string]bool{}
		for n, v := range bt.values {
			if len(v) >= bt.o.SeparateBytes && bytes.Contains(b, []byte(v)) {
				bt.inFile[n] = true
			}
		}
		if err := writeFile(bt.mem, f, change(b, at)); err != nil {
			bt.Fatal(err)
		}
		return
	}
	bt.Fatal("the value is in no blob file")
}

// unreadable reads everything, and returns the keys whose reads answer an error. The others must have their value.
func (bt *blobTest) unreadable(s *Store) (bad []string) {
	bt.Helper()
	for name, want := range bt.values {
		tx := s.NewTxn()
		tx.Lock([]uint16{key(name).Slot}, false)
		r, ok, err := tx.Get(key(name))
		switch {
		case err != nil && !errors.Is(err, ErrCorrupt):
			bt.Fatalf("%s: %v", name, err)
		case err != nil:
			bad = append(bad, name)
		case !ok || string(r.Value) != want:
			bt.Fatalf("%s: %v, %.40q", name, ok, r.Value)
		}
		tx.Discard()
	}
	return bad
}

// heal overwrites or deletes what can't be read.
func (bt *blobTest) heal(s *Store, bad []string) {
	bt.Helper()
	for i, name := range bad {
		if i%2 == 0 {
			bt.values[name] = blobValue(name, "new")
			mustSet(bt, s, name, bt.values[name])
			continue
		}
		delete(bt.values, name)
		inTxn(bt.T, s, key(name).Slot, func(tx *Txn) error {
			if found, err := tx.Delete(key(name)); err != nil || !found {
				bt.Errorf("Delete: %v, %v", found, err)
			}
			return nil
		})
	}
}

func (bt *blobTest) wantSound(s *Store) {
	bt.Helper()
	if bad := bt.unreadable(s); len(bad) > 0 {
		bt.Fatalf("can't be read: %q", bad)
	}
	if n := s.DBCounts(0).Keys; n != int64(len(bt.values)) {
		bt.Errorf("%d keys are counted, %d are there", n, len(bt.values))
	}
	checkStore(bt, s)
}

// TestDamagedBlob: where values can't be read reads answer an error, and all else goes on; replacing or deleting them heals.
func TestDamagedBlob(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(b []byte, at int) []byte
		all    bool // nothing in the file can be read
	}{
		"value":  {func(b []byte, at int) []byte { b[at+100] ^= 0x10; return b }, false},
		"index":  {func(b []byte, _ int) []byte { b[len(b)-blobFooter-block5] ^= 1; return b }, true},
		"footer": {func(b []byte, _ int) []byte { b[len(b)-20] ^= 1; return b }, true},
		"magic":  {func(b []byte, _ int) []byte { b[len(b)-1] ^= 1; return b }, true},
		"cut":    {func(b []byte, _ int) []byte { return b[:len(b)/2] }, true},
		"empty":  {func([]byte, int) []byte { return nil }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bt := newBlobTest(t)
			bt.damage("a7", test.change)
			r, err := Check(context.Background(), "d", bt.o)
			if err != nil || r.ProblemCount == 0 {
				t.Fatalf("Check: %+v, %v", r, err)
			}
			for _, p := range r.Problems {
				if !strings.Contains(p, path.Base(bt.file)) {
					t.Errorf("Check: %s", p)
				}
			}
			s := openTest(t, "d", bt.o)
			bad := bt.unreadable(s)
			wantBad(t, bt, bad, test.all)
			if s.Stats().Corruptions == 0 {
				t.Error("nothing is counted")
			}
			bt.values["after"] = blobValue("after", "new")
			mustSet(t, s, "after", bt.values["after"])
			for range 2 {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = openTest(t, "d", bt.o)
				if again := bt.unreadable(s); len(again) != len(bad) {
					t.Fatalf("%d keys can't be read after a restart, %d before", len(again), len(bad))
				}
			}
			bt.heal(s, bad)
			bt.wantSound(s)
			compact(t, s)
			bt.wantSound(s)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			bt.wantSound(openTest(t, "d", bt.o))
		})
	}
}

// block5 is a byte in the block before the footer, whose trailer has five.
const block5 = 5 + 1

func wantBad(t *testing.T, bt *blobTest, bad []string, all bool) {
	t.Helper()
	hit := false
	for _, n := range bad {
		hit = hit || n == "a7"
		if !bt.inFile[n] {
			t.Errorf("%s can't be read, but is not in the file", n)
		}
	}
	switch {
	case !hit:
		t.Errorf("the damaged value can be read")
	case all && len(bad) != len(bt.inFile):
		t.Errorf("%d keys can't be read, of %d in the file", len(bad), len(bt.inFile))
	case !all && len(bad) > 8:
		t.Errorf("%d keys can't be read, more than lie in a block", len(bad))
	}
}

func compact(t *testing.T, s *Store) {
	t.Helper()
	ctx := context.Background()
	if err := s.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.db.Compact(ctx, []byte{0}, []byte{0xFF}, false); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedBlobExpires: keys whose values are lost expire as any.
func TestDamagedBlobExpires(t *testing.T) {
	t.Parallel()
	bt := newBlobTest(t)
	bt.damage("a7", func([]byte, int) []byte { return nil })
	s := openTest(t, "d", bt.o)
	for i := 0; i < blobKeys; i += 3 {
		for _, set := range []string{"a", "b", "small"} {
			delete(bt.values, fmt.Sprint(set, i))
		}
	}
	bt.clock.advance(2 * time.Hour)
	poll.Until(t, "all have expired", func() bool { return s.DBCounts(0).Keys == int64(len(bt.values)) })
	bad := bt.unreadable(s)
	if len(bad) == 0 {
		t.Error("everything can be read")
	}
	bt.heal(s, bad)
	bt.wantSound(s)
}

// TestMissingBlob: the start stops, and goes on with an empty file in its place.
func TestMissingBlob(t *testing.T) {
	t.Parallel()
	bt := newBlobTest(t)
	bt.damage("a7", func(b []byte, _ int) []byte { return b })
	if err := bt.mem.Remove(bt.file); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := Open("d", bt.o); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), bt.file+" is missing") {
			t.Fatalf("Open: %v", err)
		}
		if _, err := Check(context.Background(), "d", bt.o); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("Check: %v", err)
		}
	}
	if err := writeFile(bt.mem, bt.file, nil); err != nil {
		t.Fatal(err)
	}
	s := openTest(t, "d", bt.o)
	bad := bt.unreadable(s)
	wantBad(t, bt, bad, true)
	bt.heal(s, bad)
	bt.wantSound(s)
}

// TestBlobGoesMissing: a file that vanishes while the store is open is like one that can't be read.
func TestBlobGoesMissing(t *testing.T) {
	t.Parallel()
	bt := newBlobTest(t)
	s := openTest(t, "d", bt.o)
	bt.damage("a7", func(b []byte, _ int) []byte { return b })
	if err := bt.mem.Remove(bt.file); err != nil {
		t.Fatal(err)
	}
	bad := bt.unreadable(s)
	wantBad(t, bt, bad, true)
	bt.heal(s, bad)
	bt.wantSound(s)
}

// TestRewriteDamagedBlob: Pebble rewrites a blob file with much garbage. When it can't, nothing ends, and it does not try all the time.
func TestRewriteDamagedBlob(t *testing.T) {
	t.Parallel()
	bt := newBlobTest(t)
	bt.o.rewriteAge = time.Millisecond
	bt.damage("a7", func(b []byte, at int) []byte { b[at+100] ^= 0x10; return b })
	s := openTest(t, "d", bt.o)
	bad := map[string]bool{}
	for _, n := range bt.unreadable(s) {
		bad[n] = true
	}
	for i := range blobKeys {
		if name := fmt.Sprint("a", i); !bad[name] {
			bt.values[name] = "short"
			mustSet(t, s, name, "short")
		}
	}
	poll.Until(t, "a rewrite fails", func() bool {
		compact(t, s)
		return s.rewriteAfter.Load() != 0
	})
	tries := s.backgroundErrors.Load()
	for range 3 {
		mustSet(t, s, "after", "v")
		compact(t, s)
	}
	if n := s.backgroundErrors.Load(); n != tries || n > 2 {
		t.Errorf("%d tries, then %d", tries, n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, "d", bt.o)
	bt.values["after"] = "v"
	if again := bt.unreadable(s); len(again) != len(bad) {
		t.Errorf("%d keys can't be read, %d before", len(again), len(bad))
	}
	bt.heal(s, bt.unreadable(s))
	bt.wantSound(s)
}

// TestRewriteBlob: sound files are rewritten without their garbage, again and again, and read before.
func TestRewriteBlob(t *testing.T) {
	t.Parallel()
	bt := newBlobTest(t)
	bt.o.rewriteAge = time.Millisecond
	s := openTest(t, "d", bt.o)
	shorten := func(set string, keep int) {
		for i := range blobKeys {
			if name := fmt.Sprint(set, i); i%keep != 0 {
				bt.values[name] = "short"
				mustSet(t, s, name, "short")
			}
		}
	}
	for round := range 2 {
		shorten("a", 4<<(2*round)) // the first file, then what it was rewritten to
		if round > 0 {
			shorten("b", 2)
		}
		poll.Until(t, "a file is rewritten", func() bool {
			compact(t, s)
			return s.db.Metrics().Compact.BlobFileRewriteCount > int64(round)
		})
		bt.wantSound(s)
	}
	if s.fs.rewriting.Load() == nil {
		t.Error("the file is not read before")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	bt.wantSound(openTest(t, "d", bt.o))
}

// TestDamagedSummary: what a clean stop writes for the next start may lie in a blob file. The start goes on without.
func TestDamagedSummary(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	o := testOptions(mem)
	o.SeparateBytes = 512
	s := openTest(t, "d", o)
	fill(t, s, 1000)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	blobs := files(t, mem, "d/"+storeFolder, "*.blob")
	if len(blobs) != 1 {
		t.Fatalf("only the summary is separated, but there are %q", blobs)
	}
	flip(t, mem, blobs[0], 0.2)
	r, err := Check(context.Background(), "d", o)
	if err != nil || r.ProblemCount != 1 || !strings.Contains(r.Problems[0], "the node's own records could not be read: file "+path.Base(blobs[0])) {
		t.Errorf("Check: %+v, %v", r, err)
	}
	s = openTest(t, "d", o)
	if s.recovery.Clean {
		t.Error("a damaged summary is read")
	}
	for range 2 {
		for i := range 1000 {
			if _, ok := get(t, s, fmt.Sprint("fill", i)); !ok {
				t.Fatalf("fill%d is lost", i)
			}
		}
		if err := s.Close(); err != nil { // which writes another summary
			t.Fatal(err)
		}
		s = openTest(t, "d", o)
	}
	wantKeys(t, s, 1000)
	if !s.recovery.Clean {
		t.Error("the next summary is not read")
	}
}

// TestUnfinishedBlob: a blob file whose end can't be written makes the flush or the rewriting fail, not the process, and nothing that refers to it
// comes into use.
func TestUnfinishedBlob(t *testing.T) {
	t.Parallel()
	for name, last := range map[string]int64{"writes": math.MaxInt64, "last writes but two": 3, "last writes but one": 2, "last write": 1, "sync": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var writes, spared atomic.Int64 // to blob files: those of one flush, and how many of the next one's succeed
			spared.Store(math.MaxInt64)
			f := &faults{err: syscall.ENOSPC, hits: func(op errorfs.Op) bool {
				if writesTo(blobSuffix)(op) {
					return writes.Add(1) > spared.Load()
				}
				return last == 0 && spared.Load() < math.MaxInt64 && syncsOf(blobSuffix)(op)
			}}
			f.on.Store(true)
			mem := vfs.NewMem()
			bt := &blobTest{T: t, mem: mem, clock: newFakeClock(), values: map[string]string{}}
			bt.o = testOptions(errorfs.Wrap(mem, f))
			bt.o.Compression, bt.o.SeparateBytes = "none", 512
			s := openTest(t, "d", bt.o)
			set := func(version string) {
				for i := range blobKeys {
					name := fmt.Sprint("a", i)
					bt.values[name] = blobValue(name, version)
					mustSet(t, s, name, bt.values[name])
				}
			}
			set("old")
			if err := s.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			set("new")
			spared.Store(max(writes.Swap(0)-last, 0))
			ctx, cancel := context.WithTimeout(t.Context(), 5*errorPause)
			defer cancel()
			if err := s.Flush(ctx); err == nil {
				t.Error("a flush without blob files has succeeded")
			}
			f.on.Store(false)
			poll.Succeeds(t, time.Minute, func() error {
				return s.Flush(t.Context())
			})
			bt.wantSound(s)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = openTest(t, "d", bt.o)
			bt.wantSound(s)
		})
	}
}

// TestUnfinishedRewrite: so does a blob file that is rewritten.
func TestUnfinishedRewrite(t *testing.T) {
	t.Parallel()
	bt := newBlobTest(t)
	var failed atomic.Bool
	var store atomic.Pointer[Store]
	f := &faults{err: syscall.ENOSPC, hits: func(op errorfs.Op) bool {
		hit := syncsOf(blobSuffix)(op) && store.Load().fs.rewriting.Load() != nil
		if hit {
			failed.Store(true)
		}
		return hit
	}}
	defer f.on.Store(false)
	bt.o.FS, bt.o.rewriteAge = errorfs.Wrap(bt.mem, f), time.Millisecond
	s := openTest(t, "d", bt.o)
	for i := range blobKeys {
		if name := fmt.Sprint("a", i); i%4 != 0 {
			bt.values[name] = "short"
			mustSet(t, s, name, "short")
		}
	}
	store.Store(s)
	f.on.Store(true)
	poll.Until(t, "rewriting has failed", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 2*errorPause)
		defer cancel()
		_ = s.Flush(ctx)
		_ = s.db.Compact(ctx, []byte{0}, []byte{0xff}, false)
		return failed.Load()
	})
	bt.wantSound(s)
	f.on.Store(false)
	poll.Until(t, "a file is rewritten", func() bool {
		compact(t, s)
		return s.db.Metrics().Compact.BlobFileRewriteCount > 0
	})
	bt.wantSound(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	bt.wantSound(openTest(t, "d", bt.o))
}
