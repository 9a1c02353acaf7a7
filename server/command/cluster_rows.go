package command

import "github.com/cairndb/cairn/server/resp"

// clusterCommands is CLUSTER. Those that change something wait for nodes.conf to be on disk, so they run on a worker.
var clusterCommands = []*Command{{
	Name: "cluster", Arity: -2, Flags: Unlocked, Group: "cluster", Since: "3.0.0", Complexity: "Depends on subcommand.",
	Summary: "Shows and changes the cluster as this node sees it.",
	Sub: []*Command{
		clusterChange("addslots", -3, "3.0.0", clusterAddSlots, "Claims slots for this node.",
			"O(N) where N is the total number of hash slot arguments", slotArgs...),
		clusterChange("addslotsrange", -4, "7.0.0", clusterAddSlotsRange, "Claims ranges of slots for this node.",
			"O(N) where N is the total number of the slots between the start slot and end slot arguments.", slotRangeArgs...),
		nondeterministic(clusterChange("bumpepoch", 2, "3.0.0", clusterBumpEpoch, "Gives this node the greatest config epoch.", "O(1)")),
		nondeterministic(clusterAdmin("count-failure-reports", 3, "3.0.0", clusterFailureReports,
			"Counts the nodes that report a node as failing.", "O(N) where N is the number of failure reports", nodeArg)),
		clusterShow("countkeysinslot", 3, "3.0.0", clusterCountKeys, "Counts this node's keys in a slot.", "O(1)", slotArg),
		clusterMove("cancelslotmigrations", 2, clusterCancelMigrations, "Cancels all migrations of slots from this node.",
			"O(N), where N is the number of slot migration operations being cancelled."),
		clusterChange("delslots", -3, "3.0.0", clusterDelSlots, "Gives up slots, as far as this node is concerned.",
			"O(N) where N is the total number of hash slot arguments", slotArgs...),
		clusterChange("delslotsrange", -4, "7.0.0", clusterDelSlotsRange, "Gives up ranges of slots, as far as this node is concerned.",
			"O(N) where N is the total number of the slots between the start slot and end slot arguments.", slotRangeArgs...),
		clusterChange("failover", -2, "3.0.0", clusterFailover, "Makes a replica take its primary's place.", "O(1)",
			Arg{Name: "options", Type: "oneof", Optional: true, Args: []Arg{
				{Name: "force", Type: "pure-token", Token: "FORCE"}, {Name: "takeover", Type: "pure-token", Token: "TAKEOVER"}}}),
		clusterChange("flushslots", 2, "3.0.0", clusterFlushSlots, "Gives up all slots of this node.", "O(1)"),
		clusterChange("forget", 3, "3.0.0", clusterForget, "Removes a node from this node's table, for at least a minute.", "O(1)", nodeArg),
		nondeterministic(clusterRow("getkeysinslot", 4, "3.0.0", Stale|Slow, clusterGetKeys, "Lists some of this node's keys in a slot.",
			"O(log(N)) where N is the number of requested keys", slotArg, Arg{Name: "count", Type: "integer"})),
		nondeterministic(clusterMove("getslotmigrations", 2, clusterSlotMigrations, "Lists the migrations of slots from and to this node, present and past.",
			"O(N), where N is the number of active slot import and export jobs.")),
		clusterRow("help", 2, "5.0.0", Loading|Stale, clusterHelp, "Describes the subcommands.", "O(1)"),
		nondeterministic(clusterShow("info", 2, "3.0.0", clusterInfo, "Describes the state of the cluster.", "O(1)")),
		clusterShow("keyslot", 3, "3.0.0", clusterKeySlot, "Tells which slot a key belongs to.",
			"O(N) where N is the number of bytes in the key", Arg{Name: "key", Type: "string"}),
		nondeterministic(clusterShow("links", 2, "7.0.0", clusterLinks, "Lists the connections to and from the other nodes.",
			"O(N) where N is the total number of Cluster nodes")),
		meetRow(clusterChange("meet", -4, "3.0.0", clusterMeet, "Makes this node and another one members of one cluster.", "O(1)",
			Arg{Name: "ip", Type: "string"}, Arg{Name: "port", Type: "integer"},
			Arg{Name: "cluster_bus_port", Type: "integer", Since: "4.0.0", Optional: true})),
		clusterMove("migrateslots", -4, clusterMigrateSlots, "Moves slots of this node, with their keys, to other nodes while they are used.",
			"O(N) where N is the total number of the slots between all start slot and end slot arguments.",
			Arg{Name: "migration-group", Type: "block", Multiple: true, Args: []Arg{
				{Name: "slotsrange-token", Type: "pure-token", Token: "SLOTSRANGE"},
				{Name: "range", Type: "block", Multiple: true, Args: []Arg{{Name: "start-slot", Type: "integer"}, {Name: "end-slot", Type: "integer"}}},
				{Name: "node-token", Type: "pure-token", Token: "NODE"},
				{Name: "node-id", Type: "string"}}}),
		clusterShow("myid", 2, "3.0.0", clusterMyID, "Tells this node's ID.", "O(1)"),
		nondeterministic(clusterShow("myshardid", 2, "7.2.0", clusterMyShardID, "Tells the ID of this node's shard.", "O(1)")),
		nondeterministic(clusterShow("nodes", 2, "3.0.0", clusterNodes, "Lists the nodes, with their slots.",
			"O(N) where N is the total number of Cluster nodes")),
		nondeterministic(clusterAdmin("replicas", 3, "5.0.0", clusterReplicas, "Lists the replicas of a primary.", "O(1)", nodeArg)),
		clusterChange("replicate", 3, "3.0.0", clusterReplicate, "Makes this node a replica of another one.", "O(1)", nodeArg),
		resetRow(clusterRow("reset", -2, "3.0.0", Admin|NoScript|Stale|Slow, clusterReset, "Leaves the cluster and forgets it.",
			"O(N) where N is the number of known nodes. The command may execute a FLUSHALL as a side effect.")),
		clusterChange("saveconfig", 2, "3.0.0", clusterSaveConfig, "Writes nodes.conf.", "O(1)"),
		clusterChange("set-config-epoch", 3, "3.0.0", clusterSetConfigEpoch, "Sets the config epoch of a new node.", "O(1)",
			Arg{Name: "config-epoch", Type: "integer"}),
		clusterChange("setslot", -4, "3.0.0", clusterSetSlot, "Marks a slot as on its way, or gives it to a node.", "O(1)",
			slotArg, Arg{Name: "subcommand", Type: "oneof", Args: []Arg{
				{Name: "node-id", Type: "string", Token: "IMPORTING"},
				{Name: "node-id", Type: "string", Token: "MIGRATING"},
				{Name: "node-id", Type: "string", Token: "NODE"},
				{Name: "stable", Type: "pure-token", Token: "STABLE"}}}),
		clusterOwn("recover", 2, clusterRecover, "Forms the group of epochs anew with what this node knows, when a majority of its voters is lost for good."),
		nondeterministic(clusterShow("shards", 2, "7.0.0", clusterShards, "Lists the shards with their slots and nodes.",
			"O(N) where N is the total number of cluster nodes")),
		nondeterministic(clusterAdmin("slaves", 3, "3.0.0", clusterReplicas, "Lists the replicas of a primary.", "O(1)", nodeArg)),
		slotStatsRow(clusterRow("slot-stats", -4, "8.0.0", Stale|Slow, clusterSlotStats, "Tells how much this node's shard has in each of its slots, and how long this node's commands for it took.",
			"O(N) where N is the total number of slots based on arguments. O(N*log(N)) with ORDERBY subcommand.")),
		slotsRow(nondeterministic(clusterShow("slots", 2, "3.0.0", clusterSlots, "Lists the ranges of slots with their nodes.",
			"O(N) where N is the total number of Cluster nodes"))),
	},
}}

var (
	nodeArg       = Arg{Name: "node-id", Type: "string"}
	slotArg       = Arg{Name: "slot", Type: "integer"}
	slotArgs      = []Arg{{Name: "slot", Type: "integer", Multiple: true}}
	slotRangeArgs = []Arg{{Name: "start-slot_end-slot", Type: "block", Multiple: true,
		Args: []Arg{{Name: "start-slot", Type: "integer"}, {Name: "end-slot", Type: "integer"}}}}
)

// clusterRow is a subcommand of CLUSTER; all of them are refused on a node that is no member.
func clusterRow(name string, arity int, since string, flags Flags, run func(*Ctx), summary, complexity string, args ...Arg) *Command {
	return &Command{
		Name: "cluster|" + name, Arity: arity, Flags: flags | Unlocked, Group: "cluster", Since: since,
		Complexity: complexity, Summary: summary, Args: args,
		Run: func(c *Ctx) {
			if c.Node.Cluster == nil {
				c.Out.Error(resp.ErrClusterOff)
				return
			}
			run(c)
		},
	}
}

func clusterShow(name string, arity int, since string, run func(*Ctx), summary, complexity string, args ...Arg) *Command {
	return clusterRow(name, arity, since, Stale, run, summary, complexity, args...)
}

func clusterAdmin(name string, arity int, since string, run func(*Ctx), summary, complexity string, args ...Arg) *Command {
	return clusterRow(name, arity, since, Admin|Stale, run, summary, complexity, args...)
}

func clusterChange(name string, arity int, since string, run func(*Ctx), summary, complexity string, args ...Arg) *Command {
	return clusterRow(name, arity, since, Admin|Stale|NoAsyncLoading|Slow, run, summary, complexity, args...)
}

// clusterOwn is a subcommand that only Cairn has.
func clusterOwn(name string, arity int, run func(*Ctx), summary string) *Command {
	return clusterChange(name, arity, "0.1.0", run, summary, "O(N) where N is the number of nodes")
}

// clusterMove is a subcommand about migrations of slots: Valkey's.
func clusterMove(name string, arity int, run func(*Ctx), summary, complexity string, args ...Arg) *Command {
	return clusterRow(name, arity, "9.0.0", Admin|Stale|NoAsyncLoading, run, summary, complexity, args...)
}

func nondeterministic(c *Command) *Command {
	c.Tips = []string{"nondeterministic_output"}
	return c
}

func meetRow(c *Command) *Command {
	c.History = [][2]string{{"4.0.0", "Added the optional `cluster_bus_port` argument."}}
	return c
}

func resetRow(c *Command) *Command {
	c.Args = []Arg{{Name: "hard_soft", Type: "oneof", Optional: true, Args: []Arg{
		{Name: "hard", Type: "pure-token", Token: "HARD"}, {Name: "soft", Type: "pure-token", Token: "SOFT"}}}}
	return c
}

func slotStatsRow(c *Command) *Command {
	c.Tips = []string{"nondeterministic_output", "request_policy:all_shards"}
	c.Args = []Arg{{Name: "filter", Type: "oneof", Args: []Arg{
		{Name: "slotsrange", Type: "block", Token: "SLOTSRANGE", Args: []Arg{{Name: "start-slot", Type: "integer"}, {Name: "end-slot", Type: "integer"}}},
		{Name: "orderby", Type: "block", Token: "ORDERBY", Args: []Arg{
			{Name: "metric", Type: "string"},
			{Name: "limit", Type: "integer", Token: "LIMIT", Optional: true},
			{Name: "order", Type: "oneof", Optional: true, Args: []Arg{
				{Name: "asc", Type: "pure-token", Token: "ASC"}, {Name: "desc", Type: "pure-token", Token: "DESC"}}}}}}}}
	return c
}

func slotsRow(c *Command) *Command {
	c.History = [][2]string{{"4.0.0", "Added node IDs."}, {"7.0.0", "Added additional networking metadata field."}}
	return c
}
