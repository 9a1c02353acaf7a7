package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"github.com/cairndb/cairn/tools/testnode"
)

// TestClients lets every client library work on one cluster that it reaches through one node.
func TestClients(t *testing.T) {
	t.Parallel()
	nodes := testnode.StartCluster(t, 3)
	// The clients below run side by side; the cluster lives until all are done.
	t.Run("clients", func(t *testing.T) {
		for _, protocol := range []int{2, 3} {
			t.Run(fmt.Sprintf("go-redis with RESP%d", protocol), func(t *testing.T) {
				t.Parallel()
				goRedis(t, nodes[0].Addr(), protocol)
			})
			t.Run(fmt.Sprintf("node-redis with RESP%d", protocol), func(t *testing.T) {
				t.Parallel()
				nodeScript(t, "node-redis.cjs", strconv.Itoa(nodes[2].Port), strconv.Itoa(protocol))
			})
		}
		t.Run("rueidis", func(t *testing.T) { t.Parallel(); useRueidis(t, nodes[1].Addr()) })
		t.Run("redis-py", func(t *testing.T) { t.Parallel(); python(t, strconv.Itoa(nodes[1].Port)) })
		t.Run("ioredis", func(t *testing.T) { t.Parallel(); nodeScript(t, "ioredis.cjs", strconv.Itoa(nodes[2].Port)) })
	})
}

func goRedis(t *testing.T, addr string, protocol int) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	db := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{addr}, Protocol: protocol})
	defer db.Close()
	name := fmt.Sprintf("goredis%d", protocol)
	for i := range 100 {
		k := fmt.Sprintf("%s:%d", name, i)
		if err := db.Set(ctx, k, i, time.Hour).Err(); err != nil {
			t.Fatal(err)
		}
		if got, err := db.Get(ctx, k).Int(); err != nil || got != i {
			t.Fatalf("%s: %d %v", k, got, err)
		}
	}
	if err := db.Get(ctx, name+":absent").Err(); !errors.Is(err, redis.Nil) {
		t.Errorf("an absent key: %v", err)
	}
	var got []*redis.StringCmd
	if _, err := db.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range 100 {
			got = append(got, p.Get(ctx, fmt.Sprintf("%s:%d", name, i)))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for i, cmd := range got {
		if n, err := cmd.Int(); err != nil || n != i {
			t.Fatalf("pipelined GET %d: %d %v", i, n, err)
		}
	}
	tag := "{" + name + "}"
	if err := db.MSet(ctx, tag+"a", "1", tag+"b", "2").Err(); err != nil {
		t.Error(err)
	}
	if v, err := db.MGet(ctx, tag+"a", tag+"b", tag+"absent").Result(); err != nil || fmt.Sprint(v) != "[1 2 <nil>]" {
		t.Errorf("MGET: %v %v", v, err)
	}
	cmds, err := db.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.IncrBy(ctx, tag+"a", 4)
		p.Append(ctx, tag+"b", "x")
		return nil
	})
	if err != nil || cmds[0].(*redis.IntCmd).Val() != 5 || cmds[1].(*redis.IntCmd).Val() != 2 {
		t.Errorf("MULTI: %v %v", cmds, err)
	}
	err = db.Watch(ctx, func(tx *redis.Tx) error {
		if err := db.Set(ctx, tag+"a", "changed", 0).Err(); err != nil {
			return err
		}
		_, err := tx.TxPipelined(ctx, func(p redis.Pipeliner) error { return p.Set(ctx, tag+"a", "lost", 0).Err() })
		return err
	}, tag+"a")
	if !errors.Is(err, redis.TxFailedErr) {
		t.Errorf("a transaction over a changed key: %v", err)
	}
	if err := db.MGet(ctx, name+":1", name+":2", name+":3").Err(); err == nil || !strings.Contains(err.Error(), "CROSSSLOT") {
		t.Errorf("keys in several slots: %v", err)
	}
}

func useRueidis(t *testing.T, addr string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	db, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, DisableCache: true, ShuffleInit: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var sets, gets rueidis.Commands
	for i := range 200 {
		k := fmt.Sprintf("rueidis:%d", i)
		sets = append(sets, db.B().Set().Key(k).Value(k).Build())
		gets = append(gets, db.B().Get().Key(k).Build())
	}
	for _, r := range db.DoMulti(ctx, sets...) {
		if err := r.Error(); err != nil {
			t.Fatal(err)
		}
	}
	for i, r := range db.DoMulti(ctx, gets...) {
		if got, err := r.ToString(); err != nil || got != fmt.Sprintf("rueidis:%d", i) {
			t.Fatalf("GET %d: %q %v", i, got, err)
		}
	}
	if err := db.Do(ctx, db.B().Get().Key("rueidis:absent").Build()).Error(); !rueidis.IsRedisNil(err) {
		t.Errorf("an absent key: %v", err)
	}
	if n, err := db.Do(ctx, db.B().Del().Key("{rueidis}a", "{rueidis}b").Build()).AsInt64(); err != nil || n != 0 {
		t.Errorf("DEL: %d %v", n, err)
	}
	got, err := rueidis.MGet(db, ctx, []string{"rueidis:1", "rueidis:2", "rueidis:absent"})
	if err != nil || len(got) != 3 {
		t.Fatalf("MGET over slots: %v %v", got, err)
	}
	second := got["rueidis:2"]
	if s, err := second.ToString(); err != nil || s != "rueidis:2" {
		t.Errorf("MGET over slots: %q %v", s, err)
	}
}

// scriptTimeout bounds a client in another language.
const scriptTimeout = time.Minute

func runScript(t *testing.T, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), scriptTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	// Libraries log expected errors too: only the last word of the standard output counts.
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil || strings.TrimSpace(out.String()) != "ok" {
		t.Errorf("%v: %v\n%s%s", args, err, out.String(), log.String())
	}
}

// python prefers Debian's interpreter, where python3-redis is.
func python(t *testing.T, args ...string) {
	for _, interpreter := range []string{"/usr/bin/python3", "python3"} {
		if exec.Command(interpreter, "-c", "import redis.cluster").Run() == nil {
			runScript(t, interpreter, append([]string{"cluster.py"}, args...)...)
			return
		}
	}
	testnode.Missing(t, "Python with redis-py (python3-redis) is not installed")
}

// nodeScript runs a script of the folder node; its libraries come from NODE_PATH
// or from an npm install in that folder.
func nodeScript(t *testing.T, script string, args ...string) {
	path := testnode.Peer(t, "node")
	check := exec.Command(path, "-e", "require('ioredis'); require('redis')")
	check.Dir = "node"
	if out, err := check.CombinedOutput(); err != nil {
		first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		testnode.Missing(t, "the Node.js clients are not installed (npm install in tools/e2e/node, or NODE_PATH=%s): %s", os.Getenv("NODE_PATH"), first)
	}
	runScript(t, path, append([]string{filepath.Join("node", script)}, args...)...)
}
