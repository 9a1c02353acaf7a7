package types

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cairndb/cairn/engine"
)

// Cursors of HSCAN, SSCAN and ZSCAN are stateless: in the sub-keys of a spread collection, elements are ordered by their hash, and a cursor is the upper
// cursorBits of one, which a client may keep in a signed integer. What lies there is a bucket, which is returned whole. So an element that is
// there all the time is returned, whatever happens to others; none comes twice but by a change of its own.
const cursorBits = 31

// scanBuckets calls fn for the elements under prefix hash(4) element from a cursor on, until there were count and a bucket has ended.
// It returns the next cursor, 0 at the end.
func scanBuckets(t *engine.Txn, slot uint16, id uint64, prefix []byte, cursor uint64, count int, fn func(element, value []byte) error) (next uint64, err error) {
	if cursor >= 1<<cursorBits {
		return 0, nil
	}
	const shift = 32 - cursorBits
	r := engine.SubRange{From: binary.BigEndian.AppendUint32(slices.Clone(prefix), uint32(cursor<<shift)), To: prefixEnd(prefix)}
	behind := len(prefix) + 4
	n, bucket := 0, cursor
	var failed error
	err = t.WalkSub(slot, id, r, false, func(sub, value []byte) bool {
		if len(sub) < behind {
			failed = fmt.Errorf("%w: an element of a collection", engine.ErrCorrupt)
			return false
		}
		if at := uint64(binary.BigEndian.Uint32(sub[len(prefix):]) >> shift); at != bucket {
			if n >= count {
				next = at
				return false
			}
			bucket = at
		}
		n++
		failed = fn(sub[behind:], value)
		return failed == nil
	})
	if err == nil {
		err = failed
	}
	return next, err
}

// prefixEnd is the exclusive upper bound of what begins with prefix, nil for none.
func prefixEnd(prefix []byte) []byte {
	if len(prefix) == 0 {
		return nil
	}
	end := slices.Clone(prefix)
	end[len(end)-1]++
	return end
}
