package rdb

import (
	"encoding/binary"
	"slices"
)

// The forms of a stream, 15 (since Redis 5), 19 (7.0) and 21 (7.2):
//
//	count, [ID(16, big endian) as a string, a listpack of entries]
//	length, last ID                                          an ID that is not said to be a string is two lengths: ms, seq
//	first ID, greatest deleted ID, entries ever added        since 19
//	groups: count, [name, last delivered ID, entries read (since 19; all bits set: unknown),
//	    pending: count, [ID(16), delivered at(8, unix ms in little endian), deliveries],
//	    consumers: count, [name, seen at(8), active at(8; since 21; all bits set: never),
//	        pending: count, [ID(16)]]]
//
// The listpack of the entries from an ID on is
//
//	count, deleted, n, n fields, 0, and for each entry
//	flags, ms and seq on top of the ID's, n, n times [field, value], how many elements the entry has had up to here
//
// where a flag says that the fields are those at the start, and then n and they are left out.
const (
	flagDeleted    = 1
	flagSameFields = 2

	streamIDLen = 16
)

// streamID is the ID of an entry.
type streamID struct{ ms, seq uint64 }

func (a streamID) less(b streamID) bool { return a.ms < b.ms || a.ms == b.ms && a.seq < b.seq }

func (a streamID) compare(b streamID) int {
	switch {
	case a.less(b):
		return -1
	case a == b:
		return 0
	}
	return 1
}

func (a streamID) append(dst []byte) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, a.ms), a.seq)
}

func readStreamID(p []byte) streamID {
	return streamID{binary.BigEndian.Uint64(p), binary.BigEndian.Uint64(p[8:])}
}

// streamState is what a stream knows besides entries and groups.
type streamState struct {
	length                  uint64
	last, first, maxDeleted streamID
	added                   uint64
}

// unknownRead says that nobody knows how many entries a group has read.
const unknownRead = -1

// delivery is an entry that a consumer was given and has not acknowledged.
type delivery struct {
	id    streamID
	at    int64 // unix ms
	count uint64

	taken bool // by a consumer
}

// streamVisitor is told what a stream consists of, in this order; slices are valid during the call only.
type streamVisitor struct {
	entry    func(id streamID, fields [][]byte) error // fields and values by turns
	state    func(s streamState) error
	group    func(name []byte, last streamID, read int64) error
	consumer func(name []byte, seen, active int64) error // of the last group; unix ms
	pending  func(d delivery) error                      // of the last consumer
}

// streamReader walks a stream.
type streamReader struct {
	reader
	kind  byte
	visit *streamVisitor

	entries     uint64 // that are not deleted
	first, last streamID
	shared      [][]byte // the fields at the start of the listpack
	fields      [][]byte // and values of an entry, by turns
	digits      digits
}

// eachOfStream tells visit what the stream consists of. It is as strict as Redis with sanitize-dump-payload, and wants besides that the
// entries are in order and the length is theirs, as they are in what Redis writes.
func (v *Value) eachOfStream(visit *streamVisitor) error {
	r := streamReader{reader: v.reader(), kind: v.kind, visit: visit}
	if err := r.times(r.node); err != nil {
		return err
	}
	state, err := r.state()
	if err != nil {
		return err
	}
	if err := visit.state(state); err != nil {
		return err
	}
	names := make(map[string]bool)
	return r.times(func() error { return r.group(&state, names) })
}

// times reads a count and calls fn so many times.
func (r *reader) times(fn func() error) error {
	n, err := r.count()
	for ; n > 0 && err == nil; n-- {
		err = fn()
	}
	return err
}

// node reads a listpack of entries.
func (r *streamReader) node() error {
	key, err := r.string()
	if err != nil || len(key) != streamIDLen {
		return ErrFormat
	}
	p, err := r.string()
	if err != nil {
		return err
	}
	it, err := openListpack(p)
	if err != nil {
		return err
	}
	var head [3]int64 // live entries, deleted ones, fields
	if err := ints(it, head[:]); err != nil {
		return err
	}
	if r.shared, err = r.texts(it, head[2], r.shared[:0]); err != nil {
		return err
	}
	if end, err := mustInt(it); err != nil || end != 0 {
		return ErrFormat
	}
	var seen [2]int64
	base := readStreamID(key)
	for len(it.rest) > 0 {
		deleted, err := r.entry(it, base)
		if err != nil {
			return err
		}
		if deleted {
			seen[1]++
		} else {
			seen[0]++
		}
	}
	if _, _, err := it.next(); err != nil { // the count of elements is right, too
		return err
	}
	return formatUnless(seen[0] == head[0] && seen[1] == head[1] && seen[0]+seen[1] > 0)
}

// ints reads integers.
func ints(it elements, dst []int64) (err error) {
	for i := range dst {
		if dst[i], err = mustInt(it); err != nil {
			return err
		}
	}
	return nil
}

// texts appends so many elements as strings.
func (r *streamReader) texts(it elements, n int64, dst [][]byte) ([][]byte, error) {
	if n < 0 {
		return nil, ErrFormat
	}
	for ; n > 0; n-- {
		e, err := must(it)
		if err != nil {
			return nil, err
		}
		dst = append(dst, r.digits.text(&e))
	}
	return dst, nil
}

func (r *streamReader) entry(it *listpack, base streamID) (deleted bool, err error) {
	var head [3]int64 // flags, ms, seq
	if err := ints(it, head[:]); err != nil {
		return false, err
	}
	elements := len(head)
	r.fields = r.fields[:0]
	if head[0]&flagSameFields != 0 {
		for _, name := range r.shared {
			value, err := must(it)
			if err != nil {
				return false, err
			}
			r.fields = append(r.fields, name, r.digits.text(&value))
		}
		elements += len(r.shared)
	} else {
		n, err := mustInt(it)
		if err != nil || n < 0 || n > int64(len(it.rest)) {
			return false, ErrFormat
		}
		if r.fields, err = r.texts(it, 2*n, r.fields); err != nil {
			return false, err
		}
		elements += 1 + len(r.fields)
	}
	if n, err := mustInt(it); err != nil || n != int64(elements) {
		return false, ErrFormat
	}
	if head[0]&flagDeleted != 0 {
		return true, nil
	}
	id := streamID{base.ms + uint64(head[1]), base.seq + uint64(head[2])}
	if len(r.fields) == 0 || r.entries > 0 && id.compare(r.last) <= 0 {
		return false, ErrFormat
	}
	if r.entries == 0 {
		r.first = id
	}
	r.last = id
	r.entries++
	return false, r.visit.entry(id, r.fields)
}

func (r *reader) twoNumbers() (id streamID, err error) {
	if id.ms, err = r.number(); err == nil {
		id.seq, err = r.number()
	}
	return id, err
}

func (r *streamReader) state() (s streamState, err error) {
	if s.length, err = r.number(); err != nil {
		return s, err
	}
	if s.last, err = r.twoNumbers(); err != nil {
		return s, err
	}
	if s.length != r.entries || r.entries > 0 && s.last.compare(r.last) < 0 {
		return s, ErrFormat
	}
	if r.kind == kindStream {
		s.first, s.added = r.first, s.length
		return s, nil
	}
	if s.first, err = r.twoNumbers(); err != nil {
		return s, err
	}
	if s.maxDeleted, err = r.twoNumbers(); err != nil {
		return s, err
	}
	s.first = r.first // what is stored there follows from the entries
	s.added, err = r.number()
	return s, err
}

// read estimates how many of the entries ever added a group that was delivered those up to last has read (Redis: streamEstimateDistanceFromFirstEverEntry).
func (s *streamState) read(last streamID) int64 {
	switch c := last.compare(s.last); {
	case s.added == 0:
		return 0
	case s.length == 0 && c < 1, c == 0:
		return int64(s.added)
	case c > 0:
		return unknownRead
	}
	switch c := last.compare(s.first); {
	case s.maxDeleted != streamID{} && s.maxDeleted.compare(s.first) >= 0, c > 0:
		return unknownRead
	case c < 0:
		return int64(s.added - s.length)
	}
	return int64(s.added-s.length) + 1
}

func (r *streamReader) group(s *streamState, names map[string]bool) error {
	name, err := r.string()
	if err != nil || names[string(name)] {
		return ErrFormat
	}
	names[string(name)] = true
	last, err := r.twoNumbers()
	if err != nil {
		return err
	}
	read := s.read(last)
	if r.kind != kindStream {
		n, err := r.number()
		if err != nil {
			return err
		}
		read = max(int64(n), unknownRead)
	}
	if err := r.visit.group(name, last, read); err != nil {
		return err
	}
	var pending deliveries
	if err := r.times(func() error { return r.delivery(&pending) }); err != nil {
		return err
	}
	if !pending.sort() {
		return ErrFormat
	}
	consumers := make(map[string]bool)
	if err := r.times(func() error { return r.consumer(pending, consumers) }); err != nil {
		return err
	}
	return formatUnless(!slices.ContainsFunc(pending, func(d delivery) bool { return !d.taken }))
}

// deliveries are those of a group, by ID.
type deliveries []delivery

// sort reports whether no two are the same.
func (d deliveries) sort() bool {
	byID := func(a, b delivery) int { return a.id.compare(b.id) }
	if !slices.IsSortedFunc(d, byID) {
		slices.SortFunc(d, byID)
	}
	for i := range d[min(len(d), 1):] {
		if d[i].id == d[i+1].id {
			return false
		}
	}
	return true
}

func (r *reader) rawID() (streamID, error) {
	p, err := r.take(streamIDLen)
	if err != nil {
		return streamID{}, err
	}
	return readStreamID(p), nil
}

// millis reads a time in unix milliseconds.
func (r *reader) millis() (int64, error) {
	p, err := r.take(8)
	if err != nil {
		return 0, err
	}
	return int64(binary.LittleEndian.Uint64(p)), nil
}

func (r *streamReader) delivery(to *deliveries) (err error) {
	var d delivery
	if d.id, err = r.rawID(); err != nil {
		return err
	}
	if d.at, err = r.millis(); err != nil {
		return err
	}
	if d.count, err = r.number(); err != nil {
		return err
	}
	*to = append(*to, d)
	return nil
}

func (r *streamReader) consumer(of deliveries, names map[string]bool) error {
	name, err := r.string()
	if err != nil || names[string(name)] {
		return ErrFormat
	}
	names[string(name)] = true
	seen, err := r.millis()
	if err != nil {
		return err
	}
	active := seen
	if r.kind == kindStream3 {
		if active, err = r.millis(); err != nil {
			return err
		}
	}
	if err := r.visit.consumer(name, seen, active); err != nil {
		return err
	}
	return r.times(func() error { return r.owned(of) })
}

// owned reads the ID of an entry that a consumer was given: each belongs to one.
func (r *streamReader) owned(of deliveries) error {
	id, err := r.rawID()
	if err != nil {
		return err
	}
	i, found := slices.BinarySearchFunc(of, id, func(d delivery, id streamID) int { return d.id.compare(id) })
	if !found || of[i].taken {
		return ErrFormat
	}
	of[i].taken = true
	return r.visit.pending(of[i])
}
