package rdb

// LZF, the compression of RDB strings (liblzf's lzf_d.c), is a sequence of
//
//	000LLLLL                     L+1 literal bytes follow
//	LLLooooo oooooooo            L+2 bytes from o+1 back, for L from 1 to 6
//	111ooooo LLLLLLLL oooooooo   L+9 bytes from o+1 back
//
// A run may overlap what it produces.
const (
	lzfLiteral = 1 << 5
	lzfLong    = 7
	// lzfRatio bounds what a byte can expand to: 3 bytes give at most 264.
	lzfRatio = 88
)

// decompress expands p to exactly size bytes.
func decompress(p []byte, size uint64) ([]byte, error) {
	if size == 0 || size > uint64(len(p))*lzfRatio {
		return nil, ErrFormat
	}
	out := make([]byte, 0, size)
	for len(p) > 0 {
		ctrl := int(p[0])
		p = p[1:]
		if ctrl < lzfLiteral {
			n := ctrl + 1
			if n > len(p) || len(out)+n > int(size) {
				return nil, ErrFormat
			}
			out, p = append(out, p[:n]...), p[n:]
			continue
		}
		n, back := ctrl>>5, (ctrl&0x1f)<<8
		if n == lzfLong && len(p) > 0 {
			n, p = n+int(p[0]), p[1:]
		}
		if len(p) == 0 {
			return nil, ErrFormat
		}
		from := len(out) - (back + int(p[0]) + 1)
		n, p = n+2, p[1:]
		if from < 0 || len(out)+n > int(size) {
			return nil, ErrFormat
		}
		for i := range n {
			out = append(out, out[from+i])
		}
	}
	if len(out) != int(size) {
		return nil, ErrFormat
	}
	return out, nil
}
