package types

import (
	"encoding/binary"
	"fmt"

	"github.com/cairndb/cairn/engine"
)

// A packed collection is a sequence of entries, each a length (uvarint, as short as can be) and as many bytes. What the entries mean
// is for the type to say; between them it may put bytes of a length that it knows.

// errPacked: a packed collection that does not decode.
var errPacked = fmt.Errorf("%w: a packed collection", engine.ErrCorrupt)

// appendEntry appends an entry.
func appendEntry(dst, entry []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(entry))), entry...)
}

// entryLen is what appendEntry appends for n bytes.
func entryLen(n int) int {
	if n < 1<<7 {
		return 1 + n
	}
	return len(binary.AppendUvarint(make([]byte, 0, binary.MaxVarintLen64), uint64(n))) + n
}

// takeEntry returns the first entry of p and what follows it, both of them parts of p.
func takeEntry(p []byte) (entry, rest []byte, err error) {
	if len(p) > 0 && p[0] < 1<<7 && int(p[0]) < len(p) { // by far the most frequent
		end := 1 + int(p[0])
		return p[1:end:end], p[end:], nil
	}
	n, w := binary.Uvarint(p)
	if w <= 0 || n > uint64(len(p)-w) || w > 1 && p[w-1] == 0 {
		return nil, nil, errPacked
	}
	end := w + int(n)
	return p[w:end:end], p[end:], nil
}
