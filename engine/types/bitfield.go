package types

import "math"

// Field is an integer inside a bitmap: Bits wide (up to 64 signed, 63 unsigned), most significant bit at Offset.
type Field struct {
	Signed bool
	Bits   int
	Offset int64
}

// Overflow says what becomes of a value that does not fit a field.
type Overflow uint8

// The ways to treat an overflow: wrap around, keep to the nearest limit, change nothing.
const (
	Wrap Overflow = iota
	Saturate
	Refuse
)

// fieldBytes is the most bytes that a field can touch.
const fieldBytes = 9

// Field reads an integer; what lies beyond the end of the value is zeros.
func (s *String) Field(f Field) (int64, error) {
	var buf [fieldBytes]byte
	if err := s.fieldBytes(&buf, f); err != nil {
		return 0, err
	}
	var v uint64
	for i := range int64(f.Bits) {
		at := f.Offset%8 + i
		v = v<<1 | uint64(buf[at/8]>>(7-at%8)&1)
	}
	if unused := 64 - f.Bits; f.Signed {
		return int64(v<<unused) >> unused, nil
	}
	return int64(v), nil
}

// fieldBytes reads the bytes that the field touches.
func (s *String) fieldBytes(buf *[fieldBytes]byte, f Field) error {
	first, last := f.Offset/8, (f.Offset+int64(f.Bits)-1)/8
	if first >= s.Len() {
		return nil
	}
	_, err := s.Append(buf[:0], first, min(last+1, s.Len()))
	return err
}

// SetField overwrites an integer.
func (s *String) SetField(f Field, value int64) error {
	var buf [fieldBytes]byte
	if err := s.fieldBytes(&buf, f); err != nil {
		return err
	}
	for i := range int64(f.Bits) {
		at := f.Offset%8 + i
		mask := byte(1) << (7 - at%8)
		if uint64(value)>>(int64(f.Bits)-1-i)&1 != 0 {
			buf[at/8] |= mask
		} else {
			buf[at/8] &^= mask
		}
	}
	first, last := f.Offset/8, (f.Offset+int64(f.Bits)-1)/8
	return s.WriteAt(first, buf[:last-first+1])
}

// Add returns value+delta as it fits the field; ok is false when it does not and the overflow is refused.
// value itself may lie outside the field's range. (Redis: checkSignedBitfieldOverflow, checkUnsignedBitfieldOverflow.)
func (f Field) Add(value, delta int64, o Overflow) (sum int64, ok bool) {
	over, under := f.overflows(value, delta)
	sum = value + delta
	if !over && !under {
		return sum, true
	}
	low, high := f.limits()
	switch {
	case o == Refuse:
		return 0, false
	case o == Saturate && over:
		return high, true
	case o == Saturate:
		return low, true
	}
	unused := 64 - f.Bits
	if f.Signed {
		return sum << unused >> unused, true
	}
	return int64(uint64(sum) << unused >> unused), true
}

func (f Field) limits() (low, high int64) {
	if f.Signed {
		high = math.MaxInt64 >> (64 - f.Bits)
		return -high - 1, high
	}
	return 0, math.MaxInt64 >> (63 - f.Bits)
}

func (f Field) overflows(value, delta int64) (over, under bool) {
	low, high := f.limits()
	switch {
	case value > high, !f.Signed && value < 0: // a negative one stands for a huge unsigned one
		return true, false
	case value < low:
		return false, true
	case delta > 0:
		return uint64(delta) > uint64(high)-uint64(value), false
	}
	return false, -uint64(delta) > uint64(value)-uint64(low)
}
