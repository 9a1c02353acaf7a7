package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairndb/cairn/engine/keys"
)

// TestImportRefuses: what a batch may not hold.
func TestImportRefuses(t *testing.T) {
	t.Parallel()
	s := openTest(t, "d", testOptions(vfs.NewMem()))
	slot := keys.Slot([]byte("{s}"))
	if _, err := s.BeginImport([]uint16{slot}); err != nil {
		t.Fatal(err)
	}
	record := stringHeader.Append(nil)
	good := func(w *batchWriter) error {
		return w.add(opSet, keys.AppendMeta(nil, slot, 0, []byte("{s}")), record, 0)
	}
	other := []byte("other")
	for name, c := range map[string]struct {
		want error
		fill func(w *batchWriter) error
	}{
		"another slot": {ErrNotImporting, func(w *batchWriter) error {
			return w.add(opSet, keys.AppendMeta(nil, keys.Slot(other), 0, other), record, 0)
		}},
		"a key of another slot": {ErrBatch, func(w *batchWriter) error {
			return w.add(opSet, keys.AppendMeta(nil, slot, 0, other), record, 0)
		}},
		"an expiry of another slot": {ErrBatch, func(w *batchWriter) error {
			return w.add(opSet, keys.AppendExpiry(nil, slot, 1, keys.ExpireKey, 0, other), nil, 0)
		}},
		"a database too many": {ErrBatch, func(w *batchWriter) error {
			return w.add(opSet, keys.AppendMeta(nil, slot, 0, []byte("{s}")), record, 200)
		}},
		"no header": {ErrBatch, func(w *batchWriter) error {
			return w.add(opSet, keys.AppendMeta(nil, slot, 0, []byte("{s}")), []byte{0xff}, 0)
		}},
		"counters": {ErrBatch, func(w *batchWriter) error {
			return w.add(opSet, keys.AppendCounters(nil, slot), (&keys.Counters{NextID: 1}).Append(nil), 0)
		}},
		"the end of the import": {ErrBatch, func(w *batchWriter) error {
			return w.add(opDelete, keys.AppendImport(nil, slot), nil, 0)
		}},
		"the whole slot": {ErrBatch, func(w *batchWriter) error {
			return w.add(opDeleteRange, keys.AppendSlot(nil, int(slot)), keys.AppendSlot(nil, int(slot)+1), 0)
		}},
		"a range over slots": {ErrBatch, func(w *batchWriter) error {
			return w.add(opDeleteRange, keys.AppendKind(nil, slot, keys.KindMeta), keys.AppendSlot(nil, int(slot)+2), 0)
		}},
		"a range of nothing": {ErrBatch, func(w *batchWriter) error {
			return w.add(opDeleteRange, keys.AppendKind(nil, slot, keys.KindMeta), nil, 0)
		}},
		"the node's own": {ErrBatch, func(w *batchWriter) error { return w.add(opSet, append(slices.Clone(keys.DatabasesKey), 0), nil, 0) }},
		"no kind":        {ErrBatch, func(w *batchWriter) error { return w.add(opSet, []byte{0, 1, 'z', 1}, nil, 0) }},
	} {
		var batch SlotBatch
		w := &batchWriter{emit: func(b SlotBatch) error { batch = slices.Clone(b); return nil }}
		if err := errors.Join(good(w), c.fill(w), w.flush()); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Import(context.Background(), batch); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var batch SlotBatch
	w := &batchWriter{emit: func(b SlotBatch) error { batch = slices.Clone(b); return nil }}
	if err := errors.Join(good(w), w.flush()); err != nil {
		t.Fatal(err)
	}
	for i := range batch {
		bad := slices.Clone(batch)
		bad[i] ^= 4
		if _, err := s.Import(context.Background(), bad); !errors.Is(err, ErrBatch) {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
	newer := slices.Clone(batch)
	newer[4]++
	binary.LittleEndian.PutUint32(newer, crc32.Checksum(newer[4:], castagnoli))
	if _, err := s.Import(context.Background(), newer); !errors.Is(err, ErrBatchVersion) {
		t.Errorf("a newer format: %v", err)
	}
	if left := storedSlot(t, s, slot); len(left) != 1 {
		t.Errorf("%d keys were stored", len(left))
	}
	if _, err := s.Import(context.Background(), batch); err != nil {
		t.Error(err)
	}
}

// FuzzSlotBatch: nothing makes the decoder panic or lets it out of the slots that it names.
func FuzzSlotBatch(f *testing.F) {
	slot := keys.Slot([]byte("{s}"))
	w := &batchWriter{emit: func(b SlotBatch) error { f.Add([]byte(b[slotBatchHeader:])); return nil }}
	err := errors.Join(
		w.add(opSet, keys.AppendImport(nil, slot), (&keys.Counters{NextID: 5, DBs: []keys.DBCounters{{DB: 0, Keys: 1, Bytes: 20}}}).Append(nil), 0),
		w.add(opSet, keys.AppendMeta(nil, slot, 0, []byte("{s}x")), stringHeader.Append(nil), 3),
		w.add(opSet, keys.AppendExpiry(nil, slot, 77, keys.ExpireKey, 0, []byte("{s}x")), nil, 3),
		w.add(opDelete, keys.AppendSub(nil, slot, 3, []byte("sub")), nil, 0),
		w.add(opDeleteRange, keys.AppendSub(nil, slot, 3, nil), keys.AppendSubEnd(nil, slot, 3), 0),
		w.flush())
	if err != nil {
		f.Fatal(err)
	}
	table := newDBTable()
	f.Fuzz(func(t *testing.T, ops []byte) {
		b := append([]byte{0, 0, 0, 0, slotBatchFormat}, ops...)
		_, _ = decodeBatch(b, table)
		binary.LittleEndian.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
		d, err := decodeBatch(b, table)
		if err != nil {
			return
		}
		r := replicated{ops: d.repr[batchHeader:], count: d.count}
		r.Slots = d.slots
		n := uint64(0)
		if err := r.each(func(kind pebble.InternalKeyKind, key, value []byte) error {
			n++
			return r.decodeOp(kind, key, value)
		}); err != nil || n != d.count || len(r.drops) > 0 || r.world {
			t.Fatalf("%x: %v, %d of %d operations, drops %v", ops, err, n, d.count, r.drops)
		}
	})
}
