package command

import (
	"errors"
	"strings"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/engine/rdb"
	"github.com/cairndb/cairn/engine/types"
	"github.com/cairndb/cairn/replication"
	"github.com/cairndb/cairn/server/resp"
)

// Key addresses args[i] in the session's database.
func (c *Ctx) Key(i int) engine.Key { return c.key(c.Args[i]) }

func (c *Ctx) key(name []byte) engine.Key {
	return engine.Key{Slot: keys.Slot(name), DB: c.Node.Store.DB(c.DB), Name: name}
}

// Fail writes err as a RESP error (engine.ErrReadOnly → MISCONF, types.ErrWrongType → WRONGTYPE, …). When a part of the reply has been sent, it can't be told
// any more: the connection ends.
func (c *Ctx) Fail(err error) {
	if c.Away > 0 {
		c.Torn = err
		return
	}
	c.Out.Error(ErrorText(err))
}

// ErrorText is the RESP error that tells a client about err.
func ErrorText(err error) string {
	for _, e := range errorTexts {
		if errors.Is(err, e.err) {
			return e.text
		}
	}
	switch {
	case errors.Is(err, engine.ErrReadOnly):
		return resp.ErrNotWritten + cause(err, engine.ErrReadOnly)
	case errors.Is(err, engine.ErrUncertain):
		return resp.ErrMayStand + err.Error()
	}
	return "ERR " + err.Error()
}

// cause is err's text without that of what, which the reply says in its own words, and without the package's name.
func cause(err, what error) string {
	text := strings.TrimPrefix(err.Error(), what.Error()+": ")
	return strings.TrimPrefix(text, "engine: ")
}

var errorTexts = []struct {
	err  error
	text string
}{
	{types.ErrWrongType, resp.ErrWrongType},
	{types.ErrNotInteger, resp.ErrNotInt},
	{types.ErrNotFloat, resp.ErrNotFloat},
	{types.ErrOverflow, resp.ErrOverflow},
	{types.ErrNaN, resp.ErrNaN},
	{types.ErrScoreNaN, resp.ErrScoreNaN},
	{types.ErrNoKey, resp.ErrNoKey},
	{types.ErrTooLong, resp.ErrTooLong},
	{types.ErrIDTooSmall, resp.ErrIDTooSmall},
	{types.ErrIDsExhausted, resp.ErrIDsUsed},
	{types.ErrGroupExists, resp.ErrBusyGroup},
	{engine.ErrElement, resp.ErrElement},
	{types.ErrNotHLL, resp.ErrNotHLL},
	{types.ErrHLL, resp.ErrHLL},
	{engine.ErrTooLarge, resp.ErrTooLarge},
	{engine.ErrReplica, resp.ErrReadOnly},
	{rdb.ErrChecksum, resp.ErrDumpSum},
	{rdb.ErrFormat, resp.ErrDumpFormat},
	{rdb.ErrTooLarge, resp.ErrDumpTooLarge},
	{replication.ErrClosed, resp.ErrLoading},
}

// is reports whether args[i] is the word lower, in any letter case.
func (c *Ctx) is(i int, lower string) bool { return equalFold(c.Args[i], lower) }

func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i := range b {
		x := b[i]
		if x >= 'A' && x <= 'Z' {
			x |= 0x20
		}
		if x != lower[i] {
			return false
		}
	}
	return true
}

// int parses args[i], or answers that it is no integer.
func (c *Ctx) int(i int) (int64, bool) {
	n, ok := types.ParseInt(c.Args[i])
	if !ok {
		c.Out.Error(resp.ErrNotInt)
	}
	return n, ok
}

func (c *Ctx) syntaxError() { c.Out.Error(resp.ErrSyntax) }

func (c *Ctx) wrongArity() {
	c.Out.Error("ERR wrong number of arguments for '" + c.Cmd.Name + "' command")
}

// bool01 writes 1 or 0.
func (c *Ctx) bool01(b bool) {
	if b {
		c.Out.Int(1)
	} else {
		c.Out.Int(0)
	}
}

// help answers the HELP subcommand of a container command in the form redis-cli shows.
func (c *Ctx) help(container string, lines ...string) {
	c.Out.Array(len(lines) + 3)
	c.Out.Simple(container + " <subcommand> [<arg> [value] [opt] ...]. Subcommands are:")
	for _, line := range lines {
		c.Out.Simple(line)
	}
	c.Out.Simple("HELP")
	c.Out.Simple("    Prints this help.")
}

// maxString is the longest string that a command may build, in bytes.
func (c *Ctx) maxString() int64 { return c.Node.Config.ProtoMaxBulkLen() }
