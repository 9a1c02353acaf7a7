package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/cairndb/cairn/tools/wire"
)

// streamLines are the family of streams. Ids never come from a clock: most are 9-<n>, so that commands meet each other's entries. BLOCK
// has only arguments that are refused. XSETID goes forward only, and nothing is written to a copy: 7.0 neither compares the id with the greatest deleted one nor copies
// that.
var streamLines = []string{
	"9 XADD <stream> <newid> (<word> <value>)+",
	"7 XADD <stream> <newid> <field> <word>",
	"3 XADD <stream> (NOMKSTREAM|MAXLEN <trimto>|MAXLEN = <trimto>|MINID <xid>|MINID = <xid>) <newid> <field> <word>",
	"4 XADD <stream> (MAXLEN ~ <trimto>|MINID ~ <xid>) [LIMIT <trimto>] <newid> <field> <word>",
	"1 XADD <stream> (NOMKSTREAM|MAXLEN [~] <trimto>|MINID [~] <xid>|LIMIT <trimto>)* <newid> <field>+",
	"1 XLEN <stream>",
	"4 XRANGE <stream> <xfrom> <xto> [COUNT <trimto>]",
	"4 XREVRANGE <stream> <xto> <xfrom> [COUNT <trimto>]",
	"2 XREAD [COUNT <trimto>] STREAMS <stream> (<xid>|$)",
	"2 XREAD (COUNT <trimto>|BLOCK <edge>|NOACK|GROUP <group> <consumer>)* STREAMS <stream> <stream> <xid> (<xid>|$|>)",
	"4 XDEL <stream> <xold>+",
	"3 XTRIM <stream> (MAXLEN|MINID|MAXLEN =) <trimto>",
	"3 XTRIM <stream> (MINID|MINID =|MINID ~) <xid>",
	"4 XTRIM <stream> MAXLEN ~ <trimto> [LIMIT <trimto>]",
	"1 XTRIM <stream> (MAXLEN [~] <trimto>|MINID [~] <xid>|LIMIT <trimto>)*",
	"1 XSETID <stream> <xset> (ENTRIESADDED <trimto>|MAXDELETEDID <xid>)*",
	"3 XGROUP CREATE <stream> <group> (<xid>|$|0) (MKSTREAM|ENTRIESREAD <trimto>)*",
	"2 XGROUP SETID <stream> <group> (<xid>|$|0) [ENTRIESREAD <trimto>]",
	"1 XGROUP DESTROY <stream> <group>",
	"1 XGROUP CREATECONSUMER <stream> <group> <consumer>",
	"1 XGROUP DELCONSUMER <stream> <group> <consumer>",
	"1 XGROUP (<edge>|CREATE|SETID|DESTROY) <stream> <group>",
	"9 XREADGROUP GROUP <group> <consumer> [COUNT <trimto>] [NOACK] STREAMS <stream> >",
	"4 XREADGROUP GROUP <group> <consumer> [COUNT <trimto>] [NOACK] STREAMS <stream> <xid>",
	"2 XREADGROUP GROUP <group> <consumer> (COUNT <trimto>|BLOCK <edge>|NOACK)* STREAMS <stream> <stream> (<xid>|>|$) (<xid>|>)",
	"1 XREADGROUP (GROUP <group> <consumer>|COUNT <trimto>|NOACK)* STREAMS <stream>+ (<xid>|>)+",
	"6 XACK <stream> <group> <xid>+",
	"3 XPENDING <stream> <group>",
	"5 XPENDING <stream> <group> [IDLE (0|-1|99999999)] <xfrom> <xto> <trimto> [<consumer>]",
	"1 XPENDING <stream> <group> <edge>*",
	"5 XCLAIM <stream> <group> <consumer> <minidle> <xid>+ (IDLE <minidle>|TIME <past>|RETRYCOUNT <trimto>|FORCE|JUSTID|LASTID <xid>)*",
	"3 XCLAIM <stream> <group> <consumer> 0 <xid>+ FORCE [JUSTID]",
	"5 XAUTOCLAIM <stream> <group> <consumer> <minidle> <xfrom> (COUNT <trimto>|JUSTID)*",
	"2 XINFO STREAM <stream>",
	"2 XINFO STREAM <stream> FULL [COUNT <trimto>]",
	"1 XINFO STREAM <stream> <edge> [COUNT <trimto>]",
	"3 XINFO GROUPS <stream>",
	"2 XINFO CONSUMERS <stream> <group>",
	"1 XINFO <edge> <stream>",
	"1 DEL <stream>",
	"1 SET <stream> <word>",
	"1 (TYPE|TTL|OBJECT ENCODING|PERSIST|TOUCH) <stream>",
	"1 EXPIRE <stream> <seconds>",
	"1 (RENAME|RENAMENX) <stream> <stream>",
	"1 COPY <stream> <copied> REPLACE",
	"1 (XLEN <copied>|XRANGE <copied> - +|XREVRANGE <copied> <xto> <xfrom>|XPENDING <copied> <group> - + 9|XINFO CONSUMERS <copied> <group>)",
	"1 CONFIG SET stream-node-max-entries (1|2|5|100|0)",
	"1 CONFIG SET stream-node-max-bytes (0|60|200|4096)",
}

func init() {
	maps.Copy(pools, streamPools())
	maps.Copy(rules, map[string]rule{
		"xpending":        samePending,
		"xinfo|stream":    sameDescription,
		"xinfo|groups":    sameDescription,
		"xinfo|consumers": sameDescription,
		"xinfo|help":      sameShape, "xgroup|help": sameShape,
	})
	commandNames = append(commandNames, "xadd", "xread", "xreadgroup", "xinfo", "xgroup", "xclaim")
	subcommandNames = append(subcommandNames, "xinfo|stream", "xinfo|help", "xgroup|create", "xgroup|nothing")
}

func streamPools() map[string][]string {
	numbers := func(form string, from, to int) (ids []string) {
		for n := from; n < to; n++ {
			ids = append(ids, fmt.Sprintf(form, n))
		}
		return ids
	}
	odd := []string{"-", "+", "0", "0-0", "9", "10", "8-3", "10-1", "5-", "-5", "5-x", "1-1-1", "", "abc", "(", "(9-3", "009-4", " 9-4", "9- 4", "+9-4", "9-+4",
		"18446744073709551615", "18446744073709551616-1", "18446744073709551615-18446744073709551615", "9-18446744073709551615", "9-\x00", strings.Repeat("9", 130)}
	ids := slices.Concat(numbers("9-%d", 0, 120), odd[:12])
	return map[string][]string{
		"stream":   {"x0", "x1", "x2", "{t}x"},
		"copied":   {"y0"},
		"group":    {"g0", "g1", "g2", "g\x00\xff", ""},
		"consumer": {"c0", "c1", "c2", ""},
		"field":    {"f", "f", "f", "field", "12", "-1", ""},
		"newid": slices.Concat(slices.Repeat([]string{"9-*"}, 60), numbers("9-%d", 1, 30), slices.Repeat([]string{"8-*"}, 3),
			[]string{"10-*", "0-*", "0-0", "0-1", "9-18446744073709551615", "18446744073709551615-18446744073709551614"}, odd[10:16]),
		"xid":     slices.Concat(ids, ids, odd),
		"xfrom":   slices.Concat(slices.Repeat([]string{"-"}, 30), numbers("9-%d", 0, 40), numbers("(9-%d", 0, 10), odd),
		"xto":     slices.Concat(slices.Repeat([]string{"+"}, 30), numbers("9-%d", 20, 90), numbers("(9-%d", 0, 10), odd, []string{"(0-0", "(-"}),
		"xold":    slices.Concat(numbers("9-%d", 0, 120), numbers("9-%d", 0, 120), []string{"-", "+", "0", "8-3", "5-", "-5", "abc", "", " 9-4", "9- 4"}),
		"xset":    slices.Concat(numbers("9-%d", 121, 140), []string{"-", "+", "", "abc", "5-"}),
		"trimto":  slices.Concat(numbers("%d", 0, 30), []string{"100", "1000", "-1", "abc", "", "9223372036854775808", "1.5"}),
		"minidle": {"0", "0", "0", "-1", "99999999", "99999999", "abc"},
		"past":    {"0", "1000", "1000000", "-1", "9223372036854775807", "x"},
	}
}

// timeTolerance is how far apart the servers' clocks may be between their executions, in milliseconds.
const timeTolerance = 5000

func closeTimes(redis, cairn wire.Value) bool {
	a, err1 := strconv.ParseInt(redis.Text, 10, 64)
	b, err2 := strconv.ParseInt(cairn.Text, 10, 64)
	return err1 == nil && err2 == nil && redis.Kind == cairn.Kind && a-b <= timeTolerance && b-a <= timeTolerance
}

// sameRows compares rows of a list, in each of which the field at is a time.
func sameRows(at int, redis, cairn wire.Value) bool {
	return redis.Kind == cairn.Kind && redis.Null == cairn.Null && slices.EqualFunc(redis.Elems, cairn.Elems, func(a, b wire.Value) bool {
		return a.Kind == b.Kind && len(a.Elems) > at && len(a.Elems) == len(b.Elems) && closeTimes(a.Elems[at], b.Elems[at]) &&
			sameBut(at, a.Elems, b.Elems)
	})
}

func sameBut(at int, a, b []wire.Value) bool {
	for i := range a {
		if i != at && !a[i].Equal(b[i]) {
			return false
		}
	}
	return true
}

func samePending(args []string, redis, cairn wire.Value) bool {
	return len(args) > 3 && sameRows(2, redis, cairn)
}

// sameDescription compares what XINFO says, but for how Redis's tree looks inside, times, what only 7.2 says, and
// consumers that have nothing: 7.2 makes one also when it gets nothing.
func sameDescription(args []string, redis, cairn wire.Value) bool {
	if redis.Kind != cairn.Kind {
		return false
	}
	if len(redis.Elems) == 0 || redis.Elems[0].Kind == '$' {
		a, b := pairs(redis), pairs(cairn)
		return sameMaps(a, b)
	}
	rows := func(v wire.Value) (kept []wire.Value) {
		for _, row := range v.Elems {
			if _, consumer := pairs(row)["idle"]; !consumer || pairs(row)["pending"].Text != "0" {
				kept = append(kept, row)
			}
		}
		return kept
	}
	return slices.EqualFunc(rows(redis), rows(cairn), func(a, b wire.Value) bool {
		return a.Kind == b.Kind && sameMaps(pairs(a), pairs(b))
	})
}

func sameMaps(redis, cairn map[string]wire.Value) bool {
	for name, a := range redis {
		b, ok := cairn[name]
		if !ok || !sameValue(name, a, b) {
			return false
		}
	}
	return true
}

func sameValue(name string, a, b wire.Value) bool {
	switch {
	case name == "radix-tree-nodes":
		return a.Kind == b.Kind
	case name == "idle" || name == "seen-time":
		// 7.0 does not count what got nothing.
		return a.Kind == b.Kind
	case name == "consumers" && a.Kind == ':':
		return b.Kind == ':'
	case name == "consumers":
		return sameConsumers(a, b)
	case name == "groups" && a.Kind == '*':
		return slices.EqualFunc(a.Elems, b.Elems, func(a, b wire.Value) bool { return a.Kind == b.Kind && sameMaps(pairs(a), pairs(b)) })
	case name == "pending" && a.Kind == '*' && len(a.Elems) > 0:
		return sameRows(len(a.Elems[0].Elems)-2, a, b)
	}
	return a.Equal(b)
}

func sameConsumers(redis, cairn wire.Value) bool {
	busy := func(v wire.Value) (kept []wire.Value) {
		for _, row := range v.Elems {
			if pairs(row)["pel-count"].Text != "0" {
				kept = append(kept, row)
			}
		}
		return kept
	}
	return slices.EqualFunc(busy(redis), busy(cairn), func(a, b wire.Value) bool { return a.Kind == b.Kind && sameMaps(pairs(a), pairs(b)) })
}
