package main

import (
	"strings"
	"testing"
)

func TestParseCSV(t *testing.T) {
	t.Parallel()
	m, err := parseCSV("\"test\",\"rps\",\"avg_latency_ms\",\"min_latency_ms\",\"p50_latency_ms\",\"p95_latency_ms\",\"p99_latency_ms\",\"max_latency_ms\"\n" +
		"\"MSET (10 keys)\",\"20554.98\",\"2.138\",\"0.256\",\"1.751\",\"3.935\",\"5.983\",\"38.719\"\n")
	if err != nil || m.rate != 20554.98 || m.p50 != 1.751 || m.p99 != 5.983 {
		t.Errorf("got %+v, %v", m, err)
	}
	for _, bad := range []string{"", "a,b\n", "a,b,c,d,e,f,g,h\n1,x,3,4,5,6,7,8\n"} {
		if _, err := parseCSV(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	w := workload{"set", 1}
	redis := results{w: {{100, 1, 2, 10}, {300, 1, 2, 10}, {200, 1, 2, 10}}}
	cairn := results{w: {{150, 1, 2, 12}, {170, 1, 2, 12}}}
	got := table(options{rounds: 3}, []workload{w}, redis, cairn)
	want := "| SET | 1 | 200 | 160 | 0.80 (≥ 0.80) | 1.00 / 1.00 | 2.00 / 2.00 | 1.00 (≤ 1.5) | 10.0 / 12.0 | 1.20 (≤ 1.5) | ok |"
	if !strings.Contains(got, want) {
		t.Errorf("got %s\nwant %s", got, want)
	}
	cairn[w] = []measurement{{159, 1, 2, 12}}
	if got := table(options{rounds: 3}, []workload{w}, redis, cairn); !strings.Contains(got, "| below |") {
		t.Errorf("a rate below its bar gave %s", got)
	}
}

func TestReplicaTable(t *testing.T) {
	t.Parallel()
	w := workload{"set", 16}
	of := func(rate float64, follow ...float64) *system {
		return &system{
			results:   map[workload][]measurement{w: {{rate, 1, 2, 3}}},
			followCPU: map[workload][]float64{w: follow}, behind: map[workload][]float64{w: follow},
		}
	}
	systems := []*system{of(1000), of(500, 4), of(900), of(414, 5, 7, 6)}
	got := replicaTable(options{rounds: 1}, []workload{w}, systems)
	want := "| SET | 16 | 1000 / 900 | 500 / 414 | 0.90 | 0.83 | 0.92 | 2.00 / 2.00 | 2.00 / 2.00 | 3.0 / 3.0 | 3.0 / 3.0 | 4.0 / 6.0 | 4 / 6 | ok |"
	if !strings.Contains(got, want) {
		t.Errorf("got %s\nwant %s", got, want)
	}
	systems[3] = of(400)
	if got := replicaTable(options{rounds: 1}, []workload{w}, systems); !strings.Contains(got, "| below |") {
		t.Errorf("a ratio below its bar gave %s", got)
	}
}

func TestWriteSpeed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rate, err := writeSpeed(t.Context(), dir, 100_000)
	if err != nil || rate <= 0 {
		t.Errorf("got %v, %v", rate, err)
	}
	if left := diskUsage(dir); left != 0 {
		t.Errorf("%d bytes are left", left)
	}
}
