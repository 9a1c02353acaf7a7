package main

import (
	"testing"
	"time"
)

func TestPlaces(t *testing.T) {
	p := places{cores: 2, wide: 8, now: 2}
	now, waited := time.Now(), time.Duration(0)
	look := func(waits time.Duration) int {
		now, waited = now.Add(placesEvery), waited+waits
		return p.look(now, waited)
	}
	for _, waits := range []time.Duration{0, 100 * time.Microsecond, readersWait - 1} {
		if n := look(waits); n != 2 {
			t.Fatalf("%d places while reads wait %v in %v", n, waits, placesEvery)
		}
	}
	if n := look(readersWait); n != 8 {
		t.Fatalf("%d places while reads wait", n)
	}
	for range placesKept/placesEvery - 1 {
		if n := look(0); n != 8 {
			t.Fatalf("%d places shortly after reads waited", n)
		}
	}
	if n := look(0); n != 2 {
		t.Fatalf("%d places long after reads waited", n)
	}
	look(time.Minute)
	waited = 0 // another store
	if n := look(0); n != 8 {
		t.Fatalf("%d places when the store was replaced", n)
	}
}
