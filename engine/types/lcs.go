package types

import "errors"

// ErrLCSTooLarge: the table of LCS would exceed its limit.
var ErrLCSTooLarge = errors.New("types: the strings are too long to compare")

// Range is a run of bytes, both ends included.
type Range struct{ Start, End int }

// Match is a run of equal bytes in two strings.
type Match struct{ A, B Range }

// Len is the number of bytes that match.
func (m Match) Len() int { return m.A.End - m.A.Start + 1 }

// LCS finds the longest common subsequence of a and b, and the runs that make it up, the last first,
// choosing among equals as Redis's LCS command does. It takes len(a)*len(b) time and memory,
// the latter up to maxBytes.
func LCS(a, b []byte, maxBytes int64) (sequence []byte, matches []Match, err error) {
	width := len(b) + 1
	cells := int64(len(a)+1) * int64(width)
	if cells > maxBytes/4 {
		return nil, nil, ErrLCSTooLarge
	}
	// table[i*width+j] is the length for the prefixes of i and j bytes.
	table := make([]uint32, cells)
	for i := 1; i <= len(a); i++ {
		row, above := table[i*width:(i+1)*width], table[(i-1)*width:i*width]
		for j := 1; j <= len(b); j++ {
			if a[i-1] == b[j-1] {
				row[j] = above[j-1] + 1
			} else {
				row[j] = max(above[j], row[j-1])
			}
		}
	}
	sequence = make([]byte, table[cells-1])
	open := false // whether the last of matches still grows
	for i, j, n := len(a), len(b), len(sequence); i > 0 && j > 0; {
		switch {
		case a[i-1] == b[j-1]:
			i, j, n = i-1, j-1, n-1
			sequence[n] = a[i]
			if open {
				m := &matches[len(matches)-1]
				m.A.Start, m.B.Start = i, j
			} else {
				matches = append(matches, Match{Range{i, i}, Range{j, j}})
				open = true
			}
		case table[(i-1)*width+j] > table[i*width+j-1]:
			i, open = i-1, false
		default:
			j, open = j-1, false
		}
	}
	return sequence, matches, nil
}
