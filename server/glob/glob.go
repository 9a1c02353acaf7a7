// Package glob matches names against Redis's glob patterns.
package glob

// Match reports whether name matches pattern as Redis's stringmatchlen does: * any run, ? any byte,
// [abc] [a-z] [^a-z] classes, \ before a literal. With fold, letters match in either case.
//
// Its time is bounded by the product of the lengths: since everything between two stars
// is matched at its first place, only the last * is ever retried.
//
// An empty name matches the empty pattern only, not even stars: so does Redis, and its callers look for "*" themselves (MatchAll).
func Match(pattern, name []byte, fold bool) bool {
	if len(name) == 0 {
		return len(pattern) == 0
	}
	star, mark := -1, 0 // where to go on when what follows the last * does not match
	p, i := 0, 0
	for i < len(name) {
		if p < len(pattern) && pattern[p] == '*' {
			p++
			star, mark = p, i
			continue
		}
		if p < len(pattern) {
			if next, ok := matchByte(pattern, p, name[i], fold); ok {
				p, i = next, i+1
				continue
			}
		}
		if star < 0 {
			return false
		}
		mark++
		p, i = star, mark
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// MatchAll reports whether the pattern matches every name.
func MatchAll(pattern []byte) bool { return len(pattern) == 1 && pattern[0] == '*' }

// matchByte matches b with the element of the pattern at p and returns where the next element begins.
func matchByte(pattern []byte, p int, b byte, fold bool) (next int, ok bool) {
	switch pattern[p] {
	case '?':
		return p + 1, true
	case '[':
		return matchClass(pattern, p+1, b, fold)
	case '\\':
		if p+1 < len(pattern) {
			p++
		}
	}
	return p + 1, lower(pattern[p], fold) == lower(b, fold)
}

// matchClass matches b with a class whose content begins at p. A class that is not closed ends with the pattern.
func matchClass(pattern []byte, p int, b byte, fold bool) (next int, ok bool) {
	not := p < len(pattern) && pattern[p] == '^'
	if not {
		p++
	}
	b = lower(b, fold)
	for ; p < len(pattern) && pattern[p] != ']'; p++ {
		switch {
		case pattern[p] == '\\' && p+1 < len(pattern):
			p++
			ok = ok || lower(pattern[p], fold) == b
		case p+2 < len(pattern) && pattern[p+1] == '-':
			low, high := pattern[p], pattern[p+2]
			if low > high {
				low, high = high, low
			}
			ok = ok || (lower(low, fold) <= b && b <= lower(high, fold))
			p += 2
		default:
			ok = ok || lower(pattern[p], fold) == b
		}
	}
	return min(p+1, len(pattern)), ok != not
}

func lower(b byte, fold bool) byte {
	if fold && b >= 'A' && b <= 'Z' {
		return b | 0x20
	}
	return b
}
