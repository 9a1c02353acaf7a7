package main

import (
	"strings"

	"github.com/cairndb/cairn/tools/wire"
)

// intended is a difference from Debian's Redis 7.0 that Cairn has on purpose.
// docs/differences.md is generated from this list.
type intended struct {
	Name, What, Why string
	// match reports whether the replies differ in this way. It is nil where the
	// tester does not look (see rules).
	match func(args []string, redis, cairn wire.Value) bool
}

var intendedDifferences = []intended{
	{
		Name: "commands of 7.2",
		What: "`CLIENT SETINFO`, `CLIENT NO-TOUCH` and what else Redis 7.2 added are served; Redis 7.0 reports unknown subcommands.",
		Why:  "Cairn follows Redis 7.2, the last release under a free licence; 7.0 is what Debian ships for comparison.",
		match: func(args []string, redis, _ wire.Value) bool {
			return redis.IsError() && is(args, "client", "setinfo", "no-touch")
		},
	},
	{
		Name: "versions",
		What: "`INFO` and `HELLO` report `redis_version` 7.2.4 beside `cairn_version`; `COMMAND COUNT` and `COMMAND LIST` hold the commands that are served.",
		Why:  "Clients choose their commands by the version; an honest list keeps them from calling what is not there.",
	},
	{
		Name: "descriptions",
		What: "`COMMAND DOCS`, the `HELP` subcommands, `MEMORY DOCTOR` and `LOLWUT` say the same in other words.",
		Why:  "The texts are Cairn's own; names, arguments and their structure are compared exactly.",
	},
	{
		Name: "order",
		What: "`SCAN` and `KEYS` return keys in another order, `SCAN` with other cursors.",
		Why:  "Redis's order is that of its hash table; Cairn's that of its store. Redis promises neither.",
	},
	{
		Name: "sizes and idle times",
		What: "`MEMORY USAGE` gives the bytes stored for a key; `OBJECT IDLETIME` and `FREQ` are kept only in memory.",
		Why:  "Data is on disk: there is no object in memory to measure, and a clock write for each read would cost more than the read.",
	},
}

// isIntended reports whether the difference stands in the list.
func isIntended(args []string, redis, cairn wire.Value) bool {
	for _, d := range intendedDifferences {
		if d.match != nil && d.match(args, redis, cairn) {
			return true
		}
	}
	return false
}

// is reports whether args call the command, with one of the subcommands if any are given.
func is(args []string, name string, subcommands ...string) bool {
	if !strings.EqualFold(args[0], name) {
		return false
	}
	for _, s := range subcommands {
		if len(args) > 1 && strings.EqualFold(args[1], s) {
			return true
		}
	}
	return len(subcommands) == 0
}
