package keys

import (
	"encoding/binary"
	"errors"
)

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
//
//	format(4 bits) flags(4 bits)   format 1; flags: 1 expiry present, 2 id and count present, 4 expiry of fields present
//	encoding(4 bits) type(4 bits)
//	modified(4)
//	[expireAt(8)]
//	[fieldExpireAt(8)]
//	[id(uvarint) count(uvarint) [bytes(uvarint), unless a string]]
//	value …
type Header struct {
	Type     Type
	Encoding Encoding
	// Modified is the wall clock of the last write in unix seconds; OBJECT IDLETIME is counted from it.
	Modified uint32
	// ExpireAt is the expiry in unix milliseconds, 0 for none.
	ExpireAt int64
	// FieldExpireAt is a time in unix milliseconds at which, or after which, the first field of a hash expires; 0 when none does. The
	// expiry index has the hash under it.
	FieldExpireAt int64
	// ID names the sub-keys of a spread value; 0 when inline.
	ID uint64
	// Count is the number of elements of a spread collection, or the length in bytes of a chunked string.
	// It is stored only when ID is not 0.
	Count uint64
	// Bytes is what the sub-keys of a spread collection take, see SubBytes; 0 for strings, whose Count says it. It is stored
	// only when ID is not 0.
	Bytes uint64
}

const (
	headerFormat    = 1
	flagExpiry      = 1
	flagID          = 2
	flagFieldExpiry = 4
	knownFlags      = flagExpiry | flagID | flagFieldExpiry
	minHeader       = 6
	maxKnownType    = TypeStream
	maxKnownStore   = EncodingText
)

// MaxHeaderLen is the greatest length of an encoded header.
const MaxHeaderLen = minHeader + 2*expireLen + 3*binary.MaxVarintLen64

// ErrHeader: a meta record that does not decode.
var ErrHeader = errors.New("keys: malformed header")

// Len is the encoded length of the header.
func (h *Header) Len() int {
	n := minHeader
	if h.ExpireAt != 0 {
		n += expireLen
	}
	if h.FieldExpireAt != 0 {
		n += expireLen
	}
	if h.ID != 0 {
		n += uvarintLen(h.ID) + uvarintLen(h.Count)
		if h.Type != TypeString {
			n += uvarintLen(h.Bytes)
		}
	}
	return n
}

// Spread is the size of what lies in sub-keys, in bytes.
func (h *Header) Spread() uint64 {
	switch {
	case h.ID == 0:
		return 0
	case h.Type == TypeString:
		return h.Count
	}
	return h.Bytes
}

// Append appends the encoded header.
func (h *Header) Append(dst []byte) []byte {
	flags := byte(0)
	if h.ExpireAt != 0 {
		flags |= flagExpiry
	}
	if h.FieldExpireAt != 0 {
		flags |= flagFieldExpiry
	}
	if h.ID != 0 {
		flags |= flagID
	}
	dst = append(dst, headerFormat<<4|flags, byte(h.Encoding)<<4|byte(h.Type))
	dst = binary.BigEndian.AppendUint32(dst, h.Modified)
	if h.ExpireAt != 0 {
		dst = binary.BigEndian.AppendUint64(dst, uint64(h.ExpireAt))
	}
	if h.FieldExpireAt != 0 {
		dst = binary.BigEndian.AppendUint64(dst, uint64(h.FieldExpireAt))
	}
	if h.ID != 0 {
		dst = binary.AppendUvarint(dst, h.ID)
		dst = binary.AppendUvarint(dst, h.Count)
		if h.Type != TypeString {
			dst = binary.AppendUvarint(dst, h.Bytes)
		}
	}
	return dst
}

// Decode reads the header at the start of a meta record and returns what stands behind it.
func (h *Header) Decode(rec []byte) (value []byte, err error) {
	if len(rec) < minHeader || rec[0]>>4 != headerFormat || rec[0]&0xF&^knownFlags != 0 {
		return nil, ErrHeader
	}
	*h = Header{
		Type:     Type(rec[1] & 0xF),
		Encoding: Encoding(rec[1] >> 4),
		Modified: binary.BigEndian.Uint32(rec[2:]),
	}
	if h.Type == TypeNone || h.Type > maxKnownType || h.Encoding > maxKnownStore {
		return nil, ErrHeader
	}
	flags := rec[0] & 0xF
	rec = rec[minHeader:]
	if flags&flagExpiry != 0 {
		if h.ExpireAt, rec, err = takeTime(rec); err != nil {
			return nil, err
		}
	}
	if flags&flagFieldExpiry != 0 {
		if h.FieldExpireAt, rec, err = takeTime(rec); err != nil {
			return nil, err
		}
		if h.Type != TypeHash {
			return nil, ErrHeader
		}
	}
	if flags&flagID != 0 {
		if rec, err = h.decodeID(rec); err != nil {
			return nil, err
		}
	}
	if (h.Encoding == EncodingSpread) != (h.ID != 0) {
		return nil, ErrHeader
	}
	return rec, nil
}

func takeTime(rec []byte) (at int64, rest []byte, err error) {
	if len(rec) < expireLen {
		return 0, nil, ErrHeader
	}
	if at = int64(binary.BigEndian.Uint64(rec)); at <= 0 {
		return 0, nil, ErrHeader
	}
	return at, rec[expireLen:], nil
}

func (h *Header) decodeID(rec []byte) ([]byte, error) {
	id, n := binary.Uvarint(rec)
	if n <= 0 || id == 0 {
		return nil, ErrHeader
	}
	count, m := binary.Uvarint(rec[n:])
	if m <= 0 {
		return nil, ErrHeader
	}
	h.ID, h.Count = id, count
	rec = rec[n+m:]
	if h.Type == TypeString {
		return rec, nil
	}
	if h.Bytes, n = binary.Uvarint(rec); n <= 0 {
		return nil, ErrHeader
	}
	return rec[n:], nil
}

// DBCounters are the counters of one physical database within a slot.
type DBCounters struct {
	DB                   uint8
	Keys, Expires, Bytes uint64
}

// Counters are the counters of a slot.
//
//	format(1) nextID(uvarint) n(uvarint) n×[db(1) keys(uvarint) expires(uvarint) bytes(uvarint)]
type Counters struct {
	// NextID is the id that the next large value gets; ids begin at 1 and are never used again.
	NextID uint64
	// DBs are ascending by DB and hold no empty one.
	DBs []DBCounters
}

const countersFormat = 1

// ErrCounters: counters that do not decode.
var ErrCounters = errors.New("keys: malformed counters")

// Append appends the encoded counters.
func (c *Counters) Append(dst []byte) []byte {
	dst = append(dst, countersFormat)
	dst = binary.AppendUvarint(dst, c.NextID)
	dst = binary.AppendUvarint(dst, uint64(len(c.DBs)))
	for _, d := range c.DBs {
		dst = append(dst, d.DB)
		dst = binary.AppendUvarint(dst, d.Keys)
		dst = binary.AppendUvarint(dst, d.Expires)
		dst = binary.AppendUvarint(dst, d.Bytes)
	}
	return dst
}

// Decode reads counters, and returns what stands behind them.
func (c *Counters) Decode(b []byte) (rest []byte, err error) {
	if len(b) == 0 || b[0] != countersFormat {
		return nil, ErrCounters
	}
	b = b[1:]
	var n uint64
	for _, p := range []*uint64{&c.NextID, &n} {
		if b, err = takeUvarint(b, p); err != nil {
			return nil, err
		}
	}
	if n > 256 {
		return nil, ErrCounters
	}
	c.DBs = c.DBs[:0]
	for ; n > 0; n-- {
		if len(b) == 0 {
			return nil, ErrCounters
		}
		d := DBCounters{DB: b[0]}
		b = b[1:]
		for _, p := range []*uint64{&d.Keys, &d.Expires, &d.Bytes} {
			if b, err = takeUvarint(b, p); err != nil {
				return nil, err
			}
		}
		if len(c.DBs) > 0 && c.DBs[len(c.DBs)-1].DB >= d.DB {
			return nil, ErrCounters
		}
		c.DBs = append(c.DBs, d)
	}
	return b, nil
}

// Clone returns a copy that shares nothing with c.
func (c *Counters) Clone() Counters {
	return Counters{NextID: c.NextID, DBs: append([]DBCounters(nil), c.DBs...)}
}

func takeUvarint(b []byte, p *uint64) ([]byte, error) {
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return nil, ErrCounters
	}
	*p = v
	return b[n:], nil
}
