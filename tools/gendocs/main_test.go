package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/cairndb/cairn/server/command"
	"github.com/cairndb/cairn/tools/difftest/differences"
)

func TestDocsAreUpToDate(t *testing.T) {
	for path, page := range pages {
		have, err := os.ReadFile("../../" + path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(have, page()) {
			t.Errorf("%s is stale: run `go run ./tools/gendocs`", path)
		}
	}
}

// TestDifferencesConcernCommands: a command that a difference names is in the table.
func TestDifferencesConcernCommands(t *testing.T) {
	there := make(map[string]bool)
	command.All(func(c *command.Command) {
		there[c.Name] = true
		for _, s := range c.Sub {
			container, sub, _ := strings.Cut(s.Name, "|")
			there[s.Name], there[container+"|*"], there["*|"+sub] = true, true, true
		}
	})
	for _, d := range differences.All {
		for _, name := range strings.Fields(d.Commands) {
			if !there[name] {
				t.Errorf("%s: there is no command %s", d.Name, name)
			}
		}
	}
}
