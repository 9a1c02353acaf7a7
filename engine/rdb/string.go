package rdb

import (
	"encoding/binary"
	"math"
	"strconv"

	"github.com/cairndb/cairn/engine/types"
)

// The first byte of a length or of what stands in its place.
const (
	kindMask = 0xC0
	len6Mask = 0x3F
	len14    = 0x40
	len32    = 0x80
	len64    = 0x81
	encInt8  = 0xC0
	encInt16 = 0xC1
	encInt32 = 0xC2
	encLZF   = 0xC3

	maxIntLen = 11 // the longest text of a 32-bit integer
)

func appendString(dst, s []byte) []byte {
	if len(s) <= maxIntLen {
		if n, ok := types.ParseInt(s); ok && n >= math.MinInt32 && n <= math.MaxInt32 {
			return appendInt(dst, n)
		}
	}
	return append(appendLength(dst, uint64(len(s))), s...)
}

func appendInt(dst []byte, n int64) []byte {
	switch {
	case n >= math.MinInt8 && n <= math.MaxInt8:
		return append(dst, encInt8, byte(n))
	case n >= math.MinInt16 && n <= math.MaxInt16:
		return binary.LittleEndian.AppendUint16(append(dst, encInt16), uint16(n))
	}
	return binary.LittleEndian.AppendUint32(append(dst, encInt32), uint32(n))
}

func appendLength(dst []byte, n uint64) []byte {
	switch {
	case n <= len6Mask:
		return append(dst, byte(n))
	case n < 1<<14:
		return append(dst, len14|byte(n>>8), byte(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(dst, len32), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, len64), n)
}

// reader decodes the value of a payload.
type reader struct {
	rest   []byte
	maxLen int64
}

func (r *reader) take(n uint64) ([]byte, error) {
	if n > uint64(len(r.rest)) {
		return nil, ErrFormat
	}
	p := r.rest[:n]
	r.rest = r.rest[n:]
	return p, nil
}

// length reads a length, or says which encoding stands in its place.
func (r *reader) length() (n uint64, encoding byte, err error) {
	p, err := r.take(1)
	if err != nil {
		return 0, 0, err
	}
	first, more := p[0], uint64(0)
	switch {
	case first&kindMask == kindMask:
		return 0, first, nil
	case first&kindMask == 0:
		return uint64(first), 0, nil
	case first&kindMask == len14:
		n, more = uint64(first&len6Mask), 1
	case first == len32:
		more = 4
	case first == len64:
		more = 8
	default:
		return 0, 0, ErrFormat
	}
	p, err = r.take(more)
	for _, b := range p {
		n = n<<8 | uint64(b)
	}
	return n, 0, err
}

// number reads a length that stands for itself.
func (r *reader) number() (uint64, error) {
	n, encoding, err := r.length()
	if err == nil && encoding != 0 {
		err = ErrFormat
	}
	return n, err
}

// count reads how many of something follow; each takes a byte at least.
func (r *reader) count() (uint64, error) {
	n, err := r.number()
	if err == nil && n > uint64(len(r.rest)) {
		err = ErrFormat
	}
	return n, err
}

// string reads a string; it aliases the payload where it can.
func (r *reader) string() ([]byte, error) {
	n, encoding, err := r.length()
	switch {
	case err != nil:
		return nil, err
	case encoding == encLZF:
		return r.compressed()
	case encoding >= encInt8 && encoding <= encInt32:
		return r.int(1 << (encoding - encInt8))
	case encoding != 0 || n > uint64(r.maxLen):
		return nil, ErrFormat
	}
	return r.take(n)
}

func (r *reader) int(width uint64) ([]byte, error) {
	p, err := r.take(width)
	if err != nil {
		return nil, err
	}
	var n int64
	switch width {
	case 1:
		n = int64(int8(p[0]))
	case 2:
		n = int64(int16(binary.LittleEndian.Uint16(p)))
	default:
		n = int64(int32(binary.LittleEndian.Uint32(p)))
	}
	return strconv.AppendInt(nil, n, 10), nil
}

func (r *reader) compressed() ([]byte, error) {
	packed, enc1, err := r.length()
	if err != nil {
		return nil, err
	}
	size, enc2, err := r.length()
	if err != nil {
		return nil, err
	}
	if enc1 != 0 || enc2 != 0 || size > uint64(r.maxLen) {
		return nil, ErrFormat
	}
	p, err := r.take(packed)
	if err != nil {
		return nil, err
	}
	return decompress(p, size)
}
