package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cairndb/cairn/tools/poll"
	"github.com/cairndb/cairn/tools/testnode"
)

// TestStaleReplicaRedirects: a replica answers clients that sent READONLY; when its data may be too old it sends them to its primary.
func TestStaleReplicaRedirects(t *testing.T) {
	t.Parallel()
	nodes := oneShard(t, 2, 1)
	do(t, nodes[0].Port, "SET", "a", "1")
	conn, err := nodes[1].Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answers := func(begin string) {
		t.Helper()
		poll.Succeeds(t, 30*time.Second, func() error {
			if v, err := conn.Do("GET", "a"); err != nil || !strings.HasPrefix(v.String(), begin) {
				return fmt.Errorf("GET: %v, %v", v, err)
			}
			return nil
		})
	}
	answers("-MOVED ")
	for _, args := range [][]string{{"READONLY"}, {"CONFIG", "SET", "replica-max-staleness", "60000"}} {
		if _, err := conn.Must(args...); err != nil {
			t.Fatal(err)
		}
	}
	poll.Until(t, "reads count for the slot on the replica", func() bool {
		answers(`$"1"`)
		v, err := conn.Do("CLUSTER", "SLOT-STATS", "ORDERBY", "cpu-usec", "LIMIT", "1")
		return err == nil && len(v.Elems) == 1 && v.Elems[0].Elems[0].Int() == 15495 && v.Elems[0].Elems[1].Elems[3].Int() > 0
	})
	if _, err := conn.Must("CONFIG", "SET", "replica-max-staleness", "1"); err != nil {
		t.Fatal(err)
	}
	answers(fmt.Sprintf("-MOVED 15495 %s", nodes[0].Addr()))
	if _, err := conn.Must("READWRITE"); err != nil {
		t.Fatal(err)
	}
	answers("-MOVED ")
}

// TestReluctantReplicas: replicas that may not take their primary's place do so neither when it stops nor when it is gone, until one of them may.
func TestReluctantReplicas(t *testing.T) {
	t.Parallel()
	nodes := oneShard(t, 3, 0)
	a, b, c := nodes[0], nodes[1], nodes[2]
	do(t, b.Port, "CONFIG", "SET", "cluster-replica-no-failover", "yes")
	do(t, c.Port, "CONFIG", "SET", "replica-priority", "0")
	poll.Succeeds(t, 30*time.Second, func() error {
		if v, err := a.Do("CLUSTER", "NODES"); err != nil || strings.Count(v.Text, " slave,nofailover ") != 2 {
			return fmt.Errorf("%v, %v", v, err)
		}
		return nil
	})
	if err := a.Stop(30 * time.Second); err != nil {
		t.Fatal(err)
	}
	poll.Until(t, "the group finds nobody to take its place", func() bool {
		return strings.Contains(b.Log()+c.Log(), "no replica can be made primary")
	})
	for _, n := range []*testnode.Node{b, c} {
		role(t, n, "slave,nofailover", time.Second)
	}
	do(t, c.Port, "CONFIG", "SET", "replica-priority", "7")
	role(t, c, "master", 30*time.Second)
	role(t, b, "slave,nofailover", time.Second)
}
