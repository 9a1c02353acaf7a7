package types

import (
	"encoding/binary"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
)

// How a string is stored:
//
//	up to MaxInline bytes      header (EncodingInline, EncodingRaw or EncodingText), the bytes
//	beyond, and from then on   header (EncodingSpread, ID, Count = length in bytes)
//	                           sub-key chunk(4, big endian) → up to ChunkSize bytes
//
// A chunk that is absent, and what a short chunk lacks, reads as zeros. So a
// write costs the chunks that it touches, wherever it lies in the value.
const (
	// MaxInline is the longest string that is stored in its meta record, in bytes.
	MaxInline = 16 << 10
	// ChunkSize is the size of a chunk of a longer one, in bytes. It never changes.
	ChunkSize = 16 << 10
	// embstrLimit is the longest string that OBJECT ENCODING calls embstr (Redis: OBJ_ENCODING_EMBSTR_SIZE_LIMIT).
	embstrLimit = 44
)

// String is the string at a key, present or not, as a transaction sees it. Its
// bytes are read only where they are asked for.
type String struct {
	txn   *engine.Txn
	key   engine.Key
	rec   engine.Record
	found bool
}

// OpenString returns the string at k; ErrWrongType if another type is there.
func OpenString(t *engine.Txn, k engine.Key) (String, error) {
	rec, found, err := read(t, k, keys.TypeString)
	return String{txn: t, key: k, rec: rec, found: found}, err
}

// Exists says whether there is a value: an absent one reads as empty.
func (s *String) Exists() bool { return s.found }

// ExpireAt is the expiry in unix milliseconds, 0 for none.
func (s *String) ExpireAt() int64 { return s.rec.ExpireAt }

// Len is the length in bytes.
func (s *String) Len() int64 {
	if s.spread() {
		return int64(s.rec.Count)
	}
	return int64(len(s.rec.Value))
}

func (s *String) spread() bool { return s.rec.Encoding == keys.EncodingSpread }

// Inline returns the value without copying it; ok is false when it lies in chunks.
func (s *String) Inline() (value []byte, ok bool) { return s.rec.Value, !s.spread() }

// Bytes returns the whole value, a copy only if it lies in chunks.
func (s *String) Bytes() ([]byte, error) {
	if !s.spread() {
		return s.rec.Value, nil
	}
	return s.Append(make([]byte, 0, s.Len()), 0, s.Len())
}

// Append appends the bytes from (inclusive) to (exclusive) to dst; they must lie in the value.
func (s *String) Append(dst []byte, from, to int64) ([]byte, error) {
	if !s.spread() {
		return append(dst, s.rec.Value[from:to]...), nil
	}
	err := s.Each(from, to, func(_ int64, p []byte) bool {
		dst = append(dst, p...)
		return true
	})
	return dst, err
}

var zeros [ChunkSize]byte

// Each calls fn for consecutive pieces of the bytes from (inclusive) to (exclusive), with the
// offset of each in the value, until fn returns false. A piece is valid during the call only.
func (s *String) Each(from, to int64, fn func(off int64, p []byte) bool) error {
	if !s.spread() {
		fn(from, s.rec.Value[from:to])
		return nil
	}
	goOn := true
	emit := func(p []byte) {
		goOn = fn(from, p)
		from += int64(len(p))
	}
	fill := func(until int64) { // the zeros between what is stored
		for goOn && from < until {
			emit(zeros[:min(until-from, ChunkSize)])
		}
	}
	var sub [4]byte
	err := s.txn.ScanSub(s.key.Slot, s.rec.ID, chunkKey(&sub, from/ChunkSize), func(sub, chunk []byte) bool {
		start := int64(binary.BigEndian.Uint32(sub)) * ChunkSize
		if start >= to {
			fill(to)
			return false
		}
		fill(start)
		end := min(start+int64(len(chunk)), to)
		if goOn && from < end {
			emit(chunk[from-start : end-start])
		}
		return goOn && from < to
	})
	if err == nil {
		fill(to)
	}
	return err
}

func chunkKey(buf *[4]byte, index int64) []byte {
	binary.BigEndian.PutUint32(buf[:], uint32(index))
	return buf[:]
}

// SetString makes value the string at k, whatever was there, with an expiry in unix milliseconds or 0.
func SetString(t *engine.Txn, k engine.Key, value []byte, expireAt int64) error {
	return setString(t, k, value, expireAt, keys.EncodingInline)
}

func setString(t *engine.Txn, k engine.Key, value []byte, expireAt int64, enc keys.Encoding) error {
	h := keys.Header{Type: keys.TypeString, Encoding: enc, ExpireAt: expireAt}
	if len(value) <= MaxInline {
		return t.Put(k, h, value)
	}
	s := String{txn: t, key: k, rec: engine.Record{Header: h}}
	if err := s.spreadOut(); err != nil {
		return err
	}
	return s.putChunks(0, value)
}

// WriteAt overwrites the value from off on, growing it with zeros as needed; the expiry stays.
func (s *String) WriteAt(off int64, p []byte) error {
	length := max(s.Len(), off+int64(len(p)))
	s.rec.Type = keys.TypeString
	if !s.spread() && length <= MaxInline {
		value := make([]byte, length)
		copy(value, s.rec.Value)
		copy(value[off:], p)
		s.rec.Encoding = keys.EncodingRaw
		s.rec.Value, s.found = value, true
		return s.txn.Put(s.key, s.rec.Header, value)
	}
	if !s.spread() {
		old := s.rec.Value
		if err := s.spreadOut(); err != nil {
			return err
		}
		if err := s.writeChunks(0, old); err != nil {
			return err
		}
	}
	return s.putChunks(off, p)
}

// spreadOut gives the value an id for chunks and makes it empty.
func (s *String) spreadOut() error {
	id, err := s.txn.NewID(s.key.Slot)
	s.rec.Encoding, s.rec.ID, s.rec.Count, s.rec.Value = keys.EncodingSpread, id, 0, nil
	return err
}

// putChunks writes p at off and the header that covers it.
func (s *String) putChunks(off int64, p []byte) error {
	if err := s.writeChunks(off, p); err != nil {
		return err
	}
	s.found = true
	return s.txn.Put(s.key, s.rec.Header, nil)
}

func (s *String) writeChunks(off int64, p []byte) error {
	old := int64(s.rec.Count)
	s.rec.Count = max(s.rec.Count, uint64(off)+uint64(len(p)))
	for len(p) > 0 {
		start := off % ChunkSize
		n := min(int64(len(p)), ChunkSize-start)
		if err := s.writeChunk(off/ChunkSize, start, p[:n], old); err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	return nil
}

// writeChunk overlays a chunk from start on with p; old was the length of the value.
func (s *String) writeChunk(index, start int64, p []byte, old int64) error {
	var sub [4]byte
	at := chunkKey(&sub, index)
	stored := min(max(old-index*ChunkSize, 0), ChunkSize) // no more than this can be in the chunk
	if start > 0 || int64(len(p)) < stored {
		was, _, err := s.txn.GetSub(s.key.Slot, s.rec.ID, at)
		if err != nil {
			return err
		}
		merged := make([]byte, max(int64(len(was)), start+int64(len(p))))
		copy(merged, was)
		copy(merged[start:], p)
		p = merged
	}
	return s.txn.PutSub(s.key.Slot, s.rec.ID, at, p)
}

// IncrBy adds n to the integer at k, which counts as 0 when absent, and returns the sum; the expiry stays.
func IncrBy(t *engine.Txn, k engine.Key, n int64) (int64, error) {
	s, err := OpenString(t, k)
	if err != nil {
		return 0, err
	}
	var old int64
	if s.found {
		var ok bool
		if old, ok = ParseInt(s.rec.Value); !ok {
			return 0, ErrNotInteger
		}
	}
	sum := old + n
	if (n < 0) != (sum < old) && n != 0 {
		return 0, ErrOverflow
	}
	var buf [20]byte
	h := keys.Header{Type: keys.TypeString, ExpireAt: s.rec.ExpireAt}
	return sum, t.Put(k, h, appendInt(&buf, sum))
}

// IncrByFloat adds the number in text to the one at k, which counts as 0 when absent, and
// returns the sum as it is stored; the expiry stays.
func IncrByFloat(t *engine.Txn, k engine.Key, text []byte) ([]byte, error) {
	s, err := OpenString(t, k)
	if err != nil {
		return nil, err
	}
	old := []byte("0")
	if s.found {
		old = s.rec.Value // empty, so no float, for a chunked string
	}
	a, ok := ParseLongDouble(old)
	if !ok {
		return nil, ErrNotFloat
	}
	b, ok := ParseLongDouble(text)
	if !ok {
		return nil, ErrNotFloat
	}
	if a.IsInf() || b.IsInf() || a.Add(a, b).MantExp(nil) > longDoubleMaxExp {
		return nil, ErrNaN
	}
	sum := formatLongDouble(a)
	h := keys.Header{Type: keys.TypeString, Encoding: keys.EncodingText, ExpireAt: s.rec.ExpireAt}
	return sum, t.Put(k, h, sum)
}

// StringEncoding is what OBJECT ENCODING says about a string's record.
func StringEncoding(rec engine.Record) string {
	switch {
	case rec.Encoding == keys.EncodingSpread, rec.Encoding == keys.EncodingRaw, len(rec.Value) > embstrLimit:
		return "raw"
	case rec.Encoding == keys.EncodingText:
		return "embstr"
	}
	if _, ok := ParseInt(rec.Value); ok {
		return "int"
	}
	return "embstr"
}
