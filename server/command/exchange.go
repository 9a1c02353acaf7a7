package command

import (
	"context"
	"errors"
	"fmt"

	"github.com/cairndb/cairn/engine"
)

// A replica's store is replaced while the server runs: by another one after a full sync, or by itself with a shorter log. Whoever
// runs commands is inside the gate meanwhile, shared; Store changes only while nobody is. Between the closing of
// the old store and the opening of the new one, commands get LOADING, and Store is the old one, closed: what it
// has in memory can still be read.

// Enter and Leave enclose any use of Store. Nobody waits between them for another node, or for a client.
func (n *Node) Enter() { n.gate.RLock() }

// Leave: see Enter.
func (n *Node) Leave() { n.gate.RUnlock() }

// Outside leaves the gate while fn waits for another node. The caller, who is inside, holds nothing of the store; same says whether that is still the
// one in use afterwards.
func (n *Node) Outside(fn func()) (same bool) {
	store := n.Store
	func() {
		n.Leave()
		defer n.Enter()
		fn()
	}()
	return n.Store == store && !n.loading
}

// Loading says whether the store is being replaced. Called inside the gate.
func (n *Node) Loading() bool { return n.loading }

// errNoExchange: nobody has said how the store is opened.
var errNoExchange = errors.New("this node's store can't be replaced")

// exchange closes the store, has swap change its folder, and opens it again as a follower: replication.Options.Replace.
func (n *Node) exchange(_ context.Context, swap func(dir string, o engine.Options) error) (*engine.Store, error) {
	if n.StoreOptions == nil {
		return nil, errNoExchange
	}
	n.gate.Lock()
	n.loading = true
	n.gate.Unlock()
	old := n.Store // only exchange changes it, and there is one at a time
	closeErr := old.CloseUnflushed()
	o := n.StoreOptions()
	o.Follow = true
	swapErr := swap(n.Config.Dir(), o)
	store, err := engine.Open(n.Config.Dir(), o)
	if err != nil {
		err = fmt.Errorf("the store can't be opened again: %w", err)
		n.StoreLost(err)
		return nil, errors.Join(swapErr, err, closeErr)
	}
	n.gate.Lock()
	n.adopt(store)
	n.Store = store
	n.loading = false
	n.Replication.mark.reset()
	n.gate.Unlock()
	return store, swapErr
}

// adopt prepares a store for the node's use.
func (n *Node) adopt(store *engine.Store) {
	n.Watches.replaced(store.DB)
	n.Waiters.wakeAll()
	store.OnModify(func(db uint8, name []byte) {
		n.Watches.modified(db, name)
		if n.Waiters.Any() && store.Following() { // a primary's writers serve by themselves
			n.Waiters.applied(name)
		}
	})
	store.OnExpire(n.Waiters.expired)
	if n.OnStore != nil {
		n.OnStore(store)
	}
}

// CurrentStore is Store, for those outside the gate.
func (n *Node) CurrentStore() *engine.Store {
	n.gate.RLock()
	defer n.gate.RUnlock()
	return n.Store
}
