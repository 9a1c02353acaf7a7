package replication

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/tools/poll"
)

// benchMegabytes is how much data a benchmark moves; CAIRN_BENCH_MB sets it.
func benchMegabytes() int {
	if n, err := strconv.Atoi(os.Getenv("CAIRN_BENCH_MB")); err == nil {
		return n
	}
	return 64
}

// load writes about so many bytes of values that don't compress, in commits of many keys, as pipelines make them.
func load(b *testing.B, n *node, bytes, size, group int) (records int) {
	b.Helper()
	rng := rand.New(rand.NewPCG(1, 1))
	value := make([]byte, size)
	store := n.m.Store()
	tx := store.NewTxn()
	for i := 0; i*size < bytes; {
		if err := store.AdmitWrite(context.Background()); err != nil {
			b.Fatal(err)
		}
		for range group {
			for j := range value {
				value[j] = byte(rng.Uint32())
			}
			name := fmt.Appendf(nil, "key:%012d", rng.IntN(bytes/size))
			slot := keys.Slot(name)
			if !tx.TryLock(slot, true) {
				b.Fatal("locked")
			}
			if err := tx.Put(engine.Key{Slot: slot, Name: name}, keys.Header{Type: keys.TypeString}, value); err != nil {
				b.Fatal(err)
			}
			i++
			records++
		}
		if err := tx.Commit(); err != nil {
			b.Fatal(err)
		}
		if _, err := store.FlushLog(); err != nil {
			b.Fatal(err)
		}
	}
	return records
}

func large64(n *node) {
	n.o.CacheBytes = 64 << 20
	n.o.MemTableBytes = 32 << 20
	n.o.LogSegmentBytes = 64 << 20
	n.o.RecordCacheBytes = 64 << 20
}

// BenchmarkCatchUp is a replica that gets a long log: MB of log and records (writes) a second.
func BenchmarkCatchUp(b *testing.B) {
	for _, size := range []int{64, 1024} {
		b.Run(fmt.Sprintf("value=%d", size), func(b *testing.B) {
			a := newNode(b, "a", large64, func(n *node) { n.o.LogBacklogBytes = 1 << 40 })
			writes := load(b, a, benchMegabytes()<<20, size, 16)
			for b.Loop() {
				r := newNode(b, "r", large64)
				began := time.Now()
				r.follow(a)
				poll.Until(b, "caught up", func() bool { return sameTail(a.m.Store(), r.m.Store()) })
				took := time.Since(began).Seconds()
				b.ReportMetric(float64(a.m.Store().End())/1e6/took, "MB/s")
				b.ReportMetric(float64(writes)/took, "writes/s")
				r.stop() // the next one has its name
			}
		})
	}
}

// BenchmarkFullSync is a replica that gets everything anew.
func BenchmarkFullSync(b *testing.B) {
	a := newNode(b, "a", large64)
	load(b, a, benchMegabytes()<<20, 1024, 16)
	for b.Loop() {
		r := newNode(b, "r", large64)
		r.put(0, 10, 10)
		r.stop()
		r.start()
		began := time.Now()
		r.follow(a)
		poll.Until(b, "synced", func() bool { return sameTail(a.m.Store(), r.m.Store()) })
		took := time.Since(began).Seconds()
		b.ReportMetric(float64(r.m.Status().Fetched)/1e6/took, "MB/s")
		r.stop() // the next one has its name
	}
}
