package engine

import (
	"errors"
	"fmt"
	"io"

	wal "github.com/cairndb/cairn/engine/log"
)

// LogRepair is a plan to go on without a part of the log: see PlanLogRepair.
type LogRepair struct {
	// Damage is why a start would stop, or what cannot be read of the log; nil if it is sound: there is nothing to repair then.
	Damage error
	// Applied is the offset up to which the store has applied the log. It needs no record before that and every one from there on.
	Applied Offset
	// Reach is the offset up to which the store may hold parts of what was written. Where the log will end before it, the store may not
	// agree with itself: Check tells.
	Reach Offset
	// Log is what the log will be: it begins at Applied. Nil if it is sound.
	Log *wal.Repair

	s    *Store
	lock io.Closer
}

// PlanLogRepair finds out what can be kept of the log of a store that is not open. It changes nothing, and holds the
// folder's lock until Close.
func PlanLogRepair(dir string, o Options) (p *LogRepair, err error) {
	o.ReadOnly = true
	if err := o.ensureDefaults(); err != nil {
		return nil, err
	}
	p = &LogRepair{s: newStore(dir, o)}
	if p.lock, err = prepareFolder(dir, &p.s.o); err != nil {
		return nil, err
	}
	if err := p.plan(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *LogRepair) plan() (err error) {
	if p.Applied, p.Reach, err = p.s.readOffsets(); err != nil {
		return err
	}
	p.Damage = readLog(p.logDir(), &p.s.o, p.Applied)
	if p.Damage == nil {
		return nil
	}
	p.Log, err = wal.PlanRepair(p.s.o.FS, p.logDir(), p.Applied)
	return err
}

func (p *LogRepair) logDir() string { return p.s.o.FS.PathJoin(p.s.dir, logFolder) }

// readOffsets asks Pebble, of a store that is not open, how much of the log it has: see LogRepair.
func (s *Store) readOffsets() (applied, reach Offset, err error) {
	dir := s.o.FS.PathJoin(s.dir, storeFolder)
	disk, err := newScratchFS(s.o.FS, dir)
	if err != nil {
		return 0, 0, err
	}
	s.fs = &storeFS{FS: disk, stop: make(chan struct{})}
	defer s.fs.close()
	if err := s.openStore(dir); err != nil {
		return 0, 0, err
	}
	applied, err = s.appliedOffset(false)
	reach, errReach := s.reach(applied)
	return applied, reach, errors.Join(err, errReach, s.db.Close())
}

// readLog reads all of a log, in which a record must begin at the offset, and says what is wrong with it.
func readLog(dir string, o *Options, applied Offset) error {
	l, err := wal.Open(dir, wal.Options{FS: o.FS, ReadOnly: true, Logger: o.Logger, Now: o.Now})
	if err != nil {
		return err
	}
	defer l.Close()
	cur, err := l.Read(applied)
	if err != nil {
		return fmt.Errorf("the store has applied the log up to offset %d, but the log holds %d to %d: %w", applied, l.Start(), l.End(), err)
	}
	if err := errors.Join(readRecords(cur), cur.Close()); err != nil {
		return err
	}
	if cur, err = l.Read(l.Start()); err != nil {
		return err
	}
	return errors.Join(readRecords(cur), cur.Close())
}

func readRecords(cur *wal.Cursor) error {
	for {
		if _, err := cur.Next(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// Apply replaces the log by what is kept of it. The files as they were are kept in the folder that it returns.
func (p *LogRepair) Apply() (kept string, err error) {
	kept = p.s.o.FS.PathJoin(p.s.dir, "log-damaged-"+p.s.o.Now().UTC().Format("20060102T150405"))
	return kept, p.Log.Apply(kept)
}

// Close gives the folder free.
func (p *LogRepair) Close() error {
	if p.lock == nil {
		return nil
	}
	return p.lock.Close()
}
