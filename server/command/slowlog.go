package command

import (
	"fmt"
	"sync"
	"time"
)

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
	}
	return false
}
