package types

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
)

// verifyHash checks a packed hash, and returns who checks the sub-keys of a spread one.
func verifyHash(rec engine.Record) (engine.Verifier, error) {
	h, err := openHash(nil, engine.Key{}, rec, true)
	if err != nil {
		return nil, err
	}
	if h.spread() {
		return &hashVerifier{rec: rec}, nil
	}
	seen := make(map[string]bool)
	var first int64
	twice := false
	err = eachPacked(h.packed, func(field []byte, f *storedField) bool {
		twice = twice || seen[string(field)]
		seen[string(field)] = true
		if f.expireAt != 0 && (first == 0 || f.expireAt < first) {
			first = f.expireAt
		}
		return true
	})
	switch {
	case err != nil:
		return nil, err
	case twice:
		return nil, errors.New("a hash that has a field twice")
	case len(seen) == 0:
		return nil, errors.New("a hash without fields")
	case first != rec.FieldExpireAt:
		return nil, fmt.Errorf("a hash whose header says that a field expires at %d: the first does at %d", rec.FieldExpireAt, first)
	case first != 0 && h.state&stateExpires == 0:
		return nil, errors.New("a hash that does not know that its fields expire")
	}
	return nil, nil
}

// hashVerifier checks that each field lies under its hash, and that each that expires has a sub-key for that, and nothing else has.
type hashVerifier struct {
	rec                engine.Record
	fields             uint64
	expiring, expiries uint64 // how many fields expire, and how many sub-keys say so
	fieldSum, timeSum  uint64 // of their hashes
}

func (v *hashVerifier) Sub(sub, stored []byte) error {
	switch {
	case len(sub) >= fieldPrefix && sub[0] == hashField:
		return v.field(sub[fieldPrefix:], binary.BigEndian.Uint32(sub[1:]), stored)
	case len(sub) >= expiryPrefix && sub[0] == hashExpiry && len(stored) == 0:
		v.expiries++
		v.timeSum += uint64(keys.Hash(sub))
		if at := int64(binary.BigEndian.Uint64(sub[1:])); v.rec.FieldExpireAt == 0 || at < v.rec.FieldExpireAt {
			return fmt.Errorf("a field of a hash expires at %d, its header says %d", at, v.rec.FieldExpireAt)
		}
		return nil
	}
	return fmt.Errorf("a hash with a sub-key of %d bytes that is none of a hash", len(sub))
}

func (v *hashVerifier) field(field []byte, hash uint32, stored []byte) error {
	var f storedField
	if err := f.decode(stored); err != nil {
		return err
	}
	if hash != keys.Hash(field) {
		return errors.New("a field of a hash lies under another one's hash")
	}
	v.fields++
	if f.expireAt != 0 {
		v.expiring++
		h := Hash{}
		v.fieldSum += uint64(keys.Hash(h.expiryKey(f.expireAt, field)))
	}
	return nil
}

// End compares the sums.
func (v *hashVerifier) End() error {
	switch {
	case v.fields != v.rec.Count || v.fields == 0:
		return fmt.Errorf("a hash of %d fields whose header says %d", v.fields, v.rec.Count)
	case v.expiring != v.expiries || v.fieldSum != v.timeSum:
		return fmt.Errorf("a hash with %d fields that expire, and %d sub-keys that say when, or other times", v.expiring, v.expiries)
	case v.expiring > 0 && v.rec.Value[0]&stateExpires == 0:
		return errors.New("a hash that does not know that its fields expire")
	}
	return nil
}
