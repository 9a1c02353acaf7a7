package types

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
)

// Verify is engine.Options.Verify: it knows the form of each type's values.
func Verify(rec engine.Record) (engine.Verifier, error) {
	switch rec.Type {
	case keys.TypeString:
		if rec.ID != 0 {
			return &stringVerifier{length: rec.Count}, nil
		}
	case keys.TypeList:
		return verifyList(rec)
	case keys.TypeHash:
		return verifyHash(rec)
	case keys.TypeStream:
		return verifyStream(rec)
	}
	return nil, nil
}

// stringVerifier checks that the chunks of a string lie within it.
type stringVerifier struct{ length uint64 }

func (v *stringVerifier) Sub(sub, chunk []byte) error {
	if len(sub) != 4 || len(chunk) > ChunkSize {
		return fmt.Errorf("a chunk of %d bytes under a key of %d", len(chunk), len(sub))
	}
	if end := uint64(binary.BigEndian.Uint32(sub))*ChunkSize + uint64(len(chunk)); end > v.length {
		return fmt.Errorf("a chunk that ends at %d in a string of %d bytes", end, v.length)
	}
	return nil
}

func (*stringVerifier) End() error { return nil }

func verifyHash(rec engine.Record) (engine.Verifier, error) {
	h, err := openHash(nil, engine.Key{}, rec, true)
	switch {
	case err != nil:
		return nil, err
	case h.spread():
		return &hashVerifier{count: rec.Count}, nil
	}
	return nil, eachPacked(h.packed, func([]byte, *storedField) bool { return true })
}

// hashVerifier checks that a spread hash has as many fields as its record says, each under its hash, and an entry for each one that expires.
type hashVerifier struct{ count, fields, expiring, entries uint64 }

func (v *hashVerifier) Sub(sub, stored []byte) error {
	switch {
	case len(sub) >= fieldPrefix && sub[0] == hashField:
		var f storedField
		if err := f.decodeSub(sub, stored); err != nil {
			return err
		}
		if binary.BigEndian.Uint32(sub[1:]) != keys.Hash(sub[fieldPrefix:]) {
			return errors.New("a field lies under another one's hash")
		}
		v.fields++
		if f.expireAt != 0 {
			v.expiring++
		}
	case len(sub) >= expiryPrefix && sub[0] == hashExpiry && len(stored) == 0:
		v.entries++
	default:
		return fmt.Errorf("a sub-key of %d bytes with a value of %d that are nothing of a hash", len(sub), len(stored))
	}
	return nil
}

func (v *hashVerifier) End() error {
	if v.fields != v.count || v.entries != v.expiring {
		return fmt.Errorf("%d fields, its record says %d; %d of them expire, and there are %d entries for that", v.fields, v.count, v.expiring, v.entries)
	}
	return nil
}
