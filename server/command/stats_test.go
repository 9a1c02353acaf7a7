package command

import (
	"strings"
	"testing"
	"time"
)

func TestHistogramBuckets(t *testing.T) {
	t.Parallel()
	for _, ns := range []uint64{0, 1, 127, 128, 129, 1023, 1024, 1031, 1032, 12345, 1 << 20, 1<<30 - 1} {
		i := histogramBucket(ns)
		if end := bucketEnd(i); ns > end {
			t.Errorf("%d ns is in bucket %d, which ends at %d", ns, i, end)
		}
		if i > 0 && bucketEnd(i-1) >= ns {
			t.Errorf("%d ns is in bucket %d, but the one before ends at %d", ns, i, bucketEnd(i-1))
		}
	}
	for _, ns := range []uint64{1 << 30, 1 << 40, 1 << 63} {
		if i := histogramBucket(ns); i != len(histogram{}.buckets)-1 {
			t.Errorf("%d ns is in bucket %d, not in the last", ns, i)
		}
	}
}

func TestHistogramPercentiles(t *testing.T) {
	t.Parallel()
	var h histogram
	for i := range 1000 {
		h.add(time.Duration(i+1) * time.Microsecond)
	}
	for p, want := range map[float64]float64{50: 500, 99: 990, 99.9: 999, 100: 1000} {
		got := float64(h.percentile(p)) / 1000
		if got < want || got > want*1.01 {
			t.Errorf("p%v is %.3f µs, want %v to 1%% above", p, got, want)
		}
	}
	h.reset()
	if _, n := h.counts(); n != 0 || h.percentile(50) != 0 {
		t.Errorf("%d calls after a reset", n)
	}
}

func TestErrorCodesAreBounded(t *testing.T) {
	t.Parallel()
	s := newStats()
	s.countError([]byte("WRONGTYPE Operation against …"))
	s.countError([]byte("WRONGTYPE\r\n"))
	for i := range 500 {
		s.countError([]byte(strings.Repeat("E", i+1) + " text"))
	}
	codes, counts := s.errorCounts()
	if counts["WRONGTYPE"] != 2 {
		t.Errorf("WRONGTYPE was counted %d times", counts["WRONGTYPE"])
	}
	if len(codes) != maxErrorKinds+1 || counts["ERRORSTATS_OVERFLOW"] == 0 {
		t.Errorf("%d codes are told apart, overflow %d", len(codes), counts["ERRORSTATS_OVERFLOW"])
	}
	if s.errorReplies.Load() != 502 {
		t.Errorf("%d error replies", s.errorReplies.Load())
	}
}

func TestRecordingAllocatesOnce(t *testing.T) {
	var s callStats
	s.record(time.Microsecond, false, true)
	if n := testing.AllocsPerRun(100, func() { s.record(time.Microsecond, false, true) }); n != 0 {
		t.Fatalf("%v allocations a call", n)
	}
	if s.total.Load() != 102 || s.nanos.Load() != 102_000 {
		t.Fatalf("%d calls, %d ns", s.total.Load(), s.nanos.Load())
	}
}

func TestRate(t *testing.T) {
	t.Parallel()
	var r rate
	at := time.Unix(1000, 0)
	for i := range 17 {
		r.sample(at.Add(time.Duration(i)*100*time.Millisecond), uint64(i)*50)
	}
	if got := r.perSecond(); got < 499 || got > 501 {
		t.Errorf("500 a second are shown as %v", got)
	}
	r.sample(at.Add(2*time.Second), 0) // the counter was reset
	if got := r.perSecond(); got < 0 || got > 501 {
		t.Errorf("after a reset the rate is %v", got)
	}
}

// Two nodes in a process count their own calls.
func TestCallsAreCountedByNode(t *testing.T) {
	t.Parallel()
	a, b := connect(t, startNode(t)), connect(t, startNode(t))
	for range 3 {
		a.do("SET", "k", "v")
	}
	a.do("CONFIG", "GET", "port")
	a.do("GET")
	info := a.do("INFO", "commandstats", "latencystats").Text
	for _, want := range []string{"cmdstat_set:calls=3,", "cmdstat_config|get:calls=1,", "cmdstat_get:calls=0,usec=0,usec_per_call=0.00,rejected_calls=1", "latency_percentiles_usec_set:"} {
		if !strings.Contains(info, want) {
			t.Errorf("%s is missing in\n%s", want, info)
		}
	}
	if info := b.do("INFO", "commandstats", "latencystats").Text; strings.Contains(info, "set:") {
		t.Errorf("the other node's calls are counted:\n%s", info)
	}
	b.do("SET", "k", "v")
	a.do("CONFIG", "RESETSTAT")
	if info := a.do("INFO", "commandstats").Text; strings.Contains(info, "cmdstat_set:") {
		t.Errorf("after a reset:\n%s", info)
	}
	if info := b.do("INFO", "commandstats").Text; !strings.Contains(info, "cmdstat_set:calls=1,") {
		t.Errorf("the other node was reset, too:\n%s", info)
	}
}
