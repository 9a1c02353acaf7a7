package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/batchrepr"

	"github.com/cairndb/cairn/engine/keys"
	wal "github.com/cairndb/cairn/engine/log"
)

// Report is what Check found.
type Report struct {
	LogRecords uint64 // records read
	LogBytes   uint64
	Applied    Offset // the store has applied the log up to here
	LogEnd     Offset
	Keys       uint64
	Expires    uint64
	SubKeys    uint64 // elements and chunks
	Garbage    uint64 // dead ids that wait for reclamation
	Importing  uint64 // slots that are being imported
	Bytes      uint64 // of all keys and values
	// Problems are the first maxProblems of ProblemCount.
	Problems     []string
	ProblemCount int
}

const maxProblems = 100

func (r *Report) problem(format string, args ...any) {
	r.ProblemCount++
	if len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
	}
}

// Err is an ErrCorrupt that lists the problems, or nil if there are none.
func (r *Report) Err() error {
	if r.ProblemCount == 0 {
		return nil
	}
	return fmt.Errorf("%w: %d problems:\n  %s", ErrCorrupt, r.ProblemCount, strings.Join(r.Problems, "\n  "))
}

// Check verifies the data folder of a store that is not open, without changing a byte of it: the log behind
// what Pebble holds is replayed in memory. The error is for
// what keeps it from checking; what it finds is in the report.
func Check(ctx context.Context, dir string, o Options) (*Report, error) {
	o.ReadOnly = true
	s, err := Open(dir, o)
	if err != nil {
		return nil, err
	}
	r, err := s.Check(ctx)
	return r, errors.Join(err, s.Close())
}

// Check verifies the open store as it is now: every record of the log and of the store decodes and has its checksum,
// counters are what counting gives, the expiry index has each expiring key and nothing
// else, every sub-key belongs to a value or to a dead id, those of a collection take what its record says, and Options.Verify finds nothing wrong. It reads everything, but holds no lock while it does.
func (s *Store) Check(ctx context.Context) (*Report, error) {
	c := &checker{s: s, ctx: ctx, r: &Report{}}
	if err := c.start(); err != nil {
		return nil, err
	}
	defer s.life.RUnlock()
	defer c.snap.Close()
	if err := c.checkLog(); err != nil {
		return c.r, err
	}
	return c.r, c.checkStore()
}

// checker is one run of Check.
type checker struct {
	s     *Store
	ctx   context.Context
	r     *Report
	snap  *pebble.Snapshot
	table *dbTable
	from  Offset
	// memory is a copy of the counters that belongs to the snapshot.
	memory    [keys.Slots]keys.Counters
	importing map[uint16]bool // true for those whose mark was found
	commits   uint64

	slot   int  // the one being read, or -1
	unread bool // it could not be read as a whole
	// arriving: it is being imported, so that it need not agree with itself yet.
	arriving bool
	stored   keys.Counters
	counted  map[uint8]*Counts
	ids      map[uint64]*spread // those that may have sub-keys; nil for dead ones
	expires  uint64             // expiry index entries
	fields   uint64             // hashes with fields that expire, each of which has one
	lastSub  uint64
	spread   *spread // of the sub-keys that are being read, nil if they are of no live value
	keyBuf   []byte
	arena    arena
}

// start takes a snapshot and what memory says at that moment, and holds s.life afterwards.
func (c *checker) start() error {
	s := c.s
	if err := s.drain(); err != nil { // most of it before the lock
		return err
	}
	s.world.Lock()
	defer s.world.Unlock()
	if s.closed.Load() {
		return ErrClosed
	}
	if err := s.drain(); err != nil {
		return err
	}
	s.life.RLock()
	c.snap = s.db.NewSnapshot()
	c.table = s.dbs.Load()
	c.r.LogEnd = s.log.End()
	c.from = s.log.Start()
	c.commits = s.commits.Load()
	c.importing = map[uint16]bool{}
	for _, slot := range s.Importing() {
		c.importing[slot] = false
	}
	for slot := range c.memory {
		s.counters.stored(&c.memory[slot], uint16(slot), s.slots[slot].nextID, nil, false)
	}
	return nil
}

// checkLog reads the whole log.
func (c *checker) checkLog() error {
	if err := c.readApplied(); err != nil {
		return err
	}
	if !c.s.o.ReadOnly {
		if _, err := c.s.log.Flush(); err != nil {
			return err
		}
	}
	cur, err := c.s.log.Read(c.from)
	for errors.Is(err, wal.ErrDropped) { // since start, and perhaps again at this moment: segments are dropped one by one
		c.from = c.s.log.Start()
		cur, err = c.s.log.Read(c.from)
	}
	if err != nil {
		return err
	}
	defer cur.Close()
	boundary := c.r.Applied <= c.from
	for cur.Offset() < c.r.LogEnd {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		rec, err := cur.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if errors.Is(err, wal.ErrDropped) {
			return nil // by a flush meanwhile: what was dropped is no longer needed
		}
		if err != nil {
			c.r.problem("log: %v", err)
			return nil
		}
		c.r.LogRecords++
		c.r.LogBytes += rec.End - rec.Start
		boundary = boundary || rec.End == c.r.Applied
		c.checkRecord(&rec)
		c.s.progress("checking the log", rec.End-c.from, c.r.LogEnd-c.from)
	}
	if !boundary {
		c.r.problem("the applied offset %d is no record boundary of the log, which holds %d to %d", c.r.Applied, c.from, c.r.LogEnd)
	}
	return nil
}

func (c *checker) readApplied() error {
	v, closer, err := c.snap.Get(keys.AppliedKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		c.r.problem("reading the applied offset: %v", err)
		return nil
	}
	defer closer.Close()
	if len(v) != 8 {
		c.r.problem("the applied offset has %d bytes", len(v))
		return nil
	}
	c.r.Applied = binary.BigEndian.Uint64(v)
	return nil
}

// checkRecord decodes a record's batch, whose slots must be those that the record names.
func (c *checker) checkRecord(rec *wal.Record) {
	if rec.Kind == wal.KindTerm {
		return
	}
	count, ops, err := recordOps(rec)
	if err != nil {
		c.r.problem("log: record at %d: %v", rec.Start, err)
		return
	}
	named := make(map[uint16]bool, len(rec.Slots))
	for _, slot := range rec.Slots {
		named[slot] = true
	}
	reader := batchrepr.Reader(ops)
	for n := uint64(0); ; n++ {
		_, key, _, ok, err := reader.Next()
		if !ok {
			if err != nil || n != count {
				c.r.problem("log: record at %d: batch ends after %d of %d operations: %v", rec.Start, n, count, err)
			}
			return
		}
		if len(key) >= 2 && key[0] < keys.Slots>>8 && !named[binary.BigEndian.Uint16(key)] {
			c.r.problem("log: record at %d: writes slot %d without naming it", rec.Start, binary.BigEndian.Uint16(key))
		}
	}
}

// checkStore reads every key. Behind what cannot be read it goes on with the next slot.
func (c *checker) checkStore() error {
	c.slot = -1
	var gap unread
	for from := 0; from <= keys.Slots; {
		at, err := c.checkFrom(from, &gap)
		if c.ctx.Err() != nil {
			return c.ctx.Err()
		}
		if err == nil {
			break
		}
		last := max(c.slot, from, at)
		c.skipTo(last, &gap, err)
		from = last + 1
	}
	gap.report(c.r)
	c.endSlots(keys.Slots)
	for slot, found := range c.importing {
		if !found {
			c.r.problem("slot %d: is being imported, but the store does not say so", slot)
		}
	}
	return nil
}

// checkFrom reads every key from a slot on. With an error it returns the slot of the key whose value could not be read, 0 if it is unknown.
func (c *checker) checkFrom(from int, gap *unread) (at int, err error) {
	it, err := c.snap.NewIter(&pebble.IterOptions{LowerBound: keys.AppendSlot(nil, from)})
	if err != nil {
		return 0, err
	}
	defer it.Close()
	total := c.s.db.Metrics().DiskSpaceUsage()
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return slotOf(it.Key()), err
		}
		if p, _ := keys.Parse(it.Key()); p.Kind != keys.KindCounters { // those of a slot may be whole where nothing else is
			gap.report(c.r)
		}
		c.r.Bytes += uint64(len(it.Key()) + len(v))
		c.checkKey(it.Key(), v)
		if c.r.Keys%1024 == 0 {
			if err := c.ctx.Err(); err != nil {
				return 0, err
			}
			c.s.progress("checking the store", min(c.r.Bytes, total), total)
		}
	}
	return 0, it.Error()
}

// slotOf returns the slot of a stored key, keys.Slots for the node's own.
func slotOf(key []byte) int {
	if len(key) < 2 {
		return 0
	}
	return min(int(binary.BigEndian.Uint16(key)), keys.Slots)
}

// skipTo notes that slot last could not be read, or only in part.
func (c *checker) skipTo(last int, gap *unread, err error) {
	if c.slot < last {
		c.endSlots(min(last, keys.Slots))
	}
	c.slot, c.unread, c.spread = last, true, nil
	if last > gap.last+1 { // between them nothing is stored
		gap.report(c.r)
	}
	if gap.err == nil {
		*gap = unread{first: last, err: err}
	}
	gap.last = last
}

// unread is a range of slots in which something could not be read.
type unread struct {
	first, last int
	err         error
}

// blobName finds the name of a blob file in an error, fileName the number of a damaged table, or of any file, in Pebble's.
var (
	blobName = regexp.MustCompile(`\d{6,}\.blob`)
	fileName = regexp.MustCompile(`(table|file) (\d{6,})`)
)

// report makes a problem of the range, if there is one, and ends it.
func (u *unread) report(r *Report) {
	if u.err == nil {
		return
	}
	file := "a file of the store"
	if name := blobName.FindString(u.err.Error()); name != "" {
		file = "file " + name
	} else if m := fileName.FindStringSubmatch(u.err.Error()); m != nil {
		file = "file " + m[2]
		if m[1] == "table" {
			file += ".sst"
		}
	}
	switch {
	case u.first >= keys.Slots:
		r.problem("the node's own records could not be read: %s is damaged", file)
	case u.first == u.last:
		r.problem("slot %d could not be read, or only in part: %s is damaged", u.first, file)
	default:
		r.problem("slots %d-%d could not be read, or only in part: %s is damaged", u.first, min(u.last, keys.Slots-1), file)
	}
	*u = unread{}
}

func (c *checker) checkKey(key, value []byte) {
	if key[0] >= keys.Slots>>8 {
		c.checkNodeKey(key, value)
		return
	}
	p, ok := keys.Parse(key)
	if !ok {
		c.r.problem("store: key %x does not parse", key)
		return
	}
	if int(p.Slot) != c.slot {
		c.endSlots(int(p.Slot))
		c.beginSlot(int(p.Slot))
	}
	switch p.Kind {
	case keys.KindCounters:
		if rest, err := c.stored.Decode(value); err != nil || len(rest) != 0 {
			c.r.problem("slot %d: counters do not decode: %v", p.Slot, err)
		}
	case keys.KindImport:
		c.checkImport(p.Slot, value)
	case keys.KindExpiry:
		c.expires++
		if len(value) != 0 {
			c.r.problem("slot %d: an expiry entry has a value", p.Slot)
		}
	case keys.KindGarbage:
		c.r.Garbage++
		c.ids[p.ID] = nil
		c.checkID(p)
	case keys.KindMeta:
		c.checkMeta(p, key, value)
	case keys.KindSub:
		c.r.SubKeys++
		if !c.arriving {
			c.checkSub(p, value)
		}
		c.checkCachedSub(p, key, value)
	}
}

func (c *checker) checkNodeKey(key, value []byte) {
	switch string(key) {
	case string(keys.AppliedKey), string(keys.ReachedDirectKey), string(keys.ReachedDrainKey), string(keys.SummaryKey):
	case string(keys.DatabasesKey):
		if _, err := decodeDBTable(value); err != nil {
			c.r.problem("%v", err)
		}
	default:
		c.r.problem("store: unknown key %x", key)
	}
}

func (c *checker) beginSlot(slot int) {
	c.slot, c.unread, c.arriving = slot, false, false
	c.stored = keys.Counters{NextID: 1}
	c.counted = map[uint8]*Counts{}
	c.ids = map[uint64]*spread{}
	c.expires, c.fields, c.lastSub, c.spread = 0, 0, 0, nil
}

// checkImport notes that the slot is being imported.
func (c *checker) checkImport(slot uint16, value []byte) {
	c.arriving = true
	c.r.Importing++
	var will keys.Counters
	if rest, err := will.Decode(value); err != nil || len(rest) != 0 {
		c.r.problem("slot %d: the counters of its import do not decode: %v", slot, err)
	}
	if _, known := c.importing[slot]; !known {
		c.r.problem("slot %d: is marked as being imported, but is not", slot)
	}
	c.importing[slot] = true
	if m := &c.memory[slot]; len(m.DBs) > 0 {
		c.r.problem("slot %d: is being imported, but counters say %+v", slot, *m)
	}
}

func (c *checker) checkID(p keys.Parsed) {
	if p.ID >= c.stored.NextID && !c.arriving {
		c.r.problem("slot %d: id %d is not below the next one, %d", p.Slot, p.ID, c.stored.NextID)
	}
}

func (c *checker) checkMeta(p keys.Parsed, key, value []byte) {
	c.r.Keys++
	if p.Hash != keys.Hash(p.Name) {
		c.r.problem("slot %d: a key lies under another key's hash", p.Slot)
	}
	if keys.Slot(p.Name) != p.Slot {
		c.r.problem("slot %d: holds a key of slot %d", p.Slot, keys.Slot(p.Name))
	}
	var rec Record
	var err error
	h := &rec.Header
	if rec.Value, err = h.Decode(value); err != nil {
		c.r.problem("slot %d: %v", p.Slot, err)
		return
	}
	if !c.table.live(p.DB) && !c.table.dirty[p.DB] {
		c.r.problem("slot %d: a key in database number %d, which is not in use", p.Slot, p.DB)
	}
	if c.arriving {
		return
	}
	n := c.counted[p.DB]
	if n == nil {
		n = &Counts{}
		c.counted[p.DB] = n
	}
	n.Keys++
	n.Bytes += recordBytes(key, value, h)
	if h.ExpireAt != 0 {
		n.Expires++
		c.r.Expires++
		c.checkExpiry(p, keys.ExpireKey, h.ExpireAt)
	}
	if h.FieldExpireAt != 0 {
		c.fields++
		c.checkExpiry(p, keys.ExpireField, h.FieldExpireAt)
	}
	if h.ID != 0 {
		if _, taken := c.ids[h.ID]; taken {
			c.r.problem("slot %d: id %d is used twice, or is used and dead", p.Slot, h.ID)
		}
		rec.Value = bytes.Clone(rec.Value)
		c.ids[h.ID] = &spread{rec: rec}
		c.checkID(keys.Parsed{Slot: p.Slot, ID: h.ID})
	} else if c.s.o.Verify != nil {
		if _, err := c.s.o.Verify(rec); err != nil {
			c.r.problem("slot %d: a value: %v", p.Slot, err)
		}
	}
	c.checkCache(p.Slot, key, value)
}

// spread is a value in sub-keys.
type spread struct {
	rec      Record
	begun    bool
	bytes    uint64   // of the sub-keys, as Header.Bytes
	verifier Verifier // nil for none, or once something was wrong
}

// checkSub takes a sub-key to the value that it belongs to.
func (c *checker) checkSub(p keys.Parsed, value []byte) {
	if p.ID != c.lastSub {
		c.endSpread()
		c.lastSub = p.ID
		v, known := c.ids[p.ID]
		if !known {
			c.r.problem("slot %d: sub-keys of id %d, which belongs to nothing", p.Slot, p.ID)
		}
		c.beginSpread(v)
	}
	v := c.spread
	if v == nil {
		return
	}
	v.bytes += keys.SubBytes(p.Sub, value)
	if v.verifier != nil {
		c.wrong(v, v.verifier.Sub(p.Sub, value))
	}
}

func (c *checker) beginSpread(v *spread) {
	if c.spread = v; v == nil {
		return
	}
	v.begun = true
	if c.s.o.Verify != nil {
		var err error
		v.verifier, err = c.s.o.Verify(v.rec)
		c.wrong(v, err)
	}
}

// endSpread compares what was read of a value with what its record says.
func (c *checker) endSpread() {
	v := c.spread
	if v == nil {
		return
	}
	c.spread = nil
	if v.rec.Type != keys.TypeString && v.bytes != v.rec.Bytes {
		c.r.problem("slot %d: the sub-keys of id %d take %d bytes, its record says %d", c.slot, v.rec.ID, v.bytes, v.rec.Bytes)
	}
	if v.verifier != nil {
		c.wrong(v, v.verifier.End())
	}
}

// wrong notes what is wrong with a value, if anything is.
func (c *checker) wrong(v *spread, err error) {
	if err != nil {
		v.verifier = nil
		c.r.problem("slot %d: the value of id %d: %v", c.slot, v.rec.ID, err)
	}
}

// endSpreads ends the last value of a slot, and looks at those without a sub-key.
func (c *checker) endSpreads() {
	c.endSpread()
	for _, v := range c.ids {
		if v != nil && !v.begun {
			c.beginSpread(v)
			c.endSpread()
		}
	}
}

// checkExpiry looks for an index entry of a key. As each key has its own, and endSlots
// compares their number, the index then holds nothing else.
func (c *checker) checkExpiry(p keys.Parsed, kind keys.ExpiryKind, at int64) {
	c.keyBuf = keys.AppendExpiry(c.keyBuf[:0], p.Slot, at, kind, p.DB, p.Name)
	_, closer, err := c.snap.Get(c.keyBuf)
	if err != nil {
		c.r.problem("slot %d: a key that expires at %d is not in the expiry index: %v", p.Slot, at, err)
		return
	}
	_ = closer.Close()
	if earliest := c.s.expiries.earliest[p.Slot].Load(); earliest == 0 || earliest > at {
		c.checkEarliest(p.Slot, at)
	}
}

// checkEarliest notes that the earliest expiry known is later than that of a key, unless somebody writes to the slot: the expirer
// raises it before it commits. No lock is waited for, since Close waits for the check.
func (c *checker) checkEarliest(slot uint16, at int64) {
	if !c.s.world.TryRLock() {
		return
	}
	defer c.s.world.RUnlock()
	if !c.s.slots[slot].mu.TryRLock() {
		return
	}
	defer c.s.slots[slot].mu.RUnlock()
	if earliest := c.s.expiries.earliest[slot].Load(); (earliest == 0 || earliest > at) && c.s.commits.Load() == c.commits {
		c.r.problem("slot %d: the earliest expiry known is %d, but a key expires at %d", slot, earliest, at)
	}
}

// checkCache compares the record table with the store, as long as nothing is written.
func (c *checker) checkCache(slot uint16, key, value []byte) {
	c.arena.reset()
	got, ok := c.s.records.get(&c.arena, hashKey(key), key)
	if ok && string(got) != string(value) && c.s.commits.Load() == c.commits {
		c.r.problem("slot %d: the record table differs from the store", slot)
	}
}

// checkCachedSub is checkCache for a sub-key, which the table may hold to be absent, too; but of those that are only walked, and of those of dead
// ids, for which nobody asks, it need not know.
func (c *checker) checkCachedSub(p keys.Parsed, key, value []byte) {
	c.arena.reset()
	got, known := c.s.records.getSub(&c.arena, p.Slot, p.ID, hashKey(key), key)
	if known && (got == nil && c.asked(p.Sub) || got != nil && !bytes.Equal(got, value)) && c.s.commits.Load() == c.commits {
		c.r.problem("slot %d: the record table differs from the store in a sub-key", p.Slot)
	}
}

// asked says whether GetSub may be asked for a sub-key of the value that is being read.
func (c *checker) asked(sub []byte) bool {
	switch v := c.spread; {
	case v == nil:
		return false
	case v.verifier == nil:
		return c.s.o.Verify == nil
	default:
		w, ok := v.verifier.(WalkedVerifier)
		return !ok || !w.Walked(sub)
	}
}

// endSlots compares the counters of the slot that was read, and those of the empty slots up to next.
func (c *checker) endSlots(next int) {
	if c.slot >= 0 && !c.unread && !c.arriving {
		c.endSpreads()
		c.compareCounters()
	}
	for slot := c.slot + 1; slot < next; slot++ {
		if m := &c.memory[slot]; len(m.DBs) > 0 {
			c.r.problem("slot %d: is empty, but counters say %+v", slot, *m)
		}
	}
}

func (c *checker) compareCounters() {
	var expires int64
	n := 0
	for db, got := range c.counted {
		expires += got.Expires
		want := Counts{}
		for _, d := range c.stored.DBs {
			if d.DB == db {
				want = Counts{Keys: int64(d.Keys), Expires: int64(d.Expires), Bytes: int64(d.Bytes)}
				n++
			}
		}
		if want != *got {
			c.r.problem("slot %d: database %d: counters say %+v, counting gives %+v", c.slot, db, want, *got)
		}
	}
	if n != len(c.stored.DBs) {
		c.r.problem("slot %d: counters of databases without keys: %+v", c.slot, c.stored)
	}
	if uint64(expires)+c.fields != c.expires {
		c.r.problem("slot %d: %d keys expire and fields of %d, but the expiry index has %d entries", c.slot, expires, c.fields, c.expires)
	}
	m := &c.memory[c.slot]
	// An id that was given and then rolled back advances the counter in memory only.
	if m.NextID < c.stored.NextID || fmt.Sprint(m.DBs) != fmt.Sprint(c.stored.DBs) {
		c.r.problem("slot %d: counters in memory are %+v, in the store %+v", c.slot, *m, c.stored)
	}
}
