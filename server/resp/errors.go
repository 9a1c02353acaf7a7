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
	ErrOverflow    = "ERR increment or decrement would overflow"
	ErrNaN         = "ERR increment would produce NaN or Infinity"
	ErrTooLong     = "ERR string exceeds maximum allowed size (proto-max-bulk-len)"
	ErrOffset      = "ERR offset is out of range"
	ErrSameObject  = "ERR source and destination objects are the same"
	ErrBadDB       = "ERR invalid DB index"
	ErrDBRange     = "ERR DB index is out of range"
	ErrBusyKey     = "BUSYKEY Target key name already exists."
	ErrDumpSum     = "ERR DUMP payload version or checksum are wrong"
	ErrDumpFormat  = "ERR Bad data format"
	ErrCursor      = "ERR invalid cursor"

	// ErrNotWritten and ErrMayStand are followed by the cause.
	ErrNotWritten = "MISCONF The write was not applied: "
	ErrMayStand   = "MISCONF The write may or may not stand: "
)
