package replication

import (
	"net"
	"sync"
	"testing"

	"github.com/cairndb/cairn/tools/poll"
)

// dam lets so many bytes through to the replica until it is opened.
type dam struct {
	net.Conn
	open chan struct{}
	left int
}

func (d *dam) Read(b []byte) (int, error) {
	if d.left == 0 {
		<-d.open
		return d.Conn.Read(b)
	}
	n, err := d.Conn.Read(b[:min(len(b), d.left)])
	d.left -= n
	return n, err
}

// TestLinkIsUpWhenAllIsThere holds a new replica's first stream up half-way: it is not up, and says that it has nothing to serve yet.
func TestLinkIsUpWhenAllIsThere(t *testing.T) {
	t.Parallel()
	a := newNode(t, "a")
	a.put(0, 2200, 300)
	end := a.m.Store().End()
	d := &dam{open: make(chan struct{}), left: 600 << 10}
	var once sync.Once
	release := func() { once.Do(func() { close(d.open) }) }
	b := newNode(t, "b", func(n *node) {
		n.wrap = func(c net.Conn) net.Conn {
			d.Conn = c
			return d
		}
	})
	defer release()
	b.follow(a)
	poll.Until(t, "b has some", func() bool { return b.m.Store().End() > 1000 })
	if l := b.m.Status().Link; l.Up || l.State != "sync" || !b.m.Filling() || b.m.Store().End() >= end {
		t.Errorf("half-way: up %v, %s, filling %v, %d of %d bytes", l.Up, l.State, b.m.Filling(), b.m.Store().End(), end)
	}
	release()
	poll.Until(t, "b is up", func() bool { return b.m.Status().Link.Up })
	if got := b.m.Store().End(); got < end || b.m.Filling() {
		t.Errorf("up with %d of %d bytes, filling %v", got, end, b.m.Filling())
	}
	converge(t, a, b)
}

// TestOwnDataGivesWay has a node with a history of its own follow another one: what it has cut away is not served as an empty store.
func TestOwnDataGivesWay(t *testing.T) {
	t.Parallel()
	a := newNode(t, "a")
	a.put(0, 100, 100)
	b := newNode(t, "b")
	b.put(100, 110, 10)
	b.follow(a)
	poll.Until(t, "b has a's data, or says that it has none", func() bool {
		if !b.m.Filling() && b.m.Store().End() == 0 {
			t.Error("an empty store is served")
		}
		return b.m.Status().Link.Up
	})
	converge(t, a, b)
}
