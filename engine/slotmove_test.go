package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/batchrepr"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/tools/poll"
)

// storedSlot returns what a store has of a slot, by key, with logical databases. Nothing may be written meanwhile.
func storedSlot(t testing.TB, s *Store, slot uint16) map[string]string {
	t.Helper()
	if err := s.drain(); err != nil {
		t.Fatal(err)
	}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: keys.AppendSlot(nil, int(slot)), UpperBound: keys.AppendSlot(nil, int(slot)+1)})
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	logical := newLogicalDBs(s.dbs.Load())
	all := map[string]string{}
	for ok := it.First(); ok; ok = it.Next() {
		key, value := slices.Clone(it.Key()), slices.Clone(it.Value())
		p, ok := keys.Parse(key)
		if !ok {
			t.Fatalf("slot %d: key %x", slot, key)
		}
		switch p.Kind {
		case keys.KindMeta, keys.KindExpiry:
			db, live := logical.of(p.DB)
			if !live {
				continue
			}
			keys.SetDB(key, db)
		case keys.KindCounters, keys.KindImport:
			var c keys.Counters
			if _, err := c.Decode(value); err != nil {
				t.Fatal(err)
			}
			c.NextID = 1 // an id that was given and taken back makes a difference
			if value = logical.counters(&c); p.Kind == keys.KindCounters && len(c.DBs) == 0 {
				continue
			}
		}
		all[string(key)] = string(value)
	}
	return all
}

// reclaimedSlot is storedSlot once nothing dead is left.
func reclaimedSlot(t testing.TB, s *Store, slot uint16) (all map[string]string) {
	t.Helper()
	poll.Until(t, "reclamation", func() bool {
		all = storedSlot(t, s, slot)
		for k := range all {
			if k[2] == byte(keys.KindGarbage) {
				return false
			}
		}
		return true
	})
	return all
}

// compareSlots compares the slot in two stores, byte by byte.
func compareSlots(t testing.TB, from, to *Store, slot uint16) {
	t.Helper()
	want, got := reclaimedSlot(t, from, slot), reclaimedSlot(t, to, slot)
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if v, ok := got[k]; !ok || v != want[k] {
			t.Fatalf("slot %d: %x is %x (%v), want %x", slot, k, v, ok, want[k])
		}
	}
	for k, v := range got {
		if _, ok := want[k]; !ok {
			t.Fatalf("slot %d: %x is too much: %x", slot, k, v)
		}
	}
}

// mover moves slots from one store to another.
type mover struct {
	t        testing.TB
	from, to *Store
	slots    []uint16
	at       Offset
	// between is called between two batches.
	between func()
	again   int // exports that had to be begun again
}

func (m *mover) send(b SlotBatch) error {
	if m.between != nil {
		m.between()
	}
	_, err := m.to.Import(context.Background(), slices.Clone(b))
	return err
}

// export begins the move.
func (m *mover) export() {
	m.t.Helper()
	if _, err := m.to.BeginImport(m.slots); err != nil {
		m.t.Fatal(err)
	}
	m.at = m.from.End()
	for i, slot := range m.slots {
		at, err := m.from.ExportSlot(context.Background(), slot, m.send)
		if err != nil {
			m.t.Fatal(err)
		}
		if i == 0 || at < m.at {
			m.at = at
		}
	}
}

// tail catches up with what was written until now.
func (m *mover) tail() {
	m.t.Helper()
	to := m.from.End()
	at, err := m.from.SlotTail(context.Background(), m.slots, m.at, to, m.send)
	if errors.Is(err, ErrExportAgain) {
		m.again++
		m.export()
		m.tail()
		return
	}
	if err != nil {
		m.t.Fatal(err)
	}
	if m.at = at; at < to {
		m.t.Fatalf("the tail ends at %d, not at %d", at, to)
	}
}

// finish moves what is left. Nothing is written meanwhile.
func (m *mover) finish() {
	m.t.Helper()
	m.between = nil
	m.tail()
	if _, err := m.to.EndImport(m.slots); err != nil {
		m.t.Fatal(err)
	}
}

func moveOptions(clock *fakeClock) Options {
	o := testOptions(vfs.NewMem())
	o.Now = clock.now
	o.LogBacklogBytes = 1 << 30
	return o
}

// TestMoveSlot plays the stories of testdata/slotmove: see there. All keys are in one slot.
func TestMoveSlot(t *testing.T) {
	t.Parallel()
	clock := newFakeClock()
	stores := map[string]*Store{}
	var m *mover
	name := func(n string) []byte { return []byte("{s}" + n) }
	slot := keys.Slot(name(""))
	datadriven.RunTest(t, "testdata/slotmove", func(t *testing.T, d *datadriven.TestData) string {
		t.Helper()
		if d.Cmd == "new" {
			for _, n := range []string{"source", "target"} {
				stores[n] = openTest(t, "d", moveOptions(clock))
				stores[n].SetActiveExpire(false)
			}
			m = &mover{t: t, from: stores["source"], to: stores["target"], slots: []uint16{slot}}
			return ""
		}
		var out strings.Builder
		result := func(what string, err error) {
			if err != nil {
				fmt.Fprintf(&out, "%s: %v\n", what, err)
			}
		}
		switch d.Cmd {
		case "source", "target":
			s := stores[d.Cmd]
			for line := range strings.Lines(d.Input) {
				f := strings.Fields(line)
				result(f[0], storyStep(t, s, slot, clock, name, f))
			}
		case "export":
			result("export", func() error {
				if _, err := m.to.BeginImport(m.slots); err != nil {
					return err
				}
				var err error
				m.at, err = m.from.ExportSlot(context.Background(), slot, m.send)
				return err
			}())
		case "tail":
			var err error
			m.at, err = m.from.SlotTail(context.Background(), m.slots, m.at, m.from.End(), m.send)
			result("tail", err)
		case "begin":
			_, err := m.to.BeginImport(m.slots)
			result("begin", err)
		case "end":
			_, err := m.to.EndImport(m.slots)
			result("end", err)
		case "drop":
			_, err := stores[d.CmdArgs[0].Key].DropSlots(m.slots)
			result("drop", err)
		case "reopen":
			n := d.CmdArgs[0].Key
			if err := stores[n].Close(); err != nil {
				t.Fatal(err)
			}
			stores[n] = openTest(t, "d", stores[n].o)
			stores[n].SetActiveExpire(false)
			m.from, m.to = stores["source"], stores["target"]
		case "compare":
			compareSlots(t, m.from, m.to, slot)
			out.WriteString("equal\n")
		case "show":
			n := d.CmdArgs[0].Key
			showSlot(t, &out, stores[n], slot)
		default:
			t.Fatalf("unknown command %s", d.Cmd)
		}
		for _, s := range stores {
			checkStore(t, s)
		}
		return out.String()
	})
}

// storyStep is a line of a story: what is done in the slot.
func storyStep(t *testing.T, s *Store, slot uint16, clock *fakeClock, name func(string) []byte, f []string) error {
	tx := s.NewTxn()
	if strings.HasPrefix(f[0], "flush") || f[0] == "swapdb" {
		tx.LockWorld()
	} else {
		tx.Lock([]uint16{slot}, true)
	}
	defer tx.Discard()
	k := Key{Slot: slot, DB: s.DB(0)}
	if len(f) > 1 {
		k.Name = name(f[1])
	}
	err := func() error {
		switch f[0] {
		case "set": // name length [ttl in seconds]
			h := stringHeader
			var n, ttl int
			_, _ = fmt.Sscan(strings.Join(f[2:], " "), &n, &ttl)
			if ttl > 0 {
				h.ExpireAt = clock.ms.Load() + int64(ttl)*1000
			}
			return tx.Put(k, h, bytes.Repeat([]byte("v"), n))
		case "spread": // name parts
			id, err := tx.NewID(slot)
			if err != nil {
				return err
			}
			var n uint32
			_, _ = fmt.Sscan(f[2], &n)
			h := keys.Header{Type: keys.TypeHash, Encoding: keys.EncodingSpread, ID: id, Count: uint64(n)}
			for i := range n {
				sub, value := binary.BigEndian.AppendUint32(nil, i), bytes.Repeat([]byte{byte(i)}, 3000)
				if err := tx.PutSub(slot, id, sub, value); err != nil {
					return err
				}
				h.Bytes += keys.SubBytes(sub, value)
			}
			return tx.Put(k, h, nil)
		case "del":
			_, err := tx.Delete(k)
			return err
		case "get":
			_, ok, err := tx.Get(k)
			if ok {
				err = errors.Join(err, errors.New("it is there"))
			}
			return err
		case "otherdb":
			k.DB = s.DB(1)
			return tx.Put(k, stringHeader, []byte("other"))
		case "flushall":
			return tx.FlushAll()
		case "flushdb":
			return tx.FlushDB(0)
		case "swapdb":
			return tx.SwapDB(0, 2)
		case "expire": // active expiry, now
			clock.advance(time.Minute)
			tx.Discard()
			_, err := s.expireSlot(s.NewTxn(), slot)
			return err
		case "drain":
			tx.Discard()
			return s.drain()
		}
		t.Fatalf("unknown step %v", f)
		return nil
	}()
	if err != nil {
		return err
	}
	return tx.Commit()
}

// showSlot prints what can be seen of the slot, and what is stored.
func showSlot(t *testing.T, out *strings.Builder, s *Store, slot uint16) {
	var seen []string
	_, err := s.Scan(nil, s.DB(0), 0, 1000, -1, func(name []byte, r Record) { seen = append(seen, string(name)) })
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(seen)
	inSlot, err := s.KeysInSlot(slot, 100)
	if err != nil {
		t.Fatal(err)
	}
	_, random, err := s.RandomKey(nil, s.DB(0))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(out, "counted %d, in the slot %d, scanned %v, listed %d, random %v, importing %d, expires %v\n",
		s.DBCounts(s.DB(0)).Keys, s.SlotCounts(slot).Keys, seen, len(inSlot), random, len(s.Importing()), s.expiries.earliest[slot].Load() != 0)
	stored := storedSlot(t, s, slot)
	ids := map[uint64]bool{}
	for k, v := range stored {
		if k[2] == byte(keys.KindMeta) {
			var h keys.Header
			_, _ = h.Decode([]byte(v))
			ids[h.ID] = true
		}
	}
	for _, k := range slices.Sorted(maps.Keys(stored)) {
		p, _ := keys.Parse([]byte(k))
		if p.ID != 0 && !ids[p.ID] {
			continue // the reclaimer removes it sooner or later
		}
		fmt.Fprintf(out, "%c", p.Kind)
		switch p.Kind {
		case keys.KindMeta, keys.KindExpiry:
			fmt.Fprintf(out, " %s, database %d: %d bytes\n", p.Name, p.DB, len(stored[k]))
		case keys.KindCounters, keys.KindImport:
			var c keys.Counters
			_, _ = c.Decode([]byte(stored[k]))
			fmt.Fprintf(out, " %v\n", c.DBs)
		default:
			fmt.Fprintf(out, " %d %x: %d bytes\n", p.ID, p.Sub, len(stored[k]))
		}
	}
}

// TestMoveModel moves a slot while the model's transactions run, in pieces between batches, and compares every stored byte in the end. The
// target's replica has the same.
func TestMoveModel(t *testing.T) {
	t.Parallel()
	for range 4 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 0))
			clock := newFakeClock()
			source, target := openTest(t, "d", moveOptions(clock)), openTest(t, "d", moveOptions(clock))
			o := moveOptions(clock)
			o.Follow = true
			replica := openTest(t, "d", o)
			inWorld(t, target, func(tx *Txn) error { return tx.SwapDB(0, 2) }) // other numbers than the source's
			mt := &modelTest{t: t, rng: rng, s: source, tx: source.NewTxn(), m: model{}, clock: clock, names: 300}
			for range 100 {
				mt.group()
			}
			m := &mover{t: t, from: source, to: target, slots: []uint16{keys.Slot([]byte("{tag}"))}}
			for i := range 25 {
				m.slots = append(m.slots, keys.Slot(fmt.Append(nil, "k", 3*i+1)))
			}
			slices.Sort(m.slots)
			m.slots = slices.Compact(m.slots)
			m.between = func() {
				if rng.IntN(10) == 0 { // more of them, and databases would change their numbers in every export
					mt.group()
				}
			}
			m.export()
			for range 20 {
				for range rng.IntN(3) {
					mt.group()
				}
				m.tail()
				if n := target.DBCounts(target.DB(0)).Keys; n != 0 || target.SlotCounts(m.slots[0]).Keys != 0 {
					t.Fatalf("%d keys are seen while they are being imported", n)
				}
			}
			checkStore(t, target)
			catchUp(t, rng, target, replica)
			sameStores(t, target, replica)
			if !slices.Equal(target.Importing(), m.slots) || !slices.Equal(replica.Importing(), m.slots) {
				t.Errorf("importing %v on the target, %v on its replica, want %v", target.Importing(), replica.Importing(), m.slots)
			}
			mt.settle()
			m.finish()
			for _, slot := range m.slots {
				compareSlots(t, source, target, slot)
				if got, want := target.SlotCounts(slot), source.SlotCounts(slot); got != want {
					t.Errorf("slot %d: %+v, want %+v", slot, got, want)
				}
			}
			for caughtUp := false; !caughtUp; {
				catchUp(t, rng, target, replica)
				caughtUp = sameStores(t, target, replica)
			}
			if _, err := source.DropSlots(m.slots); err != nil {
				t.Fatal(err)
			}
			for _, slot := range m.slots {
				if left := storedSlot(t, source, slot); len(left) > 0 {
					t.Fatalf("slot %d: %d keys are left", slot, len(left))
				}
			}
			checkStore(t, source)
			checkStore(t, target)
			t.Logf("exported again %d times", m.again)
		})
	}
}

func inWorld(t testing.TB, s *Store, fn func(tx *Txn) error) {
	t.Helper()
	tx := s.NewTxn()
	tx.LockWorld()
	if err := fn(tx); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

// TestMoveUnderWriters moves a slot while goroutines write to it and to others.
func TestMoveUnderWriters(t *testing.T) {
	t.Parallel()
	o := testOptions(vfs.NewMem())
	o.LogBacklogBytes = 1 << 30
	source := openTest(t, "d", o)
	o.FS = vfs.NewMem()
	target := openTest(t, "d", o)
	const writers, names = 4, 3000
	slot := keys.Slot([]byte("{s}"))
	write := func(tx *Txn, rng *rand.Rand) error {
		k := key(fmt.Sprint("{s}", rng.IntN(names)))
		if rng.IntN(4) == 0 {
			k = key(fmt.Sprint("other", rng.IntN(names)))
		}
		tx.Lock([]uint16{k.Slot}, true)
		if rng.IntN(5) == 0 {
			if _, err := tx.Delete(k); err != nil {
				return err
			}
			return tx.Commit()
		}
		h := stringHeader
		if rng.IntN(3) == 0 {
			h.ExpireAt = tx.Now() + int64(rng.IntN(3000))
		}
		if err := tx.Put(k, h, bytes.Repeat([]byte("v"), rng.IntN(2000))); err != nil {
			return err
		}
		return tx.Commit()
	}
	tx, rng := source.NewTxn(), rand.New(rand.NewPCG(1, 2))
	for range names {
		if err := write(tx, rng); err != nil {
			t.Fatal(err)
		}
	}
	stop := make(chan struct{})
	var done sync.WaitGroup
	for i := range writers {
		done.Go(func() {
			tx, rng := source.NewTxn(), rand.New(rand.NewPCG(uint64(i), 3))
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := write(tx, rng); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	m := &mover{t: t, from: source, to: target, slots: []uint16{slot}}
	m.export()
	for range 10 {
		m.tail()
	}
	close(stop)
	done.Wait()
	source.SetActiveExpire(false)
	target.SetActiveExpire(false)
	inTxn(t, source, slot, func(*Txn) error { return nil }) // an expirer at work has ended
	m.finish()
	compareSlots(t, source, target, slot)
	checkStore(t, target)
}

// TestMoveCrash crashes the target at any moment: what it is then is what the log says up to where it ends.
func TestMoveCrash(t *testing.T) {
	t.Parallel()
	clock := newFakeClock()
	slot := keys.Slot([]byte("{s}"))
	source := openTest(t, "d", moveOptions(clock))
	var stories []string
	for i := range 400 {
		stories = append(stories, fmt.Sprintf("set a%d %d %d", i, i*5, i%3*100))
	}
	stories = append(stories, "spread b 40", "spread c 5", "del c", "del a7")
	name := func(n string) []byte { return []byte("{s}" + n) }
	for _, line := range stories {
		if err := storyStep(t, source, slot, clock, name, strings.Fields(line)); err != nil {
			t.Fatal(err)
		}
	}
	var whole []SlotBatch
	if _, err := source.ExportSlot(context.Background(), slot, func(b SlotBatch) error {
		whole = append(whole, slices.Clone(b))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	batches := smaller(t, whole, 20<<10)
	for range 12 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			t.Parallel()
			c := &moveCrash{t: t, rng: rand.New(rand.NewPCG(seed, 0)), slot: slot, batches: batches, clock: clock}
			c.run(6)
		})
	}
}

// smaller cuts batches into many.
func smaller(t *testing.T, whole []SlotBatch, size int) (batches []SlotBatch) {
	w := &batchWriter{emit: func(b SlotBatch) error { batches = append(batches, slices.Clone(b)); return nil }}
	for _, b := range whole {
		r := batchrepr.Reader(b[slotBatchHeader:])
		for {
			kind, key, val, ok, err := r.Next()
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			if len(w.buf)+len(val) > size {
				if err := w.flush(); err != nil {
					t.Fatal(err)
				}
			}
			if kind != pebble.InternalKeyKindSet {
				t.Fatalf("an export holds an operation of kind %d", kind)
			}
			if err := w.add(opSet, key, val, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.flush(); err != nil {
		t.Fatal(err)
	}
	return batches
}

type moveCrash struct {
	t       *testing.T
	rng     *rand.Rand
	slot    uint16
	batches []SlotBatch
	clock   *fakeClock
	history []movePoint
}

// movePoint is the state of the slot behind an offset.
type movePoint struct {
	end       Offset
	importing bool
	stored    map[string]string // without counters
}

// note adds what an operation has led to.
func (c *moveCrash) note(end Offset, importing bool, stored map[string]string) {
	c.history = append(c.history, movePoint{end, importing, maps.Clone(stored)})
}

func (c *moveCrash) run(crashes int) {
	fs := vfs.NewCrashableMem()
	c.history = []movePoint{{}}
	for point := range crashes {
		cr := &crasher{fs: fs}
		cr.cfg.RNG = rand.New(rand.NewPCG(c.rng.Uint64(), 0))
		cr.cfg.UnsyncedDataPercent = []int{0, 30, 90, 100}[c.rng.IntN(4)]
		cr.countdown.Store(1 + int64(c.rng.ExpFloat64()*250))
		o := testOptions(errorfs.Wrap(fs, cr))
		o.Now = c.clock.now
		o.MemTableBytes, o.LogSegmentBytes, o.RecordCacheBytes = 64<<10, 64<<10, -1
		s, err := Open("d", o)
		if err != nil {
			c.t.Fatal(err)
		}
		s.expiries.off.Store(true)
		if point > 0 {
			c.verify(s)
		}
		for !cr.done() {
			c.step(s)
		}
		fs = cr.crashed
		if err := s.Close(); err != nil {
			c.t.Fatal(err)
		}
	}
}

// step moves the slot in, or some of it, and perhaps out again.
func (c *moveCrash) step(s *Store) {
	must := func(end Offset, err error) Offset {
		if err != nil {
			c.t.Fatal(err)
		}
		if c.rng.IntN(3) == 0 {
			if _, err := s.FlushLog(); err != nil {
				c.t.Fatal(err)
			}
		}
		if c.rng.IntN(20) == 0 {
			if err := s.Flush(context.Background()); err != nil {
				c.t.Fatal(err)
			}
		}
		return end
	}
	slots := []uint16{c.slot}
	stored := map[string]string{}
	c.note(must(s.DropSlots(slots)), false, stored)
	c.note(must(s.BeginImport(slots)), true, stored)
	n := len(c.batches)
	if c.rng.IntN(3) == 0 {
		n = c.rng.IntN(n)
	}
	for _, b := range c.batches[:n] {
		end := must(s.Import(context.Background(), b))
		r := batchrepr.Reader(b[slotBatchHeader:])
		for {
			_, key, val, ok, _ := r.Next()
			if !ok {
				break
			}
			if key[2] != byte(keys.KindImport) {
				stored[string(key)] = string(val)
			}
		}
		c.note(end, true, stored)
	}
	if n < len(c.batches) {
		return
	}
	// The end of it makes the reclaimer's work possible, which is no concern here.
	maps.DeleteFunc(stored, func(k, _ string) bool { return k[2] == byte(keys.KindGarbage) })
	c.note(must(s.EndImport(slots)), false, stored)
}

func (c *moveCrash) verify(s *Store) {
	checkStore(c.t, s)
	end := s.recovery.To
	i := len(c.history) - 1
	for c.history[i].end > end {
		i--
	}
	c.history = c.history[:i+1]
	want := c.history[i]
	if got := len(s.Importing()) == 1; got != want.importing {
		c.t.Fatalf("importing %v, want %v", got, want.importing)
	}
	got := storedSlot(c.t, s, c.slot)
	for k, v := range want.stored {
		if got[k] != v && k[2] != byte(keys.KindSub) && k[2] != byte(keys.KindGarbage) { // sub-keys of a dead id may be reclaimed
			c.t.Fatalf("%x is %x, want %x", k, got[k], v)
		}
	}
	for k := range got {
		if _, ok := want.stored[k]; !ok && k[2] > byte(keys.KindCounters) && k[2] != byte(keys.KindGarbage) {
			c.t.Fatalf("%x is too much", k)
		}
	}
	metas := int64(0)
	for k := range got {
		if k[2] == byte(keys.KindMeta) {
			metas++
		}
	}
	if want.importing {
		metas = 0
	}
	if n := s.SlotCounts(c.slot).Keys; n != metas {
		c.t.Fatalf("%d keys are counted, %d are there", n, metas)
	}
}
