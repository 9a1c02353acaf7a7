package main

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cairndb/cairn/tools/testnode"
	"github.com/cairndb/cairn/tools/wire"
)

// TestCairnAgainstRedis is the short run; CAIRN_DIFF_COMMANDS makes it longer and CAIRN_DIFF_SEED repeats one.
func TestCairnAgainstRedis(t *testing.T) {
	t.Parallel()
	o := options{seed: number("CAIRN_DIFF_SEED", 1), commands: int(number("CAIRN_DIFF_COMMANDS", 8000)), perCase: 1000, maxDiffs: 10, shrinkFor: 5 * time.Second}
	if found, out := compareNodes(t, testnode.StartRedis(t), testnode.StartCairn(t, "--enable-debug-command", "yes"), o); found > 0 {
		t.Error(out)
	}
}

// TestClusterAgainstRedis compares a cluster, between whose nodes the slots of all keys move, with Redis as a cluster of one node. It is short, as the
// one above.
func TestClusterAgainstRedis(t *testing.T) {
	t.Parallel()
	o := options{seed: number("CAIRN_DIFF_SEED", 1), commands: int(number("CAIRN_DIFF_COMMANDS", 1200)), perCase: 600, small: true, families: clusterFamilies(), maxDiffs: 10, out: new(bytes.Buffer)}
	c := &comparison{redis: &server{node: testnode.StartRedis(t, clusterArgs...)}}
	nodes := testnode.StartClusterNodes(t, 3, append(clusterArgs, "--enable-debug-command", "yes")...)
	c.cairn = &server{node: nodes[0]}
	if err := c.gather(nodes, o.seed); err != nil {
		t.Fatal(err)
	}
	m := c.cairn.cluster.mover
	m.start()
	t.Cleanup(m.close)
	if found, err := c.campaign(o); err != nil || found > 0 {
		t.Errorf("%v\n%s", err, o.out)
	}
	if m.moves.Load() == 0 {
		t.Error("no slot has moved")
	}
}

func number(variable string, otherwise uint64) uint64 {
	if n, err := strconv.ParseUint(os.Getenv(variable), 10, 64); err == nil {
		return n
	}
	return otherwise
}

// TestCommandTable asks for each command that Cairn lists, in the form of COMMAND INFO, DOCS and GETKEYS that libraries use.
func TestCommandTable(t *testing.T) {
	t.Parallel()
	redis, cairn := testnode.StartRedis(t), testnode.StartCairn(t)
	names, err := cairn.Do("COMMAND", "LIST")
	if err != nil || len(names.Elems) < 50 {
		t.Fatalf("COMMAND LIST: %v %v", names, err)
	}
	commands := slices.DeleteFunc(names.Strings(), func(name string) bool { return strings.Contains(name, "|") })
	if count, err := cairn.Do("COMMAND", "COUNT"); err != nil || count.Int() != int64(len(commands)) {
		t.Errorf("COMMAND COUNT: %v %v; COMMAND LIST has %d without subcommands", count, err, len(commands))
	}
	for _, name := range names.Strings() {
		for _, form := range []string{"INFO", "DOCS"} {
			args := []string{"COMMAND", form, name}
			a, b := ask(t, redis, args), ask(t, cairn, args)
			if !agree(args, a, b) && !slices.Contains(changedIn72, name) && !slices.Contains(unknownToRedis, name) {
				t.Errorf("%v:\n  redis: %s\n  cairn: %s", args, a, b)
			}
		}
	}
}

// changedIn72 are the commands that Redis 7.2 has and 7.0 has not, and those that it, or a later release, describes otherwise.
var changedIn72 = []string{"client|setinfo", "client|no-touch", "cluster|myshardid", "client|list", "client|kill", "waitaof",
	"hscan", "zrank", "zrevrank"}

// unknownToRedis are Cairn's own commands, and those of Valkey and of later releases.
var unknownToRedis = []string{"cairn.sync", "cluster|recover", "cluster|migrateslots", "cluster|getslotmigrations", "cluster|cancelslotmigrations", "cluster|slot-stats",
	"hexpire", "hpexpire", "hexpireat", "hpexpireat", "httl", "hpttl", "hexpiretime", "hpexpiretime", "hpersist", "hgetex", "hsetex", "hgetdel"}

func ask(t *testing.T, n *testnode.Node, args []string) wire.Value {
	t.Helper()
	v, err := n.Do(args...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestInfoFields: monitoring reads INFO by name, so every field that Redis has
// in the sections that mean something here is there.
func TestInfoFields(t *testing.T) {
	t.Parallel()
	redis, cairn := testnode.StartRedis(t), testnode.StartCairn(t)
	for _, section := range []string{"server", "clients", "stats", "replication", "cpu", "keyspace", "cluster"} {
		want, err := redis.Info(section)
		if err != nil {
			t.Fatal(err)
		}
		got, err := cairn.Info(section)
		if err != nil {
			t.Fatal(err)
		}
		for field := range want {
			if _, ok := got[field]; !ok {
				t.Errorf("INFO %s has no %s", section, field)
			}
		}
	}
}
