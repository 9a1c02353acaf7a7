package rdb

import (
	"encoding/binary"
	"math"
)

// A ziplist (ziplist.c; lists, hashes and sorted sets up to Redis 6.2):
//
//	bytes(4) tail(4: offset of the last entry) count(2; 65535: unknown) entries 0xFF
//
// with integers in little endian. An entry is the length of the one before it (1 byte, or 0xFE and 4 bytes), an encoding, and data:
//
//	00nnnnnn                    string of n bytes
//	01nnnnnn + 1                string, 14 bits of length, big endian
//	10...... + 4                string, 32 bits of length, big endian
//	11000000 + 2, 11010000 + 4, 11100000 + 8, 11110000 + 3, 11111110 + 1
//	                            integer of so many bytes, little endian
//	1111nnnn                    n-1, for n from 1 to 13
type ziplist struct {
	all      []byte
	at       int
	left     int // entries, -1 when unknown
	previous int // the length of the entry before
	tail     int // the offset of the last entry read
}

const (
	zlHeader   = 4 + 4 + 2
	zlEnd      = 0xFF
	zlUnknown  = math.MaxUint16
	zlBigLen   = 0xFE
	zlInt16    = 0xC0
	zlInt32    = 0xD0
	zlInt64    = 0xE0
	zlInt24    = 0xF0
	zlInt8     = 0xFE
	zlFirstImm = 0xF1
	zlLastImm  = 0xFD
)

func openZiplist(p []byte) (*ziplist, error) {
	if len(p) < zlHeader+1 || uint64(binary.LittleEndian.Uint32(p)) != uint64(len(p)) || p[len(p)-1] != zlEnd {
		return nil, ErrFormat
	}
	z := &ziplist{all: p, at: zlHeader, left: int(binary.LittleEndian.Uint16(p[8:])), tail: zlHeader}
	if z.left == zlUnknown {
		z.left = -1
	}
	return z, nil
}

func (z *ziplist) next() (e element, ok bool, err error) {
	rest := z.all[z.at : len(z.all)-1]
	if len(rest) == 0 {
		if z.left > 0 || int(binary.LittleEndian.Uint32(z.all[4:])) != z.tail {
			return e, false, ErrFormat
		}
		return e, false, nil
	}
	if z.left == 0 {
		return e, false, ErrFormat
	}
	if z.left > 0 {
		z.left--
	}
	head, previous := 1, uint64(rest[0])
	if rest[0] == zlBigLen {
		if head = 5; len(rest) < head {
			return e, false, ErrFormat
		}
		previous = uint64(binary.LittleEndian.Uint32(rest[1:]))
	}
	if rest[0] == zlEnd || previous != uint64(z.previous) {
		return e, false, ErrFormat
	}
	e, n, err := zlEntry(rest[head:])
	if err != nil {
		return e, false, err
	}
	z.tail, z.previous = z.at, head+n
	z.at += head + n
	return e, true, nil
}

// zlEntry reads the encoding and the data that p begins with; n is their length.
func zlEntry(p []byte) (e element, n int, err error) {
	if len(p) == 0 {
		return e, 0, ErrFormat
	}
	head, size := 1, uint64(0)
	switch first := p[0]; {
	case first < 0x40:
		size = uint64(first)
	case first < 0x80:
		if head = 2; len(p) >= head {
			size = uint64(first&0x3F)<<8 | uint64(p[1])
		}
	case first < 0xC0:
		if head = 5; len(p) >= head {
			size = uint64(binary.BigEndian.Uint32(p[1:]))
		}
	default:
		return zlInteger(p)
	}
	if len(p) < head || size > uint64(len(p)-head) {
		return e, 0, ErrFormat
	}
	n = head + int(size)
	return element{s: p[head:n]}, n, nil
}

func zlInteger(p []byte) (e element, n int, err error) {
	width := 0
	switch first := p[0]; {
	case first == zlInt8:
		width = 1
	case first == zlInt16:
		width = 2
	case first == zlInt24:
		width = 3
	case first == zlInt32:
		width = 4
	case first == zlInt64:
		width = 8
	case first >= zlFirstImm && first <= zlLastImm:
		return element{n: int64(first) - zlFirstImm, isInt: true}, 1, nil
	}
	if width == 0 || len(p) < 1+width {
		return e, 0, ErrFormat
	}
	var b [8]byte
	copy(b[:], p[1:1+width])
	return element{n: signed(binary.LittleEndian.Uint64(b[:]), 8*width), isInt: true}, 1 + width, nil
}

// A zipmap (zipmap.c; hashes up to Redis 2.4):
//
//	count(1; 254 or 255: unknown) entries 0xFF
//
// An entry is length field length free(1) value and free unused bytes; a length is 1 byte, or 0xFE and 4 bytes in little endian.
type zipmap struct {
	rest  []byte // without the end
	left  int    // entries, -1 when unknown
	value bool   // a value comes next
}

const (
	zmEnd     = 0xFF
	zmBigLen  = 0xFE
	zmUnknown = 0xFE
)

func openZipmap(p []byte) (*zipmap, error) {
	if len(p) < 2 || p[len(p)-1] != zmEnd {
		return nil, ErrFormat
	}
	z := &zipmap{rest: p[1 : len(p)-1], left: int(p[0])}
	if z.left >= zmUnknown {
		z.left = -1
	}
	return z, nil
}

func (z *zipmap) next() (e element, ok bool, err error) {
	if len(z.rest) == 0 && !z.value {
		return e, false, formatUnless(z.left <= 0)
	}
	if !z.value {
		if z.left == 0 {
			return e, false, ErrFormat
		}
		if z.left > 0 {
			z.left--
		}
	}
	if len(z.rest) == 0 {
		return e, false, ErrFormat
	}
	head, size := 1, uint64(z.rest[0])
	if z.rest[0] == zmBigLen {
		if head = 5; len(z.rest) < head {
			return e, false, ErrFormat
		}
		size = uint64(binary.LittleEndian.Uint32(z.rest[1:]))
	}
	if z.rest[0] == zmEnd {
		return e, false, ErrFormat
	}
	free := uint64(0)
	if z.value {
		if head++; len(z.rest) < head {
			return e, false, ErrFormat
		}
		free = uint64(z.rest[head-1])
	}
	if size+free > uint64(len(z.rest)-head) {
		return e, false, ErrFormat
	}
	end := head + int(size)
	e.s, z.rest = z.rest[head:end], z.rest[end+int(free):]
	z.value = !z.value
	return e, true, nil
}

// An intset (intset.c): width(4: 2, 4 or 8) count(4) and the integers, each of width bytes, all in little endian and ascending.
type intset struct {
	rest  []byte
	width int
	last  int64
	any   bool // last has been read
}

const intsetHeader = 4 + 4

func openIntset(p []byte) (*intset, error) {
	if len(p) < intsetHeader {
		return nil, ErrFormat
	}
	width, count := binary.LittleEndian.Uint32(p), binary.LittleEndian.Uint32(p[4:])
	if width != 2 && width != 4 && width != 8 || uint64(count)*uint64(width) != uint64(len(p)-intsetHeader) {
		return nil, ErrFormat
	}
	return &intset{rest: p[intsetHeader:], width: int(width)}, nil
}

func (s *intset) next() (e element, ok bool, err error) {
	if len(s.rest) == 0 {
		return e, false, nil
	}
	var b [8]byte
	copy(b[:], s.rest[:s.width])
	n := signed(binary.LittleEndian.Uint64(b[:]), 8*s.width)
	if s.any && n <= s.last {
		return e, false, ErrFormat
	}
	s.rest, s.last, s.any = s.rest[s.width:], n, true
	return element{n: n, isInt: true}, true, nil
}

// appendIntset appends the intset of ascending integers.
func appendIntset(dst []byte, ints []int64) []byte {
	width := 2
	for _, n := range []int64{ints[0], ints[len(ints)-1]} {
		switch {
		case n < math.MinInt32 || n > math.MaxInt32:
			width = 8
		case n < math.MinInt16 || n > math.MaxInt16:
			width = max(width, 4)
		}
	}
	dst = binary.LittleEndian.AppendUint32(dst, uint32(width))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(ints)))
	var b [8]byte
	for _, n := range ints {
		binary.LittleEndian.PutUint64(b[:], uint64(n))
		dst = append(dst, b[:width]...)
	}
	return dst
}
