package command

import (
	"errors"
	"slices"
	"strings"

	"github.com/cairndb/cairn/server/glob"
)

// flagNames are the flags that COMMAND shows, in Redis's order.
var flagNames = []struct {
	flag Flags
	name string
}{
	{Write, "write"}, {ReadOnly, "readonly"}, {DenyOOM, "denyoom"}, {Admin, "admin"}, {Pubsub, "pubsub"},
	{NoScript, "noscript"}, {Blocking, "blocking"}, {Loading, "loading"}, {Stale, "stale"},
	{SkipMonitor, "skip_monitor"}, {SkipSlowlog, "skip_slowlog"}, {Asking, "asking"}, {Fast, "fast"},
	{NoAuth, "no_auth"}, {MayReplicate, "may_replicate"}, {NoMandatoryKeys, "no_mandatory_keys"},
	{NoAsyncLoading, "no_async_loading"}, {NoMulti, "no_multi"}, {MovableKeys, "movablekeys"}, {AllowBusy, "allow_busy"},
}

// Names are the flags as COMMAND shows them.
func (f Flags) Names() (names []string) {
	for _, n := range flagNames {
		if f&n.flag != 0 {
			names = append(names, n.name)
		}
	}
	return names
}

// legacyRange is the first key, the last one (negative from the end) and the step that COMMAND shows
// beside the key specifications (Redis: populateCommandLegacyRangeSpec).
func (c *Command) legacyRange() (first, last, step int) {
	isRange := func(k KeySpec) bool { return k.BeginIndex > 0 && !k.ByKeyNum }
	if len(c.Keys) == 1 && isRange(c.Keys[0]) {
		k := c.Keys[0]
		return k.BeginIndex, k.lastIndex(), k.Step
	}
	for _, k := range c.Keys {
		if !isRange(k) {
			continue
		}
		if k.Step != 1 || (last != 0 && last != k.BeginIndex-1) {
			return 0, 0, 0
		}
		if first == 0 {
			first = k.BeginIndex
		}
		last, step = k.lastIndex(), 1
	}
	return first, last, step
}

// lastIndex is the index of the last key; negative from the end.
func (k *KeySpec) lastIndex() int {
	if k.LastKey < 0 {
		return k.LastKey
	}
	return k.BeginIndex + k.LastKey
}

// simples writes a set of simple strings, each with a prefix.
func (c *Ctx) simples(prefix string, names []string) {
	c.Out.Set(len(names))
	for _, n := range names {
		c.Out.Simple(prefix + n)
	}
}

// pair writes a key and its text.
func (c *Ctx) pair(key, text string) {
	c.Out.BulkString(key)
	c.Out.BulkString(text)
}

// pairInt writes a key and its number.
func (c *Ctx) pairInt(key string, n int) {
	c.Out.BulkString(key)
	c.Out.Int(int64(n))
}

func commandAll(c *Ctx) {
	c.Out.Array(len(names))
	All(c.commandInfo)
}

func commandInfo(c *Ctx) {
	if len(c.Args) == 2 {
		commandAll(c)
		return
	}
	c.Out.Array(len(c.Args) - 2)
	for _, name := range c.Args[2:] {
		if cmd := lookupFull(name); cmd != nil {
			c.commandInfo(cmd)
		} else {
			c.Out.Null()
		}
	}
}

// lookupFull finds a command by a full name such as "get" or "config|get".
func lookupFull(name []byte) *Command {
	base, sub, isSub := strings.Cut(string(name), "|")
	cmd := find(table, []byte(base))
	if cmd != nil && isSub {
		return find(cmd.subs, []byte(sub))
	}
	return cmd
}

// commandInfo writes one entry of COMMAND.
func (c *Ctx) commandInfo(cmd *Command) {
	first, last, step := cmd.legacyRange()
	c.Out.Array(10)
	c.Out.BulkString(cmd.Name)
	c.Out.Int(int64(cmd.Arity))
	c.simples("", cmd.Flags.Names())
	c.Out.Int(int64(first))
	c.Out.Int(int64(last))
	c.Out.Int(int64(step))
	c.simples("@", cmd.Categories)
	c.Out.Set(len(cmd.Tips))
	for _, tip := range cmd.Tips {
		c.Out.BulkString(tip)
	}
	c.Out.Set(len(cmd.Keys))
	for i := range cmd.Keys {
		c.keySpec(&cmd.Keys[i])
	}
	if len(cmd.Sub) == 0 {
		c.Out.Set(0) // of all things; in Redis, too
		return
	}
	c.Out.Array(len(cmd.Sub))
	for _, sub := range cmd.Sub {
		c.commandInfo(sub)
	}
}

func (c *Ctx) keySpec(k *KeySpec) {
	if k.Notes == "" {
		c.Out.Map(3)
	} else {
		c.Out.Map(4)
		c.pair("notes", k.Notes)
	}
	c.Out.BulkString("flags")
	c.simples("", k.Flags)
	c.Out.BulkString("begin_search")
	if k.BeginIndex == 0 && k.BeginKeyword == "" {
		c.keySpecPart("unknown", 0)
		c.Out.BulkString("find_keys")
		c.keySpecPart("unknown", 0)
		return
	}
	if k.BeginKeyword != "" {
		c.keySpecPart("keyword", 2)
		c.pair("keyword", k.BeginKeyword)
		c.pairInt("startfrom", k.StartFrom)
	} else {
		c.keySpecPart("index", 1)
		c.pairInt("index", k.BeginIndex)
	}
	c.Out.BulkString("find_keys")
	if k.ByKeyNum {
		c.keySpecPart("keynum", 3)
		c.pairInt("keynumidx", k.KeyNumIdx)
		c.pairInt("firstkey", k.FirstKey)
		c.pairInt("keystep", k.Step)
	} else {
		c.keySpecPart("range", 3)
		c.pairInt("lastkey", k.LastKey)
		c.pairInt("keystep", k.Step)
		c.pairInt("limit", k.Limit)
	}
}

// keySpecPart begins the map of a search or find method with n parameters.
func (c *Ctx) keySpecPart(typ string, n int) {
	c.Out.Map(2)
	c.pair("type", typ)
	c.Out.BulkString("spec")
	c.Out.Map(n)
}

func commandCount(c *Ctx) { c.Out.Int(int64(len(names))) }

func commandDocs(c *Ctx) {
	var cmds []*Command
	if len(c.Args) == 2 {
		All(func(cmd *Command) { cmds = append(cmds, cmd) })
	}
	for _, name := range c.Args[2:] {
		if cmd := lookupFull(name); cmd != nil {
			cmds = append(cmds, cmd)
		}
	}
	c.docsMap(cmds)
}

func (c *Ctx) docsMap(cmds []*Command) {
	c.Out.Map(len(cmds))
	for _, cmd := range cmds {
		c.Out.BulkString(cmd.Name)
		c.docs(cmd)
	}
}

// docs writes the map of one command in COMMAND DOCS.
func (c *Ctx) docs(cmd *Command) {
	texts := []docText{{"summary", cmd.Summary}, {"since", cmd.Since}, {"group", cmd.Group}, {"complexity", cmd.Complexity}}
	deprecated := []docText{{"deprecated_since", cmd.DeprecatedSince}, {"replaced_by", cmd.ReplacedBy}}
	n := countTexts(texts) + countTexts(deprecated)
	for _, there := range []bool{cmd.DeprecatedSince != "" || cmd.SysCmd, len(cmd.History) > 0, len(cmd.Args) > 0, len(cmd.Sub) > 0} {
		if there {
			n++
		}
	}
	c.Out.Map(n)
	c.docTexts(texts)
	switch {
	case cmd.DeprecatedSince != "":
		c.Out.BulkString("doc_flags")
		c.simples("", []string{"deprecated"})
	case cmd.SysCmd:
		c.Out.BulkString("doc_flags")
		c.simples("", []string{"syscmd"})
	}
	c.docTexts(deprecated)
	if len(cmd.History) > 0 {
		c.Out.BulkString("history")
		c.Out.Set(len(cmd.History))
		for _, h := range cmd.History {
			c.Out.Array(2)
			c.Out.BulkString(h[0])
			c.Out.BulkString(h[1])
		}
	}
	c.docArgs(cmd.Args)
	if len(cmd.Sub) > 0 {
		c.Out.BulkString("subcommands")
		c.docsMap(cmd.Sub)
	}
}

// docText is a text of COMMAND DOCS that is left out when it is empty.
type docText struct{ key, text string }

func countTexts(texts []docText) (n int) {
	for _, t := range texts {
		if t.text != "" {
			n++
		}
	}
	return n
}

func (c *Ctx) docTexts(texts []docText) {
	for _, t := range texts {
		if t.text != "" {
			c.pair(t.key, t.text)
		}
	}
}

// docArgs writes the key "arguments" and the arguments, if there are any.
func (c *Ctx) docArgs(args []Arg) {
	if len(args) == 0 {
		return
	}
	c.Out.BulkString("arguments")
	c.Out.Array(len(args))
	for i := range args {
		c.docArg(&args[i])
	}
}

func (c *Ctx) docArg(a *Arg) {
	head := []docText{{"name", a.Name}, {"type", a.Type}, {"display_text", a.Display}}
	tail := []docText{{"summary", a.Summary}, {"since", a.Since}}
	flags := a.flags()
	token := a.Token != "" || a.Type == "pure-token"
	n := countTexts(head) + countTexts(tail)
	ofSpec := a.Type == "key" || a.KeySpec > 0
	for _, there := range []bool{ofSpec, token, len(flags) > 0, len(a.Args) > 0} {
		if there {
			n++
		}
	}
	c.Out.Map(n)
	c.docTexts(head)
	if ofSpec {
		c.pairInt("key_spec_index", a.KeySpec)
	}
	if token {
		c.pair("token", a.Token)
	}
	c.docTexts(tail)
	if len(flags) > 0 {
		c.Out.BulkString("flags")
		c.simples("", flags)
	}
	c.docArgs(a.Args)
}

func (a *Arg) flags() (flags []string) {
	if a.Optional {
		flags = append(flags, "optional")
	}
	if a.Multiple {
		flags = append(flags, "multiple")
	}
	if a.MultipleToken {
		flags = append(flags, "multiple_token")
	}
	return flags
}

func commandList(c *Ctx) {
	keep, ok := c.listFilter()
	if !ok {
		return
	}
	var found []string
	add := func(cmd *Command) {
		if keep(cmd) {
			found = append(found, cmd.Name)
		}
	}
	All(func(cmd *Command) {
		add(cmd)
		for _, sub := range cmd.Sub {
			add(sub)
		}
	})
	c.Out.Array(len(found))
	for _, name := range found {
		c.Out.BulkString(name)
	}
}

// listFilter parses FILTERBY.
func (c *Ctx) listFilter() (keep func(*Command) bool, ok bool) {
	keep = func(*Command) bool { return true }
	for i := 2; i < len(c.Args); i += 3 {
		if i+2 >= len(c.Args) || !c.is(i, "filterby") {
			c.syntaxError()
			return nil, false
		}
		value := c.Args[i+2]
		switch {
		case c.is(i+1, "module"):
			keep = func(*Command) bool { return false }
		case c.is(i+1, "aclcat"):
			category := strings.ToLower(string(value))
			keep = func(cmd *Command) bool { return slices.Contains(cmd.Categories, category) }
		case c.is(i+1, "pattern"):
			keep = func(cmd *Command) bool { return glob.Match(value, []byte(cmd.Name), true) }
		default:
			c.syntaxError()
			return nil, false
		}
	}
	return keep, true
}

func commandGetkeys(c *Ctx) {
	if keys, _, ok := c.requestKeys(); ok {
		c.Out.Array(len(keys))
		for _, k := range keys {
			c.Out.Bulk(c.Args[2+k.index])
		}
	}
}

func commandGetkeysandflags(c *Ctx) {
	keys, cmd, ok := c.requestKeys()
	if !ok {
		return
	}
	request := c.Args[2:]
	c.Out.Array(len(keys))
	for _, k := range keys {
		flags := k.flags
		if cmd.KeyFlags != nil {
			flags = cmd.KeyFlags(request)
		}
		c.Out.Array(2)
		c.Out.Bulk(request[k.index])
		c.simples("", flags)
	}
}

// usedKey is a key of a request and how it is used.
type usedKey struct {
	index int
	flags []string
}

// Errors of COMMAND GETKEYS; clients know the first by its text.
const (
	errNoKeys     = "ERR The command has no key arguments"
	errNoCommand  = "ERR Invalid command specified"
	errBadNumber  = "ERR Invalid number of arguments specified for command"
	errBadRequest = "ERR Invalid arguments specified for command"
)

var errBadKeys = errors.New("invalid arguments specified for command")

// requestKeys finds the keys of the request in args[2:], or answers the error.
func (c *Ctx) requestKeys() (keys []usedKey, cmd *Command, ok bool) {
	request := c.Args[2:]
	cmd, _ = Lookup(request)
	switch {
	case cmd == nil:
		c.Out.Error(errNoCommand)
	case len(cmd.Keys) == 0:
		c.Out.Error(errNoKeys)
	case !cmd.ArityOK(len(request)):
		c.Out.Error(errBadNumber)
	default:
		keys, err := cmd.usedKeys(request)
		if err != nil || (len(keys) == 0 && cmd.Flags&NoMandatoryKeys == 0) {
			c.Out.Error(errBadRequest)
			return nil, cmd, false
		}
		return keys, cmd, true
	}
	return nil, cmd, false
}

func (c *Command) usedKeys(request [][]byte) (keys []usedKey, err error) {
	var idx []int
	if c.GetKeys != nil {
		idx, err = c.GetKeys(request)
		for _, i := range idx {
			keys = append(keys, usedKey{index: i})
		}
		return keys, err
	}
	for i := range c.Keys {
		spec := &c.Keys[i]
		if spec.BeginIndex >= len(request) { // PFMERGE without a source
			return nil, errBadKeys
		}
		if idx, err = spec.find(idx[:0], request); err != nil {
			return nil, err
		}
		for _, at := range idx {
			keys = append(keys, usedKey{at, spec.Flags})
		}
	}
	return keys, nil
}

func commandHelp(c *Ctx) {
	c.help("COMMAND",
		"(no subcommand)",
		"    Describe every command.",
		"COUNT",
		"    Return the number of commands.",
		"DOCS [<command-name> ...]",
		"    Return the documentation of some commands, or of all.",
		"GETKEYS <full-command>",
		"    Return the keys in a command line.",
		"GETKEYSANDFLAGS <full-command>",
		"    Return the keys in a command line and how each is used.",
		"INFO [<command-name> ...]",
		"    Describe some commands, or all.",
		"LIST [FILTERBY MODULE|ACLCAT|PATTERN <value>]",
		"    Return the names of all commands, or of those that match.")
}
