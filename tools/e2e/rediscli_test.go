package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cairndb/cairn/tools/testnode"
)

// cli runs redis-cli against the node, with input, and returns what it printed.
func cli(t *testing.T, n *testnode.Node, input string, args ...string) string {
	t.Helper()
	return cliFor(t, 30*time.Second, n, input, args...)
}

// cliFor ends redis-cli after the time; modes that run for ever end so, and
// stdbuf keeps what they have printed from being lost in a buffer.
func cliFor(t *testing.T, limit time.Duration, n *testnode.Node, input string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, testnode.Peer(t, "stdbuf"), append([]string{"-oL", testnode.Peer(t, "redis-cli"), "-p", strconv.Itoa(n.Port)}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil && ctx.Err() == nil {
		t.Errorf("redis-cli %v: %v\n%s", args, err, out.String())
	}
	return out.String()
}

// wants reports what is missing in a tool's output.
func wants(t *testing.T, what, output string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(output, text) {
			t.Errorf("%s: no %q in\n%s", what, text, output)
		}
	}
}

// TestRedisCLIModes runs redis-cli's modes on a standalone node.
func TestRedisCLIModes(t *testing.T) {
	t.Parallel()
	n := testnode.StartCairn(t)
	var load strings.Builder
	const records = 5000
	for i := range records {
		fmt.Fprintf(&load, "SET rec:%d value-%d\r\n", i, i)
	}
	wants(t, "--pipe", cli(t, n, load.String(), "--pipe"), "errors: 0, replies: "+strconv.Itoa(records))
	if err := mustSet(n, "biggest", strings.Repeat("x", 50_000)); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(cli(t, n, "", "--scan", "--pattern", "rec:*"), "\n"); got != records {
		t.Errorf("--scan printed %d keys of %d", got, records)
	}
	wants(t, "--bigkeys", cli(t, n, "", "--bigkeys"), "Sampled 5001 keys", `Biggest string found '"biggest"' has 50000 bytes`)
	wants(t, "--memkeys", cli(t, n, "", "--memkeys"), "Sampled 5001 keys", `"biggest"`)
	wants(t, "--latency", cli(t, n, "", "--latency"), " ")
	wants(t, "--stat", cliFor(t, time.Second, n, "", "--stat", "-i", "0.1"), "keys       mem      clients blocked requests", "5001")
	wants(t, "-3", cli(t, n, "", "-3", "HELLO"), "proto", "3")
	wants(t, "INFO", cli(t, n, "", "INFO", "keyspace"), "db0:keys=5001,expires=0")
	wants(t, "inline script", cli(t, n, "MULTI\nINCR n\nGET n\nEXEC\n"), "QUEUED", "1")
}

func mustSet(n *testnode.Node, key, value string) error {
	v, err := n.Do("SET", key, value)
	if err == nil {
		err = v.Err()
	}
	return err
}

// startWithConfigFiles starts nodes in cluster mode, each with a configuration file that CONFIG REWRITE can write.
func startWithConfigFiles(t *testing.T, count int) []*testnode.Node {
	t.Helper()
	binary, dir := testnode.Binary(t), t.TempDir()
	nodes := make([]*testnode.Node, count)
	for i := range nodes {
		conf := filepath.Join(dir, fmt.Sprintf("node%d.conf", i))
		if err := os.WriteFile(conf, []byte("# a comment that stays\ncluster-enabled yes\nappendfsync everysec\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		n, err := testnode.New(testnode.Options{Command: []string{binary, "server", conf}, Dir: filepath.Join(dir, fmt.Sprintf("node%d", i))})
		if err != nil {
			t.Fatal(err)
		}
		testnode.Register(t, n)
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
		nodes[i] = n
	}
	return nodes
}

// TestRedisCLICluster forms a cluster with redis-cli and uses it.
func TestRedisCLICluster(t *testing.T) {
	t.Parallel()
	testnode.Peer(t, "redis-cli")
	nodes := startWithConfigFiles(t, 3)
	create := []string{"--cluster", "create"}
	for _, n := range nodes {
		create = append(create, n.Addr())
	}
	wants(t, "create", cliFor(t, time.Minute, nodes[0], "", append(create, "--cluster-yes")...), "All 16384 slots covered", "All nodes agree about slots configuration")
	if err := testnode.WaitClusterOK(nodes, 30*time.Second); err != nil {
		t.Fatal(err)
	}

	for i := range 30 {
		key, value := fmt.Sprintf("key:%d", i), fmt.Sprintf("value %d", i)
		wants(t, "SET with -c", cli(t, nodes[0], "", "-c", "SET", key, value), "OK")
		wants(t, "GET with -c", cli(t, nodes[i%3], "", "-c", "GET", key), value)
	}
	moved := 0
	for i := range 30 {
		if strings.HasPrefix(cli(t, nodes[0], "", "GET", fmt.Sprintf("key:%d", i)), "MOVED ") {
			moved++
		}
	}
	if moved == 0 || moved == 30 {
		t.Errorf("%d of 30 keys are elsewhere", moved)
	}
	wants(t, "-c over several nodes", cli(t, nodes[0], "GET key:1\nGET key:2\nGET key:3\n", "-c"), "value 1", "value 2", "value 3")

	address := nodes[1].Addr()
	wants(t, "check", cli(t, nodes[0], "", "--cluster", "check", address), "30 keys in 3 masters", "All nodes agree", "All 16384 slots covered")
	wants(t, "info", cli(t, nodes[0], "", "--cluster", "info", address), "30 keys in 3 masters", "slots | 0 slaves")
	if got := strings.Count(cli(t, nodes[0], "", "--cluster", "call", address, "PING"), "PONG"); got != 3 {
		t.Errorf("call: %d of 3 nodes answered PING", got)
	}
	wants(t, "set-timeout", cli(t, nodes[0], "", "--cluster", "set-timeout", address, "4321"), "New node timeout set. 3 OK, 0 ERR.")
	for _, n := range nodes {
		wants(t, "the new timeout", cli(t, n, "", "CONFIG", "GET", "cluster-node-timeout"), "4321")
	}
}
