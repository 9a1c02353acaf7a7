package types

import (
	"bytes"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// ParseInt reads a 64-bit integer exactly as Redis's string2ll: decimal digits
// with an optional minus sign, no plus, no spaces, no leading zeros, no "-0".
func ParseInt(b []byte) (int64, bool) {
	neg := len(b) > 0 && b[0] == '-'
	digits := b
	if neg {
		digits = b[1:]
	}
	if len(digits) == 0 || len(digits) > 19 {
		return 0, false
	}
	if digits[0] == '0' {
		return 0, len(b) == 1
	}
	var n uint64
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	switch {
	case neg && n <= -math.MinInt64:
		return -int64(n), true
	case !neg && n <= math.MaxInt64:
		return int64(n), true
	}
	return 0, false
}

// Redis computes INCRBYFLOAT in C's long double, on x86-64 the 80-bit extended
// format: 64 bits of mantissa and an exponent of up to 16384. big.Float with the same
// precision gives the same digits.
const (
	longDoubleBits   = 64
	longDoubleMaxExp = 16384
	longDoubleMinExp = -16445
	maxFloatText     = 5*1024 - 1
)

// ParseLongDouble reads what C's strtold accepts in full; a NaN, and what is out of range, is no number.
func ParseLongDouble(b []byte) (*big.Float, bool) {
	if len(b) == 0 || len(b) > maxFloatText || bytes.IndexByte(b, '_') >= 0 {
		return nil, false
	}
	s := string(b)
	unsigned := strings.ToLower(strings.TrimLeft(s[:1], "+-") + s[1:])
	f := new(big.Float).SetPrec(longDoubleBits)
	if unsigned == "inf" || unsigned == "infinity" {
		return f.SetInf(s[0] == '-'), true
	}
	if unsigned == "" || !strings.ContainsRune("0123456789.", rune(unsigned[0])) {
		return nil, false // big.Float knows other spellings
	}
	base := 10
	if strings.HasPrefix(unsigned, "0x") {
		base = 0
	} else if strings.ContainsRune(unsigned, 'p') {
		return nil, false
	}
	_, _, err := f.Parse(s, base)
	if err != nil || f.IsInf() {
		return nil, false
	}
	exp := f.MantExp(nil)
	tooSmall := f.Sign() == 0 && strings.ContainsAny(mantissa(unsigned), "123456789abcdef")
	if exp > longDoubleMaxExp || exp < longDoubleMinExp || tooSmall {
		return nil, false
	}
	return f, true
}

// ParseSeconds reads a time-out in seconds, which may have a fraction, as milliseconds, rounded up. inRange is false for one that is too long.
func ParseSeconds(b []byte) (ms int64, ok, inRange bool) {
	f, ok := ParseLongDouble(b)
	if !ok {
		return 0, false, false
	}
	f.Mul(f, big.NewFloat(1000))
	if f.Cmp(new(big.Float).SetInt64(math.MaxInt64)) > 0 {
		return 0, true, false
	}
	ms, rounded := f.Int64()
	if rounded == big.Below {
		ms++
	}
	return ms, true, true
}

// ParseWeight reads what SORT sorts by as Redis does: with strtod up to the first zero byte, where nothing at all is 0.
func ParseWeight(b []byte) (float64, bool) {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	f, rest, inRange := scanDouble(b)
	return f, len(rest) == 0 && inRange && !math.IsNaN(f)
}

// mantissa is the part of a number before its exponent.
func mantissa(s string) string {
	if digits, ok := strings.CutPrefix(s, "0x"); ok {
		digits, _, _ = strings.Cut(digits, "p")
		return digits
	}
	digits, _, _ := strings.Cut(s, "e")
	return digits
}

// formatLongDouble is Redis's ld2string in its human form: 17 decimals without trailing zeros.
func formatLongDouble(f *big.Float) []byte {
	b := f.Append(nil, 'f', 17)
	b = bytes.TrimRight(b, "0")
	b = bytes.TrimSuffix(b, []byte("."))
	if string(b) == "-0" {
		return b[1:]
	}
	return b
}

// appendInt renders n into buf, which has room for any int64.
func appendInt(buf *[20]byte, n int64) []byte { return strconv.AppendInt(buf[:0], n, 10) }
