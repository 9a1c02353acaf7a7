package log

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// ErrNotRecord: bytes from another node are not the record that belongs at the end of this log: damaged on
// the way, or of another history. Nothing was appended.
var ErrNotRecord = errors.New("log: not the next record of this log")

// Verbatim is a record of another node's log, as it came: verified, and not yet appended to this one.
type Verbatim struct {
	Record
	raw       []byte
	link, crc uint32
}

// DecodeRecord decodes and verifies the record at the start of b, which must be the one at the offset. size is its
// length, known as soon as its header is there; ok is false while b holds only a part of it. The result's Slots
// are appended to slots, its other slices are parts of b. The error is ErrNotRecord.
func DecodeRecord(b []byte, offset uint64, slots []uint16) (v Verbatim, size int, ok bool, err error) {
	if len(b) < recordHeaderSize {
		return v, 0, false, nil
	}
	h, err := decodeRecordHeader(b, offset, MaxRecordSize)
	if err != nil {
		return v, 0, false, fmt.Errorf("%w: offset %d: %w", ErrNotRecord, offset, err)
	}
	size = int(h.length)
	if len(b) < size {
		return v, size, false, nil
	}
	raw := b[:size:size]
	if !h.checksumOK(raw) {
		return v, size, false, fmt.Errorf("%w: offset %d: %w", ErrNotRecord, offset, errChecksum)
	}
	return Verbatim{Record: h.record(raw, slots), raw: raw, link: h.link, crc: h.crc}, size, true, nil
}

// AppendVerbatim is Append for a record of another node's log, byte for byte. It must be the one that
// follows the last record here. A record that begins a term adds it to the history.
func (l *Log) AppendVerbatim(v *Verbatim) (end uint64, err error) {
	size := int64(len(v.raw))
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.makeRoom(size); err != nil {
		return 0, err
	}
	switch {
	case v.Start != l.end.Load():
		return 0, fmt.Errorf("%w: it has offset %d, this log ends at %d", ErrNotRecord, v.Start, l.end.Load())
	case v.link != l.link:
		return 0, fmt.Errorf("%w: offset %d: %w", ErrNotRecord, v.Start, errLink)
	}
	l.buf = append(l.buf, v.raw...)
	l.link = v.crc
	l.end.Store(v.End)
	l.counters.Records++
	if v.Kind == KindTerm && validID(string(v.Payload)) {
		l.terms = mergeTerms(l.terms, Term{ID: string(v.Payload), Start: v.Start})
		l.unsaved = true
	}
	return v.End, nil
}

// AppendRaw appends the whole records of another log that raw begins with, at the offset where this one ends, and returns what is left of it, moved to raw's
// beginning: a part of a record, perhaps.
func (l *Log) AppendRaw(raw []byte) (left []byte, err error) {
	rest := raw
	for {
		v, size, ok, err := DecodeRecord(rest, l.End(), nil)
		if err != nil {
			return nil, err
		}
		if !ok {
			return append(raw[:0], rest...), nil
		}
		if _, err := l.AppendVerbatim(&v); err != nil {
			return nil, err
		}
		rest = rest[size:]
	}
}

// Tail returns the offset behind the last record, and that record's checksum, which names the whole history before.
func (l *Log) Tail() (end uint64, link uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end.Load(), l.link
}

// LinkAt returns the checksum of the record that ends at the offset. Errors: ErrDropped, ErrBeyondEnd,
// ErrNotBoundary.
func (l *Log) LinkAt(off uint64) (uint32, error) {
	if end, link := l.Tail(); off == end {
		return link, nil
	} else if off > end {
		return 0, fmt.Errorf("%w: %d, it ends at %d", ErrBeyondEnd, off, end)
	}
	if off >= l.Written() {
		if _, err := l.Flush(); err != nil {
			return 0, err
		}
	}
	r, err := l.ReadRaw(off)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	b := make([]byte, recordHeaderSize)
	if n, err := r.Read(b); err != nil {
		return 0, err
	} else if n < len(b) {
		return 0, fmt.Errorf("%w: %d", ErrNotBoundary, off)
	}
	h, err := decodeRecordHeader(b, off, MaxRecordSize)
	if err != nil {
		return 0, fmt.Errorf("%w: %d: %w", ErrNotBoundary, off, err)
	}
	return h.link, nil
}

// Start is where a log that continues another node's begins.
type Start struct {
	Offset uint64
	Link   uint32 // checksum of the record that ends at Offset, 0 at offset 0
	Terms  []Term // the history before Offset
}

// Create makes a log in dir, which has none, that begins at the given place and is continued with AppendVerbatim.
func Create(dir string, at Start, o Options) (*Log, error) {
	o.setDefaults()
	o.Foreign = true
	if err := createDir(o.FS, dir); err != nil {
		return nil, fileError(err)
	}
	r := &recovery{fs: o.FS, dir: dir}
	if err := r.scan(); err != nil {
		return nil, err
	}
	if len(r.segs) > 0 {
		return nil, fmt.Errorf("log: %s holds a log already", dir)
	}
	if err := writeFirstSegment(dir, at, &o); err != nil {
		return nil, err
	}
	return Open(dir, o)
}

// writeFirstSegment writes an empty segment and the history. The segment is the last to get its name.
func writeFirstSegment(dir string, at Start, o *Options) error {
	terms := slices.Clone(at.Terms)
	terms = slices.DeleteFunc(terms, func(t Term) bool { return t.Start >= at.Offset || !validID(t.ID) })
	h := segmentHeader{
		start:    at.Offset,
		previous: noSegment,
		synced:   at.Offset,
		wall:     o.Now().UnixMilli(),
		link:     at.Link,
		foreign:  true,
	}
	if n := len(terms); n > 0 {
		h.term = terms[n-1]
	}
	tmp := o.FS.PathJoin(dir, nextName)
	s, err := createSegmentFile(o.FS, tmp, o.SegmentSize)
	if err != nil {
		return err
	}
	_, err = s.file.WriteAt(h.encode(), 0)
	if err == nil {
		err = s.file.Sync()
	}
	if err = errors.Join(err, s.file.Close()); err != nil {
		return fileError(err)
	}
	if err := o.FS.Rename(tmp, o.FS.PathJoin(dir, segmentName(at.Offset))); err != nil {
		return fileError(err)
	}
	return saveState(o.FS, dir, state{synced: at.Offset, newest: noSegment, terms: terms})
}

// SetForeign says whose records are appended from now on: another node's (AppendVerbatim) or this node's own. What a foreign
// record says was synced, was so elsewhere, so a new segment begins that notes it: see segmentHeader.foreign.
func (l *Log) SetForeign(on bool) error {
	for {
		if err := l.Sync(); err != nil {
			return err
		}
		if done, err := l.trySetForeign(on); done || err != nil {
			return err
		}
	}
}

// Foreign says whose records are appended: see SetForeign.
func (l *Log) Foreign() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.foreign
}

// trySetForeign reports false when something was appended since the last sync.
func (l *Log) trySetForeign(on bool) (bool, error) {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.writing || l.preparing {
		l.cond.Wait()
	}
	switch err := l.refusal(); {
	case l.foreign == on:
		return true, nil
	case err != nil:
		return false, err
	case l.synced.Load() != l.end.Load() || len(l.unsealed()) > 1:
		return false, nil
	}
	l.foreign = on
	old := l.active()
	if err := l.beginSegment(0); err != nil {
		l.foreign = !on
		return false, err
	}
	l.seal(old)
	if err := l.syncSegments([]*segment{l.active()}); err != nil {
		return false, l.fail(err)
	}
	l.active().named = true
	return true, nil
}

// seal ends a segment that is wholly synced. If it is empty, the new one has taken its place and name.
func (l *Log) seal(old *segment) {
	if old.start == l.active().start {
		l.segs = slices.DeleteFunc(l.segs, func(s *segment) bool { return s == old })
	}
	old.sealed = true
	_ = old.file.Close() // synced: nothing of it can be lost any more
	old.file = nil
}

// foreignFlag is the bit of the segment header's flags.
const foreignFlag = 1

func (h *segmentHeader) flags() uint32 {
	if h.foreign {
		return foreignFlag
	}
	return 0
}

func decodeFlags(b []byte) (foreign bool) { return binary.LittleEndian.Uint32(b)&foreignFlag != 0 }
