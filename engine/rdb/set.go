package rdb

import (
	"fmt"
	"slices"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/types"
)

// The forms of a set: 2 is a count and strings, 11 an intset, 20 a listpack (since Redis 7.2).

// eachMember calls fn for the members; they stay valid as the payload does.
func (v *Value) eachMember(fn func(member []byte) error) error {
	r := v.reader()
	switch v.kind {
	case kindSet:
		n, err := r.count()
		if err != nil {
			return err
		}
		return eachText(&plain{&r, n}, fn)
	case kindSetListpack:
		return r.listpack(fn)
	}
	p, err := r.string()
	if err != nil {
		return err
	}
	it, err := openIntset(p)
	if err != nil {
		return err
	}
	return eachText(it, fn)
}

// mostInts is how many members are sorted to become an intset.
const mostInts = 1 << 16

func (w *writer) set(t *engine.Txn, k engine.Key, rec engine.Record) error {
	s, err := types.OpenSet(t, k)
	if err != nil {
		return err
	}
	if s.Len() <= mostInts && types.SetEncoding(rec) == "intset" {
		return w.intset(&s)
	}
	w.kind(kindSet)
	w.length(uint64(s.Len()))
	return s.Each(func(m []byte) bool {
		w.string(m)
		return w.fits(0)
	})
}

func (w *writer) intset(s *types.Set) error {
	ints := make([]int64, 0, s.Len())
	ok := true
	err := s.Each(func(m []byte) bool {
		var n int64
		n, ok = types.ParseInt(m)
		ints = append(ints, n)
		return ok
	})
	if err == nil && !ok {
		err = fmt.Errorf("%w: a set of integers with another member", engine.ErrCorrupt)
	}
	if err != nil {
		return err
	}
	slices.Sort(ints)
	w.kind(kindSetIntset)
	w.string(appendIntset(nil, ints))
	return nil
}

func storeSet(t *engine.Txn, k engine.Key, v *Value) error {
	s, err := types.OpenSet(t, k)
	if err != nil {
		return err
	}
	b := batch{flush: func(members [][]byte) error {
		added, err := s.Add(members)
		if err == nil && added < int64(len(members)) {
			err = ErrFormat
		}
		return err
	}}
	if err := v.eachMember(b.add); err != nil {
		return err
	}
	return b.end()
}
