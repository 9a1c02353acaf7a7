package replication

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
	wal "github.com/cairndb/cairn/engine/log"
	"github.com/cairndb/cairn/tools/poll"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// node is a store with its manager and a port, as a server is.
type node struct {
	t    testing.TB
	name string
	dir  string
	o    engine.Options
	set  Settings
	// wrap, if set, stands between the node and each connection that it dials.
	wrap func(net.Conn) net.Conn

	mu    sync.Mutex
	store *engine.Store
	m     *Manager
	ln    net.Listener
	wg    sync.WaitGroup
}

// newNode opens a node in a folder of its own and closes it at the end of the test, when its store must pass Check.
func newNode(t testing.TB, name string, change ...func(*node)) *node {
	t.Helper()
	n := &node{t: t, name: name, dir: t.TempDir(), o: engine.Options{
		FS: vfs.Default, CacheBytes: 8 << 20, RecordCacheBytes: 1 << 20, MemTableBytes: 1 << 20,
		LogSegmentBytes: 1 << 20, FreeSpaceReserve: 1, SyncPolicy: wal.EverySec,
	}}
	n.set = DefaultSettings()
	n.set.Timeout = 5 * time.Second
	if os.Getenv("CAIRN_TEST_LOG") != "" {
		n.o.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("node", name)
	}
	for _, c := range change {
		c(n)
	}
	n.start()
	t.Cleanup(func() {
		if n.m == nil {
			return
		}
		n.check()
		n.stop()
	})
	return n
}

func (n *node) start() {
	n.t.Helper()
	store, err := engine.Open(n.dir, n.o)
	if err != nil {
		n.t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		n.t.Fatal(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.store, n.ln = store, ln
	n.set.Port = ln.Addr().(*net.TCPAddr).Port
	n.m = NewManager(store, Options{
		NodeID: n.name, Dir: n.dir, FS: n.o.FS, LogSegmentBytes: n.o.LogSegmentBytes,
		Replace: n.replace, Dial: n.dial, Logger: n.o.Logger,
	}, n.set)
	n.wg.Add(1)
	go n.accept(ln, n.m)
}

func (n *node) dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err == nil && n.wrap != nil {
		conn = n.wrap(conn)
	}
	return conn, err
}

// replace is what a server does: close, swap, open again.
func (n *node) replace(_ context.Context, swap func(string, engine.Options) error) (*engine.Store, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.store.CloseUnflushed(); err != nil {
		return nil, err
	}
	swapErr := swap(n.dir, n.o)
	o := n.o
	o.Follow = true
	store, err := engine.Open(n.dir, o)
	if err != nil {
		return nil, err
	}
	n.store = store
	return store, swapErr
}

func (n *node) accept(ln net.Listener, m *Manager) {
	defer n.wg.Done()
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		n.wg.Add(1)
		go func() {
			defer n.wg.Done()
			defer conn.Close()
			args, err := readCommand(bufio.NewReader(conn))
			if err != nil || len(args) == 0 || string(args[0]) != Command {
				return
			}
			_ = m.HandleSync(conn, args[1:])
		}()
	}
}

func readCommand(in *bufio.Reader) (args [][]byte, err error) {
	number := func() (int, error) {
		line, err := in.ReadString('\n')
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(strings.TrimSpace(line[1:]))
	}
	n, err := number()
	for ; err == nil && n > 0; n-- {
		var size int
		if size, err = number(); err == nil {
			b := make([]byte, size+2)
			_, err = io.ReadFull(in, b)
			args = append(args, b[:size])
		}
	}
	return args, err
}

func (n *node) port() int { return n.ln.Addr().(*net.TCPAddr).Port }

func (n *node) stop() { n.halt(func(s *engine.Store) error { return s.Close() }) }

// kill stops the node without flushing, as near as a test comes to it.
func (n *node) kill() { n.halt((*engine.Store).CloseUnflushed) }

func (n *node) halt(end func(*engine.Store) error) {
	n.t.Helper()
	_ = n.ln.Close()
	_ = n.m.Close()
	n.wg.Wait()
	if err := end(n.m.Store()); err != nil {
		n.t.Error(err)
	}
	n.m = nil
}

func (n *node) check() {
	n.t.Helper()
	r, err := n.m.Store().Check(context.Background())
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		n.t.Errorf("%s: %v", n.name, err)
	}
}

func (n *node) follow(p *node) {
	n.t.Helper()
	if err := n.m.ReplicaOf("127.0.0.1", p.port()); err != nil {
		n.t.Fatal(err)
	}
}

// set writes keys from to to, several a commit.
func (n *node) put(from, to int, size int) {
	n.t.Helper()
	if err := n.tryPut(from, to, size); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) tryPut(from, to, size int) error {
	store := n.m.Store()
	tx := store.NewTxn()
	for i := from; i < to; i++ {
		name := fmt.Appendf(nil, "key:%d", i)
		if err := store.AdmitWrite(context.Background()); err != nil {
			return err
		}
		slot := keys.Slot(name)
		tx.Lock([]uint16{slot}, true)
		h := keys.Header{Type: keys.TypeString}
		if i%7 == 0 {
			h.ExpireAt = time.Now().Add(time.Hour).UnixMilli()
		}
		value := fmt.Appendf(nil, "%d:%s", i, strings.Repeat("v", size))
		if err := tx.Put(engine.Key{Slot: slot, Name: name}, h, value); err != nil {
			tx.Discard()
			return err
		}
		if err := tx.Commit(); err != nil {
			return err
		}
	}
	_, err := store.FlushLog()
	return err
}

// converge waits until the nodes' logs end at the same offset, and compares everything.
func converge(t testing.TB, first *node, others ...*node) {
	t.Helper()
	if _, err := first.m.Store().FlushLog(); err != nil {
		t.Fatal(err)
	}
	for _, n := range others {
		poll.Until(t, n.name+" reaches "+first.name, func() bool {
			return sameTail(first.m.Store(), n.m.Store())
		})
		want, _, err := first.m.Store().Digest(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := n.m.Store().Digest(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%s differs from %s", n.name, first.name)
		}
	}
}

func sameTail(a, b *engine.Store) bool {
	aEnd, aLink := a.Log().Tail()
	bEnd, bLink := b.Log().Tail()
	return aEnd == bEnd && aLink == bLink
}
