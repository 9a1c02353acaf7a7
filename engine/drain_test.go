package engine

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestDrainInterrupted stops a drain between two of its batches: by a crash, which finds some records in Pebble that are newer
// than the applied offset, or by a FLUSHALL, after which the rest must not come back.
func TestDrainInterrupted(t *testing.T) {
	t.Parallel()
	for _, by := range []string{"crash", "FLUSHALL"} {
		t.Run(by, func(t *testing.T) {
			t.Parallel()
			fs := vfs.NewCrashableMem()
			s := openTest(t, "d", testOptions(fs))
			fill(t, s, 1000)
			if err := s.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			fill(t, s, 1000)
			mustSet(t, s, "fill0", "new")

			s.drains.turn.Lock()
			release := sync.OnceFunc(s.drains.turn.Unlock)
			t.Cleanup(release) // before Close, which drains
			s.commitMu.Lock()
			off, slots, flushes := s.log.End(), s.records.takeAll(), s.drains.flushes
			s.commitMu.Unlock()
			n, _, err := s.drainBatch(slots, 4<<10, flushes)
			if err != nil || n == 0 || n >= len(slots) {
				t.Fatalf("%d of %d slots: %v", n, len(slots), err)
			}
			if by == "crash" {
				if err := s.db.Flush(); err != nil {
					t.Fatal(err)
				}
				release()
				s = openTest(t, "d", testOptions(fs.CrashClone(vfs.CrashCloneCfg{})))
				if s.recovery.From >= off || s.recovery.To < off {
					t.Errorf("replayed %d to %d, not what stands before %d", s.recovery.From, s.recovery.To, off)
				}
				wantKeys(t, s, 1000)
				if v, _ := get(t, s, "fill0"); v != "new" {
					t.Errorf("fill0 is %q", v)
				}
				return
			}
			tx := s.NewTxn()
			tx.LockWorld()
			if err := tx.FlushAll(); err != nil {
				t.Fatal(err)
			}
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
			mustSet(t, s, "after", "1")
			if rest, size, err := s.drainBatch(slots[n:], 1<<20, flushes); rest != len(slots)-n || size != 0 || err != nil {
				t.Errorf("%d slots, %d bytes: %v", rest, size, err)
			}
			release()
			if err := s.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, s := range []*Store{s, openTest(t, "d", testOptions(fs.CrashClone(vfs.CrashCloneCfg{})))} {
				var names []string
				_, err := s.Scan(nil, 0, 0, 1<<20, -1, func(name []byte, _ Record) { names = append(names, string(name)) })
				if got := strings.Join(names, " "); err != nil || got != "after" {
					t.Errorf("after a FLUSHALL: %q, %v", got, err)
				}
				for i := range 1000 {
					if _, ok := get(t, s, fmt.Sprint("fill", i)); ok {
						t.Fatalf("fill%d is back", i)
					}
				}
				checkStore(t, s)
			}
		})
	}
}

// TestDrainAfterFailure: no drain stamps an offset once another has left out what it took.
func TestDrainAfterFailure(t *testing.T) {
	t.Parallel()
	s := openTest(t, "d", testOptions(vfs.NewMem()))
	fill(t, s, 100)
	s.fail(errStoreFailed)
	for range 2 {
		if err := s.drain(); !errors.Is(err, errStoreFailed) {
			t.Errorf("drain: %v", err)
		}
	}
	if off, err := s.appliedOffset(false); off != 0 || err != nil {
		t.Errorf("applied %d, %v", off, err)
	}
}
