// Package differences is the list of what Cairn answers otherwise than Redis on purpose.
package differences

import (
	"slices"
	"strings"

	"github.com/cairndb/cairn/tools/wire"
)

// Difference is one from Debian's Redis 7.0 that Cairn has on purpose.
// docs/differences.md is generated from this list.
type Difference struct {
	Name, What, Why string
	// Commands are those that differ in this way from Redis 7.2 as well: docs/commands.md refers to it. "config|*" is each subcommand, "*|help" each of
	// that name.
	Commands string
	// match reports whether the replies differ in this way. It is nil where the
	// tester does not look (see rules).
	match func(args []string, redis, cairn wire.Value) bool
}

// All is the list.
var All = []Difference{
	{
		Name: "commands of 7.2",
		What: "`CLIENT SETINFO`, `CLIENT NO-TOUCH` and what else Redis 7.2 added are served; Redis 7.0 reports unknown subcommands.",
		Why:  "Cairn follows Redis 7.2, the last release under a free licence; 7.0 is what Debian ships for comparison.",
		match: func(args []string, redis, _ wire.Value) bool {
			return redis.IsError() && Is(args, "client", "setinfo", "no-touch")
		},
	},
	{
		Name:     "later hash commands",
		Commands: "hexpire hexpireat hexpiretime hgetdel hgetex hpersist hpexpire hpexpireat hpexpiretime hpttl hscan hsetex httl",
		What:     "`HEXPIRE` and its kin are served as in Redis 7.4, with `HSCAN … NOVALUES`, and `HGETEX`, `HSETEX` and `HGETDEL` as in Redis 8. A field that has expired is absent for every command but `HLEN`, which counts it until it is removed.",
		Why:      "Expiry of fields belongs to a durable store. Redis's `HSET`, `HDEL` and `HEXPIRE` still see an expired field that it has not removed yet.",
		match: func(args []string, redis, _ wire.Value) bool {
			return Is(args, "hscan") && redis.IsError() && slices.ContainsFunc(args, func(a string) bool { return strings.EqualFold(a, "novalues") })
		},
	},
	{
		Name:     "many random fields",
		Commands: "hrandfield srandmember",
		What:     "`HRANDFIELD` and `SRANDMEMBER` with a negative count refuse a reply of more than 1 GiB.",
		Why:      "Redis builds it in memory, however long, until the process is killed.",
	},
	{
		Name:     "large replies",
		Commands: "get getrange hgetall hkeys hvals lpop lrange rpop smembers spop substr zpopmax zpopmin zrange zrangebylex zrangebyscore zrevrange zrevrangebylex zrevrangebyscore",
		What:     "A large reply of a read of one key is sent while it is written: `client-output-buffer-limit` bounds what waits of it, 256 KiB or an element, not its length. A client that takes less than 256 KiB in a minute, or in the seconds of its soft limit, is closed; so is one whose reply can't be finished because of damage on the disk, and one with more than 1 GiB of replies that could not be sent yet: what it has popped by such a command is gone.",
		Why:      "Redis has the whole reply in memory.",
	},
	{
		Name: "small sets",
		What: "A small set is a `listpack` also when its members are no integers, with the directives `set-max-listpack-entries` and `set-max-listpack-value`, as in Redis 7.2; in Redis 7.0 it is a `hashtable`.",
		Why:  "Cairn follows Redis 7.2.",
		match: func(args []string, redis, cairn wire.Value) bool {
			switch {
			case Is(args, "object", "encoding"):
				return redis.Text == "hashtable" && cairn.Text == "listpack"
			case Is(args, "config", "set", "get") && len(args) > 2: // GET where a SET was damaged
				directive := strings.ToLower(args[2])
				return (strings.HasPrefix(directive, "set-max-listpack-") || directive == "packed-max-bytes") && (redis.IsError() || len(redis.Elems) == 0)
			}
			return false
		},
	},
	{
		Name: "arguments about absent keys",
		What: "`BITCOUNT` and `BITPOS` refuse illegal arguments before they look at the key, as Redis 7.2; Redis 7.0 answers 0 or -1 when it does not exist, and `WRONGTYPE` when it is no string.",
		Why:  "Cairn follows Redis 7.2.",
		match: func(args []string, redis, cairn wire.Value) bool {
			return (Is(args, "bitcount") || Is(args, "bitpos")) && (redis.Kind == ':' || strings.HasPrefix(redis.Text, "WRONGTYPE")) && cairn.IsError()
		},
	},
	{
		Name:     "encoding of lists",
		Commands: "object|encoding",
		What:     "`OBJECT ENCODING` of a list is `listpack` or `quicklist`, as in Redis 7.2; in Redis 7.0 it is always `quicklist`. A quicklist is called listpack again when it takes half of `list-max-listpack-size`; Redis also waits until it is one node.",
		Why:      "Cairn follows Redis 7.2. Where a quicklist's nodes end depends on the order of all changes.",
		match: func(args []string, redis, cairn wire.Value) bool {
			return Is(args, "object", "encoding") && redis.Text == "quicklist" && cairn.Text == "listpack"
		},
	},
	{
		Name: "the least integer",
		What: "`LREM` with a count, and `LPOS` with a rank, of -9223372036854775808 are errors.",
		Why:  "Its opposite is no 64-bit integer. Redis 7.2 refuses it, too; 7.0 does not.",
		match: func(args []string, _, cairn wire.Value) bool {
			return (Is(args, "lrem") || Is(args, "lpos")) && strings.HasPrefix(cairn.Text, "ERR value is out of range, value must between")
		},
	},
	{
		Name:     "long elements",
		Commands: "hmset hset hsetex hsetnx linsert lpush lpushx lset restore rpush rpushx sadd xadd zadd zincrby",
		What:     "An element of a large collection (a field with its value, an entry of a stream with all its fields) may take up to 64 MiB, in Redis each part `proto-max-bulk-len`.",
		Why:      "An element lies in the store as a whole; a string is divided into chunks.",
	},
	{
		Name: "scores",
		What: "Numbers in replies have as few digits as tell them from others, as in Redis 7.2 (`0.1`); Redis 7.0 prints 17 (`0.10000000000000001`). `ZRANK` and `ZREVRANK` take `WITHSCORE`. `ZADD` and `GEOADD` of more members at once than fit into a listpack make a skiplist even when they turn out to be the same ones.",
		Why:  "Cairn follows Redis 7.2.",
		match: func(args []string, redis, cairn wire.Value) bool {
			return Is(args, "object", "encoding") && redis.Text == "listpack" && cairn.Text == "skiplist"
		},
	},
	{
		Name:     "ranges by members",
		Commands: "zlexcount zrange zrangebylex zrangestore zremrangebylex zrevrangebylex zscan",
		What:     "`ZRANGEBYLEX` and its kin on members of different scores find others than Redis, which does not specify what it finds. `ZSCAN` returns the members of a skiplist in another order.",
		Why:      "The members are in the order of their scores: there is no range of names to look up.",
	},
	{
		Name: "order of HELLO",
		What: "`HELLO` checks its syntax before it authenticates, as Redis 7.2; Redis 7.0 the other way round.",
		Why:  "Cairn follows Redis 7.2.",
		match: func(args []string, redis, cairn wire.Value) bool {
			return Is(args, "hello") && strings.HasPrefix(redis.Text, "WRONGPASS") && cairn.IsError()
		},
	},
	{
		Name:     "versions",
		Commands: "command command|count command|list hello info",
		What:     "`INFO` and `HELLO` report `redis_version` 7.2.4 beside `cairn_version`; `COMMAND COUNT` and `COMMAND LIST` hold the commands that are served.",
		Why:      "Clients choose their commands by the version; an honest list keeps them from calling what is not there.",
	},
	{
		Name:     "descriptions",
		Commands: "*|help command|docs lolwut memory|doctor",
		What:     "`COMMAND DOCS`, the `HELP` subcommands, `MEMORY DOCTOR` and `LOLWUT` say the same in other words.",
		Why:      "The texts are Cairn's own; names, arguments and their structure are compared exactly.",
	},
	{
		Name:     "order",
		Commands: "keys scan",
		What:     "`SCAN` and `KEYS` return keys in another order, `SCAN` with other cursors.",
		Why:      "Redis's order is that of its hash table; Cairn's that of its store. Redis promises neither.",
	},
	{
		Name:     "sizes and idle times",
		Commands: "memory|usage object|idletime restore touch",
		What:     "`MEMORY USAGE` gives the bytes stored for a key; `OBJECT IDLETIME` counts from the last write of the key, and `TOUCH`, reads and `RESTORE … IDLETIME` do not change it.",
		Why:      "Data is on disk: there is no object in memory to measure, and a clock write for each read would cost more than the read.",
	},
	{
		Name:     "expired keys",
		Commands: "dbsize",
		What:     "A key that is set with, or given, an expiry that has passed is gone at once; other expired keys are removed in the background. `DBSIZE` may differ in between.",
		Why:      "Redis counts an expired key until something touches it or its background cycle finds it.",
	},
	{
		Name: "consumers of streams",
		What: "`XREADGROUP`, `XCLAIM` and `XAUTOCLAIM` create the consumer also when it gets nothing, and `XINFO` tells `inactive` and `active-time`, as Redis 7.2; in 7.0 there is no such consumer.",
		Why:  "Cairn follows Redis 7.2.",
		match: func(args []string, redis, cairn wire.Value) bool {
			return Is(args, "xgroup", "createconsumer") && redis.Text == "1" && cairn.Text == "0"
		},
	},
	{
		Name: "errors of streams",
		What: "`XADD` with `<ms>-*` says that the id is too small when `<ms>` has no sequence left; `XSETID` refuses an id before the greatest deleted one; an unbalanced list of streams is told with the command's name.",
		Why:  "So does Redis 7.2; 7.0 says that the elements are too large, sets the id, and always says `XREAD`.",
		match: func(args []string, redis, cairn wire.Value) bool {
			return Is(args, "xsetid") && strings.Contains(cairn.Text, "max_deleted_entry_id") || Is(args, "xadd") && redis.Text == "ERR Elements are too large to be stored" && strings.Contains(cairn.Text, "equal or smaller") ||
				strings.HasPrefix(redis.Text, "ERR Unbalanced XREAD list") && strings.HasPrefix(cairn.Text, "ERR Unbalanced '"+strings.ToLower(args[0])+"' list")
		},
	},
	{
		Name:     "inside of streams",
		Commands: "xinfo|stream",
		What:     "In `XINFO STREAM`, `radix-tree-keys` is what Redis would have, and `radix-tree-nodes` one more.",
		Why:      "Entries lie one by one in the store. Their grouping is kept, so that approximate trimming deletes what Redis deletes; there is no tree above it. `RESTORE` groups them anew by the present limits.",
	},
	{
		Name:     "WATCH",
		Commands: "watch",
		What:     "What makes the consumer groups of a stream larger or smaller (`XREADGROUP`, `XACK`, `XCLAIM`, `XGROUP`, …) fails an `EXEC` that watches the key; in Redis only what changes entries does. So does `SETBIT` of a bit that has the value already when it makes an integer a raw string.",
		Why:      "A watched key is one whose record is written, and the group and the encoding belong to it.",
	},
	{
		Name:     "DUMP and RESTORE",
		Commands: "dump restore restore-asking",
		What:     "`DUMP` writes RDB version 10 and compresses nothing. `RESTORE` reads what Redis 2.2 to 7.4 have written, and checks payloads as with `sanitize-dump-payload yes`, and somewhat more: scores in listpacks are numbers, a stream's entries are in order and counted. `DUMP` of what has no payload within `proto-max-bulk-len` is an error.",
		Why:      "Redis 7.0 and 7.2 both read version 10. A payload comes from outside.",
	},
	{
		Name:     "MIGRATE",
		Commands: "migrate",
		What:     "`MIGRATE` is refused inside `MULTI`. It sends nothing to a target that refuses `AUTH` or `SELECT`, deletes only what was answered by `+OK`, and may take keys out of a slot that another node owns.",
		Why:      "A transaction holds locks, which must not wait for another node. Redis restores into the database before where `SELECT` fails, and `redis-cli --cluster fix` cannot gather the keys of a slot from several of its nodes.",
	},
	{
		Name: "client-side caching",
		What: "`CLIENT TRACKING`, `CACHING`, `GETREDIR` and `TRACKINGINFO` are unknown subcommands.",
		Why:  "Tracking is not served; an error tells a client at once.",
	},
	{
		Name:     "saving",
		Commands: "bgrewriteaof bgsave info save shutdown",
		What:     "`SAVE`, `BGSAVE` and `BGREWRITEAOF` flush the store and sync the log; no dump file is written. INFO's `aof_*` fields describe the log, and `rdb_changes_since_last_save` is 0. `SHUTDOWN NOSAVE` loses nothing, and there is never a shutdown to `ABORT`.",
		Why:      "What is acknowledged is in the log already, within `appendfsync`.",
	},
	{
		Name:     "CLUSTER SETSLOT NODE",
		Commands: "cluster|setslot",
		What:     "It is refused on the target when the slot is imported from a node that is not its owner any more.",
		Why:      "A replica that has taken the source's place does not know of the move, and may have taken new keys, which would be lost.",
	},
	{
		Name:     "CLUSTER REPLICATE, FAILOVER",
		Commands: "cluster|failover cluster|replicate",
		What:     "They are refused inside `MULTI`.",
		Why:      "A change of role waits until no command uses the store, `EXEC` included.",
	},
	{
		Name:     "waiting for keys",
		Commands: "blmove blmpop blpop brpop brpoplpush bzmpop bzpopmax bzpopmin xread xreadgroup",
		What: "In a cluster, who waits for a key on a primary that becomes a replica gets `-MOVED` and stays connected; standalone it gets `-UNBLOCKED …` and is closed, as in Redis, which does so in a cluster, too. " +
			"Who is looked at and finds nothing keeps its place; Redis 7.2 puts it behind those who came later. Of several keys that a transaction makes ready the first that the command names is taken, as in Redis 7.2; in Redis 7.0 the one that was written first.",
		Why: "A redirect says where to wait now.",
	},
	{
		Name:     "DEBUG",
		Commands: "debug",
		What:     "`DEBUG` has `SLEEP` (stops its own connection only), `SET-ACTIVE-EXPIRE`, `DIGEST-VALUE`, `ERROR`, `PROTOCOL` and `HELP`; everything else is an unknown subcommand.",
		Why:      "The others look into structures that do not exist here, or crash the server on purpose.",
	},
	{
		Name:     "INFO and MEMORY",
		Commands: "info memory|malloc-stats memory|purge memory|stats",
		What:     "`used_memory` is what the Go runtime has in use and the record cache; `allocator_*` are the runtime's figures. CPU time of a main thread, script engines, eviction, defragmentation and forks are 0. The section `Engine`, `cairn_version` and `go_version` are Cairn's own.",
		Why:      "What has no meaning here has Redis's neutral value instead of an invented one.",
	},
	{
		Name:     "LATENCY",
		Commands: "latency|doctor latency|graph latency|latest latency|history",
		What:     "The monitor knows the events `command` and `fast-command`. `GRAPH` and `DOCTOR` look and read differently.",
		Why:      "Redis's other events are steps of its own event loop, of forks and of eviction.",
	},
}

// Intended reports whether the difference between two replies to a command stands in the list.
func Intended(args []string, redis, cairn wire.Value) bool {
	for _, d := range All {
		if d.match != nil && d.match(args, redis, cairn) {
			return true
		}
	}
	return false
}

// Is reports whether args call the command, with one of the subcommands if any are given.
func Is(args []string, name string, subcommands ...string) bool {
	if !strings.EqualFold(args[0], name) {
		return false
	}
	for _, s := range subcommands {
		if len(args) > 1 && strings.EqualFold(args[1], s) {
			return true
		}
	}
	return len(subcommands) == 0
}
