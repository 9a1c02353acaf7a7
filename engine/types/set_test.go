package types

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
)

// smallSets are limits that sets pass soon, in the order in which Redis would pass them, or by their size.
var smallSets = []engine.Packing{
	{SetInts: 8, SetEntries: 6, SetValue: 20, Bytes: 4096},
	{SetInts: 4, SetEntries: 30, SetValue: 6, Bytes: 60},
	{SetInts: 0, SetEntries: 0, Bytes: 4096},
}

// modelSets compares sets at a few keys with maps.
type modelSets struct {
	tx     *engine.Txn
	keys   []engine.Key
	models []map[string]bool
}

func (m *modelSets) open(t *rapid.T, i int) *Set {
	s, err := OpenSet(m.tx, m.keys[i])
	if err != nil {
		t.Fatal(err)
	}
	return &s
}

func (m *modelSets) all(t *rapid.T) (sets []Set) {
	for i := range m.keys {
		sets = append(sets, *m.open(t, i))
	}
	return sets
}

// check compares what can be read of the sets with the models, and what is stored with what the header says.
func (m *modelSets) check(t *rapid.T) {
	for i, model := range m.models {
		s := m.open(t, i)
		want := slices.Sorted(maps.Keys(model))
		var got []string
		err := s.Each(func(member []byte) bool {
			got = append(got, string(member))
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		if s.form == setInts && !s.spread() && !slices.IsSortedFunc(got, func(a, b string) int { return compareInts([]byte(a), []byte(b)) }) {
			t.Fatalf("integers out of order: %q", got)
		}
		if slices.Sort(got); !slices.Equal(got, want) || s.Len() != int64(len(want)) {
			t.Fatalf("key %d: %q, length %d, want %q", i, got, s.Len(), want)
		}
		if scanned := scanSet(t, s); !slices.Equal(scanned, want) {
			t.Fatalf("key %d: scanned %q, want %q", i, scanned, want)
		}
		if err := s.verify(); err != nil {
			t.Fatal(err)
		}
	}
}

// scanSet returns what a whole iteration returns, sorted.
func scanSet(t *rapid.T, s *Set) (all []string) {
	for cursor := uint64(0); ; {
		next, err := s.Scan(cursor, 3, func(member []byte) error {
			all = append(all, string(member))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if cursor = next; cursor == 0 {
			slices.Sort(all)
			return all
		}
	}
}

func someMembers(t *rapid.T) (list [][]byte) {
	member := rapid.OneOf(
		rapid.Map(rapid.IntRange(-9, 9), strconv.Itoa),
		rapid.Map(rapid.Int64(), func(n int64) string { return strconv.FormatInt(n, 10) }),
		rapid.SampledFrom([]string{"", "a", "b", "c", "d", "007", "-0", "a member of many bytes", "\x00"}),
	)
	for _, m := range rapid.SliceOfN(member, 1, 8).Draw(t, "members") {
		list = append(list, []byte(m))
	}
	return list
}

// TestSetIsASet compares sets with maps under random operations, packed and spread. Several share a transaction.
func TestSetIsASet(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	m := &modelSets{tx: s.NewTxn(), keys: []engine.Key{key("{k}a"), key("{k}b"), key("{k}c")}}
	rapid.Check(t, func(t *rapid.T) {
		packing := rapid.SampledFrom(smallSets).Draw(t, "packing")
		s.SetPacking(packing)
		lock := func() { m.tx.Lock([]uint16{m.keys[0].Slot}, true) }
		lock()
		defer func() { m.tx.Discard() }()
		m.models = nil
		for _, k := range m.keys {
			if _, err := m.tx.Delete(k); err != nil {
				t.Fatal(err)
			}
			m.models = append(m.models, map[string]bool{})
		}
		pick := func() int { return rapid.IntRange(0, len(m.keys)-1).Draw(t, "key") }
		ok := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		// take checks that a member that came out was in the model, and takes it out of there.
		take := func(model map[string]bool) func([]byte) {
			return func(member []byte) {
				if !model[string(member)] {
					t.Fatalf("%q is no member", member)
				}
				delete(model, string(member))
			}
		}
		stored := func(i int, n int64, err error, want map[string]bool) {
			if ok(err); n != int64(len(want)) {
				t.Fatalf("stored %d, want %d", n, len(want))
			}
			m.models[i] = want
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				i := pick()
				list, want := someMembers(t), int64(0)
				for _, e := range list {
					if !m.models[i][string(e)] {
						m.models[i][string(e)] = true
						want++
					}
				}
				if got, err := m.open(t, i).Add(list); err != nil || got != want {
					t.Fatalf("added %d, %v, want %d", got, err, want)
				}
			},
			"remove": func(t *rapid.T) {
				i := pick()
				list, want := someMembers(t), int64(0)
				for _, e := range list {
					if m.models[i][string(e)] {
						delete(m.models[i], string(e))
						want++
					}
				}
				if got, err := m.open(t, i).Remove(list); err != nil || got != want {
					t.Fatalf("removed %d, %v, want %d", got, err, want)
				}
			},
			"pop": func(t *rapid.T) {
				i := pick()
				n := rapid.Int64Range(1, 9).Draw(t, "n")
				want := len(m.models[i]) - int(min(n, int64(len(m.models[i]))))
				ok(m.open(t, i).Pop(n, take(m.models[i])))
				if len(m.models[i]) != want {
					t.Fatalf("%d left, want %d", len(m.models[i]), want)
				}
			},
			"random": func(t *rapid.T) {
				i := pick()
				set := m.open(t, i)
				if !set.Exists() {
					return
				}
				member, err := set.Random()
				if ok(err); !m.models[i][string(member)] {
					t.Fatalf("%q is no member", member)
				}
				n := rapid.Int64Range(1, set.Len()).Draw(t, "n")
				left := maps.Clone(m.models[i])
				ok(set.Sample(n, func(member []byte) bool { take(left)(member); return true }))
				if len(m.models[i])-len(left) != int(n) {
					t.Fatalf("%d of %d", len(m.models[i])-len(left), n)
				}
				picked := 0
				ok(set.SampleRepeated(3*n, func(member []byte) bool {
					if picked++; !m.models[i][string(member)] {
						t.Fatalf("%q is no member", member)
					}
					return true
				}))
				if picked != int(3*n) {
					t.Fatalf("%d instead of %d", picked, 3*n)
				}
			},
			"move": func(t *rapid.T) {
				i, j, e := pick(), pick(), someMembers(t)[0]
				want := m.models[i][string(e)]
				got, err := m.open(t, i).Move(m.open(t, j), e)
				if ok(err); got != want {
					t.Fatalf("moved: %v", got)
				}
				if want {
					delete(m.models[i], string(e))
					m.models[j][string(e)] = true
				}
			},
			"inter": func(t *rapid.T) {
				i := pick()
				n, err := InterStore(m.tx, m.keys[i], m.all(t))
				want := map[string]bool{}
				for e := range m.models[0] {
					if m.models[1][e] && m.models[2][e] {
						want[e] = true
					}
				}
				stored(i, n, err, want)
			},
			"union": func(t *rapid.T) {
				i := pick()
				n, err := UnionStore(m.tx, m.keys[i], m.all(t))
				want := map[string]bool{}
				for _, model := range m.models {
					maps.Copy(want, model)
				}
				stored(i, n, err, want)
			},
			"diff": func(t *rapid.T) {
				i := pick()
				n, err := DiffStore(m.tx, m.keys[i], m.all(t))
				want := map[string]bool{}
				for e := range m.models[0] {
					if !m.models[1][e] && !m.models[2][e] {
						want[e] = true
					}
				}
				stored(i, n, err, want)
			},
			"commit": func(t *rapid.T) {
				ok(m.tx.Commit())
				lock()
			},
			"": m.check,
		})
	})
}

// verify compares what is stored with what the header says.
func (s *Set) verify() error {
	if !s.spread() {
		return nil
	}
	n, size := int64(s.inHand), uint64(0)
	err := s.txn.ScanSub(s.key.Slot, s.rec.ID, nil, func(sub, value []byte) bool {
		n++
		size += keys.SubBytes(sub, value)
		return true
	})
	if err == nil && (n != s.Len() || size != s.rec.Bytes) {
		err = fmt.Errorf("%d members of %d bytes, but the header says %d of %d", n, size, s.Len(), s.rec.Bytes)
	}
	return err
}

// TestLargeSetOps compares operations on sets of some thousand members, which are read in several batches, with maps.
func TestLargeSetOps(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	tx := s.NewTxn()
	names := []string{"{k}0", "{k}1", "{k}2", "{k}small"}
	tx.Lock([]uint16{key(names[0]).Slot}, true)
	defer func() { tx.Discard() }()
	var sets []Set
	for i, name := range names {
		var list [][]byte
		for n := range 6000 {
			if n%(i+2) == 0 && (i < 3 || n < 100) {
				list = append(list, fmt.Appendf(nil, "member %d", n))
			}
		}
		set, err := OpenSet(tx, key(name))
		if err == nil {
			_, err = set.Add(list)
		}
		if err != nil {
			t.Fatal(err)
		}
		sets = append(sets, set)
	}
	for _, c := range []struct {
		name  string
		sets  []int
		store func(*engine.Txn, engine.Key, []Set) (int64, error)
		has   func(n int) bool
	}{
		{"inter", []int{0, 1, 2}, InterStore, func(n int) bool { return n%12 == 0 }},
		{"inter with a small one", []int{0, 3}, InterStore, func(n int) bool { return n < 100 && n%10 == 0 }},
		{"union", []int{2, 0, 0, 3}, UnionStore, func(n int) bool { return n%2 == 0 || n%4 == 0 || n < 100 && n%5 == 0 }},
		{"diff", []int{1, 0, 2}, DiffStore, func(n int) bool { return n%3 == 0 && n%2 != 0 }},
		{"diff with a small one", []int{1, 3}, DiffStore, func(n int) bool { return n%3 == 0 && (n >= 100 || n%5 != 0) }},
		{"diff with itself", []int{1, 1}, DiffStore, func(int) bool { return false }},
	} {
		var of []Set
		for _, i := range c.sets {
			of = append(of, sets[i])
		}
		n, err := c.store(tx, key("{k}result"), of)
		if err != nil {
			t.Fatal(err)
		}
		result, err := OpenSet(tx, key("{k}result"))
		if err != nil || result.Len() != n {
			t.Fatalf("%s: %d, %v", c.name, n, err)
		}
		for i := range 6000 {
			has, err := result.Has(fmt.Appendf(nil, "member %d", i))
			if err != nil || has != c.has(i) {
				t.Fatalf("%s: member %d: %v, %v", c.name, i, has, err)
			}
			if has {
				n--
			}
		}
		if err := result.verify(); err != nil || n != 0 {
			t.Fatalf("%s: %d more, %v", c.name, n, err)
		}
	}
}

// TestRandomMembers: each member comes about as often as any other, also while others have been popped, and after as many have come as gone the
// set has a fresh id.
func TestRandomMembers(t *testing.T) {
	t.Parallel()
	const members, draws = 100, 20_000
	s := openStore(t)
	s.SetPacking(engine.Packing{})
	tx := s.NewTxn()
	k := key("k")
	tx.Lock([]uint16{k.Slot}, true)
	defer func() { tx.Discard() }()
	open := func() *Set {
		set, err := OpenSet(tx, k)
		if err != nil {
			t.Fatal(err)
		}
		return &set
	}
	next := 0
	add := func(n int) {
		for range n {
			if _, err := open().Add([][]byte{fmt.Appendf(nil, "member %d", next)}); err != nil {
				t.Fatal(err)
			}
			next++
		}
	}
	add(4 * members)
	first := open().rec.ID
	if err := open().Pop(3*members, func([]byte) {}); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	set := open()
	for range draws {
		member, err := set.Random()
		if err != nil {
			t.Fatal(err)
		}
		seen[string(member)]++
	}
	for member, n := range seen {
		if n < draws/members/10 || n > draws/members*10 {
			t.Errorf("%s came %d times", member, n)
		}
	}
	if len(seen) != members {
		t.Errorf("%d of %d members came", len(seen), members)
	}
	for range renewAfter + renewRatio*members {
		add(1)
		if err := open().Pop(1, func([]byte) {}); err != nil {
			t.Fatal(err)
		}
	}
	set = open()
	if err := set.verify(); err != nil || set.Len() != members || set.rec.ID == first {
		t.Fatalf("%d members, id %d, then %d, %v", set.Len(), first, set.rec.ID, err)
	}
}

// FuzzSetRecord: what decodes as a set can be read and changed, and damage is ErrCorrupt.
func FuzzSetRecord(f *testing.F) {
	ints := intsOrList(nil)
	for _, v := range []int64{1, -70_000, 1 << 40} {
		ints = ints.addInt(v)
		f.Add(bytes.Clone(ints), false)
	}
	f.Add([]byte(ints.toList()), false)
	f.Add([]byte{byte(setTable)}, true)
	f.Add(append(binary.AppendUvarint([]byte{byte(setList)}, 7), "\x01\x02\x03\x04\x01a\x02bc"...), true)
	f.Fuzz(func(t *testing.T, value []byte, spread bool) {
		s := Set{rec: engine.Record{Value: value}, found: true}
		if spread {
			s.rec.Encoding, s.rec.ID, s.rec.Count = keys.EncodingSpread, 1, 3
		}
		if err := s.decode(); err != nil {
			if !errors.Is(err, engine.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		if spread {
			if s.removed > 0 && s.hand != nil && !bytes.Equal(s.state(), value) && len(s.state()) > len(value) {
				t.Fatalf("%x becomes %x", value, s.state())
			}
			return
		}
		s.packed = bytes.Clone(s.packed)
		n := 0
		s.packed.each(func(member []byte) bool {
			n++
			s.packed.has(member)
			return true
		})
		if n != s.packed.len() || len(s.packed.at(n-1)) > len(value)+20 {
			t.Fatalf("%d of %d members", n, s.packed.len())
		}
		if rest := s.packed.split(n-1, func([]byte) {}); rest.len() != 1 {
			t.Fatalf("%d members are left", rest.len())
		}
	})
}
