// Package keys is every byte that Cairn stores in Pebble: the layout of keys,
// the header of a meta record, the hash slot.
//
//	slot(2, big endian) 'm' hash(4) db(1) userkey   → header + value, or + packed collection
//	slot(2)             's' id(8) subkey            → an element of a large collection, a chunk of a large string
//	slot(2)             'g' id(8)                   → a dead id to reclaim
//	slot(2)             'e' expireAt-ms(8) kind(1) … → expiry index
//	slot(2)             'c'                         → the slot's counters
//	0xF0 …                                          → node-local
//
// It depends on nothing but the standard library.
package keys

// Slots is the number of hash slots (Redis Cluster spec, "Key distribution model").
const Slots = 16384

// Type is the data type of a key, as stored in its header.
type Type uint8

// The stored types. Their numbers never change.
const (
	TypeNone   Type = 0
	TypeString Type = 1
	TypeList   Type = 2
	TypeSet    Type = 3
	TypeZSet   Type = 4
	TypeHash   Type = 5
	TypeStream Type = 6
)

// Encoding says how a value lies in the store.
type Encoding uint8

// The stored encodings. Their numbers never change.
const (
	// EncodingInline holds the whole value (string, packed collection) behind the header.
	EncodingInline Encoding = 0
	// EncodingSpread holds the value in sub-keys under Header.ID: elements or chunks.
	EncodingSpread Encoding = 1
	// EncodingRaw is EncodingInline for a string that was changed in place (APPEND, SETRANGE, SETBIT):
	// OBJECT ENCODING shows it as raw, however short.
	EncodingRaw Encoding = 2
	// EncodingText is EncodingInline for a string that INCRBYFLOAT wrote: never shown as int.
	EncodingText Encoding = 3
)

// Header is the start of a meta record.
type Header struct {
	Type     Type
	Encoding Encoding
	// Modified is the wall clock of the last write in unix seconds; OBJECT IDLETIME is counted from it.
	Modified uint32
	// ExpireAt is the expiry in unix milliseconds, 0 for none.
	ExpireAt int64
	// ID names the sub-keys of a spread value; 0 when inline.
	ID uint64
	// Count is the number of elements of a spread collection, or the length in bytes of a chunked string.
	Count uint64
}

// Slot returns the hash slot of a user key, honouring hash tags
// (Redis Cluster spec, "Hash tags").
func Slot(key []byte) uint16 { panic("skeleton") }
