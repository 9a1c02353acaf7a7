package engine

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
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
