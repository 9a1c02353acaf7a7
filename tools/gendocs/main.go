// Gendocs writes docs/commands.md from the command table, and docs/differences.md from the list that the differential tester reads:
// go run ./tools/gendocs
package main

import (
	"bytes"
	"cmp"
	"fmt"
	"log"
	"os"
	"slices"
	"strings"

	"github.com/cairndb/cairn/server/command"
	"github.com/cairndb/cairn/tools/difftest/differences"
)

// pages are what is written, by their paths.
var pages = map[string]func() []byte{
	"docs/commands.md":    render,
	"docs/differences.md": func() []byte { return []byte(differences.Document()) },
}

func main() {
	for path, page := range pages {
		if err := os.WriteFile(path, page(), 0o644); err != nil {
			log.Fatal(err)
		}
	}
}

const intro = `# Commands

Made from the command table by ` + "`go run ./tools/gendocs`" + `; do not edit. *Served* says whether a command does what it does in Redis 7.2,
or which of the [differences](differences.md) concern it; what Redis 7.2 does not have is served as in the later version that
*since*, the version of Redis in which a command appeared, tells. What is not served stands [at the end](#not-served).
`

// groups are the headings, in this order; a group that is not named here comes last.
var groups = []struct{ name, title string }{
	{"string", "Strings"}, {"bitmap", "Bitmaps"}, {"list", "Lists"}, {"hash", "Hashes"}, {"set", "Sets"}, {"sorted-set", "Sorted sets"},
	{"stream", "Streams"}, {"hyperloglog", "HyperLogLog"}, {"geo", "Geo"}, {"generic", "Keys"}, {"transactions", "Transactions"},
	{"connection", "Connection"}, {"server", "Server"}, {"cluster", "Cluster"},
}

func rank(group string) int {
	for i, g := range groups {
		if g.name == group {
			return i
		}
	}
	return len(groups)
}

func title(group string) string {
	if i := rank(group); i < len(groups) {
		return groups[i].title
	}
	return group
}

func render() []byte {
	var rows []*command.Command
	command.All(func(c *command.Command) {
		if len(c.Sub) == 0 || c.Run != nil {
			rows = append(rows, c)
		}
		rows = append(rows, c.Sub...)
	})
	slices.SortStableFunc(rows, func(a, b *command.Command) int {
		return cmp.Or(rank(a.Group)-rank(b.Group), strings.Compare(a.Group, b.Group), strings.Compare(a.Name, b.Name))
	})
	var out bytes.Buffer
	out.WriteString(intro)
	group := ""
	for _, c := range rows {
		if c.Group != group {
			group = c.Group
			fmt.Fprintf(&out, "\n## %s\n\n| command | what it does | cost | since | served |\n|---|---|---|---|---|\n", title(group))
		}
		fmt.Fprintf(&out, "| `%s` | %s | %s | %s | %s |\n", cell(usage(c)), cell(c.Summary), cell(c.Complexity), c.Since, served(c))
	}
	out.WriteString(missing(rows))
	return out.Bytes()
}

// served says whether a command differs from Redis.
func served(c *command.Command) string {
	if names := differences.Of(c.Name); len(names) > 0 {
		return "differs: " + strings.Join(names, "; ")
	}
	return "as Redis"
}

// missing lists the commands of Redis that have no row, each group of one reason in a line.
func missing(rows []*command.Command) string {
	served := make(map[string]bool)
	for _, c := range rows {
		served[c.Name] = true
		container, _, _ := strings.Cut(c.Name, "|")
		served[container] = true
	}
	var reasons []string
	names := make(map[string][]string)
	eachRedisCommand(func(name string) {
		if served[name] {
			return
		}
		container, _, sub := strings.Cut(name, "|")
		if sub && !served[container] {
			return // its container says it
		}
		reason := cmp.Or(notServed[container], notYet)
		if names[reason] == nil {
			reasons = append(reasons, reason)
		}
		names[reason] = append(names[reason], "`"+strings.ToUpper(strings.ReplaceAll(name, "|", " "))+"`")
	})
	var out strings.Builder
	out.WriteString("\n## Not served\n\nThese commands of Redis 7.2 answer that they are unknown.\n\n| commands | why |\n|---|---|\n")
	for _, reason := range reasons {
		fmt.Fprintf(&out, "| %s | %s |\n", strings.Join(names[reason], " "), reason)
	}
	return out.String()
}

// cell escapes what would end a table's cell.
func cell(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "|", `\|`), "\n", " ")
}

// usage is the command line in the notation of the Redis documentation.
func usage(c *command.Command) string {
	return strings.ToUpper(strings.ReplaceAll(c.Name, "|", " ")) + arguments(c.Args, " ")
}

func arguments(args []command.Arg, between string) string {
	var out strings.Builder
	for i := range args {
		if i > 0 || between == " " {
			out.WriteString(between)
		}
		out.WriteString(argument(&args[i]))
	}
	return out.String()
}

func argument(a *command.Arg) string {
	var s string
	switch a.Type {
	case "pure-token":
		s = cmp.Or(a.Token, `""`)
	case "oneof":
		s = arguments(a.Args, "|")
		if !a.Optional || a.Multiple || a.Token != "" {
			s = "<" + s + ">"
		}
		s = withToken(a.Token, s)
	case "block":
		s = withToken(a.Token, strings.TrimPrefix(arguments(a.Args, " "), " "))
	default:
		s = withToken(a.Token, cmp.Or(a.Display, a.Name))
	}
	if a.Multiple {
		s += " [" + repeated(a, s) + " ...]"
	}
	if a.Optional {
		s = "[" + s + "]"
	}
	return s
}

// repeated is the argument as it stands when it is given again.
func repeated(a *command.Arg, s string) string {
	if a.Token == "" || a.MultipleToken {
		return s
	}
	return strings.TrimPrefix(s, a.Token+" ")
}

func withToken(token, s string) string {
	if token == "" {
		return s
	}
	return token + " " + s
}
