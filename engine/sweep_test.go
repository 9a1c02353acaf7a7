package engine

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/tools/poll"
)

// TestSweep deletes most of many collections, each smaller than a table: their room comes back by itself, and the others stay.
func TestSweep(t *testing.T) {
	t.Parallel()
	o := testOptions(vfs.NewMem())
	o.FreeSpaceReserve, o.rewriteAge = 1, 1
	s := openTest(t, "d", o)
	const collections, elements = 40, 2 * reclaimByPoint
	rng := rand.NewChaCha8([32]byte{1})
	value := make([]byte, 300)
	name := func(i int) Key { return key(fmt.Sprint("collection", i)) }
	for i := range collections {
		k := name(i)
		inTxn(t, s, k.Slot, func(tx *Txn) error {
			h := keys.Header{Type: keys.TypeHash, Encoding: keys.EncodingSpread, Count: elements}
			var err error
			if h.ID, err = tx.NewID(k.Slot); err != nil {
				return err
			}
			for n := range uint32(elements) {
				_, _ = rng.Read(value) // never fails
				sub := binary.BigEndian.AppendUint32(nil, n)
				if err := tx.PutSub(k.Slot, h.ID, sub, value); err != nil {
					return err
				}
				h.Bytes += keys.SubBytes(sub, value)
			}
			return tx.Put(k, h, nil)
		})
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.Flush(t.Context()))
	must(s.db.Compact(t.Context(), []byte{0}, []byte{0xff}, false))
	full := s.Stats().StoreBytes
	kept := 0
	for i := range collections {
		if i%10 == 0 {
			kept++
			continue
		}
		inTxn(t, s, name(i).Slot, func(tx *Txn) error {
			_, err := tx.Delete(name(i))
			return err
		})
	}
	poll.Until(t, "the elements are reclaimed", func() bool { return s.Stats().ReclaimedIDs == uint64(collections-kept) })
	must(s.Flush(t.Context()))
	poll.Until(t, "the room is back", func() bool { return s.Stats().StoreBytes < full/4 })
	for i := 0; i < collections; i += 10 {
		n := 0
		inTxn(t, s, name(i).Slot, func(tx *Txn) error {
			r, _, err := tx.Get(name(i))
			if err != nil {
				return err
			}
			return tx.ScanSub(name(i).Slot, r.ID, nil, func(_, _ []byte) bool { n++; return true })
		})
		if n != elements {
			t.Errorf("collection %d has %d elements", i, n)
		}
	}
	checkStore(t, s)
}
