package log

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairndb/cairn/tools/poll"
)

// slowFS makes each sync of a file's data last as long as hold says.
type slowFS struct {
	vfs.FS
	hold atomic.Pointer[func()]
}

func (fs *slowFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := fs.FS.OpenReadWrite(name, c, opts...)
	return &slowFile{f, fs}, err
}

type slowFile struct {
	vfs.File
	fs *slowFS
}

func (f *slowFile) SyncData() error {
	if hold := f.fs.hold.Load(); hold != nil {
		(*hold)()
	}
	return f.File.SyncData()
}

func TestFlushStableSyncsOnQuickDisk(t *testing.T) {
	t.Parallel()
	fs := &slowFS{FS: newMem(t)}
	l := openTest(t, fs, Options{Policy: Always, SyncInterval: time.Hour})
	flush := func(from int) uint64 {
		t.Helper()
		appendN(t, l, from, from+1)
		stable, err := l.FlushStable()
		if err != nil {
			t.Fatal(err)
		}
		return stable
	}
	if stable := flush(0); stable != l.End() {
		t.Fatalf("stable up to %d of %d", stable, l.End())
	}
	slow := func() {
		began := time.Now()
		poll.Until(t, "the disk is slow", func() bool { return time.Since(began) > quickSync })
	}
	fs.hold.Store(&slow)
	if stable := flush(1); stable != l.End() {
		t.Fatal("who meets the slow sync first waits for it")
	}
	if stable := flush(2); stable == l.End() {
		t.Fatal("the next one leaves it to the syncer")
	}
	fs.hold.Store(nil)
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	if stable := flush(3); stable != l.End() {
		t.Fatal("the disk is quick again")
	}
}

func TestPrewrite(t *testing.T) {
	t.Parallel()
	fs := newMem(t)
	o := Options{Policy: Always, SegmentSize: 3000, Prewrite: true, SyncInterval: time.Hour}
	l := openTest(t, fs, o)
	size := func(name string) int64 {
		info, err := fs.Stat(fs.PathJoin(testDir, name))
		if err != nil {
			return 0
		}
		return info.Size()
	}
	n := 0
	for ; l.End() < 2000; n++ {
		appendN(t, l, n, n+1)
	}
	poll.Until(t, "the next segment is written ahead", func() bool { return size(nextName) == segmentHeaderSize+3000 })
	for ; l.End() < 4000; n++ {
		appendN(t, l, n, n+1)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := size(segmentName(0)); got != segmentHeaderSize+3000 {
		t.Errorf("%d bytes of the first segment were written", got)
	}
	l = openTest(t, fs, o)
	checkRecords(t, mustReadAll(t, l), n)
}

// Under EverySec nothing is acknowledged while a sync lasts longer than its interval.
func TestSlowSyncHoldsBack(t *testing.T) {
	t.Parallel()
	fs := &slowFS{FS: newMem(t)}
	l := openTest(t, fs, Options{Policy: EverySec, SyncInterval: 10 * time.Millisecond})
	gate, entered := make(chan struct{}), make(chan struct{}, 100)
	hold := func() { entered <- struct{}{}; <-gate }
	fs.hold.Store(&hold)
	appendN(t, l, 0, 1)
	if stable, err := l.FlushStable(); err != nil || stable != l.End() {
		t.Fatalf("stable up to %d of %d: %v", stable, l.End(), err)
	}
	<-entered
	poll.Until(t, "the sync is slow", func() bool { return l.Stable() == 0 })
	appendN(t, l, 1, 2)
	if stable, err := l.FlushStable(); err != nil || stable != 0 {
		t.Fatalf("stable up to %d while the sync hangs: %v", stable, err)
	}
	done := make(chan error, 1)
	l.OnStable(l.End(), func(err error) { done <- err })
	if n := l.Stats().Delayed; n != 1 {
		t.Errorf("delayed %d times", n)
	}
	select {
	case <-done:
		t.Fatal("acknowledged while the sync hangs")
	default:
	}
	fs.hold.Store(nil)
	close(gate)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
