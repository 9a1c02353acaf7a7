package replication

import (
	"context"
	"time"
)

// throttle spreads bytes over time. It is used by one goroutine.
type throttle struct {
	rate func() int64 // bytes a second, 0 for no limit
	// ahead is how far what was sent is ahead of the rate, at the time last.
	ahead time.Duration
	last  time.Time
}

// throttleBurst is how far sending may be ahead before it pauses.
const throttleBurst = 20 * time.Millisecond

// pause is how long to wait after n bytes were sent at the time now.
func (t *throttle) pause(n int, now time.Time) time.Duration {
	rate := t.rate()
	if rate <= 0 {
		t.ahead, t.last = 0, now
		return 0
	}
	if !t.last.IsZero() {
		t.ahead = max(0, t.ahead-now.Sub(t.last))
	}
	t.last = now
	t.ahead += time.Duration(float64(n) / float64(rate) * float64(time.Second))
	if t.ahead < throttleBurst {
		return 0
	}
	return t.ahead
}

func (t *throttle) wait(ctx context.Context, n int) error {
	return sleep(ctx, t.pause(n, time.Now()))
}

// sleep waits, unless ctx ends before.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
