package command

import (
	"fmt"
	"slices"
	"strings"
)

// table is every command by its lower-case name. It is filled by init and never changes.
var table map[string]*Command

// rowCount is the number of rows, subcommands included.
var rowCount int

// names are the keys of table in alphabetical order: the order of COMMAND, COMMAND DOCS and docs/commands.md.
var names []string

// The rows refer to handlers and some handlers to the table, so the table is
// assembled in init: a package-level initializer would be a cycle.
func init() {
	assemble(
		stringCommands,
		bitmapCommands,
		listCommands,
		blockingCommands,
		hashCommands,
		setCommands,
		geoCommands,
		zsetCommands,
		hllCommands,
		genericCommands,
		sortCommands,
		streamCommands,
		commandCommands,
		connectionCommands,
		clientCommands,
		transactionCommands,
		adminCommands,
		replicationCommands,
		infoCommands,
		memoryCommands,
		slowlogCommands,
		latencyCommands,
		debugCommands,
		configCommands,
		clusterCommands,
	)
}

func assemble(families ...[]*Command) {
	table = make(map[string]*Command)
	for _, family := range families {
		for _, c := range family {
			if table[c.Name] != nil {
				panic(fmt.Sprintf("command %s is declared twice", c.Name))
			}
			c.complete()
			table[c.Name] = c
			names = append(names, c.Name)
		}
	}
	slices.Sort(names)
}

// complete derives from a row what it does not state: the ACL categories that
// follow from its flags, MovableKeys, the place of its counters, and the index of its subcommands.
func (c *Command) complete() {
	c.index = rowCount
	rowCount++
	c.Categories = sortCategories(append(c.Categories, flagCategories(c)...))
	for _, k := range c.Keys {
		if k.ByKeyNum || k.BeginKeyword != "" {
			c.Flags |= MovableKeys
		}
	}
	if c.Sub == nil {
		return
	}
	c.subs = make(map[string]*Command, len(c.Sub))
	for _, s := range c.Sub {
		s.complete()
		_, name, _ := strings.Cut(s.Name, "|")
		c.subs[name] = s
	}
}

// categories is the order in which Redis prints ACL categories.
var categories = []string{"keyspace", "read", "write", "set", "sortedset", "list", "hash", "string",
	"bitmap", "hyperloglog", "geo", "stream", "pubsub", "admin", "fast", "slow", "blocking", "dangerous",
	"connection", "transaction", "scripting"}

// flagCategories are the categories that Redis derives from flags (setImplicitACLCategories).
func flagCategories(c *Command) (cats []string) {
	add := func(on bool, names ...string) {
		if on {
			cats = append(cats, names...)
		}
	}
	add(c.Flags&Write != 0, "write")
	add(c.Flags&ReadOnly != 0 && !slices.Contains(c.Categories, "scripting"), "read")
	add(c.Flags&Admin != 0, "admin", "dangerous")
	add(c.Flags&Pubsub != 0, "pubsub")
	add(c.Flags&Fast != 0, "fast")
	add(c.Flags&Fast == 0, "slow")
	add(c.Flags&Blocking != 0, "blocking")
	return cats
}

func sortCategories(cats []string) []string {
	slices.SortFunc(cats, func(a, b string) int {
		return slices.Index(categories, a) - slices.Index(categories, b)
	})
	return slices.Compact(cats)
}

// All calls fn for every command in alphabetical order; subcommands are reached through Sub.
func All(fn func(*Command)) {
	for _, name := range names {
		fn(table[name])
	}
}
