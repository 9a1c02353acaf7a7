package command

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cairndb/cairn/tools/testnode"
	"github.com/cairndb/cairn/tools/wire"
)

// sameAsRedis are scripts whose replies must be Redis's to the byte, in RESP2 and in RESP3. A script starts on
// fresh connections; a line that starts with "~" is compared by the type of its reply only.
var sameAsRedis = map[string]string{
	"ping": `PING
		PING hello
		PING a b
		ECHO hello
		ECHO
		ECHO a b`,
	"select": `SELECT 1
		SET k v
		SELECT 0
		GET k
		SELECT 1
		DEL k
		SELECT 15
		SELECT 16
		SELECT -1
		SELECT x
		SELECT 99999999999
		SELECT 9999999999999999999999
		SELECT
		SELECT 1 2`,
	"hello": `HELLO x
		HELLO 4
		HELLO 1
		HELLO 2 FOO
		HELLO 2 AUTH a
		HELLO 2 AUTH a b
		HELLO 2 SETNAME
		HELLO 2 SETNAME ""
		CLIENT GETNAME
		HELLO 2 SETNAME bob
		CLIENT GETNAME
		HELLO 3 AUTH default anything SETNAME alice
		CLIENT GETNAME
		HELLO 99999999999999999999`,
	"auth": `AUTH x
		AUTH default x
		AUTH nobody x
		AUTH a b c
		AUTH`,
	"reset": `CLIENT SETNAME bob
		SELECT 3
		MULTI
		SET k v
		RESET
		CLIENT GETNAME
		EXEC
		GET k
		RESET x`,
	"quit":    "QUIT",
	"cluster": "READONLY\nREADWRITE\nASKING\nREADONLY x",
	"multi": `MULTI
		MULTI
		SET a 1
		GET a
		INCR a
		STRLEN
		EXEC
		MULTI
		SET a 1
		GET a
		APPEND a x
		INCR a
		EXEC
		EXEC
		DISCARD
		MULTI
		DISCARD
		MULTI
		WATCH a
		GET a
		EXEC
		UNWATCH
		WATCH
		MULTI x
		EXEC x
		MULTI
		EXEC x
		EXEC
		MULTI
		NOSUCHCOMMAND
		EXEC
		MULTI
		GET a b c
		DISCARD
		MULTI
		SAVE
		EXEC
		MULTI
		SHUTDOWN
		EXEC
		MULTI
		PING
		ECHO hi
		SELECT 99
		CLIENT GETNAME
		CLIENT NOSUCH
		EXEC
		WATCH a
		SET a 2
		MULTI
		GET a
		EXEC
		WATCH a b
		MULTI
		GET a
		EXEC
		DEL a`,
	"client": `CLIENT
		CLIENT NOSUCH
		CLIENT GETNAME
		CLIENT SETNAME a
		CLIENT GETNAME
		CLIENT SETNAME "a b"
		CLIENT SETNAME ""
		CLIENT GETNAME
		CLIENT SETNAME
		~CLIENT ID
		CLIENT ID x
		~CLIENT INFO
		~CLIENT LIST
		~CLIENT LIST TYPE normal
		CLIENT LIST TYPE master
		CLIENT LIST TYPE replica
		CLIENT LIST TYPE slave
		CLIENT LIST TYPE pubsub
		CLIENT LIST TYPE nosuch
		CLIENT LIST TYPE
		CLIENT LIST ID
		CLIENT LIST ID x
		CLIENT LIST ID 99999999
		CLIENT LIST ID -1
		CLIENT LIST FOO
		CLIENT LIST FOO BAR
		CLIENT REPLY ON
		CLIENT REPLY FOO
		CLIENT REPLY
		CLIENT NO-EVICT ON
		CLIENT NO-EVICT OFF
		CLIENT NO-EVICT x
		CLIENT NO-EVICT`,
	"client kill": `CLIENT KILL
		CLIENT KILL 1.2.3.4:5
		CLIENT KILL ID 99999999
		CLIENT KILL ID 0
		CLIENT KILL ID -1
		CLIENT KILL ID x
		CLIENT KILL ID
		CLIENT KILL TYPE nosuch
		CLIENT KILL TYPE master
		CLIENT KILL TYPE pubsub
		CLIENT KILL USER nosuch
		CLIENT KILL ADDR 1.2.3.4:5
		CLIENT KILL LADDR 1.2.3.4:5
		CLIENT KILL ADDR 1.2.3.4:5 TYPE normal SKIPME yes
		CLIENT KILL ADDR 1.2.3.4:5 SKIPME maybe
		CLIENT KILL ADDR 1.2.3.4:5 SKIPME
		CLIENT KILL FOO BAR
		CLIENT KILL a b c`,
	"client pause": `CLIENT PAUSE x
		CLIENT PAUSE -1
		CLIENT PAUSE 1.5
		CLIENT PAUSE 99999999999999999999
		CLIENT PAUSE 1 FOO
		CLIENT PAUSE 0 WRITE
		CLIENT PAUSE 0 ALL
		CLIENT PAUSE 0 ALL x
		CLIENT PAUSE
		CLIENT UNPAUSE
		CLIENT UNPAUSE x`,
	"saving": `SAVE
		SAVE x
		BGSAVE FOO
		BGSAVE SCHEDULE x
		~LASTSAVE
		LASTSAVE x
		~TIME
		TIME x
		~ROLE
		ROLE x
		BGREWRITEAOF x
		SHUTDOWN FOO
		SHUTDOWN ABORT
		SHUTDOWN ABORT NOW
		SHUTDOWN NOSAVE SAVE
		SHUTDOWN NOSAVE SAVE NOW FORCE
		~LOLWUT
		~LOLWUT VERSION 5
		~LOLWUT VERSION 6
		LOLWUT VERSION x`,
	"memory": `MEMORY
		MEMORY NOSUCH
		MEMORY USAGE
		MEMORY USAGE nokey
		SET k v
		~MEMORY USAGE k
		~MEMORY USAGE k SAMPLES 0
		~MEMORY USAGE k SAMPLES 5
		MEMORY USAGE k SAMPLES -1
		MEMORY USAGE k SAMPLES x
		MEMORY USAGE k SAMPLES
		MEMORY USAGE k FOO
		MEMORY USAGE k FOO 1
		~MEMORY STATS
		MEMORY STATS x
		~MEMORY DOCTOR
		~MEMORY MALLOC-STATS
		MEMORY PURGE
		MEMORY PURGE x
		DEL k`,
	"slowlog": `SLOWLOG
		SLOWLOG NOSUCH
		SLOWLOG RESET
		SLOWLOG LEN
		SLOWLOG GET
		SLOWLOG GET 5
		SLOWLOG GET -1
		SLOWLOG GET 0
		SLOWLOG GET -2
		SLOWLOG GET x
		SLOWLOG GET 99999999999999999999
		SLOWLOG GET 1 2
		SLOWLOG LEN x`,
	"latency": `LATENCY
		LATENCY NOSUCH
		LATENCY RESET
		LATENCY RESET a b
		LATENCY LATEST
		LATENCY HISTORY nosuch
		LATENCY HISTORY
		LATENCY GRAPH nosuch
		~LATENCY DOCTOR
		LATENCY HISTOGRAM nosuch
		LATENCY LATEST x`,
	"debug": `DEBUG
		DEBUG JMAP
		DEBUG SLEEP
		DEBUG SLEEP 0
		DEBUG SLEEP x
		DEBUG SLEEP 0.01
		DEBUG SET-ACTIVE-EXPIRE 1
		DEBUG SET-ACTIVE-EXPIRE
		DEBUG DIGEST-VALUE
		SET a hello
		SET b "" EX 1000
		SETRANGE big 70000 x
		DEBUG DIGEST-VALUE a b big nosuch
		DEBUG ERROR "MY error"
		DEBUG PROTOCOL string
		DEBUG PROTOCOL integer
		DEBUG PROTOCOL double
		DEBUG PROTOCOL null
		DEBUG PROTOCOL array
		DEBUG PROTOCOL set
		DEBUG PROTOCOL map
		DEBUG PROTOCOL verbatim
		DEBUG PROTOCOL true
		DEBUG PROTOCOL false
		DEBUG PROTOCOL bignum
		DEBUG PROTOCOL foo
		DEL a b big`,
	"info": `~INFO
		INFO nosuch
		INFO nosuch other
		INFO cluster
		INFO Keyspace
		INFO cluster KEYSPACE`,
}

func TestSameAsRedis(t *testing.T) {
	t.Parallel()
	redis := testnode.StartRedis(t)
	for _, proto := range []string{"2", "3"} {
		for _, name := range slices.Sorted(maps.Keys(sameAsRedis)) {
			t.Run("RESP"+proto+"/"+name, func(t *testing.T) {
				theirs, err := redis.Dial()
				if err != nil {
					t.Fatal(err)
				}
				defer theirs.Close()
				if _, err := theirs.Must("FLUSHALL"); err != nil {
					t.Fatal(err)
				}
				ours := connect(t, startNode(t, "--enable-debug-command", "yes"))
				if proto == "3" {
					ours.do("HELLO", "3")
					if _, err := theirs.Must("HELLO", "3"); err != nil {
						t.Fatal(err)
					}
				}
				for line := range strings.Lines(sameAsRedis[name]) {
					compare(t, theirs, ours, line)
				}
			})
		}
	}
}

func compare(t *testing.T, theirs *wire.Conn, ours *testClient, line string) {
	t.Helper()
	line, shape := strings.CutPrefix(strings.TrimSpace(line), "~")
	args := splitLine(line)
	want, err := theirs.Do(args...)
	if err != nil {
		t.Fatalf("%s: Redis: %v", line, err)
	}
	got := ours.do(args...)
	if args[0] == "HELLO" && !want.IsError() {
		want, got = helloFacts(want), helloFacts(got)
	}
	if shape && got.Kind != want.Kind || !shape && !got.Equal(want) {
		t.Errorf("%s\n got %s\nwant %s", line, got, want)
	}
}

// helloFacts blanks out what differs between the servers.
func helloFacts(v wire.Value) wire.Value {
	v.Elems = slices.Clone(v.Elems)
	for i := 1; i < len(v.Elems); i += 2 {
		if name := v.Elems[i-1].Text; name == "version" || name == "id" {
			v.Elems[i].Text = ""
		}
	}
	return v
}

// splitLine splits at spaces; double quotes hold an argument together.
func splitLine(line string) (args []string) {
	for i, part := range strings.Split(line, `"`) {
		if i%2 == 1 {
			args = append(args, part)
		} else {
			args = append(args, strings.Fields(part)...)
		}
	}
	return args
}

// fieldsOf are the names of the fields of each section of INFO, in their order.
func fieldsOf(info string) map[string][]string {
	sections, title := map[string][]string{}, ""
	for line := range strings.SplitSeq(info, "\r\n") {
		if name, ok := strings.CutPrefix(line, "# "); ok {
			title = name
			sections[title] = nil
		} else if name, _, ok := strings.Cut(line, ":"); ok {
			sections[title] = append(sections[title], name)
		}
	}
	return sections
}

// cairnFields are not Redis 7.0's: later ones added them, or they are Cairn's own.
var cairnFields = []string{"cairn_version", "go_version", "listener0", "expired_subkeys", "total_blocking_keys", "total_blocking_keys_on_nokey",
	"acl_access_denied_auth", "acl_access_denied_cmd", "acl_access_denied_key", "acl_access_denied_channel"}

func TestInfoHasRedisFields(t *testing.T) {
	t.Parallel()
	redis := testnode.StartRedis(t)
	theirs, err := redis.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	ours := connect(t, startNode(t))
	for _, c := range []func(...string) wire.Value{ours.do, func(a ...string) wire.Value { v, _ := theirs.Do(a...); return v }} {
		c("SET", "k", "v")
		c("GET", "k")
		c("NOSUCH")
	}
	reply, err := theirs.Do("INFO", "everything")
	if err != nil {
		t.Fatal(err)
	}
	want, got := fieldsOf(reply.Text), fieldsOf(ours.do("INFO", "everything").Text)
	if len(got["Engine"]) == 0 {
		t.Error("no section Engine")
	}
	delete(got, "Engine")
	for title := range got {
		got[title] = slices.DeleteFunc(got[title], func(f string) bool { return slices.Contains(cairnFields, f) })
	}
	for title, fields := range want {
		if title == "Commandstats" || title == "Latencystats" {
			continue // Redis counts the commands of the harness, too
		}
		if !slices.Equal(got[title], fields) {
			t.Errorf("%s:\n got %v\nwant %v", title, got[title], fields)
		}
	}
	for title := range got {
		if _, ok := want[title]; !ok {
			t.Errorf("section %s is not Redis's", title)
		}
	}
}

func TestMemoryStatsHasRedisFields(t *testing.T) {
	t.Parallel()
	redis := testnode.StartRedis(t)
	theirs, err := redis.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	ours := connect(t, startNode(t))
	fields := func(do func(...string) wire.Value) (names []string) {
		do("HELLO", "3")
		do("SET", "k", "v")
		do("SELECT", "2")
		do("SET", "k", "v")
		stats := do("MEMORY", "STATS").Elems
		for i := 0; i < len(stats); i += 2 {
			names = append(names, string(stats[i+1].Kind)+stats[i].Text)
		}
		return names
	}
	want := fields(func(args ...string) wire.Value {
		v, err := theirs.Must(args...)
		if err != nil {
			t.Fatal(err)
		}
		return v
	})
	if got := fields(ours.do); !slices.Equal(got, want) {
		t.Errorf("got\n%v\nwant\n%v", got, want)
	}
}
