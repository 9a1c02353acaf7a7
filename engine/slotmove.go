package engine

import "errors"

// Moving slots to another store, live:
//
//	source                                        target
//	hold := Log().Hold(End())                     BeginImport(slots)
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
// An export ends with the process: a source that was opened again exports again, since its log may have lost its end. A tail may begin before the offset of a slot's export: batches hold absolute values, so that what is
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
	// ErrSlotInUse: the slot holds keys, and is not being imported.
	ErrSlotInUse = errors.New("engine: the slot holds keys")
	// ErrImporting: the slot is being imported.
	ErrImporting = errors.New("engine: the slot is being imported")
	// ErrNotImporting: the slot is not being imported.
	ErrNotImporting = errors.New("engine: the slot is not being imported")
	// ErrExportAgain: the tail cannot go on from what was exported (databases have changed places): drop the slot at
	// the target and begin again.
	ErrExportAgain = errors.New("engine: the slot must be exported again")
)
