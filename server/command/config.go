package command

import "fmt"

var configCommands = []*Command{
	{Name: "config", Arity: -2, Group: "server", Since: "2.0.0", Complexity: "Depends on subcommand.",
		Summary: "Reads and changes the configuration.",
		Sub: []*Command{
			configRow("config|get", -3, "2.0.0", configGet, "Returns the directives whose names match the patterns, with their values.",
				"O(N) when N is the number of configuration parameters provided", func(c *Command) {
					c.History = [][2]string{{"7.0.0", "Added the ability to pass multiple pattern parameters in one call"}}
					c.Args = []Arg{{Name: "parameter", Type: "block", Multiple: true,
						Args: []Arg{{Name: "parameter", Type: "string"}}}}
				}),
			configRow("config|set", -4, "2.0.0", configSet, "Changes directives, all of them or none.",
				"O(N) when N is the number of configuration parameters provided", func(c *Command) {
					c.Tips = []string{"request_policy:all_nodes", "response_policy:all_succeeded"}
					c.History = [][2]string{{"7.0.0", "Added the ability to set multiple parameters in one call."}}
					c.Args = []Arg{{Name: "parameter_value", Type: "block", Multiple: true,
						Args: []Arg{{Name: "parameter", Type: "string"}, {Name: "value", Type: "string"}}}}
				}),
			configRow("config|resetstat", 2, "2.0.0", configResetStat, "Sets the counters that INFO shows to zero.", "O(1)", nil),
			configRow("config|rewrite", 2, "2.8.0", configRewrite, "Writes the present values to the configuration file.", "O(1)", func(c *Command) { c.Flags |= Slow }),
			{Name: "config|help", Arity: 2, Flags: Loading | Stale | Unlocked, Group: "server", Since: "5.0.0", Complexity: "O(1)",
				Summary: "Lists the subcommands.", Run: configHelp},
		}},
}

// configRow is a subcommand of CONFIG with what all of them but HELP share.
func configRow(name string, arity int, since string, run func(*Ctx), summary, complexity string, more func(*Command)) *Command {
	c := &Command{Name: name, Arity: arity, Flags: Admin | NoScript | Loading | Stale | Unlocked, Categories: []string{"admin", "slow", "dangerous"},
		Group: "server", Since: since, Complexity: complexity, Summary: summary, Run: run}
	if more != nil {
		more(c)
	}
	return c
}

func configGet(c *Ctx) {
	patterns := make([]string, 0, len(c.Args)-2)
	for _, a := range c.Args[2:] {
		patterns = append(patterns, string(a))
	}
	pairs := c.Node.Config.Get(patterns)
	c.Out.Map(len(pairs))
	for _, p := range pairs {
		c.Out.BulkString(p[0])
		c.Out.BulkString(p[1])
	}
}

func configSet(c *Ctx) {
	args := c.Args[2:]
	if len(args)%2 != 0 {
		c.Out.Error("ERR syntax error")
		return
	}
	pairs := make([][2]string, 0, len(args)/2)
	for i := 0; i < len(args); i += 2 {
		pairs = append(pairs, [2]string{string(args[i]), string(args[i+1])})
	}
	if err := c.Node.Config.Set(pairs); err != nil {
		c.Out.Error(fmt.Sprintf("ERR %v", err))
		return
	}
	c.Out.OK()
}

func configResetStat(c *Ctx) {
	c.Node.Stats.Reset()
	c.Out.OK()
}

// configRewrite syncs a file, which is why its row is Slow: it runs on a worker.
func configRewrite(c *Ctx) {
	if err := c.Node.Config.Rewrite(); err != nil {
		c.Out.Error(fmt.Sprintf("ERR %v", err))
		return
	}
	c.Out.OK()
}

func configHelp(c *Ctx) {
	lines := []string{
		"CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
		"GET <pattern>",
		"    Return parameters matching the glob-like <pattern> and their values.",
		"SET <directive> <value>",
		"    Set the configuration <directive> to <value>.",
		"RESETSTAT",
		"    Reset statistics reported by the INFO command.",
		"REWRITE",
		"    Rewrite the configuration file.",
		"HELP",
		"    Prints this help.",
	}
	c.Out.Array(len(lines))
	for _, l := range lines {
		c.Out.Simple(l)
	}
}
