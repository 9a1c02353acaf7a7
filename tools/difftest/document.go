package main

import (
	"fmt"
	"strings"
)

// document renders the intended differences as docs/differences.md.
func document() string {
	var b strings.Builder
	b.WriteString(`# Differences from Redis

Cairn answers as Redis 7.2 does. ` + "`tools/difftest`" + ` sends the same random commands to Debian's
redis-server 7.0 and to Cairn and compares the replies byte for byte. Only these differences are
intended; the tester reads the same list (` + "`tools/difftest/differences.go`" + `, from which
` + "`go test ./tools/difftest -rewrite`" + ` writes this page).

| | difference | reason |
|---|---|---|
`)
	for _, d := range intendedDifferences {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", d.Name, d.What, d.Why)
	}
	return b.String()
}
