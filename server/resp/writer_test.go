package resp

import (
	"math"
	"testing"
)

func TestWriter(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		write        func(*Writer)
		resp2, resp3 string
	}{
		{func(w *Writer) { w.OK() }, "+OK\r\n", "+OK\r\n"},
		{func(w *Writer) { w.Simple("a\r\nb") }, "+a  b\r\n", "+a  b\r\n"},
		{func(w *Writer) { w.Error("ERR a\r\nb") }, "-ERR a  b\r\n", "-ERR a  b\r\n"},
		{func(w *Writer) { w.Int(-12) }, ":-12\r\n", ":-12\r\n"},
		{func(w *Writer) { w.Bulk([]byte("0123456789")) }, "$10\r\n0123456789\r\n", "$10\r\n0123456789\r\n"},
		{func(w *Writer) { w.BulkString("") }, "$0\r\n\r\n", "$0\r\n\r\n"},
		{func(w *Writer) { w.BulkInt(math.MinInt64) }, "$20\r\n-9223372036854775808\r\n", "$20\r\n-9223372036854775808\r\n"},
		{func(w *Writer) { w.Null() }, "$-1\r\n", "_\r\n"},
		{func(w *Writer) { w.NullArray() }, "*-1\r\n", "_\r\n"},
		{func(w *Writer) { w.Array(11) }, "*11\r\n", "*11\r\n"},
		{func(w *Writer) { w.Map(6) }, "*12\r\n", "%6\r\n"},
		{func(w *Writer) { w.Set(2) }, "*2\r\n", "~2\r\n"},
		{func(w *Writer) { w.Push(2) }, "*2\r\n", ">2\r\n"},
		{func(w *Writer) { w.Double(3.5) }, "$3\r\n3.5\r\n", ",3.5\r\n"},
		{func(w *Writer) { w.Bool(true); w.Bool(false) }, ":1\r\n:0\r\n", "#t\r\n#f\r\n"},
		{func(w *Writer) { w.BigNumber("123") }, "$3\r\n123\r\n", "(123\r\n"},
		{func(w *Writer) { w.Verbatim("txt", "hi") }, "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n"},
	} {
		two, three := Writer{}, Writer{Proto3: true}
		c.write(&two)
		c.write(&three)
		if string(two.Buf) != c.resp2 || string(three.Buf) != c.resp3 {
			t.Errorf("got %q and %q, want %q and %q", two.Buf, three.Buf, c.resp2, c.resp3)
		}
	}
}

func TestDouble(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		f    float64
		want string
	}{
		{0, "0"}, {math.Copysign(0, -1), "-0"}, {1, "1"}, {-17, "-17"}, {3.1, "3.1"}, {0.1, "0.1"}, {-0.5, "-0.5"},
		{1e15, "1000000000000000"}, {1 << 52, "4503599627370496"}, {-1e17, "-100000000000000000"}, {1 << 62, "4611686018427387904"}, {1 << 63, "9223372036854776000"}, {1e21, "1e+21"}, {1.5e300, "1.5e+300"},
		{1e-5, "0.00001"}, {1e-6, "0.000001"}, {1e-7, "1e-7"}, {1.5e-7, "1.5e-7"}, {1.25e-10, "1.25e-10"},
		{0.00012345678901234567, "1.2345678901234567e-4"}, {12345.678901234567, "1.2345678901234567e+4"}, {math.Inf(1), "inf"}, {math.Inf(-1), "-inf"}, {math.NaN(), "nan"},
		{math.MaxFloat64, "1.7976931348623157e+308"}, {5e-324, "5e-324"}, {123456.789, "123456.789"},
	} {
		if got := string(AppendDouble(nil, c.f)); got != c.want {
			t.Errorf("%g: %s, want %s", c.f, got, c.want)
		}
	}
}
