package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cairndb/cairn/tools/testnode"
)

// collectionTest is a command on collections as redis-benchmark takes it; value stands for one of the wanted size. Cairn must reach these ratios
// to Redis at pipeline 1 and 16; 0 for no bar. Each group has servers of its own, so that what a test leaves does not take the memory of another one.
type collectionTest struct {
	group     string
	name      string
	args      []string
	rate      float64
	pipelined float64
}

// collectionTests are in an order in which each round takes as many elements as it has put.
var collectionTests = []collectionTest{
	{"list", "lpush", []string{"LPUSH", "list", "value"}, 0.75, 0.6},
	{"list", "rpush", []string{"RPUSH", "list", "value"}, 0.75, 0.6},
	{"list", "lrange_100", []string{"LRANGE", "list", "0", "99"}, 0.7, 0},
	{"list", "lpop", []string{"LPOP", "list"}, 0.75, 0.6},
	{"list", "rpop", []string{"RPOP", "list"}, 0.75, 0.6},
	{"set", "sadd", []string{"SADD", "set", "member:__rand_int__"}, 0.75, 0.5},
	{"hash", "hset", []string{"HSET", "hash", "field:__rand_int__", "value"}, 0.75, 0.5},
	{"zset", "zadd", []string{"ZADD", "zset", "__rand_int__", "member:__rand_int__"}, 0.75, 0.5},
	{"set", "spop", []string{"SPOP", "set"}, 0.7, 0.4},
	{"zset", "zpopmin", []string{"ZPOPMIN", "zset"}, 0.7, 0.4},
	{"small hashes", "hset_small", []string{"HSET", "h:__rand_int__", "field", "value"}, 0.75, 0.6},
	{"small hashes", "hget_small", []string{"HGET", "h:__rand_int__", "field"}, 0.75, 0.6},
	{"small zsets", "zadd_small", []string{"ZADD", "z:__rand_int__", "1", "member:__rand_int__"}, 0.75, 0.6},
	{"small sets", "sadd_small", []string{"SADD", "s:__rand_int__", "member:__rand_int__"}, 0.75, 0.6},
	{"stream", "xadd", []string{"XADD", "stream", "*", "field", "value"}, 0.7, 0.5},
	{"stream", "xreadgroup", []string{"XREADGROUP", "GROUP", "group", "consumer", "COUNT", "1", "NOACK", "STREAMS", "stream", ">"}, 0, 0},
	{"stream", acknowledgeTest, nil, 0.7, 0.5},
}

func collectionTestOf(name string) *collectionTest {
	i := slices.IndexFunc(collectionTests, func(t collectionTest) bool { return t.name == name })
	if i < 0 {
		return nil
	}
	return &collectionTests[i]
}

// arguments are those that make redis-benchmark run the test.
func (w workload) arguments(valueSize int) []string {
	t := collectionTestOf(w.test)
	if t == nil {
		return []string{"-t", w.test}
	}
	args := slices.Clone(t.args)
	for i, a := range args {
		if a == "value" {
			args[i] = strings.Repeat("x", valueSize)
		}
	}
	return args
}

// collections compares the commands on lists, sets, hashes, sorted sets and streams.
func collections(ctx context.Context, o options, binary string) error {
	wanted := strings.Split(o.tests, ",")
	var groups, tests []string
	for _, t := range collectionTests {
		if o.tests != "" && !slices.Contains(wanted, t.name) {
			continue
		}
		if i := slices.Index(groups, t.group); i >= 0 {
			tests[i] += "," + t.name
		} else {
			groups, tests = append(groups, t.group), append(tests, t.name)
		}
	}
	return sideBySide(ctx, o, binary, tests, preloadCollections)
}

// preloadCollections puts so much into the list that no pop finds it empty, and makes the stream's groups.
func preloadCollections(ctx context.Context, n *testnode.Node, o options) error {
	c, err := n.Dial()
	if err != nil {
		return err
	}
	defer c.Close()
	value := strings.Repeat("x", o.valueSize)
	for range 10 {
		args := []string{"RPUSH", "list"}
		for range 100 {
			args = append(args, value)
		}
		if _, err := c.Must(args...); err != nil {
			return fmt.Errorf("RPUSH: %w", err)
		}
	}
	for _, group := range []string{"group", "acknowledged"} {
		if _, err := c.Must("XGROUP", "CREATE", "stream", group, "$", "MKSTREAM"); err != nil {
			return err
		}
	}
	return preloadEntries(ctx, n, o)
}
