package gossip

import (
	"bytes"
	"context"
	"log"
	"log/slog"
)

// memberlistLogger lets memberlist, which writes "[WARN] memberlist: …", speak through slog. What it
// calls an error is a lost packet or a refused connection; what matters is logged above.
func memberlistLogger(l *slog.Logger) *log.Logger {
	return log.New(levelWriter{l}, "", 0)
}

type levelWriter struct{ l *slog.Logger }

func (w levelWriter) Write(p []byte) (int, error) {
	if w.l != nil && w.l.Enabled(context.Background(), slog.LevelDebug) {
		w.l.Debug("gossip", "says", string(bytes.TrimSpace(p)))
	}
	return len(p), nil
}
