// Package engine is a durable store of one node: one log, Pebble beneath it,
// slot locks, transactions, counters, expiry. It knows no protocol and no network.
//
// Invariants:
//
//  1. Nothing changes the store but a record of the log. A record is appended to the log's buffer and applied under one
//     mutex, so that both have the same order.
//  2. Meta records are applied to the record table, everything else to Pebble's memtable. The drainer brings the table's records into
//     Pebble, and then stamps the applied offset there: all of the log up to it is in Pebble, and any part of what follows may be.
//  3. Pebble has no log of its own: after a crash it is what it last flushed, and the records behind
//     the applied offset found there are applied again. Records hold absolute values, so it does not matter
//     which of them were there already. The log is synced before each write to Pebble's
//     MANIFEST, so that Pebble is never ahead of the log.
//  4. Whatever belongs to a slot (records, sub-keys, expiry index, counters) changes under the slot's
//     write lock only, in one record.
//
// The order of locks stands in locks.go.
package engine

import (
	"errors"

	"github.com/cairndb/cairn/engine/keys"
)

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
	// ErrTooLarge: a transaction of more than MaxTxnBytes.
	ErrTooLarge = errors.New("engine: transaction is too large")
	// ErrElement: an element of more than MaxElement bytes.
	ErrElement = errors.New("engine: the element is too large")
	// ErrBusy: too many flushed databases wait for their removal; try again later.
	ErrBusy = errors.New("engine: too many flushed databases wait for their removal")
	// ErrFolder: the folder does not hold a store, or holds one of another version.
	ErrFolder = errors.New("engine: not a data folder of this version")
	// ErrLocked: another process has the folder open.
	ErrLocked = errors.New("engine: data folder is in use by another process")

	errSlots     = errors.New("engine: bug: the keys are in two slots")
	errNotLocked = errors.New("engine: bug: slot is not locked for writing")
	errNoFields  = errors.New("engine: Options.ExpireFields is not set")
)

// MaxTxnBytes bounds what one transaction may write.
const MaxTxnBytes = 1 << 30

// MaxElement bounds what one sub-key and its value may take together, in bytes: an element of a collection lies in the store, and passes through
// memory, as a whole, several times when it is written.
const MaxElement = 64 << 20

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
