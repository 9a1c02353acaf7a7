package command

import (
	"math"
	"testing"
)

func TestExpiryAfter(t *testing.T) {
	t.Parallel()
	const now = 1_800_000_000_000
	for _, test := range []struct{ ttl, want int64 }{
		{1, now + 1},
		{math.MaxInt64 - now, math.MaxInt64},
		{math.MaxInt64 - now + 5, math.MaxInt64}, // the source's clock is behind
	} {
		if got := expiryAfter(test.ttl, now); got != test.want {
			t.Errorf("%d: %d", test.ttl, got)
		}
	}
	if got := expiryAfter(math.MaxInt64, now); got > 0 {
		t.Errorf("what overflows for good is at %d", got)
	}
}
