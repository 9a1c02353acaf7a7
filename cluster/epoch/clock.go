package epoch

import (
	"time"

	"golang.org/x/sys/unix"
)

// Clock tells durations since some fixed moment. Only differences on one node mean anything.
type Clock interface{ Now() time.Duration }

// Boottime is CLOCK_BOOTTIME: it never jumps, and goes on while the machine is suspended, when a lease runs out too.
type Boottime struct{}

// Now is the time since the machine was started.
func (Boottime) Now() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("epoch: no CLOCK_BOOTTIME: " + err.Error()) // in Linux since 2.6.39
	}
	return time.Duration(ts.Nano())
}
