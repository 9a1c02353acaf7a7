package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"

	"github.com/cairndb/cairn/server/config"
)

// logs is the server's log: lines of key=value with Redis's level names, to standard output or a file.
type logs struct {
	*slog.Logger
	level slog.LevelVar
	file  *logFile // nil for standard output
}

// newLogs opens the log that the configuration names and follows loglevel.
func newLogs(conf *config.Config, stdout io.Writer) (*logs, error) {
	l := &logs{}
	w := stdout
	if path := conf.LogFile(); path != "" {
		l.file = &logFile{path: path}
		if err := l.file.reopen(); err != nil {
			return nil, fmt.Errorf("log file: %w", err)
		}
		w = l.file
	}
	l.level.Set(conf.LogLevel())
	conf.OnChange([]string{"loglevel"}, func() error {
		l.level.Set(conf.LogLevel())
		return nil
	})
	l.Logger = slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: &l.level, ReplaceAttr: levelName}))
	return l, nil
}

// levelName shows the levels under Redis's names.
func levelName(groups []string, a slog.Attr) slog.Attr {
	if a.Key != slog.LevelKey || len(groups) > 0 {
		return a
	}
	level, _ := a.Value.Any().(slog.Level)
	name := "error"
	switch {
	case level < slog.LevelInfo:
		name = "debug"
	case level < config.LevelNotice:
		name = "verbose"
	case level < slog.LevelWarn:
		name = "notice"
	case level < slog.LevelError:
		name = "warning"
	}
	return slog.String(a.Key, name)
}

func (l *logs) notice(msg string, args ...any) {
	l.Log(context.Background(), config.LevelNotice, msg, args...)
}

// reopen opens the log file by its name, after it was renamed by a log rotation.
func (l *logs) reopen() {
	if l.file == nil {
		return
	}
	if err := l.file.reopen(); err != nil {
		l.Warn("the log file stays the old one", "error", err)
	}
}

func (l *logs) close() {
	if l.file != nil {
		l.file.close()
	}
}

// logFile is a file that can be opened again while others write to it.
type logFile struct {
	path string
	mu   sync.Mutex
	f    *os.File
}

func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.f.Write(p)
}

func (l *logFile) reopen() error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f != nil {
		_ = l.f.Close() // what was written has reached the operating system
	}
	l.f = f
	return nil
}

func (l *logFile) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.f.Close()
}
