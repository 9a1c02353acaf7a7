package main

import (
	"cmp"
	"context"
	"encoding/csv"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cairndb/cairn/tools/testnode"
)

// measurement is what one run of redis-benchmark against one server gave.
type measurement struct {
	rate, p50, p99 float64 // requests/s, ms, ms
	cpu            float64 // µs of server CPU (user and system) a request
}

// workload is a row of the table.
type workload struct {
	test     string
	pipeline int
}

// side is a server under test and its measurements by workload.
type side struct {
	name    string
	node    *testnode.Node
	results results
}

type results map[workload][]measurement

// compare measures the commands on strings.
func compare(ctx context.Context, o options, binary string) error {
	o.tests = cmp.Or(o.tests, "set,get,incr,mset")
	if o.always {
		o.tests = "set"
	}
	return sideBySide(ctx, o, binary, []string{o.tests}, preload)
}

// sideBySide runs the tests on both servers in turn, each group of them on servers of its own, and prints the medians.
func sideBySide(ctx context.Context, o options, binary string, groups []string, preload func(context.Context, *testnode.Node, options) error) error {
	var all []workload
	redis, cairn := make(results), make(results)
	for i, tests := range groups {
		o := o
		o.dir, o.tests = filepath.Join(o.dir, strconv.Itoa(i)), tests
		loads, err := workloads(o)
		if err == nil {
			err = measure(ctx, o, binary, loads, preload, redis, cairn)
		}
		if err != nil {
			return err
		}
		all = append(all, loads...)
	}
	fmt.Print(table(o, all, redis, cairn))
	return nil
}

// measure runs the workloads on fresh servers and notes what they gave.
func measure(ctx context.Context, o options, binary string, loads []workload, preload func(context.Context, *testnode.Node, options) error, redis, cairn results) error {
	sides, err := startSides(o, binary, redis, cairn)
	for _, s := range sides {
		defer s.node.Kill()
	}
	if err != nil {
		return err
	}
	for _, s := range sides {
		progress("loading %s", s.name)
		if err := preload(ctx, s.node, o); err != nil {
			return err
		}
	}
	for round := range o.rounds {
		for _, w := range loads {
			order := slices.Clone(sides)
			if round%2 == 1 {
				slices.Reverse(order)
			}
			for _, s := range order {
				m, err := benchmark(ctx, o, s.node, w)
				if err != nil {
					return fmt.Errorf("%s: %w", s.name, err)
				}
				s.results[w] = append(s.results[w], m)
				progress("round %d of %d: %-5s %-10s pipeline %-2d %9.0f/s  p99 %6.2f ms  %5.2f µs CPU", round+1, o.rounds, s.name, w.test, w.pipeline, m.rate, m.p99, m.cpu)
			}
		}
	}
	return nil
}

func startSides(o options, binary string, redis, cairn results) ([]*side, error) {
	fsync := "everysec"
	if o.always {
		fsync = "always"
	}
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, err
	}
	r, err := testnode.New(testnode.RedisOptions(program, filepath.Join(o.dir, "redis"), "--appendfsync", fsync))
	if err != nil {
		return nil, err
	}
	c, err := o.cairn(binary, "cairn", nil, "--appendfsync", fsync)
	if err != nil {
		return nil, err
	}
	var sides []*side
	for _, s := range []*side{{"redis", r, redis}, {"cairn", c, cairn}} {
		if err := s.node.Start(); err != nil {
			return sides, err
		}
		sides = append(sides, s)
	}
	return sides, nil
}

func workloads(o options) ([]workload, error) {
	var loads []workload
	for _, test := range strings.Split(o.tests, ",") {
		for _, p := range strings.Split(o.pipelines, ",") {
			n, err := strconv.Atoi(p)
			if err != nil {
				return nil, err
			}
			loads = append(loads, workload{test, n})
		}
	}
	return loads, nil
}

// preload writes every key that the tests may read or count, so that each run meets the same data.
func preload(ctx context.Context, n *testnode.Node, o options) error {
	value := strings.Repeat("x", o.valueSize)
	l := loader{node: n, clients: 4, window: 100, total: 2 * o.keys, command: func(i int, _ []byte) []string {
		if i < o.keys {
			return []string{"SET", fmt.Sprintf("key:%012d", i), value}
		}
		return []string{"SET", fmt.Sprintf("counter:%012d", i-o.keys), "1"}
	}}
	_, err := l.run(ctx)
	return err
}

// benchmark runs redis-benchmark once and reads the server's accounting around it.
func benchmark(ctx context.Context, o options, n *testnode.Node, w workload) (measurement, error) {
	if w.test == acknowledgeTest {
		return acknowledger{n, o.clients, w.pipeline, o.requestsOf(w) / 2}.run(ctx)
	}
	return redisBenchmark(ctx, n, w, o.requestsOf(w), o.clients, o.valueSize, o.keys)
}

func (o options) requestsOf(w workload) int {
	requests := o.requests
	if w.pipeline > 1 {
		requests *= 4
	}
	if w.test == "mset" || o.always {
		requests /= 4
	}
	return requests
}

func redisBenchmark(ctx context.Context, n *testnode.Node, w workload, requests, clients, valueSize, keys int) (measurement, error) {
	before, err := n.Usage()
	if err != nil {
		return measurement{}, err
	}
	args := []string{"-p", strconv.Itoa(n.Port), "-n", strconv.Itoa(requests), "-c", strconv.Itoa(clients),
		"-d", strconv.Itoa(valueSize), "-r", strconv.Itoa(keys), "-P", strconv.Itoa(w.pipeline), "--csv"}
	cmd := exec.CommandContext(ctx, "redis-benchmark", append(args, w.arguments(valueSize)...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return measurement{}, fmt.Errorf("redis-benchmark, test %s: %w", w.test, err)
	}
	after, err := n.Usage()
	if err != nil {
		return measurement{}, err
	}
	m, err := parseCSV(string(out))
	m.cpu = float64((after.CPU() - before.CPU()).Nanoseconds()) / 1000 / float64(requests)
	return m, err
}

// parseCSV reads the last line of redis-benchmark --csv:
// test, rps, avg, min, p50, p95, p99, max (latencies in ms).
func parseCSV(out string) (measurement, error) {
	rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if err != nil || len(rows) < 2 || len(rows[len(rows)-1]) < 8 {
		return measurement{}, fmt.Errorf("redis-benchmark printed %q (%v)", out, err)
	}
	row := rows[len(rows)-1]
	var m measurement
	for field, column := range map[*float64]int{&m.rate: 1, &m.p50: 4, &m.p99: 6} {
		if *field, err = strconv.ParseFloat(row[column], 64); err != nil {
			return m, err
		}
	}
	return m, nil
}

// bar is what Cairn must reach, as a ratio to Redis: at least rate, at most cpu and p99.
type bar struct{ rate, cpu, p99 float64 }

// barOf returns the bars of a workload; there are none beside the ones that were agreed on.
func barOf(o options, w workload) (bar, bool) {
	if o.always {
		rate, ok := map[int]float64{1: 1.0, 16: 0.7}[w.pipeline]
		return bar{rate: rate, cpu: 1000, p99: 1000}, ok
	}
	if t := collectionTestOf(w.test); t != nil {
		rate := map[int]float64{1: t.rate, 16: t.pipelined}[w.pipeline]
		return bar{rate: rate, cpu: 1000, p99: 1000}, rate > 0
	}
	rates := map[workload]float64{
		{"set", 1}: 0.80, {"get", 1}: 0.85, {"incr", 1}: 0.80, {"mset", 1}: 0.70,
		{"set", 16}: 0.75, {"get", 16}: 0.70, {"incr", 16}: 0.75,
	}
	rate, ok := rates[w]
	cpu := map[int]float64{1: 1.5, 16: 2.0}[w.pipeline]
	return bar{rate, cpu, 1.5}, ok
}

// table renders the medians of both sides and Cairn's ratios to Redis.
func table(o options, loads []workload, redis, cairn results) string {
	var b strings.Builder
	policy := "everysec"
	if o.always {
		policy = "always"
	}
	fmt.Fprintf(&b, "\nCairn beside Redis on this machine: %d clients, %d-byte values, %d random keys, appendfsync %s,\nmedians of %d rounds, %s. Ratios are Cairn to Redis; the bar follows in brackets.\n\n",
		o.clients, o.valueSize, o.keys, policy, o.rounds, time.Now().Format("2006-01-02"))
	b.WriteString("| | pipeline | Redis/s | Cairn/s | ratio | p50 ms | p99 ms | ratio | CPU µs/op | ratio | |\n|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, w := range loads {
		r, c := median(redis[w]), median(cairn[w])
		limit, known := barOf(o, w)
		verdict, rateBar, cpuBar, p99Bar := "", "", "", ""
		if known {
			verdict = "ok"
			if c.rate < r.rate*limit.rate || c.cpu > r.cpu*limit.cpu || c.p99 > r.p99*limit.p99 {
				verdict = "below"
			}
			rateBar = fmt.Sprintf(" (≥ %.2f)", limit.rate)
			if limit.cpu < 1000 {
				cpuBar, p99Bar = fmt.Sprintf(" (≤ %.1f)", limit.cpu), fmt.Sprintf(" (≤ %.1f)", limit.p99)
			}
		}
		fmt.Fprintf(&b, "| %s | %d | %.0f | %.0f | %.2f%s | %.2f / %.2f | %.2f / %.2f | %.2f%s | %.1f / %.1f | %.2f%s | %s |\n",
			strings.ToUpper(w.test), w.pipeline, r.rate, c.rate, c.rate/r.rate, rateBar, r.p50, c.p50, r.p99, c.p99, c.p99/r.p99, p99Bar, r.cpu, c.cpu, c.cpu/r.cpu, cpuBar, verdict)
	}
	return b.String()
}

// median takes each figure's own median.
func median(ms []measurement) measurement {
	of := func(get func(measurement) float64) float64 {
		values := make([]float64, len(ms))
		for i, m := range ms {
			values[i] = get(m)
		}
		return medianOf(values)
	}
	return measurement{
		rate: of(func(m measurement) float64 { return m.rate }),
		p50:  of(func(m measurement) float64 { return m.p50 }),
		p99:  of(func(m measurement) float64 { return m.p99 }),
		cpu:  of(func(m measurement) float64 { return m.cpu }),
	}
}

// medianOf sorts the values; that of none is 0.
func medianOf(values []float64) float64 {
	slices.Sort(values)
	if len(values) == 0 {
		return 0
	}
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}
