package engine

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// damagedStore is a store that was killed with 2000 keys, in the log's file at index file of which a bit is flipped.
func damagedStore(t *testing.T, applyAll bool, file int) *vfs.MemFS {
	t.Helper()
	mem := vfs.NewCrashableMem()
	o := testOptions(mem)
	o.MemTableBytes = 8 << 20
	o.LogBacklogBytes = 1 << 30
	s := openTest(t, "d", o)
	fill(t, s, 2000)
	if applyAll {
		if err := s.Flush(context.Background()); err != nil {
			t.Fatal(err)
		}
		mustSet(t, s, "after", "x")
	}
	if err := s.log.Sync(); err != nil {
		t.Fatal(err)
	}
	mem = mem.CrashClone(vfs.CrashCloneCfg{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	flip(t, mem, files(t, mem, "d/"+logFolder, "*.log")[file], 0.4)
	return mem
}

func repairLog(t *testing.T, mem vfs.FS) *LogRepair {
	t.Helper()
	p, err := PlanLogRepair("d", testOptions(mem))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if p.Damage == nil {
		t.Fatal("the damage is not seen")
	}
	if kept, err := p.Apply(); err != nil {
		t.Fatal(err)
	} else if _, err := mem.Stat(kept); err != nil {
		t.Fatal(err)
	}
	if again, err := PlanLogRepair("d", testOptions(mem)); err == nil {
		t.Error("the folder is not locked", again.Close())
	}
	return p
}

func wantSound(t *testing.T, mem vfs.FS) {
	t.Helper()
	r, err := Check(context.Background(), "d", testOptions(mem))
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		t.Fatal(err)
	}
	p, err := PlanLogRepair("d", testOptions(mem))
	if err != nil {
		t.Fatal(err)
	}
	if p.Damage != nil {
		t.Error(p.Damage)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// What the store has not applied is kept up to the damage.
func TestRepairLog(t *testing.T) {
	t.Parallel()
	mem := damagedStore(t, false, 1)
	if s, err := Open("d", testOptions(mem)); err == nil {
		t.Fatal("opens with a damaged log", s.Close())
	}
	p := repairLog(t, mem)
	if p.Applied != 0 || p.Log.Records == 0 || p.Log.Lost.Records == 0 || p.Log.Records+p.Log.Lost.Records > 2002 {
		t.Errorf("%+v, %+v", p, p.Log)
	}
	wantSound(t, mem)
	s := openTest(t, "d", testOptions(mem))
	if _, ok := get(t, s, "fill0"); !ok {
		t.Error("the first key is lost")
	}
	if _, ok := get(t, s, "fill1999"); ok {
		t.Error("the last key is there")
	}
	fill(t, s, 2000)
	wantKeys(t, s, 2000)
}

// A store that has applied what is damaged loses nothing.
func TestRepairLogOfAnAppliedStore(t *testing.T) {
	t.Parallel()
	mem := damagedStore(t, true, 0)
	p := repairLog(t, mem)
	if p.Applied == 0 || p.Log.From != p.Applied || p.Log.Lost.End != p.Log.End {
		t.Errorf("%+v, %+v", p, p.Log)
	}
	wantSound(t, mem)
	s := openTest(t, "d", testOptions(mem))
	wantKeys(t, s, 2000)
	if _, ok := get(t, s, "after"); !ok {
		t.Error("what was written after the store had applied is lost")
	}
}

// The whole log is gone: a new one begins where the store has applied it.
func TestRepairLogThatIsGone(t *testing.T) {
	t.Parallel()
	mem := damagedStore(t, true, 0)
	if err := mem.RemoveAll("d/" + logFolder); err != nil {
		t.Fatal(err)
	}
	if p := repairLog(t, mem); p.Log.Records != 0 || p.Log.End != p.Applied {
		t.Errorf("%+v, %+v", p, p.Log)
	}
	wantSound(t, mem)
	wantKeys(t, openTest(t, "d", testOptions(mem)), 2000)
}

// The store holds expiry entries of writes that are lost: the plan says so, and so does the next start.
func TestRepairLogOfAStoreThatReachesFurther(t *testing.T) {
	t.Parallel()
	mem := vfs.NewCrashableMem()
	s := openTest(t, "d", testOptions(mem))
	fill(t, s, 100)
	h := stringHeader
	h.ExpireAt = time.Now().Add(time.Hour).UnixMilli()
	last := key("expires")
	inTxn(t, s, last.Slot, func(tx *Txn) error { return tx.Put(last, h, []byte("v")) })
	if err := s.db.Flush(); err != nil { // syncs the log, too
		t.Fatal(err)
	}
	mem = mem.CrashClone(vfs.CrashCloneCfg{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	flip(t, mem, files(t, mem, "d/"+logFolder, "*.log")[0], 0.4)
	p := repairLog(t, mem)
	if p.Applied != 0 || p.Log.End >= p.Reach || p.Reach > p.Log.Lost.End {
		t.Errorf("%+v, %+v", p, p.Log)
	}
	r, err := Check(context.Background(), "d", testOptions(mem))
	if err != nil || r.ProblemCount == 0 {
		t.Errorf("the expiry entry of a lost key is not seen: %+v, %v", r, err)
	}
	var said bytes.Buffer
	o := testOptions(mem)
	o.Logger = slog.New(slog.NewTextHandler(&said, nil))
	if err := openTest(t, "d", o).Close(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(said.String(), "the log has lost its end") {
		t.Errorf("the start says:\n%s", &said)
	}
}
