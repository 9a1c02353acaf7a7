// Package keys is every byte that Cairn stores in Pebble: the layout of keys,
// the header of a meta record, the hash slot.
//
//	slot(2, big endian) 'm' hash(4) db(1) userkey           → header + value, or + packed collection
//	slot(2)             's' id(8) subkey                    → an element of a large collection, a chunk of a large string
//	slot(2)             'g' id(8)                           → a dead id to reclaim: uvarint count of its elements, 0 when unknown
//	slot(2)             'e' expireAt-ms(8) kind(1) db(1) userkey → expiry index: nothing
//	slot(2)             'c'                                 → the slot's counters
//	slot(2)             'a'                                 → the slot is being imported: what its counters will be. There is no 'c' then
//	0xF0 'a'                                                → applied offset: all of the log up to here is in the store
//	0xF0 'p', 0xF0 'q'                                      → reach: nothing in the store comes from behind the greater of these offsets of the log
//	0xF0 'd'                                                → database table
//	0xF0 's'                                                → summary written by a clean close
//
// All integers of a fixed width are big endian, so that the order of bytes is the order of numbers.
// A slot is at most 0x3FFF, so no slot's range reaches 0xF0. Nothing here may change
// without a new format version: every stored byte depends on it, and on replicas too.
//
// It depends on nothing but the standard library.
package keys

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
)

// Slots is the number of hash slots (Redis Cluster spec, "Key distribution model").
const Slots = 16384

// Kind is the byte behind the slot that tells the kinds of keys apart.
type Kind byte

// The kinds of keys within a slot's range.
const (
	KindImport   Kind = 'a' // the least of all, so that one seek finds it or the counters
	KindCounters Kind = 'c'
	KindExpiry   Kind = 'e'
	KindGarbage  Kind = 'g'
	KindMeta     Kind = 'm'
	KindSub      Kind = 's'
)

// ExpiryKind says what expires.
type ExpiryKind byte

// The kinds of expiry index entries.
const (
	// ExpireKey: the key itself expires.
	ExpireKey ExpiryKind = 0
	// ExpireField: the hash's Header.FieldExpireAt. It names the key, not the
	// field, so that RENAME rewrites one entry.
	ExpireField ExpiryKind = 1
)

const (
	slotLen    = 2
	kindLen    = 1
	hashLen    = 4
	dbLen      = 1
	idLen      = 8
	expireLen  = 8
	prefixLen  = slotLen + kindLen
	metaLen    = prefixLen + hashLen + dbLen
	subLen     = prefixLen + idLen
	expiryLen  = prefixLen + expireLen + 1 + dbLen
	nodePrefix = 0xF0
)

// MetaOverhead is the length of a meta key without the user key.
const MetaOverhead = metaLen

// The node-local keys: never in the log, except for the database table.
var (
	NodePrefix       = []byte{nodePrefix} // of them all
	AppliedKey       = []byte{nodePrefix, 'a'}
	ReachedDirectKey = []byte{nodePrefix, 'p'} // by what is applied at commit
	ReachedDrainKey  = []byte{nodePrefix, 'q'} // by what is drained
	DatabasesKey     = []byte{nodePrefix, 'd'}
	SummaryKey       = []byte{nodePrefix, 's'}
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Hash orders the keys of a slot: SCAN's cursors and RANDOMKEY's seeks go by it.
// It is CRC-32C, which needs a hardware instruction or two, mixed so that its top bits, too, are
// independent of the slot.
func Hash(name []byte) uint32 {
	h := crc32.Update(0, castagnoli, name)
	h ^= h >> 16
	h *= 0x85ebca6b
	h ^= h >> 13
	h *= 0xc2b2ae35
	return h ^ h>>16
}

func appendPrefix(dst []byte, slot uint16, k Kind) []byte {
	return append(dst, byte(slot>>8), byte(slot), byte(k))
}

// AppendMeta appends the key of a user key's meta record.
func AppendMeta(dst []byte, slot uint16, db uint8, name []byte) []byte {
	dst = appendPrefix(dst, slot, KindMeta)
	dst = binary.BigEndian.AppendUint32(dst, Hash(name))
	dst = append(dst, db)
	return append(dst, name...)
}

// AppendMetaSeek appends the first possible meta key with this hash or a greater one.
func AppendMetaSeek(dst []byte, slot uint16, hash uint32) []byte {
	return binary.BigEndian.AppendUint32(appendPrefix(dst, slot, KindMeta), hash)
}

// AppendSub appends the key of an element or a chunk.
func AppendSub(dst []byte, slot uint16, id uint64, sub []byte) []byte {
	dst = binary.BigEndian.AppendUint64(appendPrefix(dst, slot, KindSub), id)
	return append(dst, sub...)
}

// SubBytes is what a sub-key adds to Header.Bytes.
func SubBytes(sub, value []byte) uint64 { return uint64(subLen + len(sub) + len(value)) }

// AppendSubEnd appends the exclusive upper bound of an id's sub-keys.
func AppendSubEnd(dst []byte, slot uint16, id uint64) []byte {
	if id == ^uint64(0) {
		return appendPrefix(dst, slot, KindSub+1)
	}
	return AppendSub(dst, slot, id+1, nil)
}

// AppendGarbage appends the key that registers a dead id.
func AppendGarbage(dst []byte, slot uint16, id uint64) []byte {
	return binary.BigEndian.AppendUint64(appendPrefix(dst, slot, KindGarbage), id)
}

// AppendExpiry appends the expiry index entry of a user key.
func AppendExpiry(dst []byte, slot uint16, expireAt int64, kind ExpiryKind, db uint8, name []byte) []byte {
	dst = AppendExpirySeek(dst, slot, expireAt)
	dst = append(dst, byte(kind), db)
	return append(dst, name...)
}

// AppendExpirySeek appends the first possible expiry entry at or after expireAt, which is not negative.
func AppendExpirySeek(dst []byte, slot uint16, expireAt int64) []byte {
	return binary.BigEndian.AppendUint64(appendPrefix(dst, slot, KindExpiry), uint64(expireAt))
}

// AppendCounters appends the key of the slot's counters.
func AppendCounters(dst []byte, slot uint16) []byte {
	return appendPrefix(dst, slot, KindCounters)
}

// AppendImport appends the key that marks a slot that is being imported.
func AppendImport(dst []byte, slot uint16) []byte {
	return appendPrefix(dst, slot, KindImport)
}

// AppendKind appends the first possible key of a kind in a slot, and AppendKindEnd the exclusive upper bound.
func AppendKind(dst []byte, slot uint16, k Kind) []byte { return appendPrefix(dst, slot, k) }

// AppendKindEnd: see AppendKind.
func AppendKindEnd(dst []byte, slot uint16, k Kind) []byte { return appendPrefix(dst, slot, k+1) }

// AppendSlot appends the first possible key of a slot; that of slot+1 is the exclusive upper bound.
func AppendSlot(dst []byte, slot int) []byte { return append(dst, byte(slot>>8), byte(slot)) }

// Parsed is a decoded key. Which fields are set depends on Kind.
type Parsed struct {
	Slot     uint16
	Kind     Kind
	Hash     uint32     // meta
	DB       uint8      // meta, expiry
	Name     []byte     // meta, expiry: the user key
	ID       uint64     // sub, garbage
	Sub      []byte     // sub
	ExpireAt int64      // expiry
	Expiry   ExpiryKind // expiry
}

// Parse decodes a key within a slot's range. ok is false when it is none.
// The slices are part of key.
func Parse(key []byte) (p Parsed, ok bool) {
	if len(key) < prefixLen || key[0] >= Slots>>8 {
		return p, false
	}
	p.Slot = binary.BigEndian.Uint16(key)
	p.Kind = Kind(key[2])
	switch p.Kind {
	case KindMeta:
		if len(key) < metaLen {
			return p, false
		}
		p.Hash = binary.BigEndian.Uint32(key[prefixLen:])
		p.DB = key[metaLen-1]
		p.Name = key[metaLen:]
	case KindSub:
		if len(key) < subLen {
			return p, false
		}
		p.ID = binary.BigEndian.Uint64(key[prefixLen:])
		p.Sub = key[subLen:]
	case KindGarbage:
		if len(key) != subLen {
			return p, false
		}
		p.ID = binary.BigEndian.Uint64(key[prefixLen:])
	case KindExpiry:
		if len(key) < expiryLen || key[prefixLen] >= 0x80 || key[expiryLen-2] > byte(ExpireField) {
			return p, false
		}
		p.ExpireAt = int64(binary.BigEndian.Uint64(key[prefixLen:]))
		p.Expiry = ExpiryKind(key[expiryLen-2])
		p.DB = key[expiryLen-1]
		p.Name = key[expiryLen:]
	case KindCounters, KindImport:
		return p, len(key) == prefixLen
	default:
		return p, false
	}
	return p, true
}

// SetDB changes the database in the key of a meta record or of an expiry index entry, which parses.
func SetDB(key []byte, db uint8) {
	switch Kind(key[slotLen]) {
	case KindMeta:
		key[metaLen-1] = db
	case KindExpiry:
		key[expiryLen-1] = db
	}
}

// Split returns the length of the part of a key that the Bloom filters of stores from before format 3 hold: all of it, except
// that the sub-keys of an id share a prefix. Keys that do not parse are their own prefix.
func Split(key []byte) int {
	if len(key) > subLen && key[2] == byte(KindSub) && key[0] < Slots>>8 {
		return subLen
	}
	return len(key)
}

// ImmediateSuccessor appends the smallest key greater than prefix that is its own prefix.
func ImmediateSuccessor(dst, prefix []byte) []byte {
	if len(prefix) != subLen || prefix[2] != byte(KindSub) || prefix[0] >= Slots>>8 {
		return append(append(dst, prefix...), 0)
	}
	n := len(dst)
	dst = append(dst, prefix...)
	for i := len(dst) - 1; i >= n; i-- {
		dst[i]++
		if dst[i] != 0 {
			break
		}
	}
	return dst
}

// A SCAN cursor is 31 bits, since stock redis-cli keeps it in a C int: 14 of slot, 17 of hash.
const (
	cursorHashBits = 17
	hashShift      = 32 - cursorHashBits
	// CursorEnd is greater than every cursor.
	CursorEnd = uint64(Slots) << cursorHashBits
)

// Cursor returns the cursor of the bucket that a key is in.
func Cursor(slot uint16, hash uint32) uint64 {
	return uint64(slot)<<cursorHashBits | uint64(hash>>hashShift)
}

// ParseCursor returns the slot and the least hash of a bucket. cursor is less than CursorEnd.
func ParseCursor(cursor uint64) (slot uint16, hash uint32) {
	return uint16(cursor >> cursorHashBits), uint32(cursor&(1<<cursorHashBits-1)) << hashShift
}

// uvarintLen is the length of x as an uvarint.
func uvarintLen(x uint64) int { return (bits.Len64(x|1) + 6) / 7 }
