package resp

import "bytes"

// inline reads a request that is one line of words; nil args and ok for an empty line.
func (r *Reader) inline() (args [][]byte, ok bool, err error) {
	i := bytes.IndexByte(r.buf[r.pos+r.scanned:r.end], '\n')
	if i < 0 {
		if r.end-r.pos > maxLine {
			return nil, false, ProtocolError("too big inline request")
		}
		r.scanned = r.end - r.pos
		return nil, false, nil
	}
	line := r.buf[r.pos : r.pos+r.scanned+i]
	r.pos += len(line) + 1
	r.scanned = 0
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	if cap(r.scratch) < len(line) {
		r.scratch = make([]byte, 0, len(line)) // never grows below: words alias it
	}
	r.args, ok = splitArgs(r.args[:0], r.scratch[:0], line)
	if !ok {
		return nil, false, ProtocolError("unbalanced quotes in request")
	}
	r.last, r.start = r.start, r.pos
	return r.args, true, nil
}

// SplitArgs splits a line into words as Redis's configuration file and inline
// requests do (sdssplitargs): "…" with \n \r \t \b \a \\ \" and \xhh, '…' with \'. ok is false for unbalanced quotes.
func SplitArgs(line []byte) (words [][]byte, ok bool) {
	return splitArgs(nil, make([]byte, 0, len(line)), line)
}

// splitArgs appends the words to dst and their bytes to text, which has room for len(line).
func splitArgs(dst [][]byte, text, line []byte) (words [][]byte, ok bool) {
	if i := bytes.IndexByte(line, 0); i >= 0 {
		line = line[:i] // a C string ends here
	}
	for {
		for len(line) > 0 && isSpace(line[0]) {
			line = line[1:]
		}
		if len(line) == 0 {
			return dst, true
		}
		from := len(text)
		text, line, ok = appendWord(text, line)
		if !ok {
			return dst, false
		}
		dst = append(dst, text[from:len(text):len(text)])
	}
}

// appendWord appends the first word of line to text, unquoted, and returns the rest of the line.
func appendWord(text, line []byte) (_, rest []byte, ok bool) {
	for len(line) > 0 {
		switch c := line[0]; {
		case isSpace(c):
			return text, line, true
		case c == '"':
			return appendQuoted(text, line[1:])
		case c == '\'':
			return appendSingleQuoted(text, line[1:])
		default:
			text = append(text, c)
			line = line[1:]
		}
	}
	return text, nil, true
}

func appendQuoted(text, line []byte) (_, rest []byte, ok bool) {
	for len(line) > 0 {
		switch {
		case len(line) >= 4 && line[0] == '\\' && line[1] == 'x' && isHex(line[2]) && isHex(line[3]):
			text = append(text, unhex(line[2])<<4|unhex(line[3]))
			line = line[4:]
		case len(line) >= 2 && line[0] == '\\':
			text = append(text, unescape(line[1]))
			line = line[2:]
		case line[0] == '"':
			return text, line[1:], atWordEnd(line[1:])
		default:
			text = append(text, line[0])
			line = line[1:]
		}
	}
	return text, nil, false
}

func appendSingleQuoted(text, line []byte) (_, rest []byte, ok bool) {
	for len(line) > 0 {
		switch {
		case len(line) >= 2 && line[0] == '\\' && line[1] == '\'':
			text = append(text, '\'')
			line = line[2:]
		case line[0] == '\'':
			return text, line[1:], atWordEnd(line[1:])
		default:
			text = append(text, line[0])
			line = line[1:]
		}
	}
	return text, nil, false
}

// atWordEnd: a closing quote must be followed by a space or nothing.
func atWordEnd(rest []byte) bool { return len(rest) == 0 || isSpace(rest[0]) }

func unescape(c byte) byte {
	switch c {
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'b':
		return '\b'
	case 'a':
		return '\a'
	}
	return c
}

func isSpace(c byte) bool { return c == ' ' || (c >= '\t' && c <= '\r') }

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}
