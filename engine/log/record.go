package log

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
)

const recordHeaderSize = 40

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Why bytes are no record.
var (
	errTruncated = errors.New("a record is cut off")
	errLength    = errors.New("impossible record length")
	errChecksum  = errors.New("record checksum mismatch")
	errOffset    = errors.New("record of another offset")
	errLink      = errors.New("record of another history")
	errFields    = errors.New("impossible record fields")
)

// recordHeader is the decoded fixed part of a record.
type recordHeader struct {
	crc    uint32
	length uint32
	offset uint64
	synced uint64
	wall   int64
	link   uint32
	kind   Kind
	slots  uint16
}

func (h *recordHeader) end() uint64 { return h.offset + uint64(h.length) }

// recordSize returns the length of a record, and whether it is within the limits.
func recordSize(slots []uint16, payload [][]byte) (n int64, ok bool) {
	n = recordHeaderSize + 2*int64(len(slots))
	for _, p := range payload {
		n += int64(len(p))
	}
	return n, n <= MaxRecordSize && len(slots) <= MaxSlots
}

// appendRecord encodes a record behind b. It fills in crc, length and slots of h.
func appendRecord(b []byte, h *recordHeader, slots []uint16, payload [][]byte, size int64) []byte {
	h.length, h.slots = uint32(size), uint16(len(slots))
	at := len(b)
	b = slices.Grow(b, int(size))[:at+recordHeaderSize]
	r := b[at:]
	binary.LittleEndian.PutUint32(r[4:], h.length)
	binary.LittleEndian.PutUint64(r[8:], h.offset)
	binary.LittleEndian.PutUint64(r[16:], h.synced)
	binary.LittleEndian.PutUint64(r[24:], uint64(h.wall))
	binary.LittleEndian.PutUint32(r[32:], h.link)
	r[36], r[37] = byte(h.kind), 0
	binary.LittleEndian.PutUint16(r[38:], h.slots)
	for _, s := range slots {
		b = binary.LittleEndian.AppendUint16(b, s)
	}
	for _, p := range payload {
		b = append(b, p...)
	}
	h.crc = crc32.Checksum(b[at+4:], castagnoli)
	binary.LittleEndian.PutUint32(b[at:], h.crc)
	return b
}

// decodeRecordHeader decodes and bounds the fixed part of the record that
// should begin at offset. b has at least recordHeaderSize bytes; room is how
// many there are in all, known or not yet read.
func decodeRecordHeader(b []byte, offset uint64, room int64) (h recordHeader, err error) {
	h = recordHeader{
		crc:    binary.LittleEndian.Uint32(b),
		length: binary.LittleEndian.Uint32(b[4:]),
		offset: binary.LittleEndian.Uint64(b[8:]),
		synced: binary.LittleEndian.Uint64(b[16:]),
		wall:   int64(binary.LittleEndian.Uint64(b[24:])),
		link:   binary.LittleEndian.Uint32(b[32:]),
		kind:   Kind(b[36]),
		slots:  binary.LittleEndian.Uint16(b[38:]),
	}
	switch {
	case h.length < recordHeaderSize || h.length > MaxRecordSize:
		return h, errLength
	case h.offset != offset:
		return h, errOffset
	case int64(h.length) > room:
		return h, errTruncated
	case h.slots > MaxSlots || recordHeaderSize+2*uint32(h.slots) > h.length || h.synced > h.offset || b[37] != 0:
		return h, errFields
	}
	return h, nil
}

// checksumOK verifies a whole record.
func (h *recordHeader) checksumOK(record []byte) bool {
	return crc32.Checksum(record[4:], castagnoli) == h.crc
}

// record returns what a Cursor returns, of a whole and verified record.
func (h *recordHeader) record(b []byte, slots []uint16) Record {
	payload := recordHeaderSize + 2*int(h.slots)
	for i := recordHeaderSize; i < payload; i += 2 {
		slots = append(slots, binary.LittleEndian.Uint16(b[i:]))
	}
	return Record{
		Kind:       h.kind,
		Start:      h.offset,
		End:        h.end(),
		Synced:     h.synced,
		WallMillis: h.wall,
		Slots:      slots,
		Payload:    b[payload:],
	}
}
