package engine

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/tools/poll"
)

// TestExpirySkipsDamagedRecord has a record that does not decode between two that expire in the same slot.
func TestExpirySkipsDamagedRecord(t *testing.T) {
	t.Parallel()
	o := testOptions(vfs.NewMem())
	s := openTest(t, "d", o)
	s.SetActiveExpire(false)
	at := time.Now().UnixMilli() + 20
	names := []string{"{s}a", "{s}b", "{s}c"}
	for i, name := range names {
		h := stringHeader
		h.ExpireAt = at + int64(i)
		txn := s.NewTxn()
		txn.Lock([]uint16{key(name).Slot}, true)
		if err := txn.Put(key(name), h, []byte("v")); err != nil {
			t.Fatal(err)
		}
		if err := txn.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	bad := key(names[1])
	meta := keys.AppendMeta(nil, bad.Slot, 0, bad.Name)
	txn := s.NewTxn()
	txn.Lock([]uint16{bad.Slot}, true)
	txn.write(op{kind: opSet, slot: bad.Slot, meta: true, hash: hashKey(meta), key: meta, val: []byte{9}})
	if err := txn.Commit(); err != nil {
		t.Fatal(err)
	}
	s.SetActiveExpire(true)
	poll.Until(t, "the other two expire", func() bool { return s.Stats().ExpiredKeys == 2 })
	if n := s.Stats().CorruptRecords; n != 1 {
		t.Errorf("%d corrupt records counted", n)
	}
	if earliest := s.expiries.earliest[bad.Slot].Load(); earliest < time.Now().Add(troublePause/2).UnixMilli() {
		t.Error("the slot is tried again at once")
	}
}
