package command

import (
	"slices"
	"sync"
	"sync/atomic"
)

// Watches is the registry of watched keys. It is told of every key written (engine.OnModify) and marks the
// sessions that watch it; while nobody watches anything, that costs one atomic load a key.
//
// Keys are filed by name only, and their database is compared when one is written: so SWAPDB and FLUSHDB, which
// change what a database number stands for, need no re-filing.
type Watches struct {
	active atomic.Int64 // watches in byName

	mu       sync.Mutex
	physical func(logical int) uint8 // engine.Store.DB
	byName   map[string][]*watch
}

// watchKey names a watched key.
type watchKey struct {
	db   int // logical
	name string
}

// watch is one key that one session watches.
type watch struct {
	watchKey
	session *Session
	// existed and expireAt tell what WATCH found. While the session is not dirty they still hold, but for the expiry.
	existed  bool
	expireAt int64 // unix ms, 0 for never
	// swapped: the database was emptied or swapped while the key was absent, so EXEC has to look whether it exists now.
	swapped atomic.Bool
}

// replaced tells that another store is used from now on, in which everything may be different.
func (w *Watches) replaced(physical func(logical int) uint8) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.physical = physical
	for _, ks := range w.byName {
		for _, k := range ks {
			k.session.Dirty.Store(true)
		}
	}
}

func (w *Watches) add(k *watch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byName == nil {
		w.byName = make(map[string][]*watch)
	}
	w.byName[k.name] = append(w.byName[k.name], k)
	w.active.Add(1)
}

func (w *Watches) remove(k *watch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	rest := slices.DeleteFunc(w.byName[k.name], func(o *watch) bool { return o == k })
	if len(rest) == 0 {
		delete(w.byName, k.name)
	} else {
		w.byName[k.name] = rest
	}
	w.active.Add(-1)
}

// modified is engine.OnModify's callback: the key's slot, or the world for a nil name, is locked.
func (w *Watches) modified(db uint8, name []byte) {
	if w.active.Load() == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if name == nil {
		w.databaseChanged(db)
		return
	}
	for _, k := range w.byName[string(name)] {
		if w.physical(k.db) == db {
			k.session.Dirty.Store(true)
		}
	}
}

// databaseChanged marks the sessions that watch a key which a flushed or swapped database held.
func (w *Watches) databaseChanged(db uint8) {
	for _, ks := range w.byName {
		for _, k := range ks {
			if w.physical(k.db) != db {
				continue
			}
			if k.existed {
				k.session.Dirty.Store(true)
			} else {
				k.swapped.Store(true)
			}
		}
	}
}

// Len is the number of watches.
func (w *Watches) Len() int { return int(w.active.Load()) }
