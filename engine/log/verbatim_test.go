package log

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

const copyDir = "/data/copy"

// copyTo appends what src has behind dst's end to dst, in chunks of the given size.
func copyTo(t testing.TB, dst, src *Log, chunk int) {
	t.Helper()
	if _, err := src.Flush(); err != nil {
		t.Fatal(err)
	}
	in, err := src.ReadRaw(dst.End())
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var pending []byte
	buf := make([]byte, chunk)
	for {
		n, err := in.Read(buf)
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		pending = append(pending, buf[:n]...)
		for {
			v, size, ok, err := DecodeRecord(pending, dst.End(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			if _, err := dst.AppendVerbatim(&v); err != nil {
				t.Fatal(err)
			}
			pending = pending[size:]
		}
	}
	if len(pending) > 0 {
		t.Fatalf("%d bytes are left", len(pending))
	}
}

// TestVerbatimCopy: a log that is copied from the middle on has the same records, terms and tail, also
// with segments of another size, and after it was opened again.
func TestVerbatimCopy(t *testing.T) {
	t.Parallel()
	fs := newMem(t)
	src := openTest(t, fs, Options{SegmentSize: 4 << 10})
	if err := src.BeginTerm(testID(1)); err != nil {
		t.Fatal(err)
	}
	appendN(t, src, 0, 50)
	from := src.End()
	link, err := src.LinkAt(from)
	if err != nil {
		t.Fatal(err)
	}
	appendN(t, src, 50, 300)
	if err := src.BeginTerm(testID(2)); err != nil {
		t.Fatal(err)
	}
	appendN(t, src, 300, 400)
	o := Options{FS: fs, SegmentSize: 7000, Foreign: true}
	dst, err := Create(copyDir, Start{Offset: from, Link: link, Terms: src.Terms()}, o)
	if err != nil {
		t.Fatal(err)
	}
	copyTo(t, dst, src, 333)
	for range 2 {
		sameLog(t, dst, src, from)
		if err := dst.Close(); err != nil {
			t.Fatal(err)
		}
		if dst, err = Open(copyDir, o); err != nil {
			t.Fatal(err)
		}
	}
	defer dst.Close()
	wrong := Verbatim{Record: Record{Start: dst.End()}, link: link, raw: make([]byte, recordHeaderSize)}
	if _, err := dst.AppendVerbatim(&wrong); !errors.Is(err, ErrNotRecord) {
		t.Errorf("a record of another history: %v", err)
	}
}

func sameLog(t testing.TB, a, b *Log, from uint64) {
	t.Helper()
	for _, l := range []*Log{a, b} {
		if _, err := l.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	got, err := readAll(a, from)
	if err != nil {
		t.Fatal(err)
	}
	want, err := readAll(b, from)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("%d records, not the %d of the other log", len(got), len(want))
	}
	if !slices.Equal(a.Terms(), b.Terms()) {
		t.Fatalf("terms %v, not %v", a.Terms(), b.Terms())
	}
	aEnd, aLink := a.Tail()
	if bEnd, bLink := b.Tail(); aEnd != bEnd || aLink != bLink {
		t.Fatalf("tail %d %x, not %d %x", aEnd, aLink, bEnd, bLink)
	}
}

// TestForeignTailIsNoDamage: what a record says was synced was so on another node, so losing it
// here is a torn tail. In a log of the node's own it is damage.
func TestForeignTailIsNoDamage(t *testing.T) {
	t.Parallel()
	for _, foreign := range []bool{true, false} {
		fs := newMem(t)
		src := openTest(t, fs, Options{Policy: No})
		for i := range 20 {
			appendN(t, src, i, i+1)
			if err := src.Sync(); err != nil {
				t.Fatal(err)
			}
		}
		dst, err := Open(copyDir, Options{FS: fs, Policy: No, Foreign: true})
		if err != nil {
			t.Fatal(err)
		}
		copyTo(t, dst, src, 1000)
		if _, err := dst.Flush(); err != nil {
			t.Fatal(err)
		}
		crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
		dst.Close()
		name := crashed.PathJoin(copyDir, segmentName(0))
		f, err := crashed.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		if !foreign {
			h := segmentHeader{previous: noSegment}
			if _, err := f.WriteAt(h.encode(), 0); err != nil {
				t.Fatal(err)
			}
		}
		lost := make([]byte, 30) // a page that didn't make it
		if _, err := f.WriteAt(lost, segmentHeaderSize+200); err != nil {
			t.Fatal(err)
		}
		f.Close()
		l, err := Open(copyDir, Options{FS: crashed, Foreign: true})
		if err == nil {
			defer l.Close()
		}
		if foreign != (err == nil) || !foreign && !errors.Is(err, ErrDamaged) {
			t.Errorf("foreign %v: %v", foreign, err)
		}
	}
}

// TestSetForeign: the roles change again and again, with and without records in between.
func TestSetForeign(t *testing.T) {
	t.Parallel()
	fs := newMem(t)
	l := openTest(t, fs, Options{})
	n := 0
	for i := range 10 {
		if err := l.SetForeign(i%2 == 0); err != nil {
			t.Fatal(err)
		}
		if i%3 == 0 {
			appendN(t, l, n, n+5)
			n += 5
		}
		if i%4 == 0 {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			l = openTest(t, fs, Options{Foreign: i%2 == 0})
		}
	}
	if _, err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	records, err := readAll(l, 0)
	if err != nil || len(records) != n {
		t.Fatalf("%d records, %v", len(records), err)
	}
}

// TestRewindCrash: a rewind that is cut off at any write leaves the whole log or, once it is opened, the shorter one.
func TestRewindCrash(t *testing.T) {
	t.Parallel()
	for at := int32(0); ; at++ {
		fs := newMem(t)
		o := Options{FS: fs, SegmentSize: 2 << 10}
		l := openTest(t, fs, o)
		if err := l.BeginTerm(testID(1)); err != nil {
			t.Fatal(err)
		}
		appendN(t, l, 0, 60)
		to, link := l.Tail()
		appendN(t, l, 60, 100)
		if err := l.BeginTerm(testID(2)); err != nil {
			t.Fatal(err)
		}
		appendN(t, l, 100, 200)
		end, _ := l.Tail()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		var crashed *vfs.MemFS
		n := at
		inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
				if n == 0 {
					crashed = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(uint64(at), 0))})
				}
				n--
			}
			return nil
		})
		cut := o
		cut.FS = errorfs.Wrap(fs, inject)
		if err := Rewind(testDir, to, cut); err != nil {
			t.Fatal(err)
		}
		done := crashed == nil
		if done {
			crashed = fs
		}
		l, err := Open(testDir, Options{FS: crashed, SegmentSize: 2 << 10})
		if err != nil {
			t.Fatalf("crash at write %d: %v", at, err)
		}
		gotEnd, gotLink := l.Tail()
		if (gotEnd != to || gotLink != link || len(l.Terms()) != 1) && (done || gotEnd != end) {
			t.Fatalf("crash at write %d: the log ends at %d, not %d or %d; terms %v", at, gotEnd, to, end, l.Terms())
		}
		appendN(t, l, 500, 520)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = openTest(t, crashed, Options{SegmentSize: 2 << 10})
		if l.End() <= gotEnd {
			t.Fatalf("crash at write %d: what was appended afterwards is gone", at)
		}
		if done {
			return
		}
	}
}

func TestRewindRefuses(t *testing.T) {
	t.Parallel()
	fs := newMem(t)
	l := openTest(t, fs, Options{})
	appendN(t, l, 0, 10)
	end := l.End()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for to, want := range map[uint64]error{end + 1: ErrBeyondEnd, 7: ErrNotBoundary} {
		if err := Rewind(testDir, to, Options{FS: fs}); !errors.Is(err, want) {
			t.Errorf("to %d: %v", to, err)
		}
	}
}

// TestHold: Drop keeps what is held.
func TestHold(t *testing.T) {
	t.Parallel()
	l := openTest(t, newMem(t), Options{SegmentSize: 1 << 10})
	appendN(t, l, 0, 200)
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	h, err := l.Hold(3000)
	if err != nil {
		t.Fatal(err)
	}
	drop := func() {
		if err := l.Drop(l.End()); err != nil {
			t.Fatal(err)
		}
	}
	drop()
	if start := l.Start(); start > 3000 || start == 0 {
		t.Errorf("the log starts at %d", start)
	}
	if _, err := l.Hold(0); !errors.Is(err, ErrDropped) {
		t.Errorf("holding what is gone: %v", err)
	}
	h.Move(5000)
	h.Move(4000)
	drop()
	if start := l.Start(); start <= 3000 || start > 5000 {
		t.Errorf("the log starts at %d", start)
	}
	h.Release()
	drop()
	if start := l.Start(); start <= 5000 {
		t.Errorf("the log starts at %d", start)
	}
}

// TestOnWritten: the callback comes when the operating system has the bytes, not before.
func TestOnWritten(t *testing.T) {
	t.Parallel()
	l := openTest(t, newMem(t), Options{Policy: Always})
	called := make(chan error, 1)
	l.OnWritten(1, func(err error) { called <- err })
	appendN(t, l, 0, 1)
	select {
	case <-called:
		t.Fatal("called before the flush")
	default:
	}
	if _, err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := <-called; err != nil {
		t.Fatal(err)
	}
	l.OnWritten(l.End()+1, func(err error) { called <- err })
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-called; !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
}

// TestCommonPoint: a history is its terms, as a letter and a start, and behind a point its end.
func TestCommonPoint(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		why, a, b string
		want      uint64
	}{
		{"one is behind", "a0 .250", "a0 .100", 100},
		{"promoted at 100, where the other went on", "a0 b100 .300", "a0 .250", 100},
		{"promoted further than the other has come", "a0 b100 .300", "a0 .50", 50},
		{"both promoted by themselves", "a0 b100 .300", "a0 c120 .250", 100},
		{"a term more on one side", "a0 b100 c200 .300", "a0 b100 .180", 180},
		{"the last that both know counts", "a0 b100 c200 .300", "a0 b100 d150 .180", 150},
		{"nothing in common", "a0 .100", "b0 .100", 0},
		{"an empty log", ".0", "b0 .100", 0},
		{"the oldest terms are forgotten on one side", "b100 c200 .300", "a0 b100 c200 .250", 250},
		{"the primary has lost its tail", "a0 b80 .120", "a0 .90", 80},
	} {
		a, aEnd := parseHistory(t, c.a)
		b, bEnd := parseHistory(t, c.b)
		if got := CommonPoint(a, aEnd, b, bEnd); got != c.want {
			t.Errorf("%s: %d, not %d", c.why, got, c.want)
		}
		if got := CommonPoint(b, bEnd, a, aEnd); got != c.want {
			t.Errorf("%s, the other way: %d, not %d", c.why, got, c.want)
		}
	}
}

func parseHistory(t *testing.T, s string) (terms []Term, end uint64) {
	for _, word := range strings.Fields(s) {
		at, err := strconv.ParseUint(word[1:], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if word[0] == '.' {
			return terms, at
		}
		terms = append(terms, Term{ID: word[:1], Start: at})
	}
	return terms, end
}

// TestCallbacksWhileDiskIsSlow: who follows the log hears of it, also while the next segment takes long to be made.
func TestCallbacksWhileDiskIsSlow(t *testing.T) {
	t.Parallel()
	var armed atomic.Bool
	preparing, release := make(chan struct{}), make(chan struct{})
	slow := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if strings.HasSuffix(op.Path, nextName) && armed.CompareAndSwap(true, false) {
			close(preparing)
			<-release
		}
		return nil
	})
	l := openTest(t, errorfs.Wrap(newMem(t), slow), Options{SegmentSize: 100_000, SyncInterval: time.Hour})
	defer close(release) // before the log is closed
	armed.Store(true)
	n := 0
	for ; l.End() < 51_000; n++ {
		appendN(t, l, n, n+1)
	}
	<-preparing
	called := make(chan error, 1)
	l.OnWritten(l.End()+1, func(err error) { called <- err })
	appendN(t, l, n, n+1)
	if _, err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-called:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("not called")
	}
}
