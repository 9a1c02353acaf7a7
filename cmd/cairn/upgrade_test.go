package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cairndb/cairn/tools/poll"
	"github.com/cairndb/cairn/tools/testnode"
)

// firstFormatPort is the port of the first of the nodes whose folders testdata/format1.tar.gz has.
const firstFormatPort = 21300

// TestUpgradeFromFormat1 starts the folders of a cluster that was made before there were replicas and groups: three primaries, killed. All data is there,
// the group forms by itself, and replicas can be added.
func TestUpgradeFromFormat1(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	unpack(t, filepath.Join("testdata", "format1.tar.gz"), dir)
	var nodes []*testnode.Node
	var ports []string
	for i := range 3 {
		n, err := testnode.New(testnode.CairnOptions(testnode.Binary(t), filepath.Join(dir, fmt.Sprintf("node%d", i)), "--cluster-enabled", "yes", "--cluster-node-timeout", "2000"))
		if err != nil {
			t.Fatal(err)
		}
		testnode.Register(t, n)
		nodes = append(nodes, n)
		for _, offset := range []int{0, 10000} {
			ports = append(ports, fmt.Sprint(firstFormatPort+i+offset), fmt.Sprint(n.Port+offset))
		}
	}
	for _, n := range nodes {
		path := filepath.Join(n.Dir, "nodes.conf")
		conf, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, []byte(strings.NewReplacer(ports...).Replace(string(conf))), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
	}
	replicated(t, nodes, 0)
	hasFirstData(t, nodes)
	for _, n := range nodes {
		if line, err := os.ReadFile(filepath.Join(n.Dir, "CAIRN")); err != nil || string(line) != "cairn data folder, version 1\n" {
			t.Errorf("the folder says %q, %v", line, err)
		}
	}

	fresh := testnode.StartClusterNodes(t, 1, "--cluster-node-timeout", "2000")[0]
	do(t, fresh.Port, "CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(nodes[0].Port))
	id := do(t, nodes[0].Port, "CLUSTER", "MYID").Text
	poll.Succeeds(t, 60*time.Second, func() error {
		v, err := fresh.Do("CLUSTER", "REPLICATE", id)
		return errors.Join(err, v.Err())
	})
	all := append(nodes, fresh)
	replicated(t, all, 1)
	poll.Succeeds(t, 60*time.Second, func() error { return sameEnd(nodes[0], fresh) })
	nodes[0].Kill()
	role(t, fresh, "master", 60*time.Second)
	for _, n := range nodes[1:] { // who asks them is sent to the new primary
		poll.Succeeds(t, 60*time.Second, func() error {
			v, err := n.Do("GET", "{06S}") // of slot 0
			if err == nil && v.Text != "MOVED 0 "+fresh.Addr() {
				err = fmt.Errorf("port %d: %s", n.Port, v.Text)
			}
			return err
		})
	}
	hasFirstData(t, all[1:])
}

// unpack extracts an archive of regular files.
func unpack(t *testing.T, archive, dir string) {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for in := tar.NewReader(z); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		content, err := io.ReadAll(in)
		if err = errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o755)); err == nil {
			err = os.WriteFile(path, content, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// hasFirstData compares what the cluster has with what was written before: one half then went to the store's files, the other one is only in the logs.
func hasFirstData(t *testing.T, nodes []*testnode.Node) {
	t.Helper()
	var addrs []string
	for _, n := range nodes {
		addrs = append(addrs, n.Addr())
	}
	db := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs})
	defer db.Close()
	want := map[string]string{"counter": "60"}
	for i := range 400 {
		want[fmt.Sprintf("key:%d", i)] = fmt.Sprintf("value %d", i)
		if i%200 >= 20 {
			want[fmt.Sprintf("later:%d", i)] = "x"
		}
	}
	for i := range 10 {
		want[fmt.Sprintf("medium:%d", i)] = strings.Repeat(fmt.Sprintf("m%d.", i), 300)
		want[fmt.Sprintf("large:%d", i)] = strings.Repeat(fmt.Sprintf("l%d.", i), 9000)
		bits := make([]byte, (1000+i)/8+1)
		bits[(1000+i)/8] = 1 << (7 - (1000+i)%8)
		want[fmt.Sprintf("bits:%d", i)] = string(bits)
	}
	for key, value := range want {
		got, err := db.Get(t.Context(), key).Result()
		if err != nil || got != value {
			t.Errorf("%s: %.40q, %v", key, got, err)
		}
		if strings.HasPrefix(key, "later:") && db.ExpireTime(t.Context(), key).Val() != 4102444800*time.Second {
			t.Errorf("%s expires at another time", key)
		}
	}
	total := int64(0)
	for _, n := range nodes {
		if info, err := n.Info("replication"); err == nil && info["role"] == "master" {
			total += do(t, n.Port, "DBSIZE").Int()
		}
	}
	if total != int64(len(want)) {
		t.Errorf("%d keys instead of %d", total, len(want))
	}
}
