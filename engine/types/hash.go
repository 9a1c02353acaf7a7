package types

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
)

// How a hash is stored:
//
//	packed   header (EncodingInline), state(1), then for each field, in the order in which they came:
//	         field(entry) stored(entry)                    an entry is a length and bytes, see packed.go
//	spread   header (EncodingSpread, ID, Count = fields, Bytes), state(1)
//	         sub-key 'f' hash(4) field → stored
//	         sub-key 'x' expireAt(8) field → nothing, for each field that expires
//
//	stored   flags(1), 1: it expires; [expireAt(8)]; value
//	state    1: Redis would have turned it into a hash table, 2: a field has, or once had, an expiry
//
// The hash is keys.Hash of the field: HSCAN's cursors go by it. A packed hash keeps to the limits of engine.Packing; one that has been spread stays
// so. A field that has expired is absent for whoever reads it, but counted (as Redis 7.4 does) and stored until the expirer removes it, or a write to it.
// Header.FieldExpireAt is exact in a packed hash; in a spread one it may lie before the first expiry, of a field that was changed meanwhile.
const (
	hashField  = 'f'
	hashExpiry = 'x'

	stateTable   = 1 << 0
	stateExpires = 1 << 1
	hashStates   = stateTable | stateExpires

	fieldExpires = 1 << 0
)

// What stands before the field in sub-keys.
const (
	fieldPrefix  = 1 + 4
	expiryPrefix = 1 + 8
)

// Hash is the hash at a key, present or not, as a transaction sees it. Changes are complete with Save.
type Hash struct {
	txn     *engine.Txn
	key     engine.Key
	rec     engine.Record
	found   bool
	state   byte
	own     bool // packed may be changed in place
	changed bool
	packed  []byte // the state and the entries of a packed hash
	// count is the number of fields of a packed hash, or -1 while it is not known.
	count int64
	buf   []byte // of sub-keys and entries
	value []byte // of what is stored in sub-keys
}

// storedField is a field as it is stored, expired or not.
type storedField struct {
	value    []byte
	expireAt int64
	// from and to are where its entries lie in a packed hash.
	from, to int
}

// len is how many bytes append appends.
func (f *storedField) len() int {
	if f.expireAt != 0 {
		return 1 + 8 + len(f.value)
	}
	return 1 + len(f.value)
}

func (f *storedField) append(dst []byte) []byte {
	if f.expireAt == 0 {
		return append(append(dst, 0), f.value...)
	}
	dst = binary.BigEndian.AppendUint64(append(dst, fieldExpires), uint64(f.expireAt))
	return append(dst, f.value...)
}

// decode reads what append wrote; the value is a part of b.
func (f *storedField) decode(b []byte) error {
	switch {
	case len(b) > 0 && b[0] == 0:
		f.expireAt, f.value = 0, b[1:]
		return nil
	case len(b) >= 1+8 && b[0] == fieldExpires:
		f.expireAt, f.value = int64(binary.BigEndian.Uint64(b[1:])), b[9:]
		if f.expireAt > 0 {
			return nil
		}
	}
	return errField
}

// decodeSub decodes a field's sub-key and what is stored under it.
func (f *storedField) decodeSub(sub, stored []byte) error {
	if len(sub) < fieldPrefix {
		return errField
	}
	return f.decode(stored)
}

// Errors of stored hashes that do not decode.
var (
	errHash        = fmt.Errorf("%w: a hash", engine.ErrCorrupt)
	errField       = fmt.Errorf("%w: a field of a hash", engine.ErrCorrupt)
	errFieldExpiry = fmt.Errorf("%w: the expiry of a field of a hash", engine.ErrCorrupt)
)

// OpenHash returns the hash at k; ErrWrongType if another type is there.
func OpenHash(t *engine.Txn, k engine.Key) (Hash, error) {
	rec, found, err := read(t, k, keys.TypeHash)
	if err != nil {
		return Hash{}, err
	}
	return openHash(t, k, rec, found)
}

func openHash(t *engine.Txn, k engine.Key, rec engine.Record, found bool) (Hash, error) {
	h := Hash{txn: t, key: k, rec: rec, found: found, count: -1}
	if !found {
		h.rec.Type = keys.TypeHash
		h.packed, h.own, h.count = make([]byte, 1, 64), true, 0
		return h, nil
	}
	if len(rec.Value) == 0 || rec.Value[0]&^hashStates != 0 || rec.Encoding > keys.EncodingSpread || h.spread() && len(rec.Value) > 1 {
		return Hash{}, errHash
	}
	h.state = rec.Value[0]
	if !h.spread() {
		h.packed = rec.Value
	}
	return h, nil
}

// Exists says whether there is a hash: an absent one reads as empty.
func (h *Hash) Exists() bool { return h.found }

func (h *Hash) spread() bool { return h.rec.Encoding == keys.EncodingSpread }

// Len is the number of fields, those included that have expired and were not removed yet.
func (h *Hash) Len() (int64, error) {
	if h.spread() {
		return int64(h.rec.Count), nil
	}
	if h.count < 0 {
		n := int64(0)
		for rest := h.packed[1:]; len(rest) > 0; n++ {
			var err error
			if _, rest, err = takeEntry(rest); err == nil {
				_, rest, err = takeEntry(rest)
			}
			if err != nil {
				return 0, err
			}
		}
		h.count = n
	}
	return h.count, nil
}

// eachPacked calls fn for the fields of a packed hash until it returns false.
func eachPacked(packed []byte, fn func(field []byte, f *storedField) bool) error {
	var f storedField
	for rest := packed[1:]; len(rest) > 0; {
		f.from = len(packed) - len(rest)
		field, next, err := takeEntry(rest)
		if err != nil {
			return err
		}
		stored, next, err := takeEntry(next)
		if err == nil {
			err = f.decode(stored)
		}
		if err != nil {
			return err
		}
		f.to = len(packed) - len(next)
		if !fn(field, &f) {
			return nil
		}
		rest = next
	}
	return nil
}

// find returns a field as it is stored, expired or not.
func (h *Hash) find(field []byte) (f storedField, found bool, err error) {
	if h.spread() {
		stored, found, err := h.txn.GetSub(h.key.Slot, h.rec.ID, h.fieldKey(field))
		if err != nil || !found {
			return f, false, err
		}
		return f, true, f.decode(stored)
	}
	for rest := h.packed[1:]; len(rest) > 0; {
		name, next, err := takeEntry(rest)
		if err != nil {
			return f, false, err
		}
		stored, next, err := takeEntry(next)
		if err != nil {
			return f, false, err
		}
		if bytes.Equal(name, field) {
			f.from, f.to = len(h.packed)-len(rest), len(h.packed)-len(next)
			err = f.decode(stored)
			return f, true, err
		}
		rest = next
	}
	return f, false, nil
}

// fieldKey and expiryKey return sub-keys, valid until the next one.
func (h *Hash) fieldKey(field []byte) []byte {
	h.buf = slices.Grow(h.buf[:0], expiryPrefix+len(field))
	h.buf = binary.BigEndian.AppendUint32(append(h.buf, hashField), keys.Hash(field))
	h.buf = append(h.buf, field...)
	return h.buf
}

func (h *Hash) expiryKey(at int64, field []byte) []byte {
	h.buf = binary.BigEndian.AppendUint64(append(h.buf[:0], hashExpiry), uint64(at))
	h.buf = append(h.buf, field...)
	return h.buf
}

// expired says whether a field that expires at a time, or never (0), has done so.
func (h *Hash) expired(at int64) bool { return at != 0 && at < h.txn.Now() }

// mayHaveExpired is false when no field has expired.
func (h *Hash) mayHaveExpired() bool { return h.expired(h.rec.FieldExpireAt) }

// Get returns the value of a field. It is valid until the transaction ends, or the hash changes.
func (h *Hash) Get(field []byte) (value []byte, found bool, err error) {
	f, found, err := h.find(field)
	if err != nil || !found || h.expired(f.expireAt) {
		return nil, false, err
	}
	return f.value, true, nil
}

// ExpireAt returns when a field expires in unix milliseconds, 0 for never.
func (h *Hash) ExpireAt(field []byte) (at int64, found bool, err error) {
	f, found, err := h.find(field)
	if err != nil || !found || h.expired(f.expireAt) {
		return 0, false, err
	}
	return f.expireAt, true, nil
}

// Live is the number of fields that have not expired. It costs something for each that has.
func (h *Hash) Live() (int64, error) {
	n, err := h.Len()
	if err != nil || !h.mayHaveExpired() {
		return n, err
	}
	if !h.spread() {
		n = 0
		err = h.Each(func(_, _ []byte) bool { n++; return true })
		return n, err
	}
	err = h.walkExpiries(h.txn.Now(), func(int64, []byte) bool { n--; return true })
	return n, err
}

// walkExpiries calls fn for the fields of a spread hash that expire before a time, the first first.
func (h *Hash) walkExpiries(before int64, fn func(at int64, field []byte) bool) error {
	r := engine.SubRange{
		From: binary.BigEndian.AppendUint64([]byte{hashExpiry}, uint64(h.rec.FieldExpireAt)),
		To:   binary.BigEndian.AppendUint64([]byte{hashExpiry}, uint64(before)),
	}
	damaged := false
	err := h.txn.WalkSub(h.key.Slot, h.rec.ID, r, false, func(sub, _ []byte) bool {
		if damaged = len(sub) < expiryPrefix; damaged {
			return false
		}
		return fn(int64(binary.BigEndian.Uint64(sub[1:])), sub[expiryPrefix:])
	})
	if err == nil && damaged {
		err = errFieldExpiry
	}
	return err
}

// Each calls fn for all fields until it returns false. The slices are valid during the call only, in which the transaction must not write.
func (h *Hash) Each(fn func(field, value []byte) bool) error { return h.walk(0, fn) }

// walk is Each, beginning in a spread hash at a position.
func (h *Hash) walk(hash uint32, fn func(field, value []byte) bool) error {
	some := h.mayHaveExpired()
	if !h.spread() {
		return eachPacked(h.packed, func(field []byte, f *storedField) bool {
			return some && h.expired(f.expireAt) || fn(field, f.value)
		})
	}
	var f storedField
	var failed error
	r := engine.SubRange{From: binary.BigEndian.AppendUint32([]byte{hashField}, hash), To: []byte{hashField + 1}}
	err := h.txn.WalkSub(h.key.Slot, h.rec.ID, r, false, func(sub, stored []byte) bool {
		if failed = f.decodeSub(sub, stored); failed != nil {
			return false
		}
		return some && h.expired(f.expireAt) || fn(sub[fieldPrefix:], f.value)
	})
	if err == nil {
		err = failed
	}
	return err
}

// Scan calls fn for about count fields from a cursor on, and returns the next cursor, 0 at the end; see scanBuckets.
func (h *Hash) Scan(cursor uint64, count int, fn func(field, value []byte)) (next uint64, err error) {
	if !h.spread() {
		return 0, h.Each(func(field, value []byte) bool { fn(field, value); return true })
	}
	var f storedField
	some := h.mayHaveExpired()
	return scanBuckets(h.txn, h.key.Slot, h.rec.ID, []byte{hashField}, cursor, count, func(field, stored []byte) error {
		err := f.decode(stored)
		if err == nil && !(some && h.expired(f.expireAt)) {
			fn(field, f.value)
		}
		return err
	})
}

// Set sets a field and says whether it is new. Its expiry goes, unless it is to be kept.
func (h *Hash) Set(field, value []byte, keepExpiry bool) (created bool, err error) {
	old, had, err := h.find(field)
	if err != nil {
		return false, err
	}
	created = !had || h.expired(old.expireAt)
	f := storedField{value: value}
	if keepExpiry && !created {
		f.expireAt = old.expireAt
	}
	return created, h.put(field, old, had, f)
}

// Announce says that so many fields will be set, some of them perhaps twice: past the limit Redis makes a hash table at once.
func (h *Hash) Announce(fields int) {
	if fields > h.txn.Packing().HashEntries {
		h.state |= stateTable
	}
}

// put stores a field in place of old, if there was one. The hash is spread where it grows past a limit.
func (h *Hash) put(field []byte, old storedField, had bool, f storedField) error {
	n, err := h.Len()
	if err != nil {
		return err
	}
	if !had {
		n++
	}
	limits := h.txn.Packing()
	if n > int64(limits.HashEntries) || max(len(field), len(f.value)) > limits.HashValue {
		h.state |= stateTable
	}
	if f.expireAt != 0 {
		h.state |= stateExpires
		if h.rec.FieldExpireAt == 0 || f.expireAt < h.rec.FieldExpireAt {
			h.rec.FieldExpireAt = f.expireAt
		}
	}
	h.changed = true
	if !h.spread() {
		size := len(h.packed) - (old.to - old.from) + entryLen(len(field)) + entryLen(f.len())
		if h.state&stateTable == 0 && size <= limits.Bytes {
			h.count = n
			h.putPacked(field, old, had, &f)
			return nil
		}
		if err := h.spreadOut(); err != nil {
			return err
		}
	}
	return h.putSpread(field, old, had, &f)
}

// putPacked replaces or appends a field's entries.
func (h *Hash) putPacked(field []byte, old storedField, had bool, f *storedField) {
	h.buf = slices.Grow(h.buf[:0], entryLen(len(field))+entryLen(f.len()))
	h.buf = appendEntry(h.buf, field)
	h.buf = binary.AppendUvarint(h.buf, uint64(f.len()))
	h.buf = f.append(h.buf)
	h.ownPacked(len(h.buf))
	if !had {
		old.from, old.to = len(h.packed), len(h.packed)
	}
	h.packed = slices.Replace(h.packed, old.from, old.to, h.buf...)
}

// ownPacked copies what is a part of the record before it is changed, with room for more.
func (h *Hash) ownPacked(more int) {
	if !h.own {
		h.packed = append(make([]byte, 0, len(h.packed)+more), h.packed...)
		h.own = true
	}
}

// putSpread writes a field's sub-keys.
func (h *Hash) putSpread(field []byte, old storedField, had bool, f *storedField) error {
	if had {
		h.rec.Bytes -= keys.SubBytes(h.fieldKey(field), nil) + uint64(old.len())
	} else {
		h.rec.Count++
	}
	h.value = f.append(slices.Grow(h.value[:0], f.len()))
	if err := h.moveExpiry(field, old.expireAt, f.expireAt); err != nil {
		return err
	}
	sub := h.fieldKey(field)
	h.rec.Bytes += keys.SubBytes(sub, h.value)
	return h.txn.PutSub(h.key.Slot, h.rec.ID, sub, h.value)
}

// moveExpiry writes and deletes the sub-keys that say when a field expires; 0 is never.
func (h *Hash) moveExpiry(field []byte, from, to int64) error {
	if from == to {
		return nil
	}
	if from != 0 {
		sub := h.expiryKey(from, field)
		h.rec.Bytes -= keys.SubBytes(sub, nil)
		if err := h.txn.DeleteSub(h.key.Slot, h.rec.ID, sub); err != nil {
			return err
		}
	}
	if to == 0 {
		return nil
	}
	sub := h.expiryKey(to, field)
	h.rec.Bytes += keys.SubBytes(sub, nil)
	return h.txn.PutSub(h.key.Slot, h.rec.ID, sub, nil)
}

// spreadOut gives the fields of a packed hash sub-keys.
func (h *Hash) spreadOut() error {
	id, err := h.txn.NewID(h.key.Slot)
	if err != nil {
		return err
	}
	packed := h.packed
	h.rec.Encoding, h.rec.ID, h.rec.Count, h.rec.Bytes = keys.EncodingSpread, id, 0, 0
	h.packed = nil
	var failed error
	err = eachPacked(packed, func(field []byte, f *storedField) bool {
		failed = h.putSpread(field, storedField{}, false, f)
		return failed == nil
	})
	if err == nil {
		err = failed
	}
	return err
}

// Delete deletes a field and says whether it was there.
func (h *Hash) Delete(field []byte) (bool, error) {
	f, found, err := h.find(field)
	if err != nil || !found {
		return false, err
	}
	live := !h.expired(f.expireAt)
	return live, h.remove(field, f)
}

// remove removes a field that is stored as f.
func (h *Hash) remove(field []byte, f storedField) error {
	if _, err := h.Len(); err != nil {
		return err
	}
	h.changed = true
	if !h.spread() {
		h.ownPacked(0)
		h.packed = slices.Delete(h.packed, f.from, f.to)
		h.count--
		return nil
	}
	if err := h.moveExpiry(field, f.expireAt, 0); err != nil {
		return err
	}
	return h.removeSpread(field, f)
}

// removeSpread deletes a field's sub-key, but not the one for its expiry.
func (h *Hash) removeSpread(field []byte, f storedField) error {
	sub := h.fieldKey(field)
	h.rec.Count--
	h.rec.Bytes -= keys.SubBytes(sub, nil) + uint64(f.len())
	return h.txn.DeleteSub(h.key.Slot, h.rec.ID, sub)
}

// Save writes the record of a hash that has changed. Without fields, there is none.
func (h *Hash) Save() error {
	if !h.changed {
		return nil
	}
	h.changed = false
	n, err := h.Len()
	if err != nil {
		return err
	}
	if n == 0 {
		h.found = false
		_, err := h.txn.Delete(h.key)
		return err
	}
	h.found = true
	if h.spread() {
		return h.txn.Put(h.key, h.rec.Header, []byte{h.state})
	}
	if h.rec.FieldExpireAt != 0 {
		if h.rec.FieldExpireAt, err = earliest(h.packed); err != nil {
			return err
		}
	}
	h.ownPacked(0)
	h.packed[0] = h.state
	return h.txn.Put(h.key, h.rec.Header, h.packed)
}

// earliest returns when the first field of a packed hash expires, 0 for never.
func earliest(packed []byte) (at int64, err error) {
	err = eachPacked(packed, func(_ []byte, f *storedField) bool {
		if f.expireAt != 0 && (at == 0 || f.expireAt < at) {
			at = f.expireAt
		}
		return true
	})
	return at, err
}

// HashEncoding is what OBJECT ENCODING says about a hash's record.
func HashEncoding(rec engine.Record) string {
	switch {
	case len(rec.Value) > 0 && rec.Value[0]&stateTable != 0:
		return "hashtable"
	case len(rec.Value) > 0 && rec.Value[0]&stateExpires != 0:
		return "listpackex"
	}
	return "listpack"
}
