package types

import "math"

// The sizes of elements of a listpack (Redis: listpack.c): the encoded value and, behind it, its length for the way back. Lists and streams are not
// stored so, but OBJECT ENCODING and approximate trimming go by these sizes.

// listpackFrame is what a listpack takes beside its elements.
const listpackFrame = 6 + 1

// listpackInt is what an integer takes.
func listpackInt(v int64) uint64 {
	switch {
	case v >= 0 && v <= 127:
		return 1 + 1
	case v >= -1<<12 && v < 1<<12:
		return 2 + 1
	case v >= math.MinInt16 && v <= math.MaxInt16:
		return 3 + 1
	case v >= -1<<23 && v < 1<<23:
		return 4 + 1
	case v >= math.MinInt32 && v <= math.MaxInt32:
		return 5 + 1
	}
	return 9 + 1
}

// listpackSize is what an element takes, which is encoded as an integer if it can be.
func listpackSize(p []byte) uint64 {
	if v, ok := ParseInt(p); ok {
		return listpackInt(v)
	}
	n := uint64(len(p))
	switch {
	case n < 64:
		n++
	case n < 4096:
		n += 2
	default:
		n += 5
	}
	switch {
	case n <= 127:
		return n + 1
	case n < 1<<14-1:
		return n + 2
	case n < 1<<21-1:
		return n + 3
	case n < 1<<28-1:
		return n + 4
	}
	return n + 5
}
