package command

// poppedFrom are the keys args[1] to args[len-2] of a command that ends in a time-out.
var poppedFrom = []KeySpec{{Flags: []string{"RW", "access", "delete"}, BeginIndex: 1, LastKey: -2, Step: 1}}

// countedFrom are keys that follow their number, args[2].
var countedFrom = []KeySpec{{Flags: []string{"RW", "access", "delete"}, BeginIndex: 2, ByKeyNum: true, FirstKey: 1, Step: 1}}

var movedBetween = []KeySpec{
	{Flags: []string{"RW", "access", "delete"}, BeginIndex: 1, Step: 1},
	{Flags: []string{"RW", "insert"}, BeginIndex: 2, Step: 1},
}

var timeoutIsDouble = [][2]string{{"6.0.0", "`timeout` is interpreted as a double instead of an integer."}}

// blockingCommands are the commands on lists and sorted sets that wait.
var blockingCommands = []*Command{
	{
		Name: "blmove", Arity: 6, Flags: Write | DenyOOM | NoScript | Blocking, Run: blmove,
		Group: "list", Since: "6.2.0", Complexity: "O(1)",
		Categories: []string{"list"}, Keys: movedBetween,
		Summary: "Moves an element from one list to another, and waits for one.",
		Args: []Arg{
			keyArg("source", 0), keyArg("destination", 1),
			oneOf("wherefrom", tok("left", "LEFT"), tok("right", "RIGHT")), oneOf("whereto", tok("left", "LEFT"), tok("right", "RIGHT")),
			arg("timeout", "double"),
		},
	},
	{
		Name: "blmpop", Arity: -5, Flags: Write | Blocking, Run: blmpop,
		Group: "list", Since: "7.0.0", Complexity: "O(N+M) where N is the number of provided keys and M is the number of elements returned.",
		Categories: []string{"list"}, Keys: countedFrom,
		Summary: "Removes and returns elements of the first list that there is, and waits for one.",
		Args: []Arg{
			arg("timeout", "double"), arg("numkeys", "integer"), keyArg("key", 0).many(),
			oneOf("where", tok("left", "LEFT"), tok("right", "RIGHT")), arg("count", "integer").tok("COUNT").opt(),
		},
	},
	{
		Name: "blpop", Arity: -3, Flags: Write | NoScript | Blocking, Run: blpop,
		Group: "list", Since: "2.0.0", Complexity: "O(N) where N is the number of provided keys.",
		Categories: []string{"list"}, Keys: poppedFrom, History: timeoutIsDouble,
		Summary: "Removes and returns the first element of the first list that there is, and waits for one.",
		Args:    []Arg{keyArg("key", 0).many(), arg("timeout", "double")},
	},
	{
		Name: "brpop", Arity: -3, Flags: Write | NoScript | Blocking, Run: brpop,
		Group: "list", Since: "2.0.0", Complexity: "O(N) where N is the number of provided keys.",
		Categories: []string{"list"}, Keys: poppedFrom, History: timeoutIsDouble,
		Summary: "Removes and returns the last element of the first list that there is, and waits for one.",
		Args:    []Arg{keyArg("key", 0).many(), arg("timeout", "double")},
	},
	{
		Name: "brpoplpush", Arity: 4, Flags: Write | DenyOOM | NoScript | Blocking, Run: brpoplpush,
		Group: "list", Since: "2.2.0", Complexity: "O(1)", DeprecatedSince: "6.2.0", ReplacedBy: "`BLMOVE` with the `RIGHT` and `LEFT` arguments",
		Categories: []string{"list"}, Keys: movedBetween, History: timeoutIsDouble,
		Summary: "Moves the last element of a list to the front of another, and waits for one.",
		Args:    []Arg{keyArg("source", 0), keyArg("destination", 1), arg("timeout", "double")},
	},
	{
		Name: "bzmpop", Arity: -5, Flags: Write | Blocking, Run: bzmpop,
		Group: "sorted-set", Since: "7.0.0",
		Complexity: "O(K) + O(M*log(N)) where K is the number of provided keys, N being the number of elements in the sorted set, and M being the number of elements popped.",
		Categories: []string{"sortedset"}, Keys: countedFrom,
		Summary: "Removes and returns elements of the first sorted set that there is, and waits for one.",
		Args: []Arg{
			arg("timeout", "double"), arg("numkeys", "integer"), keyArg("key", 0).many(),
			oneOf("where", tok("min", "MIN"), tok("max", "MAX")), arg("count", "integer").tok("COUNT").opt(),
		},
	},
	{
		Name: "bzpopmax", Arity: -3, Flags: Write | NoScript | Fast | Blocking, Run: bzpopmax,
		Group: "sorted-set", Since: "5.0.0", Complexity: "O(log(N)) with N being the number of elements in the sorted set.",
		Categories: []string{"sortedset"}, Keys: poppedFrom, History: timeoutIsDouble,
		Summary: "Removes and returns the greatest element of the first sorted set that there is, and waits for one.",
		Args:    []Arg{keyArg("key", 0).many(), arg("timeout", "double")},
	},
	{
		Name: "bzpopmin", Arity: -3, Flags: Write | NoScript | Fast | Blocking, Run: bzpopmin,
		Group: "sorted-set", Since: "5.0.0", Complexity: "O(log(N)) with N being the number of elements in the sorted set.",
		Categories: []string{"sortedset"}, Keys: poppedFrom, History: timeoutIsDouble,
		Summary: "Removes and returns the least element of the first sorted set that there is, and waits for one.",
		Args:    []Arg{keyArg("key", 0).many(), arg("timeout", "double")},
	},
}
