package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cairndb/cairn/tools/testnode"
)

// collectionTest is a command on collections as redis-benchmark takes it; value stands for one of the wanted size. Cairn must reach these ratios
// to Redis at pipeline 1 and 16; 0 for no bar.
type collectionTest struct {
	name      string
	args      []string
	rate      float64
	pipelined float64
}

// collectionTests are in an order in which each round takes as many elements as it has put.
var collectionTests = []collectionTest{
	{"lpush", []string{"LPUSH", "list", "value"}, 0.75, 0.6},
	{"rpush", []string{"RPUSH", "list", "value"}, 0.75, 0.6},
	{"lrange_100", []string{"LRANGE", "list", "0", "99"}, 0.7, 0},
	{"lpop", []string{"LPOP", "list"}, 0.75, 0.6},
	{"rpop", []string{"RPOP", "list"}, 0.75, 0.6},
	{"sadd", []string{"SADD", "set", "member:__rand_int__"}, 0.75, 0.5},
	{"hset", []string{"HSET", "hash", "field:__rand_int__", "value"}, 0.75, 0.5},
	{"zadd", []string{"ZADD", "zset", "__rand_int__", "member:__rand_int__"}, 0.75, 0.5},
	{"spop", []string{"SPOP", "set"}, 0.7, 0.4},
	{"zpopmin", []string{"ZPOPMIN", "zset"}, 0.7, 0.4},
	{"hset_small", []string{"HSET", "h:__rand_int__", "field", "value"}, 0.75, 0.6},
	{"hget_small", []string{"HGET", "h:__rand_int__", "field"}, 0.75, 0.6},
	{"zadd_small", []string{"ZADD", "z:__rand_int__", "1", "member:__rand_int__"}, 0.75, 0.6},
	{"sadd_small", []string{"SADD", "s:__rand_int__", "member:__rand_int__"}, 0.75, 0.6},
	{"xadd", []string{"XADD", "stream", "*", "field", "value"}, 0.7, 0.5},
	{"xreadgroup", []string{"XREADGROUP", "GROUP", "group", "consumer", "COUNT", "1", "NOACK", "STREAMS", "stream", ">"}, 0, 0},
	{acknowledgeTest, nil, 0.7, 0.5},
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
	if o.tests == "" {
		var names []string
		for _, t := range collectionTests {
			names = append(names, t.name)
		}
		o.tests = strings.Join(names, ",")
	}
	return sideBySide(ctx, o, binary, preloadCollections)
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
