package engine

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairndb/cairn/engine/keys"
)

// TestWalkSub compares walks, in both directions and over what the transaction itself has written and deleted, with a sorted list.
func TestWalkSub(t *testing.T) {
	t.Parallel()
	s := openTest(t, "d", testOptions(vfs.NewMem()))
	rng := rand.New(rand.NewPCG(1, 2))
	const slot = 5
	model := map[string]string{}
	var id uint64
	sub := func() []byte { return []byte(fmt.Sprintf("%02d", rng.IntN(60))) }
	for round := range 60 {
		tx := s.NewTxn()
		tx.Lock([]uint16{slot}, true)
		if id == 0 {
			var err error
			if id, err = tx.NewID(slot); err != nil {
				t.Fatal(err)
			}
		}
		for range rng.IntN(12) {
			k := sub()
			var err error
			switch rng.IntN(5) {
			case 0:
				delete(model, string(k))
				err = tx.DeleteSub(slot, id, k)
			case 1:
				to := sub()
				for m := range model {
					if m >= string(k) && m < string(to) {
						delete(model, m)
					}
				}
				if bytes.Compare(k, to) < 0 {
					err = tx.DeleteSubRange(slot, id, SubRange{From: k, To: to})
				}
			default:
				model[string(k)] = fmt.Sprint(round)
				err = tx.PutSub(slot, id, k, []byte(fmt.Sprint(round)))
			}
			if err != nil {
				t.Fatal(err)
			}
			from, to := sub(), sub()
			if rng.IntN(4) == 0 {
				to = nil
			}
			wantWalk(t, tx, slot, id, SubRange{From: from, To: to}, rng.IntN(2) == 0, model)
		}
		if rng.IntN(3) == 0 {
			tx.Rollback(0)
			model = map[string]string{}
			if err := tx.WalkSub(slot, id, SubRange{}, false, func(k, v []byte) bool {
				model[string(k)] = string(v)
				return true
			}); err != nil {
				t.Fatal(err)
			}
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
	}
}

func wantWalk(t *testing.T, tx *Txn, slot uint16, id uint64, r SubRange, reverse bool, model map[string]string) {
	t.Helper()
	var want, got []string
	for k, v := range model {
		if k >= string(r.From) && (r.To == nil || k < string(r.To)) {
			want = append(want, k+"="+v)
		}
	}
	slices.Sort(want)
	if reverse {
		slices.Reverse(want)
	}
	err := tx.WalkSub(slot, id, r, reverse, func(k, v []byte) bool {
		got = append(got, string(k)+"="+string(v))
		return true
	})
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("from %q to %q, reverse %v: %q, %v, want %q", r.From, r.To, reverse, got, err, want)
	}
}

// subsTest changes a collection in each of some slots of a store whose record table has room for a part of them.
type subsTest struct {
	t     *testing.T
	rng   *rand.Rand
	s     *Store
	slots []uint16
	names map[uint16]Key
	subs  map[uint16]map[string]string
}

// newSubsTest has collections under the names, which are of different slots.
func newSubsTest(t *testing.T, s *Store, names ...string) *subsTest {
	st := &subsTest{t: t, rng: rand.New(rand.NewPCG(3, 4)), s: s, names: map[uint16]Key{}, subs: map[uint16]map[string]string{}}
	for _, name := range names {
		k := key(name)
		st.slots = append(st.slots, k.Slot)
		st.names[k.Slot] = k
	}
	return st
}

// sub is one of 2000, so that most of those asked for exist in a collection that has grown, and hardly any in a new one.
func (st *subsTest) sub() string { return fmt.Sprintf("sub%04d", st.rng.IntN(2000)) }

// group changes and reads a collection, which it makes if it is not there, in one transaction.
func (st *subsTest) group() {
	slot := st.slots[st.rng.IntN(len(st.slots))]
	tx := st.s.NewTxn()
	tx.Lock([]uint16{slot}, true)
	rec, ok, err := tx.Get(st.names[slot])
	st.fatal(err)
	h := rec.Header
	if !ok {
		id, err := tx.NewID(slot)
		st.fatal(err)
		h = keys.Header{Type: keys.TypeHash, Encoding: keys.EncodingSpread, ID: id}
		st.subs[slot] = map[string]string{}
	}
	subs := maps.Clone(st.subs[slot])
	for range 20 {
		sub := st.sub()
		st.want(tx, slot, h.ID, sub, subs)
		if old, ok := subs[sub]; ok {
			h.Count, h.Bytes = h.Count-1, h.Bytes-keys.SubBytes([]byte(sub), []byte(old))
		}
		if st.rng.IntN(4) == 0 {
			delete(subs, sub)
			st.fatal(tx.DeleteSub(slot, h.ID, []byte(sub)))
			continue
		}
		value := strings.Repeat("v", []int{0, 10, 700, 5000}[st.rng.IntN(4)]) // none, one that fits in place of another, one that is not kept
		subs[sub] = value
		st.fatal(tx.PutSub(slot, h.ID, []byte(sub), []byte(value)))
		h.Count, h.Bytes = h.Count+1, h.Bytes+keys.SubBytes([]byte(sub), []byte(value))
	}
	st.fatal(tx.Put(st.names[slot], h, nil))
	if st.rng.IntN(4) == 0 {
		tx.Discard()
		if !ok {
			delete(st.subs, slot)
		}
		return
	}
	st.fatal(tx.Commit())
	st.subs[slot] = subs
}

// read looks sub-keys up as a reader, which remembers those that are absent, too.
func (st *subsTest) read(s *Store) {
	for _, slot := range st.slots {
		tx := s.NewTxn()
		tx.Lock([]uint16{slot}, false)
		if rec, ok, err := tx.Get(st.names[slot]); ok || err != nil {
			st.fatal(err)
			for range 50 {
				st.want(tx, slot, rec.ID, st.sub(), st.subs[slot])
			}
		}
		tx.Discard()
	}
}

func (st *subsTest) want(tx *Txn, slot uint16, id uint64, sub string, subs map[string]string) {
	st.t.Helper()
	got, ok, err := tx.GetSub(slot, id, []byte(sub))
	st.fatal(err)
	if want, wantOK := subs[sub]; ok != wantOK || string(got) != want {
		st.t.Fatalf("slot %d, id %d: %s has %d bytes, %v; want %d, %v", slot, id, sub, len(got), ok, len(want), wantOK)
	}
}

func (st *subsTest) fatal(err error) {
	st.t.Helper()
	if err != nil {
		st.t.Fatal(err)
	}
}

// TestSubCache: what the record table says of sub-keys is what was written, whatever gives way and whatever removes slots, on a replica too; and
// of an id that it has given the store need not be asked.
func TestSubCache(t *testing.T) {
	t.Parallel()
	o := testOptions(vfs.NewMem())
	o.LogBacklogBytes = 1 << 30
	a := openTest(t, "/a", o)
	o.FS, o.Follow = vfs.NewMem(), true
	b := openTest(t, "/b", o)
	st := newSubsTest(t, a, "a", "b", "c")
	for round := range 12 {
		for range 60 {
			st.group()
		}
		catchUp(t, st.rng, a, b)
		st.read(a)
		st.read(b)
		switch round {
		case 4: // ids come back
			_, err := a.DropSlots(st.slots[:2])
			st.fatal(err)
			delete(st.subs, st.slots[0])
			delete(st.subs, st.slots[1])
		case 8:
			tx := a.NewTxn()
			tx.LockWorld()
			st.fatal(tx.FlushAll())
			st.fatal(tx.Commit())
			clear(st.subs)
		}
		checkStore(t, a)
	}
	catchUp(t, st.rng, a, b)
	sameStores(t, a, b)
}

// TestWholeID: what does not exist in a collection that is in the record table costs no look-up in Pebble.
func TestWholeID(t *testing.T) {
	t.Parallel()
	s := openTest(t, "d", testOptions(vfs.NewMem()))
	const slot = 5
	var id uint64
	for i := range 100 {
		inTxn(t, s, slot, func(tx *Txn) (err error) {
			if i == 0 {
				if id, err = tx.NewID(slot); err != nil {
					return err
				}
			}
			return tx.PutSub(slot, id, fmt.Append(nil, i), nil)
		})
	}
	before := s.reads.reads.Load()
	inTxn(t, s, slot, func(tx *Txn) error {
		for i := range 200 {
			if _, ok, err := tx.GetSub(slot, id, fmt.Append(nil, i)); err != nil || ok != (i < 100) {
				t.Fatal(i, ok, err)
			}
		}
		return nil
	})
	if n := s.reads.reads.Load() - before; n > 0 {
		t.Errorf("%d look-ups in Pebble", n)
	}
}
