package types

import (
	"bytes"
	"math"
	"strconv"
)

// ParseDouble reads a number as Redis's string2d does: all of b, as C's strtod accepts it, without a space before it, neither NaN nor out of range.
func ParseDouble(b []byte) (float64, bool) {
	if len(b) == 0 || isSpace(b[0]) {
		return 0, false
	}
	f, rest, inRange := scanDouble(b)
	return f, len(rest) == 0 && inRange && !math.IsNaN(f)
}

// ParseLimit reads an end of a range of scores as Redis does, with strtod up to the first zero byte: nothing at all is 0, and what is out of range is infinite.
func ParseLimit(b []byte) (float64, bool) {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	f, rest, _ := scanDouble(b)
	return f, len(rest) == 0 && !math.IsNaN(f)
}

// scanDouble reads the longest number at the start of b as C's strtod does, after spaces; without one it returns 0 and all of b. inRange is false
// for what is too large, and for what is so small that it becomes 0.
func scanDouble(b []byte) (f float64, rest []byte, inRange bool) {
	start := 0
	for start < len(b) && isSpace(b[start]) {
		start++
	}
	n, zero := doubleLen(b[start:])
	if n == 0 {
		return 0, b, true
	}
	text := string(b[start : start+n])
	rest = b[start+n:]
	if isHex(text) && !bytes.ContainsAny(b[start:start+n], "pP") {
		text += "p0"
	}
	f, err := strconv.ParseFloat(text, 64) // an error: out of range, f is infinite
	return f, rest, err == nil && (f != 0 || zero)
}

func isSpace(c byte) bool { return c == ' ' || ('\t' <= c && c <= '\r') }

func isHex(number string) bool {
	if number[0] == '+' || number[0] == '-' {
		number = number[1:]
	}
	return len(number) > 1 && number[0] == '0' && number[1]|0x20 == 'x'
}

// doubleLen is the length of the number that b begins with, 0 if it begins with none. zero says that all its digits are 0.
func doubleLen(b []byte) (n int, zero bool) {
	if n < len(b) && (b[n] == '+' || b[n] == '-') {
		n++
	}
	for _, word := range []string{"infinity", "inf", "nan"} {
		if len(b)-n >= len(word) && bytes.EqualFold(b[n:n+len(word)], []byte(word)) {
			return n + len(word), false
		}
	}
	if len(b)-n > 2 && b[n] == '0' && b[n+1]|0x20 == 'x' {
		if digits, zero := digitsLen(b[n+2:], true); digits > 0 {
			n += 2 + digits
			return n + exponentLen(b[n:], 'p'), zero
		}
	}
	digits, zero := digitsLen(b[n:], false)
	if digits == 0 {
		return 0, false
	}
	n += digits
	return n + exponentLen(b[n:], 'e'), zero
}

// digitsLen is the length of digits with at most one point among them, 0 if there is no digit.
func digitsLen(b []byte, hex bool) (n int, zero bool) {
	zero = true
	digits, point := 0, false
	for ; n < len(b); n++ {
		c := b[n]
		switch {
		case c == '.' && !point:
			point = true
			continue
		case c >= '0' && c <= '9', hex && c|0x20 >= 'a' && c|0x20 <= 'f':
		default:
			c = 0
		}
		if c == 0 {
			break
		}
		zero = zero && c == '0'
		digits++
	}
	if digits == 0 {
		return 0, false
	}
	return n, zero
}

// exponentLen is the length of an exponent, 0 if none follows.
func exponentLen(b []byte, mark byte) int {
	if len(b) < 2 || b[0]|0x20 != mark {
		return 0
	}
	n := 1
	if b[n] == '+' || b[n] == '-' {
		n++
	}
	first := n
	for n < len(b) && b[n] >= '0' && b[n] <= '9' {
		n++
	}
	if n == first {
		return 0
	}
	return n
}
