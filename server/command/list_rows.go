package command

var listCommands = []*Command{
	{
		Name: "lindex", Arity: 3, Flags: ReadOnly, Run: lindex, Long: listIndexLong,
		Group: "list", Since: "1.0.0", Complexity: "O(1); O(log N) when elements were inserted into or removed from the list's middle",
		Categories: []string{"list"},
		Summary:    "Returns an element of a list by its index.",
		Keys:       []KeySpec{{Flags: []string{"RO", "access"}, BeginIndex: 1, Step: 1}},
		Args: []Arg{
			keyArg("key", 0),
			arg("index", "integer"),
		},
	},
	{
		Name: "linsert", Arity: 5, Flags: Write | DenyOOM, Run: linsert,
		Group: "list", Since: "2.2.0", Complexity: "O(N) where N is the number of elements before the pivot",
		Categories: []string{"list"},
		Summary:    "Inserts an element before or after another one of a list.",
		Keys:       []KeySpec{{Flags: []string{"RW", "insert"}, BeginIndex: 1, Step: 1}},
		Args: []Arg{
			keyArg("key", 0),
			oneOf("where", tok("before", "BEFORE"), tok("after", "AFTER")),
			arg("pivot", "string"),
			arg("element", "string"),
		},
	},
	{
		Name: "llen", Arity: 2, Flags: ReadOnly | Fast, Run: llen,
		Group: "list", Since: "1.0.0", Complexity: "O(1)",
		Categories: []string{"list"},
		Summary:    "Returns the length of a list.",
		Keys:       []KeySpec{{Flags: []string{"RO"}, BeginIndex: 1, Step: 1}},
		Args:       []Arg{keyArg("key", 0)},
	},
	{
		Name: "lmove", Arity: 5, Flags: Write | DenyOOM, Run: lmove, Long: neverLong,
		Group: "list", Since: "6.2.0", Complexity: "O(1)",
		Categories: []string{"list"},
		Summary:    "Pops an element from a list, pushes it to another and returns it.",
		Keys:       moveKeys,
		Args: []Arg{
			keyArg("source", 0),
			keyArg("destination", 1),
			oneOf("wherefrom", listEnds...),
			oneOf("whereto", listEnds...),
		},
	},
	{
		Name: "lmpop", Arity: -4, Flags: Write, Run: lmpop, Long: neverLong,
		Group: "list", Since: "7.0.0", Complexity: "O(N+M) where N is the number of keys and M the number of elements returned",
		Categories: []string{"list"},
		Summary:    "Pops elements from the first of several lists that is there.",
		Keys:       []KeySpec{{Flags: []string{"RW", "access", "delete"}, BeginIndex: 1, ByKeyNum: true, FirstKey: 1, Step: 1}},
		Args: []Arg{
			arg("numkeys", "integer"),
			keyArg("key", 0).many(),
			oneOf("where", listEnds...),
			arg("count", "integer").tok("COUNT").opt(),
		},
	},
	popRow("lpop", lpop, "Pops elements from the left end of a list."),
	{
		Name: "lpos", Arity: -3, Flags: ReadOnly, Run: lpos,
		Group: "list", Since: "6.0.6", Complexity: "O(N) where N is the number of elements compared",
		Categories: []string{"list"},
		Summary:    "Finds the indexes of elements that equal a given one.",
		Keys:       []KeySpec{{Flags: []string{"RO", "access"}, BeginIndex: 1, Step: 1}},
		Args: []Arg{
			keyArg("key", 0),
			arg("element", "string"),
			arg("rank", "integer").tok("RANK").opt(),
			arg("num-matches", "integer").tok("COUNT").opt(),
			arg("len", "integer").tok("MAXLEN").opt(),
		},
	},
	pushRow("lpush", lpush, "1.0.0", "2.4.0", "Pushes elements to the left end of a list, creating it if it is missing."),
	pushRow("lpushx", lpushx, "2.2.0", "4.0.0", "Pushes elements to the left end of a list that exists."),
	{
		Name: "lrange", Arity: 4, Flags: ReadOnly | Streams, Run: lrange, Long: lrangeLong,
		Group: "list", Since: "1.0.0", Complexity: "O(N) where N is the number of elements returned",
		Categories: []string{"list"},
		Summary:    "Returns the elements of a list from one index to another.",
		Keys:       []KeySpec{{Flags: []string{"RO", "access"}, BeginIndex: 1, Step: 1}},
		Args: []Arg{
			keyArg("key", 0),
			arg("start", "integer"),
			arg("stop", "integer"),
		},
	},
	{
		Name: "lrem", Arity: 4, Flags: Write, Run: lrem,
		Group: "list", Since: "1.0.0", Complexity: "O(N+M) where N is the number of elements compared and M the number removed",
		Categories: []string{"list"},
		Summary:    "Removes elements that equal a given one from a list.",
		Keys:       []KeySpec{{Flags: []string{"RW", "delete"}, BeginIndex: 1, Step: 1}},
		Args: []Arg{
			keyArg("key", 0),
			arg("count", "integer"),
			arg("element", "string"),
		},
	},
	{
		Name: "lset", Arity: 4, Flags: Write | DenyOOM, Run: lset, Long: listIndexLong,
		Group: "list", Since: "1.0.0", Complexity: "O(1); O(log N) when elements were inserted into or removed from the list's middle",
		Categories: []string{"list"},
		Summary:    "Replaces an element of a list by its index.",
		Keys:       []KeySpec{{Flags: []string{"RW", "update"}, BeginIndex: 1, Step: 1}},
		Args: []Arg{
			keyArg("key", 0),
			arg("index", "integer"),
			arg("element", "string"),
		},
	},
	{
		Name: "ltrim", Arity: 4, Flags: Write, Run: ltrim,
		Group: "list", Since: "1.0.0", Complexity: "O(N) where N is the number of elements removed or the number kept, whichever is smaller",
		Categories: []string{"list"},
		Summary:    "Removes the elements at both ends of a list that are not in a range.",
		Keys:       []KeySpec{{Flags: []string{"RW", "delete"}, BeginIndex: 1, Step: 1}},
		Args: []Arg{
			keyArg("key", 0),
			arg("start", "integer"),
			arg("stop", "integer"),
		},
	},
	popRow("rpop", rpop, "Pops elements from the right end of a list."),
	{
		Name: "rpoplpush", Arity: 3, Flags: Write | DenyOOM, Run: rpoplpush, Long: neverLong,
		Group: "list", Since: "1.2.0", Complexity: "O(1)",
		Categories:      []string{"list"},
		Summary:         "Pops the last element of a list, pushes it to the left end of another and returns it.",
		Keys:            moveKeys,
		DeprecatedSince: "6.2.0", ReplacedBy: "`LMOVE` with the `RIGHT` and `LEFT` arguments",
		Args: []Arg{
			keyArg("source", 0),
			keyArg("destination", 1),
		},
	},
	pushRow("rpush", rpush, "1.0.0", "2.4.0", "Pushes elements to the right end of a list, creating it if it is missing."),
	pushRow("rpushx", rpushx, "2.2.0", "4.0.0", "Pushes elements to the right end of a list that exists."),
}

var (
	listEnds = []Arg{tok("left", "LEFT"), tok("right", "RIGHT")}
	moveKeys = []KeySpec{{Flags: []string{"RW", "access", "delete"}, BeginIndex: 1, Step: 1}, {Flags: []string{"RW", "insert"}, BeginIndex: 2, Step: 1}}
)

func popRow(name string, run func(*Ctx), summary string) *Command {
	return &Command{
		Name: name, Arity: -2, Flags: Write | Fast, Run: run, Long: popLong,
		Group: "list", Since: "1.0.0", Complexity: "O(N) where N is the number of elements returned",
		Categories: []string{"list"},
		Summary:    summary,
		Keys:       []KeySpec{{Flags: []string{"RW", "access", "delete"}, BeginIndex: 1, Step: 1}},
		Args:       []Arg{keyArg("key", 0), arg("count", "integer").since("6.2.0").opt()},
		History:    [][2]string{{"6.2.0", "Added the `count` argument."}},
	}
}

// pushRow's variadic says since when several elements may be given.
func pushRow(name string, run func(*Ctx), since, variadic, summary string) *Command {
	return &Command{
		Name: name, Arity: -3, Flags: Write | DenyOOM | Fast, Run: run,
		Group: "list", Since: since, Complexity: "O(N) where N is the number of elements pushed",
		Categories: []string{"list"},
		Summary:    summary,
		Keys:       []KeySpec{{Flags: []string{"RW", "insert"}, BeginIndex: 1, Step: 1}},
		Args:       []Arg{keyArg("key", 0), arg("element", "string").many()},
		History:    [][2]string{{variadic, "Accepts multiple `element` arguments."}},
	}
}
