package main

import (
	"slices"
	"strconv"
	"strings"

	"github.com/cairndb/cairn/tools/wire"
)

// A rule decides whether two replies that are not byte for byte equal are the same answer.
type rule func(args []string, redis, cairn wire.Value) bool

// rules are for the commands whose replies depend on time, chance or the
// process; their names are lower case, with "|" before a subcommand. Errors and
// nulls are always compared exactly.
var rules = map[string]rule{
	"ttl":         within(3),
	"pttl":        within(3000),
	"expiretime":  within(3),
	"pexpiretime": within(3000),

	"keys":         sameMembers,
	"config|get":   samePairs,
	"command":      sameShape, // TestCommandInfo compares each command by its name
	"command|info": sameInfo,
	"command|list": sameShape,
	"scan":         sameScan,

	"hgetall":    sameEntries(2),
	"hkeys":      sameMembers,
	"hvals":      sameMembers,
	"hscan":      sameCollectionScan(2),
	"hrandfield": sameLength, // the state check looks at what it returns

	"smembers":    sameMembers,
	"sinter":      sameMembers,
	"sunion":      sameMembers,
	"sdiff":       sameMembers,
	"sscan":       sameCollectionScan(1),
	"spop":        sameLength,
	"srandmember": sameLength,

	"zadd":             sameScores,
	"zincrby":          sameScores,
	"zscore":           sameScores,
	"zmscore":          sameScores,
	"zrange":           sameScores,
	"zrangebyscore":    sameScores,
	"zrevrange":        sameScores,
	"zrevrangebyscore": sameScores,
	"zpopmin":          sameScores,
	"zpopmax":          sameScores,
	"zmpop":            sameScores,
	"zunion":           sameScores,
	"zinter":           sameScores,
	"zdiff":            sameScores,
	"zscan":            sameZScan,
	"zrandmember":      sameLength, // the state check looks at what it returns

	"randomkey":       sameShape, // the state check looks at what it returns
	"time":            sameShape,
	"lastsave":        sameShape,
	"role":            sameShape,
	"info":            sameShape,
	"dump":            sameShape, // crosswise RESTORE compares the contents
	"hello":           sameHello,
	"client|id":       sameShape,
	"client|info":     sameShape,
	"client|list":     sameShape,
	"object|idletime": sameShape,
	"object|freq":     sameShape,
	"memory|usage":    sameShape,
	"memory|stats":    sameShape,
	"memory|doctor":   sameShape,
	"lolwut":          sameShape,
	"command|count":   sameShape,
	"command|docs":    sameDocs,
	"slowlog|len":     sameShape,
	"slowlog|get":     sameShape,
	"latency|latest":  sameShape,
	"latency|history": sameShape,

	"object|help": sameShape, "client|help": sameShape, "config|help": sameShape, "command|help": sameShape,
	"memory|help": sameShape, "slowlog|help": sameShape, "latency|help": sameShape, "debug|help": sameShape,
}

// same reports whether both replied alike to args.
func same(args []string, redis, cairn wire.Value) bool {
	if redis.Equal(cairn) {
		return true
	}
	if redis.Kind != cairn.Kind || redis.Null || cairn.Null || redis.IsError() {
		return false
	}
	name := strings.ToLower(args[0])
	if len(args) > 1 {
		if r, ok := rules[name+"|"+strings.ToLower(args[1])]; ok {
			return r(args, redis, cairn)
		}
	}
	r, ok := rules[name]
	return ok && r(args, redis, cairn)
}

func sameShape(_ []string, redis, cairn wire.Value) bool {
	return redis.Kind == cairn.Kind && redis.Null == cairn.Null
}

func sameMembers(_ []string, redis, cairn wire.Value) bool {
	return redis.Sorted().Equal(cairn.Sorted())
}

// sameEntries compares entries of n elements each, in any order. A map of RESP3 has its pairs in a row, too.
func sameEntries(n int) rule {
	return func(_ []string, redis, cairn wire.Value) bool {
		return entries(redis, n).Sorted().Equal(entries(cairn, n).Sorted())
	}
}

// entries puts n elements at a time into arrays.
func entries(v wire.Value, n int) wire.Value {
	grouped := wire.Value{Kind: '*'}
	for chunk := range slices.Chunk(v.Elems, n) {
		grouped.Elems = append(grouped.Elems, wire.Value{Kind: '*', Elems: chunk})
	}
	return grouped
}

// sameCollectionScan is sameScan for HSCAN, SSCAN and ZSCAN, whose entries are n elements each.
func sameCollectionScan(n int) rule {
	return func(args []string, redis, cairn wire.Value) bool {
		if len(redis.Elems) != 2 || len(cairn.Elems) != 2 || redis.Elems[1].Kind != cairn.Elems[1].Kind {
			return false
		}
		if args[2] != "0" || redis.Elems[0].Text != "0" || cairn.Elems[0].Text != "0" {
			return redis.Elems[0].Kind == cairn.Elems[0].Kind
		}
		return sameEntries(n)(args, redis.Elems[1], cairn.Elems[1])
	}
}

// sameLength is for what is chosen at random: as many, in the same form.
func sameLength(_ []string, redis, cairn wire.Value) bool {
	if redis.Kind != cairn.Kind || redis.Null != cairn.Null || len(redis.Elems) != len(cairn.Elems) {
		return false
	}
	for i := range redis.Elems {
		if !sameLength(nil, redis.Elems[i], cairn.Elems[i]) {
			return false
		}
	}
	return true
}

// samePairs compares names and values in any order; what "*" returns depends on which directives there are.
func samePairs(args []string, redis, cairn wire.Value) bool {
	if slices.Contains(args, "*") {
		return true
	}
	a, b := pairs(redis), pairs(cairn)
	for name, v := range a {
		if !v.Equal(b[name]) {
			return false
		}
	}
	return len(a) == len(b)
}

// within allows for the time between the two servers' executions; what is no time (-1, -2) is exact.
func within(tolerance int64) rule {
	return func(_ []string, redis, cairn wire.Value) bool {
		a, err1 := strconv.ParseInt(redis.Text, 10, 64)
		b, err2 := strconv.ParseInt(cairn.Text, 10, 64)
		return err1 == nil && err2 == nil && a > 0 && b > 0 && a-b <= tolerance && b-a <= tolerance
	}
}

// sameScan compares the keys of one call that returned everything on both sides.
// Cursors and the number of keys in a call are the server's own business.
func sameScan(args []string, redis, cairn wire.Value) bool {
	if len(redis.Elems) != 2 || len(cairn.Elems) != 2 {
		return false
	}
	if args[1] != "0" || redis.Elems[0].Text != "0" || cairn.Elems[0].Text != "0" {
		return redis.Elems[0].Kind == cairn.Elems[0].Kind && redis.Elems[1].Kind == cairn.Elems[1].Kind
	}
	return redis.Elems[1].Sorted().Equal(cairn.Elems[1].Sorted())
}

// sameHello ignores the version and the connection's number.
func sameHello(_ []string, redis, cairn wire.Value) bool {
	if len(redis.Elems) != len(cairn.Elems) {
		return false
	}
	for i := 0; i+1 < len(redis.Elems); i += 2 {
		if !redis.Elems[i].Equal(cairn.Elems[i]) {
			return false
		}
		switch key := redis.Elems[i].Text; key {
		case "version", "id":
			if redis.Elems[i+1].Kind != cairn.Elems[i+1].Kind {
				return false
			}
		default:
			if !redis.Elems[i+1].Equal(cairn.Elems[i+1]) {
				return false
			}
		}
	}
	return true
}

// sameInfo compares COMMAND INFO's rows. Flags, categories and tips are sets; a
// container may hold fewer subcommands than Redis's, but none that differs, and
// those of later releases beside them.
func sameInfo(args []string, redis, cairn wire.Value) bool {
	if len(args) == 2 {
		return true // all commands, which are not the same ones; TestCommandInfo asks for each
	}
	if len(redis.Elems) != len(cairn.Elems) {
		return false
	}
	for i := range redis.Elems {
		if !sameInfoRow(redis.Elems[i], cairn.Elems[i]) {
			return false
		}
	}
	return true
}

func sameInfoRow(redis, cairn wire.Value) bool {
	if redis.Null || cairn.Null || len(redis.Elems) != 10 || len(cairn.Elems) != 10 {
		return redis.Equal(cairn)
	}
	for i := range 9 {
		if !deepSorted(redis.Elems[i]).Equal(deepSorted(cairn.Elems[i])) {
			return false
		}
	}
	known := make(map[string]wire.Value)
	for _, sub := range redis.Elems[9].Elems {
		known[sub.Elems[0].Text] = sub
	}
	for _, sub := range cairn.Elems[9].Elems {
		if other, ok := known[sub.Elems[0].Text]; ok && !sameInfoRow(other, sub) {
			return false
		}
	}
	return true
}

func deepSorted(v wire.Value) wire.Value {
	elems := make([]wire.Value, len(v.Elems))
	for i, e := range v.Elems {
		elems[i] = deepSorted(e)
	}
	v.Elems = elems
	return v.Sorted()
}

// sameDocs compares the structure of COMMAND DOCS: which commands, and their
// arguments. Descriptions are Cairn's own words, and histories tell of Redis's releases.
func sameDocs(args []string, redis, cairn wire.Value) bool {
	if len(args) == 2 {
		return true
	}
	a, b := pairs(redis), pairs(cairn)
	if len(a) != len(b) {
		return false
	}
	for name, doc := range a {
		other, ok := b[name]
		if !ok || !sameArguments(pairs(doc)["arguments"], pairs(other)["arguments"]) {
			return false
		}
	}
	return true
}

func sameArguments(redis, cairn wire.Value) bool {
	if len(redis.Elems) != len(cairn.Elems) {
		return false
	}
	for i := range redis.Elems {
		a, b := pairs(redis.Elems[i]), pairs(cairn.Elems[i])
		// Not the names: Redis 7.2 has renamed many, and clients go by types and tokens.
		if a["type"].Text != b["type"].Text || a["token"].Text != b["token"].Text {
			return false
		}
		if !a["flags"].Sorted().Equal(b["flags"].Sorted()) || !sameArguments(a["arguments"], b["arguments"]) {
			return false
		}
	}
	return true
}

// pairs reads a map of RESP3, or a RESP2 array of names and values.
func pairs(v wire.Value) map[string]wire.Value {
	m := make(map[string]wire.Value, len(v.Elems)/2)
	for i := 0; i+1 < len(v.Elems); i += 2 {
		m[v.Elems[i].Text] = v.Elems[i+1]
	}
	return m
}
