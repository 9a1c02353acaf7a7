package cluster

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/cairndb/cairn/tools/poll"
)

// slowDisk holds every sync of a file back until it is let go, one at a time, and counts them.
type slowDisk struct {
	syncs atomic.Int64
	goOn  chan struct{}
}

func (d *slowDisk) MaybeError(op errorfs.Op) error {
	if op.Kind == errorfs.OpFileSync && op.Path != "" && op.Path[len(op.Path)-1] == 'p' { // nodes.conf.tmp
		d.syncs.Add(1)
		<-d.goOn
	}
	return nil
}

func (d *slowDisk) String() string { return "slow disk" }

// TestSlowDisk: while nodes.conf waits for the disk, routing and gossip go on, and who has something to save waits for at most one more write.
func TestSlowDisk(t *testing.T) {
	t.Parallel()
	disk := &slowDisk{goOn: make(chan struct{})}
	files := errorfs.Wrap(vfs.NewMem(), disk)
	tab := formedTable(t)
	c := still(t, tab, &actor{})
	var err error
	if c.store, _, err = openStore(files, "nodes.conf"); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	promise := func(at uint64) {
		wg.Go(func() {
			if err := c.promise(digitID("1"), at); err != nil {
				t.Error(err)
			}
		})
	}
	promise(2)
	poll.Until(t, "the disk works", func() bool { return disk.syncs.Load() == 1 })
	went := make(chan struct{})
	wg.Go(func() {
		defer close(went)
		c.learn(ownShard(t, digitID("b"), 2, 7))
		c.merge(&state{Sender: digitID("b"), Records: []record{{ID: digitID("b"), Version: 9, BusPort: 1}}}, false)
		c.tick()
	})
	select {
	case <-went:
	case <-time.After(10 * time.Second):
		close(disk.goOn)
		t.Fatal("the cluster stands still while the disk works")
	}
	if v := c.View(); v.Self().Primary != digitID("b") {
		t.Errorf("routing has not heard of the new primary: %q", v.Self().Primary)
	}
	for at := uint64(8); at < 16; at++ {
		promise(at)
	}
	poll.Until(t, "all have promised", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return tab.promised == 15
	})
	close(disk.goOn)
	wg.Wait()
	if n := disk.syncs.Load(); n > 3 {
		t.Errorf("nine who waited had it written %d times", n)
	}
	if s, err := c.store.load(); err != nil || s.promised != 15 {
		t.Errorf("%+v %v", s, err)
	}
}
