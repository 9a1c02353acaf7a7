package command

import (
	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/types"
)

// countsMany says whether what stands behind COUNT, or usual without it, is more than the event loop should handle.
func countsMany(args [][]byte, from int, usual int64) bool {
	n := usual
	for i := from; i+1 < len(args); i++ {
		if equalFold(args[i], "count") {
			n, _ = types.ParseInt(args[i+1])
			break
		}
	}
	return n <= 0 || n > fewElements
}

// rangeLong is Long for XRANGE and XREVRANGE.
func rangeLong(args [][]byte, rec engine.Record) bool {
	return rec.Count > fewElements && countsMany(args, 4, 0)
}

// readLong is Long for XREAD and XREADGROUP.
func readLong(args [][]byte, rec engine.Record) bool {
	return rec.Count > fewElements && countsMany(args, 1, 0)
}

// autoclaimLong is Long for XAUTOCLAIM.
func autoclaimLong(args [][]byte, _ engine.Record) bool { return countsMany(args, 6, 100) }

// pendingLong is Long for XPENDING: with an idle time it may look at everything.
func pendingLong(args [][]byte, _ engine.Record) bool {
	if len(args) == 3 {
		return false
	}
	n, ok := types.ParseInt(args[min(5, len(args)-1)])
	return !ok || n > fewElements || equalFold(args[3], "idle")
}

// trimLong is Long for XADD and XTRIM: trimming looks at the counts of each node that it deletes, approximate trimming at few.
func trimLong(args [][]byte, rec engine.Record) bool {
	const nodes = 100 * fewElements // entries in as many nodes as the event loop reads
	for i := 2; i+1 < len(args); i++ {
		switch {
		case len(args[i]) == 1 && args[i][0] == '*':
			return false
		case equalFold(args[i], "minid"):
			return rec.Count > nodes && string(args[i+1]) != "~"
		case equalFold(args[i], "maxlen"):
			at := i + 1
			if string(args[at]) == "=" && at+1 < len(args) {
				at++
			}
			n, ok := types.ParseInt(args[at])
			return ok && n >= 0 && rec.Count > uint64(n)+nodes
		}
	}
	return false
}
