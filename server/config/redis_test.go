package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cairndb/cairn/tools/testnode"
	"github.com/cairndb/cairn/tools/wire"
)

// differs lists where Cairn differs from Redis 7.0 on purpose, or where Redis 7.2 does.
var differs = map[string]string{
	"appendonly":                "the log is always on: the default says so",
	"save":                      "the test's redis-server is started without snapshots",
	"enable-debug-command":      "the test's redis-server is started with it",
	"dir":                       "each has its own",
	"port":                      "each has its own; Redis can change it at run time",
	"bind":                      "as port",
	"tls-port":                  "TLS is not served to clients",
	"tls-cluster":               "as port",
	"tls-key-file-pass":         "encrypted keys are refused with advice",
	"tls-client-key-file-pass":  "as tls-key-file-pass",
	"activedefrag":              "refused by a Redis that was built without jemalloc",
	"repl-diskless-load":        "Redis denies it while it loads",
	"maxclients":                "Redis is bounded by the process's file limit",
	"cluster-announce-hostname": "Redis sets it in cluster mode only",
	"loglevel":                  "Redis 7.2 has a level more",
	"pidfile":                   "Redis writes one",
	"jemalloc-bg-thread":        "as activedefrag",
	"databases":                 "the engine's limit is 128",
	"oom-score-adj-values":      "Redis applies it to the process",
	"oom-score-adj":             "Redis applies it to the process",
	"replica-read-only":         "a replica takes no writes of its own",
	"repl-backlog-size":         "Redis rounds it up to what it allocates",
	"tls-replication":           "replication is not encrypted",
	"proc-title-template":       "means nothing here",
	"logfile":                   "each has its own",
}

// since72 are directives that Redis 7.0 does not know.
var since72 = []string{"set-max-listpack-entries", "set-max-listpack-value", "cluster-announce-human-nodename", "locale-collate"}

func TestNamesAndDefaultsAsRedis(t *testing.T) {
	t.Parallel()
	theirs := configOf(t, testnode.StartRedis(t))
	c := Default()
	ours := map[string]string{}
	for _, p := range c.Get([]string{"*"}) {
		ours[p[0]] = p[1]
	}
	for name, want := range theirs {
		if got, ok := ours[name]; !ok {
			t.Errorf("%s is missing", name)
		} else if got != want && differs[name] == "" {
			t.Errorf("%s is %q, Redis has %q", name, got, want)
		}
	}
	for name := range ours {
		if _, ok := theirs[name]; !ok && byName[name].Flags&Own == 0 && !slices.Contains(since72, name) {
			t.Errorf("%s is unknown to Redis", name)
		}
	}
}

// TestSetAsRedis sends the same CONFIG SETs to both and compares errors and what CONFIG GET shows then.
func TestSetAsRedis(t *testing.T) {
	t.Parallel()
	conn, err := testnode.StartRedis(t).Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := Default()
	inputs := []string{"", "0", "1", "-1", "-2", "5", "99", "100", "1000", "65536", "2147483648", "9223372036854775807", " 5", "+5", "05", "5 ", "5.5", "0x10",
		"yes", "NO", "maybe", "1k", "1KB", "3mb", "2G", "1b", "kb", "5%", "-5%", "101%", "1kbx", "1 2 3", "900 1 300 10", "normal 1 2 3", "pubsub 1mb 2mb -1",
		"KEA", "xyz", "a b", "everysec", "noeviction", "99.9", "nosave force", "Default", "1 2 3 4", "normal 1 2 3 replica 4 5 6", "50 101"}
	for _, d := range all {
		for _, name := range []string{d.Name, d.Alias} {
			if name == "" || differs[d.Name] != "" || d.Flags&Own != 0 || slices.Contains(since72, d.Name) {
				continue
			}
			for _, in := range inputs {
				if in == "0x10" && d.Kind == List {
					continue // a percentile in hexadecimal
				}
				compareSet(t, c, conn, [2]string{name, in})
			}
			compareSet(t, c, conn, [2]string{name, d.Default})
		}
	}
	for _, pairs := range [][][2]string{
		{{"nosuch", "1"}}, {{"hz", "20"}, {"maxmemory", "abc"}}, {{"hz", "10"}, {"HZ", "11"}}, {{"nosuch", "1"}, {"hz", "33"}},
		{{"hz", "33"}, {"nosuch", "1"}}, {{"hz", "x"}, {"daemonize", "yes"}}, {{"daemonize", "yes"}, {"hz", "x"}},
		{{"daemonize", "yes"}, {"nosuch", "x"}}, {{"slave-lazy-flush", "yes"}, {"replica-lazy-flush", "no"}}, {{"timeout", "3"}, {"tcp-keepalive", "4"}},
	} {
		compareSet(t, c, conn, pairs...)
	}
}

func compareSet(t *testing.T, c *Config, conn *wire.Conn, pairs ...[2]string) {
	t.Helper()
	args := []string{"CONFIG", "SET"}
	get := []string{"CONFIG", "GET"}
	var names []string
	for _, p := range pairs {
		args = append(args, p[0], p[1])
		get = append(get, p[0])
		names = append(names, p[0])
	}
	theirs, err := conn.Do(args...)
	if err != nil {
		t.Fatal(err)
	}
	want := "OK"
	if theirs.IsError() {
		want = strings.TrimPrefix(theirs.Err().Error(), "ERR ")
	}
	got := "OK"
	if err := c.Set(pairs); err != nil {
		got = err.Error()
	}
	if got != want {
		t.Errorf("CONFIG SET %q\n  answers %s\n  Redis   %s", pairs, got, want)
		return
	}
	shown, err := conn.Must(get...)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := fmt.Sprint(c.Get(names)), fmt.Sprint(sortedPairs(shown)); a != b {
		t.Errorf("after CONFIG SET %q: %s, Redis has %s", pairs, a, b)
	}
}

func configOf(t *testing.T, n *testnode.Node) map[string]string {
	t.Helper()
	v, err := n.Do("CONFIG", "GET", "*")
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]string{}
	for _, p := range sortedPairs(v) {
		m[p[0]] = p[1]
	}
	return m
}

func sortedPairs(v wire.Value) [][2]string {
	var out [][2]string
	s := v.Strings()
	for i := 0; i+1 < len(s); i += 2 {
		out = append(out, [2]string{s[i], s[i+1]})
	}
	slices.SortFunc(out, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	return out
}
