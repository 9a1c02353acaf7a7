package engine

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	wal "github.com/cairndb/cairn/engine/log"
)

// A crash test runs random transactions, copies the file system at a random write, as a
// crash at that moment would leave it, opens the copy, and compares:
//
//   - The store is exactly what some prefix of the commits made it (nothing is invented, half or out of order).
//   - The prefix holds every commit that was acknowledged within the policy's promise.
//   - Check finds nothing wrong.
//
// Then it goes on with the copy, so that recoveries are crashed, too.

// commitPoint is the model after the commit that ends at an offset.
type commitPoint struct {
	end Offset
	m   model
}

// crasher copies the file system at the n-th write operation from now.
type crasher struct {
	countdown atomic.Int64
	acked     atomic.Uint64 // what the test knows to be safe

	mu       sync.Mutex
	fs       *vfs.MemFS
	cfg      vfs.CrashCloneCfg
	crashed  *vfs.MemFS
	ackedAt  Offset
	crashing string
}

func (c *crasher) String() string { return "crasher" }

// MaybeError is called before each operation of the file system.
func (c *crasher) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && c.countdown.Add(-1) == 0 {
		c.crash(fmt.Sprint(op.Kind, " ", filepath.Base(op.Path)))
	}
	return nil
}

func (c *crasher) crash(where string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ackedAt = c.acked.Load() // before the copy
	c.crashed = c.fs.CrashClone(c.cfg)
	c.crashing = where
}

func (c *crasher) done() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.crashed != nil
}

// crashTest is a series of crashes of one store.
type crashTest struct {
	modelTest
	policy  wal.Policy
	history []commitPoint
	cr      *crasher
	o       Options
	// What the last crash must not lose, and where it was.
	promised Offset
	crashing string
}

// begin arms a crash on fs.
func (ct *crashTest) begin(fs *vfs.MemFS) {
	cr := &crasher{fs: fs}
	// A killed process loses nothing that the operating system has; a power loss any of what was not synced.
	cr.cfg.RNG = rand.New(rand.NewPCG(ct.rng.Uint64(), 0))
	cr.cfg.UnsyncedDataPercent = []int{0, 30, 90, 100}[ct.rng.IntN(4)]
	cr.countdown.Store(1 + int64(ct.rng.ExpFloat64()*400))
	cr.acked.Store(ct.promised)
	ct.cr = cr
	ct.o.FS = errorfs.Wrap(fs, cr)
}

// ack notes what must survive the crash.
func (ct *crashTest) ack() {
	safe := ct.s.log.Synced()
	if ct.cr.cfg.UnsyncedDataPercent == 100 {
		safe = ct.s.log.Written()
	}
	if ct.policy == wal.Always {
		safe = max(safe, ct.s.Stable())
	}
	ct.cr.acked.Store(max(safe, ct.cr.acked.Load()))
}

// step runs one transaction.
func (ct *crashTest) step() {
	ct.tx.ResetBarrier()
	before := ct.s.log.End()
	ct.group()
	if ct.s.log.End() != before {
		// A group that has only read depends on less than the commit before it, whose model it has.
		end := max(ct.tx.Barrier(), ct.history[len(ct.history)-1].end)
		ct.history = append(ct.history, commitPoint{end, ct.m.clone()})
	}
	switch ct.rng.IntN(4) {
	case 0:
		if ct.policy == wal.Always {
			ct.fatal(ct.s.WaitStable(ct.t.Context(), ct.tx.Barrier()))
		}
		fallthrough
	case 1:
		_, err := ct.s.FlushLog()
		ct.fatal(err)
	}
	if ct.rng.IntN(60) == 0 {
		ct.fatal(ct.s.Flush(ct.t.Context()))
	}
	if ct.rng.IntN(200) == 0 {
		ct.clock.advance(time.Second)
	}
	ct.ack()
}

// verify compares the store after a crash with the commit that it should be at.
func (ct *crashTest) verify() {
	end := ct.s.recovery.To
	if end < ct.promised {
		ct.t.Fatalf("crash at %s: recovered to %d, but %d was acknowledged (policy %v)", ct.crashing, end, ct.promised, ct.policy)
	}
	i := len(ct.history) - 1
	for ct.history[i].end > end {
		i--
	}
	ct.history = ct.history[:i+1]
	ct.m = ct.history[i].m.clone()
	ct.compareAll()
	checkStore(ct.t, ct.s)
}

// run crashes n times, and stores the crashes done so far in points.
func (ct *crashTest) run(n int) {
	fs := vfs.NewCrashableMem()
	ct.history = []commitPoint{{0, model{}}}
	for point := 0; point < n; point++ {
		ct.begin(fs)
		s, err := Open("d", ct.o)
		ct.fatal(err)
		ct.s, ct.tx = s, s.NewTxn()
		if point > 0 {
			ct.verify()
		}
		for !ct.cr.done() {
			ct.step()
		}
		fs, ct.promised = ct.cr.crashed, ct.cr.ackedAt
		ct.crashing = fmt.Sprintf("%s, with %d%% of unsynced data kept", ct.cr.crashing, ct.cr.cfg.UnsyncedDataPercent)
		ct.fatal(s.Close())
	}
}

// crashPoints is the number of crashes of all runs together.
func crashPoints(t *testing.T) int {
	env := os.Getenv("CAIRN_CRASH_POINTS")
	switch {
	case env == "" && testing.Short(): // the race detector, which makes each take ten times as long
		return 60
	case env == "":
		return 240
	}
	n, err := strconv.Atoi(strings.TrimSpace(env))
	if err != nil || n < 1 {
		t.Fatalf("CAIRN_CRASH_POINTS=%q is no number", env)
	}
	return n
}

func TestCrash(t *testing.T) {
	t.Parallel()
	const perRun = 30
	runs := (crashPoints(t) + perRun - 1) / perRun
	base := uint64(time.Now().UnixNano())
	if env := os.Getenv("CAIRN_CRASH_SEED"); env != "" {
		base, _ = strconv.ParseUint(env, 10, 64)
	}
	for i := range runs {
		seed, policy := base+uint64(i), wal.Policy(i%3)
		t.Run(fmt.Sprintf("policy=%v/seed=%d", policy, seed), func(t *testing.T) {
			t.Parallel()
			clock := newFakeClock()
			ct := &crashTest{
				modelTest: modelTest{t: t, rng: rand.New(rand.NewPCG(seed, 1)), clock: clock, names: 60},
				policy:    policy,
			}
			ct.o = testOptions(nil)
			ct.o.Now = clock.now
			ct.o.SyncPolicy = policy
			ct.o.MemTableBytes = 64 << 10
			ct.o.LogSegmentBytes = 32 << 10
			ct.o.RecordCacheBytes = -1
			ct.m = model{}
			ct.run(perRun)
		})
	}
}
