// Package resp reads Redis requests with every length bounded before it is
// allocated, and writes RESP2 and RESP3 replies on redcon's Append functions.
package resp

import "errors"

// Limits bound what a peer can make a Reader allocate.
type Limits struct {
	// MaxBulk is proto-max-bulk-len, in bytes.
	MaxBulk int64
	// QueryBuffer is client-query-buffer-limit, in bytes.
	QueryBuffer int64
	// Authenticated lifts the small limits (10 arguments of 16 KiB) of a peer that has not authenticated.
	Authenticated bool
}

// ErrQueryBuffer: the peer sent more than client-query-buffer-limit without completing a request.
var ErrQueryBuffer = errors.New("query buffer limit reached")

// ProtocolError's text is what Redis sends after "-ERR Protocol error: ".
type ProtocolError string

func (e ProtocolError) Error() string { return "Protocol error: " + string(e) }

// Reader parses requests out of a growing buffer; it does no I/O and never recurses.
type Reader struct{ Limits Limits }

// Space returns at least min free bytes to read into; Filled says how many were filled.
// Both invalidate the arguments of the last Next.
func (r *Reader) Space(min int) []byte { panic("skeleton") }
func (r *Reader) Filled(n int)         { panic("skeleton") }

// Next returns the next complete request. ok is false when more bytes are needed. The
// arguments alias the buffer and stay valid until the next Space or Shrink. Empty requests are skipped.
func (r *Reader) Next() (args [][]byte, ok bool, err error) { panic("skeleton") }

// Buffered is the number of unparsed bytes; Cap the memory held.
func (r *Reader) Buffered() int { panic("skeleton") }
func (r *Reader) Cap() int      { panic("skeleton") }

// Shrink gives back memory that an idle connection does not need.
func (r *Reader) Shrink() { panic("skeleton") }

// Writer appends replies to Buf in protocol 2 or 3. The zero value writes RESP2.
type Writer struct {
	Buf []byte
	// Proto3 selects RESP3.
	Proto3 bool
}

func (w *Writer) OK()                          { panic("skeleton") }
func (w *Writer) Simple(s string)              { panic("skeleton") }
func (w *Writer) Int(n int64)                  { panic("skeleton") }
func (w *Writer) Bulk(b []byte)                { panic("skeleton") }
func (w *Writer) BulkString(s string)          { panic("skeleton") }
func (w *Writer) Null()                        { panic("skeleton") } // $-1 or _
func (w *Writer) NullArray()                   { panic("skeleton") } // *-1 or _
func (w *Writer) Array(n int)                  { panic("skeleton") }
func (w *Writer) Map(n int)                    { panic("skeleton") } // n pairs: *2n or %n
func (w *Writer) Set(n int)                    { panic("skeleton") }
func (w *Writer) Push(n int)                   { panic("skeleton") }
func (w *Writer) Double(f float64)             { panic("skeleton") } // Redis's formatting in both protocols
func (w *Writer) Bool(b bool)                  { panic("skeleton") }
func (w *Writer) BigNumber(s string)           { panic("skeleton") }
func (w *Writer) Verbatim(format, text string) { panic("skeleton") } // =…txt:… or a bulk
func (w *Writer) Attribute(n int)              { panic("skeleton") }

// Error writes "-" + text: text starts with its code ("ERR …", "WRONGTYPE …"); CR and LF become spaces.
func (w *Writer) Error(text string) { panic("skeleton") }
