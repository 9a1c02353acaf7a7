package differences

import (
	"fmt"
	"strings"
)

// Document renders the intended differences as docs/differences.md.
func Document() string {
	var b strings.Builder
	b.WriteString(`# Differences from Redis

Cairn answers as Redis 7.2 does. ` + "`tools/difftest`" + ` sends the same random commands to Debian's
redis-server 7.0 and to Cairn and compares the replies byte for byte. Only these differences are
intended; the tester reads the same list (` + "`tools/difftest/differences`" + `, from which
` + "`go run ./tools/gendocs`" + ` writes this page). [commands.md](commands.md) says which commands differ
from Redis 7.2 itself.

| | difference | reason |
|---|---|---|
`)
	for _, d := range All {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", d.Name, d.What, d.Why)
	}
	return b.String()
}

// Of returns the names of the differences of a command ("object|encoding" for a subcommand) from Redis 7.2, in the order of All.
func Of(command string) []string {
	container, sub, isSub := strings.Cut(command, "|")
	var names []string
	for _, d := range All {
		for _, c := range strings.Fields(d.Commands) {
			if c == command || isSub && (c == container+"|*" || c == "*|"+sub) {
				names = append(names, d.Name)
			}
		}
	}
	return names
}
