package replication

import (
	"sync"
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
