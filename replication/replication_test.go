package replication

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

// TestFromTheBeginning: a fresh replica follows from the first record on.
func TestFromTheBeginning(t *testing.T) {
	t.Parallel()
	a, b := newNode(t, "a"), newNode(t, "b")
	a.put(0, 100, 10)
	b.follow(a)
	converge(t, a, b)
	a.put(50, 500, 10)
	converge(t, a, b)
	if st := a.m.Status(); st.FullSyncs != 0 || st.PartialOK != 1 {
		t.Errorf("%+v", st)
	}
	if st := b.m.Status(); st.Link == nil || !st.Link.Up || st.ID != a.m.Status().ID {
		t.Errorf("%+v", st)
	}
}

// TestFullSyncWhileWriting: the replica has data of its own, and the primary writes on.
func TestFullSyncWhileWriting(t *testing.T) {
	t.Parallel()
	a, b := newNode(t, "a"), newNode(t, "b")
	b.put(0, 3000, 500)
	b.stop()
	b.start() // what it has is on the disk, so there is no way back
	a.put(0, 10000, 500)
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		if err := a.tryPut(5000, 20000, 300); err != nil {
			t.Error(err)
		}
	}()
	b.follow(a)
	wg.Wait()
	converge(t, a, b)
	if st := a.m.Status(); st.FullSyncs != 1 {
		t.Errorf("%+v", st)
	}
}

// TestFullSyncOfSeparateValues: values that are in files of their own arrive, although the link breaks in the middle of them and the primary replaces
// some meanwhile.
func TestFullSyncOfSeparateValues(t *testing.T) {
	t.Parallel()
	for _, cut := range []bool{false, true} {
		t.Run(fmt.Sprintf("cut=%v", cut), func(t *testing.T) {
			t.Parallel()
			plain := func(n *node) { n.o.Compression = "none" } // the values are all the same
			a := newNode(t, "a", plain)
			for range 2 {
				a.put(0, 3000, 2000)
				if err := a.m.Store().Flush(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
			var connections atomic.Int64
			b := newNode(t, "b", plain, func(n *node) {
				n.wrap = func(c net.Conn) net.Conn {
					left := new(atomic.Int64)
					left.Store(1 << 40)
					if k := connections.Add(1); cut && k < 4 {
						left.Store(k << 20)
					}
					return &breaker{Conn: c, left: left}
				}
			})
			b.put(0, 500, 1000)
			b.stop()
			b.start()
			b.follow(a)
			a.put(1000, 1500, 700)
			converge(t, a, b)
			st := b.m.Status()
			if a.m.Status().FullSyncs == 0 || cut && (st.Reused == 0 || connections.Load() < 4) {
				t.Errorf("%d connections, %+v", connections.Load(), st)
			}
			for _, n := range []*node{a, b} {
				if files, err := filepath.Glob(filepath.Join(n.dir, "*", "*.blob")); err != nil || len(files) == 0 {
					t.Errorf("%s: no value is in a file of its own: %v", n.name, err)
				}
			}
		})
	}
}
