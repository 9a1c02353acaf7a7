package types

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cairndb/cairn/engine"
)

// orderedSet is a collection of elements under one prefix and their order, with a model beside it.
type orderedSet struct {
	*order
	bytes int64    // of the markers
	model []string // sorted
}

func (s *orderedSet) set(t *testing.T, name string, present bool) {
	t.Helper()
	i, found := slices.BinarySearch(s.model, name)
	if found == present {
		return
	}
	delta, err := int64(1), error(nil)
	if present {
		s.model = slices.Insert(s.model, i, name)
		err = s.txn.PutSub(s.slot, s.id, s.element(name), nil)
	} else {
		delta = -1
		s.model = slices.Delete(s.model, i, i+1)
		err = s.txn.DeleteSub(s.slot, s.id, s.element(name))
	}
	if err != nil {
		t.Fatal(err)
	}
	n, err := s.add([]byte(name), delta)
	if err != nil {
		t.Fatal(err)
	}
	s.bytes += n
}

// wantOrder compares ranks, elements by rank and the stored markers with the model.
func (s *orderedSet) wantOrder(t *testing.T, rng *rand.Rand) {
	t.Helper()
	for range 20 {
		key := fmt.Sprintf("%06d", rng.IntN(1_000_000))
		want, _ := slices.BinarySearch(s.model, key)
		if got, err := s.rank([]byte(key)); err != nil || got != int64(want) {
			t.Fatalf("rank of %s: %d, %v, want %d", key, got, err, want)
		}
		if len(s.model) == 0 {
			continue
		}
		i := rng.IntN(len(s.model))
		if got, err := s.at(int64(i)); err != nil || string(got) != s.model[i] {
			t.Fatalf("element %d: %s, %v, want %s", i, got, err, s.model[i])
		}
	}
	var groups, bytes int64
	var first []string
	var counts []int
	err := s.txn.WalkSub(s.slot, s.id, prefixRange(s.markers), false, func(sub, value []byte) bool {
		n, _ := binary.Uvarint(value)
		first, counts = append(first, string(sub[1:])), append(counts, int(n))
		groups++
		bytes += subSize(sub, value)
		return true
	})
	if err != nil || bytes != s.bytes {
		t.Fatalf("the markers take %d bytes, %v; counted %d", bytes, err, s.bytes)
	}
	at := 0
	for i := range first {
		next := len(s.model)
		if i+1 < len(first) {
			next, _ = slices.BinarySearch(s.model, first[i+1])
		}
		if next-at != counts[i] {
			t.Fatalf("group %d counts %d elements of %d", i, counts[i], next-at)
		}
		at = next
	}
	if most := int64(len(s.model)/(groupSize/8) + 1); groups > most {
		t.Fatalf("%d groups for %d elements", groups, len(s.model))
	}
}

// TestOrder grows and shrinks a collection at random and at its ends, now and then with an order that is read anew.
func TestOrder(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	rng := rand.New(rand.NewPCG(3, 4))
	const slot, elements, markers = 9, 's', 'c'
	set := &orderedSet{}
	var id uint64
	inTxn := func(fn func(tx *engine.Txn)) {
		t.Helper()
		tx := s.NewTxn()
		tx.Lock([]uint16{slot}, true)
		fn(tx)
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	inTxn(func(tx *engine.Txn) {
		var err error
		if id, err = tx.NewID(slot); err != nil {
			t.Fatal(err)
		}
		for i := range orderFrom {
			name := fmt.Sprintf("%06d", i*1000)
			set.model = append(set.model, name)
			if err := tx.PutSub(slot, id, append([]byte{elements}, name...), nil); err != nil {
				t.Fatal(err)
			}
		}
		if set.order, set.bytes, err = buildOrder(tx, slot, id, elements, markers); err != nil {
			t.Fatal(err)
		}
	})
	for round := range 60 {
		inTxn(func(tx *engine.Txn) {
			if rng.IntN(3) == 0 {
				tx.SetDerived(slot, id, nil, 0) // as if there had been no room
			}
			var err error
			if set.order, err = openOrder(tx, slot, id, elements, markers); err != nil {
				t.Fatal(err)
			}
			for range 700 {
				switch grow := round < 30; {
				case !grow && len(set.model) > 0 && round%3 == 0:
					set.set(t, set.model[0], false)
				case !grow && len(set.model) > 0:
					set.set(t, set.model[rng.IntN(len(set.model))], false)
				case round%3 == 0:
					set.set(t, fmt.Sprintf("%06d", 900_000+rng.IntN(100)), true)
				default:
					set.set(t, fmt.Sprintf("%06d", rng.IntN(1_000_000)), true)
				}
			}
			set.wantOrder(t, rng)
		})
	}
	if len(set.model) != 0 {
		t.Fatalf("%d elements are left", len(set.model))
	}
}

// TestOrderUndone: a transaction that is undone leaves no trace in what is kept in memory.
func TestOrderUndone(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	const slot = 9
	tx := s.NewTxn()
	tx.Lock([]uint16{slot}, true)
	id, err := tx.NewID(slot)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := buildOrder(tx, slot, id, 's', 'c'); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	tx.Lock([]uint16{slot}, true)
	o, err := openOrder(tx, slot, id, 's', 'c')
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.PutSub(slot, id, []byte("sx"), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := o.add([]byte("x"), 1); err != nil {
		t.Fatal(err)
	}
	tx.Discard()
	tx.Lock([]uint16{slot}, false)
	defer tx.Discard()
	if o, err = openOrder(tx, slot, id, 's', 'c'); err != nil {
		t.Fatal(err)
	}
	if n, err := o.rank([]byte("z")); n != 0 || err != nil {
		t.Errorf("%d elements, %v, want none", n, err)
	}
}
