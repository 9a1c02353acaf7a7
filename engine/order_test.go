package engine

import (
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	wal "github.com/cairndb/cairn/engine/log"
)

// TestLogIsSyncedBeforeManifestWrites: syncing it before the MANIFEST's sync was too late, since a
// written page may reach the disk at any time.
func TestLogIsSyncedBeforeManifestWrites(t *testing.T) {
	t.Parallel()
	var s *Store
	var committed, writes atomic.Uint64
	watch := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileWrite && strings.HasPrefix(filepath.Base(op.Path), "MANIFEST-") && committed.Load() > 0 {
			writes.Add(1)
			if synced := s.log.Synced(); synced < committed.Load() {
				t.Errorf("a MANIFEST is written when the log is synced to %d of %d", synced, committed.Load())
			}
		}
		return nil
	})
	o := testOptions(errorfs.Wrap(vfs.NewMem(), watch))
	o.SyncPolicy = wal.No
	s = openTest(t, "d", o)
	fill(t, s, 100)
	committed.Store(s.log.End())
	if err := s.db.Flush(); err != nil { // Store.Flush would sync the log first
		t.Fatal(err)
	}
	if writes.Load() == 0 {
		t.Error("no MANIFEST was written")
	}
}

// TestManifestNameIsDurableBeforeMarker: a marker in the folder must not name a MANIFEST that is not.
func TestManifestNameIsDurableBeforeMarker(t *testing.T) {
	t.Parallel()
	mem := vfs.NewCrashableMem()
	var markers atomic.Uint64
	watch := errorfs.InjectorFunc(func(op errorfs.Op) error {
		_, manifest, ok := strings.Cut(filepath.Base(op.Path), "marker.manifest.")
		if op.Kind != errorfs.OpCreate || !ok {
			return nil
		}
		markers.Add(1)
		_, manifest, _ = strings.Cut(manifest, ".")
		crashed := mem.CrashClone(vfs.CrashCloneCfg{})
		if _, err := crashed.Stat(filepath.Join(filepath.Dir(op.Path), manifest)); err != nil {
			t.Errorf("a marker is created when its MANIFEST may still vanish: %v", err)
		}
		return nil
	})
	for range 2 {
		s := openTest(t, "d", testOptions(errorfs.Wrap(mem, watch)))
		fill(t, s, 10)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if markers.Load() == 0 {
		t.Error("no marker was created")
	}
}
