package command

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairndb/cairn/engine/types"
	"github.com/cairndb/cairn/server/resp"
)

const adminFlags = Admin | NoScript | Unlocked

// adminCommands are the server's commands that have no file of their own.
var adminCommands = []*Command{
	{Name: "save", Arity: 1, Flags: adminFlags | NoAsyncLoading | NoMulti | Slow, Run: save,
		Group: "server", Since: "1.0.0", Complexity: "O(N) where N is the total number of keys in all databases",
		Summary: "Brings everything to disk and waits for it."},
	{Name: "bgsave", Arity: -1, Flags: adminFlags | NoAsyncLoading, Run: bgsave,
		Group: "server", Since: "1.0.0", Complexity: "O(1)", Summary: "Brings everything to disk in the background.",
		History: [][2]string{{"3.2.2", "Added the `SCHEDULE` option."}},
		Args:    []Arg{tok("schedule", "SCHEDULE").opt().since("3.2.2")}},
	{Name: "bgrewriteaof", Arity: 1, Flags: adminFlags | NoAsyncLoading, Run: bgrewriteaof,
		Group: "server", Since: "1.0.0", Complexity: "O(1)",
		Summary: "Brings everything to disk in the background, so that the log can drop what the store holds."},
	{Name: "lastsave", Arity: 1, Flags: Loading | Stale | Fast | Unlocked, Run: lastsave, Categories: []string{"admin", "dangerous"},
		Group: "server", Since: "1.0.0", Complexity: "O(1)", Tips: []string{"nondeterministic_output"},
		Summary: "Returns when SAVE or BGSAVE last succeeded."},
	{Name: "time", Arity: 1, Flags: Loading | Stale | Fast | Unlocked, Run: clock,
		Group: "server", Since: "2.6.0", Complexity: "O(1)", Tips: []string{"nondeterministic_output"},
		Summary: "Returns the server's time: unix seconds and microseconds."},
	{Name: "shutdown", Arity: -1, Flags: adminFlags | Loading | Stale | NoMulti | AllowBusy | Sentinel, Run: shutdown,
		Group: "server", Since: "1.0.0",
		Complexity: "O(N) when saving, where N is the total number of keys in all databases when saving data, otherwise O(1)",
		Summary:    "Stops the server.",
		History:    [][2]string{{"7.0.0", "Added the `NOW`, `FORCE` and `ABORT` modifiers."}},
		Args: []Arg{
			oneOf("save-selector", tok("nosave", "NOSAVE"), tok("save", "SAVE")).opt(),
			tok("now", "NOW").opt().since("7.0.0"), tok("force", "FORCE").opt().since("7.0.0"), tok("abort", "ABORT").opt().since("7.0.0"),
		}},
	{Name: "lolwut", Arity: -1, Flags: ReadOnly | Fast | Unlocked, Run: lolwut,
		Group: "server", Since: "5.0.0", Summary: "Piles some stones, and tells the version.",
		Args: []Arg{arg("version", "integer").tok("VERSION").opt()}},
}

// Saves runs and remembers SAVE, BGSAVE and BGREWRITEAOF: each is a flush of the store and a sync. At most one of a kind runs.
type Saves struct {
	ctx        context.Context
	background sync.WaitGroup

	save, rewrite saveState
}

// saveState is one kind of save: RDB or AOF in Redis's terms.
type saveState struct {
	started  atomic.Int64 // unix ms, 0 when none runs
	last     atomic.Int64 // unix seconds of the last success
	lastTook atomic.Int64 // seconds, of the last in the background
	failed   atomic.Bool  // the last one
	done     atomic.Uint64
}

var errSaving = errors.New("already in progress")

func newSaves(ctx context.Context, started time.Time) *Saves {
	s := &Saves{ctx: ctx}
	s.save.last.Store(started.Unix())
	s.save.lastTook.Store(-1)
	s.rewrite.lastTook.Store(-1)
	return s
}

// run brings everything to disk, as the save of kind k; only one runs at a time.
func (s *Saves) run(k *saveState, flush func(context.Context) error) error {
	start := time.Now()
	if !k.started.CompareAndSwap(0, start.UnixMilli()) {
		return errSaving
	}
	return s.finish(k, start, flush)
}

func (s *Saves) finish(k *saveState, start time.Time, flush func(context.Context) error) error {
	defer k.started.Store(0)
	err := flush(s.ctx)
	k.failed.Store(err != nil)
	if err == nil {
		k.last.Store(time.Now().Unix())
		k.done.Add(1)
	}
	return err
}

// start is run in the background.
func (s *Saves) start(k *saveState, flush func(context.Context) error) error {
	start := time.Now()
	if !k.started.CompareAndSwap(0, start.UnixMilli()) {
		return errSaving
	}
	s.background.Go(func() {
		s.finish(k, start, flush) // its error is kept for INFO; the store logs the cause
		k.lastTook.Store(int64(time.Since(start).Seconds()))
	})
	return nil
}

func save(c *Ctx) {
	err := c.Node.Saves.run(&c.Node.Saves.save, c.Node.Store.Flush)
	switch {
	case errors.Is(err, errSaving):
		c.Out.Error("ERR Background save already in progress")
	case err != nil:
		c.Fail(err)
	default:
		c.Out.OK()
	}
}

func bgsave(c *Ctx) {
	if len(c.Args) > 2 || len(c.Args) == 2 && !c.is(1, "schedule") {
		c.syntaxError()
		return
	}
	if c.Node.Saves.start(&c.Node.Saves.save, c.Node.Store.Flush) != nil {
		c.Out.Error("ERR Background save already in progress")
		return
	}
	c.Out.Simple("Background saving started")
}

func bgrewriteaof(c *Ctx) {
	if c.Node.Saves.start(&c.Node.Saves.rewrite, c.Node.Store.Flush) != nil {
		c.Out.Error("ERR Background append only file rewriting already in progress")
		return
	}
	c.Out.Simple("Background append only file rewriting started")
}

func lastsave(c *Ctx) { c.Out.Int(c.Node.Saves.save.last.Load()) }

func clock(c *Ctx) {
	now := time.Now()
	c.Out.Array(2)
	c.Out.BulkInt(now.Unix())
	c.Out.BulkInt(int64(now.Nanosecond()) / 1000)
}

// shutdown answers only when it fails: a client sees the connection close. Whatever the modifiers say, everything acknowledged
// stays: NOSAVE waits for nobody and spares the clean close of the store, and the next start replays the log instead. NOW and
// FORCE change nothing: there are no replicas to wait for, and a close that fails prevents no end, since the log holds everything.
func shutdown(c *Ctx) {
	var noSave, save, abort, other bool
	for i := 1; i < len(c.Args); i++ {
		switch {
		case c.is(i, "nosave"):
			noSave = true
		case c.is(i, "save"):
			save = true
		case c.is(i, "now"), c.is(i, "force"):
			other = true
		case c.is(i, "abort"):
			abort = true
		default:
			c.syntaxError()
			return
		}
	}
	switch {
	case abort && (noSave || save || other), noSave && save:
		c.syntaxError()
	case abort:
		c.Out.Error("ERR No shutdown in progress.") // it does not wait for replicas, so none can be caught under way
	default:
		c.Node.Shutdown(!noSave)
	}
}

func lolwut(c *Ctx) {
	if len(c.Args) > 2 && c.is(1, "version") {
		if _, ok := types.ParseInt(c.Args[2]); !ok {
			c.Out.Error(resp.ErrNotInt)
			return
		}
	}
	c.Out.Verbatim("txt", fmt.Sprintf("%s\nCairn ver. %s (Redis ver. %s)\n", cairn(rand.IntN), c.Node.Version, RedisVersion))
}

// cairn draws a pile of stones, each a little narrower than the one beneath, not quite in the middle.
func cairn(random func(int) int) string {
	const base = 25
	var stones []string
	left, width := 4, base
	for width > 3 {
		stones = append(stones, strings.Repeat(" ", left)+"("+strings.Repeat("_", width)+")")
		next := width - 2 - random(5)
		left += 1 + random(max(width-next-1, 1))
		width = next
	}
	var b strings.Builder
	for i := len(stones) - 1; i >= 0; i-- {
		b.WriteString(stones[i])
		b.WriteByte('\n')
	}
	return b.String()
}
