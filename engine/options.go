package engine

import (
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	wal "github.com/cairndb/cairn/engine/log"
)

// Options configure a store. The zero value of a field means its default.
// Those with a setter on Store can be changed while it is open.
type Options struct {
	// FS holds the data folder; vfs.Default if nil.
	FS vfs.FS
	// CacheBytes is the size of Pebble's block cache; memtables are taken from it, too.
	CacheBytes int64
	// RecordCacheBytes is the size of the record table, which holds records that were read lately, and those that were written and
	// are not in Pebble yet. Small sizes are raised to what the latter need.
	RecordCacheBytes int64
	// MemTableBytes is the size of a memtable. It bounds, with MemTables, the log that a start replays.
	MemTableBytes int64
	// MemTables is how many memtables may wait to be flushed before writes have to wait.
	MemTables int
	// L0Sublevels is the depth of Pebble's level 0 at which writes have to wait.
	L0Sublevels int
	// Compression is none, fastest, balanced or good.
	Compression string
	// SeparateBytes is the size from which on the values of records and elements are kept in files of their own (Pebble's blob
	// files), which compactions don't rewrite.
	SeparateBytes int
	// rewriteAge is how old a blob file must be before it is rewritten without its garbage.
	rewriteAge time.Duration
	// Compactions is how many compactions may run at once.
	Compactions int
	// MaxOpenFiles bounds Pebble's open files.
	MaxOpenFiles int
	// LogSegmentBytes is the size of a log segment.
	LogSegmentBytes int64
	// LogBacklogBytes of the log are kept although a restart does not need them (SetLogBacklog).
	LogBacklogBytes uint64
	// FreeSpaceReserve is the room on the disk below which writes are refused (SetFreeSpaceReserve).
	FreeSpaceReserve uint64
	// Packing says up to which sizes collections are packed (SetPacking).
	Packing Packing
	// SyncPolicy is appendfsync (SetSyncPolicy). Its zero value is the safest, always; DefaultOptions says everysec.
	SyncPolicy wal.Policy
	// Databases is the number of logical databases, 1 to 128.
	Databases int
	// ReadOnly opens an existing store without changing a byte of it; every write is refused.
	ReadOnly bool
	// Follow opens the store as a follower of another node's log: see Store.Follow.
	Follow bool
	// Logger gets what an operator should know; discarded if nil.
	Logger *slog.Logger
	// Progress is called now and then during long work in Open, with the bytes done and to do.
	Progress func(what string, done, total uint64)
	// OnFailure is called once when the store has failed for good and must be opened again:
	// everything acknowledged within the policy is safe. It must not call Close itself.
	OnFailure func(error)
	// ExpireFields deletes fields of the hash at k, whose live record is r, that have expired: at most limit of them. It returns how many. This
	// package knows nothing of fields, but when the first of a hash expires.
	ExpireFields func(t *Txn, k Key, r Record, limit int) (n int, err error)
	// Verify is asked by Check about the form of values, of which this package knows nothing, with each record that it reads; it returns what is wrong with
	// it, or for a spread value who looks at its sub-keys, nil if nobody. The record is its own.
	Verify func(Record) (Verifier, error)
	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

// Verifier looks at a spread value: Sub is called for each of its sub-keys, ascending, with slices that are valid during the call only; then
// End. Behind an error nothing is called any more.
type Verifier interface {
	Sub(sub, value []byte) error
	End() error
}

// WalkedVerifier is a Verifier that knows which sub-keys are written by PutWalked.
type WalkedVerifier interface {
	Verifier
	Walked(sub []byte) bool
}

// DefaultOptions returns the options with every default filled in.
func DefaultOptions() Options {
	return Options{
		FS:               vfs.Default,
		CacheBytes:       256 << 20,
		RecordCacheBytes: 256 << 20,
		MemTableBytes:    16 << 20,
		MemTables:        8,
		L0Sublevels:      24,
		Compression:      "fastest",
		SeparateBytes:    512,
		rewriteAge:       5 * time.Second,
		Compactions:      max(2, runtime.NumCPU()/2),
		MaxOpenFiles:     1000,
		LogSegmentBytes:  64 << 20,
		FreeSpaceReserve: 256 << 20,
		Packing:          DefaultPacking(),
		SyncPolicy:       wal.EverySec,
		Databases:        16,
		Logger:           slog.New(slog.DiscardHandler),
		Now:              time.Now,
	}
}

func orDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

func (o *Options) ensureDefaults() error {
	d := DefaultOptions()
	if o.FS == nil {
		o.FS = d.FS
	}
	orDefault(&o.CacheBytes, d.CacheBytes)
	orDefault(&o.RecordCacheBytes, d.RecordCacheBytes)
	orDefault(&o.MemTableBytes, d.MemTableBytes)
	orDefault(&o.MemTables, d.MemTables)
	orDefault(&o.L0Sublevels, d.L0Sublevels)
	orDefault(&o.Compression, d.Compression)
	orDefault(&o.SeparateBytes, d.SeparateBytes)
	orDefault(&o.rewriteAge, d.rewriteAge)
	orDefault(&o.Compactions, d.Compactions)
	orDefault(&o.MaxOpenFiles, d.MaxOpenFiles)
	orDefault(&o.LogSegmentBytes, d.LogSegmentBytes)
	orDefault(&o.FreeSpaceReserve, d.FreeSpaceReserve)
	orDefault(&o.Packing, d.Packing)
	orDefault(&o.Databases, d.Databases)
	orDefault(&o.Logger, d.Logger)
	if o.Now == nil {
		o.Now = d.Now
	}
	if o.Databases < 1 || o.Databases > maxLogical {
		return fmt.Errorf("engine: %d databases: must be 1 to %d", o.Databases, maxLogical)
	}
	if _, ok := compressions[o.Compression]; !ok {
		return fmt.Errorf("engine: unknown compression %q: must be none, fastest, balanced or good", o.Compression)
	}
	if o.MemTableBytes < 64<<10 || o.MemTableBytes > 2<<30 {
		return fmt.Errorf("engine: memtable of %d bytes: must be 64 KiB to 2 GiB", o.MemTableBytes)
	}
	return nil
}

var compressions = map[string]pebble.DBCompressionSettings{
	"none":     pebble.DBCompressionNone,
	"fastest":  pebble.DBCompressionFastest,
	"balanced": pebble.DBCompressionBalanced,
	"good":     pebble.DBCompressionGood,
}

// MemoryBudget estimates the greatest memory that the store holds with these options, in bytes:
// caches, memtables, the log's buffer, what a compaction needs, indexes of open tables.
func (o Options) MemoryBudget() int64 {
	if err := o.ensureDefaults(); err != nil {
		return 0
	}
	mem := o.blocksBudget()
	records := max(o.RecordCacheBytes, minRecordTable)
	mem += records + records/derivedShare
	mem += 64 << 20 // batches on their way from the record table
	const fixed, perCompaction = 16 << 20, 8 << 20
	return mem + fixed + int64(o.Compactions)*perCompaction
}

// blocksBudget is what the block cache and the memtables may take. Memtables are reserved in the cache: what exceeds it comes on top.
func (o *Options) blocksBudget() int64 {
	return max(o.CacheBytes, int64(o.MemTables+2)*o.MemTableBytes)
}

// OutsideHeap is the part of MemoryBudget that is not in Go's heap, which debug.SetMemoryLimit must leave room for: with cgo Pebble takes blocks
// and memtables from C's allocator.
func (o Options) OutsideHeap() int64 {
	if err := o.ensureDefaults(); err != nil || !pebbleUsesC {
		return 0
	}
	return o.blocksBudget()
}
