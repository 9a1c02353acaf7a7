package command

import (
	"strings"
	"testing"
	"time"
)

func TestLatencyKeepsTheWorstOfASecond(t *testing.T) {
	t.Parallel()
	var l Latency
	l.Add("command", 5*time.Millisecond)
	l.Add("command", 50*time.Millisecond)
	l.Add("command", 20*time.Millisecond)
	l.Add("fast-command", 7*time.Millisecond)
	e := l.snapshot()["command"]
	if e.max != 50 || len(e.samples) > 2 || e.samples[0].ms != 50 && e.samples[len(e.samples)-1].ms != 50 {
		t.Fatalf("%+v", e)
	}
	if n := l.Reset("command", "nothing"); n != 1 {
		t.Errorf("%d events were reset, want 1", n)
	}
	if n := l.Reset(); n != 1 {
		t.Errorf("%d events were left", n)
	}
}

func TestLatencySamplesAreBounded(t *testing.T) {
	t.Parallel()
	var l Latency
	l.Add("command", time.Millisecond)
	e := l.events["command"]
	for i := range 500 {
		e.samples[len(e.samples)-1].at = int64(i) // each Add falls into a new second
		l.Add("command", time.Duration(i)*time.Millisecond)
	}
	if len(e.samples) != latencySamples || e.max != 499 {
		t.Fatalf("%d samples, worst %d", len(e.samples), e.max)
	}
}

func TestLatencyGraph(t *testing.T) {
	t.Parallel()
	e := latencyEvent{samples: []latencySample{{100, 10}, {160, 100}, {190, 55}}, max: 120}
	want := strings.Join([]string{
		"command - high 100 ms, low 10 ms (all time high 120 ms)",
		strings.Repeat("-", 80),
		" # ",
		" | ",
		" |#",
		"_||",
		"",
		"141",
		"m00",
		" ss",
		"",
	}, "\n")
	if got := e.graph("command", 200); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
