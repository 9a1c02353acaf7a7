package replication

import (
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairndb/cairn/tools/poll"
)

// TestReplicaLosesPower: again and again a replica's disk is what a power loss leaves of it, in full syncs, while it
// installs, and in the stream. It starts from that and ends equal.
func TestReplicaLosesPower(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	a := newNode(t, "a")
	disk := vfs.NewCrashableMem()
	b := newNode(t, "b", func(n *node) { n.dir, n.o.FS = "/data", disk })
	b.put(0, 500, 300)
	b.stop()
	b.start() // a history of its own, on its disk
	next := 0
	for range 6 {
		b.follow(a)
		for range 1 + rng.IntN(10) {
			a.put(next, next+200, 200)
			next += 150
		}
		if rng.IntN(2) == 0 {
			at := a.m.Store().End()
			poll.Within(t, "b follows", patience, func() bool { l := b.m.Status().Link; return l.Up && b.m.Store().End() >= at })
			a.put(next, next+50, 100)
		}
		crashed := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
		b.kill()
		disk = crashed
		b.o.FS, b.o.Follow = disk, true
		b.start()
	}
	b.follow(a)
	converge(t, a, b)
}
