package types

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
)

func verifySet(rec engine.Record) (engine.Verifier, error) {
	s := Set{rec: rec, found: true}
	if err := s.decode(); err != nil {
		return nil, err
	}
	if s.spread() {
		return &setVerifier{set: &s}, s.verifyHand()
	}
	var last []byte
	var err error
	seen := make(map[string]struct{})
	s.packed.each(func(member []byte) bool {
		_, twice := seen[string(member)]
		if twice || last != nil && s.form == setInts && compareInts(last, member) > 0 {
			err = errors.New("a member stands twice, or integers are out of order")
		}
		seen[string(member)] = struct{}{}
		last = append(last[:0], member...)
		return err == nil
	})
	return nil, err
}

// verifyHand checks that the members which SPOP has drawn are in the order of their hashes.
func (s *Set) verifyHand() (err error) {
	var last []byte
	eachEntry(s.hand, func(member []byte) {
		sub := appendSetSub(nil, member)
		if last != nil && bytes.Compare(last, sub) >= 0 {
			err = errors.New("members that were drawn are out of order")
		}
		last = sub
	})
	return err
}

// setVerifier checks that a spread set has as many members as its record says, each under its hash, and none that was drawn.
type setVerifier struct {
	set  *Set
	subs uint64
}

func (v *setVerifier) Sub(sub, value []byte) error {
	v.subs++
	switch {
	case len(sub) < setHashLen || len(value) > 0:
		return fmt.Errorf("a sub-key of %d bytes with a value of %d that are nothing of a set", len(sub), len(value))
	case binary.BigEndian.Uint32(sub) != keys.Hash(sub[setHashLen:]):
		return errors.New("a member lies under another one's hash")
	case entryIndex(v.set.hand, sub[setHashLen:]) >= 0:
		return errors.New("a member that was drawn is still there")
	}
	return nil
}

func (v *setVerifier) End() error {
	if n := v.subs + uint64(v.set.inHand); n != v.set.rec.Count {
		return fmt.Errorf("%d members, its record says %d", n, v.set.rec.Count)
	}
	return nil
}
