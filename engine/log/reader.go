package log

import (
	"encoding/binary"
	"errors"
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const readBufferSize = 256 << 10

// reader reads the records of one segment file up to a limit. What it holds in
// memory is bounded by the file: a length that does not fit is refused before anything is allocated.
type reader struct {
	file  vfs.File
	seg   *segment // for positions only
	pos   int64    // of the next record
	limit int64    // nothing at or after this position is read
	buf   []byte   // bytes of the file from bufPos on
	bufAt int64
	slots []uint16
}

func newReader(file vfs.File, start uint64, from uint64, limit int64) *reader {
	seg := &segment{start: start}
	return &reader{file: file, seg: seg, pos: seg.position(from), limit: limit}
}

// peek returns n bytes from pos on, or io.ErrUnexpectedEOF when the file or the limit ends before.
func (r *reader) peek(pos int64, n int) ([]byte, error) {
	if pos >= r.bufAt && pos+int64(n) <= r.bufAt+int64(len(r.buf)) {
		return r.buf[pos-r.bufAt:][:n], nil
	}
	if pos+int64(n) > r.limit {
		return nil, io.ErrUnexpectedEOF
	}
	want := int(min(max(int64(n), readBufferSize), r.limit-pos))
	if cap(r.buf) < want || cap(r.buf) > max(want, readBufferSize) {
		r.buf = make([]byte, 0, max(want, 64<<10))
	}
	got, err := r.file.ReadAt(r.buf[:want], pos)
	r.buf, r.bufAt = r.buf[:got], pos
	switch {
	case got >= n:
		return r.buf[:n], nil
	case err == nil || errors.Is(err, io.EOF):
		return nil, io.ErrUnexpectedEOF
	}
	return nil, err
}

// next returns the record at pos. io.EOF: nothing is there, neither bytes nor room for
// a header. One of the errors of record.go: what is there is no record. Anything else: the disk can't be read.
func (r *reader) next() (Record, recordHeader, error) {
	rec, h, err := r.at(r.pos)
	if err == nil {
		r.pos += int64(h.length)
	}
	return rec, h, err
}

// at is next for any position, without moving on.
func (r *reader) at(pos int64) (Record, recordHeader, error) {
	if pos >= r.limit {
		return Record{}, recordHeader{}, io.EOF
	}
	b, err := r.peek(pos, recordHeaderSize)
	if err != nil {
		return Record{}, recordHeader{}, cutOff(err)
	}
	h, err := decodeRecordHeader(b, r.seg.offset(pos), r.limit-pos)
	if err != nil {
		return Record{}, h, err
	}
	if b, err = r.peek(pos, int(h.length)); err != nil {
		return Record{}, h, cutOff(err)
	}
	if !h.checksumOK(b) {
		return Record{}, h, errChecksum
	}
	rec := h.record(b, r.slots[:0])
	r.slots = rec.Slots
	return rec, h, nil
}

func cutOff(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errTruncated
	}
	return err
}

// isNoRecord: the bytes were read, but are no record.
func isNoRecord(err error) bool {
	return slices.Contains([]error{errTruncated, errLength, errChecksum, errOffset, errLink, errFields}, err)
}

// rest is what lies behind the end of a log.
type rest struct {
	dirty  bool   // there is something else than zeros
	synced uint64 // the greatest offset that a record there says was synced
}

// scanRest reads everything from pos on, looking for bytes other than zeros and for
// whole records at any position: behind a page that is lost, later records may be there.
func (r *reader) scanRest(pos int64) (rest, error) {
	var found rest
	chunk := make([]byte, readBufferSize)
	for pos < r.limit {
		n, err := r.file.ReadAt(chunk[:min(int64(len(chunk)), r.limit-pos)], pos)
		if err != nil && !errors.Is(err, io.EOF) {
			return found, err
		}
		if n == 0 {
			break
		}
		b := chunk[:n]
		if !isZero(b) {
			found.dirty = true
			synced, err := r.scanChunk(b, pos)
			if err != nil {
				return found, err
			}
			found.synced = max(found.synced, synced)
		}
		if n < recordHeaderSize {
			break
		}
		pos += int64(n - recordHeaderSize + 1) // a header may begin in this chunk and end in the next
	}
	return found, nil
}

// scanChunk looks for headers in b, which lies at pos.
func (r *reader) scanChunk(b []byte, pos int64) (synced uint64, err error) {
	for from := 0; ; {
		i := r.findHeader(b[from:], pos+int64(from))
		if i < 0 {
			return synced, nil
		}
		_, h, err := r.at(pos + int64(from+i))
		from += i + 1
		if err == nil {
			synced = max(synced, h.synced)
		} else if !isNoRecord(err) {
			return synced, err
		}
	}
}

// search returns the first position from pos on where a header may stand, or the limit.
func (r *reader) search(pos int64) (int64, error) {
	chunk := make([]byte, readBufferSize)
	for pos+recordHeaderSize <= r.limit {
		n, err := r.file.ReadAt(chunk[:min(int64(len(chunk)), r.limit-pos)], pos)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if n < recordHeaderSize {
			break
		}
		if i := r.findHeader(chunk[:n], pos); i >= 0 {
			return pos + int64(i), nil
		}
		pos += int64(n - recordHeaderSize + 1) // a header may begin in this chunk and end in the next
	}
	return r.limit, nil
}

// findHeader returns where in b, which lies at pos, the first header may stand, or -1. It is recognised by its own offset.
func (r *reader) findHeader(b []byte, pos int64) int {
	for i := 0; i+recordHeaderSize <= len(b); i++ {
		if binary.LittleEndian.Uint64(b[i+8:]) == r.seg.offset(pos+int64(i)) {
			return i
		}
	}
	return -1
}

func isZero(b []byte) bool {
	for len(b) >= 8 {
		if binary.LittleEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
