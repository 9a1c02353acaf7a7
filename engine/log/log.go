package log

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Limits of one record.
const (
	// MaxRecordSize is the greatest length of a record, header and slots included.
	MaxRecordSize = 1 << 31
	// MaxSlots is the greatest number of slots that a record names.
	MaxSlots = 16384
)

// Policy says when a record counts as stable (Redis's appendfsync).
type Policy int32

// The policies.
const (
	Always   Policy = iota // stable once it is on the disk
	EverySec               // stable once the operating system has it; synced in the background at least each second
	No                     // stable once the operating system has it; synced when the system sees fit
)

var policyNames = [...]string{"always", "everysec", "no"}

// String is the policy's name in the configuration.
func (p Policy) String() string {
	if p < 0 || int(p) >= len(policyNames) {
		return fmt.Sprintf("Policy(%d)", int32(p))
	}
	return policyNames[p]
}

// ParsePolicy is the inverse of String.
func ParsePolicy(s string) (p Policy, ok bool) {
	for i, name := range policyNames {
		if s == name {
			return Policy(i), true
		}
	}
	return 0, false
}

// Kind says what a record's payload is.
type Kind uint8

// The kinds. The log itself understands only KindTerm.
const (
	KindBatch    Kind = 1 // a committed batch
	KindTerm     Kind = 2 // the start of a term: its replication ID
	KindFlushAll Kind = 3 // the removal of everything
)

// Record is what a Cursor returns.
type Record struct {
	Kind       Kind
	Start, End uint64 // log offsets of the record's first byte and of the byte after its last
	Synced     uint64 // the offset known synced when the record was appended
	WallMillis int64  // unix milliseconds when it was appended
	Slots      []uint16
	Payload    []byte
}

// Term is a period under one primary. A term's records are those from Start to
// the next term's Start.
type Term struct {
	ID    string // replication ID, 40 hex digits
	Start uint64 // offset of the record that began it
}

// Options configure a log. The zero value of each field means its default.
type Options struct {
	// FS holds the segments; vfs.Default if nil. It must allow a sync of a file while
	// the file is written, as an operating system does.
	FS vfs.FS
	// SegmentSize is the room for records in a segment, 64 MiB by default. It
	// may change between two runs.
	SegmentSize int64
	// BufferSize bounds what waits in memory to be written, 1 MiB by default:
	// beyond it Append writes first. A record larger than this is held whole.
	BufferSize int
	// Policy at the start; see SetPolicy.
	Policy Policy
	// SyncInterval is the pause between background syncs under EverySec,
	// 500 ms by default, so that with the sync itself it stays within a second.
	SyncInterval time.Duration
	// ReadOnly opens the log to read and check it: nothing in the folder is
	// changed, a torn tail is left out but not cut.
	ReadOnly bool
	// Logger gets one line for everything an operator should know; discarded if nil.
	Logger *slog.Logger
	// OnFailure is called once, by a goroutine of the log, when a sync has
	// failed and the log takes nothing more. It must not call Close.
	OnFailure func(error)
	// Now is the clock for Record.WallMillis; time.Now if nil.
	Now func() time.Time
}

// Log is an open log. All methods may be called by any goroutine.
type Log struct{}

// Open opens the log in dir, which it creates if needed, and finds its end. A
// torn tail, that is damage at or after the greatest offset known synced, is cut. Damage
// before it is a *DamagedError.
func Open(dir string, o Options) (*Log, error) { panic("skeleton") }

// Append puts a record into the buffer; its payload is the concatenation of the
// given pieces. It returns the offset after the record. Room on the disk is reserved first.
// The record is written by the next Flush. The arguments are not kept.
//
// On error nothing was appended: ErrNoSpace, ErrStalled, ErrFailed, ErrTooLarge, ErrClosed.
func (l *Log) Append(k Kind, slots []uint16, payload ...[]byte) (end uint64, err error) {
	panic("skeleton")
}

// Flush hands everything appended to the operating system, in one write, and
// returns Stable. When another goroutine is writing, it waits and then
// writes for all that came meanwhile. On ErrStalled the bytes are kept (see Recover).
func (l *Log) Flush() (stable uint64, err error) { panic("skeleton") }

// Sync makes everything appended before the call durable.
func (l *Log) Sync() error { panic("skeleton") }

// Stable is the offset up to which the policy holds: everything before it has reached the
// disk (Always) or the operating system. Switching to Always may move it back.
func (l *Log) Stable() uint64 { panic("skeleton") }

// OnStable calls fn once, from a goroutine of the log, when Stable has reached
// off (fn(nil)), or the log has failed for good or was closed before (fn(err)). fn must not block.
func (l *Log) OnStable(off uint64, fn func(error)) { panic("skeleton") }

// WaitStable writes if needed, and returns when Stable has reached off.
func (l *Log) WaitStable(ctx context.Context, off uint64) error { panic("skeleton") }

// Start is the offset of the first record that the log still has.
func (l *Log) Start() uint64 { panic("skeleton") }

// End is the offset after the last record appended.
func (l *Log) End() uint64 { panic("skeleton") }

// Written is the offset up to which the operating system has everything.
func (l *Log) Written() uint64 { panic("skeleton") }

// Synced is the offset up to which everything is on the disk.
func (l *Log) Synced() uint64 { panic("skeleton") }

// Policy returns the policy in force.
func (l *Log) Policy() Policy { panic("skeleton") }

// SetPolicy changes the policy at once.
func (l *Log) SetPolicy(p Policy) { panic("skeleton") }

// Drop deletes the segments that end at or before the offset. The last segment stays.
func (l *Log) Drop(before uint64) error { panic("skeleton") }

// BeginTerm appends a record that starts a new term, makes it durable, and adds
// it to the history. id is the replication ID, 40 hex digits.
func (l *Log) BeginTerm(id string) error { panic("skeleton") }

// Terms returns the history of terms, oldest first. It outlives the segments.
func (l *Log) Terms() []Term { panic("skeleton") }

// Err returns nil, or why the log takes no records now: an error that is ErrStalled
// (passes, see Recover) or ErrFailed (final).
func (l *Log) Err() error { panic("skeleton") }

// Recover tries now to finish a write that has failed; the log also tries by
// itself several times a second. It returns Err.
func (l *Log) Recover() error { panic("skeleton") }

// Close writes and syncs everything, and ends the log's goroutines. Idempotent.
func (l *Log) Close() error { panic("skeleton") }

// Stats is a snapshot of the log's counters.
type Stats struct {
	Start, End, Written, Synced uint64
	Policy                      Policy
	Segments                    int
	DiskBytes                   int64 // room that the segments take
	Buffered                    int   // bytes not yet written
	Records                     uint64
	Writes                      uint64 // write calls
	Syncs                       uint64
	SyncTime                    time.Duration // in all syncs
	LastSync                    time.Duration // of the last sync
	MaxSync                     time.Duration // of the longest
	Stalled                     bool
	Failed                      bool
}

// Stats returns a snapshot.
func (l *Log) Stats() Stats { panic("skeleton") }

// Cursor reads records in order and follows the log as it grows. It is used by
// one goroutine at a time.
type Cursor struct{}

// Read returns a cursor that begins at the offset, which must be the start of a
// record, or End. Errors: ErrDropped, ErrBeyondEnd, ErrNotBoundary, ErrDamaged.
func (l *Log) Read(from uint64) (*Cursor, error) { panic("skeleton") }

// Next returns the next record that has reached the operating system, or io.EOF when there is none; it
// may be called again later. Slots and Payload are valid until the next call.
func (c *Cursor) Next() (Record, error) { panic("skeleton") }

// Offset is where the next record begins.
func (c *Cursor) Offset() uint64 { panic("skeleton") }

// Close releases the cursor's file.
func (c *Cursor) Close() error { panic("skeleton") }
