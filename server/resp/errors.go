package resp

// Error texts that more than one command sends, as Redis 7.2 words them.
const (
	ErrWrongType   = "WRONGTYPE Operation against a key holding the wrong kind of value"
	ErrSyntax      = "ERR syntax error"
	ErrNotInt      = "ERR value is not an integer or out of range"
	ErrNotFloat    = "ERR value is not a valid float"
	ErrNoKey       = "ERR no such key"
	ErrNoAuth      = "NOAUTH Authentication required."
	ErrCrossSlot   = "CROSSSLOT Keys in request don't hash to the same slot"
	ErrClusterOff  = "ERR This instance has cluster support disabled"
	ErrClusterDown = "CLUSTERDOWN The cluster is down"
)
