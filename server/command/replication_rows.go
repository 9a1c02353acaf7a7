package command

var replicationCommands = []*Command{
	{Name: "replicaof", Arity: 3, Flags: adminFlags | NoAsyncLoading | Stale, Run: replicaOf,
		Group: "server", Since: "5.0.0", Complexity: "O(1)", Summary: "Makes the node a replica of another one, or a primary.",
		Args: replicaOfArgs},
	{Name: "slaveof", Arity: 3, Flags: adminFlags | NoAsyncLoading | Stale, Run: replicaOf,
		Group: "server", Since: "1.0.0", Complexity: "O(1)", Summary: "Makes the node a replica of another one, or a primary.",
		DeprecatedSince: "5.0.0", ReplacedBy: "`REPLICAOF`", Args: replicaOfArgs},
	{Name: "role", Arity: 1, Flags: NoScript | Loading | Stale | Fast | Unlocked | Sentinel, Run: role, Categories: []string{"admin", "dangerous"},
		Group: "server", Since: "2.8.12", Complexity: "O(1)", Summary: "Returns the node's role in replication."},
	{Name: "wait", Arity: 3, Flags: NoScript | Unlocked | Settled, Run: wait, Categories: []string{"connection"},
		Group: "generic", Since: "3.0.0", Complexity: "O(1)", Summary: "Waits until replicas have everything written so far.",
		Tips: []string{"request_policy:all_shards", "response_policy:agg_min"},
		Args: []Arg{arg("numreplicas", "integer"), arg("timeout", "integer")}},
	{Name: "waitaof", Arity: 4, Flags: NoScript | Unlocked | Settled, Run: waitAOF, Categories: []string{"connection"},
		Group: "generic", Since: "7.2.0", Complexity: "O(1)", Summary: "Waits until everything written so far is on disks, of this node and of replicas.",
		Tips: []string{"request_policy:all_shards", "response_policy:agg_min"},
		Args: []Arg{arg("numlocal", "integer"), arg("numreplicas", "integer"), arg("timeout", "integer")}},
	{Name: "cairn.sync", Arity: 10, Flags: adminFlags | NoMulti, Run: syncReplica,
		Group: "server", Since: "0.1.0", Complexity: "O(N) where N is what the replica lacks", Summary: "Sends the log to a replica: for nodes, not for clients."},
}

var replicaOfArgs = []Arg{oneOf("args",
	block("host-port", arg("host", "string"), arg("port", "integer")),
	block("no-one", tok("no", "NO"), tok("one", "ONE")))}
