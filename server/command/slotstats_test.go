package command

import (
	"strings"
	"testing"
	"time"

	"github.com/cairndb/cairn/tools/poll"
	"github.com/cairndb/cairn/tools/testnode"
	"github.com/cairndb/cairn/tools/wire"
)

// TestSlotStats: {bar} is slot 5061, {foo} 12182, {x} 16287; slot 5000 is empty.
func TestSlotStats(t *testing.T) {
	t.Parallel()
	n := testnode.StartCairn(t, "--cluster-enabled", "yes")
	conn, err := n.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	do := func(line string) wire.Value {
		t.Helper()
		v, err := conn.Do(strings.Fields(line)...)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if got := do("CLUSTER SLOT-STATS SLOTSRANGE 0 16383").String(); got != "*[]" {
		t.Errorf("without slots: %s", got)
	}
	do("CLUSTER ADDSLOTSRANGE 0 16383")
	poll.Within(t, "the node serves", time.Minute, func() bool { return strings.Contains(do("CLUSTER INFO").Text, "cluster_state:ok") })
	for _, line := range []string{"SET {bar}1 v", "SET {bar}2 v", "SET {bar}3 v", "SET {x} v", "SET {x}2 v", "SETRANGE {foo} 99999 v"} {
		if v := do(line); v.IsError() {
			t.Fatalf("%s: %v", line, v)
		}
	}
	usec := func(slot string) int64 {
		t.Helper()
		return do("CLUSTER SLOT-STATS SLOTSRANGE " + slot + " " + slot).Elems[0].Elems[1].Elems[3].Int()
	}
	stats := func(line string) (out [][3]int64) {
		t.Helper()
		for _, e := range do("CLUSTER SLOT-STATS " + line).Elems {
			m := e.Elems[1].Elems
			if m[0].Text != "key-count" || m[2].Text != "cpu-usec" || m[4].Text != "stored-bytes" || len(m) != 6 {
				t.Fatalf("%s: %v", line, e)
			}
			out = append(out, [3]int64{e.Elems[0].Int(), m[1].Int(), m[5].Int()})
		}
		return out
	}
	if got := stats("SLOTSRANGE 5000 5061"); len(got) != 62 || got[0] != [3]int64{5000, 0, 0} || got[61][0] != 5061 || got[61][1] != 3 || got[61][2] < 3*7 {
		t.Errorf("SLOTSRANGE: %v", got)
	}
	if got := stats("SLOTSRANGE 12182 12182"); len(got) != 1 || got[0][1] != 1 || got[0][2] < 100_000 {
		t.Errorf("a large value: %v", got)
	}
	order := func(line string, want ...int64) {
		t.Helper()
		got := stats(line)
		for i, slot := range want {
			if i >= len(got) || got[i][0] != slot {
				t.Errorf("%s: %v, want slots %v", line, got[:min(len(got), 10)], want)
				return
			}
		}
	}
	order("ORDERBY key-count LIMIT 4", 5061, 16287, 12182, 0)
	order("orderby KEY-COUNT desc limit 2", 5061, 16287)
	order("ORDERBY stored-bytes LIMIT 2 DESC", 12182, 5061)
	order("ORDERBY key-count ASC LIMIT 2", 0, 1)
	do("CONFIG RESETSTAT")
	if got := usec("12182"); got != 0 {
		t.Errorf("%d µs after RESETSTAT", got)
	}
	poll.Within(t, "the time of commands is counted", time.Minute, func() bool {
		do("BITCOUNT {foo}")
		return usec("12182") >= 1000
	})
	order("ORDERBY cpu-usec LIMIT 2", 12182, 0)
	poll.Within(t, "the time of transactions is counted", time.Minute, func() bool {
		for _, line := range []string{"MULTI", "PING", "GET {x}", "GET {x}2", "EXEC"} {
			do(line)
		}
		return usec("16287") > 0
	})
	if got := usec("5061"); got != 0 {
		t.Errorf("a slot without commands has %d µs", got)
	}
	if got := stats("ORDERBY key-count LIMIT 1"); len(got) != 1 {
		t.Errorf("LIMIT 1: %v", got)
	}
	if got := stats("ORDERBY key-count"); len(got) != 16384 {
		t.Errorf("without LIMIT: %d slots", len(got))
	}
	for line, want := range map[string]string{
		"SLOTSRANGE 1 16384":                "ERR Invalid or out of range slot",
		"SLOTSRANGE a 7":                    "ERR Invalid or out of range slot",
		"SLOTSRANGE 8 7":                    "ERR Start slot number 8 is greater than end slot number 7",
		"SLOTSRANGE 8 9 10":                 "ERR unknown subcommand or wrong number of arguments for 'SLOT-STATS'. Try CLUSTER HELP.",
		"FOO 8":                             "ERR unknown subcommand or wrong number of arguments for 'SLOT-STATS'. Try CLUSTER HELP.",
		"ORDERBY memory-bytes":              "ERR Unrecognized sort metric for ORDERBY. The supported metrics are: key-count, cpu-usec, stored-bytes.",
		"ORDERBY key-count LIMIT 0":         "ERR Limit has to lie in between 1 and 16384 (maximum number of slots).",
		"ORDERBY key-count LIMIT x":         "ERR Limit has to lie in between 1 and 16384 (maximum number of slots).",
		"ORDERBY key-count LIMIT":           "ERR syntax error",
		"ORDERBY key-count ASC DESC":        "ERR Multiple filters of the same type are disallowed.",
		"ORDERBY key-count LIMIT 1 LIMIT 2": "ERR Multiple filters of the same type are disallowed.",
		"SLOTSRANGE":                        "ERR wrong number of arguments for 'cluster|slot-stats' command",
	} {
		if got := do("CLUSTER SLOT-STATS " + line); got.Text != want {
			t.Errorf("%s: %q, want %q", line, got.Text, want)
		}
	}
}
