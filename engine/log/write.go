package log

import (
	"errors"
	"fmt"
	"time"
)

// trouble is why the log takes no records now.
type trouble struct {
	err error
	// passes: there was no room for a new segment. What fits into the
	// active one is still taken.
	passes bool
}

// Err returns nil, or why the log takes no records now: an error that is ErrNoSpace or ErrStalled
// (they pass, see Recover) or ErrFailed (final).
func (l *Log) Err() error {
	if t := l.trouble.Load(); t != nil {
		return t.err
	}
	return nil
}

// Append puts a record into the buffer; its payload is the concatenation of the
// given pieces. It returns the offset after the record. Room on the disk is reserved first.
// The record is written by the next Flush. The arguments are not kept.
//
// On error nothing was appended: ErrNoSpace, ErrStalled, ErrFailed, ErrTooLarge, ErrClosed, ErrReadOnly.
func (l *Log) Append(k Kind, slots []uint16, payload ...[]byte) (end uint64, err error) {
	size, ok := recordSize(slots, payload)
	if !ok {
		return 0, fmt.Errorf("%w: %d bytes, %d slots", ErrTooLarge, size, len(slots))
	}
	wall := l.o.Now().UnixMilli()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.makeRoom(size); err != nil {
		return 0, err
	}
	h := recordHeader{
		offset: l.end.Load(),
		synced: l.synced.Load(),
		wall:   wall,
		link:   l.link,
		kind:   k,
	}
	l.buf = appendRecord(l.buf, &h, slots, payload, size)
	l.link = h.crc
	l.end.Store(h.end())
	l.counters.Records++
	return h.end(), nil
}

// makeRoom returns when a record of size n may be put into buf: buf has room, and
// the active segment has it on the disk. It may release mu meanwhile.
func (l *Log) makeRoom(n int64) error {
	for {
		if err := l.refusal(); err != nil {
			return err
		}
		if len(l.buf) > 0 && int64(len(l.buf))+n > int64(l.o.BufferSize) {
			if err := l.flushTo(l.end.Load()); err != nil {
				return err
			}
			continue
		}
		active := l.active()
		used := int64(l.end.Load() - active.start)
		if used+n <= active.room {
			if l.next == nil && used > active.room/2 {
				wake(l.wakeKeeper)
			}
			return nil
		}
		if err := l.extend(used, n); err != nil {
			return err
		}
	}
}

// refusal is why no record is taken at all.
func (l *Log) refusal() error {
	if l.closed {
		return ErrClosed
	}
	if t := l.trouble.Load(); t != nil && !t.passes {
		return t.err
	}
	return nil
}

// extend gets room for n bytes behind the used ones: in the active segment if
// it can grow, or in a new one. It may release mu; the caller looks again.
func (l *Log) extend(used, n int64) error {
	if t := l.trouble.Load(); t != nil {
		return t.err // the keeper clears it when there is room
	}
	active := l.active()
	switch {
	case used == 0 || used+n <= l.o.SegmentSize:
		if err := active.reserve(max(used+n, l.o.SegmentSize)); err != nil {
			l.setNoRoom(err)
			return err
		}
		return nil
	case l.preparing:
		l.cond.Wait()
		return nil
	case l.written.Load() < l.end.Load():
		return l.flushTo(l.end.Load()) // buf never holds records of two segments
	case len(l.segs) > 1 && !l.segs[len(l.segs)-2].sealed:
		l.mu.Unlock()
		defer l.mu.Lock()
		return l.Sync() // at most two segments are not wholly synced
	}
	err := l.beginSegment(n)
	if errors.Is(err, ErrNoSpace) {
		l.setNoRoom(err)
	}
	return err
}

// setNoRoom notes that the disk has no room for more. Caller holds mu, or nobody else knows l yet.
func (l *Log) setNoRoom(err error) {
	if l.trouble.Load() == nil {
		l.trouble.Store(&trouble{err: err, passes: true})
		l.o.Logger.Warn("log has no room to grow", "dir", l.dir, "err", err)
	}
}

// beginSegment makes the next segment the active one; n is the size of the
// record that it needs room for. All before is written. Caller holds mu
// throughout: a record appended meanwhile would end up in the wrong segment.
func (l *Log) beginSegment(n int64) error {
	next, err := l.takeNext(n)
	if err != nil {
		return err
	}
	h := segmentHeader{
		start:    l.end.Load(),
		previous: noSegment,
		synced:   l.synced.Load(),
		wall:     l.o.Now().UnixMilli(),
		link:     l.link,
		term:     l.term(),
		foreign:  l.foreign,
	}
	if i := len(l.segs) - 1; i >= 0 && l.segs[i].start < h.start {
		h.previous = l.segs[i].start
	} else if i > 0 {
		h.previous = l.segs[i-1].start // the last one is empty and is replaced
	}
	if _, err := next.file.WriteAt(h.encode(), 0); err != nil {
		return fileError(err)
	}
	if err := l.fs.Rename(l.fs.PathJoin(l.dir, nextName), l.segmentPath(h.start)); err != nil {
		return fileError(err)
	}
	next.start = h.start
	l.next = nil
	l.segs = append(l.segs, next)
	wake(l.wakeSyncer) // the one before is complete
	return nil
}

// takeNext returns the segment made ahead, or makes it now, with room for at least n bytes. It
// stays l.next. Caller holds mu, and nobody is preparing.
func (l *Log) takeNext(n int64) (*segment, error) {
	n = max(n, l.o.SegmentSize)
	if l.next == nil {
		next, err := createSegmentFile(l.fs, l.fs.PathJoin(l.dir, nextName), n)
		if err != nil {
			return nil, err
		}
		l.next = next
	}
	if err := l.next.reserve(n); err != nil {
		return nil, err
	}
	return l.next, nil
}

// Flush hands everything appended to the operating system, in one write, and
// returns Stable. When another goroutine is writing, it waits and then
// writes for all that came meanwhile. On ErrStalled the bytes are kept (see Recover).
func (l *Log) Flush() (stable uint64, err error) {
	if end := l.end.Load(); l.written.Load() < end {
		l.mu.Lock()
		err = l.flushTo(end)
		l.mu.Unlock()
	}
	return l.Stable(), err
}

// flushTo returns when everything before target is written. Caller holds mu,
// which is released while writing and waiting.
func (l *Log) flushTo(target uint64) error {
	for l.written.Load() < target {
		if t := l.trouble.Load(); t != nil && !t.passes {
			return t.err
		}
		if l.writing {
			l.cond.Wait()
			continue
		}
		l.writeOut()
	}
	return nil
}

// writeOut writes what is kept, or else the buffer. Caller holds mu and nobody is writing.
func (l *Log) writeOut() {
	out := l.kept
	if out == nil {
		out, l.buf, l.spare = l.buf, l.spare[:0], nil
	}
	active, at := l.active(), l.written.Load()
	l.writing = true
	l.mu.Unlock()
	_, err := active.file.WriteAt(out, active.position(at))
	l.mu.Lock()
	l.writing = false
	l.counters.Writes++
	if err != nil {
		l.stall(out, err)
	} else {
		l.kept = nil
		if cap(out) <= 2*l.o.BufferSize {
			l.spare = out
		}
		l.written.Store(at + uint64(len(out)))
		if l.Policy() != Always {
			l.waiters.notify(l.wakeCaller)
		}
		l.followers.notify(l.wakeCaller)
	}
	l.cond.Broadcast()
}

// stall keeps the bytes of a write that failed; they are all written again, to the same place.
func (l *Log) stall(out []byte, err error) {
	l.kept = out
	if t := l.trouble.Load(); t != nil && !t.passes {
		return // an earlier attempt has said so, or the log has failed
	}
	err = fmt.Errorf("%w: %w", ErrStalled, fileError(err))
	l.trouble.Store(&trouble{err: err})
	l.o.Logger.Error("log write failed; it is finished when the disk takes it", "dir", l.dir, "err", err)
}

// Recover tries now to finish a write that has failed and to get room that was
// missing; the log also tries by itself, once each SyncInterval. It returns Err.
func (l *Log) Recover() error {
	if l.o.ReadOnly {
		return ErrReadOnly
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.writing || l.preparing {
		l.cond.Wait()
	}
	t := l.trouble.Load()
	if l.shut {
		return ErrClosed
	}
	if t == nil || errors.Is(t.err, ErrFailed) {
		return l.Err()
	}
	if l.kept != nil {
		if l.writeOut(); l.kept != nil {
			return l.Err()
		}
	}
	if err := l.regainRoom(); err != nil {
		l.replaceTrouble(t, &trouble{err: err, passes: true})
		return l.Err()
	}
	if l.replaceTrouble(t, nil) {
		l.o.Logger.Info("log takes records again", "dir", l.dir)
	}
	return l.Err()
}

// replaceTrouble changes what is wrong, unless something else has become wrong meanwhile. Caller holds mu.
func (l *Log) replaceTrouble(old, now *trouble) bool {
	defer l.cond.Broadcast()
	return l.trouble.CompareAndSwap(old, now)
}

// regainRoom reserves what the next records need. Caller holds mu.
func (l *Log) regainRoom() error {
	active := l.active()
	if err := active.reserve(l.o.SegmentSize); err != nil {
		return err
	}
	if l.next == nil && !l.preparing && int64(l.end.Load()-active.start) > active.room/2 {
		_, err := l.takeNext(0)
		return err
	}
	return nil
}

// prepareNext makes the next segment ahead, without mu, when the active one is more than half full.
func (l *Log) prepareNext() {
	l.mu.Lock()
	defer l.mu.Unlock()
	active := l.active()
	if l.next != nil || l.preparing || int64(l.end.Load()-active.start) <= active.room/2 || time.Now().Before(l.nextTry) {
		return
	}
	l.preparing = true
	l.mu.Unlock()
	next, err := l.createNext()
	l.mu.Lock()
	l.preparing = false
	if err == nil {
		l.next = next
	} else {
		l.nextTry = time.Now().Add(l.o.SyncInterval)
		l.o.Logger.Warn("log can't make the next segment ahead", "dir", l.dir, "err", err)
	}
	l.cond.Broadcast()
}

// createNext makes next.tmp, ready for quick syncs if there will be many of them.
func (l *Log) createNext() (*segment, error) {
	name := l.fs.PathJoin(l.dir, nextName)
	next, err := createSegmentFile(l.fs, name, l.o.SegmentSize)
	if err != nil || !l.prewrites() {
		return next, err
	}
	if err := next.prewrite(next.start, l.quit); err != nil {
		return nil, errors.Join(err, fileError(next.file.Close()), fileError(l.fs.Remove(name)))
	}
	return next, nil
}
