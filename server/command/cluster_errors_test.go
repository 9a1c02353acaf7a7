package command

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/cairndb/cairn/cluster"
	"github.com/cairndb/cairn/cluster/epoch"
)

// TestChangeErrors: an operator reads what happened, and nothing of the packages below.
func TestChangeErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want string
	}{
		{cluster.Refusal("Slot 7 is already busy"), "ERR Slot 7 is already busy"},
		{cluster.TryAgain("Not yet"), "TRYAGAIN Not yet"},
		{&epoch.Refused{Outcome: epoch.Stale}, "TRYAGAIN The cluster has changed meanwhile"},
		{&epoch.Refused{Outcome: epoch.Owned}, "ERR Another node has the slots"},
		{&epoch.Refused{Outcome: epoch.Exhausted}, "ERR The cluster's group refused: epochs or shards are exhausted"},
		{fmt.Errorf("%w: %w", epoch.ErrUnreached, context.DeadlineExceeded), "ERR Nothing was changed"},
		{fmt.Errorf("%w: %w", epoch.ErrUnknown, context.DeadlineExceeded), "ERR The cluster's group didn't answer in time"},
		{epoch.ErrClosed, "ERR This node is leaving its cluster, or stops"},
	} {
		if got := changeError(c.err); !strings.HasPrefix(got, c.want) || strings.Contains(got, "epoch:") {
			t.Errorf("%v: %q", c.err, got)
		}
	}
}
