// Package resp reads Redis requests with every length bounded before it is
// allocated, and writes RESP2 and RESP3 replies on redcon's Append functions.
package resp

import (
	"bytes"
	"errors"
	"math"
)

const (
	// maxLine bounds an inline request and the digits of a length (Redis's PROTO_INLINE_MAX_SIZE).
	maxLine = 64 << 10
	// readChunk is the least that Space offers: one read takes a usual pipeline.
	readChunk = 16 << 10
	// lendRest is how many unparsed bytes Lend moves along; more stay in the Reader's own buffer.
	lendRest = 4 << 10
	// keepArgs is how large an argument table an idle Reader may keep.
	keepArgs = 64
	// Bounds of a peer that has not authenticated (Redis's processMultibulkBuffer, readQueryFromClient).
	unauthArgs   = 10
	unauthBulk   = 16 << 10
	unauthBuffer = 1 << 20
)

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
//
// It is incremental: bytes are looked at once, however they are cut into reads.
// The buffer grows by doubling with what has arrived, never with what a peer announces. An idle Reader needs no
// buffer of its own: Lend gives it one to read into, and Reclaim takes it back and keeps a copy of the unparsed rest.
type Reader struct {
	Limits Limits

	buf   []byte // len(buf) is the capacity in use
	lent  bool   // buf belongs to the caller of Lend
	own   []byte // the Reader's own buffer while another is lent
	start int    // of the request being parsed
	pos   int    // next byte to look at
	end   int    // of the bytes read
	last  int    // start of the request that Next returned last, for Unread

	missing int   // arguments still to come; 0 between requests
	bulk    int64 // length of the argument whose bytes are awaited; -1 when its header is
	scanned int   // bytes after pos known to hold no line end

	spans   []span
	args    [][]byte
	scratch []byte // unquoted inline arguments
}

// span is an argument's place relative to Reader.start, so that it outlives a move of the buffer.
type span struct{ off, len int }

// Lend lets the Reader read into b until Reclaim, unless more than a few unparsed
// bytes wait in its own buffer. Call Space after it.
func (r *Reader) Lend(b []byte) {
	if r.lent || r.Buffered() > lendRest || len(r.buf) > len(b) {
		return
	}
	own := r.buf
	r.move(b)
	r.own, r.lent = own, true
}

// Reclaim ends Lend: what is unparsed moves to memory of the Reader's own, and memory that it does not need is given back.
func (r *Reader) Reclaim() {
	n := r.Buffered()
	if r.lent {
		own := r.own
		if n > len(own) {
			own = make([]byte, roundUp(n))
		}
		r.own = nil
		r.move(own)
	}
	if (n == 0 && len(r.buf) > 0) || cap(r.args) > keepArgs || cap(r.spans) > keepArgs || cap(r.scratch) > 0 {
		r.Shrink()
	}
}

// roundUp leaves a peer that drips bytes some room before the next growth.
func roundUp(n int) int {
	if n == 0 {
		return 0
	}
	return (n + 1023) &^ 511
}

// Space returns at least min free bytes to read into; Filled says how many were filled.
// Both invalidate the arguments of the last Next.
func (r *Reader) Space(min int) []byte {
	if r.start == r.end {
		r.start, r.pos, r.end, r.last = 0, 0, 0, 0
	}
	expected := r.expected()
	need := max(min, 1)
	if expected > lendRest {
		need = max(need, lendRest)
	}
	if len(r.buf)-r.end >= need {
		return r.buf[r.end:]
	}
	used := r.Buffered()
	if used <= len(r.buf)/2 && len(r.buf)-used >= need {
		lent := r.lent
		r.move(r.buf)
		r.lent = lent
	} else {
		r.move(make([]byte, used+max(min, expected)))
		r.own = nil
	}
	return r.buf[r.end:]
}

// expected is how much to make room for: the rest of the awaited argument as far
// as that no more than doubles what has arrived, so that announcing a length costs nothing.
func (r *Reader) expected() int {
	used := r.Buffered()
	if rest := int64(r.pos) + r.bulk + 2 - int64(r.end); r.missing > 0 && rest > 0 {
		return int(min(max(rest, 512), int64(max(used, readChunk))))
	}
	return max(used, readChunk)
}

// move copies the unparsed bytes to the front of buf and goes on there.
func (r *Reader) move(buf []byte) {
	n := copy(buf, r.buf[r.start:r.end])
	r.buf, r.lent = buf, false
	r.pos -= r.start
	r.start, r.end, r.last = 0, n, 0
}

// Filled says how many bytes of Space were filled.
func (r *Reader) Filled(n int) { r.end += n }

// Next returns the next complete request. ok is false when more bytes are needed. The
// arguments alias the buffer and stay valid until the next Space, Reclaim or Shrink. Empty requests are skipped.
func (r *Reader) Next() (args [][]byte, ok bool, err error) {
	for {
		if r.missing == 0 {
			if r.pos == r.end {
				return nil, false, nil
			}
			if r.buf[r.pos] != '*' {
				args, ok, err = r.inline()
			} else {
				ok, err = r.multibulk()
			}
			switch {
			case err != nil:
				return nil, false, err
			case !ok:
				return nil, false, r.checkBuffer()
			case len(args) > 0:
				return args, true, nil
			case r.missing == 0:
				continue // an empty request
			}
		}
		ok, err = r.bulks()
		if err != nil {
			return nil, false, err
		}
		if !ok {
			return nil, false, r.checkBuffer()
		}
		return r.finish(), true, nil
	}
}

// Unread makes Next return the last request again. Nothing may have come between.
func (r *Reader) Unread() { r.start, r.pos = r.last, r.last }

// Mark is where the next request begins, for Rewind; ok is false when a part of it has been parsed already.
func (r *Reader) Mark() (mark int, ok bool) {
	return r.start, r.missing == 0 && r.scanned == 0
}

// Rewind makes Next return the requests since the mark again. Nothing but Next may have come between.
func (r *Reader) Rewind(mark int) {
	r.start, r.pos, r.scanned, r.missing = mark, mark, 0, 0
}

// checkBuffer holds an incomplete request against the query buffer limit; the argument
// table counts, since a six-byte argument takes 40 there.
func (r *Reader) checkBuffer() error {
	held := int64(r.Buffered() + len(r.spans)*40)
	if r.Limits.QueryBuffer > 0 && held > r.Limits.QueryBuffer || !r.Limits.Authenticated && held > unauthBuffer {
		return ErrQueryBuffer
	}
	return nil
}

// line returns what stands before the next '\r' and steps over it and the byte after it,
// which Redis takes for '\n' unseen. It remembers how far it looked.
func (r *Reader) line(tooBig ProtocolError) (line []byte, ok bool, err error) {
	i := bytes.IndexByte(r.buf[r.pos+r.scanned:r.end], '\r')
	if i < 0 {
		if r.end-r.pos > maxLine {
			return nil, false, tooBig
		}
		r.scanned = r.end - r.pos
		return nil, false, nil
	}
	i += r.scanned
	if r.pos+i+2 > r.end {
		r.scanned = i
		return nil, false, nil
	}
	line = r.buf[r.pos : r.pos+i]
	r.pos += i + 2
	r.scanned = 0
	return line, true, nil
}

// multibulk reads "*<arguments>\r\n". A count of zero or less is an empty request.
func (r *Reader) multibulk() (ok bool, err error) {
	line, ok, err := r.line("too big mbulk count string")
	if !ok {
		return false, err
	}
	n, valid := ParseInt(line[1:])
	switch {
	case !valid || n > math.MaxInt32:
		return false, ProtocolError("invalid multibulk length")
	case n > unauthArgs && !r.Limits.Authenticated:
		return false, ProtocolError("unauthenticated multibulk length")
	case n <= 0:
		r.start = r.pos
		return true, nil
	}
	r.missing = int(n)
	r.bulk = -1
	r.spans = r.spans[:0]
	return true, nil
}

// bulks reads the arguments "$<length>\r\n<bytes>\r\n" that have arrived; ok when all have.
func (r *Reader) bulks() (ok bool, err error) {
	for r.missing > 0 {
		if r.bulk < 0 {
			if ok, err := r.bulkHeader(); !ok {
				return false, err
			}
		}
		n := int(r.bulk)
		if r.end-r.pos < n+2 {
			return false, nil
		}
		r.spans = append(r.spans, span{r.pos - r.start, n})
		r.pos += n + 2
		r.bulk = -1
		r.missing--
	}
	return true, nil
}

func (r *Reader) bulkHeader() (ok bool, err error) {
	// The usual header has one to three digits: no search, no call.
	if n, size := shortHeader(r.buf[r.pos:r.end]); size > 0 && r.scanned == 0 && int64(n) <= r.Limits.MaxBulk {
		r.bulk = int64(n)
		r.pos += size
		return true, nil
	}
	if r.pos == r.end {
		return false, nil
	}
	first := r.buf[r.pos]
	line, ok, err := r.line("too big bulk count string")
	if !ok {
		return false, err
	}
	if first != '$' {
		return false, ProtocolError("expected '$', got '" + string([]byte{first}) + "'")
	}
	n, valid := ParseInt(line[1:])
	switch {
	case !valid || n < 0 || n > r.Limits.MaxBulk:
		return false, ProtocolError("invalid bulk length")
	case n > unauthBulk && !r.Limits.Authenticated:
		return false, ProtocolError("unauthenticated bulk length")
	}
	r.bulk = n
	return true, nil
}

// shortHeader parses "$d\r\n" to "$ddd\r\n" and returns its size, 0 when it is anything else.
func shortHeader(b []byte) (n, size int) {
	if len(b) < 4 || b[0] != '$' {
		return 0, 0
	}
	i := 1
	for ; i < 4 && i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		n = n*10 + int(b[i]-'0')
	}
	if i == 1 || (b[1] == '0' && i > 2) || i+1 >= len(b) || b[i] != '\r' {
		return 0, 0
	}
	return n, i + 2
}

// finish turns the spans into arguments and steps to the next request.
func (r *Reader) finish() [][]byte {
	args := r.args[:0]
	for _, s := range r.spans {
		from := r.start + s.off
		args = append(args, r.buf[from:from+s.len:from+s.len])
	}
	r.args = args
	r.last, r.start = r.start, r.pos
	return args
}

// Buffered is the number of unparsed bytes.
func (r *Reader) Buffered() int { return r.end - r.start }

// Cap is the memory that the Reader holds, in bytes.
func (r *Reader) Cap() int {
	n := cap(r.spans)*16 + cap(r.args)*24 + cap(r.scratch) + len(r.own)
	if !r.lent {
		n += len(r.buf)
	}
	return n
}

// Shrink gives back memory that an idle connection does not need.
func (r *Reader) Shrink() {
	if n := r.Buffered(); n == 0 {
		r.buf, r.own, r.lent = nil, nil, false
		r.start, r.pos, r.end, r.last = 0, 0, 0, 0
	} else if !r.lent && roundUp(n) < len(r.buf)/4 {
		r.move(make([]byte, roundUp(n)))
	}
	if r.missing == 0 && cap(r.spans) > keepArgs {
		r.spans = nil
	}
	if cap(r.args) > keepArgs {
		r.args = nil
	}
	r.scratch = nil
}

// ParseInt reads a decimal int64 in the only form Redis takes (string2ll): no sign
// but '-', no leading zero, no space.
func ParseInt(b []byte) (n int64, ok bool) {
	if len(b) == 1 && b[0] == '0' {
		return 0, true
	}
	negative := len(b) > 0 && b[0] == '-'
	if negative {
		b = b[1:]
	}
	if len(b) == 0 || len(b) > 19 || b[0] < '1' || b[0] > '9' {
		return 0, false
	}
	var u uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		u = u*10 + uint64(c-'0') // 19 digits fit
	}
	switch {
	case negative && u <= 1<<63:
		return -int64(u), true
	case !negative && u <= math.MaxInt64:
		return int64(u), true
	}
	return 0, false
}
