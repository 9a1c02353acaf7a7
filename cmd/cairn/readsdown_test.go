package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairndb/cairn/tools/poll"
	"github.com/cairndb/cairn/tools/testnode"
	"github.com/cairndb/cairn/tools/wire"
)

const (
	downText      = "-CLUSTERDOWN The cluster is down"
	readsOnlyText = "-CLUSTERDOWN The cluster is down and only accepts read commands"
)

// threeAndOne is a cluster of three primaries, who vote, and a replica of the first.
func threeAndOne(t *testing.T) []*testnode.Node {
	t.Helper()
	nodes := testnode.StartClusterNodes(t, 4, "--cluster-node-timeout", "1000", "--loglevel", "verbose")
	if err := testnode.FormCluster(nodes[:3], 60*time.Second); err != nil {
		t.Fatal(err)
	}
	first := do(t, nodes[0].Port, "CLUSTER", "MYID").Text
	do(t, nodes[3].Port, "CLUSTER", "MEET", "127.0.0.1", fmt.Sprint(nodes[0].Port))
	poll.Succeeds(t, 60*time.Second, func() error {
		v, err := nodes[3].Do("CLUSTER", "REPLICATE", first)
		return errors.Join(err, v.Err())
	})
	replicated(t, nodes, 1)
	return nodes
}

// asks is a connection to a node whose answers are waited for.
type asks struct {
	t     *testing.T
	node  *testnode.Node
	first []string // what a new connection begins with
	conn  *wire.Conn
}

func ask(t *testing.T, n *testnode.Node, first ...string) *asks {
	t.Helper()
	a := &asks{t: t, node: n, first: first}
	a.dial()
	return a
}

func (a *asks) dial() {
	a.t.Helper()
	conn, err := a.node.Dial()
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { _ = conn.Close() })
	a.conn = conn
	if len(a.first) > 0 {
		if _, err := conn.Must(a.first...); err != nil {
			a.t.Fatal(err)
		}
	}
}

// gets waits until a command is answered so, and meets no other answers than that and those that may come before. What ends in a space is the beginning of
// an answer. A primary whose lease ends between a command and its reply closes the connection: then there is a new one.
func (a *asks) gets(command, want string, before ...string) {
	a.t.Helper()
	is := func(got, want string) bool {
		return got == want || strings.HasSuffix(want, " ") && strings.HasPrefix(got, want)
	}
	poll.Succeeds(a.t, 60*time.Second, func() error {
		v, err := a.conn.Do(strings.Fields(command)...)
		if errors.Is(err, io.EOF) {
			a.dial()
			return fmt.Errorf("%s: %w", command, err)
		}
		if err != nil {
			a.t.Fatalf("%s: %v", command, err)
		}
		got := v.String()
		switch {
		case is(got, want):
			return nil
		case slices.ContainsFunc(before, func(b string) bool { return is(got, b) }):
			return fmt.Errorf("%s: %s", command, got)
		}
		a.t.Fatalf("%s: %s, want %s", command, got, want)
		return nil
	})
}

// TestReadsWhenDown: with cluster-allow-reads-when-down a cluster that has lost slots serves reads of those that it has. A primary that has lost the majority of the
// voters serves none: another one may have taken its place. Its replica does, to clients that sent READONLY.
func TestReadsWhenDown(t *testing.T) {
	t.Parallel()
	nodes := threeAndOne(t)
	primary, second, third, replica := nodes[0], nodes[1], nodes[2], nodes[3]
	allow := func(yes string) {
		for _, n := range []*testnode.Node{primary, replica} {
			do(t, n.Port, "CONFIG", "SET", "cluster-allow-reads-when-down", yes)
		}
	}
	const here, elsewhere = "b", "a" // of the first and of the third primary
	p, plain, r := ask(t, primary), ask(t, replica), ask(t, replica, "READONLY")
	p.gets("SET "+here+" old", "+OK")
	r.gets("GET "+here, `$"old"`, "$null", "-MOVED ")

	// Two of three voters are lost.
	allow("yes")
	second.Kill()
	third.Kill()
	p.gets("GET "+here, downText, `$"old"`) // until its lease has ended nobody can have taken its place
	for range 3 {
		p.gets("GET "+here, downText)
	}
	p.gets("SET "+here+" new", readsOnlyText, downText)
	r.gets("SET "+here+" new", readsOnlyText, "-MOVED ")
	r.gets("GET "+here, `$"old"`)
	plain.gets("GET "+here, "-MOVED ")
	allow("no")
	p.gets("GET "+here, downText)
	r.gets("GET "+here, downText)

	// There is a majority again, but the third primary's slots are lost.
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	allow("yes")
	p.gets("GET "+here, `$"old"`, downText)
	poll.Within(t, "the third primary has failed", 60*time.Second, func() bool {
		for line := range strings.Lines(do(t, primary.Port, "CLUSTER", "NODES").Text) {
			if strings.Contains(line, third.Addr()+"@") && strings.Contains(line, "master,fail ") {
				return true
			}
		}
		return false
	})
	p.gets("SET "+here+" new", readsOnlyText)
	p.gets("GET "+elsewhere, "-MOVED ")
	r.gets("GET "+here, `$"old"`)
	allow("no")
	p.gets("GET "+here, downText)
	r.gets("GET "+here, downText)
	p.gets("SET "+here+" new", downText)
}

// TestNoStaleReadWhenDown: a primary that was stopped while its replica took its place does not serve what it has, although it may serve reads while it
// takes the cluster for down.
func TestNoStaleReadWhenDown(t *testing.T) {
	t.Parallel()
	nodes := threeAndOne(t)
	primary, replica := nodes[0], nodes[3]
	for _, n := range nodes {
		do(t, n.Port, "CONFIG", "SET", "cluster-allow-reads-when-down", "yes")
	}
	const key = "b"
	p, next := ask(t, primary), ask(t, replica)
	p.gets("SET "+key+" old", "+OK")
	if err := primary.Pause(); err != nil {
		t.Fatal(err)
	}
	next.gets("SET "+key+" new", "+OK", "-MOVED ", "-CLUSTERDOWN ")
	if err := errors.Join(p.conn.Send("GET", key), p.conn.Flush(), primary.Resume()); err != nil {
		t.Fatal(err)
	}
	if v, err := p.conn.Receive(); err == nil && v.Kind != '-' {
		t.Errorf("the old primary answers %v to what it received while it was stopped", v)
	}
	ask(t, primary).gets("GET "+key, "-MOVED ", "-CLUSTERDOWN ", "-LOADING ")
}

// TestValidityFactor: replicas that were without their primary for longer than cluster-replica-validity-factor allows don't take its place by themselves. An operator
// can have one do so.
func TestValidityFactor(t *testing.T) {
	t.Parallel()
	// Valid for 1 s * 1 + 1 s.
	nodes := oneShard(t, 3, 0, "--cluster-replica-validity-factor", "1", "--repl-ping-replica-period", "1")
	a, b, c := nodes[0], nodes[1], nodes[2]
	admin, reader := ask(t, a), ask(t, b, "READONLY")
	admin.gets("SET k v", "+OK")
	reader.gets("GET k", `$"v"`, "$null")
	admin.gets("CONFIG SET requirepass other", "+OK") // the primary lives, but they can't follow it
	admin.gets("CLIENT KILL TYPE replica", ":2")
	for _, n := range []*testnode.Node{b, c} {
		poll.Succeeds(t, 60*time.Second, func() error {
			info, err := n.Info("replication")
			if err != nil || info["master_link_status"] != "down" || info["master_link_down_since_seconds"] < "3" {
				return fmt.Errorf("port %d: %v, %v", n.Port, info, err)
			}
			return nil
		})
	}
	a.Kill()
	poll.Within(t, "the group finds nobody to take its place", 60*time.Second, func() bool {
		return strings.Contains(b.Log()+c.Log(), "no replica can be made primary")
	})
	for _, n := range []*testnode.Node{b, c} {
		role(t, n, "slave", time.Second)
	}
	poll.Succeeds(t, 60*time.Second, func() error {
		v, err := b.Do("CLUSTER", "FAILOVER", "FORCE")
		return errors.Join(err, v.Err())
	})
	role(t, b, "master", 30*time.Second)
	reader.gets("GET k", `$"v"`, "-CLUSTERDOWN ", "-MOVED ")
	role(t, c, "slave", time.Second)
}
