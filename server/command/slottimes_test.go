package command

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cairndb/cairn/engine/keys"
)

// Slot 7 gets a tenth of the time of slot 9, by commands that are shorter than a quantum; slot 3 a few long ones.
func TestSlotTimes(t *testing.T) {
	var s SlotTimes
	var rest, sum time.Duration
	add := func(slot uint16, took time.Duration) {
		sum += took
		s.Add(&rest, slot, took)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		took := time.Duration(200 + random.IntN(600))
		add(7, took/10)
		add(9, took)
	}
	short := sum
	for range 3 {
		add(3, time.Second)
	}
	if got := s.Of(7) + s.Of(9) + s.Of(3) + rest; got != sum {
		t.Errorf("%v are counted of %v", got, sum)
	}
	if got := s.Of(3); got < 3*time.Second-slotTimeQuantum || got > 3*time.Second+slotTimeQuantum {
		t.Errorf("long commands: %v of 3s", got)
	}
	if got, want := float64(s.Of(7)), float64(short)/11; got < want*0.8 || got > want*1.2 {
		t.Errorf("the tenth is %v of %v", s.Of(7), short)
	}
	if s.Of(8) != 0 {
		t.Errorf("a slot without commands has %v", s.Of(8))
	}
	if n := testing.AllocsPerRun(100, func() { s.Add(&rest, 5, slotTimeQuantum) }); n != 0 {
		t.Errorf("%v allocations a command", n)
	}
	s.reset()
	if s.Of(9) != 0 {
		t.Errorf("%v after a reset", s.Of(9))
	}
}

// BenchmarkSlotTimes is what counting adds to a short command, with slots at random.
func BenchmarkSlotTimes(b *testing.B) {
	var s SlotTimes
	b.RunParallel(func(pb *testing.PB) {
		var rest time.Duration
		for slot := uint16(0); pb.Next(); slot += 7919 {
			s.Add(&rest, slot%keys.Slots, 500)
		}
	})
}
