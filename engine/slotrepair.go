package engine

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/batchrepr"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairndb/cairn/engine/keys"
	wal "github.com/cairndb/cairn/engine/log"
)

// A store whose log parts from another node's at an offset, and which has in Pebble what came behind it, is repaired slot by slot:
//
//	slots.new   the slots that the divergent records touch, as the other node has them; being fetched, or fetched
//	log.new/    the other node's log from the fork to an offset that is not before any of these copies
//	REPAIR      slots.new, renamed: both are whole. It is the one decision
//
// From then on whoever opens the folder finishes it. Each step can be taken again from the beginning:
//
//	in Pebble   the slots are emptied, their copies written, and the applied offset is moved back to the fork
//	in the log  what lies behind the fork is cut off, and log.new appended
//	            REPAIR goes
//
// Why this gives the other node's state at the end of log.new: the next Open replays the log from the applied offset, which is not behind the
// fork. Take any stored key. If a record from there on writes it (or deletes it, alone or in a range), the last such record decides,
// since records hold absolute values. If none does, its value is the same at the applied offset, at the fork and at every later one: a slot
// that was not touched has it from the common history, and a copy was made somewhere in between. So a copy needs neither to be of the fork, nor to
// be of the same offset as another slot's. What belongs to no slot (the databases' numbers) was not touched, or there is no repair.
const (
	newSlotsFile = "slots" + newSuffix
	repairFile   = "REPAIR"
)

// ErrNoRepair: the store can't be repaired slot by slot. It needs all of the other node's store.
var ErrNoRepair = errors.New("engine: not to be repaired slot by slot")

// Divergent returns the slots, ascending, that the log's records from the offset on touch. ErrNoRepair says that they touch more
// than slots, or that not all of them are known.
func (s *Store) Divergent(from Offset) ([]uint16, error) {
	if s.recovery.Reach > s.recovery.To {
		return nil, fmt.Errorf("%w: the log has lost its end", ErrNoRepair)
	}
	if _, err := s.log.Flush(); err != nil {
		return nil, err
	}
	return divergent(s.log, from)
}

func divergent(log *wal.Log, from Offset) ([]uint16, error) {
	cur, err := log.Read(from)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoRepair, err)
	}
	defer cur.Close()
	var touched [keys.Slots]bool
	for {
		rec, err := cur.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = touches(&rec, &touched)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNoRepair, err)
		}
	}
	var slots []uint16
	for slot, is := range touched {
		if is {
			slots = append(slots, uint16(slot))
		}
	}
	return slots, nil
}

// touches notes the slots of a record, which must write nothing else.
func touches(rec *wal.Record, touched *[keys.Slots]bool) error {
	if rec.Kind == wal.KindTerm {
		return nil
	}
	r := replicated{Verbatim: wal.Verbatim{Record: *rec}}
	if err := r.decode(); err != nil {
		return err
	}
	if r.world {
		return fmt.Errorf("the record at %d touches everything", rec.Start)
	}
	for _, slot := range rec.Slots {
		if slot < keys.Slots {
			touched[slot] = true
		}
	}
	return nil
}

// SlotRepair collects what a repair needs: what CopySlots writes on the other node is written to it, and the log from From on, up to what
// CopySlots returned at least, is put into the log folder of Incoming. Repair does the rest.
type SlotRepair struct {
	name string
	fs   vfs.FS
	file vfs.File
	out  *bufio.Writer
	size int64
}

// The file begins with a header; what CopySlots has written follows.
//
//	0  crc    4  CRC-32C of the rest of the header, little endian
//	4  from   8  offset of the fork, little endian
//	12 slots  2048  a bit for each slot, the least significant first
const (
	repairHeader = 12 + SlotSetBytes
	// SlotSetBytes is the length of an encoded set of slots: a bit for each.
	SlotSetBytes = keys.Slots / 8
)

// AppendSlotSet encodes a set of slots, the least significant bit of a byte first.
func AppendSlotSet(b []byte, slots []uint16) []byte {
	at := len(b)
	b = append(b, make([]byte, SlotSetBytes)...)
	for _, slot := range slots {
		b[at+int(slot/8)] |= 1 << (slot % 8)
	}
	return b
}

// DecodeSlotSet is the inverse of AppendSlotSet; b has SlotSetBytes.
func DecodeSlotSet(b []byte) (slots []uint16) {
	for slot := range uint16(keys.Slots) {
		if b[slot/8]&(1<<(slot%8)) != 0 {
			slots = append(slots, slot)
		}
	}
	return slots
}

// NewSlotRepair begins to collect for a repair of the slots of the store in dir, whose log parts from the other node's at the offset. What was
// collected before is dropped.
func NewSlotRepair(dir string, fs vfs.FS, from Offset, slots []uint16) (*SlotRepair, error) {
	r := &SlotRepair{name: fs.PathJoin(dir, newSlotsFile), fs: fs}
	var err error
	if r.file, err = fs.Create(r.name, vfs.WriteCategoryUnspecified); err != nil {
		return nil, err
	}
	r.out = bufio.NewWriterSize(r.file, 64<<10)
	body := AppendSlotSet(binary.LittleEndian.AppendUint64(nil, from), slots)
	header := binary.LittleEndian.AppendUint32(nil, crc32.Checksum(body, castagnoli))
	if _, err := r.Write(append(header, body...)); err != nil {
		return nil, errors.Join(err, r.file.Close())
	}
	return r, nil
}

// Write is for what CopySlots writes.
func (r *SlotRepair) Write(p []byte) (int, error) {
	n, err := r.out.Write(p)
	r.size += int64(n)
	return n, err
}

// Size is how many bytes there are.
func (r *SlotRepair) Size() int64 { return r.size }

// Close makes what was written durable, unless there was an error.
func (r *SlotRepair) Close() error {
	err := r.out.Flush()
	if err == nil {
		err = r.file.Sync()
	}
	return errors.Join(err, r.file.Close())
}

// Repair repairs the store in dir, which must not be open, with what was collected. After an error nothing has changed, or the next Open
// finishes it; so it is after a crash. ErrNoRepair: what was collected does not fit the store, or is not whole.
func Repair(dir string, o Options) error {
	if err := o.ensureDefaults(); err != nil {
		return err
	}
	o.ReadOnly = false
	lock, err := prepareFolder(dir, &o)
	if err != nil {
		return err
	}
	return errors.Join(repair(dir, &o), lock.Close())
}

func repair(dir string, o *Options) error {
	fresh := o.FS.PathJoin(dir, newSlotsFile)
	if err := fits(dir, fresh, o); err != nil {
		return err
	}
	if err := syncDir(o.FS, dir); err != nil {
		return fmt.Errorf("engine: repairing slots: %w", err)
	}
	if err := o.FS.Rename(fresh, o.FS.PathJoin(dir, repairFile)); err != nil {
		return fmt.Errorf("engine: repairing slots: %w", err)
	}
	if err := syncDir(o.FS, dir); err != nil {
		return fmt.Errorf("engine: repairing slots: %w", err)
	}
	return finishRepair(dir, o)
}

// fits verifies all that has to be so for the repair to be finished, and to be right.
func fits(dir, fresh string, o *Options) error {
	readOnly := *o
	readOnly.ReadOnly = true
	_, reach, err := newStore(dir, readOnly).readOffsets()
	if err != nil {
		return err
	}
	r, err := openRepair(o.FS, fresh)
	if err != nil {
		return err
	}
	from, slots := r.from, r.slots
	if err := errors.Join(r.each(func([]byte) error { return nil }), r.close()); err != nil {
		return err
	}
	own, err := openRead(dir, logFolder, o)
	if err != nil {
		return err
	}
	defer own.Close()
	fetched, err := openRead(dir, newLogFolder, o)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoRepair, err)
	}
	defer fetched.Close()
	ownLink, errOwn := own.LinkAt(from)
	link, errLink := fetched.LinkAt(from)
	switch {
	case errOwn != nil || errLink != nil || ownLink != link || fetched.Start() != from:
		return fmt.Errorf("%w: the fetched log begins at %d and does not continue the store's at %d: %w", ErrNoRepair, fetched.Start(), from, errors.Join(errOwn, errLink))
	case reach > own.End():
		return fmt.Errorf("%w: the log has lost its end", ErrNoRepair)
	}
	touched, err := divergent(own, from)
	if err != nil {
		return err
	}
	for _, slot := range touched {
		if _, found := slices.BinarySearch(slots, slot); !found {
			return fmt.Errorf("%w: slot %d was touched and is not repaired", ErrNoRepair, slot)
		}
	}
	return repairRoom(dir, fresh, int64(fetched.End()-from), o)
}

func openRead(dir, folder string, o *Options) (*wal.Log, error) {
	return wal.Open(o.FS.PathJoin(dir, folder), wal.Options{FS: o.FS, ReadOnly: true, Logger: o.Logger, Now: o.Now})
}

// repairRoom refuses a repair for which the disk has no room: it has to be finished once it is begun.
func repairRoom(dir, fresh string, logBytes int64, o *Options) error {
	info, err := o.FS.Stat(fresh)
	if err != nil {
		return err
	}
	need := uint64(2*info.Size() + logBytes)
	u, err := o.FS.GetDiskUsage(dir)
	if err == nil && need > u.AvailBytes {
		return fmt.Errorf("%w: the disk has room for %d MiB, it takes %d", ErrNoRepair, u.AvailBytes>>20, need>>20)
	}
	return nil // a file system that can't tell: try
}

// repairReader reads a file that SlotRepair has made.
type repairReader struct {
	name  string
	file  vfs.File
	in    *bufio.Reader
	from  Offset
	slots []uint16 // ascending
}

func openRepair(fs vfs.FS, name string) (*repairReader, error) {
	file, err := fs.Open(name, vfs.SequentialReadsOption)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoRepair, err)
	}
	r := &repairReader{name: name, file: file, in: bufio.NewReaderSize(file, 64<<10)}
	header := make([]byte, repairHeader)
	_, err = io.ReadFull(r.in, header)
	if err == nil && binary.LittleEndian.Uint32(header) != crc32.Checksum(header[4:], castagnoli) {
		err = fmt.Errorf("%w: checksum mismatch", ErrCorrupt)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %s: %w", ErrNoRepair, name, err), file.Close())
	}
	r.from, r.slots = binary.LittleEndian.Uint64(header[4:]), DecodeSlotSet(header[12:])
	return r, nil
}

// each calls fn with each batch, as a Pebble batch that fn may keep.
func (r *repairReader) each(fn func(repr []byte) error) error {
	for {
		repr, err := readCopied(r.in, r.slots)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrNoRepair, r.name, err)
		}
		if err := fn(repr); err != nil {
			return err
		}
	}
}

func (r *repairReader) close() error { return r.file.Close() }

// readCopied reads and verifies a batch, which writes nothing but keys of the slots. io.EOF: there is none.
func readCopied(in io.Reader, slots []uint16) (repr []byte, err error) {
	var size [4]byte
	if _, err := io.ReadFull(in, size[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(size[:])
	if n <= slotBatchHeader || n > MaxSlotBatch {
		return nil, fmt.Errorf("%w: %d bytes", ErrBatch, n)
	}
	b := make([]byte, batchHeader-slotBatchHeader+n) // so that the operations stand where they do in a Pebble batch
	batch := b[batchHeader-slotBatchHeader:]
	if _, err := io.ReadFull(in, batch); err != nil {
		return nil, noEOF(err)
	}
	if binary.LittleEndian.Uint32(batch) != crc32.Checksum(batch[4:], castagnoli) || batch[4] != slotBatchFormat {
		return nil, fmt.Errorf("%w: checksum mismatch", ErrBatch)
	}
	count := uint32(0)
	reader := batchrepr.Reader(batch[slotBatchHeader:])
	for {
		kind, key, _, ok, err := reader.Next()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrBatch, err)
		}
		if !ok {
			break
		}
		p, ok := keys.Parse(key)
		if _, wanted := slices.BinarySearch(slots, p.Slot); !ok || !wanted || kind != pebble.InternalKeyKindSet {
			return nil, fmt.Errorf("%w: it holds what is not to be repaired", ErrBatch)
		}
		count++
	}
	clear(b[:batchHeader])
	binary.LittleEndian.PutUint32(b[8:], count)
	return b, nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func repairing(dir string, fs vfs.FS) bool {
	_, err := fs.Stat(fs.PathJoin(dir, repairFile))
	return err == nil
}

// finishRepair does what REPAIR says, if it is there.
func finishRepair(dir string, o *Options) error {
	if !repairing(dir, o.FS) {
		return nil
	}
	name := o.FS.PathJoin(dir, repairFile)
	r, err := openRepair(o.FS, name)
	if err != nil {
		return fmt.Errorf("engine: repairing slots: %w", err)
	}
	err = errors.Join(mend(dir, r, o), r.close())
	if err == nil {
		err = o.FS.Remove(name)
	}
	if err == nil {
		err = syncDir(o.FS, dir)
	}
	if err != nil {
		return fmt.Errorf("engine: repairing slots: %w", err)
	}
	o.Logger.Info("store: slots were repaired", "slots", len(r.slots), "offset", r.from)
	return o.FS.RemoveAll(o.FS.PathJoin(dir, newLogFolder))
}

// mend takes the two steps of a repair.
func mend(dir string, r *repairReader, o *Options) error {
	fetched, err := openRead(dir, newLogFolder, o)
	if err != nil {
		return err
	}
	defer fetched.Close()
	if err := mendStore(dir, r, fetched.End(), o); err != nil {
		return err
	}
	return mendLog(dir, r.from, fetched, o)
}

// mendStore replaces the slots in Pebble by their copies, which come from before the offset until.
func mendStore(dir string, r *repairReader, until Offset, o *Options) error {
	s := newStore(dir, *o)
	join := o.FS.PathJoin
	s.fs = &storeFS{FS: o.FS, ballast: join(dir, ballastFile), stop: make(chan struct{}), corrupt: s.noteCorrupt}
	defer s.fs.close()
	if err := s.openStore(join(dir, storeFolder)); err != nil {
		return err
	}
	return errors.Join(s.mend(r, until), s.db.Close())
}

func (s *Store) mend(r *repairReader, until Offset) error {
	applied, err := s.appliedOffset(false)
	if err != nil {
		return err
	}
	if err := s.emptySlots(r.slots); err != nil {
		return err
	}
	err = r.each(func(repr []byte) error {
		b := s.db.NewBatch()
		if err := b.SetRepr(repr); err != nil {
			return storeError(err)
		}
		return storeErrorOrNil(s.db.Apply(b, pebble.NoSync)) // not closed: Pebble would use its bytes for other batches
	})
	if err != nil {
		return err
	}
	b := s.db.NewBatch()
	defer func() { _ = b.Close() }()
	for _, stamp := range []struct {
		key []byte
		off Offset
	}{{keys.AppliedKey, min(applied, r.from)}, {keys.ReachedDirectKey, until}, {keys.ReachedDrainKey, until}} {
		if err := b.Set(stamp.key, binary.BigEndian.AppendUint64(nil, stamp.off), nil); err != nil {
			return storeError(err)
		}
	}
	if err := s.db.Apply(b, pebble.NoSync); err != nil {
		return storeError(err)
	}
	return storeErrorOrNil(s.db.Flush())
}

// emptySlots removes everything stored for the slots, and the summary of the last stop.
func (s *Store) emptySlots(slots []uint16) error {
	b := s.db.NewBatch()
	defer func() { _ = b.Close() }()
	for _, slot := range slots {
		if err := b.DeleteRange(keys.AppendSlot(nil, int(slot)), keys.AppendSlot(nil, int(slot)+1), nil); err != nil {
			return storeError(err)
		}
	}
	if err := b.Delete(keys.SummaryKey, nil); err != nil {
		return storeError(err)
	}
	return storeErrorOrNil(s.db.Apply(b, pebble.NoSync))
}

// mendLog replaces what lies behind the fork in the log by what was fetched.
func mendLog(dir string, from Offset, fetched *wal.Log, o *Options) error {
	folder := o.FS.PathJoin(dir, logFolder)
	wo := wal.Options{FS: o.FS, SegmentSize: o.LogSegmentBytes, Policy: wal.No, Foreign: true, Logger: o.Logger, Now: o.Now}
	log, err := wal.Open(folder, wo) // a cut that a crash has interrupted is finished
	if err != nil {
		return err
	}
	if err := log.Close(); err != nil {
		return err
	}
	if err := wal.Rewind(folder, from, wo); err != nil {
		return err
	}
	if log, err = wal.Open(folder, wo); err != nil {
		return err
	}
	err = appendLog(log, fetched)
	if err == nil {
		err = log.Sync()
	}
	return errors.Join(err, log.Close())
}

// appendLog appends the records of another log that begins where this one ends.
func appendLog(log, from *wal.Log) error {
	in, err := from.ReadRaw(log.End())
	if err != nil {
		return err
	}
	defer in.Close()
	var pending []byte
	buf := make([]byte, 256<<10)
	for {
		n, err := in.Read(buf)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		pending = append(pending, buf[:n]...)
		if pending, err = log.AppendRaw(pending); err != nil {
			return err
		}
	}
	if len(pending) > 0 {
		return fmt.Errorf("%w: the fetched log ends within a record", ErrCorrupt)
	}
	return nil
}
