package log

import (
	"errors"
	"fmt"
)

// Errors that a caller can tell apart with errors.Is. Whenever Append or
// BeginTerm returns an error, nothing was appended.
var (
	// ErrNoSpace: the disk has no room for the record. Append works again by
	// itself once there is room.
	ErrNoSpace = errors.New("log: no space left on the disk")
	// ErrStalled: a write failed half-way; its bytes are kept and finished, in
	// order, as soon as the disk takes them. It wraps the cause (ErrNoSpace when
	// the disk is full).
	ErrStalled = errors.New("log: a write could not be finished yet")
	// ErrFailed: a sync failed. What the operating system kept of the writes
	// before it is unknown, so the log takes nothing more until it is opened again.
	ErrFailed = errors.New("log: a sync failed, the log has stopped for good")
	// ErrClosed: the log is closed.
	ErrClosed = errors.New("log: closed")
	// ErrReadOnly: the log was opened with Options.ReadOnly.
	ErrReadOnly = errors.New("log: opened for reading only")
	// ErrTooLarge: a record of more than MaxRecordSize bytes or MaxSlots slots.
	ErrTooLarge = errors.New("log: record is too large")

	// ErrDamaged: stored bytes before the greatest offset known synced are not
	// what was written; the error is a *DamagedError.
	ErrDamaged = errors.New("log: damaged")
	// ErrMissingSegment: a segment file in the middle or the newest one is gone; the error is a *DamagedError too.
	ErrMissingSegment = errors.New("log: segment is missing")
	// ErrVersion: a segment was written in a format that this version does not know.
	ErrVersion = errors.New("log: unknown format version")

	// ErrDropped: the offset lies before Start.
	ErrDropped = errors.New("log: offset is no longer in the log")
	// ErrBeyondEnd: the offset lies behind End.
	ErrBeyondEnd = errors.New("log: offset is behind the end of the log")
	// ErrNotBoundary: no record begins at the offset.
	ErrNotBoundary = errors.New("log: offset is not the start of a record")
)

// DamagedError tells where the log is damaged and what an operator can do.
type DamagedError struct {
	File   string // the segment's path
	Offset uint64 // log offset of the first record that can't be read
	Pos    int64  // the same as a position in File
	Synced uint64 // everything before this offset had reached the disk
	Reason string
	kind   error // ErrDamaged or ErrMissingSegment
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("%v: %s at log offset %d (%s, byte %d), although everything before %d had been synced. "+
		"Nothing was changed; restore this node's data from a backup or another copy, "+
		"or go on without what is lost: cairn repair-log, with the data folder, tells what that is",
		e.kind, e.Reason, e.Offset, e.File, e.Pos, e.Synced)
}

// Unwrap makes errors.Is(err, ErrDamaged) hold for both kinds.
func (e *DamagedError) Unwrap() []error {
	if e.kind == ErrDamaged {
		return []error{ErrDamaged}
	}
	return []error{e.kind, ErrDamaged}
}
