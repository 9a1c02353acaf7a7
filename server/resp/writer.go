package resp

import (
	"bytes"
	"strconv"

	"github.com/tidwall/redcon"
)

// Writer appends replies to Buf in protocol 2 or 3. The zero value writes RESP2.
// Aggregates only write their header: the caller appends the elements after it.
type Writer struct {
	Buf []byte
	// Proto3 selects RESP3.
	Proto3 bool
	// Spill, if it is set, is called when what replies carry has made Buf longer than SpillAt. It may take bytes out of Buf, but for what stood there before
	// the reply.
	Spill   func()
	SpillAt int
}

func (w *Writer) spill() {
	if w.Spill != nil && len(w.Buf) > w.SpillAt {
		w.Spill()
	}
}

// OK writes the simple string OK.
func (w *Writer) OK() { w.Buf = append(w.Buf, "+OK\r\n"...) }

// Simple writes a simple string; CR and LF in it become spaces.
func (w *Writer) Simple(s string) { w.Buf = redcon.AppendString(w.Buf, s) }

// Error writes "-" + text: text starts with its code ("ERR …", "WRONGTYPE …"); CR and LF become spaces.
func (w *Writer) Error(text string) { w.Buf = redcon.AppendError(w.Buf, text) }

// Int writes an integer.
func (w *Writer) Int(n int64) { w.Buf = w.header(':', n) }

// Bulk writes a bulk string.
func (w *Writer) Bulk(b []byte) {
	w.Buf = append(append(w.header('$', int64(len(b))), b...), '\r', '\n')
	w.spill()
}

// BulkHeader begins a bulk string of n bytes, which are to follow by Raw, and the end of the line.
func (w *Writer) BulkHeader(n int64) { w.Buf = w.header('$', n) }

// BulkString writes a bulk string.
func (w *Writer) BulkString(s string) {
	w.Buf = append(append(w.header('$', int64(len(s))), s...), '\r', '\n')
}

// BulkInt writes n as a bulk string.
func (w *Writer) BulkInt(n int64) {
	var digits [20]byte
	w.Bulk(strconv.AppendInt(digits[:0], n, 10))
}

// Null writes the null bulk string, or RESP3's null.
func (w *Writer) Null() { w.either("$-1\r\n", "_\r\n") }

// NullArray writes the null array, or RESP3's null.
func (w *Writer) NullArray() { w.either("*-1\r\n", "_\r\n") }

// Array writes the header of an array of n elements.
func (w *Writer) Array(n int) { w.Buf = w.header('*', int64(n)) }

// Map writes the header of a map of n pairs: in RESP2 an array of 2n elements.
func (w *Writer) Map(n int) { w.aggregate('%', n, 2*n) }

// Set writes the header of a set of n elements: in RESP2 an array.
func (w *Writer) Set(n int) { w.aggregate('~', n, n) }

// Push writes the header of an out-of-band message of n elements: in RESP2 an array.
func (w *Writer) Push(n int) { w.aggregate('>', n, n) }

// Attribute writes the header of n pairs of attributes, which RESP2 cannot express:
// call it only when Proto3 is set.
func (w *Writer) Attribute(n int) { w.Buf = w.header('|', int64(n)) }

// Double writes a floating point number, in RESP2 as a bulk string.
func (w *Writer) Double(f float64) {
	var text [32]byte
	digits := AppendDouble(text[:0], f)
	if !w.Proto3 {
		w.Bulk(digits)
		return
	}
	w.Buf = append(append(append(w.Buf, ','), digits...), '\r', '\n')
}

// Bool writes a boolean, in RESP2 the integer 0 or 1.
func (w *Writer) Bool(b bool) {
	if b {
		w.either(":1\r\n", "#t\r\n")
	} else {
		w.either(":0\r\n", "#f\r\n")
	}
}

// BigNumber writes an integer of any size given by its decimal digits, in RESP2 as a bulk string.
func (w *Writer) BigNumber(s string) {
	if !w.Proto3 {
		w.BulkString(s)
		return
	}
	w.Buf = append(append(append(w.Buf, '('), s...), '\r', '\n')
}

// Verbatim writes text with its three-letter format ("txt", "mkd"), in RESP2 as a bulk string.
func (w *Writer) Verbatim(format, text string) {
	if !w.Proto3 {
		w.BulkString(text)
		return
	}
	w.Buf = w.header('=', int64(len(text)+4))
	w.Buf = append(append(w.Buf, format[:3]...), ':')
	w.Buf = append(append(w.Buf, text...), '\r', '\n')
}

// Raw appends bytes that are a complete reply already.
func (w *Writer) Raw(reply []byte) {
	w.Buf = append(w.Buf, reply...)
	w.spill()
}

// header appends "<prefix><n>\r\n" with a short cut for one digit, by far the most frequent.
func (w *Writer) header(prefix byte, n int64) []byte {
	if n >= 0 && n <= 9 {
		return append(w.Buf, prefix, byte('0'+n), '\r', '\n')
	}
	return append(strconv.AppendInt(append(w.Buf, prefix), n, 10), '\r', '\n')
}

func (w *Writer) either(resp2, resp3 string) {
	if w.Proto3 {
		w.Buf = append(w.Buf, resp3...)
	} else {
		w.Buf = append(w.Buf, resp2...)
	}
}

// aggregate writes a RESP3 header, or the header of the array that stands for it in RESP2.
func (w *Writer) aggregate(prefix byte, n, flat int) {
	if w.Proto3 {
		w.Buf = w.header(prefix, int64(n))
	} else {
		w.Buf = w.header('*', int64(flat))
	}
}

// CString cuts b at its first zero byte, as Redis does where it quotes a client's bytes in an error.
func CString(b []byte) []byte {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return b[:i]
	}
	return b
}
