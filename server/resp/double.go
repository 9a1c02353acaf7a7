package resp

import (
	"math"
	"strconv"
)

// AppendDouble appends f as Redis 7.2 prints doubles in replies (d2string): the
// shortest digits that read back as f, whole numbers up to 2^62 without exponent.
func AppendDouble(dst []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, "nan"...)
	case math.IsInf(f, 1):
		return append(dst, "inf"...)
	case math.IsInf(f, -1):
		return append(dst, "-inf"...)
	case f == 0:
		if math.Signbit(f) {
			return append(dst, "-0"...)
		}
		return append(dst, '0')
	case math.Abs(f) <= 1<<62 && f == math.Trunc(f):
		return strconv.AppendInt(dst, int64(f), 10)
	}
	return appendShortest(dst, f)
}

// appendShortest lays the shortest digits out as Redis's fpconv_dtoa does: plain
// up to seven trailing zeros or six decimal places, else in scientific notation with an unpadded exponent.
func appendShortest(dst []byte, f float64) []byte {
	maxZeros := 7
	if f < 0 {
		dst = append(dst, '-')
		f = -f
		maxZeros--
	}
	var room [17]byte
	digits, exponent := shortestDigits(room[:0], f)
	n := len(digits)
	magnitude := exponent + n - 1 // of the first digit
	switch {
	case exponent >= 0 && magnitude < n+maxZeros:
		dst = append(dst, digits...)
		for range exponent {
			dst = append(dst, '0')
		}
		return dst
	case exponent < 0 && (exponent > -7 || (magnitude < 4 && magnitude > -4)):
		return appendPoint(dst, digits, n+exponent)
	}
	dst = append(dst, digits[0])
	if n > 1 {
		dst = append(append(dst, '.'), digits[1:]...)
	}
	if magnitude < 0 {
		return strconv.AppendInt(append(dst, 'e', '-'), int64(-magnitude), 10)
	}
	return strconv.AppendInt(append(dst, 'e', '+'), int64(magnitude), 10)
}

// appendPoint appends digits with the decimal point before digit number point, which may lie before the first.
func appendPoint(dst, digits []byte, point int) []byte {
	if point > 0 {
		dst = append(dst, digits[:point]...)
		return append(append(dst, '.'), digits[point:]...)
	}
	dst = append(dst, '0', '.')
	for range -point {
		dst = append(dst, '0')
	}
	return append(dst, digits...)
}

// shortestDigits appends digits to dst and returns them and exponent with f = digits × 10^exponent.
func shortestDigits(dst []byte, f float64) (digits []byte, exponent int) {
	var text [32]byte
	s := strconv.AppendFloat(text[:0], f, 'e', -1, 64) // d.ddde±xx
	digits = dst
	for i, c := range s {
		if c == 'e' {
			exponent, _ = strconv.Atoi(string(s[i+1:]))
			break
		}
		if c != '.' {
			digits = append(digits, c)
		}
	}
	return digits, exponent - (len(digits) - 1)
}
