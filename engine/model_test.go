package engine

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/tools/poll"
)

// checkStore runs Check and fails the test on any problem.
func checkStore(t testing.TB, s *Store) {
	t.Helper()
	r, err := s.Check(context.Background())
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// fakeClock is a clock that tests move; it starts at the real time.
type fakeClock struct{ ms atomic.Int64 }

func newFakeClock() *fakeClock {
	c := &fakeClock{}
	c.ms.Store(1_700_000_000_000)
	return c
}

func (c *fakeClock) now() time.Time          { return time.UnixMilli(c.ms.Load()) }
func (c *fakeClock) advance(d time.Duration) { c.ms.Add(d.Milliseconds()) }

// modelKey is a key of the model: database (logical) and name.
type modelKey struct {
	db   int
	name string
}

// modelValue is what the model has stored for a key. Subs are the sub-keys of a spread value; the map is never changed.
type modelValue struct {
	value    string
	expireAt int64
	subs     map[string]string
}

// model is the store as a Go map.
type model map[modelKey]modelValue

func (m model) clone() model { return maps.Clone(m) }

// modelTest applies random operations to a store and to a model.
type modelTest struct {
	t     testing.TB
	rng   *rand.Rand
	clock *fakeClock
	s     *Store
	tx    *Txn
	m     model
	names int
}

const modelDBs = 3

func (mt *modelTest) key(k modelKey) Key {
	return Key{Slot: keys.Slot([]byte(k.name)), DB: mt.s.DB(k.db), Name: []byte(k.name)}
}

func (mt *modelTest) randomKey() modelKey {
	n := mt.rng.IntN(mt.names)
	name := fmt.Sprint("k", n)
	if n%3 == 0 {
		name = fmt.Sprintf("{tag}%d", n) // many keys in one slot
	}
	return modelKey{db: mt.rng.IntN(modelDBs), name: name}
}

func (mt *modelTest) live(k modelKey) (modelValue, bool) {
	v, ok := mt.m[k]
	if !ok || v.expireAt != 0 && v.expireAt < mt.clock.ms.Load() {
		return modelValue{}, false
	}
	return v, true
}

func (mt *modelTest) fatal(err error) {
	mt.t.Helper()
	if err != nil {
		mt.t.Fatal(err)
	}
}

// compare reads a key in the transaction and compares it with the model.
func (mt *modelTest) compare(k modelKey) {
	mt.t.Helper()
	r, ok, err := mt.tx.Get(mt.key(k))
	mt.fatal(err)
	want, wantOK := mt.live(k)
	if ok != wantOK || ok && (string(r.Value) != want.value || r.ExpireAt != want.expireAt) {
		mt.t.Fatalf("%v: got %q (expires %d), %v; want %+v, %v", k, r.Value, r.ExpireAt, ok, want, wantOK)
	}
	if !ok || r.ID == 0 {
		return
	}
	got := map[string]string{}
	mt.fatal(mt.tx.ScanSub(mt.key(k).Slot, r.ID, nil, func(sub, value []byte) bool {
		got[string(sub)] = string(value)
		return true
	}))
	if !maps.Equal(got, want.subs) {
		mt.t.Fatalf("%v: sub-keys %v, want %v", k, got, want.subs)
	}
	for sub, v := range want.subs {
		b, ok, err := mt.tx.GetSub(mt.key(k).Slot, r.ID, []byte(sub))
		if mt.fatal(err); !ok || string(b) != v {
			mt.t.Fatalf("%v: sub-key %x is %q, %v; want %q", k, sub, b, ok, v)
		}
	}
	for i := range uint32(6) {
		sub := binary.BigEndian.AppendUint32(nil, i)
		if _, want := want.subs[string(sub)]; !want {
			_, ok, err := mt.tx.GetSub(mt.key(k).Slot, r.ID, sub)
			if mt.fatal(err); ok {
				mt.t.Fatalf("%v: sub-key %x is there", k, sub)
			}
		}
	}
}

// put writes an inline or a spread value, with or without an expiry.
func (mt *modelTest) put(k modelKey) {
	h := keys.Header{Type: keys.TypeString}
	v := modelValue{value: fmt.Sprintf("%d.%0*d", mt.rng.Uint32(), mt.rng.IntN(300), 0)}
	if mt.rng.IntN(3) == 0 {
		v.expireAt = mt.clock.ms.Load() + int64(mt.rng.IntN(60_000))
		h.ExpireAt = v.expireAt
	}
	if mt.rng.IntN(4) == 0 {
		slot := mt.key(k).Slot
		id, err := mt.tx.NewID(slot)
		mt.fatal(err)
		n := 1 + mt.rng.IntN(5)
		if mt.rng.IntN(30) == 0 {
			n = reclaimByPoint + 10
		}
		v.subs = map[string]string{}
		for i := range n {
			sub := string(binary.BigEndian.AppendUint32(nil, uint32(i)))
			v.subs[sub] = fmt.Sprint("sub", mt.rng.IntN(1000))
			mt.fatal(mt.tx.PutSub(slot, id, []byte(sub), []byte(v.subs[sub])))
		}
		h.Encoding, h.ID, h.Count = keys.EncodingSpread, id, uint64(n)
		if mt.rng.IntN(2) == 0 {
			h.Type, h.Bytes = keys.TypeHash, subBytes(v.subs)
		}
	}
	mt.fatal(mt.tx.Put(mt.key(k), h, []byte(v.value)))
	mt.m[k] = v
}

// changeSub rewrites or removes a sub-key of a live spread value.
func (mt *modelTest) changeSub(k modelKey) {
	v, ok := mt.live(k)
	if !ok || len(v.subs) == 0 {
		return
	}
	r, _, err := mt.tx.Get(mt.key(k))
	mt.fatal(err)
	sub := slices.Sorted(maps.Keys(v.subs))[mt.rng.IntN(len(v.subs))]
	v.subs = maps.Clone(v.subs)
	if mt.rng.IntN(2) == 0 {
		v.subs[sub] = fmt.Sprint("changed", mt.rng.IntN(1000))
		mt.fatal(mt.tx.PutSub(mt.key(k).Slot, r.ID, []byte(sub), []byte(v.subs[sub])))
	} else {
		delete(v.subs, sub)
		mt.fatal(mt.tx.DeleteSub(mt.key(k).Slot, r.ID, []byte(sub)))
	}
	if r.Type == keys.TypeHash {
		r.Count, r.Bytes = uint64(len(v.subs)), subBytes(v.subs)
		mt.fatal(mt.tx.Put(mt.key(k), r.Header, r.Value))
	}
	mt.m[k] = v
}

func subBytes(subs map[string]string) (n uint64) {
	for sub, v := range subs {
		n += keys.SubBytes([]byte(sub), []byte(v))
	}
	return n
}

func (mt *modelTest) remove(k modelKey) {
	ok, err := mt.tx.Delete(mt.key(k))
	mt.fatal(err)
	if _, want := mt.live(k); ok != want {
		mt.t.Fatalf("Delete(%v) = %v, want %v", k, ok, want)
	}
	delete(mt.m, k)
}

// move renames within a slot: to the same name in another database, or within {tag}.
func (mt *modelTest) move(from, to modelKey) {
	if keys.Slot([]byte(from.name)) != keys.Slot([]byte(to.name)) {
		to.name = from.name
	}
	v, want := mt.live(from)
	ok, err := mt.tx.Move(mt.key(from), mt.key(to))
	if mt.fatal(err); ok != want {
		mt.t.Fatalf("Move(%v) = %v, want %v", from, ok, want)
	}
	if ok && from != to {
		mt.m[to] = v
		delete(mt.m, from)
	}
}

// one does a random operation in the transaction. The slots are locked.
func (mt *modelTest) one(k, k2 modelKey) {
	switch mt.rng.IntN(10) {
	case 0, 1, 2, 3:
		mt.put(k)
	case 4:
		mt.remove(k)
	case 5:
		mt.changeSub(k)
	case 6:
		mt.move(k, k2)
	default:
		mt.compare(k)
	}
}

// whole does an operation that needs the world lock.
func (mt *modelTest) whole() {
	switch mt.rng.IntN(6) {
	case 0:
		mt.fatal(mt.tx.FlushAll())
		clear(mt.m)
	case 1, 2:
		db := mt.rng.IntN(modelDBs)
		mt.fatal(mt.tx.FlushDB(db))
		maps.DeleteFunc(mt.m, func(k modelKey, _ modelValue) bool { return k.db == db })
	case 3:
		a, b := mt.rng.IntN(modelDBs), mt.rng.IntN(modelDBs)
		mt.fatal(mt.tx.SwapDB(a, b))
		next := model{}
		for k, v := range mt.m {
			switch k.db {
			case a:
				k.db = b
			case b:
				k.db = a
			}
			next[k] = v
		}
		mt.m = next
	default:
		mt.one(mt.randomKey(), mt.randomKey())
	}
}

// group runs a transaction of several commands, some of which are rolled back, and commits or discards it.
func (mt *modelTest) group() {
	world := mt.rng.IntN(20) == 0
	before := mt.m.clone()
	if world {
		mt.tx.LockWorld()
	}
	for range 1 + mt.rng.IntN(20) {
		k, k2 := mt.randomKey(), mt.randomKey()
		mark, saved := mt.tx.Mark(), mt.m
		rollback := mt.rng.IntN(10) == 0
		if rollback {
			saved = mt.m.clone()
		}
		if world {
			mt.whole()
		} else {
			if !mt.tx.TryLock(mt.key(k).Slot, true) || !mt.tx.TryLock(mt.key(k2).Slot, true) {
				break // the expirer or the reclaimer has it
			}
			mt.one(k, k2)
		}
		if rollback {
			mt.tx.Rollback(mark)
			mt.m = saved
		}
		if mt.rng.IntN(8) == 0 {
			mt.compareCounts(false)
		}
		mt.tx.EndCommand()
	}
	if mt.rng.IntN(10) == 0 {
		mt.tx.Discard()
		mt.m = before
		return
	}
	mt.fatal(mt.tx.Commit())
	mt.drain()
}

// drain brings, now and then, some or all of what was written into Pebble.
func (mt *modelTest) drain() {
	switch mt.rng.IntN(20) {
	case 0:
		mt.fatal(mt.s.drain())
	case 1:
		r := mt.s.records
		mt.s.commitMu.Lock()
		r.hot = append(r.hot[:0], r.dirty[:mt.rng.IntN(len(r.dirty)+1)]...)
		mt.s.commitMu.Unlock()
		mt.fatal(mt.s.drainHot())
	}
}

// compareCounts compares the transaction's DBSIZE with the model, as far as nothing has expired.
func (mt *modelTest) compareCounts(exact bool) {
	mt.t.Helper()
	for db := range modelDBs {
		var want int64
		for k := range mt.m {
			if k.db == db {
				if _, live := mt.live(k); live || exact {
					want++
				}
			}
		}
		got := mt.tx.DBCounts(mt.s.DB(db)).Keys
		if got < want || exact && got != want {
			mt.t.Fatalf("database %d: %d keys, want %d", db, got, want)
		}
	}
}

// compareAll compares every key, by Get and by Scan.
func (mt *modelTest) compareAll() {
	mt.t.Helper()
	mt.tx.LockWorld()
	defer mt.tx.Discard()
	for k := range mt.m {
		mt.compare(k)
	}
	for db := range modelDBs {
		want := []string{}
		for k := range mt.m {
			if _, ok := mt.live(k); ok && k.db == db {
				want = append(want, k.name)
			}
		}
		got := []string{}
		for cursor := uint64(0); ; {
			next, err := mt.s.Scan(mt.tx, mt.s.DB(db), cursor, 7, -1, func(name []byte, r Record) {
				got = append(got, string(name))
				if v := mt.m[modelKey{db, string(name)}]; v.value != string(r.Value) {
					mt.t.Fatalf("Scan: %s is %q, want %q", name, r.Value, v.value)
				}
			})
			if mt.fatal(err); next == 0 {
				break
			}
			cursor = next
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			mt.t.Fatalf("database %d: Scan gives %d keys, want %d\n%v\n%v", db, len(got), len(want), got, want)
		}
		name, ok, err := mt.s.RandomKey(mt.tx, mt.s.DB(db))
		mt.fatal(err)
		if _, live := mt.live(modelKey{db, string(name)}); ok != (len(want) > 0) || ok && !live {
			mt.t.Fatalf("RandomKey: %q, %v with %d keys", name, ok, len(want))
		}
	}
}

func TestModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			t.Parallel()
			runModel(t, seed, 400)
		})
	}
}

func runModel(t *testing.T, seed uint64, groups int) {
	clock := newFakeClock()
	o := testOptions(vfs.NewMem())
	o.Now = clock.now
	mt := &modelTest{t: t, rng: rand.New(rand.NewPCG(seed, 0)), clock: clock, m: model{}, names: 300}
	mt.s = openTest(t, "d", o)
	mt.tx = mt.s.NewTxn()
	for i := range groups {
		mt.group()
		clock.advance(time.Duration(mt.rng.IntN(500)) * time.Millisecond)
		switch {
		case i%97 == 50:
			mt.compareAll()
			checkStore(t, mt.s)
		case i%150 == 149:
			if err := mt.s.Close(); err != nil {
				t.Fatal(err)
			}
			mt.s = openTest(t, "d", o)
			mt.tx = mt.s.NewTxn()
			if !mt.s.recovery.Clean {
				t.Error("a clean close is not recognised")
			}
			mt.compareAll()
		}
	}
	mt.settle()
	mt.compareAll()
	checkStore(t, mt.s)
}

// settle lets everything expire, and waits until expirer and reclaimer have nothing left.
func (mt *modelTest) settle() {
	mt.clock.advance(time.Hour)
	now := mt.clock.ms.Load()
	maps.DeleteFunc(mt.m, func(_ modelKey, v modelValue) bool { return v.expireAt != 0 && v.expireAt < now })
	poll.Until(mt.t, "expiry and reclamation", func() bool {
		_, dirty := mt.s.dbs.Load().anyDirty()
		expires := int64(0)
		for db := range modelDBs {
			expires += mt.s.DBCounts(mt.s.DB(db)).Expires
		}
		return !dirty && expires == 0 && mt.s.reclaims.len() == 0
	})
	mt.compareCounts(true)
}
