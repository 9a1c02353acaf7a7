package resp

// Error texts that more than one command sends, as Redis 7.2 words them.
const (
	ErrWrongType   = "WRONGTYPE Operation against a key holding the wrong kind of value"
	ErrSyntax      = "ERR syntax error"
	ErrNotInt      = "ERR value is not an integer or out of range"
	ErrNotPositive = "ERR value is out of range, must be positive"
	ErrNotFloat    = "ERR value is not a valid float"
	ErrNoKey       = "ERR no such key"
	ErrNoAuth      = "NOAUTH Authentication required."
	ErrCrossSlot   = "CROSSSLOT Keys in request don't hash to the same slot"
	ErrClusterOff  = "ERR This instance has cluster support disabled"
	ErrClusterDown = "CLUSTERDOWN The cluster is down"
	ErrOverflow    = "ERR increment or decrement would overflow"
	ErrNaN         = "ERR increment would produce NaN or Infinity"
	ErrScoreNaN    = "ERR resulting score is not a number (NaN)"
	ErrTooLong     = "ERR string exceeds maximum allowed size (proto-max-bulk-len)"
	ErrElement     = "ERR an element of a collection may take up to 64 MiB"
	ErrTooLarge    = "ERR the command writes more than fits into one transaction"
	ErrOffset      = "ERR offset is out of range"
	ErrSameObject  = "ERR source and destination objects are the same"
	ErrDBRange     = "ERR DB index is out of range"
	ErrBusyKey     = "BUSYKEY Target key name already exists."
	ErrDumpSum     = "ERR DUMP payload version or checksum are wrong"
	ErrDumpFormat  = "ERR Bad data format"
	// ErrDumpTooLarge is for values that have no payload which could be restored.
	ErrDumpTooLarge = "ERR The payload would be longer than proto-max-bulk-len; CLUSTER MIGRATESLOTS moves values of any size"
	ErrCursor       = "ERR invalid cursor"
	ErrNotHLL       = "WRONGTYPE Key is not a valid HyperLogLog string value."
	ErrHLL          = "INVALIDOBJ Corrupted HLL object detected"
	ErrStreamID     = "ERR Invalid stream ID specified as stream command argument"
	ErrIDTooSmall   = "ERR The ID specified in XADD is equal or smaller than the target stream top item"
	ErrIDsUsed      = "ERR The stream has exhausted the last possible ID, unable to add more items"
	ErrBusyGroup    = "BUSYGROUP Consumer Group name already exists"

	ErrReadOnly     = "READONLY You can't write against a read only replica."
	ErrNoReplicas   = "NOREPLICAS Not enough good replicas to write."
	ErrMasterDown   = "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."
	ErrStale        = "MASTERDOWN The data may be older than replica-max-staleness allows."
	ErrLoading      = "LOADING Redis is loading the dataset in memory"
	ErrTimeoutRange = "ERR timeout is out of range"
	// ErrRoleChanged ends what waits for replicas when the node becomes one.
	ErrRoleChanged = "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)"
	ErrUnblocked   = "UNBLOCKED client unblocked via CLIENT UNBLOCK"
	// ErrNotAcked is for writes that stand on this node; after a failover they may be gone.
	ErrNotAcked = "NOREPLICAS The write may or may not stand: fewer replicas than replication-acks asks for have acknowledged it in time."

	ErrNotInMulti    = "ERR Command not allowed inside a transaction"
	ErrSlotMoving    = "TRYAGAIN The slot is on its way to another node"
	ErrMixedExec     = "ERR commands that change the cluster's slots or nodes may wait for other nodes, and can't be in one transaction with keys"
	ErrTryAgain      = "TRYAGAIN Multiple keys request during rehashing of slot"
	ErrSlotUnserved  = "CLUSTERDOWN Hash slot not served"
	ErrReadsOnly     = "CLUSTERDOWN The cluster is down and only accepts read commands"
	ErrMaxClients    = "ERR max number of clients reached"
	ErrProtectedMode = "DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the default user. " +
		"In this mode connections are only accepted from the loopback interface. " +
		"If you want to connect from external computers to Redis you may adopt one of the following solutions: " +
		"1) Just disable protected mode sending the command 'CONFIG SET protected-mode no' from the loopback interface by connecting to Redis from the same host the server is running, " +
		"however MAKE SURE Redis is not publicly accessible from internet if you do so. Use CONFIG REWRITE to make this change permanent. " +
		"2) Alternatively you can just disable the protected mode by editing the Redis configuration file, and setting the protected mode option to 'no', and then restarting the server. " +
		"3) If you started the server manually just for testing, restart it with the '--protected-mode no' option. " +
		"4) Setup a an authentication password for the default user. " +
		"NOTE: You only need to do one of the above things in order for the server to start accepting connections from the outside."

	// ErrInternal answers for a command whose handler failed by a fault of the server.
	ErrInternal = "ERR internal error: the command was not applied; see the server's log"

	// ErrNotWritten and ErrMayStand are followed by the cause.
	ErrNotWritten = "MISCONF The write was not applied: "
	ErrMayStand   = "MISCONF The write may or may not stand: "
)
