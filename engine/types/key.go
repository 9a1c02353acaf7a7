package types

import (
	"bytes"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
)

// Condition says when SetExpiry applies (EXPIRE's NX, XX, GT and LT, which may be combined).
type Condition uint8

// The conditions. A key without expiry counts as living for ever.
const (
	Always   Condition = 0
	IfNone   Condition = 1 << 0
	IfSome   Condition = 1 << 1
	IfLater  Condition = 1 << 2
	IfSooner Condition = 1 << 3
)

func (c Condition) holds(old, at int64) bool {
	switch {
	case c&IfNone != 0 && old != 0,
		c&IfSome != 0 && old == 0,
		c&IfLater != 0 && (old == 0 || at <= old),
		c&IfSooner != 0 && old != 0 && at >= old:
		return false
	}
	return true
}

// SetExpiry makes k expire at the given unix milliseconds, 0 for never, if the condition holds for
// its present expiry; a time that has passed deletes it. It reports whether anything was done.
func SetExpiry(t *engine.Txn, k engine.Key, at int64, cond Condition) (bool, error) {
	rec, found, err := t.Get(k)
	if err != nil || !found || !cond.holds(rec.ExpireAt, at) {
		return false, err
	}
	if at != 0 && at <= t.Now() {
		return t.Delete(k)
	}
	if at == rec.ExpireAt {
		return at != 0, nil
	}
	rec.ExpireAt = at
	return true, t.Put(k, rec.Header, rec.Value)
}

// Persist takes the expiry of k away and reports whether it had one.
func Persist(t *engine.Txn, k engine.Key) (bool, error) { return SetExpiry(t, k, 0, IfSome) }

// Rename makes what is at from the value of to, with its expiry, and reports whether there was anything. Within
// a slot only the meta record moves; over slots the value is copied.
func Rename(t *engine.Txn, from, to engine.Key) (bool, error) {
	if from.Slot == to.Slot {
		return t.Move(from, to)
	}
	rec, found, err := t.Get(from)
	if err != nil || !found {
		return false, err
	}
	if err := copyRecord(t, from, to, rec); err != nil {
		return false, err
	}
	return t.Delete(from)
}

// Copy makes to a copy of from, with its expiry, and reports whether there was anything to copy.
func Copy(t *engine.Txn, from, to engine.Key) (bool, error) {
	rec, found, err := t.Get(from)
	if err != nil || !found {
		return false, err
	}
	return true, copyRecord(t, from, to, rec)
}

func copyRecord(t *engine.Txn, from, to engine.Key, rec engine.Record) error {
	h := rec.Header
	if h.Encoding == keys.EncodingSpread {
		id, err := t.NewID(to.Slot)
		if err != nil {
			return err
		}
		if err := copySubs(t, h.Type, from.Slot, rec.ID, to.Slot, id); err != nil {
			return err
		}
		h.ID = id
	}
	return t.Put(to, h, rec.Value)
}

// copyBatch bounds what copySubs holds in memory at a time, in bytes.
const copyBatch = 1 << 20

// copySubs copies all sub-keys of an id: some are read, then written, as a scan must not meet writes.
func copySubs(t *engine.Txn, of keys.Type, fromSlot uint16, fromID uint64, toSlot uint16, toID uint64) error {
	type pair struct{ sub, value []byte }
	var next []byte
	for {
		var batch []pair
		size, more := 0, false
		err := t.ScanSub(fromSlot, fromID, next, func(sub, value []byte) bool {
			if size >= copyBatch {
				next, more = bytes.Clone(sub), true
				return false
			}
			batch = append(batch, pair{bytes.Clone(sub), bytes.Clone(value)})
			size += len(sub) + len(value)
			return true
		})
		if err != nil {
			return err
		}
		for _, p := range batch {
			put := t.PutSub
			if walked(of, p.sub) {
				put = t.PutWalked
			}
			if err := put(toSlot, toID, p.sub, p.value); err != nil {
				return err
			}
		}
		if !more {
			return nil
		}
	}
}

// ObjectEncoding is what OBJECT ENCODING calls the representation of a record.
func ObjectEncoding(rec engine.Record) string {
	switch rec.Type {
	case keys.TypeString:
		return StringEncoding(rec)
	case keys.TypeHash:
		return HashEncoding(rec)
	case keys.TypeStream:
		return "stream"
	case keys.TypeList:
		return ListEncoding(rec)
	case keys.TypeSet:
		return SetEncoding(rec)
	}
	if rec.Type == keys.TypeZSet {
		return ZSetEncoding(rec)
	}
	return "unknown"
}

// TypeName is the name that TYPE and SCAN's TYPE option use.
func TypeName(t keys.Type) string {
	switch t {
	case keys.TypeString:
		return "string"
	case keys.TypeList:
		return "list"
	case keys.TypeSet:
		return "set"
	case keys.TypeZSet:
		return "zset"
	case keys.TypeHash:
		return "hash"
	case keys.TypeStream:
		return "stream"
	}
	return "none"
}
