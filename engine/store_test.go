package engine

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairndb/cairn/engine/keys"
)

// testOptions are small, so that flushes and compactions happen.
func testOptions(fs vfs.FS) Options {
	return Options{
		FS:               fs,
		CacheBytes:       4 << 20,
		RecordCacheBytes: 1,
		MemTableBytes:    256 << 10,
		LogSegmentBytes:  256 << 10,
		SeparateBytes:    64,
	}
}

func openTest(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func key(name string) Key { return Key{Slot: keys.Slot([]byte(name)), Name: []byte(name)} }

var stringHeader = keys.Header{Type: keys.TypeString}

func mustPut(t testing.TB, tx *Txn, name, value string, expireAt int64) {
	t.Helper()
	h := stringHeader
	h.ExpireAt = expireAt
	if err := tx.Put(key(name), h, []byte(value)); err != nil {
		t.Fatal(err)
	}
}

func get(t testing.TB, s *Store, name string) (string, bool) {
	t.Helper()
	tx := s.NewTxn()
	tx.Lock([]uint16{key(name).Slot}, false)
	defer tx.Discard()
	r, ok, err := tx.Get(key(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(r.Value), ok
}

func TestReopen(t *testing.T) {
	t.Parallel()
	for _, clean := range []bool{true, false} {
		t.Run(fmt.Sprintf("clean=%v", clean), func(t *testing.T) {
			t.Parallel()
			fs := vfs.NewCrashableMem()
			s := openTest(t, "d", testOptions(fs))
			tx := s.NewTxn()
			for i := range 1000 {
				name := fmt.Sprint("key", i)
				if !tx.TryLock(key(name).Slot, true) {
					t.Fatal("a free lock is not given")
				}
				mustPut(t, tx, name, fmt.Sprint("value", i), 0)
				tx.EndCommand()
			}
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
			if _, err := s.FlushLog(); err != nil {
				t.Fatal(err)
			}
			if clean {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			} else {
				if err := s.log.Sync(); err != nil {
					t.Fatal(err)
				}
				fs = fs.CrashClone(vfs.CrashCloneCfg{})
			}
			s = openTest(t, "d", testOptions(fs))
			if s.recovery.Clean != clean {
				t.Errorf("recovery: %+v", s.recovery)
			}
			if got := s.DBCounts(0).Keys; got != 1000 {
				t.Errorf("%d keys", got)
			}
			for i := range 1000 {
				if v, ok := get(t, s, fmt.Sprint("key", i)); !ok || v != fmt.Sprint("value", i) {
					t.Fatalf("key%d: %q, %v", i, v, ok)
				}
			}
		})
	}
}
