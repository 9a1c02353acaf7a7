package types

import (
	"math"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

func TestParseInt(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"0": 0, "7": 7, "-7": -7, "10": 10, "9223372036854775807": math.MaxInt64, "-9223372036854775808": math.MinInt64} {
		if n, ok := ParseInt([]byte(text)); !ok || n != want {
			t.Errorf("%s: %d, %v", text, n, ok)
		}
	}
	for _, text := range []string{"", "-", "+1", "01", "-0", "-01", " 1", "1 ", "1.0", "0x1", "9223372036854775808", "-9223372036854775809",
		"99999999999999999999", "18446744073709551616", "1e3", "1_0"} {
		if n, ok := ParseInt([]byte(text)); ok {
			t.Errorf("%q: %d", text, n)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64().Draw(t, "n")
		if got, ok := ParseInt(strconv.AppendInt(nil, n, 10)); !ok || got != n {
			t.Fatalf("%d: %d, %v", n, got, ok)
		}
	})
}

// FuzzLongDouble looks for what makes the parser panic or accept what cannot be shown again.
func FuzzLongDouble(f *testing.F) {
	for _, s := range []string{"0", "-1.5", "1e4000", "inf", "nan", "0x1.8p3", ".", "1_0", "5e-324", "+.5e+10"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, ok := ParseLongDouble([]byte(s))
		if !ok || n.IsInf() {
			return
		}
		text := formatLongDouble(n)
		if _, ok := ParseLongDouble(text); !ok && len(text) <= maxFloatText {
			t.Fatalf("%q became %q", s, text)
		}
	})
}

// TestFieldAdd compares with sums that cannot overflow.
func TestFieldAdd(t *testing.T) {
	t.Parallel()
	for _, f := range []Field{{Signed: true, Bits: 1}, {Signed: true, Bits: 3}, {Bits: 1}, {Bits: 3}} {
		low, high := f.limits()
		span := high - low + 1
		for value := low; value <= high; value++ {
			for delta := int64(-20); delta <= 20; delta++ {
				sum := value + delta
				fits := sum >= low && sum <= high
				wrapped := low + ((sum-low)%span+span)%span
				if got, ok := f.Add(value, delta, Wrap); !ok || got != wrapped {
					t.Errorf("%+v: %d%+d wraps to %d, want %d", f, value, delta, got, wrapped)
				}
				if got, ok := f.Add(value, delta, Saturate); !ok || got != min(max(sum, low), high) {
					t.Errorf("%+v: %d%+d saturates to %d", f, value, delta, got)
				}
				if _, ok := f.Add(value, delta, Refuse); ok != fits {
					t.Errorf("%+v: %d%+d is refused: %v", f, value, delta, !ok)
				}
			}
		}
	}
	wide := Field{Signed: true, Bits: 64}
	for _, c := range []struct{ value, delta, saturated int64 }{
		{math.MaxInt64, 1, math.MaxInt64}, {math.MinInt64, -1, math.MinInt64}, {math.MinInt64, math.MaxInt64, -1}, {-1, math.MinInt64, math.MinInt64}, {0, math.MinInt64, math.MinInt64},
	} {
		if got, ok := wide.Add(c.value, c.delta, Saturate); !ok || got != c.saturated {
			t.Errorf("%d%+d saturates to %d", c.value, c.delta, got)
		}
	}
}
