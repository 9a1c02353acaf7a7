package types

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
)

// wantSound verifies everything that is stored for a list against its elements.
func wantSound(t rapid.TB, l *List) {
	t.Helper()
	if !l.Exists() || !l.spread() {
		return
	}
	var s listSpan
	bytes, index := uint64(0), map[indexKey]int64{}
	var positions []uint64
	err := l.txn.WalkSub(l.key.Slot, l.rec.ID, engine.SubRange{}, false, func(sub, value []byte) bool {
		bytes += keys.SubBytes(sub, value)
		if sub[0] < listFirst>>56 {
			n, ok := decodeSurplus(value)
			if !ok || len(sub) != 1+positionLen {
				t.Fatalf("entry %x: %x", sub, value)
			}
			index[indexKey{sub[0], binary.BigEndian.Uint64(sub[1:])}] = n
			return true
		}
		at := binary.BigEndian.Uint64(sub)
		positions = append(positions, at)
		s.add(at, value)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	last := len(positions) - 1
	if s.n != l.Len() || positions[0] != l.head || positions[last] != l.tail {
		t.Fatalf("%d elements from %x to %x, but there are %d from %x to %x", l.Len(), l.head, l.tail, s.n, positions[0], positions[last])
	}
	if bytes != l.rec.Bytes || bytes-s.bytes != l.indexBytes || s.listpack != l.listpack || s.odd(l.head, l.tail) != l.odd {
		t.Fatalf("bytes %d, of the index %d, in a listpack %d, odd places %d; should be %d, %d, %d, %d",
			l.rec.Bytes, l.indexBytes, l.listpack, l.odd, bytes, bytes-s.bytes, s.listpack, s.odd(l.head, l.tail))
	}
	for level := range uint8(indexLevels) {
		for _, at := range positions {
			index[indexKey{level, groupOf(level, at)}]--
		}
		for g := groupOf(level, l.head); g <= l.tail; g += groupMask(level) + 1 {
			k := indexKey{level, g}
			if index[k] += places(max(g, l.head), min(groupLast(level, g), l.tail)); index[k] == 0 {
				delete(index, k)
			}
		}
	}
	if len(index) > 0 {
		t.Fatalf("the index differs from what it should be: %v", index)
	}
}

// listModel is a list and what it should hold.
type listModel struct {
	tx    *engine.Txn
	k     engine.Key
	model [][]byte
}

func (m *listModel) open(t rapid.TB) *List {
	t.Helper()
	l, err := OpenList(m.tx, m.k)
	if err != nil {
		t.Fatal(err)
	}
	return &l
}

func (m *listModel) commit(t rapid.TB) {
	t.Helper()
	if err := m.tx.Commit(); err != nil {
		t.Fatal(err)
	}
	m.tx.Lock([]uint16{m.k.Slot}, true)
}

// compare reads the list in every way.
func (m *listModel) compare(t rapid.TB, rng *rand.Rand) {
	t.Helper()
	l := m.open(t)
	n := int64(len(m.model))
	if l.Len() != n || l.Exists() != (n > 0) {
		t.Fatalf("%d elements, want %d", l.Len(), n)
	}
	if n == 0 {
		return
	}
	wantSound(t, l)
	from := rng.Int64N(n)
	to := from + rng.Int64N(n-from+1)
	for _, reverse := range []bool{false, true} {
		want := slices.Clone(m.model[from:to])
		if reverse {
			slices.Reverse(want)
		}
		var got [][]byte
		err := l.Each(from, to-from, reverse, func(e []byte) bool {
			got = append(got, bytes.Clone(e))
			return true
		})
		if err != nil || !slices.EqualFunc(got, want, bytes.Equal) {
			t.Fatalf("%d to %d (reverse %v): %.200q, %v, want %.200q", from, to, reverse, got, err, want)
		}
	}
	if e, err := l.Index(from); err != nil || !bytes.Equal(e, m.model[from]) {
		t.Fatalf("element %d: %.40q, %v, want %.40q", from, e, err, m.model[from])
	}
}

func (m *listModel) push(t rapid.TB, end End, elements ...[]byte) {
	t.Helper()
	if err := m.open(t).Push(end, elements...); err != nil {
		t.Fatal(err)
	}
	for _, e := range elements {
		if end == Left {
			m.model = slices.Insert(m.model, 0, e)
		} else {
			m.model = append(m.model, e)
		}
	}
}

func (m *listModel) pop(t rapid.TB, end End, n int64) {
	t.Helper()
	var got [][]byte
	if err := m.open(t).Pop(end, n, func(e []byte) { got = append(got, bytes.Clone(e)) }); err != nil {
		t.Fatal(err)
	}
	n = min(n, int64(len(m.model)))
	want := slices.Clone(m.model[:n])
	if end == Left {
		m.model = m.model[n:]
	} else {
		want = slices.Clone(m.model[int64(len(m.model))-n:])
		slices.Reverse(want)
		m.model = m.model[:int64(len(m.model))-n]
	}
	if !slices.EqualFunc(got, want, bytes.Equal) {
		t.Fatalf("popped %.200q, want %.200q", got, want)
	}
}

func (m *listModel) insert(t rapid.TB, pivot []byte, after bool, e []byte) {
	t.Helper()
	l := m.open(t)
	i := slices.IndexFunc(m.model, func(v []byte) bool { return bytes.Equal(v, pivot) })
	if found, err := l.Insert(pivot, after, e); err != nil || found != (i >= 0) {
		t.Fatalf("inserted: %v, %v, want %v", found, err, i >= 0)
	}
	if i < 0 {
		return
	}
	if after {
		i++
	}
	m.model = slices.Insert(m.model, i, e)
}

func (m *listModel) remove(t rapid.TB, n int64, e []byte) {
	t.Helper()
	l := m.open(t)
	before := len(m.model)
	if n < 0 {
		slices.Reverse(m.model)
	}
	left := max(n, -n)
	m.model = slices.DeleteFunc(m.model, func(v []byte) bool {
		gone := bytes.Equal(v, e) && (left > 0 || n == 0)
		if gone {
			left--
		}
		return gone
	})
	if n < 0 {
		slices.Reverse(m.model)
	}
	if removed, err := l.Remove(n, e); err != nil || removed != int64(before-len(m.model)) {
		t.Fatalf("removed %d, %v, want %d", removed, err, before-len(m.model))
	}
}

func (m *listModel) trim(t rapid.TB, from, to int64) {
	t.Helper()
	if err := m.open(t).Trim(from, to); err != nil {
		t.Fatal(err)
	}
	m.model = m.model[from:max(from, to)]
}

func (m *listModel) find(t rapid.TB, e []byte, reverse bool, most int64) {
	t.Helper()
	var got, want []int64
	err := m.open(t).Find(e, reverse, most, func(i int64) bool {
		got = append(got, i)
		return true
	})
	for i := range m.model {
		j := i
		if reverse {
			j = len(m.model) - 1 - i
		}
		if int64(i) < most && bytes.Equal(m.model[j], e) {
			want = append(want, int64(j))
		}
	}
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("found at %v, %v, want %v", got, err, want)
	}
}

// TestListIsSlice compares lists with slices under random operations, of which several share a transaction, with limits so small that most are
// spread. There are few different elements, so that those of LINSERT and LREM are found.
func TestListIsSlice(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	p := engine.DefaultPacking()
	p.Bytes = 40
	s.SetPacking(p)
	rapid.Check(t, func(t *rapid.T) {
		m := &listModel{tx: s.NewTxn(), k: key("k")}
		m.tx.Lock([]uint16{m.k.Slot}, true)
		defer func() { m.tx.Discard() }()
		if _, err := m.tx.Delete(m.k); err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		element := func() []byte {
			e := []byte(fmt.Sprint(rng.IntN(6)))
			if rng.IntN(20) == 0 {
				e = bytes.Repeat(e, rng.IntN(100))
			}
			return e
		}
		end := func() End { return End(rng.IntN(2)) }
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				elements := make([][]byte, 1+rng.IntN(4))
				if rng.IntN(8) == 0 {
					elements = make([][]byte, rng.IntN(600))
				}
				for i := range elements {
					elements[i] = element()
				}
				m.push(t, end(), elements...)
			},
			"pop": func(t *rapid.T) {
				m.pop(t, end(), 1+rng.Int64N(rapid.SampledFrom([]int64{1, 3, 10, 400}).Draw(t, "n")))
			},
			"insert": func(t *rapid.T) {
				pivot := element()
				for range 1 + rng.IntN(20) {
					m.insert(t, pivot, rng.IntN(2) == 0, element())
				}
			},
			"remove": func(t *rapid.T) { m.remove(t, rng.Int64N(9)-4, element()) },
			"set": func(t *rapid.T) {
				if n := len(m.model); n > 0 {
					i, e := rng.IntN(n), element()
					if err := m.open(t).Set(int64(i), e); err != nil {
						t.Fatal(err)
					}
					m.model[i] = e
				}
			},
			"trim": func(t *rapid.T) {
				if n := int64(len(m.model)); n > 0 && rng.IntN(3) > 0 {
					from := rng.Int64N(n)
					m.trim(t, from/2, n-(n-from)/4)
				} else if n > 0 {
					m.trim(t, rng.Int64N(n), rng.Int64N(n))
				}
			},
			"find": func(t *rapid.T) {
				m.find(t, element(), rng.IntN(2) == 0, rapid.SampledFrom([]int64{1, 10, math.MaxInt64}).Draw(t, "most"))
			},
			"rotate": func(t *rapid.T) {
				from, to := end(), end()
				e, found, err := Move(m.tx, m.k, m.k, from, to)
				n := len(m.model)
				if err != nil || found != (n > 0) {
					t.Fatal(found, err)
				}
				if n == 0 {
					return
				}
				at := []int{0, n - 1}[from]
				if !bytes.Equal(e, m.model[at]) {
					t.Fatalf("moved %q, want %q", e, m.model[at])
				}
				m.model = slices.Delete(m.model, at, at+1)
				m.model = slices.Insert(m.model, []int{0, n - 1}[to], bytes.Clone(e))
			},
			"commit": func(t *rapid.T) { m.commit(t) },
			"":       func(t *rapid.T) { m.compare(t, rng) },
		})
	})
}

// TestListCrowded inserts at one place until the room between two elements has been used up again and again, by which the elements around
// move apart, and then takes most of it away.
func TestListCrowded(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	p := engine.DefaultPacking()
	p.Bytes = 10
	s.SetPacking(p)
	rng := rand.New(rand.NewPCG(1, 1))
	m := &listModel{tx: s.NewTxn(), k: key("k")}
	m.tx.Lock([]uint16{m.k.Slot}, true)
	defer m.tx.Discard()
	var elements [][]byte
	for i := range 1000 {
		elements = append(elements, []byte(fmt.Sprint(i)))
	}
	m.push(t, Right, elements...)
	for i := range 800 {
		m.insert(t, []byte("500"), i%2 == 0, []byte(fmt.Sprint("i", i)))
		if i%20 == 0 {
			m.commit(t)
		}
	}
	m.compare(t, rng)
	for len(m.model) > 0 {
		switch rng.IntN(4) {
		case 0:
			m.pop(t, End(rng.IntN(2)), 1+rng.Int64N(100))
		case 1:
			n := int64(len(m.model))
			m.trim(t, rng.Int64N(max(n/8, 1)), n-rng.Int64N(max(n/8, 1)))
		default:
			for range 20 {
				m.remove(t, 1, []byte(fmt.Sprint("i", rng.IntN(800))))
			}
		}
		m.compare(t, rng)
		m.commit(t)
	}
}

// TestListRegular: what only pushes, pops, trims and sets stays regular, and an irregular list becomes regular again.
func TestListRegular(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	m := &listModel{tx: s.NewTxn(), k: key("k")}
	m.tx.Lock([]uint16{m.k.Slot}, true)
	defer m.tx.Discard()
	var elements [][]byte
	for i := range 1000 {
		elements = append(elements, fmt.Appendf(nil, "element %d", i))
	}
	m.push(t, Right, elements...)
	m.push(t, Left, elements[:500]...)
	m.pop(t, Left, 300)
	m.trim(t, 100, 1000)
	if l := m.open(t); !l.spread() || !l.regular() || l.indexBytes != 0 {
		t.Fatal("irregular without a reason")
	}
	m.insert(t, elements[400], true, []byte("new"))
	m.remove(t, 0, elements[500])
	m.remove(t, 0, elements[5])
	if l := m.open(t); l.regular() || l.indexBytes == 0 {
		t.Fatal("regular after LINSERT and LREM")
	}
	m.pop(t, Left, 700)
	if l := m.open(t); !l.regular() || l.indexBytes != 0 {
		t.Fatalf("still irregular: %+v", l.listState)
	}
	m.compare(t, rand.New(rand.NewPCG(1, 1)))
}

// TestListEncoding goes over the limits of list-max-listpack-size and back.
func TestListEncoding(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	m := &listModel{tx: s.NewTxn(), k: key("k")}
	m.tx.Lock([]uint16{m.k.Slot}, true)
	defer m.tx.Discard()
	want := func(name string) {
		t.Helper()
		rec, _, err := m.tx.Get(m.k)
		if got := ListEncoding(rec); err != nil || got != name {
			t.Fatalf("%d elements: %s, %v, want %s", len(m.model), got, err, name)
		}
	}
	hundred := bytes.Repeat([]byte("x"), 98) // 100 in a listpack, and 1 for its length
	for range 81 {
		m.push(t, Right, hundred)
		want("listpack")
	}
	m.push(t, Right, hundred) // 81*101+7+98 > 8192
	want("quicklist")
	for range 41 {
		m.pop(t, Left, 1)
		want("quicklist")
	}
	m.pop(t, Left, 1) // 40*101+7 <= 4096
	want("listpack")

	m.trim(t, 0, 0)
	p := engine.DefaultPacking()
	p.ListSize = 4
	s.SetPacking(p)
	m.push(t, Left, []byte("1"), []byte("2"), []byte("3"), []byte("4"))
	want("listpack")
	m.push(t, Left, []byte("5"))
	want("quicklist")
	m.pop(t, Right, 2)
	want("quicklist")
	m.pop(t, Right, 1)
	want("listpack")
}

func TestListpackSize(t *testing.T) {
	t.Parallel()
	for e, want := range map[string]uint64{
		"": 2, "a": 3, "0": 2, "127": 2, "128": 3, "-1": 3, "4095": 3, "-4096": 3, "4096": 4, "32767": 4, "32768": 5, "-8388608": 5, "8388608": 6,
		"2147483647": 6, "2147483648": 10, "-9223372036854775808": 10, "9223372036854775808": 21, "01": 4,
	} {
		if got := listpackSize([]byte(e)); got != want {
			t.Errorf("%q takes %d bytes, want %d", e, got, want)
		}
	}
	for n, want := range map[int]uint64{63: 65, 64: 67, 125: 128, 126: 130, 4095: 4099, 4096: 4103} {
		if got := listpackSize(bytes.Repeat([]byte("x"), n)); got != want {
			t.Errorf("%d bytes take %d, want %d", n, got, want)
		}
	}
}

func TestListErrors(t *testing.T) {
	t.Parallel()
	tx := openStore(t).NewTxn()
	k, other := key("{k}"), key("{k}2")
	tx.Lock([]uint16{k.Slot}, true)
	defer tx.Discard()
	if err := SetString(tx, k, []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenList(tx, k); err != ErrWrongType {
		t.Errorf("a string is opened: %v", err)
	}
	l, err := OpenList(tx, other)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Push(Left, []byte("a")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Move(tx, other, k, Left, Left); err != ErrWrongType || l.Len() != 1 {
		t.Errorf("moved to a string: %v", err)
	}
}

// TestListCrash crashes a list that is packed, spread and deleted again and again. What is left is what some step has left, the last one that was
// acknowledged or a later one.
func TestListCrash(t *testing.T) {
	t.Parallel()
	k := key("k")
	elements := func(t testing.TB, tx *engine.Txn) string {
		l, err := OpenList(tx, k)
		if err != nil {
			t.Fatal(err)
		}
		wantSound(t, &l)
		var b bytes.Buffer
		if err := l.Each(0, l.Len(), false, func(e []byte) bool { fmt.Fprintf(&b, "%q ", e); return true }); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	o := engine.Options{CacheBytes: 4 << 20, RecordCacheBytes: -1, MemTableBytes: 64 << 10, LogSegmentBytes: 32 << 10, FreeSpaceReserve: 1, Packing: engine.DefaultPacking(), Verify: Verify}
	o.Packing.Bytes = 100
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			history := []string{""}
			after, least, most := crash(t, seed, o, func(tx *engine.Txn, rng *rand.Rand) error {
				tx.Lock([]uint16{k.Slot}, true)
				err := changeList(tx, k, rng)
				history = append(history, elements(t, tx))
				return err
			})
			tx := locked(after, k)
			got := elements(t, tx)
			tx.Discard()
			if !slices.Contains(history[least:min(most+1, len(history))], got) {
				t.Errorf("%.400s was never committed, or was not what was acknowledged", got)
			}
			checkStore(t, after)
		})
	}
}

// changeList makes a random change, most often by pushing.
func changeList(tx *engine.Txn, k engine.Key, rng *rand.Rand) error {
	l, err := OpenList(tx, k)
	if err != nil {
		return err
	}
	e := fmt.Append(nil, rng.IntN(20))
	switch rng.IntN(8) {
	case 0:
		return l.Pop(End(rng.IntN(2)), rng.Int64N(8), func([]byte) {})
	case 1:
		_, err := l.Insert(e, true, []byte("inserted"))
		return err
	case 2:
		_, err := l.Remove(rng.Int64N(5)-2, e)
		return err
	case 3:
		if n := l.Len(); rng.IntN(3) == 0 && n > 0 {
			return l.Trim(rng.Int64N(n), n)
		}
	}
	return l.Push(End(rng.IntN(2)), e, fmt.Append(nil, rng.Uint64()))
}

// TestListVerify damages what is stored of an irregular list in many ways, all of which are found.
func TestListVerify(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	m := &listModel{tx: s.NewTxn(), k: key("k")}
	m.tx.Lock([]uint16{m.k.Slot}, true)
	defer m.tx.Discard()
	var elements [][]byte
	for i := range 2000 {
		elements = append(elements, fmt.Append(nil, i))
	}
	m.push(t, Right, elements...)
	for i := 300; i < 1000; i++ {
		m.remove(t, 0, fmt.Append(nil, i)) // two groups and more are empty
	}
	m.insert(t, []byte("1500"), true, []byte("new"))
	l := m.open(t)
	type pair struct{ sub, value []byte }
	var pairs []pair
	err := m.tx.WalkSub(m.k.Slot, l.rec.ID, engine.SubRange{}, false, func(sub, value []byte) bool {
		pairs = append(pairs, pair{bytes.Clone(sub), bytes.Clone(value)})
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	verify := func(rec engine.Record, pairs []pair) error {
		v, err := verifyList(rec)
		for _, p := range pairs {
			if err != nil {
				return err
			}
			err = v.Sub(p.sub, p.value)
		}
		if err != nil {
			return err
		}
		return v.End()
	}
	if err := verify(l.rec, pairs); err != nil {
		t.Fatalf("a sound list: %v", err)
	}
	for i := range pairs {
		if i > 20 && i%100 != 0 {
			continue
		}
		if verify(l.rec, slices.Delete(slices.Clone(pairs), i, i+1)) == nil {
			t.Errorf("sub-key %x is missing, but nobody sees it", pairs[i].sub)
		}
	}
	for name, change := range map[string]func(rec *engine.Record, s *listState){
		"count":    func(rec *engine.Record, _ *listState) { rec.Count++ },
		"head":     func(_ *engine.Record, s *listState) { s.head -= listStep },
		"tail":     func(_ *engine.Record, s *listState) { s.tail += listStep },
		"odd":      func(_ *engine.Record, s *listState) { s.odd++ },
		"listpack": func(_ *engine.Record, s *listState) { s.listpack++ },
		"index":    func(_ *engine.Record, s *listState) { s.indexBytes-- },
	} {
		rec, state := l.rec, l.listState
		change(&rec, &state)
		rec.Value = state.append(nil)
		if verify(rec, pairs) == nil {
			t.Errorf("another %s, but nobody sees it", name)
		}
	}
}

// FuzzList opens any bytes as a list and uses it: an error says that they are damaged, and nothing else happens.
func FuzzList(f *testing.F) {
	state := listState{head: listMiddle, tail: listMiddle, listpack: 3}
	f.Add([]byte("\x01a\x02bc"), uint64(0), []byte(nil), []byte(nil))
	f.Add(state.append(nil), uint64(1), []byte("\xc0\x00\x00\x00\x00\x00\x00\x00"), []byte("a"))
	state.odd, state.tail = 1, listMiddle+2*listStep
	f.Add(state.append(nil), uint64(2), []byte("\xc0\x00\x00\x00\x00\x00\x20\x00"), []byte("b"))
	f.Add(state.append(nil), uint64(2), []byte("\x00\xc0\x00\x00\x00\x00\x00\x00\x00"), []byte("\x01"))
	s := openStore(f)
	f.Fuzz(func(t *testing.T, value []byte, count uint64, sub, subValue []byte) {
		tx := s.NewTxn()
		k := key("k")
		tx.Lock([]uint16{k.Slot}, true)
		defer tx.Discard()
		h := keys.Header{Type: keys.TypeList}
		if count > 0 {
			id, err := tx.NewID(k.Slot)
			if err != nil {
				t.Fatal(err)
			}
			h.Encoding, h.ID, h.Count = keys.EncodingSpread, id, count
			if err := tx.PutSub(k.Slot, id, sub, subValue); err != nil {
				t.Fatal(err)
			}
		}
		if err := tx.Put(k, h, value); err != nil {
			t.Fatal(err)
		}
		each := func(l *List) error {
			return l.Each(0, min(l.Len(), 1000), false, func([]byte) bool { return true })
		}
		index := func(l *List) error { _, err := l.Index(l.Len() / 2); return err }
		for i, use := range []func(l *List) error{
			each, index,
			func(l *List) error { return l.Pop(Left, 1, func([]byte) {}) },
			func(l *List) error { return l.Push(Right, []byte("x")) },
			func(l *List) error { _, err := l.Insert([]byte("a"), true, []byte("y")); return err },
			func(l *List) error { _, err := l.Remove(1, []byte("b")); return err },
			func(l *List) error { return l.Trim(l.Len()/2, l.Len()/2+1) },
		} {
			mark := tx.Mark()
			l, err := OpenList(tx, k)
			if err == nil {
				err = use(&l)
			}
			if err != nil && !errors.Is(err, engine.ErrCorrupt) && err != ErrListFull {
				t.Fatalf("operation %d: %v", i, err)
			}
			tx.Rollback(mark)
		}
	})
}
