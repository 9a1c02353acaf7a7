package log

import (
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Cursor reads records in order and follows the log as it grows. It is used by
// one goroutine at a time.
type Cursor struct {
	l   *Log
	off uint64 // of the next record
	in  *reader
	end uint64 // in reads up to here
	// link is the checksum of the last record; known only when linked.
	link   uint32
	linked bool
}

// Read returns a cursor that begins at the offset, which must be the start of a
// record, or End. Errors: ErrDropped, ErrBeyondEnd, ErrNotBoundary, ErrDamaged.
func (l *Log) Read(from uint64) (*Cursor, error) {
	if from > l.Written() {
		if _, err := l.Flush(); err != nil {
			return nil, err
		}
	}
	switch {
	case from < l.Start():
		return nil, fmt.Errorf("%w: %d, it starts at %d", ErrDropped, from, l.Start())
	case from > l.Written():
		return nil, fmt.Errorf("%w: %d, it ends at %d", ErrBeyondEnd, from, l.Written())
	}
	c := &Cursor{l: l, off: from}
	if err := c.checkBoundary(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// checkBoundary makes sure that a record begins or may begin at c.off.
func (c *Cursor) checkBoundary() error {
	ok, err := c.ready()
	if !ok || err != nil {
		return err
	}
	_, _, err = c.in.at(c.in.pos)
	if !isNoRecord(err) {
		return err
	}
	// Either the offset is wrong or the bytes are. Only the records before it can tell.
	from := c.off
	walk := newReader(c.in.file, c.in.seg.start, c.in.seg.start, c.in.limit)
	for at := c.in.seg.start; at < from; at = walk.seg.offset(walk.pos) {
		if _, _, err := walk.next(); err != nil {
			return c.damaged(at, err)
		}
	}
	if walk.seg.offset(walk.pos) != from {
		return fmt.Errorf("%w: %d", ErrNotBoundary, from)
	}
	return c.damaged(from, err)
}

// Next returns the next record that has reached the operating system, or io.EOF when there is none; it
// may be called again later. Slots and Payload are valid until the next call.
func (c *Cursor) Next() (Record, error) {
	ok, err := c.ready()
	if err != nil {
		return Record{}, err
	}
	if !ok {
		return Record{}, io.EOF
	}
	rec, h, err := c.in.next()
	if err == nil && c.linked && h.link != c.link {
		err = errLink
	}
	if err != nil {
		return Record{}, c.damaged(c.off, err)
	}
	c.off, c.link, c.linked = rec.End, h.crc, true
	return rec, nil
}

// ready opens the segment that holds c.off. It returns false at the end of the log.
func (c *Cursor) ready() (bool, error) {
	if c.in != nil && c.off < c.end {
		return true, nil
	}
	start, end, err := c.l.locate(c.off)
	if err != nil || c.off == end {
		return false, err
	}
	if c.in == nil || c.in.seg.start != start {
		if err := c.Close(); err != nil {
			return false, err
		}
		file, err := c.l.fs.Open(c.l.segmentPath(start), vfs.SequentialReadsOption)
		if err != nil && c.off < c.l.Start() { // meanwhile
			return false, fmt.Errorf("%w: %d, it starts at %d", ErrDropped, c.off, c.l.Start())
		}
		if err != nil {
			return false, fmt.Errorf("log: %w", err)
		}
		c.in = newReader(file, start, c.off, 0)
	}
	c.end = end
	c.in.limit = c.in.seg.position(end)
	return true, nil
}

// locate returns the start of the segment in which the record at off lies or will lie, and
// how far that segment can be read.
func (l *Log) locate(off uint64) (start, end uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	end = l.written.Load()
	for i := len(l.segs) - 1; i >= 0; i-- {
		if start = l.segs[i].start; start <= off {
			return start, end, nil
		}
		end = start
	}
	if len(l.segs) == 0 {
		return 0, 0, nil
	}
	return 0, 0, fmt.Errorf("%w: %d, it starts at %d", ErrDropped, off, l.Start())
}

// damaged explains why the record at off can't be read.
func (c *Cursor) damaged(off uint64, err error) error {
	if err == io.EOF {
		err = errTruncated
	}
	name := c.l.segmentPath(c.in.seg.start)
	if !isNoRecord(err) {
		return fmt.Errorf("log: reading %s: %w", name, err)
	}
	return &DamagedError{
		File:   name,
		Offset: off,
		Pos:    c.in.seg.position(off),
		Synced: c.l.Synced(),
		Reason: err.Error(),
		kind:   ErrDamaged,
	}
}

// Offset is where the next record begins.
func (c *Cursor) Offset() uint64 { return c.off }

// Close releases the cursor's file.
func (c *Cursor) Close() error {
	if c.in == nil {
		return nil
	}
	err := c.in.file.Close()
	c.in = nil
	return err
}
