package epoch

import (
	"bytes"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// raftLogger passes on what hashicorp/raft logs, all of it for debugging: a node that is down is an error every
// few milliseconds to Raft, and the health of nodes is logged elsewhere.
func raftLogger(l *slog.Logger) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: lines{l}, DisableTime: true})
}

type lines struct{ log *slog.Logger }

// Write takes one line.
func (w lines) Write(p []byte) (int, error) {
	w.log.Debug("raft", "said", string(bytes.TrimSpace(p)))
	return len(p), nil
}
