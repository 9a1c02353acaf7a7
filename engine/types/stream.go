package types

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
)

// How a stream is stored. It is never packed: a log grows at its end, and a packed one would be written anew by each XADD.
//
//	header       EncodingSpread, ID, Count = entries, Bytes = those of all sub-keys
//	state        format(1) last first top maxDeleted added groups nextGroup cut nodes [head node] [tail node]
//
//	'b' id(16)                       → a node that is neither the first nor the last: last live deleted listpack fields hash bytes
//	'e' id(16)                       → an entry: fields (field value)…
//	'g' name                         → a group: number last read pending consumers nextConsumer bytes [span]
//	'x' group 'c' consumer           → a consumer: name seen active pending [span]
//	'x' group 'n' name               → consumer
//	'x' group 'p' id(16)             → a pending entry: consumer time count
//	'x' group 'q' consumer id(16)    → nothing: the pending entries by consumer
//
// An id is milliseconds(8) and sequence(8), big endian, in keys and two uvarints in values. Numbers of groups and of consumers begin at 1 and are never
// used again in a stream (a group); in keys they are a length byte and that many bytes, big endian, so that they sort and none is
// the beginning of another. Numbers in values are uvarints, times and what may be -1 varints. Names, fields and values of entries have their length in front,
// unless they end a key. A span (pendingSpan) is there when something is pending.
//
// Entries from the first to the top (the last that is there) live; outside of them is nothing to look for, so that nobody
// walks what was just deleted at an end. A node is what Redis keeps in one listpack. It is no place of storage here, but approximate trimming deletes whole nodes,
// and with their counts beside the entries a node is dropped without reading them.
const (
	streamNodes   = 'b'
	streamEntries = 'e'
	streamGroups  = 'g'
	streamMembers = 'x' // of groups

	streamFormat = 1
)

// errStream: a stream's record, or a sub-key of it, that does not decode or agree with the others.
var errStream = fmt.Errorf("%w: a stream that does not decode", engine.ErrCorrupt)

// Errors of streams.
var (
	ErrIDTooSmall   = errors.New("types: the id is equal or smaller than the stream's last")
	ErrIDsExhausted = errors.New("types: the stream has used the greatest id")
	ErrGroupExists  = errors.New("types: the consumer group exists")
)

// StreamID is the name of an entry: unix milliseconds, as a rule, and a number within them.
type StreamID struct{ Ms, Seq uint64 }

// MaxStreamID is the greatest one. The least, zero, is no entry's.
var MaxStreamID = StreamID{math.MaxUint64, math.MaxUint64}

// Compare is negative, zero or positive as a is less than, equal to or greater than b.
func (a StreamID) Compare(b StreamID) int {
	if c := cmp.Compare(a.Ms, b.Ms); c != 0 {
		return c
	}
	return cmp.Compare(a.Seq, b.Seq)
}

// IsZero says whether it is 0-0.
func (a StreamID) IsZero() bool { return a == StreamID{} }

// Next returns the least greater id; ok is false behind the greatest.
func (a StreamID) Next() (next StreamID, ok bool) {
	switch {
	case a.Seq < math.MaxUint64:
		return StreamID{a.Ms, a.Seq + 1}, true
	case a.Ms < math.MaxUint64:
		return StreamID{a.Ms + 1, 0}, true
	}
	return StreamID{}, false
}

// Prev returns the greatest smaller id; ok is false before 0-0.
func (a StreamID) Prev() (prev StreamID, ok bool) {
	switch {
	case a.Seq > 0:
		return StreamID{a.Ms, a.Seq - 1}, true
	case a.Ms > 0:
		return StreamID{a.Ms - 1, math.MaxUint64}, true
	}
	return MaxStreamID, false
}

// Append appends it as clients see it: milliseconds, "-", sequence.
func (a StreamID) Append(dst []byte) []byte {
	dst = append(strconv.AppendUint(dst, a.Ms, 10), '-')
	return strconv.AppendUint(dst, a.Seq, 10)
}

func (a StreamID) String() string { return string(a.Append(nil)) }

func minID(a, b StreamID) StreamID {
	if a.Compare(b) < 0 {
		return a
	}
	return b
}

func maxID(a, b StreamID) StreamID {
	if a.Compare(b) > 0 {
		return a
	}
	return b
}

func (a StreamID) appendKey(dst []byte) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, a.Ms), a.Seq)
}

func (a StreamID) appendValue(dst []byte) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(dst, a.Ms), a.Seq)
}

// keyID reads the id that ends a key.
func keyID(key []byte) (StreamID, bool) {
	if len(key) < 16 {
		return StreamID{}, false
	}
	b := key[len(key)-16:]
	return StreamID{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}, true
}

// streamKey is kind and id: the key of an entry or of a node.
func streamKey(kind byte, id StreamID) []byte {
	return id.appendKey(append(make([]byte, 0, 18), kind))
}

// streamRange are the keys of a kind from one id to another, both included.
func streamRange(kind byte, from, to StreamID) engine.SubRange {
	return engine.SubRange{From: streamKey(kind, from), To: append(streamKey(kind, to), 0)}
}

// fieldReader reads a stored value from its start; after the first damage everything reads as zero and bad stays.
type fieldReader struct {
	b   []byte
	bad bool
}

func (r *fieldReader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *fieldReader) int() int64 {
	v := r.uint()
	return int64(v>>1) ^ -int64(v&1)
}

func (r *fieldReader) id() StreamID {
	ms := r.uint()
	return StreamID{ms, r.uint()}
}

// bytes reads a length and as many bytes, which stay part of the value.
func (r *fieldReader) bytes() []byte {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	p := r.b[:n:n]
	r.b = r.b[n:]
	return p
}

// err is errStream if anything was damaged, or stands behind the end.
func (r *fieldReader) err() error {
	if r.bad || len(r.b) > 0 {
		return errStream
	}
	return nil
}

func appendBytes(dst, p []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(p))), p...)
}

// streamState is what a stream's meta record holds beside the header.
type streamState struct {
	last       StreamID // generated, given to XADD, or set by XSETID
	first, top StreamID // the entries at the ends, zero when there is none
	maxDeleted StreamID // the greatest that XDEL has deleted
	added      uint64   // entries ever added
	groups     uint64   // that there are
	nextGroup  uint64   // the number of the next one
	// cut is the greatest id that was ever deleted by a range of keys, which a point read may still see.
	cut   StreamID
	nodes uint64
	head  streamNode // when there are two nodes at least
	tail  streamNode // when there is one
}

func (s *streamState) append(dst []byte) []byte {
	dst = append(dst, streamFormat)
	for _, id := range [...]StreamID{s.last, s.first, s.top, s.maxDeleted} {
		dst = id.appendValue(dst)
	}
	for _, n := range [...]uint64{s.added, s.groups, s.nextGroup} {
		dst = binary.AppendUvarint(dst, n)
	}
	dst = s.cut.appendValue(dst)
	dst = binary.AppendUvarint(dst, s.nodes)
	if s.nodes > 1 {
		dst = s.head.append(s.head.first.appendValue(dst))
	}
	if s.nodes > 0 {
		dst = s.tail.append(s.tail.first.appendValue(dst))
	}
	return dst
}

func (s *streamState) decode(value []byte) error {
	if len(value) == 0 || value[0] != streamFormat {
		return errStream
	}
	r := fieldReader{b: value[1:]}
	for _, id := range [...]*StreamID{&s.last, &s.first, &s.top, &s.maxDeleted} {
		*id = r.id()
	}
	for _, n := range [...]*uint64{&s.added, &s.groups, &s.nextGroup} {
		*n = r.uint()
	}
	s.cut = r.id()
	s.nodes = r.uint()
	if s.nodes > 1 {
		s.head.first = r.id()
		s.head.decode(&r)
	}
	if s.nodes > 0 {
		s.tail.first = r.id()
		s.tail.decode(&r)
	}
	return r.err()
}

// Stream is the stream at a key, present or not, as a transaction sees it. What changes it writes sub-keys at once, and
// the rest by Save.
type Stream struct {
	streamState
	txn   *engine.Txn
	key   engine.Key
	rec   engine.Record
	found bool
	saved keys.Header // as it is stored, with rec.Value
	kept  *streamKept // nil for nothing

	// sub and scratch have room for a key and a value of a group.
	sub     [48]byte
	scratch [128]byte
}

// OpenStream returns the stream at k; ErrWrongType if another type is there.
func OpenStream(t *engine.Txn, k engine.Key) (Stream, error) {
	rec, found, err := read(t, k, keys.TypeStream)
	s := Stream{txn: t, key: k, rec: rec, found: found, saved: rec.Header}
	if !found || err != nil {
		return s, err
	}
	if rec.ID == 0 {
		return s, errStream
	}
	if s.kept, _ = t.Derived(k.Slot, rec.ID).(*streamKept); s.kept != nil {
		if state, ok := s.kept.record.says(rec.Value); ok {
			s.streamState = state
			return s, nil
		}
	}
	return s, s.decode(rec.Value)
}

// Create makes an empty stream of one that does not exist, with an expiry in unix milliseconds or 0.
func (s *Stream) Create(expireAt int64) error {
	id, err := s.txn.NewID(s.key.Slot)
	if err != nil {
		return err
	}
	s.rec.Header = keys.Header{Type: keys.TypeStream, Encoding: keys.EncodingSpread, ID: id, ExpireAt: expireAt}
	s.streamState = streamState{nextGroup: 1}
	s.found = true
	return nil
}

// Save writes the stream's record if it has changed: Group.Save does so, too.
func (s *Stream) Save() error {
	var buf [256]byte
	value := s.append(buf[:0])
	if s.rec.Header == s.saved && bytes.Equal(value, s.rec.Value) {
		return nil
	}
	if err := s.txn.Put(s.key, s.rec.Header, value); err != nil {
		return err
	}
	s.keep(value)
	s.saved, s.rec.Value = s.rec.Header, nil // written once more, if at all
	return nil
}

// Exists says whether there is a stream, which may be empty.
func (s *Stream) Exists() bool { return s.found }

// Len is the number of entries.
func (s *Stream) Len() uint64 { return s.rec.Count }

// LastID is the greatest id that was ever used, or set.
func (s *Stream) LastID() StreamID { return s.last }

// FirstID and TopID are those of the entries at the ends, zero if there is none.
func (s *Stream) FirstID() StreamID { return s.first }

// TopID: see FirstID.
func (s *Stream) TopID() StreamID { return s.top }

// MaxDeletedID is the greatest id that was deleted by name.
func (s *Stream) MaxDeletedID() StreamID { return s.maxDeleted }

// Added is how many entries were ever added.
func (s *Stream) Added() uint64 { return s.added }

// GroupCount is the number of consumer groups.
func (s *Stream) GroupCount() uint64 { return s.groups }

// NodeCount is the number of nodes that Redis would hold the entries in.
func (s *Stream) NodeCount() uint64 { return s.nodes }

// SetIDs sets what XSETID may: the caller has checked them against the entries.
func (s *Stream) SetIDs(last, maxDeleted StreamID, added uint64) {
	s.last, s.maxDeleted, s.added = last, maxDeleted, added
}

// absent stands for the length of a value that is not there.
const absent = -1

// put writes a sub-key over a value of so many bytes, or over none.
func (s *Stream) put(sub, value []byte, old int) error {
	s.uncount(sub, old)
	s.rec.Bytes += keys.SubBytes(sub, value)
	return s.txn.PutSub(s.key.Slot, s.rec.ID, sub, value)
}

// drop deletes a sub-key whose value has so many bytes.
func (s *Stream) drop(sub []byte, old int) error {
	s.uncount(sub, old)
	return s.txn.DeleteSub(s.key.Slot, s.rec.ID, sub)
}

func (s *Stream) uncount(sub []byte, old int) {
	if old != absent {
		s.rec.Bytes -= keys.SubBytes(sub, nil) + uint64(old)
	}
}

func (s *Stream) get(sub []byte) ([]byte, bool, error) {
	return s.txn.GetSub(s.key.Slot, s.rec.ID, sub)
}

func (s *Stream) walk(r engine.SubRange, reverse bool, fn func(sub, value []byte) bool) error {
	return s.txn.WalkSub(s.key.Slot, s.rec.ID, r, reverse, fn)
}

// rangeWorth is how many sub-keys one deletion of a range is cheaper for than deletions of each, all told.
const rangeWorth = 512
