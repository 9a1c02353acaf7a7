package command

import (
	"fmt"
	"sync"
	"time"

	"github.com/cairndb/cairn/engine/types"
)

var slowlogCommands = []*Command{{
	Name: "slowlog", Arity: -2, Flags: Unlocked, Group: "server", Since: "2.2.12", Complexity: "Depends on subcommand.",
	Summary: "Holds the commands about the slow log.",
	Sub: []*Command{
		{Name: "slowlog|get", Arity: -2, Flags: Admin | Loading | Stale | Unlocked, Run: slowlogGet,
			Group: "server", Since: "2.2.12", Complexity: "O(N) where N is the number of entries returned",
			Summary: "Returns the newest entries of the slow log.", Tips: []string{"request_policy:all_nodes", "nondeterministic_output"},
			History: [][2]string{{"4.0.0", "Added client IP address, port and name to the reply."}},
			Args:    []Arg{arg("count", "integer").opt()}},
		{Name: "slowlog|len", Arity: 2, Flags: Admin | Loading | Stale | Unlocked, Run: slowlogLen,
			Group: "server", Since: "2.2.12", Complexity: "O(1)", Summary: "Returns the number of entries in the slow log.",
			Tips: []string{"request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"}},
		{Name: "slowlog|reset", Arity: 2, Flags: Admin | Loading | Stale | Unlocked, Run: slowlogReset,
			Group: "server", Since: "2.2.12", Complexity: "O(N) where N is the number of entries in the slowlog",
			Summary: "Drops the entries of the slow log.", Tips: []string{"request_policy:all_nodes", "response_policy:all_succeeded"}},
		{Name: "slowlog|help", Arity: 2, Flags: Loading | Stale | Unlocked, Run: slowlogHelp,
			Group: "server", Since: "6.2.0", Complexity: "O(1)", Summary: "Describes the subcommands."},
	},
}}

func slowlogGet(c *Ctx) {
	count := int64(10)
	if len(c.Args) > 3 {
		c.subcommandSyntax("SLOWLOG")
		return
	}
	if len(c.Args) == 3 {
		n, ok := types.ParseInt(c.Args[2])
		if !ok || n < -1 {
			c.Out.Error("ERR count should be greater than or equal to -1")
			return
		}
		count = n
	}
	entries := c.Node.Slowlog.newest(count)
	c.Out.Array(len(entries))
	for _, e := range entries {
		c.Out.Array(6)
		c.Out.Int(e.id)
		c.Out.Int(e.at.Unix())
		c.Out.Int(e.took.Microseconds())
		c.Out.Array(len(e.args))
		for _, a := range e.args {
			c.Out.BulkString(a)
		}
		c.Out.BulkString(e.addr)
		c.Out.BulkString(e.name)
	}
}

// subcommandSyntax is Redis's answer to a subcommand with arguments that its arity allows and its handler does not.
func (c *Ctx) subcommandSyntax(container string) {
	c.Out.Error("ERR unknown subcommand or wrong number of arguments for '" + quote(c.Args[1]) + "'. Try " + container + " HELP.")
}

func slowlogLen(c *Ctx) { c.Out.Int(int64(c.Node.Slowlog.Len())) }

func slowlogReset(c *Ctx) {
	c.Node.Slowlog.Reset()
	c.Out.OK()
}

func slowlogHelp(c *Ctx) {
	c.help("SLOWLOG",
		"GET [<count>]", "    Return top <count> entries from the slowlog (default: 10, -1 mean all).", "    Entries are made of:",
		"    id, timestamp, time in microseconds, arguments array, client IP and port,", "    client name",
		"LEN", "    Return the length of the slowlog.",
		"RESET", "    Reset the slowlog.")
}

// What of a command's arguments the slow log keeps, as in Redis.
const (
	slowlogMaxArgs   = 32
	slowlogMaxString = 128
)

// Slowlog keeps the last commands that took long. The zero value is ready for use.
type Slowlog struct {
	mu      sync.Mutex
	nextID  int64
	entries []slowEntry // newest last
}

type slowEntry struct {
	id         int64
	at         time.Time
	took       time.Duration
	args       []string
	addr, name string
}

func (l *Slowlog) add(c *Ctx, at time.Time, took time.Duration, maxLen int) {
	e := slowEntry{at: at, took: took, args: slowlogArgs(c.Cmd, c.Args), addr: c.Addr, name: c.name()}
	l.mu.Lock()
	defer l.mu.Unlock()
	e.id = l.nextID
	l.nextID++
	l.entries = append(l.entries, e)
	if drop := len(l.entries) - maxLen; drop > 0 {
		n := copy(l.entries, l.entries[drop:])
		clear(l.entries[n:])
		l.entries = l.entries[:n]
	}
}

// slowlogArgs copies the arguments, shortened, without secrets.
func slowlogArgs(cmd *Command, args [][]byte) []string {
	n := min(len(args), slowlogMaxArgs)
	kept := make([]string, n)
	for i := range kept {
		switch {
		case i == slowlogMaxArgs-1 && len(args) > slowlogMaxArgs:
			kept[i] = fmt.Sprintf("... (%d more arguments)", len(args)-slowlogMaxArgs+1)
		case secretArg(cmd, args, i):
			kept[i] = "(redacted)"
		case len(args[i]) > slowlogMaxString:
			kept[i] = fmt.Sprintf("%s... (%d more bytes)", args[i][:slowlogMaxString], len(args[i])-slowlogMaxString)
		default:
			kept[i] = string(args[i])
		}
	}
	return kept
}

// newest returns up to n entries, newest first; all when n is negative.
func (l *Slowlog) newest(n int64) []slowEntry {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n < 0 || n > int64(len(l.entries)) {
		n = int64(len(l.entries))
	}
	out := make([]slowEntry, 0, n)
	for i := len(l.entries) - 1; int64(len(out)) < n; i-- {
		out = append(out, l.entries[i])
	}
	return out
}

// Len is the number of entries.
func (l *Slowlog) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.entries)
}

// Reset drops all entries; IDs go on.
func (l *Slowlog) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = nil
}

// secretArg says whether args[i] holds a password.
func secretArg(cmd *Command, args [][]byte, i int) bool {
	switch cmd.Name {
	case "auth":
		return i > 0
	case "hello":
		return i >= 3 && (equalFold(args[i-1], "auth") || i >= 4 && equalFold(args[i-2], "auth"))
	case "config|set":
		return i >= 3 && (equalFold(args[i-1], "requirepass") || equalFold(args[i-1], "masterauth"))
	case "migrate":
		return i >= 7 && (equalFold(args[i-1], "auth") || equalFold(args[i-1], "auth2") || equalFold(args[i-2], "auth2"))
	}
	return false
}
