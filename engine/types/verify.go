package types

import (
	"encoding/binary"
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
	case keys.TypeZSet:
		return verifyZSet(rec)
	case keys.TypeList:
		return verifyList(rec)
	case keys.TypeSet:
		return verifySet(rec)
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
