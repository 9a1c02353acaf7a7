package engine

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	wal "github.com/cairndb/cairn/engine/log"
)

// checkpointFolder holds the checkpoints that are being sent; a start removes what a crash has left there.
const checkpointFolder = "checkpoints"

// Checkpoint is the store's files as they were at some moment, as hard links, and the part of the log that makes them whole:
// they hold everything up to From, and possibly any part of what came up to Until. Applying the
// records from From to Until, in order, gives the exact state at Until.
type Checkpoint struct {
	Dir   string
	Files []CheckpointFile
	Start wal.Start // where the log that belongs to it begins
	Until Offset

	s    *Store
	hold *wal.Hold
}

// CheckpointFile is a file in Checkpoint.Dir.
type CheckpointFile struct {
	Name string
	Size int64
}

// Checkpoint makes a checkpoint. It flushes first, so that little of the log belongs to it; commits go on meanwhile.
// The log is kept from Start on until Close.
func (s *Store) Checkpoint(ctx context.Context) (_ *Checkpoint, err error) {
	c := &Checkpoint{s: s}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	if err := s.Flush(ctx); err != nil {
		return nil, err
	}
	s.life.RLock()
	defer s.life.RUnlock()
	if s.closed.Load() {
		return nil, ErrClosed
	}
	if c.hold, err = s.log.Hold(s.log.Start()); err != nil {
		return nil, err
	}
	from, err := s.appliedOffset(true)
	if err != nil {
		return nil, err
	}
	c.hold.Move(from)
	join := s.o.FS.PathJoin
	name := strconv.FormatUint(s.checkpoints.Add(1), 10)
	c.Dir = join(s.dir, checkpointFolder, name)
	if err := s.db.Checkpoint(c.Dir); err != nil {
		return nil, storeError(err)
	}
	if _, err := s.log.Flush(); err != nil {
		return nil, fmt.Errorf("engine: checkpoint: %w", err)
	}
	c.Until = s.log.Written()
	if err := c.describe(from); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Checkpoint) describe(from Offset) (err error) {
	s := c.s
	c.Start = wal.Start{Offset: from}
	if c.Start.Link, err = s.log.LinkAt(from); err != nil {
		return fmt.Errorf("engine: checkpoint: %w", err)
	}
	for _, t := range s.log.Terms() {
		if t.Start < from {
			c.Start.Terms = append(c.Start.Terms, t)
		}
	}
	names, err := s.o.FS.List(c.Dir)
	if err != nil {
		return fmt.Errorf("engine: checkpoint: %w", err)
	}
	for _, name := range names {
		info, err := s.o.FS.Stat(s.o.FS.PathJoin(c.Dir, name))
		if err != nil {
			return fmt.Errorf("engine: checkpoint: %w", err)
		}
		c.Files = append(c.Files, CheckpointFile{Name: name, Size: info.Size()})
	}
	return nil
}

// Close removes the checkpoint's files and lets the log go.
func (c *Checkpoint) Close() error {
	if c.hold != nil {
		c.hold.Release()
	}
	if c.Dir == "" {
		return nil
	}
	return c.s.o.FS.RemoveAll(c.Dir)
}
