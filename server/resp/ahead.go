package resp

// Ahead appends the second arguments, which usually are keys, of the complete requests that come next, up to max of them. It is a hint: it takes
// nothing out of the Reader, and ends at the first request that is unusual or incomplete. They alias the buffer like those of Next.
func (r *Reader) Ahead(dst [][]byte, max int) [][]byte {
	if r.missing != 0 {
		return dst
	}
	for b := r.buf[r.pos:r.end]; len(dst) < max; {
		second, size := glance(b)
		if size == 0 {
			break
		}
		dst, b = append(dst, second), b[size:]
	}
	return dst
}

// maxGlanced is how many arguments, of at most three digits' length, a request has that is looked at.
const maxGlanced = 9

// glance finds the second argument and the size of a request; 0 if it is incomplete or unusual.
func glance(b []byte) (second []byte, size int) {
	if len(b) < 4 || b[0] != '*' || b[1] < '2' || b[1] > '0'+maxGlanced || b[2] != '\r' {
		return nil, 0
	}
	at := 4
	for i := range int(b[1] - '0') {
		n, header := shortHeader(b[at:])
		at += header
		if header == 0 || len(b)-at < n+2 {
			return nil, 0
		}
		if i == 1 {
			second = b[at : at+n]
		}
		at += n + 2
	}
	return second, at
}
