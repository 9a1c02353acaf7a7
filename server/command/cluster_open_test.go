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

// openSlots is played on a cluster of two nodes of each kind, a and b; {bar} is in slot 5061 of a.
const openSlots = `
	a SET {bar}1 one
	a SET {bar}2 two
	a SET {bar}3 three
	a CLUSTER SETSLOT 5061 IMPORTING $b
	b CLUSTER SETSLOT 5061 MIGRATING $a
	a CLUSTER SETSLOT 5061 MIGRATING $no
	b CLUSTER SETSLOT 5061 IMPORTING $no
	b CLUSTER SETSLOT 5061 NODE $no
	b ASKING
	b GET {bar}1
	b CLUSTER SETSLOT 5061 IMPORTING $a
	b GET {bar}1
	b ASKING
	b GET {bar}1
	a CLUSTER SETSLOT 5061 MIGRATING $b
	a GET {bar}1
	a GET {bar}none
	a SET {bar}none x
	a MGET {bar}1 {bar}2
	a MGET {bar}1 {bar}none
	a MGET {bar}1 foo
	a DEL {bar}none {bar}none2
	a EXISTS {bar}none {bar}none
	a RENAME {bar}1 {bar}new
	a ASKING
	a GET {bar}none
	b GET {bar}1
	b ASKING
	b GET {bar}1
	b GET {bar}1
	b ASKING
	b PING
	b GET {bar}1
	b ASKING
	b SET {bar}none yes
	b SET {bar}none no
	b ASKING
	b MGET {bar}none {bar}1
	b ASKING
	b MGET {bar}none {bar}none
	b ASKING
	b MGET {bar}8 {bar}8
	b ASKING
	b MSET {bar}1 x {bar}9 y
	b ASKING
	b ASKING
	b GET {bar}none
	b ASKING
	b FOO
	b GET {bar}none
	b ASKING
	b GET
	b GET {bar}none
	b ASKING
	b MULTI
	b SET {bar}n2 z
	b GET {bar}n2
	b EXEC
	b GET {bar}n2
	b MULTI
	b SET {bar}n2 z
	b EXEC
	b ASKING
	b MULTI
	b MGET {bar}n2 {bar}1
	b EXEC
	b ASKING
	b MULTI
	b DISCARD
	b GET {bar}n2
	b READONLY
	b GET {bar}n2
	b READWRITE
	a MULTI
	a GET {bar}1
	a GET {bar}none
	a EXEC
	a MULTI
	a SET {bar}1 once
	a APPEND {bar}1 more
	a EXEC
	a MULTI
	a DEL {bar}3
	a EXEC
	a MULTI
	a MGET {bar}1 {bar}none
	a EXEC
	a WATCH {bar}1
	a WATCH {bar}none
	a UNWATCH
	a CLUSTER COUNTKEYSINSLOT 5061
	a CLUSTER GETKEYSINSLOT 5061 1000
	b CLUSTER COUNTKEYSINSLOT 5061
	a MIGRATE 127.0.0.1 $bport {bar}1 0 20000
	a GET {bar}1
	b GET {bar}1
	b ASKING
	b GET {bar}1
	a CLUSTER COUNTKEYSINSLOT 5061
	a CLUSTER GETKEYSINSLOT 5061 1000
	a CLUSTER SETSLOT 5061 NODE $b
	a CLUSTER SETSLOT 5061 NODE $no
	a MIGRATE 127.0.0.1 $bport {bar}none 0 20000
	b MIGRATE 127.0.0.1 $aport {bar}1 0 20000
	b MIGRATE 127.0.0.1 $aport foo 0 20000
	b MIGRATE 127.0.0.1 $aport {bar}none 1 20000
	b MIGRATE 127.0.0.1 $aport {bar}none 0 20000
	b ASKING
	b GET {bar}none
	b MIGRATE 127.0.0.1 $aport {x}none 0 20000
	b MIGRATE 127.0.0.1 $aport "" 0 20000 KEYS {bar}none {x}none
	a MIGRATE 127.0.0.1 $bport "" 0 20000 KEYS {bar}2 {bar}none {bar}gone
	a CLUSTER GETKEYSINSLOT 5061 1000
	a CLUSTER COUNTKEYSINSLOT 5061
	a GET {bar}2
	b CLUSTER SETSLOT 5061 NODE $b
	a CLUSTER SETSLOT 5061 NODE $b
	b MGET {bar}1 {bar}2 {bar}none {bar}n2
	a GET {bar}1
	a CLUSTER SETSLOT 5061 MIGRATING $b
	b CLUSTER SETSLOT 5061 IMPORTING $a
	a CLUSTER SETSLOT 5061 STABLE
`

// TestOpenSlotsSameAsRedis compares SETSLOT, ASK, ASKING, TRYAGAIN and MIGRATE with Redis's.
func TestOpenSlotsSameAsRedis(t *testing.T) {
	t.Parallel()
	replies := make(map[string][]string)
	for name, begin := range map[string]func(testing.TB, ...string) *testnode.Node{"redis": testnode.StartRedis, "cairn": testnode.StartCairn} {
		nodes := []*testnode.Node{begin(t, "--cluster-enabled", "yes"), begin(t, "--cluster-enabled", "yes")}
		if err := testnode.FormCluster(nodes, 30*time.Second); err != nil {
			t.Fatal(err)
		}
		replies[name] = playOpenSlots(t, nodes)
	}
	for i, want := range replies["redis"] {
		if got := replies["cairn"][i]; got != want {
			t.Errorf("\n got %s\nwant %s", got, want)
		}
	}
}

func playOpenSlots(t *testing.T, nodes []*testnode.Node) (replies []string) {
	conns := make(map[string]*wire.Conn)
	words := []string{"$no", strings.Repeat("0", 40), `""`, ""}
	blank := []string{}
	for i, n := range nodes {
		c, err := n.Dial()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		id, port, name := ask(t, n, "CLUSTER", "MYID"), strconv.Itoa(n.Port), string(rune('a'+i))
		conns[name] = c
		words = append(words, "$"+name+"port", port, "$"+name, id)
		blank = append(blank, id, "$"+name, port, "$"+name+"port")
	}
	for line := range strings.Lines(openSlots) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		for i := range fields {
			fields[i] = strings.NewReplacer(words...).Replace(fields[i])
		}
		v, err := conns[fields[0]].Do(fields[1:]...)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(line, "GETKEYSINSLOT") {
			v = v.Sorted()
			v.Kind = '*'
		}
		replies = append(replies, strings.TrimSpace(line)+" -> "+strings.NewReplacer(blank...).Replace(v.String()))
	}
	return replies
}

// TestExpiredKeysHoldNoSlot: a slot whose keys are all expired is empty for a move, though they wait for their removal.
func TestExpiredKeysHoldNoSlot(t *testing.T) {
	t.Parallel()
	nodes := testnode.StartCluster(t, 2, "--enable-debug-command", "yes")
	a, b := nodes[0], nodes[1]
	ida, idb := ask(t, a, "CLUSTER", "MYID"), ask(t, b, "CLUSTER", "MYID")
	ask(t, a, "DEBUG", "SET-ACTIVE-EXPIRE", "0")
	ask(t, a, "SET", "{bar}stays", "x")
	ask(t, a, "SET", "{bar}ends", "x", "PX", "1")
	ask(t, b, "CLUSTER", "SETSLOT", "5061", "IMPORTING", ida)
	ask(t, a, "CLUSTER", "SETSLOT", "5061", "MIGRATING", idb)
	poll.Succeeds(t, 5*time.Second, func() error {
		return differs(ask(t, a, "CLUSTER", "GETKEYSINSLOT", "5061", "10"), `*[$"{bar}stays"]`)
	})
	if got := ask(t, a, "MIGRATE", "127.0.0.1", strconv.Itoa(b.Port), "", "0", "5000", "KEYS", "{bar}ends", "{bar}stays"); got != "OK" {
		t.Errorf("MIGRATE: %s", got)
	}
	if got := ask(t, a, "CLUSTER", "COUNTKEYSINSLOT", "5061"); got != "1" {
		t.Errorf("%s keys are counted", got)
	}
	if got := ask(t, a, "CLUSTER", "GETKEYSINSLOT", "5061", "10"); got != "*[]" && got != "" {
		t.Errorf("keys in the slot: %s", got)
	}
	ask(t, b, "CLUSTER", "SETSLOT", "5061", "NODE", idb)
	ask(t, a, "CLUSTER", "SETSLOT", "5061", "NODE", idb)
	if got := ask(t, b, "GET", "{bar}stays"); got != "x" {
		t.Errorf("GET: %s", got)
	}
}
