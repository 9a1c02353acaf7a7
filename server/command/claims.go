package command

import (
	"sync"
	"sync/atomic"
)

// Claims are the keys that MIGRATE is sending to another node.
//
// MIGRATE must lose no write that comes between reading a value and deleting it, and must hold no slot's lock while it
// waits for the other node. So it claims the key under the slot's lock (shared, which keeps writers out while the value is
// read) and lets go of the lock. Until the claim ends, dispatch holds back, outside all locks,
//
//   - every write to the key, so that the value that was sent is the one that is deleted;
//   - every read that does not find it, since it expired or was flushed: the read would be sent on by ASK to a node that
//     the key has not reached yet, and what a client creates there would be replaced when it arrives.
//
// A read that finds the key is served: no other value exists. When the claim ends the key is gone, and who waited is
// sent on by ASK, or it is still here, and who waited runs.
//
// To compare the value before the deletion, and to send it again if it has changed, would not do: of a key that was deleted here
// meanwhile the target would have a copy that readers are sent to.
//
// Claims go by name alone: that a key of the same name in another database waits too does no harm, and it spares
// following SELECT inside a transaction.
type Claims struct {
	held atomic.Int64
	mu   sync.Mutex
	by   map[string]*claim
}

// claim is one batch of keys; done is closed when all are decided.
type claim struct {
	done  chan struct{}
	names []string
}

func newClaim() *claim { return &claim{done: make(chan struct{})} }

// Any says whether any key is claimed. Whoever holds a slot's lock exclusively, or has taken it after the claim, sees the claims of
// the slot's keys.
func (s *Claims) Any() bool { return s.held.Load() > 0 }

// On returns what is closed when the claim on a key ends, nil if there is none.
func (s *Claims) On(name []byte) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.by[string(name)]; c != nil {
		return c.done
	}
	return nil
}

// add claims a key for c; it returns what to wait for if another claim is on it. The caller holds the slot's lock.
func (s *Claims) add(c *claim, name []byte) (wait <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if other := s.by[string(name)]; other != nil && other != c {
		return other.done
	} else if other == c {
		return nil
	}
	if s.by == nil {
		s.by = make(map[string]*claim)
	}
	key := string(name)
	s.by[key] = c
	c.names = append(c.names, key)
	s.held.Add(1)
	return nil
}

// end ends a claim. The caller holds no lock.
func (s *Claims) end(c *claim) {
	s.mu.Lock()
	for _, name := range c.names {
		delete(s.by, name)
	}
	s.held.Add(-int64(len(c.names)))
	s.mu.Unlock()
	close(c.done)
}
