package command

var hllCommands = []*Command{
	{
		Name: "pfadd", Arity: -2, Flags: Write | DenyOOM | Fast, Run: pfadd,
		Group: "hyperloglog", Since: "2.8.9", Complexity: "O(1) to add every element.",
		Categories: []string{"hyperloglog"},
		Summary:    "Adds elements to a HyperLogLog, creating it if it is missing.",
		Keys:       []KeySpec{{Flags: []string{"RW", "insert"}, BeginIndex: 1, Step: 1}},
		Args: []Arg{
			keyArg("key", 0),
			arg("element", "string").opt().many(),
		},
	},
	{
		Name: "pfcount", Arity: -2, Flags: ReadOnly | Keeps, Run: pfcount,
		Group: "hyperloglog", Since: "2.8.9", Complexity: "O(1) for one key, O(N) for N keys.",
		Categories: []string{"hyperloglog"},
		Summary:    "Estimates how many different elements were added to HyperLogLogs.",
		Keys: []KeySpec{{Flags: []string{"RW", "access"}, Notes: "RW because it may change the internal representation of the key, and propagate to replicas",
			BeginIndex: 1, LastKey: -1, Step: 1}},
		Args: []Arg{
			keyArg("key", 0).many(),
		},
	},
	{
		Name: "pfdebug", Arity: 3, Flags: Write | DenyOOM | Admin, Run: pfdebug,
		Group: "hyperloglog", Since: "2.8.9", Complexity: "N/A",
		Categories: []string{"hyperloglog"}, SysCmd: true,
		Summary: "Looks into a HyperLogLog.",
		Keys:    []KeySpec{{Flags: []string{"RW", "access"}, BeginIndex: 2, Step: 1}},
		Args: []Arg{
			arg("subcommand", "string"),
			keyArg("key", 0),
		},
	},
	{
		Name: "pfmerge", Arity: -2, Flags: Write | DenyOOM, Run: pfmerge,
		Group: "hyperloglog", Since: "2.8.9", Complexity: "O(N) to merge N HyperLogLogs, but with high constant times.",
		Categories: []string{"hyperloglog"},
		Summary:    "Merges HyperLogLogs into one.",
		Keys: []KeySpec{
			{Flags: []string{"RW", "access", "insert"}, BeginIndex: 1, Step: 1},
			{Flags: []string{"RO", "access"}, BeginIndex: 2, LastKey: -1, Step: 1},
		},
		Args: []Arg{
			keyArg("destkey", 0),
			keyArg("sourcekey", 1).many(),
		},
	},
	{
		Name: "pfselftest", Arity: 1, Flags: Admin | Unlocked | Slow, Run: pfselftest,
		Group: "hyperloglog", Since: "2.8.9", Complexity: "N/A",
		Categories: []string{"hyperloglog"}, SysCmd: true,
		Summary: "Checks the server's HyperLogLogs.",
	},
}
