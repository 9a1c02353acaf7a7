// Package command is the command table and one file a command family: handlers
// parse arguments, call engine/types on a transaction, and write the reply.
package command

import (
	"time"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/engine/types"
)

// Flags say how a command is dispatched; their names are Redis's where Redis has them.
type Flags uint32

// Command flags. The second group is Cairn's own and is not shown by COMMAND.
const (
	Write Flags = 1 << iota
	ReadOnly
	DenyOOM
	Admin
	Fast
	NoAuth
	NoScript
	Blocking
	Loading
	Stale
	NoMulti
	AllowBusy
	NoAsyncLoading
	SkipMonitor
	SkipSlowlog
	Asking
	MayReplicate
	MovableKeys
	NoMandatoryKeys
	Sentinel
	Pubsub

	// World takes the world lock (FLUSHALL, SWAPDB).
	World
	// Slow runs on a worker, never on the event loop (KEYS, SAVE, DEBUG SLEEP).
	Slow
	// Unlocked takes no transaction: connection and server commands.
	Unlocked
	// Settled runs when everything before it is committed.
	Settled
	// Quiet makes no key ready that others wait for, although it writes.
	Quiet
	// Keeps reads, but is run as a write where writes are taken, so that it can store what it has found out (PFCOUNT).
	Keeps
	// Streams writes its reply in order, by one walk over a large value: see Ctx.inPieces.
	Streams
	// OwnLocks is given an idle transaction, takes its locks and commits by itself (MIGRATE). It is Slow.
	OwnLocks
)

// KeySpec says where a command's keys are, in the terms of COMMAND's key specifications.
type KeySpec struct {
	Flags []string // "RW", "ACCESS", "UPDATE", …
	Notes string
	// BeginIndex > 0, or BeginKeyword with its StartFrom.
	BeginIndex   int
	BeginKeyword string
	StartFrom    int
	// Range: LastKey (relative, -1 the last), Step, Limit. KeyNum: when KeyNumIdx/FirstKey are used instead.
	LastKey, Step, Limit int
	ByKeyNum             bool
	KeyNumIdx, FirstKey  int
}

// Arg describes an argument for COMMAND DOCS.
type Arg struct {
	Name, Type, Token, Summary, Since, Display string
	KeySpec                                    int // index; 0 counts only when Type is "key"
	Optional, Multiple, MultipleToken          bool
	Args                                       []Arg
}

// Command is one row of the table.
type Command struct {
	Name       string // lower case; "config|get" for a subcommand
	Arity      int    // as Redis: negative means at least
	Flags      Flags
	Keys       []KeySpec
	Categories []string // ACL categories without '@'
	Since      string
	Complexity string
	Group      string
	Summary    string // our own words
	Args       []Arg
	Tips       []string
	History    [][2]string
	// SysCmd says that it is for whoever debugs the server.
	SysCmd bool
	// DeprecatedSince is set for a deprecated command, with what takes its place.
	DeprecatedSince, ReplacedBy string
	Sub                         []*Command
	Run                         func(c *Ctx)
	// GetKeys overrides Keys for commands whose keys cannot be declared.
	GetKeys func(args [][]byte) (idx []int, err error)
	// Long says whether a request takes long on the large collection that rec heads, so that it must not run on the event loop. Where it is nil,
	// those of commands with the flag Fast do not, and others do; but of a request with several keys only a row with Long is asked, about each.
	Long func(args [][]byte, rec engine.Record) bool
	// Undeclared says whether a request reads keys that nothing tells of: then it needs all there are.
	Undeclared func(args [][]byte) bool
	// KeyFlags are the flags of the keys of one request, for rows whose key specification says variable_flags.
	KeyFlags func(args [][]byte) []string

	subs map[string]*Command // Sub by the name behind "|"

	index int // in Stats.calls
}

// TakesLong says whether a request takes long, given the record of a key whose value is large.
func (c *Command) TakesLong(args [][]byte, rec engine.Record) bool {
	if rec.Type == keys.TypeString {
		return true
	}
	if c.Long != nil {
		return c.Long(args, rec)
	}
	return c.Flags&Fast == 0
}

// countLong is Long for rows whose argument at i, if there is one, says how many elements are wanted.
func countLong(i int) func(args [][]byte, _ engine.Record) bool {
	return func(args [][]byte, _ engine.Record) bool {
		if i >= len(args) {
			return false
		}
		n, ok := types.ParseInt(args[i])
		return !ok || n < -fewElements || n > fewElements
	}
}

// scanLong is Long for HSCAN and its like: COUNT says about how many elements are looked at.
func scanLong(args [][]byte, rec engine.Record) bool {
	for i := 3; i < len(args); i++ {
		if equalFold(args[i], "count") {
			return countLong(i+1)(args, rec)
		}
	}
	return false
}

// Ctx is what a handler gets: valid during the call only.
type Ctx struct {
	*Session
	Node *Node
	Cmd  *Command
	Args [][]byte // Args[0] is the name as sent
	Txn  *engine.Txn

	nested bool // inside EXEC, where nothing waits
	// Pieces, if it is set, has what is written from now on sent in pieces.
	Pieces func()
	// Away is how long the command has waited for its client to take a part of the reply, not 0 if a part has been sent.
	Away time.Duration
	// Torn is the error that a command met when a part of its reply had been sent.
	Torn error
}

// inPieces lets the rest of the reply be sent while it is written. Its header stands; what follows comes, in order, from the transaction's next walk, and
// nothing else is read any more.
func (c *Ctx) inPieces() {
	if c.Pieces != nil {
		c.Pieces()
	}
}

// InExec says whether an Unlocked command runs inside EXEC.
func (c *Ctx) InExec() bool { return c.Txn != nil }
