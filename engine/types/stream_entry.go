package types

import (
	"bytes"
	"encoding/binary"

	"github.com/cairndb/cairn/engine/keys"
)

// Fields are the fields and values of an entry, as stored: valid as long as what they were read from.
type Fields struct {
	n    int
	rest []byte
}

// Len is the number of fields.
func (f Fields) Len() int { return f.n }

// Each calls fn for field, value, field, value and so on.
func (f Fields) Each(fn func(p []byte)) {
	r := fieldReader{b: f.rest}
	for range 2 * f.n {
		fn(r.bytes())
	}
}

func appendFields(dst []byte, fields [][]byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(fields)/2))
	for _, p := range fields {
		dst = appendBytes(dst, p)
	}
	return dst
}

func decodeFields(value []byte) (Fields, error) {
	r := fieldReader{b: value}
	n := r.uint()
	if n > uint64(len(r.b))/2 {
		return Fields{}, errStream
	}
	f := Fields{n: int(n), rest: r.b}
	for range 2 * n {
		r.bytes()
	}
	return f, r.err()
}

// NextID returns the id of an entry that is added at a time in unix milliseconds; ErrIDsExhausted if there is none left.
func (s *Stream) NextID(now int64) (StreamID, error) {
	if ms := uint64(now); ms > s.last.Ms {
		return StreamID{Ms: ms}, nil
	}
	id, ok := s.last.Next()
	if !ok {
		return id, ErrIDsExhausted
	}
	return id, nil
}

// NextIDAt returns the next id with the given milliseconds; ErrIDTooSmall if there is none left.
func (s *Stream) NextIDAt(ms uint64) (StreamID, error) {
	if ms != s.last.Ms {
		return StreamID{Ms: ms}, nil
	}
	id, ok := s.last.Next()
	if !ok || id.Ms != ms {
		return id, ErrIDTooSmall
	}
	return id, nil
}

// Add appends an entry of fields and values in turn; ErrIDTooSmall if its id is not greater than all before.
func (s *Stream) Add(id StreamID, fields [][]byte) error {
	if id.Compare(s.last) <= 0 {
		return ErrIDTooSmall
	}
	size := 0
	for _, p := range fields {
		size += len(p) + binary.MaxVarintLen32
	}
	sub, value := streamKey(streamEntries, id), appendFields(make([]byte, 0, size+binary.MaxVarintLen32), fields)
	if err := s.appendToNode(id, fields, keys.SubBytes(sub, value)); err != nil {
		return err
	}
	if err := s.put(sub, value, absent); err != nil {
		return err
	}
	s.extend(s.top, id, value)
	s.rec.Count++
	s.added++
	s.last, s.top = id, id
	if s.rec.Count == 1 {
		s.first = id
	}
	return nil
}

// Entry returns the entry with an id.
func (s *Stream) Entry(id StreamID) (f Fields, ok bool, err error) {
	value, ok, err := s.entry(id)
	if ok && err == nil {
		f, err = decodeFields(value)
	}
	return f, ok && err == nil, err
}

// entry returns the stored value of an entry.
func (s *Stream) entry(id StreamID) (value []byte, ok bool, err error) {
	if s.rec.Count == 0 || id.Compare(s.first) < 0 || id.Compare(s.top) > 0 {
		return nil, false, nil
	}
	if id.Compare(s.cut) > 0 {
		return s.get(streamKey(streamEntries, id))
	}
	err = s.walk(streamRange(streamEntries, id, id), false, func(_, v []byte) bool {
		value, ok = bytes.Clone(v), true
		return false
	})
	return value, ok, err
}

// Range calls fn for the entries from one id to another, both included, ascending or descending, until it returns false. In fn the
// transaction must not write, and the fields are valid during the call only.
func (s *Stream) Range(from, to StreamID, reverse bool, fn func(id StreamID, f Fields) bool) error {
	var bad error
	err := s.rawRange(from, to, reverse, func(id StreamID, value []byte) bool {
		var f Fields
		if f, bad = decodeFields(value); bad != nil {
			return false
		}
		return fn(id, f)
	})
	if err == nil {
		err = bad
	}
	return err
}

// rawRange is Range with the stored values.
func (s *Stream) rawRange(from, to StreamID, reverse bool, fn func(id StreamID, value []byte) bool) error {
	if s.rec.Count == 0 {
		return nil
	}
	from, to = maxID(from, s.first), minID(to, s.top)
	if from.Compare(to) > 0 {
		return nil
	}
	return s.walkIDs(streamEntries, from, to, reverse, fn)
}

// walkIDs calls fn for the keys of a kind from one id to another, both included.
func (s *Stream) walkIDs(kind byte, from, to StreamID, reverse bool, fn func(id StreamID, value []byte) bool) error {
	var bad error
	err := s.walk(streamRange(kind, from, to), reverse, func(sub, value []byte) bool {
		id, ok := keyID(sub)
		if !ok || len(sub) != 17 {
			bad = errStream
			return false
		}
		return fn(id, value)
	})
	if err == nil {
		err = bad
	}
	return err
}

// Delete deletes the entries with these ids and returns how many there were.
func (s *Stream) Delete(ids []StreamID) (deleted int, err error) {
	firstGone, topGone := false, false
	for _, id := range ids {
		value, ok, err := s.entry(id)
		if err != nil {
			return deleted, err
		}
		if !ok {
			continue
		}
		sub := streamKey(streamEntries, id)
		if err := s.drop(sub, len(value)); err != nil {
			return deleted, err
		}
		if err := s.removeFromNode(id, keys.SubBytes(sub, value)); err != nil {
			return deleted, err
		}
		s.gone(id, id)
		s.rec.Count--
		s.maxDeleted = maxID(s.maxDeleted, id)
		firstGone = firstGone || id == s.first
		topGone = topGone || id == s.top
		deleted++
	}
	return deleted, s.settleEnds(firstGone, topGone)
}

// settleEnds finds the entries that are the first and the top now.
func (s *Stream) settleEnds(firstGone, topGone bool) (err error) {
	if s.rec.Count == 0 {
		s.first, s.top = StreamID{}, StreamID{}
		return nil
	}
	from, to := s.first, s.top
	if firstGone {
		s.first, err = s.edge(from, to, false)
	}
	if topGone && err == nil {
		s.top, err = s.edge(from, to, true)
	}
	return err
}

// edge returns the first entry of a range, or the last; there is one.
func (s *Stream) edge(from, to StreamID, reverse bool) (edge StreamID, err error) {
	found := false
	err = s.walkIDs(streamEntries, from, to, reverse, func(id StreamID, _ []byte) bool {
		edge, found = id, true
		return false
	})
	if err == nil && !found {
		err = errStream
	}
	return edge, err
}
