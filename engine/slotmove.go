package engine

import (
	"context"
	"errors"
)

// Moving slots to another store, live:
//
//	source                                        target
//	hold := Log().Hold(End())                     BeginImport(slots)      whatever was there is gone
//	for each slot: ExportSlot ── batches ──▶      Import(batch)           a record of the target's own log each
//	SlotTail from the least offset ── batches ──▶ Import(batch)           again and again, with hold.Move
//	no more writes; the last SlotTail ─────▶      Import(batch)
//	                                              EndImport(slots)        now they are the target's
//	DropSlots(slots), hold.Release()
//
// While a slot is being imported nothing of it can be seen: no count, scan or look-up finds it, nothing in it
// expires, FLUSHALL leaves it alone, and transactions may not write there. That state is in the log, so replicas have it, and so has
// the store after a crash: Importing tells, and whoever moves slots ends or drops what is left. ExportSlot and SlotTail
// may be called for several slots at once; the batches of one slot are imported in their order.
//
// A tail may begin before the offset of a slot's export: batches hold absolute values, so that what is
// repeated ends in the same state, once the tail has reached that offset.

// SlotBatch is a part of a slot, or of several, on its way to another store. It has its own checksum. Its size is about
// slotBatchBytes, and more only by a single entry.
type SlotBatch []byte

// MaxSlotBatch bounds a SlotBatch.
const MaxSlotBatch = MaxTxnBytes

var (
	// ErrBatch: the bytes are no SlotBatch, or hold what may not be imported. Nothing of it was applied.
	ErrBatch = errors.New("engine: not a batch that can be imported")
	// ErrBatchVersion: the batch was made by a version that this one does not know.
	ErrBatchVersion = errors.New("engine: batch of an unknown format version")
	// ErrImporting: the slot is being imported.
	ErrImporting = errors.New("engine: the slot is being imported")
	// ErrNotImporting: the slot is not being imported.
	ErrNotImporting = errors.New("engine: the slot is not being imported")
	// ErrExportAgain: the tail cannot go on from what was exported (databases have changed places): drop the slot at
	// the target and begin again.
	ErrExportAgain = errors.New("engine: the slot must be exported again")

	errNotYet = errors.New("engine: not built yet")
)

// ExportSlot emits everything stored for a slot as it is at one moment, in the order of keys. SlotTail goes on from the offset
// that it returns. The slot's lock is held only to fix that moment. A batch is valid until emit returns; an
// error of emit ends the export.
func (s *Store) ExportSlot(ctx context.Context, slot uint16, emit func(SlotBatch) error) (at Offset, err error) {
	return 0, errNotYet
}

// SlotTail emits what the log holds for the slots from the offset `from` on, at least to the offset `to`, which is not more
// than End. It returns where it has ended, to be continued from there. The caller holds the log from `from` on (Log().Hold). For
// errors of the log see wal.Log.Read.
func (s *Store) SlotTail(ctx context.Context, slots []uint16, from, to Offset, emit func(SlotBatch) error) (Offset, error) {
	return from, errNotYet
}

// BeginImport makes the slots empty and begins to import them. As with the other three, one record does it for all of the slots;
// it is stable when Stable reaches the offset returned.
func (s *Store) BeginImport(slots []uint16) (Offset, error) { return 0, errNotYet }

// Import applies a batch to slots that are being imported. It waits (up to ctx) while the store is stalled.
func (s *Store) Import(ctx context.Context, b SlotBatch) (Offset, error) { return 0, errNotYet }

// EndImport makes what was imported visible.
func (s *Store) EndImport(slots []uint16) (Offset, error) { return 0, errNotYet }

// DropSlots removes everything stored for the slots, imported or not. Cost does not depend on how much that is.
func (s *Store) DropSlots(slots []uint16) (Offset, error) { return 0, errNotYet }

// Importing returns the slots that are being imported, ascending.
func (s *Store) Importing() []uint16 { return nil }

// IsImporting says whether a slot is being imported. It takes no lock: dispatch asks it for each command.
func (s *Store) IsImporting(slot uint16) bool { return false }
