package engine

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"
)

func benchStore(b *testing.B) *Store {
	o := DefaultOptions()
	o.FreeSpaceReserve = 1 << 20
	return openTest(b, b.TempDir(), o)
}

// benchKeys are the keys of redis-benchmark -r n.
func benchKeys(n int) []Key {
	ks := make([]Key, n)
	for i := range ks {
		ks[i] = key(fmt.Sprintf("key:%012d", i))
	}
	return ks
}

// reportCPU reports the process's CPU time an operation, flushes and compactions included: it is
// steadier than the clock on a busy machine. It is called when the timer starts.
func reportCPU(b *testing.B) {
	cpu := func() int64 {
		var u unix.Rusage
		must(b, unix.Getrusage(unix.RUSAGE_SELF, &u))
		return u.Utime.Nano() + u.Stime.Nano()
	}
	start := cpu()
	b.ReportAllocs()
	b.ResetTimer()
	b.Cleanup(func() { b.ReportMetric(float64(cpu()-start)/float64(b.N), "cpu-ns/op") })
}

func must(b *testing.B, err error) {
	if err != nil {
		b.Fatal(err)
	}
}

// setGroup sets n random keys in one transaction, as the event loop does for a burst.
func setGroup(b *testing.B, s *Store, t *Txn, ks []Key, value []byte, n int) {
	for range n {
		k := ks[rand.IntN(len(ks))]
		if !t.TryLock(k.Slot, true) {
			b.Fatal("locked")
		}
		must(b, t.Put(k, stringHeader, value))
		t.EndCommand()
	}
	must(b, t.Commit())
	_, err := s.FlushLog()
	must(b, err)
}

func load(b *testing.B, s *Store, ks []Key, value []byte) {
	t := s.NewTxn()
	for i, k := range ks {
		t.TryLock(k.Slot, true)
		must(b, t.Put(k, stringHeader, value))
		t.EndCommand()
		if i%500 == 499 {
			must(b, t.Commit())
		}
	}
	must(b, t.Commit())
}

func BenchmarkSet(b *testing.B) {
	for _, group := range []int{1, 10, 50, 800} {
		b.Run(fmt.Sprintf("group=%d", group), func(b *testing.B) {
			s := benchStore(b)
			ks := benchKeys(200_000)
			value := make([]byte, 128)
			load(b, s, ks, value)
			t := s.NewTxn()
			reportCPU(b)
			for n := b.N; n > 0; n -= group {
				setGroup(b, s, t, ks, value, min(n, group))
			}
		})
	}
}

func BenchmarkGet(b *testing.B) {
	for _, cached := range []bool{true, false} {
		b.Run(fmt.Sprintf("cached=%v", cached), func(b *testing.B) {
			s := benchStore(b)
			ks := benchKeys(100_000)
			load(b, s, ks, make([]byte, 128))
			must(b, s.Flush(b.Context()))
			if !cached {
				s.records = newRecordTable(0)
			}
			t := s.NewTxn()
			reportCPU(b)
			for i := range b.N {
				k := ks[rand.IntN(len(ks))]
				t.TryLock(k.Slot, false)
				if _, ok, err := t.Get(k); err != nil || !ok {
					b.Fatal(ok, err)
				}
				t.EndCommand()
				if i%50 == 49 {
					must(b, t.Commit())
				}
			}
			must(b, t.Commit())
		})
	}
}

// BenchmarkMSet writes ten keys of ten slots a transaction.
func BenchmarkMSet(b *testing.B) {
	s := benchStore(b)
	ks := benchKeys(200_000)
	value := make([]byte, 128)
	load(b, s, ks, value)
	t := s.NewTxn()
	reportCPU(b)
	for range b.N {
		setGroup(b, s, t, ks, value, 10)
	}
}

// BenchmarkIncr reads and then writes a key, in groups of 50.
func BenchmarkIncr(b *testing.B) {
	s := benchStore(b)
	ks := benchKeys(100_000)
	load(b, s, ks, []byte("1"))
	t := s.NewTxn()
	reportCPU(b)
	for i := range b.N {
		k := ks[rand.IntN(len(ks))]
		t.TryLock(k.Slot, true)
		r, _, err := t.Get(k)
		must(b, err)
		must(b, t.Put(k, r.Header, []byte("123")))
		t.EndCommand()
		if i%50 == 49 {
			must(b, t.Commit())
			_, err := s.FlushLog()
			must(b, err)
		}
	}
	must(b, t.Commit())
}
