package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/tools/poll"
)

// TestTransfers moves amounts between accounts from several goroutines, some of which group
// commands as the event loop does; the sum is seen unchanged under the world lock at any time.
func TestTransfers(t *testing.T) {
	t.Parallel()
	const accounts, workers, rounds = 40, 4, 300
	s := openTest(t, "d", testOptions(vfs.NewMem()))
	name := func(i int) string { return fmt.Sprint("account", i) }
	for i := range accounts {
		mustSet(t, s, name(i), "100")
	}
	amount := func(tx *Txn, i int) int {
		r, ok, err := tx.Get(key(name(i)))
		if err != nil || !ok {
			t.Errorf("account %d: %v, %v", i, ok, err)
		}
		n, _ := strconv.Atoi(string(r.Value))
		return n
	}
	transfer := func(tx *Txn, rng *rand.Rand, a, b int) {
		n := rng.IntN(10)
		for i, d := range map[int]int{a: -n, b: n} {
			if err := tx.Put(key(name(i)), stringHeader, []byte(strconv.Itoa(amount(tx, i)+d))); err != nil {
				t.Error(err)
			}
		}
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 2))
			tx := s.NewTxn()
			for range rounds {
				a, b := rng.IntN(accounts), rng.IntN(accounts)
				if a == b {
					continue
				}
				if w%2 == 0 {
					tx.Lock([]uint16{key(name(a)).Slot, key(name(b)).Slot}, true)
					transfer(tx, rng, a, b)
				} else {
					for range 5 {
						if tx.TryLock(key(name(a)).Slot, true) && tx.TryLock(key(name(b)).Slot, true) {
							transfer(tx, rng, a, b)
						}
						tx.EndCommand()
						if a, b = rng.IntN(accounts), rng.IntN(accounts); a == b {
							break
						}
					}
				}
				if err := tx.Commit(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		tx := s.NewTxn()
		for range 50 {
			tx.LockWorld()
			sum := 0
			for i := range accounts {
				sum += amount(tx, i)
			}
			tx.Discard()
			if sum != accounts*100 {
				t.Errorf("the sum is %d", sum)
			}
		}
	})
	wg.Wait()
	checkStore(t, s)
}

func TestLocks(t *testing.T) {
	t.Parallel()
	s := openTest(t, "d", testOptions(vfs.NewMem()))
	a, b := s.NewTxn(), s.NewTxn()
	try := func(tx *Txn, slot uint16, write, want bool) {
		t.Helper()
		if got := tx.TryLock(slot, write); got != want {
			t.Errorf("TryLock(%d, %v) = %v", slot, write, got)
		}
	}
	try(a, 1, false, true)
	try(b, 1, false, true)
	try(b, 1, true, false) // a reads it; b has given its own read lock up
	a.EndCommand()
	try(b, 1, true, true)
	try(b, 1, false, true)
	b.EndCommand()
	try(a, 1, false, false) // write locks stay
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
	try(a, 1, true, true)
	a.Discard()
	b.LockWorld()
	try(a, 2, false, false)
	b.Discard()
	if err := a.Put(key("x"), stringHeader, nil); !errors.Is(err, errNotLocked) {
		t.Errorf("a write without a lock: %v", err)
	}
}

func TestBarrier(t *testing.T) {
	t.Parallel()
	s := openTest(t, "d", testOptions(vfs.NewMem()))
	w, r := s.NewTxn(), s.NewTxn()
	w.Lock([]uint16{key("k").Slot}, true)
	mustPut(t, w, "k", "v", 0)
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	if w.Barrier() != s.log.End() {
		t.Errorf("the writer's barrier is %d, the log ends at %d", w.Barrier(), s.log.End())
	}
	r.TryLock(key("other").Slot, false)
	if r.Barrier() >= w.Barrier() {
		t.Error("a reader of another slot waits for the write")
	}
	r.TryLock(key("k").Slot, false)
	if r.Barrier() != w.Barrier() {
		t.Error("a reader of the slot does not wait for the write")
	}
	r.Discard()
	r.ResetBarrier()
	if r.Barrier() != 0 {
		t.Error("ResetBarrier")
	}
}

// TestLargeTxn commits a batch greater than a memtable, which Pebble takes over and empties.
func TestLargeTxn(t *testing.T) {
	t.Parallel()
	mem := vfs.NewCrashableMem()
	s := openTest(t, "d", testOptions(mem))
	k := key("large")
	tx := s.NewTxn()
	tx.Lock([]uint16{k.Slot}, true)
	id, err := tx.NewID(k.Slot)
	if err != nil {
		t.Fatal(err)
	}
	const chunks, chunk = 200, 16 << 10
	for i := range uint32(chunks) {
		if err := tx.PutSub(k.Slot, id, binary.BigEndian.AppendUint32(nil, i), bytes.Repeat([]byte{byte(i)}, chunk)); err != nil {
			t.Fatal(err)
		}
	}
	h := keys.Header{Type: keys.TypeString, Encoding: keys.EncodingSpread, ID: id, Count: chunks * chunk}
	if err := tx.Put(k, h, nil); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	mustSet(t, s, "after", "1")
	if err := s.log.Sync(); err != nil {
		t.Fatal(err)
	}
	again := openTest(t, "d", testOptions(mem.CrashClone(vfs.CrashCloneCfg{})))
	checkStore(t, again)
	tx = again.NewTxn()
	tx.Lock([]uint16{k.Slot}, false)
	defer tx.Discard()
	n := 0
	if err := tx.ScanSub(k.Slot, id, nil, func(sub, value []byte) bool {
		if len(value) != chunk || value[0] != byte(binary.BigEndian.Uint32(sub)) {
			t.Errorf("chunk %x", sub)
		}
		n++
		return true
	}); err != nil || n != chunks {
		t.Errorf("%d chunks, %v", n, err)
	}
	if got := again.DBCounts(0).Bytes; got < chunks*chunk {
		t.Errorf("counters say %d bytes", got)
	}
}

// TestGreatRecord: the record cache ignores entries past its limit, so it must forget the old one.
func TestGreatRecord(t *testing.T) {
	t.Parallel()
	s := openTest(t, "d", testOptions(vfs.NewMem()))
	for _, n := range []int{10, 70_000, 20, 65_400, 65_500, 65_536, 0} {
		want := string(bytes.Repeat([]byte{'v'}, n))
		mustSet(t, s, "k", want)
		if v, ok := get(t, s, "k"); !ok || v != want {
			t.Errorf("%d bytes: got %d, %v", n, len(v), ok)
		}
	}
	checkStore(t, s)
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	clock := newFakeClock()
	o := testOptions(vfs.NewMem())
	o.Now = clock.now
	s := openTest(t, "d", o)
	s.SetActiveExpire(false)
	tx := s.NewTxn()
	at := clock.ms.Load() + 1000
	const n = 3 * expireBatch
	for i := range n {
		tx.TryLock(key("{e}").Slot, true)
		mustPut(t, tx, fmt.Sprint("{e}", i), "v", at)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	clock.advance(time.Second)
	if _, ok := get(t, s, "{e}1"); !ok {
		t.Error("a key is gone in the millisecond at which it expires")
	}
	clock.advance(time.Millisecond)
	if _, ok := get(t, s, "{e}1"); ok {
		t.Error("an expired key is seen")
	}
	if got := s.DBCounts(0); got.Keys != n || got.Expires != n {
		t.Errorf("counts: %+v", got)
	}
	s.PauseExpire(clock.now().Add(time.Minute))
	s.SetActiveExpire(true)
	if s.mayExpire(key("{e}").Slot) {
		t.Error("expiry is not paused")
	}
	clock.advance(2 * time.Minute)
	poll.Until(t, "the expired keys are removed", func() bool { return s.DBCounts(0).Keys == 0 })
	if got := s.Stats().ExpiredKeys; got != n {
		t.Errorf("%d keys are counted as expired", got)
	}
	checkStore(t, s)
}

func TestOnModify(t *testing.T) {
	t.Parallel()
	s := openTest(t, "d", testOptions(vfs.NewMem()))
	var got []string
	s.OnModify(func(db uint8, name []byte) {
		if name == nil {
			name = []byte("*")
		}
		got = append(got, fmt.Sprint(db, string(name)))
	})
	tx := s.NewTxn()
	tx.LockWorld()
	mustPut(t, tx, "a", "1", 0)
	for _, err := range []error{
		second(tx.Delete(key("a"))), second(tx.Delete(key("a"))), tx.SwapDB(0, 1), tx.FlushDB(0), tx.FlushAll(), tx.Commit(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if want := "[0a 0a 1* 0* 1* 0* "; !bytes.HasPrefix([]byte(fmt.Sprint(got)), []byte(want)) {
		t.Errorf("got %v, want %s …", got, want)
	}
}

func second(_ bool, err error) error { return err }

// TestAbsentWithoutReading: as long as all keys of a slot are in memory, Pebble is not asked for those that don't exist; once one has given
// way it is.
func TestAbsentWithoutReading(t *testing.T) {
	t.Parallel()
	o := testOptions(vfs.NewMem())
	s := openTest(t, "d", o)
	look := func(name string, want bool) {
		t.Helper()
		tx := s.NewTxn()
		defer tx.Discard()
		tx.Lock([]uint16{key(name).Slot}, false)
		if _, ok, err := tx.Get(key(name)); ok != want || err != nil {
			t.Fatalf("%s: %v, %v", name, ok, err)
		}
	}
	reads := func() uint64 { return s.Stats().StoreReads }
	const n = 200
	for i := range n {
		look(fmt.Sprintf("{tag}%d", i), false)
		mustSet(t, s, fmt.Sprintf("{tag}%d", i), "v")
	}
	look("{tag}none", false)
	if got := reads(); got != 0 {
		t.Errorf("%d reads of absent keys", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, "d", o)
	look("{tag}nothing", false)
	for i := range n {
		look(fmt.Sprintf("{tag}%d", i), true)
	}
	if got := reads(); got != n+1 {
		t.Errorf("%d reads after a start, want %d", got, n+1)
	}
	look("{tag}no", false)
	look("other", false)
	if got := reads(); got != n+1 {
		t.Errorf("%d reads when all is in memory again", got-n-1)
	}
}

// TestStall: writers wait before any lock while memtables pile up, and go on afterwards.
func TestStall(t *testing.T) {
	t.Parallel()
	s := openTest(t, "d", testOptions(vfs.NewMem()))
	s.admission.stalled.set(true)
	if ok, err := s.TryAdmitWrite(); ok || err != nil {
		t.Errorf("TryAdmitWrite: %v, %v", ok, err)
	}
	if err := s.AdmitWrite(context.Background()); err != nil { // the monitor sees that there is no stall
		t.Error(err)
	}
	s.admission.stalled.set(true)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.AdmitWrite(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestKeysInSlotAndAverages(t *testing.T) {
	t.Parallel()
	s := openTest(t, "d", testOptions(vfs.NewMem()))
	tx := s.NewTxn()
	now := tx.Now()
	for i := range 20 {
		tx.TryLock(key("{s}").Slot, true)
		mustPut(t, tx, fmt.Sprint("{s}", i), "v", now+60_000)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	names, err := s.KeysInSlot(key("{s}").Slot, 7)
	if err != nil || len(names) != 7 {
		t.Errorf("%d names, %v", len(names), err)
	}
	if ttl := s.AverageTTL(0); ttl <= 0 || ttl > 60_000 {
		t.Errorf("average TTL %d", ttl)
	}
	if c := s.SlotCounts(key("{s}").Slot); c.Keys != 20 || c.Expires != 20 {
		t.Errorf("%+v", c)
	}
	st := s.Stats()
	if st.Commits == 0 || st.Log.End == 0 || st.MemoryBudget == 0 || st.DiskUsage() == 0 {
		t.Errorf("%+v", st)
	}
}
