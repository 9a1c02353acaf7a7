package log

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const repairTmpName = "repair.tmp"

// Repair is what can be kept of a damaged log for somebody who needs it from an offset on, and what is lost with the rest: the
// records from there on up to the first bytes that are none. They become a new log, in one segment; the rest goes.
type Repair struct {
	From, End uint64 // the new log's first offset and its end
	Records   uint64 // that are kept
	LastWall  int64  // unix milliseconds of the last one
	Lost      Lost

	r      *recovery
	header segmentHeader
	run    []span
}

// Lost is what lies behind the end of a repaired log.
type Lost struct {
	End     uint64 // the greatest offset that is known to have been in the log
	Records uint64 // those that can still be read
	Bytes   uint64 // of those
	Slots   int    // that they touch
	// The times of the first and the last of them, in unix milliseconds.
	FirstWall, LastWall int64
}

// span is a run of records in a segment file.
type span struct {
	file     string
	from, to int64 // positions
}

// PlanRepair finds out what can be kept of the log in dir from an offset on. Nothing is changed.
func PlanRepair(fs vfs.FS, dir string, from uint64) (*Repair, error) {
	st, err := loadState(fs, dir)
	if errors.Is(err, ErrDamaged) {
		st, err = state{newest: noSegment}, nil
	}
	if err != nil {
		return nil, err
	}
	p := &Repair{From: from, End: from, r: &recovery{fs: fs, dir: dir, state: st, synced: st.synced}}
	if err := p.r.list(); err != nil && !isNotExist(err) { // the whole folder may be gone
		return nil, err
	}
	p.header = segmentHeader{start: from, previous: noSegment, synced: from}
	if err := p.readRun(); err != nil {
		return nil, err
	}
	if err := p.readLost(); err != nil {
		return nil, err
	}
	p.r.terms = slices.DeleteFunc(mergeTerms(st.terms, p.r.terms...), func(t Term) bool { return t.Start >= p.End })
	for _, t := range p.r.terms {
		if t.Start <= from {
			p.header.term = t
		}
	}
	return p, nil
}

// at is the segment in which the record at an offset lies or would lie, -1 if there is none.
func (p *Repair) at(off uint64) int {
	i, found := slices.BinarySearchFunc(p.r.segs, off, func(f found, off uint64) int { return cmp.Compare(f.start, off) })
	if !found {
		i--
	}
	return i
}

// readRun reads records from p.From on as long as each follows the one before. The headers of segments are not needed for that. A
// segment is read as far as it goes before the next: after a repair that was cut short it may hold what older ones hold, too.
func (p *Repair) readRun() error {
	for last, i := -1, p.at(p.From); i > last; last, i = i, p.at(p.End) {
		f := &p.r.segs[i]
		if last >= 0 && f.start != p.End {
			break
		}
		if err := p.readRunIn(f); err != nil {
			return fmt.Errorf("log: reading %s: %w", f.name, err)
		}
	}
	return nil
}

// readRunIn reads on in a segment.
func (p *Repair) readRunIn(f *found) error {
	file, err := p.r.fs.Open(f.name, vfs.SequentialReadsOption)
	if err != nil {
		return err
	}
	defer file.Close()
	in := newReader(file, f.start, p.End, f.size)
	from := in.pos
	for {
		rec, h, err := in.next()
		if err == io.EOF || isNoRecord(err) || err == nil && p.Records > 0 && h.link != p.r.link {
			break
		}
		if err != nil {
			return err
		}
		if p.Records == 0 {
			p.header.link = h.link
		}
		if h.kind == KindTerm && validID(string(rec.Payload)) {
			p.r.terms = mergeTerms(p.r.terms, Term{ID: string(rec.Payload), Start: h.offset})
		}
		p.End, p.r.link, p.LastWall = h.end(), h.crc, h.wall
		p.Records++
	}
	if to := (&segment{start: f.start}).position(p.End); to > from {
		p.run = append(p.run, span{file: f.name, from: from, to: to})
	}
	return nil
}

// readLost looks for records behind p.End.
func (p *Repair) readLost() error {
	p.Lost.End = max(p.End, p.r.synced)
	slots := make(map[uint16]bool)
	for i := max(p.at(p.End), 0); i < len(p.r.segs); i++ {
		f := &p.r.segs[i]
		err := f.salvage(p.r.fs, max(p.End, f.start), func(rec *Record) {
			if p.Lost.Records == 0 {
				p.Lost.FirstWall = rec.WallMillis
			}
			p.Lost.Records++
			p.Lost.Bytes += rec.End - rec.Start
			p.Lost.LastWall = rec.WallMillis
			p.Lost.End = max(p.Lost.End, rec.End)
			for _, slot := range rec.Slots {
				slots[slot] = true
			}
		})
		if err != nil {
			return fmt.Errorf("log: reading %s: %w", f.name, err)
		}
	}
	p.Lost.Slots = len(slots)
	return nil
}

// salvage calls fn for every record that can be read from an offset on, wherever it begins.
func (f *found) salvage(fs vfs.FS, from uint64, fn func(*Record)) error {
	file, err := fs.Open(f.name, vfs.SequentialReadsOption)
	if err != nil {
		return err
	}
	defer file.Close()
	in := newReader(file, f.start, from, f.size)
	for {
		rec, _, err := in.next()
		switch {
		case err == nil:
			fn(&rec)
		case err == io.EOF:
			return nil
		case !isNoRecord(err):
			return err
		default:
			if in.pos, err = in.search(in.pos + 1); err != nil {
				return err
			}
		}
	}
}

// Apply makes the new log. The files as they were are kept in the folder keep, which must not exist. Until it has ended, the log
// either does not open, or opens as what is kept; then the repair can be planned and applied again.
func (p *Repair) Apply(keep string) error {
	if err := p.keepFiles(keep); err != nil {
		return fmt.Errorf("log: keeping the files in %s: %w", keep, err)
	}
	fs, dir := p.r.fs, p.r.dir
	if err := createDir(fs, dir); err != nil {
		return fileError(err)
	}
	tmp, name := fs.PathJoin(dir, repairTmpName), fs.PathJoin(dir, segmentName(p.From))
	if err := p.writeSegment(tmp); err != nil {
		return errors.Join(fmt.Errorf("log: writing %s: %w", tmp, err), removeIfExists(fs, tmp))
	}
	// The new segment says that all before it had been synced, so next to an older one that ends before it, it is damage.
	if err := errors.Join(fs.Rename(tmp, name), syncDir(fs, dir)); err != nil {
		return fileError(err)
	}
	for _, f := range slices.Backward(p.r.segs) {
		if f.name == name {
			continue
		}
		if err := errors.Join(fs.Remove(f.name), syncDir(fs, dir)); err != nil {
			return fileError(err)
		}
	}
	return saveState(fs, dir, state{synced: p.End, newest: p.From, terms: p.r.terms})
}

// keepFiles links or copies the segments and the state file into a new folder.
func (p *Repair) keepFiles(keep string) error {
	fs := p.r.fs
	if _, err := fs.Stat(keep); !isNotExist(err) {
		return errors.Join(errors.New("the folder exists"), err)
	}
	if err := fs.MkdirAll(keep, 0o755); err != nil {
		return err
	}
	names := []string{fs.PathJoin(p.r.dir, stateName)}
	for _, f := range p.r.segs {
		names = append(names, f.name)
	}
	for _, name := range names {
		if err := vfs.LinkOrCopy(fs, name, fs.PathJoin(keep, fs.PathBase(name))); err != nil && !isNotExist(err) {
			return err
		}
	}
	return errors.Join(syncDir(fs, keep), syncDir(fs, fs.PathDir(keep)))
}

// writeSegment writes what is kept as one segment, and syncs it.
func (p *Repair) writeSegment(name string) error {
	out, err := p.r.fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	p.header.wall = time.Now().UnixMilli()
	_, err = out.Write(p.header.encode())
	for _, s := range p.run {
		if err == nil {
			err = s.copyTo(p.r.fs, out)
		}
	}
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

func (s span) copyTo(fs vfs.FS, out io.Writer) error {
	in, err := fs.Open(s.file, vfs.SequentialReadsOption)
	if err != nil {
		return err
	}
	_, err = io.CopyN(out, io.NewSectionReader(in, s.from, s.to-s.from), s.to-s.from)
	return errors.Join(err, in.Close())
}
