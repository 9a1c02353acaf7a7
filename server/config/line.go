package config

import (
	"strconv"
	"strings"
)

var errQuotes error = message("Unbalanced quotes in configuration line")

// splitLine divides a line into words: separated by white space, with "…" (\n \r \t \b \a \\ \" \xHH inside) and
// '…' (\' inside) around what contains some. It is Redis's sdssplitargs.
func splitLine(line string) ([]string, error) {
	var words []string
	for {
		line = strings.TrimLeft(line, " \t\r\n\v\f\x00")
		if line == "" {
			return words, nil
		}
		word, rest, err := nextWord(line)
		if err != nil {
			return nil, err
		}
		words = append(words, word)
		line = rest
	}
}

// nextWord takes the first word off a line that starts with one. A quote may begin within a word; what follows a
// closing quote must be white space.
func nextWord(line string) (word, rest string, err error) {
	var b strings.Builder
	for i := 0; i < len(line); i++ {
		switch c := line[i]; c {
		case ' ', '\t', '\r', '\n', 0:
			return b.String(), line[i:], nil
		case '"', '\'':
			n, err := quoted(&b, line[i:])
			if err != nil {
				return "", "", err
			}
			i += n
			if i < len(line) && !strings.ContainsRune(" \t\r\n\v\f", rune(line[i])) {
				return "", "", errQuotes
			}
			return b.String(), line[i:], nil
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), "", nil
}

// quoted appends the text of a quoted string to b and returns the length of the string with its quotes.
func quoted(b *strings.Builder, s string) (int, error) {
	quote := s[0]
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == quote:
			return i + 1, nil
		case c != '\\' || i+1 == len(s):
			b.WriteByte(c)
		case quote == '\'':
			if s[i+1] == '\'' {
				i++
			}
			b.WriteByte(s[i])
		default:
			i += escape(b, s[i:])
		}
	}
	return 0, errQuotes
}

// escape appends what the backslash sequence at the start of s stands for; it returns its length less one.
func escape(b *strings.Builder, s string) int {
	if len(s) >= 4 && s[1] == 'x' {
		if n, err := strconv.ParseUint(s[2:4], 16, 8); err == nil {
			b.WriteByte(byte(n))
			return 3
		}
	}
	c := s[1]
	if i := strings.IndexByte("nrtba", c); i >= 0 {
		c = "\n\r\t\b\a"[i]
	}
	b.WriteByte(c)
	return 1
}

// quote writes a value so that splitLine reads it back: bare where that is plain, else in double quotes.
func quote(s string) string {
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"'\\#", r) }) < 0 {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range []byte(s) {
		if i := strings.IndexByte("\n\r\t\b\a\\\"", c); i >= 0 {
			b.WriteByte('\\')
			b.WriteByte(`nrtba\"`[i])
		} else if c < ' ' || c >= 0x7f {
			b.WriteString(`\x`)
			b.WriteByte("0123456789abcdef"[c>>4])
			b.WriteByte("0123456789abcdef"[c&15])
		} else {
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
