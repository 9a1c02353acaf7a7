package engine

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cairndb/cairn/engine/keys"
)

// BenchmarkMoveSlots moves a million keys of 128 bytes in 100 slots: only out of one store, only into another, and both at once, one
// goroutine each. Run it with -benchtime 1x.
func BenchmarkMoveSlots(b *testing.B) {
	const slots, perSlot = 100, 10_000
	source := benchStore(b)
	ks := make([]Key, 0, slots*perSlot)
	var moved []uint16
	for tag := 0; len(moved) < slots; tag++ {
		slot := keys.Slot(fmt.Appendf(nil, "{%d}", tag))
		if slices.Contains(moved, slot) {
			continue
		}
		moved = append(moved, slot)
		for i := range perSlot {
			ks = append(ks, key(fmt.Sprintf("{%d}:key:%06d", tag, i)))
		}
	}
	load(b, source, ks, make([]byte, 128))
	ctx := context.Background()
	report := func(b *testing.B, start time.Time, bytes int) {
		seconds := time.Since(start).Seconds()
		b.ReportMetric(float64(len(ks)*b.N)/seconds, "keys/s")
		b.ReportMetric(float64(bytes)/1e6/seconds, "MB/s")
	}
	export := func(b *testing.B, emit func(SlotBatch) error) (bytes int) {
		for _, slot := range moved {
			_, err := source.ExportSlot(ctx, slot, func(batch SlotBatch) error {
				bytes += len(batch)
				return emit(batch)
			})
			must(b, err)
		}
		return bytes
	}
	for _, stored := range []string{"unsaved", "stored"} {
		b.Run("export="+stored, func(b *testing.B) {
			reportCPU(b)
			start, bytes := time.Now(), 0
			for range b.N {
				bytes += export(b, func(SlotBatch) error { return nil })
			}
			report(b, start, bytes)
		})
		must(b, source.Flush(ctx))
	}
	var batches []SlotBatch
	bytes := export(b, func(batch SlotBatch) error { batches = append(batches, slices.Clone(batch)); return nil })
	into := func(b *testing.B, move func(target *Store)) {
		target := benchStore(b)
		must2(b)(target.BeginImport(moved))
		reportCPU(b)
		start := time.Now()
		for range b.N {
			move(target)
			must2(b)(target.FlushLog())
		}
		report(b, start, bytes*b.N)
		must2(b)(target.EndImport(moved))
		if n := target.DBCounts(0).Keys; n != int64(len(ks)) {
			b.Fatalf("%d keys", n)
		}
	}
	b.Run("import", func(b *testing.B) {
		into(b, func(target *Store) {
			for _, batch := range batches {
				must2(b)(target.Import(ctx, batch))
			}
		})
	})
	batches = nil
	b.Run("both", func(b *testing.B) {
		into(b, func(target *Store) {
			sent := make(chan SlotBatch, 16)
			go func() {
				defer close(sent)
				export(b, func(batch SlotBatch) error { sent <- slices.Clone(batch); return nil })
			}()
			for batch := range sent {
				must2(b)(target.Import(ctx, batch))
			}
		})
	})
}

func must2(b *testing.B) func(Offset, error) {
	return func(_ Offset, err error) { must(b, err) }
}
