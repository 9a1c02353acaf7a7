package types

import (
	"encoding/binary"
	"math/bits"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
)

// A bitmap is a string whose bits are numbered from the most significant bit of the first byte on.

// Bit returns the bit at off: 0 beyond the end.
func (s *String) Bit(off int64) (byte, error) {
	b, err := s.byteAt(off / 8)
	return b >> (7 - off%8) & 1, err
}

func (s *String) byteAt(i int64) (byte, error) {
	if i >= s.Len() {
		return 0, nil
	}
	if value, ok := s.Inline(); ok {
		return value[i], nil
	}
	var buf [1]byte
	p, err := s.Append(buf[:0], i, i+1)
	if err != nil {
		return 0, err
	}
	return p[0], nil
}

// SetBit sets the bit at off, growing the value as needed, and returns what it was.
func (s *String) SetBit(off int64, bit byte) (old byte, err error) {
	at, shift := off/8, 7-off%8
	b, err := s.byteAt(at)
	if err != nil {
		return 0, err
	}
	old = b >> shift & 1
	if old == bit && at < s.Len() && s.inPlace() {
		return old, nil
	}
	return old, s.WriteAt(at, []byte{b&^(1<<shift) | bit<<shift})
}

// inPlace says whether the value is marked as changed in place, so that a write that changes no byte can be spared.
func (s *String) inPlace() bool { return s.spread() || s.rec.Encoding == keys.EncodingRaw }

// Grow makes the value at least n bytes long, with zeros at its end.
func (s *String) Grow(n int64) error {
	if n <= s.Len() && s.inPlace() {
		return nil
	}
	return s.WriteAt(max(n, s.Len()), nil)
}

// CountBits counts the bits set from (inclusive) to (exclusive), which lie in the value.
func (s *String) CountBits(from, to int64) (n int64, err error) {
	err = s.eachMasked(from, to, 0, func(_ int64, p []byte) bool {
		n += onesCount(p)
		return true
	})
	return n, err
}

func onesCount(p []byte) (n int64) {
	for ; len(p) >= 8; p = p[8:] {
		n += int64(bits.OnesCount64(binary.LittleEndian.Uint64(p)))
	}
	for _, b := range p {
		n += int64(bits.OnesCount8(b))
	}
	return n
}

// FindBit returns the first offset from (inclusive) to (exclusive), which lie in the value, with the given bit, or -1.
func (s *String) FindBit(bit byte, from, to int64) (pos int64, err error) {
	skip := byte(0) // a byte in which the bit does not occur
	if bit == 0 {
		skip = 0xFF
	}
	pos = -1
	err = s.eachMasked(from, to, skip, func(off int64, p []byte) bool {
		for i, b := range p {
			if b != skip {
				pos = (off+int64(i))*8 + int64(bits.LeadingZeros8(b^skip))
				return false
			}
		}
		return true
	})
	return pos, err
}

// eachMasked calls fn for the bytes that hold the bits from (inclusive) to (exclusive), with their offset in bytes; bits
// outside the range are replaced by those of the byte outside.
func (s *String) eachMasked(from, to int64, outside byte, fn func(off int64, p []byte) bool) error {
	if from >= to {
		return nil
	}
	first, last := from/8, (to-1)/8
	headMask, tailMask := byte(0xFF)>>(from%8), byte(0xFF)<<(7-(to-1)%8)
	return s.Each(first, last+1, func(off int64, p []byte) bool {
		for len(p) > 0 {
			n, mask := len(p), byte(0xFF)
			switch end := off + int64(len(p)); {
			case off == first && headMask != 0xFF, off == last:
				n = 1
				if off == first {
					mask &= headMask
				}
				if off == last {
					mask &= tailMask
				}
			case end > last:
				n = int(last - off)
			}
			part := p[:n]
			if mask != 0xFF {
				part = []byte{p[0]&mask | outside&^mask}
			}
			if !fn(off, part) {
				return false
			}
			off, p = off+int64(n), p[n:]
		}
		return true
	})
}

// BitOp is an operation between bitmaps.
type BitOp uint8

// The operations of BITOP.
const (
	And BitOp = iota
	Or
	Xor
	Not
)

// CombineBits stores the combination of the strings at from at to, whatever was there, and returns its length: that
// of the longest; shorter ones count as padded with zeros. An empty result deletes to.
func CombineBits(t *engine.Txn, op BitOp, to engine.Key, from []engine.Key) (int64, error) {
	sources := make([]String, len(from))
	length := int64(0)
	for i, k := range from {
		s, err := OpenString(t, k)
		if err != nil {
			return 0, err
		}
		sources[i], length = s, max(length, s.Len())
	}
	if length == 0 {
		_, err := t.Delete(to)
		return 0, err
	}
	result, err := sources[0].Append(make([]byte, 0, length), 0, sources[0].Len())
	if err != nil {
		return 0, err
	}
	result = result[:length] // fresh memory: the rest is zeros
	for i := range sources[1:] {
		if err := sources[1+i].combineInto(result, op); err != nil {
			return 0, err
		}
	}
	if op == Not {
		for i := range result {
			result[i] = ^result[i]
		}
	}
	return length, setString(t, to, result, 0, keys.EncodingRaw)
}

func (s *String) combineInto(result []byte, op BitOp) error {
	err := s.Each(0, s.Len(), func(off int64, p []byte) bool {
		into := result[off : off+int64(len(p))]
		switch op {
		case And:
			for i, b := range p {
				into[i] &= b
			}
		case Or:
			for i, b := range p {
				into[i] |= b
			}
		case Xor:
			for i, b := range p {
				into[i] ^= b
			}
		}
		return true
	})
	if op == And {
		clear(result[s.Len():])
	}
	return err
}
