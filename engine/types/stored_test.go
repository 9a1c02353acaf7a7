package types

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/cairndb/cairn/engine"
	wal "github.com/cairndb/cairn/engine/log"
	"github.com/cairndb/cairn/tools/poll"
)

// clock is one that tests move. It starts at 1,000,000 ms, so that times are easy to read.
type clock struct{ ms atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.ms.Store(1_000_000)
	return c
}

func (c *clock) now() time.Time { return time.UnixMilli(c.ms.Load()) }

// openClocked opens a store that expires nothing by itself.
func openClocked(t testing.TB, c *clock) *engine.Store {
	t.Helper()
	s, err := engine.Open("d", engine.Options{FS: vfs.NewMem(), CacheBytes: 4 << 20, RecordCacheBytes: -1, MemTableBytes: 1 << 20, FreeSpaceReserve: 1, ExpireFields: ExpireFields, Verify: Verify, Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	s.SetActiveExpire(false)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// checkStore fails the test if Check finds anything.
func checkStore(t testing.TB, s *engine.Store) {
	t.Helper()
	r, err := s.Check(context.Background())
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// dumpKey shows what is stored for a key: the header's fields that are set, the value, and each sub-key.
func dumpKey(t testing.TB, tx *engine.Txn, k engine.Key) string {
	t.Helper()
	rec, found, err := tx.Get(k)
	if err != nil {
		t.Fatal(err)
	}
	if !found {
		return "nothing\n"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s encoding=%d", TypeName(rec.Type), rec.Encoding)
	for _, f := range []struct {
		name string
		v    int64
	}{
		{"expire", rec.ExpireAt}, {"fields-expire", rec.FieldExpireAt}, {"id", int64(rec.ID)}, {"count", int64(rec.Count)}, {"bytes", int64(rec.Bytes)},
	} {
		if f.v != 0 {
			fmt.Fprintf(&b, " %s=%d", f.name, f.v)
		}
	}
	fmt.Fprintf(&b, " %s\n  %q\n", ObjectEncoding(rec), rec.Value)
	if rec.ID == 0 {
		return b.String()
	}
	err = tx.ScanSub(k.Slot, rec.ID, nil, func(sub, value []byte) bool {
		fmt.Fprintf(&b, "  %q → %q\n", sub, value)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// crash runs steps, each in a transaction of its own, on a file system that is copied, as a crash would leave it, at a random write. It opens
// the copy and returns it, with the number of steps that must have survived and of those that may have.
func crash(t *testing.T, seed uint64, o engine.Options, step func(tx *engine.Txn, rng *rand.Rand) error) (after *engine.Store, least, most int) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 7))
	fs := vfs.NewCrashableMem()
	cfg := vfs.CrashCloneCfg{RNG: rand.New(rand.NewPCG(seed, 8)), UnsyncedDataPercent: []int{0, 30, 90}[rng.IntN(3)]}
	var countdown atomic.Int64
	var acked, begun atomic.Int64
	var crashed *vfs.MemFS // written once, before done is closed
	done := make(chan struct{})
	countdown.Store(10 + rng.Int64N(150))
	o.SyncPolicy = wal.Always
	o.FS = errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && countdown.Add(-1) == 0 {
			least = int(acked.Load())
			crashed = fs.CrashClone(cfg)
			most = int(begun.Load())
			close(done)
		}
		return nil
	}))
	s, err := engine.Open("d", o)
	if err != nil {
		t.Fatal(err)
	}
	tx := s.NewTxn()
	for running := true; running; {
		begun.Add(1)
		err := step(tx, rng)
		if err == nil {
			err = tx.Commit()
		}
		if err == nil && rng.IntN(3) == 0 {
			if err = s.WaitStable(t.Context(), tx.Barrier()); err == nil {
				acked.Store(begun.Load())
			}
		}
		if err == nil && rng.IntN(20) == 0 {
			err = s.Flush(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-done:
			running = false
		default:
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	o.FS = crashed
	if after, err = engine.Open("d", o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = after.Close() })
	return after, least, most
}

// locked returns a transaction that holds the slot of k for writing until it ends.
func locked(s *engine.Store, k engine.Key) *engine.Txn {
	tx := s.NewTxn()
	tx.Lock([]uint16{k.Slot}, true)
	return tx
}

// waitExpired waits until the expirer has removed so many fields.
func waitExpired(t *testing.T, s *engine.Store, n uint64) {
	t.Helper()
	poll.Until(t, "the fields expire", func() bool { return s.Stats().ExpiredFields == n })
}
