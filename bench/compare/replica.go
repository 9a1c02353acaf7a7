package main

import (
	"cmp"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/cairndb/cairn/tools/testnode"
)

// replicaBar is the least that Cairn's ratio to Redis may be with a replica, as a part of the ratio without.
const replicaBar = 0.9

// system is a primary under test, alone or with a replica.
type system struct {
	name    string
	nodes   []*testnode.Node // the primary, and its replica if it has one
	results map[workload][]measurement
	// Of the replica: µs of CPU a request, and ms that it needed after a run until it had everything.
	followCPU, behind map[workload][]float64
}

// withReplica runs the workloads on a primary of either kind with a replica and on one without, in turn, and prints what the replica costs.
func withReplica(ctx context.Context, o options, binary string) error {
	o.tests = cmp.Or(o.tests, "set,get")
	loads, err := workloads(o)
	if err != nil {
		return err
	}
	systems, err := startSystems(o, binary)
	for _, s := range systems {
		defer kill(s.nodes)
	}
	if err != nil {
		return err
	}
	for _, s := range systems {
		if err := s.prepare(ctx, o); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	for round := range o.rounds {
		for _, w := range loads {
			// Each takes each place in turn.
			for i := range systems {
				s := systems[(i+round)%len(systems)]
				if err := s.measure(ctx, o, w); err != nil {
					return fmt.Errorf("%s: %w", s.name, err)
				}
				m := s.results[w][round]
				progress("round %d of %d: %-20s %-4s pipeline %-2d %9.0f/s  p99 %6.2f ms  %5.2f µs CPU", round+1, o.rounds, s.name, w.test, w.pipeline, m.rate, m.p99, m.cpu)
			}
		}
	}
	for _, s := range systems {
		if full, _, err := syncs(s.nodes[0]); err != nil || full > 1 {
			return fmt.Errorf("%s: %d full syncs in the run (%v)", s.name, full, err)
		}
	}
	fmt.Print(replicaTable(o, loads, systems))
	return nil
}

// startSystems starts redis and cairn, each alone and with a replica.
func startSystems(o options, binary string) (systems []*system, err error) {
	redis, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, err
	}
	describe := map[string]func(dir string) testnode.Options{
		"redis": func(dir string) testnode.Options {
			return testnode.RedisOptions(redis, dir, "--appendfsync", "everysec")
		},
		"cairn": func(dir string) testnode.Options {
			return testnode.CairnOptions(binary, dir, append([]string{"--appendfsync", "everysec"}, o.args...)...)
		},
	}
	for _, kind := range []string{"redis", "cairn"} {
		for replicas, name := range []string{kind, kind + " with a replica"} {
			s := &system{name: name, results: map[workload][]measurement{}, followCPU: map[workload][]float64{}, behind: map[workload][]float64{}}
			systems = append(systems, s)
			for i := range 1 + replicas {
				n, err := testnode.New(describe[kind](filepath.Join(o.dir, fmt.Sprintf("%s-%d-%d", kind, replicas, i))))
				if err != nil {
					return systems, err
				}
				s.nodes = append(s.nodes, n)
				if err := n.Start(); err != nil {
					return systems, err
				}
			}
		}
	}
	return systems, nil
}

// prepare attaches the replica and loads every key that the tests read.
func (s *system) prepare(ctx context.Context, o options) error {
	if len(s.nodes) > 1 {
		if err := follow(s.nodes[0], s.nodes[1]); err != nil {
			return err
		}
		if err := awaitReplica(ctx, s.nodes[0], s.nodes[1]); err != nil {
			return err
		}
	}
	progress("loading %d keys into %s", o.keys, s.name)
	value := strings.Repeat("x", o.valueSize)
	_, err := loader{node: s.nodes[0], clients: 4, window: 100, total: o.keys, command: func(i int, _ []byte) []string {
		return []string{"SET", fmt.Sprintf("key:%012d", i), value}
	}}.run(ctx)
	if err != nil || len(s.nodes) == 1 {
		return err
	}
	return awaitReplica(ctx, s.nodes[0], s.nodes[1])
}

// measure runs redis-benchmark once. What the processes do for the run until the replica has everything belongs to it.
func (s *system) measure(ctx context.Context, o options, w workload) error {
	before, err := s.cpu()
	if err != nil {
		return err
	}
	m, err := benchmark(ctx, o, s.nodes[0], w)
	if err != nil {
		return err
	}
	if len(s.nodes) > 1 {
		ended := time.Now()
		if err := awaitReplica(ctx, s.nodes[0], s.nodes[1]); err != nil {
			return err
		}
		s.behind[w] = append(s.behind[w], float64(time.Since(ended).Microseconds())/1000)
	}
	after, err := s.cpu()
	if err != nil {
		return err
	}
	each := func(i int) float64 {
		return float64((after[i] - before[i]).Nanoseconds()) / 1000 / float64(o.requestsOf(w))
	}
	m.cpu = each(0)
	s.results[w] = append(s.results[w], m)
	if len(s.nodes) > 1 {
		s.followCPU[w] = append(s.followCPU[w], each(1))
	}
	return nil
}

// cpu is what each node has used so far.
func (s *system) cpu() (used []time.Duration, err error) {
	for _, n := range s.nodes {
		u, err := n.Usage()
		if err != nil {
			return nil, err
		}
		used = append(used, u.CPU())
	}
	return used, nil
}

// replicaTable renders the medians; systems are redis and cairn, each alone and with a replica. Figures of both are Redis's first.
func replicaTable(o options, loads []workload, systems []*system) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nWhat a replica costs, Redis / Cairn on this machine: %d clients, %d-byte values, %d random keys, appendfsync everysec,\nmedians of %d rounds, %s. Ratios are Cairn to Redis.\n\n",
		o.clients, o.valueSize, o.keys, o.rounds, time.Now().Format("2006-01-02"))
	b.WriteString("| | pipeline | alone, requests/s | with a replica | ratio without | ratio with | with / without (≥ 0.90) | p99 ms alone | with a replica | CPU µs/op alone | with a replica | of the replica | replica behind, ms | |\n")
	b.WriteString("|" + strings.Repeat("---|", 14) + "\n")
	for _, w := range loads {
		var m []measurement
		for _, s := range systems {
			m = append(m, median(s.results[w]))
		}
		redis, redisPair, cairn, cairnPair := m[0], m[1], m[2], m[3]
		without, with := cairn.rate/redis.rate, cairnPair.rate/redisPair.rate
		verdict := "ok"
		if with < replicaBar*without {
			verdict = "below"
		}
		fmt.Fprintf(&b, "| %s | %d | %.0f / %.0f | %.0f / %.0f | %.2f | %.2f | %.2f | %.2f / %.2f | %.2f / %.2f | %.1f / %.1f | %.1f / %.1f | %.1f / %.1f | %.0f / %.0f | %s |\n",
			strings.ToUpper(w.test), w.pipeline, redis.rate, cairn.rate, redisPair.rate, cairnPair.rate, without, with, with/without,
			redis.p99, cairn.p99, redisPair.p99, cairnPair.p99, redis.cpu, cairn.cpu, redisPair.cpu, cairnPair.cpu,
			medianOf(systems[1].followCPU[w]), medianOf(systems[3].followCPU[w]), medianOf(systems[1].behind[w]), medianOf(systems[3].behind[w]), verdict)
	}
	return b.String()
}
