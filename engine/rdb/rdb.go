// Package rdb turns values into the serialization of Redis's RDB files and back, for DUMP and RESTORE.
//
//	type(1) value … version(2, little endian) CRC-64(8, little endian, over all before it)
//
// A string value is a length and its bytes; the two top bits of the first byte say how long the length is:
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
	// MaxVersion is the newest that Load reads: that of Redis 7.2.
	MaxVersion = 11

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

// typeString is the RDB type of strings.
const typeString = 0

// unsupported names the RDB types that Redis 7.2 knows and that are not served.
var unsupported = map[byte]string{
	1: "list", 2: "set", 3: "zset", 4: "hash", 5: "zset", 6: "module", 7: "module",
	9: "hash", 10: "list", 11: "set", 12: "zset", 13: "hash", 14: "list", 15: "stream",
	16: "hash", 17: "zset", 18: "list", 19: "stream", 20: "set", 21: "stream",
}

// jones is the table of the CRC-64 that Redis uses (crc64.c: Jones's polynomial, reflected, no final inversion).
var jones = crc64.MakeTable(bits.Reverse64(0xad93d23594c935a9))

func checksum(p []byte) uint64 { return ^crc64.Update(^uint64(0), jones, p) }

// Value is a decoded payload.
type Value struct {
	Type   keys.Type
	String []byte // of TypeString; may alias the payload
}

// Dump appends the payload of the value at k, which rec is the record of, to dst.
func Dump(dst []byte, t *engine.Txn, k engine.Key, rec engine.Record) ([]byte, error) {
	if rec.Type != keys.TypeString {
		return dst, fmt.Errorf("%w: %s", ErrUnsupported, types.TypeName(rec.Type))
	}
	s, err := types.OpenString(t, k)
	if err != nil {
		return dst, err
	}
	value, err := s.Bytes()
	if err != nil {
		return dst, err
	}
	begin := len(dst)
	return appendFooter(appendString(append(dst, typeString), value), begin), nil
}

// appendFooter ends the payload that begins at dst[begin:].
func appendFooter(dst []byte, begin int) []byte {
	dst = binary.LittleEndian.AppendUint16(dst, Version)
	return binary.LittleEndian.AppendUint64(dst, checksum(dst[begin:]))
}

// Load decodes a payload. It allocates no more than the payload can describe, and at most maxLen bytes for a string.
func Load(payload []byte, maxLen int64) (Value, error) {
	body := len(payload) - footerLen
	if body < 0 || binary.LittleEndian.Uint16(payload[body:]) > MaxVersion ||
		binary.LittleEndian.Uint64(payload[body+2:]) != checksum(payload[:body+2]) {
		return Value{}, ErrChecksum
	}
	if body == 0 {
		return Value{}, ErrFormat
	}
	if name := unsupported[payload[0]]; name != "" {
		return Value{}, fmt.Errorf("%w: %s", ErrUnsupported, name)
	}
	if payload[0] != typeString {
		return Value{}, ErrFormat
	}
	r := reader{rest: payload[1:body], maxLen: maxLen}
	s, err := r.string()
	return Value{Type: keys.TypeString, String: s}, err
}

// Store makes v the value at k, whatever was there, with an expiry in unix milliseconds or 0.
func Store(t *engine.Txn, k engine.Key, v Value, expireAt int64) error {
	return types.SetString(t, k, v.String, expireAt)
}
