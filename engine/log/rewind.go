package log

import (
	"errors"
	"fmt"
	"slices"
)

// Rewind cuts a log that is not open behind the offset, which must be the start of a record or the end: what lies
// behind it is gone for good. It is decided by one write of the state file ("cut"), so that after a crash the
// next Open finishes it, or nothing has happened. Errors: ErrDropped, ErrBeyondEnd, ErrNotBoundary, ErrDamaged.
func Rewind(dir string, to uint64, o Options) error {
	o.setDefaults()
	o.ReadOnly = true
	l, err := Open(dir, o)
	if err != nil {
		return err
	}
	cur, err := l.Read(to)
	if err == nil {
		err = cur.Close()
	}
	if err = errors.Join(err, l.Close()); err != nil {
		return err
	}
	terms := slices.DeleteFunc(l.Terms(), func(t Term) bool { return t.Start >= to })
	s, err := loadState(o.FS, dir)
	if err != nil {
		return err
	}
	s = state{newest: noSegment, terms: terms, synced: min(s.synced, to), cutting: true, cut: to}
	if err := saveState(o.FS, dir, s); err != nil {
		return err
	}
	r := &recovery{fs: o.FS, dir: dir, state: s}
	return r.finishCut()
}

// finishCut removes everything behind state.cut, newest first, and then says that it is done.
func (r *recovery) finishCut() error {
	to := r.state.cut
	names, err := r.fs.List(r.dir)
	if err != nil {
		return fileError(err)
	}
	var starts []uint64
	for _, name := range names {
		if start, ok := parseSegmentName(name); ok {
			starts = append(starts, start)
		}
	}
	slices.Sort(starts)
	for n := len(starts); n > 0 && starts[n-1] > to; n-- {
		if err := r.fs.Remove(r.fs.PathJoin(r.dir, segmentName(starts[n-1]))); err != nil {
			return fileError(err)
		}
		starts = starts[:n-1]
	}
	if err := syncDir(r.fs, r.dir); err != nil {
		return fileError(err)
	}
	if len(starts) == 0 {
		return fmt.Errorf("%w: %s: the log was being cut at offset %d, which it no longer has", ErrDamaged, r.dir, to)
	}
	last := starts[len(starts)-1]
	name := r.fs.PathJoin(r.dir, segmentName(last))
	info, err := r.fs.Stat(name)
	if err != nil {
		return fileError(err)
	}
	if err := zeroFrom(r.fs, name, (&segment{start: last}).position(to), info.Size()); err != nil {
		return fmt.Errorf("log: cutting %s: %w", name, err)
	}
	r.state.cutting = false
	return saveState(r.fs, r.dir, r.state)
}
