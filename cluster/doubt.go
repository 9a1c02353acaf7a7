package cluster

import (
	"math"
	"os"
	"strings"
)

// A node whose machine lost power may have lost the end of its log (appendfsync everysec, no), and with it writes that it acknowledged, as a
// primary or as a replica (replication-acks). So it is in doubt after a start if its machine has been started since it last ran, and it was not stopped
// properly. A primary in doubt of a shard whose writes wait for replicas does not serve: the group has to grant its place anew, to
// one that has everything, or, if all are in doubt, to the best of all (epoch.Offer.Doubtful). A node is in doubt no more when it is granted, or has all that its primary has.
//
// nodes.conf says in which time between two starts of the machine the node ran last: boot <id>, or boot <id>/always under appendfsync always, which loses
// nothing, or boot kept after a proper stop.

const (
	bootFile   = "/proc/sys/kernel/random/boot_id"
	bootAlways = "/always"
	bootKept   = "kept"
)

func bootID() string {
	b, err := os.ReadFile(bootFile)
	if err != nil {
		return "" // nothing can be told apart
	}
	return strings.TrimSpace(string(b))
}

// mayHaveLost says whether a node that ran in a time before may have lost something by now. An empty name is not known.
func mayHaveLost(before, now string) bool {
	return before != "" && now != "" && before != now && before != bootKept && !strings.HasSuffix(before, bootAlways)
}

// boot is what nodes.conf should say of the present.
func (c *Cluster) boot(s *Settings) string {
	if c.o.Boot != "" && s.SyncsAlways {
		return c.o.Boot + bootAlways
	}
	return c.o.Boot
}

// beginDoubt notes at the start what the last run may have left.
func (c *Cluster) beginDoubt(t *table, was *saved) {
	if t.boot = c.boot(&t.set); was == nil || !mayHaveLost(was.boot, c.o.Boot) {
		return
	}
	t.me().Doubtful = true
	t.touch()
	c.doubtful.Store(true)
	c.log.Warn("cluster: the machine was started anew since this node ran: the end of its log may be lost, of what was written within the last second")
}

// doubted is up to which epoch this node's grants hold no lease.
func (c *Cluster) doubted() uint64 {
	if c.doubtful.Load() {
		return math.MaxUint64
	}
	return 0
}

// certain notes that this node has everything, as it leads or follows.
func (c *Cluster) certain(yes bool) {
	if !yes || !c.doubtful.Load() {
		return
	}
	c.mu.Lock()
	c.doubtful.Store(false)
	c.mu.table.me().Doubtful = false
	c.mu.table.touch()
	c.mu.Unlock()
	if g := c.group.Load(); g != nil {
		g.Doubt(0)
	}
}

// Kept notes that the log is on disk as a whole, and that nothing will be written any more.
func (c *Cluster) Kept() error {
	return c.change(func(t *table, _ int64) error {
		if !c.doubtful.Load() {
			t.boot = bootKept
		}
		return nil
	})
}
