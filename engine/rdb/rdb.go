// Package rdb turns values into the serialization of Redis's RDB files and back, for DUMP and RESTORE.
//
//	kind(1) value … version(2, little endian) CRC-64(8, little endian, over all before it)
//
// The kinds of collections are drawn in the files named after them, the packed forms in elements.go and oldforms.go. What is read was checked
// before, and what is checked is more than Redis checks unless sanitize-dump-payload says so. A string value is a length and its bytes; the two top bits of the first byte say how long the length is:
//
//	00 + 6 bits           length
//	01 + 14 bits          length, big endian
//	10000000 + 4 bytes    length, big endian
//	10000001 + 8 bytes    length, big endian
//	110000nn              no length: an integer of 1, 2 or 4 bytes, little endian (nn = 0, 1, 2),
//	                      or LZF (nn = 3): compressed length, length, compressed bytes
//
// Source: rdb.c and rdb.h of Redis 7.0.
package rdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"math/bits"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/engine/types"
)

const (
	// Version is what Dump writes: that of Redis 7.0, so that 7.0 and whatever is newer read it.
	Version = 10
	// fieldExpiryVersion is what it writes for a hash with fields that expire: that of Redis 7.4.
	fieldExpiryVersion = 12
	// MaxVersion is the newest that Load reads: that of Redis 7.4.
	MaxVersion = 12

	footerLen = 2 + 8
)

// Errors of payloads that cannot be loaded.
var (
	// ErrChecksum: the payload is of a newer version, or damaged.
	ErrChecksum = errors.New("rdb: version or checksum are wrong")
	// ErrFormat: the checksum is right, but the bytes are no value.
	ErrFormat = errors.New("rdb: bad data format")
	// ErrUnsupported: a value of a type that is not served. It is wrapped with the type's name.
	ErrUnsupported = errors.New("rdb: type not supported")
)

// The RDB types of values (rdb.h). 6 and 7 are values of modules; 22 and 23 were written by release candidates of Redis 7.4 only.
const (
	kindString             = 0
	kindList               = 1
	kindSet                = 2
	kindZSet               = 3
	kindHash               = 4
	kindZSet2              = 5
	kindHashZipmap         = 9
	kindListZiplist        = 10
	kindSetIntset          = 11
	kindZSetZiplist        = 12
	kindHashZiplist        = 13
	kindQuicklist          = 14
	kindStream             = 15
	kindHashListpack       = 16
	kindZSetListpack       = 17
	kindQuicklist2         = 18
	kindStream2            = 19
	kindSetListpack        = 20
	kindStream3            = 21
	kindHashExpiring       = 24
	kindHashPackedExpiring = 25
)

// typeOf gives the type of the values of each kind.
var typeOf = map[byte]keys.Type{
	kindString: keys.TypeString,
	kindList:   keys.TypeList, kindListZiplist: keys.TypeList, kindQuicklist: keys.TypeList, kindQuicklist2: keys.TypeList,
	kindSet: keys.TypeSet, kindSetIntset: keys.TypeSet, kindSetListpack: keys.TypeSet,
	kindZSet: keys.TypeZSet, kindZSet2: keys.TypeZSet, kindZSetZiplist: keys.TypeZSet, kindZSetListpack: keys.TypeZSet,
	kindHash: keys.TypeHash, kindHashZipmap: keys.TypeHash, kindHashZiplist: keys.TypeHash, kindHashListpack: keys.TypeHash,
	kindHashExpiring: keys.TypeHash, kindHashPackedExpiring: keys.TypeHash,
	kindStream: keys.TypeStream, kindStream2: keys.TypeStream, kindStream3: keys.TypeStream,
}

// jones is the table of the CRC-64 that Redis uses (crc64.c: Jones's polynomial, reflected, no final inversion).
var jones = crc64.MakeTable(bits.Reverse64(0xad93d23594c935a9))

func checksum(p []byte) uint64 { return ^crc64.Update(^uint64(0), jones, p) }

// Value is a value as it lies in a payload, which it keeps.
type Value struct {
	Type   keys.Type
	String []byte // of TypeString; may alias the payload

	kind   byte
	body   []byte // what stands behind the kind
	maxLen int64
}

func (v *Value) reader() reader { return reader{rest: v.body, maxLen: v.maxLen} }

// Dump appends the payload of the value at k, which rec is the record of, to dst; ErrTooLarge if it would be longer than limit, in bytes.
func Dump(dst []byte, t *engine.Txn, k engine.Key, rec engine.Record, limit int64) ([]byte, error) {
	w := writer{buf: dst, begin: len(dst), limit: limit - footerLen, version: Version}
	err := w.value(t, k, rec)
	if err == nil && !w.fits(0) {
		err = ErrTooLarge
	}
	if err != nil {
		return dst, err
	}
	return appendFooter(w.buf, w.begin, w.version), nil
}

func (w *writer) value(t *engine.Txn, k engine.Key, rec engine.Record) error {
	switch rec.Type {
	case keys.TypeString:
		s, err := types.OpenString(t, k)
		if err != nil {
			return err
		}
		value, err := s.Bytes()
		w.kind(kindString)
		w.string(value)
		return err
	case keys.TypeList:
		return w.list(t, k)
	case keys.TypeSet:
		return w.set(t, k, rec)
	case keys.TypeZSet:
		return w.zset(t, k, rec)
	case keys.TypeHash:
		return w.hash(t, k, rec)
	case keys.TypeStream:
		return w.stream(t, k)
	}
	return fmt.Errorf("%w: %s", ErrUnsupported, types.TypeName(rec.Type))
}

// appendFooter ends the payload that begins at dst[begin:].
func appendFooter(dst []byte, begin int, version uint16) []byte {
	dst = binary.LittleEndian.AppendUint16(dst, version)
	return binary.LittleEndian.AppendUint64(dst, checksum(dst[begin:]))
}

// Load decodes a payload and checks all of it, but not whether the elements of a collection differ: Store does. What has more of them than
// a transaction takes is engine.ErrTooLarge. It allocates no more than the payload
// can describe, and at most maxLen bytes for a string.
func Load(payload []byte, maxLen int64) (Value, error) {
	body := len(payload) - footerLen
	if body < 0 || binary.LittleEndian.Uint16(payload[body:]) > MaxVersion ||
		binary.LittleEndian.Uint64(payload[body+2:]) != checksum(payload[:body+2]) {
		return Value{}, ErrChecksum
	}
	if body == 0 {
		return Value{}, ErrFormat
	}
	v := Value{kind: payload[0], body: payload[1:body], maxLen: maxLen}
	var known bool
	if v.Type, known = typeOf[v.kind]; !known {
		return Value{}, ErrFormat
	}
	if err := v.check(); err != nil {
		return Value{}, err
	}
	return v, nil
}

// mostElements is how many elements a value may have that Store writes, in one transaction.
const mostElements = 1 << 22

// check walks the value; a collection has elements, unless it is a stream.
func (v *Value) check() (err error) {
	n := 0
	count := func() error {
		if n++; n > mostElements {
			return engine.ErrTooLarge
		}
		return nil
	}
	switch v.Type {
	case keys.TypeString:
		r := v.reader()
		v.String, err = r.string()
		return err
	case keys.TypeList:
		err = v.eachListElement(func([]byte) error { return count() })
	case keys.TypeSet:
		err = v.eachMember(func([]byte) error { return count() })
	case keys.TypeZSet:
		err = v.eachScored(func([]byte, float64) error { return count() })
	case keys.TypeHash:
		err = v.eachField(func([]byte, []byte, int64) error { return count() })
	case keys.TypeStream:
		return v.eachOfStream(&streamVisitor{
			entry:    func(streamID, [][]byte) error { return count() },
			state:    func(streamState) error { return nil },
			group:    func([]byte, streamID, int64) error { return count() },
			consumer: func([]byte, int64, int64) error { return count() },
			pending:  func(delivery) error { return count() },
		})
	}
	if err == nil && n == 0 {
		err = ErrFormat
	}
	return err
}

// Store makes v the value at k, whatever was there, with an expiry in unix milliseconds or 0. ErrFormat says that an element is there twice; then, as
// after every error, part of the value may have been written, and the transaction has to be rolled back.
func Store(t *engine.Txn, k engine.Key, v *Value, expireAt int64) error {
	if v.Type == keys.TypeString {
		return types.SetString(t, k, v.String, expireAt)
	}
	if _, err := t.Delete(k); err != nil {
		return err
	}
	if err := v.store(t, k); err != nil || expireAt == 0 {
		return err
	}
	_, err := types.SetExpiry(t, k, expireAt, types.Always)
	return err
}

// store adds the elements to the collection at k, where nothing is.
func (v *Value) store(t *engine.Txn, k engine.Key) error {
	switch v.Type {
	case keys.TypeList:
		return storeList(t, k, v)
	case keys.TypeSet:
		return storeSet(t, k, v)
	case keys.TypeZSet:
		return storeZSet(t, k, v)
	case keys.TypeHash:
		return storeHash(t, k, v)
	case keys.TypeStream:
		return storeStream(t, k, v)
	}
	return fmt.Errorf("%w: %s", ErrUnsupported, types.TypeName(v.Type))
}
