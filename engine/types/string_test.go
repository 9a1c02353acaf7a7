package types

import (
	"bytes"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
)

func openStore(t testing.TB) *engine.Store {
	t.Helper()
	s, err := engine.Open("d", engine.Options{FS: vfs.NewMem(), CacheBytes: 4 << 20, RecordCacheBytes: -1, MemTableBytes: 1 << 20, FreeSpaceReserve: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func key(name string) engine.Key {
	return engine.Key{Slot: keys.Slot([]byte(name)), Name: []byte(name)}
}

// TestStringIsBytes compares a string with a slice of bytes under random writes around the borders of chunks. Several
// writes share a transaction, and reads come before and after its commit.
func TestStringIsBytes(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	tx := s.NewTxn()
	k := key("k")
	rapid.Check(t, func(t *rapid.T) {
		tx.Lock([]uint16{k.Slot}, true)
		defer func() { tx.Discard() }()
		if _, err := tx.Delete(k); err != nil {
			t.Fatal(err)
		}
		var model []byte
		near := rapid.Custom(func(t *rapid.T) int64 {
			return max(0, rapid.SampledFrom([]int64{0, 100, MaxInline, 2 * ChunkSize, 5 * ChunkSize}).Draw(t, "border")+rapid.Int64Range(-3, 3).Draw(t, "off"))
		})
		open := func() String {
			str, err := OpenString(tx, k)
			if err != nil {
				t.Fatal(err)
			}
			return str
		}
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				model = bytes.Repeat([]byte{byte(rapid.IntRange(1, 255).Draw(t, "b"))}, int(near.Draw(t, "length")))
				if err := SetString(tx, k, model, 0); err != nil {
					t.Fatal(err)
				}
				model = bytes.Clone(model)
			},
			"write": func(t *rapid.T) {
				off, p := near.Draw(t, "at"), bytes.Repeat([]byte{byte(rapid.IntRange(1, 255).Draw(t, "b"))}, int(near.Draw(t, "length")))
				str := open()
				if err := str.WriteAt(off, p); err != nil {
					t.Fatal(err)
				}
				if grow := off + int64(len(p)) - int64(len(model)); grow > 0 {
					model = append(model, make([]byte, grow)...)
				}
				copy(model[off:], p)
			},
			"bit": func(t *rapid.T) {
				off, bit := near.Draw(t, "at")*8+3, byte(rapid.IntRange(0, 1).Draw(t, "bit"))
				str := open()
				if _, err := str.SetBit(off, bit); err != nil {
					t.Fatal(err)
				}
				if grow := off/8 + 1 - int64(len(model)); grow > 0 {
					model = append(model, make([]byte, grow)...)
				}
				model[off/8] = model[off/8]&^0x10 | bit<<4
			},
			"commit": func(t *rapid.T) {
				if err := tx.Commit(); err != nil {
					t.Fatal(err)
				}
				tx.Lock([]uint16{k.Slot}, true)
			},
			"": func(t *rapid.T) { compare(t, open(), model, near) },
		})
	})
}

// compare reads a string in every way.
func compare(t *rapid.T, s String, model []byte, near *rapid.Generator[int64]) {
	length := int64(len(model))
	if s.Len() != length {
		t.Fatalf("%d bytes, want %d", s.Len(), length)
	}
	if all, err := s.Bytes(); err != nil || !bytes.Equal(all, model) {
		t.Fatalf("the bytes differ, %v", err)
	}
	from := min(near.Draw(t, "from"), length)
	to := min(max(near.Draw(t, "to"), from), length)
	if part, err := s.Append(nil, from, to); err != nil || !bytes.Equal(part, model[from:to]) {
		t.Fatalf("the bytes %d to %d differ, %v", from, to, err)
	}
	ones, err := s.CountBits(from*8, to*8)
	if err != nil || ones != onesCount(model[from:to]) {
		t.Fatalf("%d ones from %d to %d, %v", ones, from, to, err)
	}
	pos, err := s.FindBit(1, from*8, to*8)
	want := int64(-1)
	for i := from; i < to && want < 0; i++ {
		for b := int64(0); b < 8 && want < 0; b++ {
			if model[i]>>(7-b)&1 == 1 {
				want = i*8 + b
			}
		}
	}
	if err != nil || pos != want {
		t.Fatalf("first one at %d, want %d, %v", pos, want, err)
	}
}

func TestWrongType(t *testing.T) {
	t.Parallel()
	tx := openStore(t).NewTxn()
	k := key("list")
	tx.Lock([]uint16{k.Slot}, true)
	defer tx.Discard()
	if err := tx.Put(k, keys.Header{Type: keys.TypeList}, []byte("x")); err != nil {
		t.Fatal(err)
	}
	for name, run := range map[string]func() error{
		"OpenString":  func() error { _, err := OpenString(tx, k); return err },
		"IncrBy":      func() error { _, err := IncrBy(tx, k, 1); return err },
		"IncrByFloat": func() error { _, err := IncrByFloat(tx, k, []byte("1")); return err },
		"CombineBits": func() error { _, err := CombineBits(tx, Not, k, []engine.Key{k}); return err },
	} {
		if err := run(); err != ErrWrongType {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	tx := openStore(b).NewTxn()
	k := key("k")
	tx.Lock([]uint16{k.Slot}, true)
	if err := SetString(tx, k, make([]byte, 128), 0); err != nil {
		b.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		tx.TryLock(k.Slot, false)
		s, err := OpenString(tx, k)
		if err != nil || s.Len() != 128 {
			b.Fatal(s.Len(), err)
		}
		tx.Discard()
	}
}

func BenchmarkSet(b *testing.B) {
	tx := openStore(b).NewTxn()
	k, value := key("k"), make([]byte, 128)
	b.ReportAllocs()
	for b.Loop() {
		tx.TryLock(k.Slot, true)
		if err := SetString(tx, k, value, 0); err != nil {
			b.Fatal(err)
		}
		tx.Discard()
	}
}
