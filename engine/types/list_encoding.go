package types

import (
	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
)

// ListEncoding is what OBJECT ENCODING says about a list's record.
func ListEncoding(rec engine.Record) string {
	var s listState
	if rec.Encoding == keys.EncodingSpread && s.decode(rec.Value, rec.Count) == nil && s.quick {
		return "quicklist"
	}
	return "listpack"
}

// The limits below are those of list-max-listpack-size (Redis 7.2, t_list.c and quicklist.c): a list becomes a quicklist when it would not fit into one
// listpack any more, and a listpack again when it has shrunk to half of that.

// listpackSizes are the greatest sizes in bytes that the values -1 to -5 stand for.
var listpackSizes = [...]uint64{4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10}

const (
	// listpackSafe is the greatest size where the directive counts elements.
	listpackSafe = 8 << 10
	// listpackOverhead is what a listpack takes beside its elements.
	listpackOverhead = 7
)

// listpackLimits returns the greatest size and number of elements; 0 stands for no limit.
func listpackLimits(p *engine.Packing) (size uint64, count int64) {
	if p.ListSize < 0 {
		return listpackSizes[min(-(p.ListSize+1), len(listpackSizes)-1)], 0
	}
	return 0, int64(max(p.ListSize, 1))
}

// exceedsListpack says whether count elements that take so many bytes would exceed the limits with others.
func exceedsListpack(p *engine.Packing, bytes uint64, count int64, others [][]byte) bool {
	bytes += listpackOverhead
	for _, e := range others {
		bytes += uint64(len(e))
	}
	maxBytes, maxCount := listpackLimits(p)
	if maxCount > 0 {
		return bytes > listpackSafe || count+int64(len(others)) > maxCount
	}
	return bytes > maxBytes
}

// saveShrunk saves the list after something has gone from it.
func (l *List) saveShrunk() error {
	if l.quick {
		maxBytes, maxCount := listpackLimits(l.txn.Packing())
		fits := l.listpack+listpackOverhead <= maxBytes/2
		if maxCount > 0 {
			fits = l.Len() <= maxCount/2
		}
		l.quick = !fits
	}
	return l.save()
}

// packList packs elements as entries, one after the other.
func packList(elements [][]byte) []byte {
	size := 0
	for _, e := range elements {
		size += entryLen(len(e))
	}
	b := make([]byte, 0, size)
	for _, e := range elements {
		b = appendEntry(b, e)
	}
	return b
}

// unpackList returns the elements, which are parts of b, with room for one more.
func unpackList(b []byte) ([][]byte, error) {
	n := 0
	for rest, err := b, error(nil); len(rest) > 0; n++ {
		if _, rest, err = takeEntry(rest); err != nil {
			return nil, err
		}
	}
	if n == 0 {
		return nil, errPacked
	}
	elements := make([][]byte, 0, n+1)
	for len(b) > 0 {
		var e []byte
		e, b, _ = takeEntry(b)
		elements = append(elements, e)
	}
	return elements, nil
}
