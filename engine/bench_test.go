package engine

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cairndb/cairn/engine/keys"
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

// benchCollection is a store with a collection of n elements of 20 random bytes.
type benchCollection struct {
	s  *Store
	t  *Txn
	k  Key
	h  keys.Header
	n  uint64
	el [20]byte
}

// element is the n-th element.
func (c *benchCollection) element(n uint64) []byte {
	rng := rand.NewPCG(n, 1)
	for at := 0; at < 16; at += 8 {
		binary.BigEndian.PutUint64(c.el[at:], rng.Uint64())
	}
	return c.el[:]
}

func newBenchCollection(b *testing.B, n uint64) *benchCollection {
	c := &benchCollection{s: benchStore(b), k: key("collection")}
	c.t = c.s.NewTxn()
	c.h = keys.Header{Type: keys.TypeSet, Encoding: keys.EncodingSpread}
	for c.n < n {
		must(b, c.s.AdmitWrite(b.Context()))
		c.t.Lock([]uint16{c.k.Slot}, true)
		if c.h.ID == 0 {
			var err error
			c.h.ID, err = c.t.NewID(c.k.Slot)
			must(b, err)
		}
		for range 1000 {
			c.add(b)
		}
		c.commit(b)
	}
	return c
}

// add writes a new element, as SADD would.
func (c *benchCollection) add(b *testing.B) {
	must(b, c.t.PutSub(c.k.Slot, c.h.ID, c.element(c.n), nil))
	c.n++
	c.h.Count, c.h.Bytes = c.n, c.n*keys.SubBytes(c.el[:], nil)
	must(b, c.t.Put(c.k, c.h, nil))
}

func (c *benchCollection) commit(b *testing.B) {
	must(b, c.t.Commit())
	_, err := c.s.FlushLog()
	must(b, err)
}

// groups runs fn n times in transactions of 16 commands.
func (c *benchCollection) groups(b *testing.B, n int, write bool, fn func()) {
	for n > 0 {
		if write {
			must(b, c.s.AdmitWrite(b.Context()))
		}
		for range min(n, 16) {
			if !c.t.TryLock(c.k.Slot, write) {
				b.Fatal("locked")
			}
			fn()
			c.t.EndCommand()
		}
		n -= 16
		c.commit(b)
	}
}

// cool makes the store as it is after a start: the record table is empty.
func (c *benchCollection) cool() { c.s.records = newRecordTable(c.s.o.RecordCacheBytes) }

func (c *benchCollection) get(b *testing.B, n uint64, want bool) {
	if _, ok, err := c.t.GetSub(c.k.Slot, c.h.ID, c.element(n)); err != nil || ok != want {
		b.Fatal(ok, err)
	}
}

// BenchmarkSub reads and writes a collection of a million elements in transactions of 16 commands.
func BenchmarkSub(b *testing.B) {
	const elements = 1_000_000
	for _, cool := range []bool{false, true} {
		c := newBenchCollection(b, elements)
		if cool {
			must(b, c.s.Flush(b.Context()))
			c.cool()
		}
		run := func(name string, write bool, fn func(b *testing.B)) {
			b.Run(fmt.Sprintf("%s/cool=%v", name, cool), func(b *testing.B) {
				reportCPU(b)
				c.groups(b, b.N, write, func() { fn(b) })
			})
		}
		run("get", false, func(b *testing.B) { c.get(b, rand.Uint64N(elements), true) })
		run("absent", true, func(b *testing.B) { c.get(b, 1<<40+rand.Uint64(), false) })
		for _, n := range []int{1, 10, 100} {
			run(fmt.Sprint("walk=", n), false, func(b *testing.B) {
				left := n
				must(b, c.t.ScanSub(c.k.Slot, c.h.ID, c.element(rand.Uint64()), func(_, _ []byte) bool {
					left--
					return left > 0
				}))
			})
		}
		run("put", true, func(b *testing.B) { c.add(b) })
		run("absent+put", true, func(b *testing.B) {
			c.get(b, c.n, false)
			c.add(b)
		})
		run("put+walk=10", true, func(b *testing.B) {
			c.add(b)
			left := 10
			must(b, c.t.ScanSub(c.k.Slot, c.h.ID, c.element(rand.Uint64()), func(_, _ []byte) bool {
				left--
				return left > 0
			}))
		})
	}
}
