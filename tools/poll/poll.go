// Package poll waits in tests for what happens in its own time.
package poll

import (
	"testing"
	"time"
)

const (
	limit = 30 * time.Second
	pause = 2 * time.Millisecond
)

// Until asks ok again and again until it is true, and fails the test with "what" when that takes too long.
func Until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	Within(t, what, limit, ok)
}

// Within is Until with a limit of its own; it returns how long it took.
func Within(t testing.TB, what string, limit time.Duration, ok func() bool) time.Duration {
	t.Helper()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for begin := time.Now(); ; <-tick.C {
		switch took := time.Since(begin); {
		case ok():
			return took
		case took > limit:
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}
