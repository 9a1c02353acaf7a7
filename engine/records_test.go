package engine

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cairndb/cairn/engine/keys"
)

// tableModel is what a record table must not forget: the unsaved records.
type tableModel struct {
	t       *testing.T
	rng     *rand.Rand
	table   *recordTable
	records map[string][]byte // all that was ever written; nil for deleted
	unsaved map[string]bool
	taken   []uint16
	inTaken map[string]bool
}

func (m *tableModel) key(n int) (slot uint16, key []byte) {
	slot = uint16(n % 37)
	return slot, fmt.Appendf(keys.AppendMetaSeek(nil, slot, uint32(n)), "key%d", n)
}

func (m *tableModel) put() {
	slot, key := m.key(m.rng.IntN(4000))
	var rec []byte
	if m.rng.IntN(5) > 0 {
		rec = make([]byte, 1+m.rng.IntN(300))
		if m.rng.IntN(200) == 0 {
			rec = make([]byte, 10_000) // larger than a page
		}
		binary.BigEndian.PutUint64(append(rec[:0], make([]byte, 8)...), m.rng.Uint64())
	}
	m.table.put(slot, hashKey(key), key, rec)
	m.records[string(key)], m.unsaved[string(key)] = rec, true
}

// get compares a record with what was written, and requires it if it is unsaved.
func (m *tableModel) get(key string) {
	var a arena
	rec, ok := m.table.get(&a, hashKey([]byte(key)), []byte(key))
	if !ok && (m.unsaved[key] || m.inTaken[key]) {
		m.t.Fatalf("the unsaved record of %q is gone", key)
	}
	want := m.records[key]
	if ok && (string(rec) != string(want) || (rec == nil) != (want == nil)) {
		m.t.Fatalf("%q: %d bytes, want %d", key, len(rec), len(want))
	}
	if !ok {
		m.table.fill(hashKey([]byte(key)), []byte(key), want)
	}
}

func (m *tableModel) take() {
	if m.taken != nil {
		m.table.settle(m.taken)
		m.taken, m.inTaken = nil, nil
		return
	}
	m.taken, m.inTaken, m.unsaved = m.table.takeAll(), m.unsaved, map[string]bool{}
	n := 0
	for _, slot := range m.taken {
		var a arena
		ops := m.table.unsavedOps(nil, &a, slot, m.table.slots[slot].taken)
		for _, o := range ops {
			if !m.inTaken[string(o.key)] || string(o.val) != string(m.records[string(o.key)]) {
				m.t.Fatalf("%q is not what was written", o.key)
			}
		}
		n += len(ops)
	}
	if n != len(m.inTaken) {
		m.t.Fatalf("%d records taken, want %d", n, len(m.inTaken))
	}
}

func TestRecordTable(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			t.Parallel()
			m := &tableModel{t: t, rng: rand.New(rand.NewPCG(seed, 0)), table: newRecordTable(0),
				records: map[string][]byte{}, unsaved: map[string]bool{}}
			for i := range 60_000 {
				m.put()
				_, key := m.key(m.rng.IntN(4000))
				m.get(string(key))
				if i%2000 == 1000 {
					m.take()
				}
			}
			for key := range m.unsaved {
				m.get(key)
			}
			m.table.reset()
			if records, _, _, _ := m.table.sums(); records != 0 || m.table.unsaved.Load() != 0 {
				t.Errorf("after a reset: %d records, %d bytes unsaved", records, m.table.unsaved.Load())
			}
		})
	}
}

// populations counts the records of each slot that the table has.
func populations(table *recordTable) map[uint16]uint32 {
	n := map[uint16]uint32{}
	for i := range table.shards {
		sh := &table.shards[i]
		for _, v := range sh.index {
			if e := entry(nil); v != 0 {
				if e = sh.at(uint32(v)); e.present() && !sh.void(e) {
					n[e.slot()]++
				}
			}
		}
	}
	return n
}

// TestPopulation: the table knows how many records of a slot it has, whatever comes, goes and gives way.
func TestPopulation(t *testing.T) {
	t.Parallel()
	const slots = 20
	table, rng := newRecordTable(0), rand.New(rand.NewPCG(1, 0))
	check := func(when string) {
		t.Helper()
		want := populations(table)
		for slot := range uint16(slots) {
			if _, whole := table.wholeSlot(slot, int64(want[slot])); !whole {
				t.Fatalf("%s: slot %d has %d records, not %d", when, slot, want[slot], uint32(table.slots[slot].population.Load()))
			}
		}
	}
	for i := range 40_000 {
		slot := uint16(rng.IntN(slots))
		key := fmt.Appendf(keys.AppendMetaSeek(nil, slot, uint32(slot)), "key%d", rng.IntN(3000))
		rec := make([]byte, rng.IntN(200))
		if rng.IntN(4) == 0 {
			rec = nil
		}
		if hash := hashKey(key); rng.IntN(2) == 0 {
			table.put(slot, hash, key, rec)
		} else {
			table.fill(hash, key, rec)
		}
		switch {
		case i%500 == 0:
			table.settle(table.takeAll())
		case i%3000 == 1:
			table.resetSlots([]uint16{slot})
			check("after a drop")
		case i == 30_000+2:
			table.reset()
			check("after a reset")
		}
	}
	check("at the end")
	var dropped uint64
	for i := range table.slots {
		dropped += table.slots[i].population.Load() >> 32
	}
	if dropped < 1000 {
		t.Errorf("only %d records have given way", dropped)
	}
}

// TestRecordTableBound: what is clean gives way, so that the table keeps its size.
func TestRecordTableBound(t *testing.T) {
	t.Parallel()
	table := newRecordTable(4 << 20)
	for n := range 200_000 {
		key := fmt.Appendf(keys.AppendMetaSeek(nil, uint16(n%keys.Slots), uint32(n)), "key%d", n)
		table.fill(hashKey(key), key, make([]byte, 100))
	}
	if records, bytes, _, _ := table.sums(); bytes > 5<<20 || records < 15_000 {
		t.Errorf("%d records in %d bytes", records, bytes)
	}
}

// TestRecordTableLargeBound: so does what needs pages of its own, even where nothing else is written.
func TestRecordTableLargeBound(t *testing.T) {
	t.Parallel()
	table := newRecordTable(4 << 20)
	for n := range 5_000 {
		slot := uint16(n % keys.Slots)
		key := fmt.Appendf(keys.AppendMetaSeek(nil, slot, uint32(n)), "key%d", n)
		table.put(slot, hashKey(key), key, make([]byte, 10_000))
		if n%20 == 19 {
			table.settle(table.takeAll())
		}
	}
	if records, bytes, _, _ := table.sums(); bytes > 5<<20 || records < 200 {
		t.Errorf("%d records in %d bytes", records, bytes)
	}
}

// TestRecordTableGrowing: a record that grows while it is unsaved counts with what it has become.
func TestRecordTableGrowing(t *testing.T) {
	t.Parallel()
	table := newRecordTable(0)
	key := fmt.Append(keys.AppendMetaSeek(nil, 7, 1), "key")
	for n := range 1000 {
		table.put(7, hashKey(key), key, make([]byte, 10*n))
	}
	if got := table.unsaved.Load(); got < 9990 || got > 12_000 {
		t.Errorf("%d bytes unsaved, want about 10,000", got)
	}
	table.settle(table.takeAll())
	if got := table.unsaved.Load(); got != 0 {
		t.Errorf("%d bytes unsaved after all were saved", got)
	}
}

// TestRecordTableHot: a slot is drained early, and once, when a scan would have many or large unsaved records of it to merge.
func TestRecordTableHot(t *testing.T) {
	t.Parallel()
	for _, size := range []int{8, 10_000} {
		table := newRecordTable(64 << 20)
		for n := range 2 * hotSlotRecords {
			key := fmt.Appendf(keys.AppendMetaSeek(nil, 7, uint32(n)), "key%d", n)
			table.put(7, hashKey(key), key, make([]byte, size))
			if len(table.hot) == 0 && (n >= hotSlotRecords || table.slots[7].size > hotSlotBytes+int64(2*size)) {
				t.Fatalf("%d bytes a record: not hot after %d", size, n)
			}
			if size > 8 && n == 2*hotSlotBytes/size {
				break
			}
		}
		if slots := table.takeHot(); len(slots) != 1 || len(table.dirty) != 0 || len(table.hot) != 0 {
			t.Errorf("%d bytes a record: hot: %v", size, slots)
		}
		if table.settle([]uint16{7}); table.unsaved.Load() != 0 {
			t.Errorf("%d bytes unsaved", table.unsaved.Load())
		}
	}
}
