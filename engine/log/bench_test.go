package log

import (
	"context"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// BenchmarkAppend measures a record with a payload of 128 bytes, on a real
// file system: flushed one by one, in bursts, or only when the buffer is full.
func BenchmarkAppend(b *testing.B) {
	for _, bench := range []struct {
		name  string
		burst int // records a flush; 0: none
	}{{"flush-1", 1}, {"flush-16", 16}, {"flush-never", 0}} {
		b.Run(bench.name, func(b *testing.B) {
			l, err := Open(b.TempDir(), Options{FS: vfs.Default, Policy: EverySec})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			slots, payload := []uint16{7}, make([]byte, 128)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				if _, err := l.Append(KindBatch, slots, payload[:12], payload[12:]); err != nil {
					b.Fatal(err)
				}
				if bench.burst > 0 && i%bench.burst == 0 {
					if _, err := l.Flush(); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.StopTimer()
			if err := l.Drop(l.End()); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkAlways measures how many goroutines that wait for the disk after each
// record share its syncs.
func BenchmarkAlways(b *testing.B) {
	l, err := Open(b.TempDir(), Options{FS: vfs.Default, Policy: Always})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	payload := make([]byte, 128)
	b.SetParallelism(25)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			end, err := l.Append(KindBatch, nil, payload)
			if err == nil {
				err = l.WaitStable(context.Background(), end)
			}
			if err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer()
	s := l.Stats()
	b.ReportMetric(float64(s.Records)/float64(s.Syncs), "records/sync")
	b.ReportMetric(float64(s.Writes)/float64(s.Records), "writes/record")
}
