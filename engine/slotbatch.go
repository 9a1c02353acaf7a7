package engine

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/batchrepr"

	"github.com/cairndb/cairn/engine/keys"
)

// A SlotBatch:
//
//	0  crc     4  CRC-32C of the bytes from 4 on, little endian
//	4  format  1  1
//	5  operations, back to back, as they stand in a Pebble batch:
//	   kind(1) key length(uvarint) key, and for all but a deletion: length(uvarint) value
//
// Kinds are 0 for a deletion, 1 for a write, 15 for the deletion of a range, whose exclusive end is the value. Keys and
// values are as they are stored (see package keys), but for three things, since the stores differ:
//
//   - The database in keys and counters is the logical one.
//   - Counters stand under 'a' instead of 'c'.
//   - What removes a whole slot begins behind 'a'.
const (
	slotBatchHeader = 5
	slotBatchFormat = 1
	// slotBatchBytes is the size at which a batch is emitted. A batch is applied under the commit mutex: for about a millisecond.
	slotBatchBytes = 256 << 10
	// maxOpHeader is the greatest length of what stands in an operation besides key and value.
	maxOpHeader = 1 + 2*binary.MaxVarintLen32
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// batchWriter makes batches out of operations.
type batchWriter struct {
	buf  []byte
	emit func(SlotBatch) error
}

// add appends an operation. db replaces the database in the key.
func (w *batchWriter) add(kind opKind, key, val []byte, db uint8) error {
	if size := len(w.buf) + maxOpHeader + len(key) + len(val); size > slotBatchBytes && len(w.buf) > slotBatchHeader {
		if err := w.flush(); err != nil {
			return err
		}
	}
	if len(w.buf) == 0 {
		if w.buf == nil {
			w.buf = make([]byte, 0, slotBatchBytes)
		}
		w.buf = append(w.buf, 0, 0, 0, 0, slotBatchFormat)
	}
	at := len(w.buf) + 1 + uvarintLen(uint64(len(key)))
	w.buf = appendOp(w.buf, kind, key, val)
	if kind != opDeleteRange {
		keys.SetDB(w.buf[at:at+len(key)], db)
	}
	return nil
}

// flush emits what there is.
func (w *batchWriter) flush() error {
	if len(w.buf) <= slotBatchHeader {
		return nil
	}
	binary.LittleEndian.PutUint32(w.buf, crc32.Checksum(w.buf[4:], castagnoli))
	err := w.emit(w.buf)
	if cap(w.buf) > 2*slotBatchBytes {
		w.buf = nil
	}
	w.buf = w.buf[:0]
	return err
}

func uvarintLen(x uint64) int {
	n := 1
	for ; x >= 0x80; x >>= 7 {
		n++
	}
	return n
}

// decodedBatch is a verified batch as a record.
type decodedBatch struct {
	slots []uint16 // ascending
	repr  []byte   // a Pebble batch, but for the count in its header
	count uint64
	table *dbTable // that the databases were translated by

	lastSlot int
	counters keys.Counters
	val      []byte
}

// decodeBatch verifies a batch, which may come from anywhere: it writes only what belongs to the slots that it returns. The databases
// are translated by table.
func decodeBatch(b SlotBatch, table *dbTable) (*decodedBatch, error) {
	switch {
	case len(b) <= slotBatchHeader || len(b) > MaxSlotBatch:
		return nil, fmt.Errorf("%w: %d bytes", ErrBatch, len(b))
	case binary.LittleEndian.Uint32(b) != crc32.Checksum(b[4:], castagnoli):
		return nil, fmt.Errorf("%w: checksum mismatch", ErrBatch)
	case b[4] != slotBatchFormat:
		return nil, fmt.Errorf("%w: %d, this version knows %d", ErrBatchVersion, b[4], slotBatchFormat)
	}
	d := &decodedBatch{table: table, lastSlot: -1}
	d.repr = make([]byte, batchHeader, batchHeader+len(b)+64)
	reader := batchrepr.Reader(b[slotBatchHeader:])
	for {
		kind, key, val, ok, err := reader.Next()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrBatch, err)
		}
		if !ok {
			break
		}
		if err := d.add(kind, key, val); err != nil {
			return nil, err
		}
	}
	if d.count == 0 {
		return nil, fmt.Errorf("%w: it is empty", ErrBatch)
	}
	slices.Sort(d.slots)
	d.slots = slices.Compact(d.slots)
	return d, nil
}

// add verifies, translates and appends an operation.
func (d *decodedBatch) add(kind pebble.InternalKeyKind, key, val []byte) error {
	var op opKind
	var err error
	switch kind {
	case pebble.InternalKeyKindSet:
		op = opSet
	case pebble.InternalKeyKindDelete:
		op = opDelete
	case pebble.InternalKeyKindRangeDelete:
		op = opDeleteRange
	default:
		return fmt.Errorf("%w: operation of kind %d", ErrBatch, kind)
	}
	if len(key) < 3 || key[0] >= keys.Slots>>8 {
		return fmt.Errorf("%w: a key of no slot", ErrBatch)
	}
	slot := binary.BigEndian.Uint16(key)
	if op == opDeleteRange {
		end := keys.AppendSlot(make([]byte, 0, 2), int(slot)+1)
		if keys.Kind(key[2]) <= keys.KindImport || bytes.Compare(key, val) >= 0 || bytes.Compare(val, end) > 0 {
			return fmt.Errorf("%w: the deletion of a range that does not lie in slot %d", ErrBatch, slot)
		}
	} else if val, err = d.verify(op, key, val); err != nil {
		return err
	}
	if int(slot) != d.lastSlot {
		d.slots = append(d.slots, slot)
		d.lastSlot = int(slot)
	}
	at := len(d.repr) + 1 + uvarintLen(uint64(len(key)))
	d.repr = appendOp(d.repr, op, key, val)
	if op != opDeleteRange {
		d.translate(d.repr[at : at+len(key)])
	}
	d.count++
	return nil
}

// verify says whether an entry may be imported, and returns the value to be stored.
func (d *decodedBatch) verify(op opKind, key, val []byte) ([]byte, error) {
	p, ok := keys.Parse(key)
	switch {
	case !ok:
		return nil, fmt.Errorf("%w: a key that does not parse", ErrBatch)
	case p.DB >= maxLogical:
		return nil, fmt.Errorf("%w: database %d", ErrBatch, p.DB)
	}
	switch p.Kind {
	case keys.KindMeta:
		if p.Hash != keys.Hash(p.Name) || keys.Slot(p.Name) != p.Slot {
			return nil, fmt.Errorf("%w: slot %d: a key that belongs elsewhere", ErrBatch, p.Slot)
		}
		var h keys.Header
		if op == opSet {
			if _, err := h.Decode(val); err != nil {
				return nil, fmt.Errorf("%w: slot %d: %w", ErrBatch, p.Slot, err)
			}
		}
	case keys.KindExpiry:
		if keys.Slot(p.Name) != p.Slot {
			return nil, fmt.Errorf("%w: slot %d: an expiry that belongs elsewhere", ErrBatch, p.Slot)
		}
	case keys.KindImport:
		return d.verifyCounters(op, p.Slot, val)
	case keys.KindCounters:
		return nil, fmt.Errorf("%w: slot %d: counters", ErrBatch, p.Slot)
	}
	return val, nil
}

// verifyCounters returns the counters with physical databases.
func (d *decodedBatch) verifyCounters(op opKind, slot uint16, val []byte) ([]byte, error) {
	c := &d.counters
	rest, err := c.Decode(val)
	if op != opSet || err != nil || len(rest) > 0 || c.NextID == 0 {
		return nil, fmt.Errorf("%w: slot %d: malformed counters", ErrBatch, slot)
	}
	for i := range c.DBs {
		if c.DBs[i].DB >= maxLogical {
			return nil, fmt.Errorf("%w: slot %d: database %d", ErrBatch, slot, c.DBs[i].DB)
		}
		c.DBs[i].DB = d.table.physical[c.DBs[i].DB]
	}
	slices.SortFunc(c.DBs, func(a, b keys.DBCounters) int { return int(a.DB) - int(b.DB) })
	d.val = c.Append(d.val[:0])
	return d.val, nil
}

// translate replaces the logical database in a key by the physical one.
func (d *decodedBatch) translate(key []byte) {
	if p, _ := keys.Parse(key); p.Kind == keys.KindMeta || p.Kind == keys.KindExpiry {
		keys.SetDB(key, d.table.physical[p.DB])
	}
}
