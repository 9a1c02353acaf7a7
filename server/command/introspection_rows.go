package command

var commandCommands = []*Command{
	{
		Name: "command", Arity: -1, Flags: Loading | Stale | Unlocked, Run: commandAll,
		Group: "server", Since: "2.8.13", Complexity: "O(N) where N is the total number of Redis commands",
		Categories: []string{"connection"},
		Summary:    "Describes every command.",
		Tips:       []string{"nondeterministic_output_order"},
		Sub: []*Command{
			{
				Name: "command|count", Arity: 2, Flags: Loading | Stale | Unlocked, Run: commandCount,
				Group: "server", Since: "2.8.13", Complexity: "O(1)",
				Categories: []string{"connection"},
				Summary:    "Returns the number of commands.",
			},
			{
				Name: "command|docs", Arity: -2, Flags: Loading | Stale | Unlocked, Run: commandDocs,
				Group: "server", Since: "7.0.0", Complexity: "O(N) where N is the number of commands to look up",
				Categories: []string{"connection"},
				Summary:    "Returns the documentation of commands.",
				Args: []Arg{
					arg("command-name", "string").opt().many(),
				},
				Tips: []string{"nondeterministic_output_order"},
			},
			{
				Name: "command|getkeys", Arity: -4, Flags: Loading | Stale | Unlocked, Run: commandGetkeys,
				Group: "server", Since: "2.8.13", Complexity: "O(N) where N is the number of arguments to the command",
				Categories: []string{"connection"},
				Summary:    "Finds the keys in a command line.",
			},
			{
				Name: "command|getkeysandflags", Arity: -4, Flags: Loading | Stale | Unlocked, Run: commandGetkeysandflags,
				Group: "server", Since: "7.0.0", Complexity: "O(N) where N is the number of arguments to the command",
				Categories: []string{"connection"},
				Summary:    "Finds the keys in a command line and how each is used.",
			},
			{
				Name: "command|help", Arity: 2, Flags: Loading | Stale | Unlocked, Run: commandHelp,
				Group: "server", Since: "5.0.0", Complexity: "O(1)",
				Categories: []string{"connection"},
				Summary:    "Lists the subcommands of COMMAND.",
			},
			{
				Name: "command|info", Arity: -2, Flags: Loading | Stale | Unlocked, Run: commandInfo,
				Group: "server", Since: "2.8.13", Complexity: "O(N) where N is the number of commands to look up",
				Categories: []string{"connection"},
				Summary:    "Describes some commands, or all.",
				Args: []Arg{
					arg("command-name", "string").opt().many(),
				},
				Tips:    []string{"nondeterministic_output_order"},
				History: [][2]string{{"7.0.0", "Allowed to be called with no argument to get info on all commands."}},
			},
			{
				Name: "command|list", Arity: -2, Flags: Loading | Stale | Unlocked, Run: commandList,
				Group: "server", Since: "7.0.0", Complexity: "O(N) where N is the total number of Redis commands",
				Categories: []string{"connection"},
				Summary:    "Lists command names, all or those that match a filter.",
				Args: []Arg{
					oneOf("filterby", arg("module-name", "string").tok("MODULE"), arg("category", "string").tok("ACLCAT"), arg("pattern", "pattern").tok("PATTERN")).tok("FILTERBY").opt(),
				},
				Tips: []string{"nondeterministic_output_order"},
			},
		},
	},
}
