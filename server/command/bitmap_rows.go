package command

var bitmapCommands = []*Command{
	{
		Name: "bitcount", Arity: -2, Flags: ReadOnly, Run: bitcount,
		Group: "bitmap", Since: "2.6.0", Complexity: "O(N)",
		Categories: []string{"bitmap"},
		Summary:    "Counts the bits that are set in a string.",
		Keys:       []KeySpec{{Flags: []string{"RO", "access"}, BeginIndex: 1, Step: 1}},
		Args: []Arg{
			keyArg("key", 0),
			block("index", arg("start", "integer"), arg("end", "integer"), oneOf("index_unit", tok("byte", "BYTE"), tok("bit", "BIT")).since("7.0.0").opt()).opt(),
		},
		History: [][2]string{{"7.0.0", "Added the `BYTE|BIT` option."}},
	},
	{
		Name: "bitfield", Arity: -2, Flags: Write | DenyOOM, Run: bitfield, KeyFlags: bitfieldKeyFlags,
		Group: "bitmap", Since: "3.2.0", Complexity: "O(1) for each subcommand specified",
		Categories: []string{"bitmap"},
		Summary:    "Reads and changes integers of any width inside a string.",
		Keys:       []KeySpec{{Flags: []string{"RW", "access", "update", "variable_flags"}, Notes: "This command allows both access and modification of the key", BeginIndex: 1, Step: 1}},
		Args: []Arg{
			keyArg("key", 0),
			oneOf("operation", block("encoding_offset", arg("encoding", "string"), arg("offset", "integer")).tok("GET"), block("write", oneOf("wrap_sat_fail", tok("wrap", "WRAP"), tok("sat", "SAT"), tok("fail", "FAIL")).tok("OVERFLOW").opt(), oneOf("write_operation", block("encoding_offset_value", arg("encoding", "string"), arg("offset", "integer"), arg("value", "integer")).tok("SET"), block("encoding_offset_increment", arg("encoding", "string"), arg("offset", "integer"), arg("increment", "integer")).tok("INCRBY")))).opt().many(),
		},
	},
	{
		Name: "bitfield_ro", Arity: -2, Flags: ReadOnly | Fast, Run: bitfieldRO,
		Group: "bitmap", Since: "6.0.0", Complexity: "O(1) for each subcommand specified",
		Categories: []string{"bitmap"},
		Summary:    "Reads integers of any width inside a string.",
		Keys:       []KeySpec{{Flags: []string{"RO", "access"}, BeginIndex: 1, Step: 1}},
		Args: []Arg{
			keyArg("key", 0),
			block("encoding_offset", arg("encoding", "string"), arg("offset", "integer")).tok("GET").opt().each(),
		},
	},
	{
		Name: "bitop", Arity: -4, Flags: Write | DenyOOM, Run: bitop,
		Group: "bitmap", Since: "2.6.0", Complexity: "O(N)",
		Categories: []string{"bitmap"},
		Summary:    "Combines strings bit by bit and stores the result.",
		Keys:       []KeySpec{{Flags: []string{"OW", "update"}, BeginIndex: 2, Step: 1}, {Flags: []string{"RO", "access"}, BeginIndex: 3, LastKey: -1, Step: 1}},
		Args: []Arg{
			arg("operation", "string"),
			keyArg("destkey", 0),
			keyArg("key", 1).many(),
		},
	},
	{
		Name: "bitpos", Arity: -3, Flags: ReadOnly, Run: bitpos,
		Group: "bitmap", Since: "2.8.7", Complexity: "O(N)",
		Categories: []string{"bitmap"},
		Summary:    "Finds the first bit that is set or clear in a string.",
		Keys:       []KeySpec{{Flags: []string{"RO", "access"}, BeginIndex: 1, Step: 1}},
		Args: []Arg{
			keyArg("key", 0),
			arg("bit", "integer"),
			block("index", arg("start", "integer"), block("end_index", arg("end", "integer"), oneOf("index_unit", tok("byte", "BYTE"), tok("bit", "BIT")).since("7.0.0").opt()).opt()).opt(),
		},
		History: [][2]string{{"7.0.0", "Added the `BYTE|BIT` option."}},
	},
	{
		Name: "getbit", Arity: 3, Flags: ReadOnly | Fast, Run: getbit,
		Group: "bitmap", Since: "2.2.0", Complexity: "O(1)",
		Categories: []string{"bitmap"},
		Summary:    "Returns one bit of a string.",
		Keys:       []KeySpec{{Flags: []string{"RO", "access"}, BeginIndex: 1, Step: 1}},
		Args: []Arg{
			keyArg("key", 0),
			arg("offset", "integer"),
		},
	},
	{
		Name: "setbit", Arity: 4, Flags: Write | DenyOOM, Run: setbit,
		Group: "bitmap", Since: "2.2.0", Complexity: "O(N) for the N bytes of a string of up to 16 KiB; O(1) for a longer one",
		Categories: []string{"bitmap"},
		Summary:    "Sets or clears one bit of a string and returns its old value.",
		Keys:       []KeySpec{{Flags: []string{"RW", "access", "update"}, BeginIndex: 1, Step: 1}},
		Args: []Arg{
			keyArg("key", 0),
			arg("offset", "integer"),
			arg("value", "integer"),
		},
	},
}
