package replication

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
	wal "github.com/cairndb/cairn/engine/log"
	"github.com/cairndb/cairn/tools/poll"
)

// breaker is a connection that breaks, or changes a byte, after so many bytes were read.
type breaker struct {
	net.Conn
	left    *atomic.Int64
	corrupt bool
}

func (b *breaker) Read(p []byte) (int, error) {
	n, err := b.Conn.Read(p)
	if was := b.left.Add(-int64(n)); was < 0 && was+int64(n) >= 0 && n > 0 {
		if !b.corrupt {
			_ = b.Close()
			return 0, net.ErrClosed
		}
		p[int64(n)+was] ^= 0x10
	}
	return n, err
}

// TestBrokenLinks: the link breaks, or turns a bit, again and again, in full syncs and in the stream.
func TestBrokenLinks(t *testing.T) {
	t.Parallel()
	for _, corrupt := range []bool{false, true} {
		t.Run(fmt.Sprintf("corrupt=%v", corrupt), func(t *testing.T) {
			t.Parallel()
			var left atomic.Int64
			var broken atomic.Int64
			a := newNode(t, "a")
			b := newNode(t, "b", func(n *node) {
				n.wrap = func(c net.Conn) net.Conn {
					if k := broken.Add(1); k < 8 {
						left.Store(20_000 * k * k)
					} else {
						left.Store(1 << 40)
					}
					return &breaker{Conn: c, left: &left, corrupt: corrupt}
				}
			})
			b.put(0, 2000, 500)
			b.stop()
			b.start()
			a.put(0, 5000, 600)
			b.follow(a)
			for i := range 20 {
				a.put(i*200, i*200+300, 300)
			}
			converge(t, a, b)
			if st := a.m.Status(); st.FullSyncs == 0 {
				t.Errorf("%+v", st)
			}
			if n := broken.Load(); n < 3 {
				t.Errorf("only %d connections", n)
			}
		})
	}
}

// TestRestarts: either side restarts, by a clean stop or not; what follows is a partial sync.
func TestRestarts(t *testing.T) {
	t.Parallel()
	a, b := newNode(t, "a"), newNode(t, "b")
	b.follow(a)
	next := 0
	write := func() { a.put(next, next+300, 50); next += 300 }
	write()
	converge(t, a, b)
	for i, halt := range []func(*node){(*node).stop, (*node).kill} {
		halt(b)
		write()
		b.o.Follow = i == 0 // a replica that starts as a primary by mistake finds its way, too
		b.start()
		b.follow(a)
		converge(t, a, b)
		write()
		halt(a)
		a.start()
		write()
		b.follow(a)
		converge(t, a, b)
		if st := a.m.Status(); st.FullSyncs != 0 || st.PartialOK == 0 {
			t.Errorf("%+v", st)
		}
	}
}

// TestChain: a replica of a replica has the same log; it goes on by itself when the one in the middle is synced anew or restarted.
func TestChain(t *testing.T) {
	t.Parallel()
	a, b, c := newNode(t, "a"), newNode(t, "b"), newNode(t, "c")
	b.put(0, 3000, 400)
	c.follow(b)
	converge(t, b, c)
	b.stop()
	b.start()
	c.follow(b)
	a.put(0, 4000, 400)
	b.follow(a) // in full, since what b has is on its disk
	a.put(4000, 5000, 100)
	converge(t, a, b, c)
	b.kill()
	b.o.Follow = true
	b.start()
	c.follow(b)
	b.follow(a)
	a.put(0, 1000, 100)
	converge(t, a, b, c)
}

// TestFailover: a replica is promoted, the others go on with it without a full sync, and the old primary comes
// back with writes that nobody else has, which are cut.
func TestFailover(t *testing.T) {
	t.Parallel()
	a, b, c := newNode(t, "a"), newNode(t, "b"), newNode(t, "c")
	b.follow(a)
	c.follow(a)
	a.put(0, 1000, 100)
	converge(t, a, b, c)
	id := a.m.Status().ID
	if err := b.m.NoOne(); err != nil {
		t.Fatal(err)
	}
	if err := c.m.NoOne(); err != nil { // c will have a term of its own, too
		t.Fatal(err)
	}
	a.put(0, 50, 10) // nobody will know
	b.put(1000, 2000, 100)
	c.follow(b)
	a.follow(b)
	converge(t, b, a, c)
	st := b.m.Status()
	if st.FullSyncs != 0 || st.PreviousID != id || st.ID == id || !st.Primary {
		t.Errorf("%+v", st)
	}
	if st := a.m.Status(); st.Rewinds != 1 {
		t.Errorf("%+v", st)
	}
}

// TestPrimaryRestartsInFullSync: the sync goes on where it was, with another checkpoint of the same files.
func TestPrimaryRestartsInFullSync(t *testing.T) {
	t.Parallel()
	a, b := newNode(t, "a"), newNode(t, "b")
	b.put(0, 2000, 500)
	b.stop()
	b.start()
	for i := range 40 {
		a.put(i*1000, i*1000+1000, 100)
	}
	if err := a.m.Store().Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	compactions, since := int64(-1), time.Now()
	poll.Within(t, "the files stay as they are", patience, func() bool {
		st := a.m.Store().Stats()
		if st.Compactions != compactions || st.CompactionsNow > 0 {
			compactions, since = st.Compactions, time.Now()
		}
		return time.Since(since) > 200*time.Millisecond
	})
	slow := a.set
	slow.SyncRate = 1 << 20
	a.m.SetSettings(slow)
	b.follow(a)
	poll.Within(t, "the sync is half-way", patience, func() bool {
		l := b.m.Status().Link
		return l.Syncing && l.SyncTotal > 0 && l.SyncDone > l.SyncTotal/4
	})
	a.kill()
	a.start()
	b.follow(a)
	converge(t, a, b)
	if st := b.m.Status(); st.Reused == 0 {
		t.Errorf("nothing was used again: %+v", st)
	}
}

// TestAcks: callbacks come when enough replicas have an offset, and not before.
func TestAcks(t *testing.T) {
	t.Parallel()
	a, c := newNode(t, "a"), newNode(t, "c")
	b := newNode(t, "b", func(n *node) { n.o.SyncPolicy = wal.Always })
	b.follow(a)
	a.put(0, 10, 10)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for level := range levels {
		if n, err := a.m.Acks().Wait(ctx, a.m.Store().End(), 1, level); err != nil || n != 1 {
			t.Fatalf("level %d: %d replicas, %v", level, n, err)
		}
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if n, err := a.m.Acks().Wait(short, a.m.Store().End(), 2, Written); err == nil || n != 1 {
		t.Errorf("%d replicas, %v", n, err)
	}
	done := make(chan error, 2)
	a.m.Acks().OnAcked(a.m.Store().End(), 2, Synced, func(err error) { done <- err })
	c.follow(a)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	undo := a.m.Acks().OnAcked(a.m.Store().End(), 3, Written, func(err error) { done <- err })
	a.m.Acks().OnAcked(a.m.Store().End(), 4, Written, func(err error) { done <- err })
	if !undo() || undo() {
		t.Error("cancelling")
	}
	if err := a.m.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err == nil {
		t.Error("closed, but no error")
	}
	// Each waits for its own write, as connections do.
	a.stop()
	a.start()
	b.follow(a)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for k := range 20 {
				if err := a.tryPut(1000*i+k, 1000*i+k+1, 10); err != nil {
					t.Error(err)
					return
				}
				if _, err := a.m.Acks().Wait(ctx, a.m.Store().End(), 1, Stable); err != nil {
					t.Error(err)
					return
				}
			}
		}()
	}
	wg.Wait()
	converge(t, a, b)
}

// TestStaleness: a replica knows how old its data is, also when the link is gone.
func TestStaleness(t *testing.T) {
	t.Parallel()
	a, b := newNode(t, "a"), newNode(t, "b")
	if st := b.m.Status(); st.Link != nil {
		t.Errorf("%+v", st)
	}
	b.follow(a)
	a.put(0, 100, 10)
	poll.Within(t, "it is fresh", patience, func() bool {
		st := b.m.Status().Link
		return st.Staleness >= 0 && st.Staleness < time.Second
	})
	a.kill()
	poll.Within(t, "it becomes stale", patience, func() bool {
		st := b.m.Status().Link
		return !st.Up && st.Staleness > 300*time.Millisecond && st.Down > 0
	})
	a.start()
}

// TestAllKindsOfRecords: FLUSHALL, FLUSHDB, SWAPDB, large values, deletions, expiry, on a compressed stream.
func TestAllKindsOfRecords(t *testing.T) {
	t.Parallel()
	a, b := newNode(t, "a", func(n *node) { n.set.Compression = CompressYes }), newNode(t, "b")
	b.follow(a)
	a.put(0, 1000, 300)
	whole := func(fn func(*engine.Txn) error) {
		t.Helper()
		tx := a.m.Store().NewTxn()
		tx.LockWorld()
		if err := fn(tx); err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	whole(func(tx *engine.Txn) error { return tx.SwapDB(0, 3) })
	a.put(0, 200, 10)
	converge(t, a, b)
	whole(func(tx *engine.Txn) error { return tx.FlushDB(0) })
	a.put(0, 300, 10)
	whole((*engine.Txn).FlushAll)
	a.put(100, 400, 20)
	large(t, a, "large", 9<<20)
	converge(t, a, b)
	for db := range 16 {
		if got, want := b.m.Store().DBCounts(b.m.Store().DB(db)), a.m.Store().DBCounts(a.m.Store().DB(db)); got != want {
			t.Errorf("database %d: %+v, not %+v", db, got, want)
		}
	}
	if b.m.Store().DB(0) != a.m.Store().DB(0) {
		t.Error("the databases are mapped differently")
	}
	if err := b.tryPut(0, 1, 1); err == nil {
		t.Error("a replica takes writes")
	}
	if err := b.m.NoOne(); err != nil {
		t.Fatal(err)
	}
	b.put(0, 10, 10)
	large(t, b, "large", 10)
}

// large writes a value in chunks, as one record of the log.
func large(t *testing.T, n *node, name string, size int) {
	t.Helper()
	tx := n.m.Store().NewTxn()
	slot := keys.Slot([]byte(name))
	tx.Lock([]uint16{slot}, true)
	id, err := tx.NewID(slot)
	if err != nil {
		t.Fatal(err)
	}
	chunk := make([]byte, 64<<10)
	for i := range size/len(chunk) + 1 {
		if err := tx.PutSub(slot, id, fmt.Appendf(nil, "%08d", i), chunk); err != nil {
			t.Fatal(err)
		}
	}
	h := keys.Header{Type: keys.TypeString, Encoding: keys.EncodingSpread, ID: id, Count: uint64(size)}
	if err := tx.Put(engine.Key{Slot: slot, Name: []byte(name)}, h, nil); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if _, err := n.m.Store().FlushLog(); err != nil {
		t.Fatal(err)
	}
}
