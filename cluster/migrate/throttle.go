package migrate

import (
	"context"
	"sync"
	"time"
)

// throttle spreads the bytes of all exports over time.
type throttle struct {
	rate func() int64 // bytes a second, 0 for no limit

	mu    sync.Mutex
	until time.Time // when what was sent will have had its time
}

// throttleBurst is how far sending may be ahead before it pauses.
const throttleBurst = 20 * time.Millisecond

// debt is how long to wait after n bytes were sent at the time now.
func (t *throttle) debt(n int, now time.Time) time.Duration {
	rate := t.rate()
	t.mu.Lock()
	defer t.mu.Unlock()
	if rate <= 0 {
		t.until = now
		return 0
	}
	if t.until.Before(now) {
		t.until = now
	}
	t.until = t.until.Add(time.Duration(float64(n) / float64(rate) * float64(time.Second)))
	if ahead := t.until.Sub(now); ahead > throttleBurst {
		return ahead
	}
	return 0
}

func (t *throttle) wait(ctx context.Context, n int) error {
	if d := t.debt(n, time.Now()); d > 0 {
		return pause(ctx, d)
	}
	return nil
}
