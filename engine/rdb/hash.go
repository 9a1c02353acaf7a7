package rdb

import (
	"encoding/binary"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/types"
)

// The forms of a hash:
//
//	4   count, [field, value]
//	9   a zipmap
//	13  a ziplist, and
//	16  a listpack of fields, each followed by its value
//	24  earliest(8), count, [expiry, field, value]        fields that expire, since Redis 7.4
//	25  earliest(8), a listpack of fields, each followed by its value and its expiry
//
// earliest is the first of the expiries, in unix milliseconds in little endian. An expiry is 0 for none; in form 24 it is one more than what comes
// on top of earliest, in form 25 unix milliseconds.

// maxFieldExpiry is the greatest expiry of a field, in unix milliseconds (Redis: EB_EXPIRE_TIME_MAX).
const maxFieldExpiry = 1<<48 - 1

// eachField calls fn for the fields, with an expiry in unix milliseconds or 0; they stay valid as the payload does.
func (v *Value) eachField(fn func(field, value []byte, expireAt int64) error) error {
	r := v.reader()
	var d digits
	pair := func(field, value *element) error { return fn(d.text(field), d.text(value), 0) }
	switch v.kind {
	case kindHash:
		n, err := r.count()
		if err != nil {
			return err
		}
		return eachPair(&plain{&r, 2 * n}, pair)
	case kindHashZipmap:
		return r.pairs(asElements(openZipmap), pair)
	case kindHashZiplist:
		return r.pairs(asElements(openZiplist), pair)
	case kindHashListpack:
		return r.pairs(asElements(openListpack), pair)
	}
	p, err := r.take(8)
	if err != nil {
		return err
	}
	if v.kind == kindHashExpiring {
		return r.expiringFields(binary.LittleEndian.Uint64(p), fn)
	}
	return r.packedExpiringFields(fn)
}

func (r *reader) expiringFields(earliest uint64, fn func(field, value []byte, expireAt int64) error) error {
	n, err := r.count()
	for ; n > 0 && err == nil; n-- {
		var after, expireAt uint64
		if after, err = r.number(); err != nil {
			return err
		}
		if after != 0 {
			if earliest > maxFieldExpiry || after > maxFieldExpiry || earliest+after-1 > maxFieldExpiry {
				return ErrFormat
			}
			expireAt = earliest + after - 1
		}
		var pair [2][]byte
		for i := range pair {
			if pair[i], err = r.string(); err != nil {
				return err
			}
		}
		err = fn(pair[0], pair[1], int64(expireAt))
	}
	return err
}

func (r *reader) packedExpiringFields(fn func(field, value []byte, expireAt int64) error) error {
	var it elements
	var expireAt int64
	triples := func(p []byte) (elements, error) {
		l, err := openListpack(p)
		it = l
		return l, err
	}
	var d digits
	return r.pairs(triples, func(field, value *element) (err error) {
		if expireAt, err = mustInt(it); err != nil {
			return err
		}
		if expireAt < 0 || expireAt > maxFieldExpiry {
			return ErrFormat
		}
		return fn(d.text(field), d.text(value), expireAt)
	})
}

// asElements makes the function that opens a packed form one that returns what all of them are.
func asElements[T elements](open func(p []byte) (T, error)) func(p []byte) (elements, error) {
	return func(p []byte) (elements, error) { return open(p) }
}

// pairs reads a string, opens it, and calls fn for its elements two by two.
func (r *reader) pairs(open func(p []byte) (elements, error), fn func(a, b *element) error) error {
	p, err := r.string()
	if err != nil {
		return err
	}
	it, err := open(p)
	if err != nil {
		return err
	}
	return eachPair(it, fn)
}

func eachPair(it elements, fn func(a, b *element) error) error {
	for {
		a, ok, err := it.next()
		if err != nil || !ok {
			return err
		}
		b, err := must(it)
		if err != nil {
			return err
		}
		if err := fn(&a, &b); err != nil {
			return err
		}
	}
}

// fieldExpiry is what stands in form 24 for an expiry.
func fieldExpiry(expireAt, earliest int64) uint64 {
	if expireAt == 0 {
		return 0
	}
	return uint64(expireAt-earliest) + 1
}

func (w *writer) hash(t *engine.Txn, k engine.Key, rec engine.Record) error {
	h, err := types.OpenHash(t, k)
	if err != nil {
		return err
	}
	if rec.FieldExpireAt != 0 {
		return w.expiringHash(&h, rec.FieldExpireAt)
	}
	if types.HashEncoding(rec) == "listpack" && rec.Spread() <= packedLimit {
		return w.packedHash(&h)
	}
	n, err := h.Len()
	if err != nil {
		return err
	}
	w.kind(kindHash)
	w.length(uint64(n))
	return h.Each(func(field, value []byte) bool {
		w.string(field)
		w.string(value)
		return w.fits(0)
	})
}

func (w *writer) packedHash(h *types.Hash) error {
	lp := newListpack()
	err := h.Each(func(field, value []byte) bool {
		lp.string(field)
		lp.string(value)
		return true
	})
	w.kind(kindHashListpack)
	w.string(lp.finish())
	return err
}

// expiringHash writes form 24. Its times count from the earliest that is stored, which may lie before all that are left.
func (w *writer) expiringHash(h *types.Hash, earliest int64) error {
	w.version = fieldExpiryVersion
	w.kind(kindHashExpiring)
	w.little(uint64(earliest))
	at, n := w.reserveCount(), uint64(0)
	var failed error
	err := h.Each(func(field, value []byte) bool {
		var expireAt int64
		if expireAt, _, failed = h.ExpireAt(field); failed != nil {
			return false
		}
		w.length(fieldExpiry(expireAt, earliest))
		w.string(field)
		w.string(value)
		n++
		return w.fits(0)
	})
	w.putCount(at, n)
	if err == nil {
		err = failed
	}
	return err
}

func storeHash(t *engine.Txn, k engine.Key, v *Value) error {
	h, err := types.OpenHash(t, k)
	if err != nil {
		return err
	}
	err = v.eachField(func(field, value []byte, expireAt int64) error {
		created, err := h.Set(field, value, false)
		if err == nil && !created {
			err = ErrFormat
		}
		if err == nil && expireAt != 0 {
			_, err = h.SetExpiry(field, expireAt, types.Always)
		}
		return err
	})
	if err != nil {
		return err
	}
	return h.Save()
}
