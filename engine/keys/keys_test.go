package keys

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"
)

func TestSlot(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]uint16{
		"":                     0,
		"123456789":            0x31C3,
		"foo":                  12182,
		"{user1000}.following": 3443,
		"{user1000}.followers": 3443,
		"foo{}{bar}":           8363,
		"foo{{bar}}zap":        4015,
		"foo{bar}{zap}":        5061,
		"{bar":                 CRC16([]byte("{bar")) % Slots, // no closing brace: the whole key is hashed
	} {
		if got := Slot([]byte(key)); got != want {
			t.Errorf("Slot(%q) = %d, want %d", key, got, want)
		}
	}
}

func TestCRC16SlicedAgainstBitwise(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		p := make([]byte, rng.IntN(70))
		for i := range p {
			p[i] = byte(rng.Uint32())
		}
		var want uint16
		for _, b := range p {
			want ^= uint16(b) << 8
			for range 8 {
				if want&0x8000 != 0 {
					want = want<<1 ^ 0x1021
				} else {
					want <<= 1
				}
			}
		}
		if got := CRC16(p); got != want {
			t.Fatalf("CRC16(%x) = %04x, want %04x", p, got, want)
		}
	}
}

func TestHeaderRoundTrip(t *testing.T) {
	t.Parallel()
	for _, h := range []Header{
		{Type: TypeString},
		{Type: TypeString, Modified: math.MaxUint32},
		{Type: TypeHash, ExpireAt: 1},
		{Type: TypeStream, ExpireAt: math.MaxInt64, Encoding: EncodingSpread, ID: math.MaxUint64, Count: math.MaxUint64},
		{Type: TypeList, Encoding: EncodingSpread, ID: 1},
	} {
		enc := h.Append(nil)
		if len(enc) != h.Len() || len(enc) > MaxHeaderLen {
			t.Errorf("%+v: length %d, Len says %d", h, len(enc), h.Len())
		}
		var got Header
		rest, err := got.Decode(append(enc, "value"...))
		if err != nil || got != h || string(rest) != "value" {
			t.Errorf("%+v: decoded %+v, %q, %v", h, got, rest, err)
		}
		for n := range enc {
			if _, err := got.Decode(enc[:n]); err == nil {
				t.Errorf("%+v: a header cut to %d bytes decodes", h, n)
			}
		}
	}
}

func TestCursor(t *testing.T) {
	t.Parallel()
	slot, hash := ParseCursor(Cursor(12345, 0xDEADBEEF))
	if slot != 12345 || hash != 0xDEADBEEF>>hashShift<<hashShift {
		t.Errorf("got %d, %x", slot, hash)
	}
	if last := Cursor(Slots-1, math.MaxUint32); last != CursorEnd-1 || last > math.MaxInt32 {
		t.Errorf("the last cursor is %d", last)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(AppendMeta(nil, 1, 2, []byte("k")))
	f.Add(AppendExpiry(nil, 1, 77, ExpireField, 3, []byte("k")))
	f.Add(AppendSub(nil, 16383, math.MaxUint64, []byte{0}))
	f.Fuzz(func(t *testing.T, key []byte) {
		if n := Split(key); n > len(key) || Split(key[:n]) != n {
			t.Fatalf("Split(%x) = %d", key, n)
		}
		if s := ImmediateSuccessor(nil, key[:Split(key)]); bytes.Compare(s, key[:Split(key)]) <= 0 || Split(s) != len(s) {
			t.Fatalf("ImmediateSuccessor(%x) = %x", key[:Split(key)], s)
		}
		p, ok := Parse(key)
		if !ok {
			return
		}
		var again []byte
		switch p.Kind {
		case KindMeta:
			if p.Hash != Hash(p.Name) {
				return
			}
			again = AppendMeta(nil, p.Slot, p.DB, p.Name)
		case KindSub:
			again = AppendSub(nil, p.Slot, p.ID, p.Sub)
			if bytes.Compare(again, AppendSubEnd(nil, p.Slot, p.ID)) >= 0 {
				t.Fatalf("%x lies behind the end of its id", key)
			}
		case KindGarbage:
			again = AppendGarbage(nil, p.Slot, p.ID)
		case KindExpiry:
			again = AppendExpiry(nil, p.Slot, p.ExpireAt, p.Expiry, p.DB, p.Name)
		case KindCounters:
			again = AppendCounters(nil, p.Slot)
		case KindImport:
			again = AppendImport(nil, p.Slot)
		}
		if !bytes.Equal(again, key) {
			t.Fatalf("%x parses and encodes to %x", key, again)
		}
	})
}

func TestSetDB(t *testing.T) {
	t.Parallel()
	for name, key := range map[string]func(db uint8) []byte{
		"meta":    func(db uint8) []byte { return AppendMeta(nil, 5, db, []byte("name")) },
		"expiry":  func(db uint8) []byte { return AppendExpiry(nil, 5, 77, ExpireKey, db, []byte("name")) },
		"sub":     func(uint8) []byte { return AppendSub(nil, 5, 6, []byte("subkey")) },
		"garbage": func(uint8) []byte { return AppendGarbage(nil, 5, 6) },
		"import":  func(uint8) []byte { return AppendImport(nil, 5) },
	} {
		got := key(1)
		if SetDB(got, 9); !bytes.Equal(got, key(9)) {
			t.Errorf("%s: %x instead of %x", name, got, key(9))
		}
	}
}

func FuzzHeader(f *testing.F) {
	f.Add((&Header{Type: TypeString}).Append(nil))
	f.Add((&Header{Type: TypeHash, Encoding: EncodingSpread, ExpireAt: 5, ID: 7, Count: 8}).Append(nil))
	f.Fuzz(func(t *testing.T, rec []byte) {
		var h, again Header
		value, err := h.Decode(rec)
		if err != nil {
			return
		}
		// An over-long varint decodes, too: compare what it means, not its bytes.
		v2, err := again.Decode(append(h.Append(nil), value...))
		if err != nil || again != h || !bytes.Equal(value, v2) {
			t.Fatalf("%x: %+v, then %+v, %v", rec, h, again, err)
		}
	})
}

func FuzzCounters(f *testing.F) {
	f.Add((&Counters{NextID: 9, DBs: []DBCounters{{DB: 1, Keys: 2, Bytes: 300}}}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var c, again Counters
		if _, err := c.Decode(b); err != nil {
			return
		}
		if rest, err := again.Decode(c.Append(nil)); err != nil || len(rest) != 0 || !bytes.Equal(again.Append(nil), c.Append(nil)) {
			t.Fatalf("%x: %+v, then %+v, %v", b, c, again, err)
		}
	})
}

func BenchmarkSlot(b *testing.B) {
	key := []byte("key:000000123456")
	for b.Loop() {
		Slot(key)
	}
}

func BenchmarkHash(b *testing.B) {
	key := []byte("key:000000123456")
	for b.Loop() {
		Hash(key)
	}
}
