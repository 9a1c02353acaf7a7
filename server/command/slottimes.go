package command

import (
	"sync/atomic"
	"time"

	"github.com/cairndb/cairn/engine/keys"
)

// SlotTimes counts how long the commands of each slot take. The time of an executor is cut into quanta, and each quantum is counted
// for the slot whose command was running when it was full. The sum is exact, a slot's part is as a profiler would find it, and most commands,
// which are shorter than a quantum, touch nothing that executors share.
type SlotTimes struct {
	quanta [keys.Slots]atomic.Uint64
}

// slotTimeQuantum is about 20 short commands long.
const slotTimeQuantum = 10 * time.Microsecond

// Add counts a command that took so long. rest is the executor's own: the time since its last full quantum.
func (s *SlotTimes) Add(rest *time.Duration, slot uint16, took time.Duration) {
	*rest += took
	if *rest >= slotTimeQuantum {
		s.quanta[slot].Add(uint64(*rest / slotTimeQuantum))
		*rest %= slotTimeQuantum
	}
}

// Of is the time of a slot's commands.
func (s *SlotTimes) Of(slot uint16) time.Duration {
	return time.Duration(s.quanta[slot].Load()) * slotTimeQuantum
}

func (s *SlotTimes) reset() {
	for i := range s.quanta {
		s.quanta[i].Store(0)
	}
}
