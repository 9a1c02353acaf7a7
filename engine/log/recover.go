package log

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// found is a segment file as recovery meets it.
type found struct {
	start  uint64
	name   string // path
	size   int64
	header segmentHeader
	bad    error // why header is not valid
}

// recovery finds the end of a log. It only reads; repair does what it found to be needed.
type recovery struct {
	fs       vfs.FS
	dir      string
	readOnly bool

	state state
	segs  []found
	// leftovers are temporary files.
	leftovers []string

	synced uint64 // the greatest offset known synced
	first  int    // the segment in which reading began
	last   int    // the segment in which the log ends; -1: none is left
	end    uint64
	link   uint32 // crc of the last record
	torn   bool   // something lies behind the end that must go
	terms  []Term
}

// scan reads the folder.
func (r *recovery) scan() (err error) {
	if r.state, err = loadState(r.fs, r.dir); err != nil {
		return err
	}
	if r.state.cutting {
		if r.readOnly {
			return fmt.Errorf("log: %s is being cut at offset %d; open it for writing once", r.dir, r.state.cut)
		}
		if err := r.finishCut(); err != nil {
			return err
		}
	}
	r.synced = r.state.synced
	if err := r.list(); err != nil {
		return err
	}
	if len(r.segs) == 0 {
		r.last = -1
		if r.synced > 0 || r.state.newest != noSegment {
			name := segmentName(r.state.newest)
			if r.state.newest == noSegment {
				name = segmentName(0)
			}
			return r.damage(ErrMissingSegment, r.fs.PathJoin(r.dir, name), 0, 0, "no segment is left")
		}
		return nil
	}
	if err := r.checkNewest(); err != nil {
		return err
	}
	if err := r.checkSyncedSegments(); err != nil {
		return err
	}
	if err := r.findEnd(); err != nil {
		return err
	}
	r.terms = slices.DeleteFunc(mergeTerms(r.state.terms, r.terms...), func(t Term) bool { return t.Start >= r.end })
	return nil
}

func (r *recovery) list() error {
	names, err := r.fs.List(r.dir)
	if err != nil {
		return fileError(err)
	}
	slices.Sort(names)
	for _, name := range names {
		path := r.fs.PathJoin(r.dir, name)
		if name == nextName || name == stateTmpName || name == repairTmpName {
			r.leftovers = append(r.leftovers, path)
		}
		start, ok := parseSegmentName(name)
		if !ok {
			continue
		}
		f := found{start: start, name: path}
		if err := f.readHeader(r.fs); err != nil {
			return fmt.Errorf("log: reading %s: %w", path, err)
		}
		if f.bad == nil {
			r.synced = max(r.synced, f.header.synced)
			if f.header.term.ID != "" {
				r.terms = mergeTerms(r.terms, f.header.term)
			}
		}
		r.segs = append(r.segs, f)
	}
	return nil
}

// readHeader returns an error when the file can't be read or is of another
// version; a header that is damaged is noted in f.bad.
func (f *found) readHeader(fs vfs.FS) error {
	file, err := fs.Open(f.name)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	f.size = info.Size()
	b := make([]byte, segmentHeaderSize)
	if _, err := file.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	f.header, f.bad = decodeSegmentHeader(b)
	if f.bad == nil && f.header.start != f.start {
		f.bad = errHeaderStart
	}
	if errors.Is(f.bad, ErrVersion) {
		return f.bad
	}
	return nil
}

// checkNewest looks for the segment that the state file names. If only newer ones are left, it was dropped before the state
// file could tell of those.
func (r *recovery) checkNewest() error {
	newest := r.state.newest
	if newest == noSegment || newest < r.segs[0].start {
		return nil
	}
	i, found := slices.BinarySearchFunc(r.segs, newest, func(f found, start uint64) int { return cmp.Compare(f.start, start) })
	name := r.fs.PathJoin(r.dir, segmentName(newest))
	switch {
	case !found:
		return r.damage(ErrMissingSegment, name, newest, 0, "a segment is missing")
	case r.segs[i].bad != nil:
		return r.damage(ErrDamaged, name, newest, 0, r.segs[i].bad.Error())
	}
	return nil
}

// checkSyncedSegments sets first, the segment that holds the offset known synced. It
// and all before it were wholly in place once, so each must follow the one before.
func (r *recovery) checkSyncedSegments() error {
	for i := range r.segs {
		f := &r.segs[i]
		if f.start > r.synced {
			break
		}
		r.first = i
		if f.bad != nil {
			if f.start == r.synced {
				// Nothing in it is known synced: it may have been begun just before the crash.
				r.first = max(i-1, 0)
				break
			}
			return r.damage(ErrDamaged, f.name, f.start, 0, f.bad.Error())
		}
		if i > 0 && f.header.previous != r.segs[i-1].start {
			name := r.fs.PathJoin(r.dir, segmentName(f.header.previous))
			return r.damage(ErrMissingSegment, name, f.header.previous, 0, "a segment is missing")
		}
	}
	return nil
}

// findEnd reads records from the first segment on until something is no record.
func (r *recovery) findEnd() error {
	r.end = r.segs[r.first].start
	r.link = r.segs[r.first].header.link
	for i := r.first; i < len(r.segs); i++ {
		f := &r.segs[i]
		if f.bad == nil && f.header.link != r.link {
			f.bad = errLink
		}
		if f.bad != nil {
			return r.tail(i-1, r.damage(ErrDamaged, f.name, f.start, 0, f.bad.Error()))
		}
		whole, err := r.readSegment(i)
		if err != nil || !whole {
			return err
		}
	}
	return nil
}

// readSegment reads segment i from its start. It reports whether the segment is whole: its records
// end where the next segment begins. Otherwise the log ends in it.
func (r *recovery) readSegment(i int) (whole bool, err error) {
	f := &r.segs[i]
	file, err := r.fs.Open(f.name, vfs.SequentialReadsOption)
	if err != nil {
		return false, fileError(err)
	}
	defer file.Close()
	in := newReader(file, f.start, f.start, f.size)
	for i+1 == len(r.segs) || r.end != r.segs[i+1].start {
		rec, h, err := in.next()
		if err == nil && h.link != r.link {
			err = errLink
		}
		switch {
		case err == io.EOF:
			return false, r.tail(i, r.endOfSegment(i, in.pos, errTruncated))
		case isNoRecord(err):
			return false, r.tail(i, r.endOfSegment(i, in.pos, err))
		case err != nil:
			return false, fmt.Errorf("log: reading %s: %w", f.name, err)
		}
		r.end, r.link = h.end(), h.crc
		r.synced = max(r.synced, h.synced)
		if h.kind == KindTerm && validID(string(rec.Payload)) {
			r.terms = mergeTerms(r.terms, Term{ID: string(rec.Payload), Start: h.offset})
		}
	}
	return true, nil
}

// endOfSegment is what is wrong if the log should not end here, in segment i.
func (r *recovery) endOfSegment(i int, pos int64, reason error) *DamagedError {
	if i+1 < len(r.segs) && r.segs[i+1].bad == nil && r.segs[i+1].header.previous == r.end {
		return r.damage(ErrMissingSegment, r.fs.PathJoin(r.dir, segmentName(r.end)), r.end, 0, "a segment is missing")
	}
	return r.damage(ErrDamaged, r.segs[i].name, r.end, pos, reason.Error())
}

// tail ends the log at r.end in segment last, or before the first one if last is -1. It decides
// what the bytes behind are: nothing, a torn tail, or the rest of a damaged log.
func (r *recovery) tail(last int, damage *DamagedError) error {
	r.last = last
	r.torn = last+1 < len(r.segs)
	for i := max(last, 0); i < len(r.segs); i++ {
		f := &r.segs[i]
		from := f.start
		if i == last {
			from = r.end
		}
		rest, err := f.scanRest(r.fs, from)
		if err != nil {
			return fmt.Errorf("log: reading %s: %w", f.name, err)
		}
		r.torn = r.torn || rest.dirty
		if !r.isForeign(i) {
			r.synced = max(r.synced, rest.synced)
		}
	}
	// The first segment left is always durable: without its header the log would begin nowhere.
	if r.synced > r.end || (last < 0 && r.end > 0) {
		damage.Synced = max(r.synced, r.end)
		return damage
	}
	return nil
}

// isForeign: what records in segment i say was synced, was so on another node. Where that changes, the header is
// synced before any record, so a damaged one is as the one before.
func (r *recovery) isForeign(i int) bool {
	for i > 0 && r.segs[i].bad != nil {
		i--
	}
	return r.segs[i].bad == nil && r.segs[i].header.foreign
}

// scanRest looks at what the file holds behind the offset.
func (f *found) scanRest(fs vfs.FS, from uint64) (rest, error) {
	file, err := fs.Open(f.name, vfs.SequentialReadsOption)
	if err != nil {
		return rest{}, err
	}
	defer file.Close()
	in := newReader(file, f.start, from, f.size)
	return in.scanRest(in.pos)
}

func (r *recovery) damage(kind error, file string, off uint64, pos int64, reason string) *DamagedError {
	return &DamagedError{File: file, Offset: off, Pos: pos, Synced: r.synced, Reason: reason, kind: kind}
}

// repair removes what lies behind the end, durably: nothing of it may ever be
// taken for a part of the log.
func (r *recovery) repair() error {
	for _, name := range r.leftovers {
		if err := r.fs.Remove(name); err != nil {
			return fileError(err)
		}
	}
	if !r.torn {
		return nil
	}
	for i := len(r.segs) - 1; i > r.last; i-- {
		if err := r.fs.Remove(r.segs[i].name); err != nil {
			return fileError(err)
		}
	}
	if err := syncDir(r.fs, r.dir); err != nil {
		return fileError(err)
	}
	if r.last < 0 {
		return nil
	}
	f := &r.segs[r.last]
	if err := zeroFrom(r.fs, f.name, (&segment{start: f.start}).position(r.end), f.size); err != nil {
		return fmt.Errorf("log: cutting the torn tail of %s: %w", f.name, err)
	}
	return nil
}

// zeroFrom overwrites a file from pos to size with zeros and syncs it.
func zeroFrom(fs vfs.FS, name string, pos, size int64) error {
	file, err := fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	zeros := make([]byte, readBufferSize)
	for err == nil && pos < size {
		n := min(int64(len(zeros)), size-pos)
		_, err = file.WriteAt(zeros[:n], pos)
		pos += n
	}
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}
