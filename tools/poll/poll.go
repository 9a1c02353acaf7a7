// Package poll waits in tests for what happens in its own time.
package poll

import (
	"errors"
	"testing"
	"time"
)

const (
	limit = 30 * time.Second
	pause = 5 * time.Millisecond
)

// Until asks ok again and again until it is true, and fails the test with "what" when that takes too long.
func Until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	Within(t, what, limit, ok)
}

// Within is Until with a limit of its own; it returns how long it took.
func Within(t testing.TB, what string, limit time.Duration, ok func() bool) time.Duration {
	t.Helper()
	begin := time.Now()
	Succeeds(t, limit, func() error {
		if !ok() {
			return errors.New(what)
		}
		return nil
	})
	return time.Since(begin)
}

// Succeeds is Within for what tells by an error why it is not so yet; the last one stands in the test's failure.
func Succeeds(t testing.TB, limit time.Duration, fn func() error) {
	t.Helper()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for begin := time.Now(); ; <-tick.C {
		switch err := fn(); {
		case err == nil:
			return
		case time.Since(begin) > limit:
			t.Fatalf("not within %v: %v", limit, err)
		}
	}
}
