package types

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
)

// IncrBy adds n to the integer in a field, which counts as 0 when absent, and returns the sum; the expiry stays.
func (h *Hash) IncrBy(field []byte, n int64) (int64, error) {
	old, had, err := h.find(field)
	if err != nil {
		return 0, err
	}
	sum := n
	f := storedField{}
	if had && !h.expired(old.expireAt) {
		before, ok := ParseInt(old.value)
		if !ok {
			return 0, ErrNotInteger
		}
		sum = before + n
		if (n < 0) != (sum < before) && n != 0 {
			return 0, ErrOverflow
		}
		f.expireAt = old.expireAt
	}
	var buf [20]byte
	f.value = appendInt(&buf, sum)
	return sum, h.put(field, old, had, f)
}

// IncrByFloat adds n, which is finite, to the number in a field, which counts as 0 when absent, and returns the sum as it is stored; the
// expiry stays. ErrNotFloat is about the field.
func (h *Hash) IncrByFloat(field []byte, n *big.Float) ([]byte, error) {
	old, had, err := h.find(field)
	if err != nil {
		return nil, err
	}
	sum := new(big.Float).SetPrec(longDoubleBits)
	f := storedField{}
	if had && !h.expired(old.expireAt) {
		before, ok := ParseLongDouble(old.value)
		if !ok {
			return nil, ErrNotFloat
		}
		sum, f.expireAt = before, old.expireAt
	}
	if sum.IsInf() || sum.Add(sum, n).MantExp(nil) > longDoubleMaxExp {
		return nil, ErrNaN
	}
	f.value = formatLongDouble(sum)
	return f.value, h.put(field, old, had, f)
}

// FieldResult is what became of a field whose expiry was to change. The numbers are Redis's.
type FieldResult int64

// What became of a field.
const (
	FieldAbsent  FieldResult = -2
	FieldLasts   FieldResult = -1 // it has no expiry that could be removed
	FieldKept    FieldResult = 0  // the condition does not hold
	FieldChanged FieldResult = 1
	FieldDeleted FieldResult = 2 // the time has passed already
)

// SetExpiry makes a field expire at the given unix milliseconds if the condition holds for its present expiry; a time that has passed deletes it.
func (h *Hash) SetExpiry(field []byte, at int64, cond Condition) (FieldResult, error) {
	f, found, err := h.find(field)
	switch {
	case err != nil:
		return 0, err
	case !found || h.expired(f.expireAt):
		return FieldAbsent, nil
	case !cond.holds(f.expireAt, at):
		return FieldKept, nil
	case at <= h.txn.Now():
		return FieldDeleted, h.remove(field, f)
	}
	return FieldChanged, h.put(field, f, true, storedField{value: f.value, expireAt: at})
}

// Persist takes the expiry of a field away.
func (h *Hash) Persist(field []byte) (FieldResult, error) {
	f, found, err := h.find(field)
	switch {
	case err != nil:
		return 0, err
	case !found || h.expired(f.expireAt):
		return FieldAbsent, nil
	case f.expireAt == 0:
		return FieldLasts, nil
	}
	return FieldChanged, h.put(field, f, true, storedField{value: f.value})
}

// ExpireFields is engine.Options.ExpireFields.
func ExpireFields(t *engine.Txn, k engine.Key, rec engine.Record, limit int) (n int, err error) {
	h, err := openHash(t, k, rec, true)
	if err != nil {
		return 0, err
	}
	if h.spread() {
		n, err = h.expireSpread(limit)
	} else {
		n, err = h.expirePacked()
	}
	if err != nil {
		return 0, err
	}
	h.changed = true // the time of the first expiry, if nothing else
	return n, h.Save()
}

// expirePacked removes all fields that have expired.
func (h *Hash) expirePacked() (n int, err error) {
	kept := make([]byte, 1, len(h.packed))
	h.count = 0
	err = eachPacked(h.packed, func(_ []byte, f *storedField) bool {
		if h.expired(f.expireAt) {
			n++
			return true
		}
		h.count++
		kept = append(kept, h.packed[f.from:f.to]...)
		return true
	})
	h.packed, h.own = kept, true
	return n, err
}

// rangeDeletes is from how many sub-keys on they are deleted by their range.
const rangeDeletes = 256

// expireSpread removes the first fields that have expired, at most limit of them.
func (h *Hash) expireSpread(limit int) (n int, err error) {
	type due struct {
		at    int64
		field []byte
	}
	var all []due
	next := int64(0)
	err = h.walkExpiries(math.MaxInt64, func(at int64, field []byte) bool {
		if len(all) == limit || !h.expired(at) {
			next = at
			return false
		}
		all = append(all, due{at, append([]byte(nil), field...)})
		return true
	})
	if err != nil {
		return 0, err
	}
	byRange := len(all) >= rangeDeletes
	if byRange {
		first, last := all[0], all[len(all)-1]
		r := engine.SubRange{From: append([]byte(nil), h.expiryKey(first.at, first.field)...), To: append(h.expiryKey(last.at, last.field), 0)}
		if err := h.txn.DeleteSubRange(h.key.Slot, h.rec.ID, r); err != nil {
			return 0, err
		}
	}
	for _, d := range all {
		f, found, err := h.find(d.field)
		if err == nil && (!found || f.expireAt != d.at) {
			err = errFieldExpiry
		}
		if err != nil {
			return 0, err
		}
		if byRange {
			h.rec.Bytes -= keys.SubBytes(h.expiryKey(d.at, d.field), nil)
		} else if err := h.moveExpiry(d.field, d.at, 0); err != nil {
			return 0, err
		}
		if err := h.removeSpread(d.field, f); err != nil {
			return 0, err
		}
	}
	h.rec.FieldExpireAt = next
	return len(all), nil
}

// Random calls fn n times, or until it returns false, with a field each time chosen anew among those that have not expired. If there is none, it
// does not call it.
func (h *Hash) Random(n int64, fn func(field, value []byte) bool) error {
	if !h.spread() {
		var live [][2][]byte
		err := h.Each(func(field, value []byte) bool {
			live = append(live, [2][]byte{field, value})
			return true
		})
		for i := int64(0); i < n && err == nil && len(live) > 0; i++ {
			f := live[rand.IntN(len(live))]
			if !fn(f[0], f[1]) {
				break
			}
		}
		return err
	}
	for range n {
		any, more := false, false
		one := func(field, value []byte) bool {
			any, more = true, fn(field, value)
			return false
		}
		err := h.walk(rand.Uint32(), one)
		if err == nil && !any {
			err = h.walk(0, one)
		}
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// Sample calls fn for n different fields out of live, which Live has returned.
func (h *Hash) Sample(n, live int64, fn func(field, value []byte)) error {
	if !h.spread() || 3*n > live {
		return h.Each(func(field, value []byte) bool {
			if rand.Int64N(max(live, 1)) < n {
				fn(field, value)
				n--
			}
			live--
			return n > 0
		})
	}
	seen := make(map[string]struct{})
	// A field is found again and again where hashes are crowded. When that was too often, the others are taken in a row.
	tries := 10*n + 1000
	take := func(field, value []byte) bool {
		if _, again := seen[string(field)]; again {
			tries--
			return true
		}
		seen[string(field)] = struct{}{}
		fn(field, value)
		return tries < 0 && int64(len(seen)) < n
	}
	for int64(len(seen)) < n {
		before := len(seen)
		err := h.walk(rand.Uint32(), take)
		if err == nil && len(seen) == before {
			err = h.walk(0, take)
		}
		if err == nil && len(seen) == before {
			err = fmt.Errorf("%w: a hash with fewer fields than it says", engine.ErrCorrupt)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
