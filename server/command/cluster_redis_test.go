package command

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cairndb/cairn/tools/poll"
	"github.com/cairndb/cairn/tools/testnode"
	"github.com/cairndb/cairn/tools/wire"
)

// sameClusterAsRedis is sent to a lone new node of each kind, in one connection; the replies must be equal but for node
// IDs and ports. $me is the node's ID, $no an unknown one; a line that begins with ~ is compared by its
// kind only.
var sameClusterAsRedis = []string{
	`
	CLUSTER INFO
	CLUSTER NODES
	CLUSTER SLOTS
	CLUSTER SHARDS
	CLUSTER LINKS
	CLUSTER MYID
	~CLUSTER HELP
	CLUSTER
	CLUSTER FOO
	CLUSTER INFO x
	SET foo bar
	CLUSTER KEYSLOT
	CLUSTER KEYSLOT foo
	CLUSTER KEYSLOT {foo}bar
	CLUSTER KEYSLOT ""
	CLUSTER COUNTKEYSINSLOT 12182
	CLUSTER COUNTKEYSINSLOT a
	CLUSTER COUNTKEYSINSLOT -1
	CLUSTER COUNTKEYSINSLOT 16384
	CLUSTER GETKEYSINSLOT 12182 10
	CLUSTER GETKEYSINSLOT 12182 -1
	CLUSTER GETKEYSINSLOT -1 1
	CLUSTER GETKEYSINSLOT 16384 1
	CLUSTER GETKEYSINSLOT 1 a
	CLUSTER GETKEYSINSLOT a 1
	CLUSTER SAVECONFIG
	CLUSTER COUNT-FAILURE-REPORTS $me
	CLUSTER COUNT-FAILURE-REPORTS $no
	CLUSTER REPLICAS $me
	CLUSTER REPLICAS $no
	CLUSTER SLAVES $me
	CLUSTER SLAVES a
	CLUSTER REPLICATE $me
	CLUSTER REPLICATE $no
	CLUSTER FAILOVER
	CLUSTER FAILOVER force
	CLUSTER FAILOVER x
	CLUSTER FAILOVER FORCE x
	CLUSTER FORGET $me
	CLUSTER FORGET $no
	CLUSTER MEET a
	CLUSTER MEET a b
	CLUSTER MEET a 1
	CLUSTER MEET 1.2.3.4 70000
	CLUSTER MEET 1.2.3.4 60000
	CLUSTER MEET 1.2.3.4 0
	CLUSTER MEET 1.2.3.4 -1
	CLUSTER MEET 1.2.3.4 1 a
	CLUSTER MEET 1.2.3.4 1 70000
	CLUSTER MEET 1.2.3.4 1 2 3
	CLUSTER MEET localhost 1
	`, `
	CLUSTER ADDSLOTS
	CLUSTER ADDSLOTS a
	CLUSTER ADDSLOTS -1
	CLUSTER ADDSLOTS 16384
	CLUSTER ADDSLOTS 1 1
	CLUSTER ADDSLOTS 1 2 3
	CLUSTER ADDSLOTS 4 3 a
	CLUSTER ADDSLOTS 4 a 3
	CLUSTER ADDSLOTS 3
	CLUSTER ADDSLOTSRANGE 1
	CLUSTER ADDSLOTSRANGE 5 1
	CLUSTER ADDSLOTSRANGE 5 6 7
	CLUSTER ADDSLOTSRANGE 5 9 8 10
	CLUSTER ADDSLOTSRANGE 0 5
	CLUSTER ADDSLOTSRANGE 5 16384
	CLUSTER ADDSLOTSRANGE a 7
	CLUSTER ADDSLOTSRANGE 3 3 a 7
	CLUSTER ADDSLOTSRANGE 3 3 9 7
	CLUSTER ADDSLOTSRANGE 40 41 9 2
	CLUSTER ADDSLOTSRANGE 5 9 20 30
	CLUSTER NODES
	CLUSTER SLOTS
	CLUSTER SHARDS
	CLUSTER DELSLOTS
	CLUSTER DELSLOTS 10
	CLUSTER DELSLOTS 5 5
	CLUSTER DELSLOTS 5 10
	CLUSTER DELSLOTS 5
	CLUSTER DELSLOTSRANGE 5 6
	CLUSTER DELSLOTSRANGE 25 22
	CLUSTER DELSLOTSRANGE 22
	CLUSTER DELSLOTSRANGE 22 23 25 25
	CLUSTER NODES
	CLUSTER SETSLOT
	CLUSTER SETSLOT 1
	CLUSTER SETSLOT 1 foo
	CLUSTER SETSLOT a STABLE
	CLUSTER SETSLOT 1 STABLE
	CLUSTER SETSLOT 1 STABLE x
	CLUSTER SETSLOT 1 MIGRATING
	CLUSTER SETSLOT 1 MIGRATING $no
	CLUSTER SETSLOT 1 IMPORTING $me
	CLUSTER SETSLOT 100 MIGRATING $me
	CLUSTER SETSLOT 100 IMPORTING $no
	CLUSTER SETSLOT 100 IMPORTING $me
	CLUSTER NODES
	CLUSTER SETSLOT 100 stable
	CLUSTER SETSLOT 1 NODE $no
	CLUSTER SETSLOT 1 NODE $me
	CLUSTER SETSLOT 101 NODE $me
	CLUSTER NODES
	CLUSTER FLUSHSLOTS x
	CLUSTER FLUSHSLOTS
	CLUSTER NODES
	`, `
	CLUSTER SET-CONFIG-EPOCH a
	CLUSTER SET-CONFIG-EPOCH -1
	CLUSTER SET-CONFIG-EPOCH 0
	CLUSTER SET-CONFIG-EPOCH 5
	CLUSTER SET-CONFIG-EPOCH 6
	CLUSTER INFO
	CLUSTER BUMPEPOCH
	CLUSTER NODES
	CLUSTER RESET foo
	CLUSTER RESET soft hard
	CLUSTER RESET
	CLUSTER RESET SOFT
	CLUSTER NODES
	CLUSTER RESET hard
	CLUSTER INFO
	CLUSTER NODES
	CLUSTER BUMPEPOCH
	CLUSTER BUMPEPOCH
	`, `
	CONFIG SET cluster-announce-ip 10.1.2.3
	CONFIG SET cluster-announce-port 1234 cluster-announce-bus-port 1235
	CLUSTER ADDSLOTSRANGE 0 16383
	CLUSTER NODES
	CLUSTER SLOTS
	CONFIG SET cluster-announce-hostname cairn.example
	CLUSTER NODES
	CLUSTER SLOTS
	CLUSTER SHARDS
	CONFIG SET cluster-preferred-endpoint-type hostname
	CLUSTER SLOTS
	CLUSTER SHARDS
	CONFIG SET cluster-announce-hostname ""
	CLUSTER SLOTS
	CLUSTER SHARDS
	CONFIG SET cluster-preferred-endpoint-type unknown-endpoint
	CLUSTER SLOTS
	CLUSTER SHARDS
	`, `
	CLUSTER ADDSLOTSRANGE 0 16383
	@up
	CLUSTER INFO
	CLUSTER FLUSHSLOTS
	CLUSTER ADDSLOTSRANGE 0 16383
	@up
	SET foo bar
	CLUSTER COUNTKEYSINSLOT 12182
	CLUSTER GETKEYSINSLOT 12182 10
	CLUSTER GETKEYSINSLOT 12182 0
	CLUSTER FLUSHSLOTS
	CLUSTER RESET
	DEL foo
	MULTI
	CLUSTER DELSLOTS 7
	CLUSTER ADDSLOTS 7
	CLUSTER SETSLOT 7 STABLE
	CLUSTER BUMPEPOCH
	EXEC
	CLUSTER NODES
	`,
}

func TestClusterSameAsRedis(t *testing.T) {
	t.Parallel()
	for _, proto := range []string{"2", "3"} {
		for i, story := range sameClusterAsRedis {
			t.Run("RESP"+proto+"/"+strconv.Itoa(i), func(t *testing.T) {
				t.Parallel()
				theirs := lonely(t, testnode.StartRedis(t, "--cluster-enabled", "yes"), proto)
				ours := lonely(t, testnode.StartCairn(t, "--cluster-enabled", "yes"), proto)
				for line := range strings.Lines(story) {
					if line = strings.TrimSpace(line); line == "" {
						continue
					}
					line, shape := strings.CutPrefix(line, "~")
					got, want := ours.do(line), theirs.do(line)
					if shape && got.Kind != want.Kind || !shape && !got.Equal(want) {
						t.Errorf("%s\n got %s\nwant %s", line, got, want)
					}
				}
			})
		}
	}
}

// loner is a node of a cluster of one.
type loner struct {
	t    *testing.T
	node *testnode.Node
	conn *wire.Conn
}

func lonely(t *testing.T, n *testnode.Node, proto string) *loner {
	conn, err := n.Dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	l := &loner{t, n, conn}
	l.send("HELLO", proto)
	return l
}

func (l *loner) send(args ...string) wire.Value {
	l.t.Helper()
	v, err := l.conn.Do(args...)
	if err != nil {
		l.t.Fatalf("%q: %v", args, err)
	}
	return v
}

// do sends a line of a story and makes the reply comparable.
func (l *loner) do(line string) wire.Value {
	l.t.Helper()
	if line == "@up" {
		poll.Succeeds(l.t, 10*time.Second, func() error {
			_, err := l.conn.Must("SET", "probe", "x")
			return err
		})
		return l.send("DEL", "probe")
	}
	id := l.send("CLUSTER", "MYID").Text
	args := splitLine(line)
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "$me", id)
		args[i] = strings.ReplaceAll(args[i], "$no", strings.Repeat("0", 40))
	}
	reply := l.send(args...)
	return l.blank(reply, id, l.send("CLUSTER", "MYID").Text)
}

// blank replaces what differs between any two nodes.
func (l *loner) blank(v wire.Value, ids ...string) wire.Value {
	for _, id := range ids {
		v.Text = strings.ReplaceAll(v.Text, id, "$me")
	}
	if v.Kind == ':' && v.Text == strconv.Itoa(l.node.Port) {
		v.Text = "$port"
	}
	if strings.Contains(v.Text, "cluster_slots_assigned:0\r\n") {
		// Redis reports a size of 1 until it first looks, two seconds after its start.
		v.Text = strings.Replace(v.Text, "cluster_size:1", "cluster_size:0", 1)
	}
	v.Text = strings.ReplaceAll(v.Text, ":"+strconv.Itoa(l.node.Port)+"@"+strconv.Itoa(l.node.Port+10000), ":$port")
	elems := make([]wire.Value, len(v.Elems))
	for i, e := range v.Elems {
		elems[i] = l.blank(e, ids...)
		if i > 0 && v.Elems[i-1].Text == "replication-offset" {
			elems[i].Text = "0"
		}
	}
	v.Elems = elems
	return v
}
