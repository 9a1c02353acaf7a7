package server

import (
	"path/filepath"
	"testing"

	"github.com/cairndb/cairn/cluster"
	"github.com/cairndb/cairn/tools/poll"
)

// clustered starts a server that is the only node of a cluster.
func clustered(t *testing.T, s setup) *testServer {
	t.Helper()
	var err error
	s.cluster, err = cluster.Start(cluster.Options{
		ConfigFile: filepath.Join(t.TempDir(), "nodes.conf"), Port: 7000, BusPort: cluster.AnyPort, Bind: []string{"127.0.0.1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.cluster.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	s.args = append(s.args, "--cluster-enabled", "yes")
	return start(t, s)
}

// TestReplacedWhileRouted: a write that was routed to this node as the slot's primary, and finds that the store follows another node by now, waits until
// it is known who serves it. A cluster's client, which would take READONLY for an error, never sees that.
func TestReplacedWhileRouted(t *testing.T) {
	allDrivers(t, func(t *testing.T, s setup) {
		srv := clustered(t, s)
		c := srv.dial()
		expect(t, c, "CLUSTER ADDSLOTSRANGE 0 16383", "+OK")
		poll.Until(t, "it serves", func() bool { return do(t, c, "SET a 1") == "+OK" })

		store := srv.Store()
		store.Freeze()
		expect(t, c, "MULTI", "+OK")
		expect(t, c, "SET a 2", "+QUEUED")
		if err := store.Promote(); err != nil {
			t.Fatal(err)
		}
		expect(t, c, "EXEC", "*[+OK]")

		store.Freeze()
		for _, w := range []string{"2", "3"} {
			if err := c.Send("SET", "a", w); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
		expectSilence(t, "a write is answered that nobody serves", c)
		if err := store.Promote(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if v, err := c.Receive(); err != nil || v.String() != "+OK" {
				t.Errorf("SET: %v %v", v, err)
			}
		}
		expect(t, c, "GET a", `$"3"`)
	})
}
