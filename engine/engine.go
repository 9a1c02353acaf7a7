// Package engine is a durable store of one node: one log, Pebble beneath it,
// slot locks, transactions, counters, expiry. It knows no protocol and no network.
//
// Lock order: world, slots ascending, commit mutex.
package engine

import (
	"context"
	"errors"
	"time"

	"github.com/cairndb/cairn/engine/keys"
)

var _ = context.Background
var _ = time.Now
var _ = keys.Slots

// Errors a caller can tell apart.
var (
	// ErrReadOnly: the store takes no writes now (disk full or nearly, log failed); wraps the cause.
	// The write was not applied.
	ErrReadOnly = errors.New("engine: writes are refused")
	// ErrUncertain: the write was applied in memory and may or may not be in the log.
	ErrUncertain = errors.New("engine: the write may stand")
	// ErrCorrupt: stored bytes fail their checksum or do not decode.
	ErrCorrupt = errors.New("engine: corrupt")
	// ErrClosed: the store is closed.
	ErrClosed = errors.New("engine: closed")
)

// Key addresses one user key. DB is the physical database: see Store.DB.
type Key struct {
	Slot uint16
	DB   uint8
	Name []byte
}

// Record is a key's meta record. Value is what stands behind the header: it is
// valid until the transaction ends and must not be changed.
type Record struct {
	keys.Header
	Value []byte
}

// Offset is a position in the log, in bytes; also the replication offset.
type Offset = uint64

// Options configure a store. See DefaultOptions. (engine owner: complete this)
type Options struct{}

// Store is an open data folder.
type Store struct{}

// Open opens or creates the store in dir, replays the log, and starts its workers.
func Open(dir string, o Options) (*Store, error) { panic("skeleton") }

// Close flushes, syncs and closes. Idempotent.
func (s *Store) Close() error { panic("skeleton") }

// DB maps a logical database number to the physical one that keys carry.
// Stable only while a transaction holds any lock (SWAPDB and FLUSHDB take the world lock).
func (s *Store) DB(logical int) uint8 { panic("skeleton") }

// AdmitWrite is asked before any lock is taken: it returns an error wrapping
// ErrReadOnly when writes are refused, and waits (up to ctx) while the store is stalled.
func (s *Store) AdmitWrite(ctx context.Context) error { panic("skeleton") }

// TryAdmitWrite is AdmitWrite without waiting: ok is false when it would wait.
func (s *Store) TryAdmitWrite() (ok bool, err error) { panic("skeleton") }

// FlushLog hands everything committed to the operating system (one write), and returns
// the offset up to which the appendfsync policy now holds.
func (s *Store) FlushLog() (stable Offset, err error) { panic("skeleton") }

// Stable is the offset up to which the appendfsync policy holds: replies that
// depend on no more than this may be sent.
func (s *Store) Stable() Offset { panic("skeleton") }

// OnStable calls fn once, from another goroutine, when Stable reaches off or the log has failed for good.
func (s *Store) OnStable(off Offset, fn func(error)) { panic("skeleton") }

// WaitStable blocks until Stable reaches off.
func (s *Store) WaitStable(ctx context.Context, off Offset) error { panic("skeleton") }

// Txn is a unit of isolation and atomicity. It is made once and used again and
// again by one goroutine at a time: lock, read, write, Commit (or Discard). Several commands may
// share one transaction (a burst of pipelined commands, MULTI/EXEC): later ones read what earlier ones wrote.
type Txn struct{}

// NewTxn returns an idle transaction.
func (s *Store) NewTxn() *Txn { panic("skeleton") }

// TryLock locks one slot without waiting, and says whether it holds it now (in at least the
// mode asked for). Write locks are kept until Commit or Discard, read locks until EndCommand.
func (t *Txn) TryLock(slot uint16, write bool) bool { panic("skeleton") }

// Lock locks the slots, in ascending order, waiting as needed. The transaction must hold no
// lock. slots is sorted and made unique in place.
func (t *Txn) Lock(slots []uint16, write bool) { panic("skeleton") }

// LockWorld locks every slot at once. The transaction must hold no lock.
func (t *Txn) LockWorld() { panic("skeleton") }

// EndCommand releases the read locks; called after each command.
func (t *Txn) EndCommand() { panic("skeleton") }

// Mark and Rollback undo the writes made since Mark (a command that failed half-way).
func (t *Txn) Mark() int         { panic("skeleton") }
func (t *Txn) Rollback(mark int) { panic("skeleton") }

// Now is the transaction's clock in unix milliseconds: set at the first lock and at each EndCommand,
// so it stands still within a command.
func (t *Txn) Now() int64 { panic("skeleton") }

// SetNow overrides the clock until EndCommand-or-release (EXEC: one clock for all its commands).
func (t *Txn) SetNow(ms int64) { panic("skeleton") }

// Ready says whether Get(k) can be answered without waiting for the disk
// (written by this transaction, cached, or the store answers from memory of late).
func (t *Txn) Ready(k Key) bool { panic("skeleton") }

// Get returns the live record of k: an expired one is reported as absent.
func (t *Txn) Get(k Key) (Record, bool, error) { panic("skeleton") }

// Put writes the record of k (value is copied), keeps counters and the expiry
// index right, sets Header.Modified, and registers the old record's sub-keys for reclamation if their id is gone.
func (t *Txn) Put(k Key, h keys.Header, value []byte) error { panic("skeleton") }

// Delete removes k and reports whether a live record was there. Sub-keys are reclaimed later.
func (t *Txn) Delete(k Key) (bool, error) { panic("skeleton") }

// Move makes the live record of from, with its expiry and its sub-keys, the record of to, and
// reports whether there was one. Both keys lie in one slot; databases may differ. Only meta records are
// written: the id moves along and stays alive. What to held before is gone as after Delete. Move of a key to itself changes nothing.
func (t *Txn) Move(from, to Key) (bool, error) { panic("skeleton") }

// NewID returns a fresh id for sub-keys in a slot.
func (t *Txn) NewID(slot uint16) (uint64, error) { panic("skeleton") }

// GetSub, PutSub and DeleteSub work on the sub-keys of an id (chunks, elements); DeleteSub of an absent one is no error.
func (t *Txn) GetSub(slot uint16, id uint64, sub []byte) ([]byte, bool, error) { panic("skeleton") }
func (t *Txn) PutSub(slot uint16, id uint64, sub, value []byte) error          { panic("skeleton") }
func (t *Txn) DeleteSub(slot uint16, id uint64, sub []byte) error              { panic("skeleton") }

// ScanSub calls fn in ascending order for the sub-keys of id from `from` (inclusive) on, until fn returns false.
// The slices are valid during the call only.
func (t *Txn) ScanSub(slot uint16, id uint64, from []byte, fn func(sub, value []byte) bool) error {
	panic("skeleton")
}

// FlushAll, FlushDB and SwapDB need LockWorld. FlushAll is a log record of its own kind.
func (t *Txn) FlushAll() error           { panic("skeleton") }
func (t *Txn) FlushDB(logical int) error { panic("skeleton") }
func (t *Txn) SwapDB(a, b int) error     { panic("skeleton") }

// Commit appends the writes to the log and applies them, then releases all locks. With
// nothing written it only releases. The reply may be sent once Stable() >= Barrier().
func (t *Txn) Commit() error { panic("skeleton") }

// Discard drops the writes and releases all locks.
func (t *Txn) Discard() { panic("skeleton") }

// Barrier is the greatest log offset that the slots touched (read or written) since the
// last ResetBarrier depend on. Valid after Commit for writes, at once for reads.
func (t *Txn) Barrier() Offset { panic("skeleton") }

// ---- whole-store reads; each opens its iterator, then holds no lock ----

// Scan returns the live keys of a physical database from cursor on, bucket by bucket (a bucket is returned whole),
// at least count when there are as many. next is 0 at the end. Cursors are 31 bits: slot(14) and hash(17).
// With one slot given (>= 0) it scans only that slot. If t is not nil its own writes are seen.
func (s *Store) Scan(t *Txn, db uint8, cursor uint64, count int, slot int, fn func(name []byte, r Record)) (next uint64, err error) {
	panic("skeleton")
}

// RandomKey returns a near-uniformly chosen live key of db.
func (s *Store) RandomKey(t *Txn, db uint8) (name []byte, ok bool, err error) { panic("skeleton") }

// KeysInSlot returns up to n live keys of database 0 in a slot.
func (s *Store) KeysInSlot(slot uint16, n int) ([][]byte, error) { panic("skeleton") }

// Counts are exact and O(1).
type Counts struct{ Keys, Expires, Bytes int64 }

// SlotCounts is for one slot, all databases; DBCounts for one physical database.
func (s *Store) SlotCounts(slot uint16) Counts { panic("skeleton") }
func (s *Store) DBCounts(db uint8) Counts      { panic("skeleton") }

// AverageTTL estimates the mean remaining life of keys with expiry, in ms (INFO keyspace).
func (s *Store) AverageTTL(db uint8) int64 { panic("skeleton") }

// OnModify is called under the slot's lock for each user key written or deleted by a
// transaction (WATCH), with the physical database; name is valid during the call. For FLUSHALL, FLUSHDB and SWAPDB it is
// called with name nil, once for each database affected. Set once, before traffic. Nil costs nothing.
func (s *Store) OnModify(fn func(db uint8, name []byte)) { panic("skeleton") }

// Flush writes memtables to disk and syncs everything (SAVE, BGSAVE, BGREWRITEAOF).
func (s *Store) Flush(ctx context.Context) error { panic("skeleton") }

// SetActiveExpire switches active expiry (DEBUG SET-ACTIVE-EXPIRE); PauseExpire stops expiry from deleting
// until the given time (CLIENT PAUSE).
func (s *Store) SetActiveExpire(on bool)     { panic("skeleton") }
func (s *Store) PauseExpire(until time.Time) { panic("skeleton") }

// Stats is a snapshot for INFO. (engine owner: complete this)
type Stats struct{ ExpiredKeys uint64 }

// Stats returns a snapshot.
func (s *Store) Stats() Stats { panic("skeleton") }
