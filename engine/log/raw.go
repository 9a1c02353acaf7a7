package log

import (
	"fmt"
	"io"
	"slices"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// RawReader reads the log's bytes as they are, without looking at records: it verifies
// nothing, and its chunks end anywhere. It is used by one goroutine at a time.
type RawReader struct {
	l          *Log
	off        uint64
	file       vfs.File
	start, end uint64 // of the segment in file, as far as it was known
}

// ReadRaw returns a reader that begins at the offset. Errors: ErrDropped, ErrBeyondEnd.
func (l *Log) ReadRaw(from uint64) (*RawReader, error) {
	switch {
	case from < l.Start():
		return nil, fmt.Errorf("%w: %d, it starts at %d", ErrDropped, from, l.Start())
	case from > l.Written():
		return nil, fmt.Errorf("%w: %d, it ends at %d", ErrBeyondEnd, from, l.Written())
	}
	return &RawReader{l: l, off: from}, nil
}

// Offset is where the next byte lies.
func (r *RawReader) Offset() uint64 { return r.off }

// Read fills p with what has reached the operating system. It returns io.EOF when there is nothing more, and
// may be called again later.
func (r *RawReader) Read(p []byte) (n int, err error) {
	for n < len(p) {
		ok, err := r.ready()
		if err != nil {
			return n, err
		}
		if !ok {
			break
		}
		want := min(uint64(len(p)-n), r.end-r.off)
		m, err := r.file.ReadAt(p[n:n+int(want)], segmentHeaderSize+int64(r.off-r.start))
		n += m
		r.off += uint64(m)
		if uint64(m) < want {
			return n, fmt.Errorf("log: reading %s: %w", r.l.segmentPath(r.start), err)
		}
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// ready opens the segment that holds off. It returns false at the end of the log.
func (r *RawReader) ready() (bool, error) {
	if r.file != nil && r.off < r.end {
		return true, nil
	}
	start, end, err := r.l.locate(r.off)
	if err != nil || r.off == end {
		return false, err
	}
	if r.file == nil || r.start != start {
		if err := r.Close(); err != nil {
			return false, err
		}
		if r.file, err = r.l.fs.Open(r.l.segmentPath(start), vfs.SequentialReadsOption); err != nil {
			return false, fileError(err)
		}
	}
	r.start, r.end = start, end
	return true, nil
}

// Close releases the reader's file.
func (r *RawReader) Close() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	return err
}

// OnWritten calls fn once, from a goroutine of the log, when Written has reached off (fn(nil)), or the log has failed
// for good or was closed before (fn(err)). fn must not block.
func (l *Log) OnWritten(off uint64, fn func(error)) {
	if !l.followers.add(off, fn) {
		go fn(ErrClosed)
		return
	}
	if l.Written() >= off || l.Err() != nil {
		wake(l.wakeCaller)
	}
}

// Hold keeps Drop from deleting what lies at or behind an offset.
type Hold struct {
	l   *Log
	off atomic.Uint64
}

// Hold returns a hold at the offset, or ErrDropped when that is gone already.
func (l *Log) Hold(from uint64) (*Hold, error) {
	h := &Hold{l: l}
	h.off.Store(from)
	l.mu.Lock()
	defer l.mu.Unlock()
	if start := l.Start(); from < start {
		return nil, fmt.Errorf("%w: %d, it starts at %d", ErrDropped, from, start)
	}
	l.holds = append(l.holds, h)
	return h, nil
}

// Move moves the hold forward.
func (h *Hold) Move(to uint64) {
	for {
		was := h.off.Load()
		if to <= was || h.off.CompareAndSwap(was, to) {
			return
		}
	}
}

// Offset is what the hold keeps from being dropped.
func (h *Hold) Offset() uint64 { return h.off.Load() }

// Release ends the hold. Idempotent.
func (h *Hold) Release() {
	h.l.mu.Lock()
	defer h.l.mu.Unlock()
	h.l.holds = slices.DeleteFunc(h.l.holds, func(o *Hold) bool { return o == h })
}

// held is the offset from which on something is held. Caller holds mu.
func (l *Log) held(before uint64) uint64 {
	for _, h := range l.holds {
		before = min(before, h.off.Load())
	}
	return before
}

// CommonPoint returns the offset up to which two logs, given by their histories of terms and their ends, are the same:
// a term has one writer, so two logs that know a term are the same up to where the first of them leaves it. Two logs without a
// common term share nothing but offset 0.
func CommonPoint(a []Term, aEnd uint64, b []Term, bEnd uint64) uint64 {
	for i := len(a) - 1; i >= 0; i-- {
		j := slices.Index(b, a[i])
		if j < 0 {
			continue
		}
		return min(termEnd(a, i, aEnd), termEnd(b, j, bEnd))
	}
	return 0
}

func termEnd(terms []Term, i int, end uint64) uint64 {
	if i+1 < len(terms) {
		return min(terms[i+1].Start, end)
	}
	return end
}
