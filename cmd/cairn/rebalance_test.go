package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/tools/wire"
)

// divided are n shards that have all slots, in the parts given; the last may get none.
func divided(parts ...int) []*shardLoad {
	var shards []*shardLoad
	next := 0
	for i, n := range parts {
		s := &shardLoad{id: string(rune('a' + i)), addr: string(rune('A' + i))}
		for range n {
			s.slots = append(s.slots, next)
			next++
		}
		shards = append(shards, s)
	}
	return shards
}

func TestRebalancePlans(t *testing.T) {
	t.Parallel()
	even := new([keys.Slots]int64)
	for i := range even {
		even[i] = 10
	}
	skewed := new([keys.Slots]int64)
	for i := range skewed {
		skewed[i] = int64(rand.IntN(1000))
	}
	skewed[17] = 200_000
	none := new([keys.Slots]int64)
	for name, tc := range map[string]struct {
		shards []*shardLoad
		load   *[keys.Slots]int64
		within float64 // of the mean
		still  bool
	}{
		"balanced already":        {divided(8192, 8192), even, 0.01, true},
		"a new node":              {divided(8192, 8192, 0), even, 0.01, false},
		"all on one":              {divided(16384, 0, 0, 0), even, 0.01, false},
		"no keys at all":          {divided(16384, 0), none, 0, false},
		"one slot with very many": {divided(5000, 5000, 6384), skewed, 0.05, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := planRebalance(tc.shards, tc.load, "keys", 0.02)
			if (p.slots == 0) != tc.still {
				t.Fatalf("%d slots move", p.slots)
			}
			seen := map[int]bool{}
			total := int64(0)
			for _, m := range p.moves {
				for _, slot := range m.slots {
					if seen[slot] || m.from == m.to {
						t.Fatalf("slot %d moves from %s to %s, twice: %v", slot, m.from.addr, m.to.addr, seen[slot])
					}
					seen[slot] = true
				}
			}
			for _, s := range tc.shards {
				total += p.after[s.addr]
			}
			mean := float64(total) / float64(len(tc.shards))
			for _, s := range tc.shards {
				if d := float64(p.after[s.addr]) - mean; d > mean*tc.within || -d > mean*tc.within {
					t.Errorf("%s would have %d, the mean is %.0f", s.addr, p.after[s.addr], mean)
				}
				if n := len(s.slots) + p.gain(s); tc.load == none && n != keys.Slots/len(tc.shards) {
					t.Errorf("%s would have %d empty slots", s.addr, n)
				}
			}
		})
	}
}

// By load the heaviest slots move, no more than it takes, and none without load.
func TestRebalancePlansByLoad(t *testing.T) {
	t.Parallel()
	load := new([keys.Slots]int64)
	for slot := range 100 {
		load[slot] = 100
	}
	for slot := 1000; slot < 1004; slot++ {
		load[slot] = 10_000
	}
	p := planRebalance(divided(5000, 5000, 6384, 0), load, byLoad, 0.1)
	if p.slots != 3+75 {
		t.Errorf("%d slots move", p.slots)
	}
	for _, m := range p.moves {
		for _, slot := range m.slots {
			if load[slot] == 0 {
				t.Errorf("slot %d has no load and moves", slot)
			}
		}
	}
	for addr, got := range p.after {
		if got < 12_400 || got > 12_600 {
			t.Errorf("%s would have %d of 50000", addr, got)
		}
	}
	alone := new([keys.Slots]int64)
	alone[7] = 1000
	for _, rest := range []int64{0, 10, 50} {
		alone[8], alone[16000] = rest, 10
		p := planRebalance(divided(8192, 8192), alone, byLoad, 0.1)
		for _, m := range p.moves {
			if slices.Contains(m.slots, 7) {
				t.Errorf("the slot with nearly all load only changes sides: %v", m.slots)
			}
		}
	}
}

// What is drained gives all, also slots without load, evenly to the others, gets nothing, and stays empty when it is named again.
func TestRebalancePlansToDrain(t *testing.T) {
	t.Parallel()
	some := new([keys.Slots]int64)
	for slot := range some {
		some[slot] = int64(rand.IntN(1000))
	}
	for name, tc := range map[string]struct {
		parts []int
		drain []int
		by    string
		load  *[keys.Slots]int64
	}{
		"by keys":                 {[]int{5461, 5462, 5461}, []int{2}, "keys", some},
		"by bytes":                {[]int{5461, 5462, 5461}, []int{0}, "bytes", some},
		"by slots":                {[]int{4096, 4096, 4096, 4096}, []int{1}, "slots", ones()},
		"by load":                 {[]int{5461, 5462, 5461}, []int{1}, byLoad, some},
		"by load, without any":    {[]int{5461, 5462, 5461}, []int{1}, byLoad, new([keys.Slots]int64)},
		"two":                     {[]int{4096, 4096, 4096, 4096}, []int{0, 3}, "keys", some},
		"one of which has none":   {[]int{4096, 12288, 0, 0}, []int{0, 3}, "keys", some},
		"with the last one left":  {[]int{8192, 8192}, []int{0}, "keys", some},
		"the others being uneven": {[]int{9000, 1000, 6384}, []int{2}, "keys", some},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			shards := divided(tc.parts...)
			for _, i := range tc.drain {
				shards[i].drain = true
			}
			p := planRebalance(shards, tc.load, tc.by, 0.02)
			carriedOut(t, p)
			most, least, total := int64(0), totalLoad(tc.load), 0
			for _, s := range shards {
				total += len(s.slots)
				if s.drain {
					if len(s.slots) != 0 || p.after[s.addr] != 0 {
						t.Errorf("%s has %d slots, with %d", s.addr, len(s.slots), p.after[s.addr])
					}
					continue
				}
				most, least = max(most, p.after[s.addr]), min(least, p.after[s.addr])
				if even := keys.Slots / (len(shards) - len(tc.drain)); tc.load != some && (len(s.slots) < even-1 || len(s.slots) > even+1) {
					t.Errorf("%s has %d slots", s.addr, len(s.slots))
				}
			}
			if total != keys.Slots || most-least > most/25 {
				t.Errorf("%d slots, from %d to %d", total, least, most)
			}
			if again := planRebalance(shards, tc.load, tc.by, 0.05); again.slots != 0 {
				t.Errorf("run again:\n%s", again.text())
			}
			if text := p.next(); strings.Count(text, "del-node") != len(tc.drain) {
				t.Errorf("it says:\n%s", text)
			}
		})
	}
}

func ones() *[keys.Slots]int64 {
	load := new([keys.Slots]int64)
	for slot := range load {
		load[slot] = 1
	}
	return load
}

// carriedOut moves what a plan says.
func carriedOut(t *testing.T, p *rebalancePlan) {
	t.Helper()
	for _, m := range p.moves {
		if m.to.drain {
			t.Errorf("%d slots go to %s, which is drained", len(m.slots), m.to.addr)
		}
		before := len(m.from.slots)
		m.from.slots = slices.DeleteFunc(m.from.slots, func(slot int) bool { _, moves := slices.BinarySearch(m.slots, slot); return moves })
		if before-len(m.from.slots) != len(m.slots) {
			t.Errorf("%s has not all %d slots that move to %s", m.from.addr, len(m.slots), m.to.addr)
		}
	}
	for _, m := range p.moves {
		m.to.slots = append(m.to.slots, m.slots...)
		slices.Sort(m.to.slots)
	}
}

// No slots go both ways between two shards, and a plan that was carried out leaves little to do however uneven the slots are.
func TestRebalancePlansNothingToAndFro(t *testing.T) {
	t.Parallel()
	for range 20 {
		load := new([keys.Slots]int64)
		for range 1 + rand.IntN(3000) {
			load[rand.IntN(keys.Slots)] += int64(1 + rand.IntN(20))
		}
		load[rand.IntN(keys.Slots)] += totalLoad(load)
		shards := divided(8192, 8192)
		p := planRebalance(shards, load, "keys", 0.02)
		if len(p.moves) > 1 {
			t.Errorf("to and fro:\n%s", p.text())
		}
		carriedOut(t, p)
		if again := planRebalance(shards, load, "keys", 0.02); again.slots != 0 {
			t.Errorf("run again:\n%s%s", p.text(), again.text())
		}
	}
}

func TestMarkDrained(t *testing.T) {
	t.Parallel()
	const nodes = "a 10.0.0.1:1@2 myself,master - 0 0 1 connected 0-8191\n" +
		"b 10.0.0.2:1@2 master - 0 0 2 connected 8192-16383\n" +
		"r 10.0.0.3:1@2 slave b 0 0 2 connected\n" +
		"gone 10.0.0.4:1@2 master,fail - 0 0 3 connected\n"
	answers := []nodeAnswer{{addr: "localhost:1", nodes: parseNodes(nodes, "localhost:1")}}
	for _, tc := range []struct{ drain, drained, err string }{
		{"", "", ""},
		{"b", "b", ""},
		{"10.0.0.2:1", "b", ""},
		{"localhost:1", "a", ""},
		{"a,b", "", "leave one out"},
		{"c", "", "no such node"},
		{"b,10.0.0.9:1", "", "no such node"},
		{"10.0.0.3:1", "", "name its primary, b"},
		{"gone", "", "does not answer"},
	} {
		a, b := &shardLoad{id: "a"}, &shardLoad{id: "b"}
		c := &clusterRebalanceCmd{}
		if tc.drain != "" {
			c.Drain = strings.Split(tc.drain, ",")
		}
		switch err := c.markDrained(answers, []*shardLoad{a, b}); {
		case (err != nil) != (tc.err != "") || err != nil && !strings.Contains(err.Error(), tc.err):
			t.Errorf("--drain %s: %v", tc.drain, err)
		case err == nil && (a.drain != (tc.drained == "a") || b.drain != (tc.drained == "b")):
			t.Errorf("--drain %s drains a: %v, b: %v", tc.drain, a.drain, b.drain)
		}
		if tc.drained != "b" {
			continue
		}
		r := &shardLoad{id: "r"} // has taken b's place
		if err := c.markDrained(answers, []*shardLoad{a, r}); err != nil || !r.drain || a.drain {
			t.Errorf("after a failover: %v, %v, %v", err, a.drain, r.drain)
		}
	}
}

func TestGrown(t *testing.T) {
	t.Parallel()
	before, after := new([keys.Slots]int64), new([keys.Slots]int64)
	before[1], after[1] = 5, 12
	before[2], after[2] = 9, 4 // the node was restarted
	before[3] = 7              // the slot is gone
	after[4] = 3
	if got := grown(before, after); [5]int64(got[:5]) != [5]int64{0, 7, 4, 0, 3} || totalLoad(got) != 14 {
		t.Errorf("%v", got[:5])
	}
}

func TestRebalanceTexts(t *testing.T) {
	t.Parallel()
	load := new([keys.Slots]int64)
	load[3] = 5 << 20
	for unit, want := range map[string]string{
		"keys":  "A  8 slots (5242880 keys)\n",
		"bytes": "A  8 slots (5.0 MiB)\n",
		"slots": "A  8 slots\n",
		"load":  "A  8 slots (5.243s of commands)\n",
	} {
		if got := planRebalance(divided(8), load, unit, 1).text(); got != want {
			t.Errorf("%s: %q", unit, got)
		}
	}
	p := planRebalance(divided(8, 0), load, "bytes", 0.02)
	if text := p.text(); !strings.Contains(text, "A  8 slots (5.0 MiB) → ") || !strings.Contains(text, "from A to B\n") {
		t.Errorf("%s", text)
	}
}

func TestReadLoads(t *testing.T) {
	t.Parallel()
	load := new([keys.Slots]int64)
	read := func(reply, metric string) error {
		t.Helper()
		v, err := wire.ReadValue(bufio.NewReader(strings.NewReader(reply)))
		if err != nil {
			t.Fatal(err)
		}
		return readLoads(load, v, metric)
	}
	const entry = "*2\r\n:%d\r\n*4\r\n$9\r\nkey-count\r\n:7\r\n$12\r\nstored-bytes\r\n:70\r\n"
	if err := read("*2\r\n"+fmt.Sprintf(entry, 3)+fmt.Sprintf(entry, 16383), "stored-bytes"); err != nil || load[3] != 70 || load[16383] != 70 {
		t.Errorf("%d, %d, %v", load[3], load[16383], err)
	}
	for _, reply := range []string{"*1\r\n:3\r\n", "*1\r\n" + fmt.Sprintf(entry, 16384), "*1\r\n" + fmt.Sprintf(entry, -1), "*1\r\n*2\r\n:3\r\n*1\r\n$12\r\nstored-bytes\r\n"} {
		if read(reply, "stored-bytes") == nil {
			t.Errorf("%q is taken", reply)
		}
	}
	if read("*1\r\n"+fmt.Sprintf(entry, 3), "cpu-usec") == nil {
		t.Error("a metric is taken that is not there")
	}
}

// TestRebalanceRefuses an address that is none, as cairn cluster status does.
func TestRebalanceRefuses(t *testing.T) {
	t.Parallel()
	if out := cairn(t, exitUsage, "cluster", "rebalance", "nowhere"); !strings.Contains(out, "nowhere: give host:port") {
		t.Errorf("it says:\n%s", out)
	}
}
