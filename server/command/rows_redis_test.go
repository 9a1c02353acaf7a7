package command

import (
	"slices"
	"strings"
	"testing"

	"github.com/cairndb/cairn/tools/testnode"
	"github.com/cairndb/cairn/tools/wire"
)

// ownDocs are the groups whose arguments are described in Redis 7.2's words, which 7.0 does not have yet.
var ownDocs = []string{"connection", "server", "cluster", "transactions"}

// laterDocs are commands whose arguments are described as in 7.2, or in a release after it.
var laterDocs = []string{"hscan", "sort", "sort_ro"}

// laterRows are commands that Redis 7.2 describes otherwise than 7.0.
var laterRows = []string{"zrank", "zrevrank"}

// TestRowsAreRedis compares what COMMAND INFO and COMMAND DOCS say of every command with the real ones. Summaries
// and complexities are our own; what Redis 7.0 does not know is left out.
func TestRowsAreRedis(t *testing.T) {
	t.Parallel()
	redis := testnode.StartRedis(t)
	theirs, err := redis.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	ours := connect(t, startNode(t))
	for _, hello := range []string{"2", "3"} {
		ours.do("HELLO", hello)
		if _, err := theirs.Must("HELLO", hello); err != nil {
			t.Fatal(err)
		}
		compare := func(cmd *Command) {
			for _, what := range []string{"INFO", "DOCS"} {
				if what == "DOCS" && (slices.Contains(ownDocs, cmd.Group) || slices.Contains(laterDocs, cmd.Name)) || slices.Contains(laterRows, cmd.Name) {
					continue
				}
				want, err := theirs.Must("COMMAND", what, cmd.Name)
				if err != nil {
					t.Fatal(err)
				}
				got := normalRow(what, ours.do("COMMAND", what, cmd.Name)).String()
				if want := normalRow(what, want).String(); got != want && isKnown(want) {
					t.Errorf("COMMAND %s %s:\n got %s\nwant %s", what, cmd.Name, got, want)
				}
			}
		}
		All(func(cmd *Command) {
			compare(cmd)
			for _, sub := range cmd.Sub {
				compare(sub)
			}
		})
	}
}

// isKnown says whether Redis knows the command at all.
func isKnown(reply string) bool {
	return reply != "*[$null]" && reply != "*[_null]" && reply != "*[]" && reply != "%[]"
}

// normalRow takes out of a reply what may differ: subcommands, which are compared one by one, the order of what has
// none, and texts of our own.
func normalRow(what string, v wire.Value) wire.Value {
	if what == "INFO" && len(v.Elems) == 1 && len(v.Elems[0].Elems) == 10 {
		row := v.Elems[0].Elems
		if len(row[9].Elems) > 0 {
			row = row[:9]
		}
		for _, i := range []int{2, 6} { // flags and ACL categories
			row[i] = row[i].Sorted()
		}
		v.Elems[0].Elems = row
	}
	if what == "DOCS" && len(v.Elems) == 2 {
		v.Elems[1] = withoutKeys(v.Elems[1], "summary", "complexity", "subcommands")
	}
	return v
}

// withoutKeys drops pairs from a map, or from an array that stands for one.
func withoutKeys(v wire.Value, names ...string) wire.Value {
	var kept []wire.Value
	for i := 0; i+1 < len(v.Elems); i += 2 {
		if !strings.Contains(" "+strings.Join(names, " ")+" ", " "+v.Elems[i].Text+" ") {
			kept = append(kept, v.Elems[i], v.Elems[i+1])
		}
	}
	v.Elems = kept
	return v
}
