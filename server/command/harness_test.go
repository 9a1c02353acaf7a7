package command

import (
	"bufio"
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/server/config"
	"github.com/cairndb/cairn/tools/wire"
)

// startNode returns a node on a store in memory; the directives are as on a command line.
func startNode(t testing.TB, directives ...string) *Node {
	return startNodeAt(t, time.Now, directives...)
}

// startNodeAt is startNode with a clock of the test's own.
func startNodeAt(t testing.TB, now func() time.Time, directives ...string) *Node {
	t.Helper()
	conf, _, err := config.Load("", directives)
	if err != nil {
		t.Fatal(err)
	}
	store, err := engine.Open("data", engine.Options{FS: vfs.NewMem(), RecordCacheBytes: -1, FreeSpaceReserve: 1, MemTableBytes: 1 << 20, CacheBytes: 8 << 20, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	n := NewNode(store, conf, nil, strings.Repeat("a", 40), slog.New(slog.DiscardHandler))
	t.Cleanup(func() {
		n.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// client runs commands on a node without a network, as dispatch does.
type testClient struct {
	t testing.TB
	n *Node
	s *Session
	x *engine.Txn
}

func connect(t testing.TB, n *Node) *testClient {
	c := &testClient{t: t, n: n, s: &Session{Addr: "127.0.0.1:1000", LAddr: "127.0.0.1:6379", FD: -1}, x: n.Store.NewTxn()}
	n.Connect(c.s)
	t.Cleanup(func() {
		c.x.Discard() // the locks of a test that panics
		n.Disconnect(c.s)
	})
	return c
}

// do runs one command and returns its reply; the zero Value if there is none.
func (c *testClient) do(args ...string) wire.Value {
	c.t.Helper()
	raw := make([][]byte, len(args))
	for i, a := range args {
		raw[i] = []byte(a)
	}
	c.s.Out.Buf = c.s.Out.Buf[:0]
	c.dispatch(raw)
	c.s.FinishReply(0)
	if len(c.s.Out.Buf) == 0 {
		return wire.Value{}
	}
	r := bufio.NewReader(bytes.NewReader(c.s.Out.Buf))
	v, err := wire.ReadValue(r)
	if err != nil || r.Buffered() > 0 {
		c.t.Fatalf("%q: %d bytes left after the reply, %v: %q", args, r.Buffered(), err, c.s.Out.Buf)
	}
	return v
}

func (c *testClient) dispatch(args [][]byte) {
	cmd, container := Lookup(args)
	switch {
	case cmd == nil && container != nil:
		c.n.Reject(c.s, nil, fmt.Sprintf("ERR unknown subcommand '%s'. Try %s HELP.", args[1], strings.ToUpper(container.Name)))
	case cmd == nil:
		c.n.Reject(c.s, nil, fmt.Sprintf("ERR unknown command '%s', with args beginning with: ", args[0]))
	case !cmd.ArityOK(len(args)):
		c.n.Reject(c.s, cmd, "ERR wrong number of arguments for '"+cmd.Name+"' command")
	case cmd.Flags&NoAuth == 0 && !c.n.Authenticated(c.s):
		c.n.Reject(c.s, cmd, "NOAUTH Authentication required.")
	case c.s.InMulti && cmd.Flags&NoMulti != 0:
		c.n.Reject(c.s, cmd, "ERR Command not allowed inside a transaction")
	case c.s.Enqueues(cmd):
		c.s.Enqueue(c.n, cmd, args)
	default:
		c.run(cmd, args)
	}
}

func (c *testClient) run(cmd *Command, args [][]byte) {
	needs := QueueNeeds{Write: cmd.Flags&Write != 0, World: cmd.Flags&World != 0}
	if cmd.Name == "exec" {
		needs = c.s.QueueNeeds(c.n, nil)
	} else if idx, err := cmd.KeysOf(nil, args); err == nil {
		for _, i := range idx {
			needs.Slots = append(needs.Slots, keys.Slot(args[i]))
		}
	}
	if needs.World {
		c.x.LockWorld()
	} else {
		c.x.Lock(needs.Slots, needs.Write)
	}
	c.n.Call(&Ctx{Session: c.s, Node: c.n, Cmd: cmd, Args: args, Txn: c.x})
	c.x.EndCommand()
	if err := c.x.Commit(); err != nil {
		c.t.Fatal(err)
	}
}

// expect runs a command and compares the reply as wire.Value prints it.
func (c *testClient) expect(want string, args ...string) {
	c.t.Helper()
	if got := c.do(args...); got.String() != want && !(want == "" && got.Kind == 0) {
		c.t.Errorf("%q: got %s, want %s", args, got, want)
	}
}
