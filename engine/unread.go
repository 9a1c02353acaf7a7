package engine

import (
	"bytes"
	"errors"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairndb/cairn/engine/keys"
)

// A record whose value lies in a damaged blob file can be replaced and deleted, and counters and expiry index stay exact: its key and length are in a
// table, and its expiry is in the index. It names no id: records that do are shorter than what is separated.

// retireUnread takes the old record of k, which could not be read for cause, out of the counters, and returns what is known of its
// header. The error is the cause if that is not enough.
func (t *Txn) retireUnread(k Key, d *delta, cause error) (h keys.Header, err error) {
	if !errors.Is(cause, ErrCorrupt) {
		return h, cause
	}
	key := keys.AppendMeta(nil, k.Slot, k.DB, k.Name)
	size, err := t.s.storedLen(key)
	if err != nil || size <= keys.MaxHeaderLen {
		return h, cause
	}
	if err = t.s.findExpiries(k, &h); err != nil {
		return h, cause
	}
	if t.s.troubles.due("unreadable", time.Now()) {
		t.s.o.Logger.Warn("store: unreadable records are replaced, deleted or expire", "slot", k.Slot, "err", cause)
	}
	d.keys--
	d.bytes -= int64(len(key) + size)
	if h.ExpireAt != 0 {
		d.expires--
	}
	t.keyBuf = append(t.keyBuf[:0], key...)
	t.remember(hashKey(key), nil)
	return h, nil
}

// storedLen returns the length of the value of a stored key without reading it, 0 if there is none.
func (s *Store) storedLen(key []byte) (n int, err error) {
	it, err := s.db.NewIter(&pointReads)
	if err != nil {
		return 0, storeError(err)
	}
	if it.SeekPrefixGE(key) && bytes.Equal(it.Key(), key) {
		v := it.LazyValue()
		n = v.Len()
	}
	return n, storeErrorOrNil(it.Close())
}

// findExpiries looks through a slot's expiry index for the entries of a key, and notes their times.
func (s *Store) findExpiries(k Key, h *keys.Header) error {
	it, err := s.db.NewIter(&pebble.IterOptions{
		LowerBound: keys.AppendKind(nil, k.Slot, keys.KindExpiry),
		UpperBound: keys.AppendKindEnd(nil, k.Slot, keys.KindExpiry),
	})
	if err != nil {
		return storeError(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		p, ok := keys.Parse(it.Key())
		switch {
		case !ok || p.DB != k.DB || !bytes.Equal(p.Name, k.Name):
		case p.Expiry == keys.ExpireKey:
			h.ExpireAt = p.ExpireAt
		case p.Expiry == keys.ExpireField:
			h.FieldExpireAt = p.ExpireAt
		}
	}
	return storeErrorOrNil(it.Close())
}
