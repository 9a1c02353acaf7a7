package command

var hashCommands = []*Command{
	{
		Name: "hdel", Arity: -3, Flags: Write | Fast, Run: hdel,
		Group: "hash", Since: "2.0.0", Complexity: "O(N) where N is the number of fields given",
		Categories: []string{"hash"},
		Summary:    "Deletes fields of a hash, and the hash with the last one.",
		Keys:       []KeySpec{{Flags: []string{"RW", "delete"}, BeginIndex: 1, Step: 1}},
		History:    [][2]string{{"2.4.0", "Accepts multiple `field` arguments."}},
		Args: []Arg{
			keyArg("key", 0),
			arg("field", "string").many(),
		},
	},
	{
		Name: "hexists", Arity: 3, Flags: ReadOnly | Fast, Run: hexists,
		Group: "hash", Since: "2.0.0", Complexity: "O(1)",
		Categories: []string{"hash"},
		Summary:    "Tells whether a hash has a field.",
		Keys:       []KeySpec{{Flags: []string{"RO"}, BeginIndex: 1, Step: 1}},
		Args: []Arg{
			keyArg("key", 0),
			arg("field", "string"),
		},
	},
	expireRow("hexpire", "Makes fields of a hash expire after some seconds.", hexpire, arg("seconds", "integer")),
	expireRow("hexpireat", "Makes fields of a hash expire at a unix time in seconds.", hexpireat, arg("unix-time-seconds", "unix-time")),
	fieldTimeRow("hexpiretime", "Returns when fields of a hash expire as unix times in seconds.", hexpiretime),
	{
		Name: "hget", Arity: 3, Flags: ReadOnly | Fast, Run: hget,
		Group: "hash", Since: "2.0.0", Complexity: "O(1)",
		Categories: []string{"hash"},
		Summary:    "Returns the value of a field.",
		Keys:       []KeySpec{{Flags: []string{"RO", "access"}, BeginIndex: 1, Step: 1}},
		Args: []Arg{
			keyArg("key", 0),
			arg("field", "string"),
		},
	},
	{
		Name: "hgetall", Arity: 2, Flags: ReadOnly | Streams, Run: hgetall,
		Group: "hash", Since: "2.0.0", Complexity: "O(N) where N is the size of the hash",
		Categories: []string{"hash"},
		Summary:    "Returns all fields and values of a hash.",
		Tips:       []string{"nondeterministic_output_order"},
		Keys:       []KeySpec{{Flags: []string{"RO", "access"}, BeginIndex: 1, Step: 1}},
		Args: []Arg{
			keyArg("key", 0),
		},
	},
	{
		Name: "hgetdel", Arity: -5, Flags: Write | Fast, Run: hgetdel,
		Group: "hash", Since: "8.0.0", Complexity: fieldsComplexity,
		Categories: []string{"hash"},
		Summary:    "Returns the values of fields and deletes the fields.",
		Keys:       []KeySpec{{Flags: []string{"RW", "access", "delete"}, BeginIndex: 1, Step: 1}},
		Args: []Arg{
			keyArg("key", 0),
			fieldsArg,
		},
	},
	{
		Name: "hgetex", Arity: -5, Flags: Write | Fast, Run: hgetex,
		Group: "hash", Since: "8.0.0", Complexity: fieldsComplexity,
		Categories: []string{"hash"},
		Summary:    "Returns the values of fields and sets or removes their expiry.",
		Keys:       []KeySpec{{Flags: []string{"RW", "access", "update"}, Notes: "RW and UPDATE because it changes the TTL", BeginIndex: 1, Step: 1}},
		Args: []Arg{
			keyArg("key", 0),
			fieldExpiration(tok("persist", "PERSIST")),
			fieldsArg,
		},
	},
	{
		Name: "hincrby", Arity: 4, Flags: Write | DenyOOM | Fast, Run: hincrby,
		Group: "hash", Since: "2.0.0", Complexity: "O(1)",
		Categories: []string{"hash"},
		Summary:    "Adds a number to the integer in a field.",
		Keys:       []KeySpec{{Flags: []string{"RW", "access", "update"}, BeginIndex: 1, Step: 1}},
		Args: []Arg{
			keyArg("key", 0),
			arg("field", "string"),
			arg("increment", "integer"),
		},
	},
	{
		Name: "hincrbyfloat", Arity: 4, Flags: Write | DenyOOM | Fast, Run: hincrbyfloat,
		Group: "hash", Since: "2.6.0", Complexity: "O(1)",
		Categories: []string{"hash"},
		Summary:    "Adds a number to the floating-point number in a field.",
		Keys:       []KeySpec{{Flags: []string{"RW", "access", "update"}, BeginIndex: 1, Step: 1}},
		Args: []Arg{
			keyArg("key", 0),
			arg("field", "string"),
			arg("increment", "double"),
		},
	},
	{
		Name: "hkeys", Arity: 2, Flags: ReadOnly | Streams, Run: hkeys,
		Group: "hash", Since: "2.0.0", Complexity: "O(N) where N is the size of the hash",
		Categories: []string{"hash"},
		Summary:    "Returns all fields of a hash.",
		Tips:       []string{"nondeterministic_output_order"},
		Keys:       []KeySpec{{Flags: []string{"RO", "access"}, BeginIndex: 1, Step: 1}},
		Args: []Arg{
			keyArg("key", 0),
		},
	},
	{
		Name: "hlen", Arity: 2, Flags: ReadOnly | Fast, Run: hlen,
		Group: "hash", Since: "2.0.0", Complexity: "O(1)",
		Categories: []string{"hash"},
		Summary:    "Counts the fields of a hash.",
		Keys:       []KeySpec{{Flags: []string{"RO"}, BeginIndex: 1, Step: 1}},
		Args: []Arg{
			keyArg("key", 0),
		},
	},
	{
		Name: "hmget", Arity: -3, Flags: ReadOnly | Fast, Run: hmget,
		Group: "hash", Since: "2.0.0", Complexity: fieldsComplexity,
		Categories: []string{"hash"},
		Summary:    "Returns the values of several fields.",
		Keys:       []KeySpec{{Flags: []string{"RO", "access"}, BeginIndex: 1, Step: 1}},
		Args: []Arg{
			keyArg("key", 0),
			arg("field", "string").many(),
		},
	},
	{
		Name: "hmset", Arity: -4, Flags: Write | DenyOOM | Fast, Run: hmset,
		Group: "hash", Since: "2.0.0", Complexity: fieldsComplexity,
		Categories:      []string{"hash"},
		Summary:         "Sets several fields.",
		DeprecatedSince: "4.0.0", ReplacedBy: "`HSET` with multiple field-value pairs",
		Keys: []KeySpec{{Flags: []string{"RW", "update"}, BeginIndex: 1, Step: 1}},
		Args: []Arg{
			keyArg("key", 0),
			block("field_value", arg("field", "string"), arg("value", "string")).many(),
		},
	},
	{
		Name: "hpersist", Arity: -5, Flags: Write | Fast, Run: hpersist,
		Group: "hash", Since: "7.4.0", Complexity: fieldsComplexity,
		Categories: []string{"hash"},
		Summary:    "Makes fields of a hash never expire.",
		Keys:       []KeySpec{{Flags: []string{"RW", "update"}, BeginIndex: 1, Step: 1}},
		Args: []Arg{
			keyArg("key", 0),
			fieldsArg,
		},
	},
	expireRow("hpexpire", "Makes fields of a hash expire after some milliseconds.", hpexpire, arg("milliseconds", "integer")),
	expireRow("hpexpireat", "Makes fields of a hash expire at a unix time in milliseconds.", hpexpireat, arg("unix-time-milliseconds", "unix-time")),
	fieldTimeRow("hpexpiretime", "Returns when fields of a hash expire as unix times in milliseconds.", hpexpiretime),
	fieldTimeRow("hpttl", "Returns how many milliseconds fields of a hash have left.", hpttl, "nondeterministic_output"),
	{
		Name: "hrandfield", Arity: -2, Flags: ReadOnly, Run: hrandfield, Long: countLong(2),
		Group: "hash", Since: "6.2.0", Complexity: "O(N) where N is the number of fields returned",
		Categories: []string{"hash"},
		Summary:    "Returns fields of a hash chosen at random.",
		Tips:       []string{"nondeterministic_output"},
		Keys:       []KeySpec{{Flags: []string{"RO", "access"}, BeginIndex: 1, Step: 1}},
		Args: []Arg{
			keyArg("key", 0),
			block("options", arg("count", "integer"), tok("withvalues", "WITHVALUES").opt()).opt(),
		},
	},
	{
		Name: "hscan", Arity: -3, Flags: ReadOnly, Run: hscan, Long: scanLong,
		Group: "hash", Since: "2.8.0", Complexity: "O(1) for each field returned",
		Categories: []string{"hash"},
		Summary:    "Iterates over the fields and values of a hash.",
		Tips:       []string{"nondeterministic_output"},
		Keys:       []KeySpec{{Flags: []string{"RO", "access"}, BeginIndex: 1, Step: 1}},
		Args: []Arg{
			keyArg("key", 0),
			arg("cursor", "integer"),
			arg("pattern", "pattern").tok("MATCH").opt(),
			arg("count", "integer").tok("COUNT").opt(),
			tok("novalues", "NOVALUES").opt(),
		},
	},
	{
		Name: "hset", Arity: -4, Flags: Write | DenyOOM | Fast, Run: hset,
		Group: "hash", Since: "2.0.0", Complexity: fieldsComplexity,
		Categories: []string{"hash"},
		Summary:    "Sets fields of a hash.",
		History:    [][2]string{{"4.0.0", "Accepts multiple `field` and `value` arguments."}},
		Keys:       []KeySpec{{Flags: []string{"RW", "update"}, BeginIndex: 1, Step: 1}},
		Args: []Arg{
			keyArg("key", 0),
			block("field_value", arg("field", "string"), arg("value", "string")).many(),
		},
	},
	{
		Name: "hsetex", Arity: -6, Flags: Write | DenyOOM | Fast, Run: hsetex,
		Group: "hash", Since: "8.0.0", Complexity: fieldsComplexity,
		Categories: []string{"hash"},
		Summary:    "Sets fields of a hash together with their expiry.",
		Keys:       []KeySpec{{Flags: []string{"RW", "update"}, BeginIndex: 1, Step: 1}},
		Args: []Arg{
			keyArg("key", 0),
			oneOf("condition", tok("fnx", "FNX"), tok("fxx", "FXX")).opt(),
			fieldExpiration(tok("keepttl", "KEEPTTL")),
			block("fields", arg("numfields", "integer"), block("data", arg("field", "string"), arg("value", "string")).many()).tok("FIELDS"),
		},
	},
	{
		Name: "hsetnx", Arity: 4, Flags: Write | DenyOOM | Fast, Run: hsetnx,
		Group: "hash", Since: "2.0.0", Complexity: "O(1)",
		Categories: []string{"hash"},
		Summary:    "Sets a field only if the hash does not have it.",
		Keys:       []KeySpec{{Flags: []string{"RW", "insert"}, BeginIndex: 1, Step: 1}},
		Args: []Arg{
			keyArg("key", 0),
			arg("field", "string"),
			arg("value", "string"),
		},
	},
	{
		Name: "hstrlen", Arity: 3, Flags: ReadOnly | Fast, Run: hstrlen,
		Group: "hash", Since: "3.2.0", Complexity: "O(1)",
		Categories: []string{"hash"},
		Summary:    "Returns the length of the value of a field.",
		Keys:       []KeySpec{{Flags: []string{"RO"}, BeginIndex: 1, Step: 1}},
		Args: []Arg{
			keyArg("key", 0),
			arg("field", "string"),
		},
	},
	fieldTimeRow("httl", "Returns how many seconds fields of a hash have left.", httl, "nondeterministic_output"),
	{
		Name: "hvals", Arity: 2, Flags: ReadOnly | Streams, Run: hvals,
		Group: "hash", Since: "2.0.0", Complexity: "O(N) where N is the size of the hash",
		Categories: []string{"hash"},
		Summary:    "Returns all values of a hash.",
		Tips:       []string{"nondeterministic_output_order"},
		Keys:       []KeySpec{{Flags: []string{"RO", "access"}, BeginIndex: 1, Step: 1}},
		Args: []Arg{
			keyArg("key", 0),
		},
	},
}

const fieldsComplexity = "O(N) where N is the number of fields given"

var fieldsArg = block("fields", arg("numfields", "integer"), arg("field", "string").many()).tok("FIELDS")

// fieldExpiration are the expiries of HGETEX and HSETEX, of which one is without a time.
func fieldExpiration(timeless Arg) Arg {
	return oneOf("expiration", arg("seconds", "integer").tok("EX"), arg("milliseconds", "integer").tok("PX"),
		arg("unix-time-seconds", "unix-time").tok("EXAT"), arg("unix-time-milliseconds", "unix-time").tok("PXAT"), timeless).opt()
}

func expireRow(name, summary string, run func(*Ctx), time Arg) *Command {
	return &Command{
		Name: name, Arity: -6, Flags: Write | DenyOOM | Fast, Run: run,
		Group: "hash", Since: "7.4.0", Complexity: fieldsComplexity,
		Categories: []string{"hash"},
		Summary:    summary,
		Keys:       []KeySpec{{Flags: []string{"RW", "update"}, BeginIndex: 1, Step: 1}},
		Args: []Arg{
			keyArg("key", 0),
			time,
			oneOf("condition", tok("nx", "NX"), tok("xx", "XX"), tok("gt", "GT"), tok("lt", "LT")).opt(),
			fieldsArg,
		},
	}
}

func fieldTimeRow(name, summary string, run func(*Ctx), tips ...string) *Command {
	return &Command{
		Name: name, Arity: -5, Flags: ReadOnly | Fast, Run: run,
		Group: "hash", Since: "7.4.0", Complexity: fieldsComplexity,
		Categories: []string{"hash"},
		Summary:    summary,
		Tips:       tips,
		Keys:       []KeySpec{{Flags: []string{"RO", "access"}, BeginIndex: 1, Step: 1}},
		Args: []Arg{
			keyArg("key", 0),
			fieldsArg,
		},
	}
}
