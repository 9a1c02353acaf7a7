package engine

import "errors"

// A transaction whose reply goes to its client in pieces must not hold locks meanwhile: the client may be slow. So it lets them go in the midst of the walk
// that the reply comes from, which goes on over what was there when it began.

var (
	errDetached = errors.New("engine: a transaction without locks goes on with one walk and reads nothing else")
	// ErrAborted is what a walk returns after Abort.
	ErrAborted = errors.New("engine: the reading was given up")
)

// Detach releases the locks of a transaction that is in the midst of its only walk (WalkSub) and has written nothing; else it returns false, and nothing
// has changed. Until Attach only that walk goes on, and the store does not close: its owner is to Abort when Closing says so.
func (t *Txn) Detach() bool {
	l := &t.locks
	if t.detached || !t.walks.busy || len(t.set.ops) > 0 || l.world || len(l.writes) > 0 {
		return false
	}
	t.s.life.RLock()
	t.detached = true
	t.releaseLocks()
	return true
}

// Attach ends what Detach began, after the walk. The transaction holds no locks.
func (t *Txn) Attach() {
	if !t.detached {
		return
	}
	t.points.close()
	t.walks.close()
	t.detached, t.aborted = false, false
	t.s.life.RUnlock()
}

// Abort ends the walk of a detached transaction.
func (t *Txn) Abort() { t.aborted = true }

// Closing is closed when the store begins to close.
func (s *Store) Closing() <-chan struct{} { return s.stop }
