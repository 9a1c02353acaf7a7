package command

import (
	"fmt"
	"sync"
	"testing"
)

// newWatches returns a registry over databases that the test may swap.
func newWatches() (*Watches, []uint8) {
	table := []uint8{0, 1, 2}
	return &Watches{physical: func(db int) uint8 { return table[db] }}, table
}

func watchOne(w *Watches, db int, name string, existed bool) *watch {
	k := &watch{watchKey: watchKey{db, name}, session: &Session{}, existed: existed}
	k.session.watched = map[watchKey]*watch{k.watchKey: k}
	w.add(k)
	return k
}

func TestWatchSeesItsKeyOnly(t *testing.T) {
	t.Parallel()
	w, _ := newWatches()
	a, b := watchOne(w, 0, "a", true), watchOne(w, 1, "a", true)
	w.modified(0, []byte("b"))
	w.modified(2, []byte("a"))
	if a.session.Dirty.Load() || b.session.Dirty.Load() {
		t.Fatal("a key that nobody watches made a session dirty")
	}
	w.modified(1, []byte("a"))
	if a.session.Dirty.Load() || !b.session.Dirty.Load() {
		t.Fatal("only the watch of database 1 must be dirty")
	}
}

func TestWatchFollowsSwappedDatabases(t *testing.T) {
	t.Parallel()
	w, table := newWatches()
	held, absent := watchOne(w, 0, "held", true), watchOne(w, 0, "absent", false)
	elsewhere := watchOne(w, 2, "held", true)
	table[0], table[1] = table[1], table[0]
	w.modified(1, nil)
	w.modified(0, nil)
	if !held.session.Dirty.Load() {
		t.Error("a key that existed in a swapped database must be dirty")
	}
	if absent.session.Dirty.Load() || !absent.swapped.Load() {
		t.Error("an absent key of a swapped database must be looked at by EXEC")
	}
	if elsewhere.session.Dirty.Load() {
		t.Error("another database was not swapped")
	}
	w.modified(1, []byte("absent")) // database 0 is physical 1 now
	if !absent.session.Dirty.Load() {
		t.Error("a write to the database's new place must be seen")
	}
}

func TestUnwatchForgets(t *testing.T) {
	t.Parallel()
	w, _ := newWatches()
	n := &Node{Watches: w}
	a, b := watchOne(w, 0, "k", true), watchOne(w, 0, "k", true)
	a.session.unwatch(n)
	w.modified(0, []byte("k"))
	if a.session.Dirty.Load() || !b.session.Dirty.Load() {
		t.Fatal("only the session that still watches must be dirty")
	}
	b.session.unwatch(n)
	if w.Len() != 0 || len(w.byName) != 0 {
		t.Fatalf("%d watches and %d names are left", w.Len(), len(w.byName))
	}
}

func TestWatchesFromManySessions(t *testing.T) {
	t.Parallel()
	w, _ := newWatches()
	n := &Node{Watches: w}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 200 {
				k := watchOne(w, 0, fmt.Sprint("k", j%5), true)
				w.modified(0, []byte(fmt.Sprint("k", (i+j)%5)))
				k.session.unwatch(n)
			}
		})
	}
	all.Wait()
	if w.Len() != 0 {
		t.Fatalf("%d watches are left", w.Len())
	}
}

func TestNoWatchCostsNothing(t *testing.T) {
	w, _ := newWatches()
	name := []byte("some:key")
	if n := testing.AllocsPerRun(100, func() { w.modified(0, name) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}
