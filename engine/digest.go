package engine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"github.com/cairndb/cairn/engine/keys"
)

// Digest returns a hash of everything stored, but for what belongs to this node alone, and the offset at which it was
// taken: two stores with the same log up to that offset have the same digest.
func (s *Store) Digest(ctx context.Context) (sum string, at Offset, err error) {
	s.world.Lock()
	if s.closed.Load() {
		s.world.Unlock()
		return "", 0, ErrClosed
	}
	if err := s.drain(); err != nil {
		s.world.Unlock()
		return "", 0, err
	}
	s.life.RLock()
	snap := s.db.NewSnapshot()
	at = s.log.End()
	s.world.Unlock()
	defer s.life.RUnlock()
	defer snap.Close()
	it, err := snap.NewIter(nil)
	if err != nil {
		return "", 0, storeError(err)
	}
	defer it.Close()
	h := sha256.New()
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		if nodeLocal(it.Key()) {
			continue
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return "", 0, storeError(err)
		}
		var size [16]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(it.Key())))
		binary.BigEndian.PutUint64(size[8:], uint64(len(v)))
		h.Write(size[:])
		h.Write(it.Key())
		h.Write(v)
		if n++; n%1024 == 0 && ctx.Err() != nil {
			return "", 0, ctx.Err()
		}
	}
	if err := it.Error(); err != nil {
		return "", 0, storeError(err)
	}
	return hex.EncodeToString(h.Sum(nil)), at, nil
}

// nodeLocal says whether a key belongs to this node alone.
func nodeLocal(key []byte) bool {
	for _, k := range [][]byte{keys.AppliedKey, keys.ReachedDirectKey, keys.ReachedDrainKey, keys.SummaryKey} {
		if bytes.Equal(key, k) {
			return true
		}
	}
	return false
}
