package rdb

import (
	"encoding/binary"
	"errors"
)

// ErrTooLarge: a payload would be longer than it may be.
var ErrTooLarge = errors.New("rdb: the payload would be too long")

// writer makes a payload behind what buf held.
type writer struct {
	buf     []byte
	begin   int
	limit   int64  // bytes
	over    bool   // it is longer than that
	version uint16 // the first that knows all that is written
}

// fits says whether the payload, with so many bytes that are still to be appended, is not too long yet. Once it was, it stays so.
func (w *writer) fits(more int) bool {
	w.over = w.over || int64(len(w.buf)-w.begin+more) > w.limit
	return !w.over
}

func (w *writer) kind(k byte) { w.buf = append(w.buf, k) }

func (w *writer) length(n uint64) { w.buf = appendLength(w.buf, n) }

func (w *writer) string(s []byte) { w.buf = appendString(w.buf, s) }

func (w *writer) raw(p []byte) { w.buf = append(w.buf, p...) }

// little appends 8 bytes in little endian: a time or the bits of a number.
func (w *writer) little(n uint64) { w.buf = binary.LittleEndian.AppendUint64(w.buf, n) }

// countRoom is how many bytes a count may take that is not known beforehand.
const countRoom = 5

// reserveCount leaves room for a count, which putCount writes there.
func (w *writer) reserveCount() (at int) {
	at = len(w.buf)
	w.buf = append(w.buf, make([]byte, countRoom)...)
	return at
}

// putCount: see reserveCount. n is less than 1<<32: every one of what it counts takes a byte at least.
func (w *writer) putCount(at int, n uint64) {
	var room [countRoom]byte
	count := appendLength(room[:0], n)
	copy(w.buf[at:], count)
	w.buf = append(w.buf[:at+len(count)], w.buf[at+countRoom:]...)
}

// mostBatch is how many elements are added to a collection at once.
const mostBatch = 1024

// batch collects elements, which stay valid until they are flushed.
type batch struct {
	elements [][]byte
	flush    func(elements [][]byte) error
}

func (b *batch) add(e []byte) error {
	b.elements = append(b.elements, e)
	if len(b.elements) < mostBatch {
		return nil
	}
	return b.end()
}

func (b *batch) end() error {
	if len(b.elements) == 0 {
		return nil
	}
	err := b.flush(b.elements)
	b.elements = b.elements[:0]
	return err
}

// packedLimit is up to how many bytes a collection is dumped as a single listpack where Redis would have one.
const packedLimit = 64 << 10
