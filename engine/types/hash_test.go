package types

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
)

// TestHashStored shows what is stored after each step. A line of input is an operation on the hash at h; what it returns stands before the dump.
func TestHashStored(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := openClocked(t, c)
	k := key("h")
	datadriven.RunTest(t, "testdata/hash", func(t *testing.T, d *datadriven.TestData) string {
		p := engine.DefaultPacking()
		d.MaybeScanArgs(t, "entries", &p.HashEntries)
		d.MaybeScanArgs(t, "value", &p.HashValue)
		d.MaybeScanArgs(t, "bytes", &p.Bytes)
		s.SetPacking(p)
		tx := locked(s, k)
		defer tx.Discard()
		var out strings.Builder
		for line := range strings.Lines(d.Input) {
			words := strings.Fields(line)
			if words[0] == "now" {
				ms, _ := strconv.ParseInt(words[1], 10, 64)
				c.ms.Store(ms)
				continue
			}
			fmt.Fprintln(&out, hashStep(t, tx, k, words))
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		checkStore(t, s)
		tx.Lock([]uint16{k.Slot}, true)
		return out.String() + dumpKey(t, tx, k)
	})
}

// hashStep runs one operation and saves the hash.
func hashStep(t *testing.T, tx *engine.Txn, k engine.Key, words []string) string {
	word := func(i int) []byte { return []byte(words[i]) }
	number := func(i int) int64 {
		n, err := strconv.ParseInt(words[i], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if words[0] == "expire-fields" {
		rec, _, err := tx.Get(k)
		if err != nil {
			t.Fatal(err)
		}
		n, err := ExpireFields(tx, k, rec, int(number(1)))
		return fmt.Sprint(words[0], ": ", n, " ", err)
	}
	h, err := OpenHash(tx, k)
	if err != nil {
		t.Fatal(err)
	}
	var result any
	switch words[0] {
	case "set", "set-keep":
		result, err = h.Set(word(1), word(2), words[0] == "set-keep")
	case "incr":
		result, err = h.IncrBy(word(1), number(2))
	case "incrfloat":
		n, _ := ParseLongDouble(word(2))
		var sum []byte
		sum, err = h.IncrByFloat(word(1), n)
		result = string(sum)
	case "delete":
		result, err = h.Delete(word(1))
	case "expire":
		result, err = h.SetExpiry(word(1), number(2), Always)
	case "persist":
		result, err = h.Persist(word(1))
	case "get":
		var v []byte
		v, result, err = h.Get(word(1))
		result = fmt.Sprintf("%q %v", v, result)
	case "len":
		var all, live int64
		if all, err = h.Len(); err == nil {
			live, err = h.Live()
		}
		result = fmt.Sprint(all, ", ", live, " live")
	default:
		t.Fatalf("unknown operation %s", words[0])
	}
	if err == nil {
		err = h.Save()
	}
	if err != nil {
		return fmt.Sprint(words[0], ": ", err)
	}
	return fmt.Sprint(words[0], ": ", result)
}

// modelField is a field of the model.
type modelField struct {
	value    string
	expireAt int64
}

// TestHashIsMap compares a hash with a map under random operations, with limits so small that it is packed and spread by turns. Several
// operations share a transaction.
func TestHashIsMap(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := openClocked(t, c)
	tx := s.NewTxn()
	k := key("h")
	rapid.Check(t, func(t *rapid.T) {
		p := engine.DefaultPacking()
		p.HashEntries, p.HashValue, p.Bytes = rapid.IntRange(0, 12).Draw(t, "entries"), 8, rapid.IntRange(1, 200).Draw(t, "bytes")
		s.SetPacking(p)
		tx.Lock([]uint16{k.Slot}, true)
		defer func() { tx.Discard() }()
		if _, err := tx.Delete(k); err != nil {
			t.Fatal(err)
		}
		model := map[string]modelField{}
		live := func(f string) bool {
			m, ok := model[f]
			return ok && (m.expireAt == 0 || m.expireAt >= tx.Now())
		}
		field := func(t *rapid.T) string { return "f" + strconv.Itoa(rapid.IntRange(0, 20).Draw(t, "field")) }
		change := func(fn func(h *Hash) error) {
			h, err := OpenHash(tx, k)
			if err == nil {
				err = fn(&h)
			}
			if err == nil {
				err = h.Save()
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				change(func(h *Hash) error {
					for range rapid.IntRange(1, 4).Draw(t, "fields") {
						f, v, keep := field(t), strings.Repeat("v", rapid.IntRange(0, 10).Draw(t, "length")), rapid.Bool().Draw(t, "keep")
						created, err := h.Set([]byte(f), []byte(v), keep)
						if err != nil || created == live(f) {
							t.Fatalf("set %s: %v %v", f, created, err)
						}
						m := modelField{value: v}
						if keep && live(f) {
							m.expireAt = model[f].expireAt
						}
						model[f] = m
					}
					return nil
				})
			},
			"delete": func(t *rapid.T) {
				change(func(h *Hash) error {
					f := field(t)
					found, err := h.Delete([]byte(f))
					if found != live(f) {
						t.Fatalf("delete %s: %v", f, found)
					}
					delete(model, f)
					return err
				})
			},
			"expire": func(t *rapid.T) {
				change(func(h *Hash) error {
					f, at := field(t), tx.Now()+rapid.Int64Range(-2, 6).Draw(t, "in")
					result, err := h.SetExpiry([]byte(f), at, Always)
					want := FieldAbsent
					if live(f) {
						want = FieldChanged
						if at <= tx.Now() {
							want = FieldDeleted
							delete(model, f)
						} else {
							model[f] = modelField{model[f].value, at}
						}
					}
					if result != want {
						t.Fatalf("expire %s: %d, want %d", f, result, want)
					}
					return err
				})
			},
			"persist": func(t *rapid.T) {
				change(func(h *Hash) error {
					f := field(t)
					want := FieldAbsent
					if live(f) {
						want = FieldLasts
						if model[f].expireAt != 0 {
							want = FieldChanged
						}
						model[f] = modelField{value: model[f].value}
					}
					result, err := h.Persist([]byte(f))
					if result != want {
						t.Fatalf("persist %s: %d, want %d", f, result, want)
					}
					return err
				})
			},
			"rename": func(t *rapid.T) {
				other := engine.Key{Slot: k.Slot, Name: []byte("{h}2")}
				_, err := Rename(tx, k, other)
				if err == nil {
					_, err = Rename(tx, other, k)
				}
				if err != nil {
					t.Fatal(err)
				}
			},
			"expirer": func(t *rapid.T) {
				rec, found, err := tx.Get(k)
				if err != nil || !found || rec.FieldExpireAt == 0 || rec.FieldExpireAt >= tx.Now() {
					return
				}
				if _, err := ExpireFields(tx, k, rec, rapid.IntRange(1, 5).Draw(t, "limit")); err != nil {
					t.Fatal(err)
				}
			},
			"commit": func(t *rapid.T) {
				if err := tx.Commit(); err != nil {
					t.Fatal(err)
				}
				c.ms.Add(rapid.Int64Range(0, 4).Draw(t, "later"))
				tx.Lock([]uint16{k.Slot}, true)
			},
			"": func(t *rapid.T) {
				want := map[string]modelField{}
				for f, m := range model {
					if live(f) {
						want[f] = m
					}
				}
				compareHash(t, tx, k, want)
			},
		})
	})
	checkStore(t, s)
}

// compareHash reads a hash in every way.
func compareHash(t *rapid.T, tx *engine.Txn, k engine.Key, want map[string]modelField) {
	h, err := OpenHash(tx, k)
	if err != nil {
		t.Fatal(err)
	}
	ok := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	got := map[string]string{}
	add := func(f, v []byte) bool {
		got[string(f)] = string(v)
		return true
	}
	same := func(what string, n int) {
		if len(got) != n {
			t.Fatalf("%s: %d fields, want %d: %v, %v", what, len(got), n, got, want)
		}
		for f, v := range got {
			if m, ok := want[f]; !ok || m.value != v {
				t.Fatalf("%s: %s is %q, want %v", what, f, v, m)
			}
		}
		clear(got)
	}
	ok(h.Each(add))
	same("each", len(want))
	for cursor, first := uint64(0), true; cursor != 0 || first; first = false {
		cursor, err = h.Scan(cursor, 3, func(f, v []byte) { add(f, v) })
		ok(err)
	}
	same("scan", len(want))
	n, err := h.Live()
	if err != nil || n != int64(len(want)) {
		t.Fatalf("%d live fields, want %d, %v", n, len(want), err)
	}
	all, err := h.Len()
	if err != nil || all < n || h.Exists() != (all > 0) {
		t.Fatalf("%d fields of which %d live, exists %v, %v", all, n, h.Exists(), err)
	}
	some := rapid.Int64Range(0, max(n, 1)).Draw(t, "sample")
	ok(h.Sample(some, n, func(f, v []byte) { add(f, v) }))
	same("sample", int(min(some, n)))
	picks := 0
	ok(h.Random(5, func(f, v []byte) bool { picks++; return add(f, v) }))
	if (picks == 5) != (n > 0) {
		t.Fatalf("%d picks of %d fields", picks, n)
	}
	same("random", len(got))
	for i := range 21 {
		f := "f" + strconv.Itoa(i)
		v, found, err := h.Get([]byte(f))
		at, _, err2 := h.ExpireAt([]byte(f))
		m, there := want[f]
		if err != nil || err2 != nil || found != there || string(v) != m.value || at != m.expireAt {
			t.Fatalf("%s is %q until %d, %v, %v; want %v", f, v, at, found, err, m)
		}
	}
}

// TestExpireFieldsInBatches has more fields expire than a batch takes, many at the same time.
func TestExpireFieldsInBatches(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := openClocked(t, c)
	k := key("h")
	tx := locked(s, k)
	h, err := OpenHash(tx, k)
	if err != nil {
		t.Fatal(err)
	}
	const fields = 2000
	for i := range int64(fields) {
		f := strconv.AppendInt(nil, i, 10)
		if _, err := h.Set(f, f, false); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			continue // it stays
		}
		if _, err := h.SetExpiry(f, c.ms.Load()+1+i/700, Always); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(h.Save(), tx.Commit()); err != nil {
		t.Fatal(err)
	}
	c.ms.Add(100)
	s.SetActiveExpire(true)
	waitExpired(t, s, fields-1)
	tx.Lock([]uint16{k.Slot}, true)
	dump := dumpKey(t, tx, k)
	tx.Discard()
	if strings.Count(dump, "\n") != 3 || !strings.Contains(dump, " count=1 bytes=") || strings.Contains(dump, "fields-expire") {
		t.Errorf("left is\n%s", dump)
	}
	checkStore(t, s)
}

// TestHashCrash crashes hashes that are being spread, with fields that expire.
func TestHashCrash(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		var history []map[string]modelField
		k := key("h")
		model := map[string]modelField{}
		o := engine.Options{CacheBytes: 4 << 20, RecordCacheBytes: 1, MemTableBytes: 64 << 10, LogSegmentBytes: 16 << 10, FreeSpaceReserve: 1, Packing: engine.DefaultPacking()}
		o.Packing.HashEntries = 6
		s, least, most := crash(t, seed, o, func(tx *engine.Txn, rng *rand.Rand) error {
			history = append(history, maps.Clone(model))
			tx.Lock([]uint16{k.Slot}, true)
			h, err := OpenHash(tx, k)
			if err != nil {
				return err
			}
			for range 1 + rng.IntN(3) {
				f := "f" + strconv.Itoa(rng.IntN(12))
				at := tx.Now() + 1_000_000 + rng.Int64N(1000)
				switch rng.IntN(6) {
				case 0:
					_, err = h.Delete([]byte(f))
					delete(model, f)
				case 1:
					_, err = h.SetExpiry([]byte(f), at, Always)
					if m, ok := model[f]; ok {
						model[f] = modelField{m.value, at}
					}
				default:
					v := strings.Repeat("x", rng.IntN(300))
					_, err = h.Set([]byte(f), []byte(v), false)
					model[f] = modelField{value: v}
				}
				if err != nil {
					return err
				}
			}
			err = h.Save()
			if err == nil && rng.IntN(10) == 0 {
				clear(model)
				_, err = tx.Delete(k)
			}
			return err
		})
		history = append(history, maps.Clone(model))
		got := readHash(t, s, k)
		if !slices.ContainsFunc(history[least:most+1], func(m map[string]modelField) bool { return maps.Equal(m, got) }) {
			t.Fatalf("seed %d: after the crash the hash is %v, which it was at none of the steps %d to %d", seed, got, least, most)
		}
		checkStore(t, s)
	}
}

func readHash(t *testing.T, s *engine.Store, k engine.Key) map[string]modelField {
	tx := locked(s, k)
	defer tx.Discard()
	h, err := OpenHash(tx, k)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]modelField{}
	err = h.Each(func(f, v []byte) bool {
		got[string(f)] = modelField{value: string(v)}
		return true
	})
	for f, m := range got {
		at, _, atErr := h.ExpireAt([]byte(f))
		got[f] = modelField{m.value, at}
		err = errors.Join(err, atErr)
	}
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// FuzzHash reads and changes hashes whose stored bytes are arbitrary: what is damaged is ErrCorrupt.
func FuzzHash(f *testing.F) {
	f.Add([]byte("\x00\x01f\x02\x00v"), []byte(nil), []byte(nil))
	f.Add([]byte("\x02\x01f\x0a\x01\x00\x00\x00\x00\x00\x00\x00\x05v"), []byte(nil), []byte(nil))
	f.Add([]byte("\x01"), []byte("f\x00\x00\x00\x00f"), []byte("\x00v"))
	f.Add([]byte("\x03"), []byte("x\x00\x00\x00\x00\x00\x00\x00\x05f"), []byte(nil))
	c := newClock()
	s := openClocked(f, c)
	k := key("h")
	f.Fuzz(func(t *testing.T, value, sub, stored []byte) {
		tx := locked(s, k)
		defer tx.Discard()
		h := keys.Header{Type: keys.TypeHash, FieldExpireAt: 3}
		if len(sub) > 0 {
			id, err := tx.NewID(k.Slot)
			if err == nil {
				err = tx.PutSub(k.Slot, id, sub, stored)
			}
			if err != nil {
				t.Fatal(err)
			}
			h.Encoding, h.ID, h.Count, h.Bytes = keys.EncodingSpread, id, 1, keys.SubBytes(sub, stored)
		}
		if err := tx.Put(k, h, value); err != nil {
			t.Fatal(err)
		}
		try := func(err error) {
			if err != nil && !errors.Is(err, engine.ErrCorrupt) {
				t.Fatal(err)
			}
		}
		rec, _, err := tx.Get(k)
		try(err)
		_ = HashEncoding(rec)
		hash, err := OpenHash(tx, k)
		if err != nil {
			try(err)
			return
		}
		_, err = hash.Live()
		try(err)
		try(hash.Each(func(_, _ []byte) bool { return true }))
		_, err = hash.Scan(0, 10, func(_, _ []byte) {})
		try(err)
		try(hash.Random(2, func(_, _ []byte) bool { return true }))
		try(hash.Sample(1, 5, func(_, _ []byte) {}))
		_, err = hash.Set([]byte("f"), []byte("w"), true)
		try(err)
		_, err = hash.Delete([]byte("f"))
		try(err)
		if err == nil {
			try(hash.Save())
		}
		if rec, found, err := tx.Get(k); err == nil && found {
			_, err = ExpireFields(tx, k, rec, 10)
			try(err)
		}
	})
}

// BenchmarkHashSet sets one of 10 fields of a packed hash.
func BenchmarkHashSet(b *testing.B) {
	tx := openStore(b).NewTxn()
	k, value := key("k"), make([]byte, 20)
	fields := make([][]byte, 10)
	for i := range fields {
		fields[i] = []byte("field:" + strconv.Itoa(i))
	}
	i := 0
	step := func() error {
		tx.TryLock(k.Slot, true)
		h, err := OpenHash(tx, k)
		if err == nil {
			_, err = h.Set(fields[i%len(fields)], value, false)
		}
		if err == nil {
			err = h.Save()
		}
		i++
		return err
	}
	for range fields {
		if err := step(); err != nil {
			b.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := step(); err != nil {
			b.Fatal(err)
		}
		tx.Discard()
	}
}

// TestVerifyHash damages a spread hash, a sub-key at a time: Check finds each.
func TestVerifyHash(t *testing.T) {
	t.Parallel()
	k := key("h")
	for name, damage := range map[string]func(tx *engine.Txn, rec *engine.Record) error{
		"an expiry too early": func(tx *engine.Txn, rec *engine.Record) error {
			rec.FieldExpireAt += 1000
			return nil
		},
		"an expiry of no field": func(tx *engine.Txn, rec *engine.Record) error {
			rec.Bytes += keys.SubBytes([]byte("x\x00\x00\x00\x00\x01\x00\x00\x00b"), nil)
			return tx.PutSub(k.Slot, rec.ID, []byte("x\x00\x00\x00\x00\x01\x00\x00\x00b"), nil)
		},
		"too many fields": func(_ *engine.Txn, rec *engine.Record) error {
			rec.Count++
			return nil
		},
		"another hash": func(tx *engine.Txn, rec *engine.Record) error {
			rec.Count++
			rec.Bytes += keys.SubBytes([]byte("f\x00\x00\x00\x00z"), []byte{0})
			return tx.PutSub(k.Slot, rec.ID, []byte("f\x00\x00\x00\x00z"), []byte{0})
		},
	} {
		c := newClock()
		s := openClocked(t, c)
		p := engine.DefaultPacking()
		p.HashEntries = 1
		s.SetPacking(p)
		tx := locked(s, k)
		h, err := OpenHash(tx, k)
		for _, f := range []string{"a", "b"} {
			if err == nil {
				_, err = h.Set([]byte(f), []byte("v"), false)
			}
		}
		if err == nil {
			_, err = h.SetExpiry([]byte("a"), c.ms.Load()+500, Always)
		}
		if err := errors.Join(err, h.Save(), tx.Commit()); err != nil {
			t.Fatal(err)
		}
		checkStore(t, s)
		tx.Lock([]uint16{k.Slot}, true)
		rec, _, err := tx.Get(k)
		if err == nil {
			err = damage(tx, &rec)
		}
		if err := errors.Join(err, tx.Put(k, rec.Header, rec.Value), tx.Commit()); err != nil {
			t.Fatal(err)
		}
		if r, err := s.Check(t.Context()); err != nil || r.Err() == nil {
			t.Errorf("%s: Check finds nothing, %v", name, err)
		}
	}
}
