package engine

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/tools/poll"
)

// inTxn runs fn with the slot of the names, which is one, locked.
func inTxn(t *testing.T, s *Store, slot uint16, fn func(tx *Txn) error) {
	t.Helper()
	tx := s.NewTxn()
	tx.Lock([]uint16{slot}, true)
	if err := fn(tx); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

// TestReclaimSkipsDamagedRecord flushes a database in which one record does not decode: all others go, and the database's number stays taken.
func TestReclaimSkipsDamagedRecord(t *testing.T) {
	t.Parallel()
	s := openTest(t, "d", testOptions(vfs.NewMem()))
	const n = 50
	for i := range n {
		inTxn(t, s, key("{s}").Slot, func(tx *Txn) error {
			return tx.Put(key(fmt.Sprint("{s}", i)), stringHeader, []byte("v"))
		})
	}
	bad := key("{s}7")
	meta := keys.AppendMeta(nil, bad.Slot, 0, bad.Name)
	inTxn(t, s, bad.Slot, func(tx *Txn) error {
		tx.write(op{kind: opSet, slot: bad.Slot, meta: true, hash: hashKey(meta), key: meta, val: []byte{9}})
		return nil
	})
	fill(t, s, n)                                       // other slots
	inTxn(t, s, key("kept").Slot, func(tx *Txn) error { // or FLUSHDB would remove everything at once
		k := key("kept")
		k.DB = s.DB(1)
		return tx.Put(k, stringHeader, []byte("v"))
	})
	tx := s.NewTxn()
	tx.LockWorld()
	if err := tx.FlushDB(0); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	poll.Until(t, "the other records are removed", func() bool { return s.DBCounts(0).Keys == 1 })
	poll.Until(t, "the damaged record is counted", func() bool { return s.Stats().CorruptRecords > 0 })
	if db, dirty := s.dbs.Load().anyDirty(); !dirty || db != 0 {
		t.Error("the number of a database that is not empty is given free")
	}
}

// TestReclaimSkipsDamagedValue deletes three large values, of which the parts of one can't be read: those of the others are removed.
func TestReclaimSkipsDamagedValue(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	o := testOptions(mem)
	o.Compression, o.SeparateBytes = "none", 1<<20
	s := openTest(t, "d", o)
	slot := key("{s}").Slot
	name := func(i int) Key { return key(fmt.Sprint("{s}", i)) }
	part := func(i int, sub uint32) []byte {
		return bytes.Repeat(fmt.Appendf(nil, "part %d of value %d;", sub, i), 1000)
	}
	for i := range 3 {
		inTxn(t, s, slot, func(tx *Txn) error {
			id, err := tx.NewID(slot)
			if err != nil {
				return err
			}
			for sub := range uint32(5) {
				if err := tx.PutSub(slot, id, binary.BigEndian.AppendUint32(nil, sub), part(i, sub)); err != nil {
					return err
				}
			}
			return tx.Put(name(i), keys.Header{Type: keys.TypeString, Encoding: keys.EncodingSpread, ID: id, Count: 5}, nil)
		})
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	damageBytes(t, mem, part(1, 2)) // with the same block neighbours may be lost: it has one of its own
	s = openTest(t, "d", o)
	for i := range 3 {
		inTxn(t, s, slot, func(tx *Txn) error {
			_, err := tx.Delete(name(i))
			return err
		})
	}
	poll.Until(t, "the damaged value is counted", func() bool { return s.Stats().CorruptRecords > 0 })
	poll.Until(t, "the other values are removed", func() bool { return s.reclaimed.Load() == 2 })
	if dead, err := s.deadIDs(slot); err != nil || len(dead) != 1 {
		t.Errorf("dead ids %v, %v", dead, err)
	}
	mustSet(t, s, "after", "v")
}

// damageBytes flips a bit in the store's files wherever the bytes stand.
func damageBytes(t *testing.T, fs vfs.FS, what []byte) {
	t.Helper()
	found := false
	for _, name := range files(t, fs, "d/"+storeFolder, "*.sst") {
		b := readAll(t, fs, name)
		for at := bytes.Index(b, what); at >= 0; at = bytes.Index(b, what) {
			b[at+len(what)/2] ^= 1
			found = true
		}
		if err := writeFile(fs, name, b); err != nil {
			t.Fatal(err)
		}
	}
	if !found {
		t.Fatal("the bytes are in no file")
	}
}

// TestReclaimCollection: to delete a large collection takes two writes, and its room comes back.
func TestReclaimCollection(t *testing.T) {
	t.Parallel()
	for name, fs := range map[string]vfs.FS{"memory": vfs.NewMem(), "disk": vfs.Default} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := testOptions(fs)
			o.FreeSpaceReserve = 1
			s := openTest(t, fs.PathJoin(t.TempDir(), "d"), o)
			const elements = 20_000
			rng := rand.New(rand.NewPCG(1, 1))
			k := key("collection")
			h := keys.Header{Type: keys.TypeSet, Encoding: keys.EncodingSpread, Count: elements}
			for n := 0; n < elements; {
				inTxn(t, s, k.Slot, func(tx *Txn) (err error) {
					if h.ID == 0 {
						if h.ID, err = tx.NewID(k.Slot); err != nil {
							return err
						}
					}
					for range 1000 {
						member := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, rng.Uint64()), rng.Uint64())
						if err := tx.PutSub(k.Slot, h.ID, member, nil); err != nil {
							return err
						}
						h.Bytes += keys.SubBytes(member, nil)
						n++
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
			checkStore(t, s)
			full := s.Stats().StoreBytes
			inTxn(t, s, k.Slot, func(tx *Txn) error {
				_, err := tx.Delete(k)
				if writes, _ := tx.Size(); writes != 2 {
					t.Errorf("%d writes", writes)
				}
				return err
			})
			poll.Until(t, "the elements are reclaimed", func() bool { return s.Stats().ReclaimedIDs == 1 })
			must(s.Flush(t.Context()))
			must(s.db.Compact(t.Context(), []byte{0}, []byte{0xff}, false))
			poll.Until(t, "the room is back", func() bool { return s.Stats().StoreBytes < full/4 })
			checkStore(t, s)
		})
	}
}
