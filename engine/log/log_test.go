package log

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/cairndb/cairn/tools/poll"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testDir = "/data/log"

// openTest opens a log on fs and closes it at the end of the test.
func openTest(t testing.TB, fs vfs.FS, o Options) *Log {
	t.Helper()
	o.FS = fs
	l, err := Open(testDir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func newMem(t testing.TB) *vfs.MemFS {
	t.Helper()
	fs := vfs.NewCrashableMem()
	if err := createDir(fs, "/data"); err != nil {
		t.Fatal(err)
	}
	return fs
}

// payload is the payload of the i-th record of a test: its length and bytes follow from i.
func payload(i int) []byte {
	return bytes.Repeat([]byte(fmt.Sprintf("%d,", i)), 1+i*7%23)
}

func appendN(t testing.TB, l *Log, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if _, err := l.Append(KindBatch, []uint16{uint16(i % MaxSlots)}, payload(i)); err != nil {
			t.Fatal(err)
		}
	}
}

// readAll reads the log from an offset to its end.
func readAll(l *Log, from uint64) ([]Record, error) {
	c, err := l.Read(from)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var records []Record
	for {
		r, err := c.Next()
		if err == io.EOF {
			return records, nil
		} else if err != nil {
			return records, err
		}
		r.Payload, r.Slots = bytes.Clone(r.Payload), append([]uint16(nil), r.Slots...)
		records = append(records, r)
	}
}

// checkRecords verifies that the batch records are those of appendN from 0 to n.
func checkRecords(t testing.TB, records []Record, n int) {
	t.Helper()
	i := 0
	for _, r := range records {
		if r.Kind != KindBatch {
			continue
		}
		if !bytes.Equal(r.Payload, payload(i)) || len(r.Slots) != 1 || r.Slots[0] != uint16(i%MaxSlots) {
			t.Fatalf("record %d: %+v", i, r)
		}
		i++
	}
	if i != n {
		t.Fatalf("%d records, want %d", i, n)
	}
}

func mustReadAll(t testing.TB, l *Log) []Record {
	t.Helper()
	if _, err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	records, err := readAll(l, l.Start())
	if err != nil {
		t.Fatal(err)
	}
	return records
}

func TestAppendReadReopen(t *testing.T) {
	t.Parallel()
	for _, policy := range []Policy{Always, EverySec, No} {
		t.Run(policy.String(), func(t *testing.T) {
			t.Parallel()
			fs := newMem(t)
			o := Options{SegmentSize: 1000, BufferSize: 300, Policy: policy}
			for round := range 4 {
				l := openTest(t, fs, o)
				appendN(t, l, round*50, round*50+50)
				if err := l.WaitStable(context.Background(), l.End()); err != nil {
					t.Fatal(err)
				}
				if stable, err := l.Flush(); err != nil || stable != l.End() {
					t.Fatal(stable, err)
				}
				checkRecords(t, mustReadAll(t, l), round*50+50)
				if n := l.Stats().Segments; n < 3 {
					t.Fatalf("%d segments", n)
				}
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestRealFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir() + "/a/log"
	for round := range 3 {
		l, err := Open(dir, Options{SegmentSize: 10000})
		if err != nil {
			t.Fatal(err)
		}
		appendN(t, l, round*100, round*100+100)
		checkRecords(t, mustReadAll(t, l), round*100+100)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLargeRecords(t *testing.T) {
	t.Parallel()
	l := openTest(t, newMem(t), Options{SegmentSize: 500, BufferSize: 200})
	var want [][]byte
	for i, size := range []int{5000, 10, 460, 461, 0, 499, 3000, 3000, 1} {
		p := bytes.Repeat([]byte{byte(i + 1)}, size)
		want = append(want, p)
		if _, err := l.Append(KindBatch, nil, p[:size/2], p[size/2:]); err != nil {
			t.Fatal(err)
		}
	}
	for i, r := range mustReadAll(t, l) {
		if !bytes.Equal(r.Payload, want[i]) {
			t.Fatalf("record %d has %d bytes", i, len(r.Payload))
		}
	}
	if _, err := l.Append(KindBatch, make([]uint16, MaxSlots+1)); !errors.Is(err, ErrTooLarge) {
		t.Fatal(err)
	}
}

func TestCursorFollows(t *testing.T) {
	t.Parallel()
	l := openTest(t, newMem(t), Options{SegmentSize: 700})
	c, err := l.Read(0)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range 60 {
		if _, err := c.Next(); err != io.EOF {
			t.Fatal(err)
		}
		appendN(t, l, i, i+1)
		if _, err := c.Next(); err != io.EOF {
			t.Fatalf("a record was read before it was written: %v", err)
		}
		if _, err := l.Flush(); err != nil {
			t.Fatal(err)
		}
		r, err := c.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(r.Payload, payload(i)) || r.End != l.End() || c.Offset() != r.End {
			t.Fatalf("%d: %+v", i, r)
		}
	}
}

func TestReadChecksOffset(t *testing.T) {
	t.Parallel()
	l := openTest(t, newMem(t), Options{SegmentSize: 600})
	appendN(t, l, 0, 40)
	boundaries := map[uint64]bool{l.End(): true}
	for _, r := range mustReadAll(t, l) {
		boundaries[r.Start] = true
	}
	for off := range l.End() + 1 {
		c, err := l.Read(off)
		if boundaries[off] && err != nil || !boundaries[off] && !errors.Is(err, ErrNotBoundary) {
			t.Fatal(off, err)
		}
		if c != nil {
			c.Close()
		}
	}
	if _, err := l.Read(l.End() + 1); !errors.Is(err, ErrBeyondEnd) {
		t.Fatal(err)
	}
}

func TestDrop(t *testing.T) {
	t.Parallel()
	fs := newMem(t)
	o := Options{SegmentSize: 600}
	l := openTest(t, fs, o)
	if err := l.BeginTerm(testID(1)); err != nil {
		t.Fatal(err)
	}
	appendN(t, l, 0, 100)
	behind, err := l.Read(0)
	if err != nil {
		t.Fatal(err)
	}
	defer behind.Close()
	if _, err := behind.Next(); err != nil {
		t.Fatal(err)
	}
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	before := l.Stats().Segments
	middle := l.End() / 2
	if err := l.Drop(middle); err != nil {
		t.Fatal(err)
	}
	if l.Start() == 0 || l.Start() > middle || l.Stats().Segments >= before {
		t.Fatal(l.Start(), middle, l.Stats().Segments)
	}
	if _, err := l.Read(0); !errors.Is(err, ErrDropped) {
		t.Fatal(err)
	}
	for err = nil; err == nil; _, err = behind.Next() {
	}
	if !errors.Is(err, ErrDropped) {
		t.Fatal(err)
	}
	if err := l.Drop(l.End()); err != nil || l.Stats().Segments != 1 {
		t.Fatal(err, l.Stats().Segments)
	}
	start := l.Start()
	l.Close()
	l = openTest(t, fs, o)
	if l.Start() != start {
		t.Fatal(l.Start(), start)
	}
	if terms := l.Terms(); len(terms) != 1 || terms[0] != (Term{testID(1), 0}) {
		t.Fatal(terms)
	}
}

func testID(i int) string { return fmt.Sprintf("%040x", i) }

func TestTerms(t *testing.T) {
	t.Parallel()
	for _, lost := range []bool{false, true} { // with and without the state file
		fs := newMem(t)
		var want []Term
		for i := range 5 {
			l := openTest(t, fs, Options{SegmentSize: 1 << 20})
			if got := l.Terms(); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatal(got, want)
			}
			want = append(want, Term{testID(i), l.End()})
			if err := l.BeginTerm(testID(i)); err != nil {
				t.Fatal(err)
			}
			appendN(t, l, i*10, i*10+10)
			l.Close()
			if lost {
				if err := fs.Remove(testDir + "/" + stateName); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	l := openTest(t, newMem(t), Options{})
	for _, id := range []string{"", "xyz", strings.Repeat("G", 40), strings.Repeat("A", 40)} {
		if l.BeginTerm(id) == nil {
			t.Fatal(id)
		}
	}
}

func TestPolicyIsSwitchedAtRunTime(t *testing.T) {
	t.Parallel()
	l := openTest(t, newMem(t), Options{Policy: No, SyncInterval: time.Hour})
	appendN(t, l, 0, 1)
	if stable, err := l.Flush(); err != nil || stable != l.End() || l.Synced() != 0 {
		t.Fatal(stable, err)
	}
	l.SetPolicy(Always)
	if l.Stable() != 0 {
		t.Fatal(l.Stable())
	}
	if err := l.WaitStable(context.Background(), l.End()); err != nil || l.Synced() != l.End() {
		t.Fatal(err)
	}
	l.SetPolicy(EverySec)
	if l.Policy() != EverySec || l.Stable() != l.Written() {
		t.Fatal(l.Policy())
	}
}

func TestEverySecSyncsByItself(t *testing.T) {
	t.Parallel()
	l := openTest(t, newMem(t), Options{Policy: EverySec, SyncInterval: time.Millisecond})
	appendN(t, l, 0, 10)
	poll.Until(t, "all is synced", func() bool { return l.Synced() == l.End() })
}

// Many goroutines append, flush and wait at once: each gets its own record, in order, and one sync
// serves several.
func TestConcurrentWriters(t *testing.T) {
	t.Parallel()
	for _, policy := range []Policy{Always, EverySec, No} {
		fs := newMem(t)
		l := openTest(t, fs, Options{Policy: policy, SegmentSize: 20000, BufferSize: 2000, SyncInterval: time.Millisecond})
		const writers, each = 8, 200
		var wg sync.WaitGroup
		for w := range writers {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for i := range each {
					end, err := l.Append(KindBatch, nil, fmt.Appendf(nil, "%d %d", w, i))
					if err == nil && i%2 == 0 {
						err = l.WaitStable(context.Background(), end)
					} else if err == nil {
						done := make(chan error, 1)
						l.OnStable(end, func(err error) { done <- err })
						if _, err = l.Flush(); err == nil {
							err = <-done
						}
					}
					reached := l.Stable()
					if policy == EverySec {
						reached = l.Written() // a slow sync moves what is stable back
					}
					if err != nil || reached < end {
						t.Error(err, reached, end)
						return
					}
				}
			}()
		}
		wg.Wait()
		var next [writers]int
		for _, r := range mustReadAll(t, l) {
			var w, i int
			if _, err := fmt.Sscan(string(r.Payload), &w, &i); err != nil || next[w] != i {
				t.Fatalf("%q, want %d: %v", r.Payload, next[w], err)
			}
			next[w]++
		}
		for w, n := range next {
			if n != each {
				t.Fatal(w, n)
			}
		}
	}
}

func TestClosed(t *testing.T) {
	t.Parallel()
	l := openTest(t, newMem(t), Options{})
	appendN(t, l, 0, 3)
	late := make(chan error, 2)
	l.OnStable(l.End()+1, func(err error) { late <- err })
	for range 2 {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	l.OnStable(l.End()+1, func(err error) { late <- err })
	for range 2 {
		if err := <-late; !errors.Is(err, ErrClosed) {
			t.Fatal(err)
		}
	}
	if _, err := l.Append(KindBatch, nil); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	if err := errors.Join(l.Sync(), l.Drop(100)); err != nil {
		t.Fatal(err)
	}
	if err := l.Recover(); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
}

func TestReadOnly(t *testing.T) {
	t.Parallel()
	fs := newMem(t)
	l := openTest(t, fs, Options{SegmentSize: 600})
	appendN(t, l, 0, 50)
	l.Close()
	before := fs.String()
	l = openTest(t, fs, Options{ReadOnly: true})
	checkRecords(t, mustReadAll(t, l), 50)
	if _, err := l.Append(KindBatch, nil); !errors.Is(err, ErrReadOnly) {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if after := fs.String(); after != before {
		t.Fatalf("before:\n%s\nafter:\n%s", before, after)
	}
	if _, err := Open("/data/nothing", Options{FS: fs, ReadOnly: true}); err == nil {
		t.Fatal("no error")
	}
}

func TestPolicyNames(t *testing.T) {
	t.Parallel()
	for _, p := range []Policy{Always, EverySec, No} {
		if got, ok := ParsePolicy(p.String()); !ok || got != p {
			t.Fatal(p, got, ok)
		}
	}
	if _, ok := ParsePolicy("sometimes"); ok {
		t.Fatal("parsed")
	}
	if s := Policy(7).String(); s != "Policy(7)" {
		t.Fatal(s)
	}
}

// encodeVersion is a valid header of another format version.
func (h *segmentHeader) encodeVersion(v uint32) []byte {
	b := h.encode()
	binary.LittleEndian.PutUint32(b[12:], v)
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b[12:], castagnoli))
	return b
}

// reseal makes the checksum of a changed record right.
func reseal(record []byte) {
	binary.LittleEndian.PutUint32(record, crc32.Checksum(record[4:], castagnoli))
}
