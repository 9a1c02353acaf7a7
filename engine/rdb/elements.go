package rdb

import (
	"encoding/binary"
	"math"
	"strconv"

	"github.com/cairndb/cairn/engine/types"
)

// element is one of a collection, as it lies in the payload: a string, or an integer that stands for its digits.
type element struct {
	s     []byte // part of the payload
	n     int64
	isInt bool
}

// digits is memory for the texts of integers.
type digits struct{ buf []byte }

const (
	digitsChunk = 1024
	mostDigits  = 20
)

// text returns an element as a string, which stays valid as the payload does.
func (d *digits) text(e *element) []byte {
	if !e.isInt {
		return e.s
	}
	if cap(d.buf)-len(d.buf) < mostDigits {
		d.buf = make([]byte, 0, digitsChunk)
	}
	at := len(d.buf)
	d.buf = strconv.AppendInt(d.buf, e.n, 10)
	return d.buf[at:len(d.buf):len(d.buf)]
}

// int returns the element as an integer.
func (e *element) int() (int64, bool) {
	if e.isInt {
		return e.n, true
	}
	return types.ParseInt(e.s)
}

// score returns the element as the score of a sorted set.
func (e *element) score() (float64, error) {
	if e.isInt {
		return float64(e.n), nil
	}
	return parseScore(e.s)
}

// maxScoreText is longer than any number that Redis writes.
const maxScoreText = 128

func parseScore(s []byte) (float64, error) {
	if len(s) > maxScoreText {
		return 0, ErrFormat
	}
	f, err := strconv.ParseFloat(string(s), 64)
	if err != nil || math.IsNaN(f) {
		return 0, ErrFormat
	}
	return f, nil
}

// elements are what a payload holds, one after the other. ok is false after the last one; what has not been read by then was checked
// as far as it was read.
type elements interface {
	next() (e element, ok bool, err error)
}

// must returns the next element where there has to be one.
func must(it elements) (element, error) {
	e, ok, err := it.next()
	if err == nil && !ok {
		err = ErrFormat
	}
	return e, err
}

// mustInt returns the next element where there has to be an integer.
func mustInt(it elements) (int64, error) {
	e, err := must(it)
	if err != nil {
		return 0, err
	}
	n, ok := e.int()
	if !ok {
		return 0, ErrFormat
	}
	return n, nil
}

// plain are so many strings of a payload.
type plain struct {
	r    *reader
	left uint64
}

func (p *plain) next() (e element, ok bool, err error) {
	if p.left == 0 {
		return e, false, nil
	}
	p.left--
	e.s, err = p.r.string()
	return e, err == nil, err
}

// A listpack (listpack.c):
//
//	bytes(4, little endian) count(2, little endian; 65535: unknown) entries 0xFF
//
// An entry is an encoding with its data, and the length of both, in groups of 7 bits: the lowest ones in the last byte, and all
// bytes but the first with the top bit set, so that it is read backwards.
//
//	0nnnnnnn                    integer, 7 bits unsigned
//	10nnnnnn                    string of n bytes
//	110nnnnn + 1                integer, 13 bits
//	1110nnnn + 1                string, 12 bits of length
//	11110000 + 4                string, 32 bits of length, little endian
//	11110001 … 11110100         integers of 16, 24, 32 and 64 bits, little endian
type listpack struct {
	rest []byte // without header and end
	left int    // entries, -1 when unknown
}

const (
	lpHeader       = 4 + 2
	lpEnd          = 0xFF
	lpUnknown      = math.MaxUint16
	lpString32     = 0xF0
	lpInt16        = 0xF1
	lpInt24        = 0xF2
	lpInt32        = 0xF3
	lpInt64        = 0xF4
	lpMaxShortStr  = 1<<6 - 1
	lpMaxMediumStr = 1<<12 - 1
)

func openListpack(p []byte) (*listpack, error) {
	if len(p) < lpHeader+1 || uint64(binary.LittleEndian.Uint32(p)) != uint64(len(p)) || p[len(p)-1] != lpEnd {
		return nil, ErrFormat
	}
	l := &listpack{rest: p[lpHeader : len(p)-1], left: int(binary.LittleEndian.Uint16(p[4:]))}
	if l.left == lpUnknown {
		l.left = -1
	}
	return l, nil
}

func (l *listpack) next() (e element, ok bool, err error) {
	if len(l.rest) == 0 {
		if l.left > 0 {
			return e, false, ErrFormat
		}
		return e, false, nil
	}
	if l.left == 0 {
		return e, false, ErrFormat
	}
	if l.left > 0 {
		l.left--
	}
	e, n, err := lpEntry(l.rest)
	if err != nil {
		return e, false, err
	}
	var buf [5]byte
	back := lpBackLength(buf[:0], n)
	if len(l.rest) < n+len(back) || string(l.rest[n:n+len(back)]) != string(back) {
		return e, false, ErrFormat
	}
	l.rest = l.rest[n+len(back):]
	return e, true, nil
}

// lpEntry reads the entry that p, which is not empty, begins with; n is its length.
func lpEntry(p []byte) (e element, n int, err error) {
	head, size := 1, uint64(0) // the bytes of the encoding, and of a string
	integer := func(width int) (uint64, bool) {
		head = 1 + width
		if len(p) < head {
			return 0, false
		}
		var b [8]byte
		copy(b[:], p[1:head])
		return binary.LittleEndian.Uint64(b[:]), true
	}
	ok := true
	var u uint64
	switch first := p[0]; {
	case first < 0x80:
		return element{n: int64(first), isInt: true}, 1, nil
	case first < 0xC0:
		size = uint64(first & lpMaxShortStr)
	case first < 0xE0:
		u, ok = integer(1)
		return element{n: signed(uint64(first&0x1F)<<8|u, 13), isInt: true}, head, formatUnless(ok)
	case first < 0xF0:
		u, ok = integer(1)
		size = uint64(first&0x0F)<<8 | u
	case first == lpString32:
		size, ok = integer(4)
	case first <= lpInt64:
		width := [...]int{2, 3, 4, 8}[first-lpInt16] // bytes
		u, ok = integer(width)
		return element{n: signed(u, 8*width), isInt: true}, head, formatUnless(ok)
	default:
		return e, 0, ErrFormat
	}
	if !ok || size > uint64(len(p)-head) {
		return e, 0, ErrFormat
	}
	n = head + int(size)
	return element{s: p[head:n]}, n, nil
}

func formatUnless(ok bool) error {
	if !ok {
		return ErrFormat
	}
	return nil
}

// signed extends the sign of a number of so many bits.
func signed(u uint64, width int) int64 {
	shift := 64 - width
	return int64(u<<shift) >> shift
}

// lpBackLength appends the length of an entry in the form that is read backwards. The limits are Redis's, one less than they could be.
func lpBackLength(dst []byte, n int) []byte {
	groups := 5
	switch {
	case n <= 127:
		groups = 1
	case n < 1<<14-1:
		groups = 2
	case n < 1<<21-1:
		groups = 3
	case n < 1<<28-1:
		groups = 4
	}
	for i := groups - 1; i >= 0; i-- {
		b := byte(n>>(7*i)) & 0x7F
		if i < groups-1 {
			b |= 0x80
		}
		dst = append(dst, b)
	}
	return dst
}

// listpackWriter makes a listpack.
type listpackWriter struct {
	buf   []byte
	count int
}

func newListpack() *listpackWriter {
	w := new(listpackWriter)
	w.reset()
	return w
}

// len is the length of the finished listpack.
func (w *listpackWriter) len() int { return len(w.buf) + 1 }

func (w *listpackWriter) reset() {
	w.buf = append(w.buf[:0], make([]byte, lpHeader)...)
	w.count = 0
}

// string appends a string, which stands as an integer if it is one.
func (w *listpackWriter) string(s []byte) {
	if n, ok := types.ParseInt(s); ok {
		w.int(n)
		return
	}
	begin := len(w.buf)
	switch n := len(s); {
	case n <= lpMaxShortStr:
		w.buf = append(w.buf, 0x80|byte(n))
	case n <= lpMaxMediumStr:
		w.buf = append(w.buf, 0xE0|byte(n>>8), byte(n))
	default:
		w.buf = binary.LittleEndian.AppendUint32(append(w.buf, lpString32), uint32(n))
	}
	w.buf = append(w.buf, s...)
	w.end(begin)
}

// int appends an integer.
func (w *listpackWriter) int(n int64) {
	begin := len(w.buf)
	little := func(encoding byte, width int) {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], uint64(n))
		w.buf = append(append(w.buf, encoding), b[:width]...)
	}
	switch {
	case n >= 0 && n < 1<<7:
		w.buf = append(w.buf, byte(n))
	case n >= -1<<12 && n < 1<<12:
		w.buf = append(w.buf, 0xC0|byte(n>>8)&0x1F, byte(n))
	case n >= math.MinInt16 && n <= math.MaxInt16:
		little(lpInt16, 2)
	case n >= -1<<23 && n < 1<<23:
		little(lpInt24, 3)
	case n >= math.MinInt32 && n <= math.MaxInt32:
		little(lpInt32, 4)
	default:
		little(lpInt64, 8)
	}
	w.end(begin)
}

func (w *listpackWriter) end(begin int) {
	w.buf = lpBackLength(w.buf, len(w.buf)-begin)
	w.count++
}

// append appends the entries of another one.
func (w *listpackWriter) append(other *listpackWriter) {
	w.buf = append(w.buf, other.buf[lpHeader:]...)
	w.count += other.count
}

// finish returns the listpack, which is valid until reset.
func (w *listpackWriter) finish() []byte {
	w.buf = append(w.buf, lpEnd)
	binary.LittleEndian.PutUint32(w.buf, uint32(len(w.buf)))
	binary.LittleEndian.PutUint16(w.buf[4:], uint16(min(w.count, lpUnknown)))
	return w.buf
}
