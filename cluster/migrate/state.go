package migrate

// State is where a job is, as CLUSTER GETSLOTMIGRATIONS prints it (Valkey 9).
type State uint8

// The states. Those of an export:
const (
	Connecting State = iota
	Establishing
	WaitingToSnapshot
	Snapshotting
	Replicating
	WaitingToPause
	Paused
	Granting
	Cleaning
	// Those of an import:
	WaitingForAck
	Receiving
	WaitingForPaused
	Requested
	Granted
	// Those in which a job has ended:
	Success
	Failed
	Cancelled
)

var stateNames = [...]string{
	Connecting: "connecting", Establishing: "sending-establish-command", WaitingToSnapshot: "waiting-to-snapshot", Snapshotting: "snapshotting",
	Replicating: "replicating", WaitingToPause: "waiting-to-pause", Paused: "failover-paused", Granting: "failover-granted", Cleaning: "cleaning-up",
	WaitingForAck: "waiting-for-ack", Receiving: "receiving-snapshot", WaitingForPaused: "waiting-for-paused", Requested: "failover-requested",
	Granted: "failover-granted", Success: "success", Failed: "failed", Cancelled: "cancelled",
}

func (s State) String() string { return stateNames[s] }

// Ended says whether nothing more will happen.
func (s State) Ended() bool { return s >= Success }
