package config

import (
	"strings"

	"github.com/cairndb/cairn/server/resp"
)

const errQuotes = message("Unbalanced quotes in configuration line")

// splitLine divides a line into words, which may be quoted.
func splitLine(line string) ([]string, error) {
	parts, ok := resp.SplitArgs([]byte(line))
	if !ok {
		return nil, errQuotes
	}
	words := make([]string, len(parts))
	for i, p := range parts {
		words[i] = string(p)
	}
	return words, nil
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
