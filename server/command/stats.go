package command

import (
	"bytes"
	"maps"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Stats are the node's counters for INFO. Server adds to the exported ones.
type Stats struct {
	Connections         atomic.Uint64 // accepted
	RejectedConnections atomic.Uint64 // over maxclients
	NetInput, NetOutput atomic.Uint64 // bytes
	Reads, Writes       atomic.Uint64 // socket reads and writes
	ClientOutLimit      atomic.Uint64 // closed over client-output-buffer-limit
	QueryLimit          atomic.Uint64 // closed over client-query-buffer-limit
	Hits, Misses        atomic.Uint64 // keyspace_hits, keyspace_misses
	AuthFailures        atomic.Uint64

	// SlotTimes is nil when cluster-enabled is no.
	SlotTimes *SlotTimes

	calls []callStats // by Command.index

	errorReplies atomic.Uint64
	errorsMu     sync.Mutex
	errors       map[string]uint64

	ops, input, output rate

	peakMemory    peak
	startupMemory uint64
}

func newStats() *Stats {
	return &Stats{calls: make([]callStats, rowCount), startupMemory: goMemory().used}
}

// of returns a command's counters.
func (s *Stats) of(c *Command) *callStats { return &s.calls[c.index] }

// maxErrorKinds bounds the error prefixes that INFO errorstats tells apart.
const maxErrorKinds = 128

// countError counts an error reply, without its leading '-', under its code.
func (s *Stats) countError(text []byte) {
	s.errorReplies.Add(1)
	code := text
	if i := bytes.IndexAny(text, " \r\n"); i >= 0 {
		code = text[:i]
	}
	s.errorsMu.Lock()
	defer s.errorsMu.Unlock()
	if _, known := s.errors[string(code)]; !known && len(s.errors) >= maxErrorKinds {
		code = []byte("ERRORSTATS_OVERFLOW")
	}
	if s.errors == nil {
		s.errors = make(map[string]uint64)
	}
	s.errors[string(code)]++
}

// errorCounts returns the codes in ascending order with their counts.
func (s *Stats) errorCounts() (codes []string, counts map[string]uint64) {
	s.errorsMu.Lock()
	defer s.errorsMu.Unlock()
	counts = maps.Clone(s.errors)
	return slices.Sorted(maps.Keys(counts)), counts
}

// Reset is CONFIG RESETSTAT: every counter that INFO shows as one since the start, the commands' too.
func (s *Stats) Reset() {
	for _, c := range []*atomic.Uint64{
		&s.Connections, &s.RejectedConnections, &s.NetInput, &s.NetOutput, &s.Reads, &s.Writes,
		&s.ClientOutLimit, &s.QueryLimit, &s.Hits, &s.Misses, &s.AuthFailures, &s.errorReplies,
	} {
		c.Store(0)
	}
	s.errorsMu.Lock()
	s.errors = nil
	s.errorsMu.Unlock()
	for i := range s.calls {
		s.calls[i].reset()
	}
	if s.SlotTimes != nil {
		s.SlotTimes.reset()
	}
}

// callStats are one command's counters for INFO commandstats and latencystats, updated without locks.
type callStats struct {
	total, rejected, failed, nanos atomic.Uint64

	latency atomic.Pointer[histogram]

	_ [24]byte // fills a cache line, so that loops do not share one
}

func (s *callStats) record(took time.Duration, failed, tracked bool) {
	s.total.Add(1)
	s.nanos.Add(uint64(took))
	if failed {
		s.failed.Add(1)
	}
	if !tracked {
		return
	}
	h := s.latency.Load()
	if h == nil {
		h = s.firstHistogram()
	}
	h.add(took)
}

func (s *callStats) firstHistogram() *histogram {
	s.latency.CompareAndSwap(nil, new(histogram))
	return s.latency.Load()
}

func (s *callStats) reset() {
	s.total.Store(0)
	s.rejected.Store(0)
	s.failed.Store(0)
	s.nanos.Store(0)
	if h := s.latency.Load(); h != nil {
		h.reset()
	}
}

// histogram counts durations in buckets that are 1/128 of a power of two wide, up to about 1 s: those of an HDR histogram of
// two significant digits, as Redis keeps. Below and above, the first and the last bucket count.
type histogram struct {
	buckets [histogramOctaves << histogramShift]atomic.Uint64
}

const (
	histogramShift   = 7
	histogramLowest  = 7  // the first octave starts at 1<<7 ns
	histogramOctaves = 23 // the last one ends at 1<<30 ns
)

func (h *histogram) add(d time.Duration) {
	h.buckets[histogramBucket(uint64(d))].Add(1)
}

func histogramBucket(ns uint64) int {
	if ns < 1<<histogramLowest {
		return 0
	}
	octave := bits.Len64(ns) - 1
	if octave >= histogramLowest+histogramOctaves {
		return histogramOctaves<<histogramShift - 1
	}
	sub := int(ns>>(octave-histogramShift)) & (1<<histogramShift - 1)
	return (octave-histogramLowest)<<histogramShift + sub
}

// bucketEnd is the largest duration, in ns, that bucket i counts.
func bucketEnd(i int) uint64 {
	octave, sub := i>>histogramShift+histogramLowest, uint64(i&(1<<histogramShift-1))
	width := uint64(1) << (octave - histogramShift)
	return 1<<octave + (sub+1)*width - 1
}

func (h *histogram) reset() {
	for i := range h.buckets {
		h.buckets[i].Store(0)
	}
}

// counts returns a copy of the buckets and their sum.
func (h *histogram) counts() (buckets [histogramOctaves << histogramShift]uint64, total uint64) {
	for i := range h.buckets {
		buckets[i] = h.buckets[i].Load()
		total += buckets[i]
	}
	return buckets, total
}

// percentile returns, in ns, the duration that p percent of the calls did not exceed.
func (h *histogram) percentile(p float64) uint64 {
	buckets, total := h.counts()
	rank := max(uint64(p/100*float64(total)+0.5), 1)
	for i, n := range buckets {
		if n >= rank {
			return bucketEnd(i)
		}
		rank -= n
	}
	return 0
}

// rate is the mean of the last samples of a counter, a second, as Redis's instantaneous metrics.
type rate struct {
	mu      sync.Mutex
	last    uint64
	at      time.Time
	samples [16]float64
	next    int
}

func (r *rate) sample(now time.Time, value uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if elapsed := now.Sub(r.at).Seconds(); !r.at.IsZero() && elapsed > 0 {
		r.samples[r.next] = 0
		if value > r.last { // else the counter was reset
			r.samples[r.next] = float64(value-r.last) / elapsed
		}
		r.next = (r.next + 1) % len(r.samples)
	}
	r.last, r.at = value, now
}

func (r *rate) perSecond() float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	sum := 0.0
	for _, s := range r.samples {
		sum += s
	}
	return sum / float64(len(r.samples))
}

// Sample takes the samples of INFO's instantaneous rates; server calls it ten times a second.
func (s *Stats) Sample(now time.Time) {
	s.ops.sample(now, s.totalCalls())
	s.input.sample(now, s.NetInput.Load())
	s.output.sample(now, s.NetOutput.Load())
	s.peakMemory.max(goMemory().used)
}

// totalCalls is the number of commands run: each row keeps its own count, so the hot path has no shared one.
func (s *Stats) totalCalls() (sum uint64) {
	for i := range s.calls {
		sum += s.calls[i].total.Load()
	}
	return sum
}

// eachCommand calls fn for every row that runs something, subcommands included.
func eachCommand(fn func(*Command)) {
	All(func(c *Command) {
		fn(c)
		for _, s := range c.Sub {
			fn(s)
		}
	})
}
