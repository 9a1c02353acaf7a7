package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	wal "github.com/cairndb/cairn/engine/log"
	"github.com/cairndb/cairn/tools/poll"
)

// valuesSeparated are random records, most of which Pebble keeps in blob files, in several flushes.
type valuesSeparated struct {
	rng  *rand.Rand
	want map[string]string
}

func (v *valuesSeparated) write(t testing.TB, s *Store, n int) {
	t.Helper()
	for range 3 {
		for i := range n {
			if v.rng.IntN(3) == 0 {
				continue
			}
			name := fmt.Sprint("value", i)
			v.want[name] = v.value()
			mustSet(t, s, name, v.want[name])
		}
		if err := s.Flush(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}

// value has from 400 to 4000 bytes, which don't compress well.
func (v *valuesSeparated) value() string {
	b := make([]byte, 400+v.rng.IntN(3600))
	for i := range b {
		b[i] = byte(v.rng.Uint32())
	}
	return string(b)
}

func (v *valuesSeparated) compare(t testing.TB, s *Store) {
	t.Helper()
	for name, want := range v.want {
		if got, ok := get(t, s, name); !ok || got != want {
			t.Fatalf("%s: %d bytes (%v) instead of %d, or others", name, len(got), ok, len(want))
		}
	}
	if n := s.DBCounts(0).Keys; n != int64(len(v.want)) {
		t.Errorf("%d keys instead of %d", n, len(v.want))
	}
}

func blobFiles(t testing.TB, fs vfs.FS, dir string) (names []string) {
	t.Helper()
	all, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range all {
		if strings.HasSuffix(name, ".blob") {
			names = append(names, name)
		}
	}
	return names
}

// TestCheckpointOfSeparateValues: a checkpoint has the files of separate values, and keeps them although the store has meanwhile replaced every
// value and removed its own.
func TestCheckpointOfSeparateValues(t *testing.T) {
	t.Parallel()
	for name, fs := range map[string]vfs.FS{"memory": vfs.NewMem(), "disk": vfs.Default} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			dir := t.TempDir()
			o := testOptions(fs)
			o.SeparateBytes, o.SyncPolicy = 512, wal.EverySec
			src := openTest(t, fs.PathJoin(dir, "src"), o)
			values := valuesSeparated{rng: rand.New(rand.NewPCG(seed, 1)), want: map[string]string{}}
			values.write(t, src, 500)
			c, err := src.Checkpoint(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			sent := blobFiles(t, fs, c.Dir)
			if len(sent) == 0 {
				t.Fatal("no value is in a file of its own")
			}
			replaceValues(t, src, &values, sent)
			to := fs.PathJoin(dir, "copy")
			fetchCheckpoint(t, c, to, fs)
			if err := Install(to, o); err != nil {
				t.Fatal(err)
			}
			o.Follow = true
			s := openTest(t, to, o)
			values.compare(t, s)
			checkStore(t, s)
			if err := s.Promote(); err != nil {
				t.Fatal(err)
			}
			values.write(t, s, 500)
			values.compare(t, s)
			checkStore(t, s)
		})
	}
}

// replaceValues writes other values until none of these files is the store's any more.
func replaceValues(t testing.TB, s *Store, old *valuesSeparated, files []string) {
	t.Helper()
	for name := range old.want {
		mustSet(t, s, name, "short")
	}
	if err := s.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := s.db.Compact(context.Background(), []byte{0}, []byte{0xff}, false); err != nil {
		t.Fatal(err)
	}
	poll.Until(t, "the old values' files are removed", func() bool {
		left := blobFiles(t, s.o.FS, s.o.FS.PathJoin(s.dir, storeFolder))
		return !slices.ContainsFunc(left, func(name string) bool { return slices.Contains(files, name) })
	})
}
