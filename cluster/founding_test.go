package cluster

import (
	"testing"
	"time"
)

// TestFoundersStopByTheClock: a founder whose process was stopped serves nothing when it goes on, although nothing else of it has run yet.
func TestFoundersStopByTheClock(t *testing.T) {
	t.Parallel()
	c := &Cluster{}
	c.leading.Store(true)
	if !c.Serving() {
		t.Error("without a group a primary does not serve")
	}
	c.foundingUntil.Store(boottime() + int64(time.Hour))
	if !c.Serving() {
		t.Error("a founder does not serve")
	}
	c.foundingUntil.Store(boottime() - 1)
	if c.Serving() || c.MayReply() {
		t.Error("a founder serves for ever without a lease")
	}
	c.foundingUntil.Store(0)
	c.fenced.Store(true)
	if c.Serving() || c.MayReply() {
		t.Error("a primary serves without its lease")
	}
}
