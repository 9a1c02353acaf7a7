package log

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// flipRecord flips a bit in the payload of the i-th record.
func flipRecord(t *testing.T, fs vfs.FS, records []Record, i int) {
	t.Helper()
	for _, name := range segmentFiles(t, fs) {
		b := readFile(t, fs, name)
		start, _ := parseSegmentName(fs.PathBase(name))
		at := (&segment{start: start}).position(records[i].Start)
		if start > records[i].Start || at >= int64(len(b)) {
			continue
		}
		if h, err := decodeRecordHeader(b[at:], records[i].Start, int64(len(b))); err == nil && h.offset == records[i].Start {
			b[at+recordHeaderSize] ^= 4
			writeFile(t, fs, name, b)
			return
		}
	}
	t.Fatalf("record %d is in no segment", i)
}

func mustPlan(t *testing.T, fs vfs.FS, from uint64) *Repair {
	t.Helper()
	p, err := PlanRepair(fs, testDir, from)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// checkRepaired opens the log, which must hold the records and take more.
func checkRepaired(t *testing.T, fs vfs.FS, from uint64, want []Record) {
	t.Helper()
	l, err := Open(testDir, Options{FS: fs, SegmentSize: 600})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := mustReadAll(t, l)
	if l.Start() != from || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("from %d on: %d records, want %d from %d on", l.Start(), len(got), len(want), from)
	}
	appendN(t, l, 0, 20)
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	if n := len(mustReadAll(t, l)); n != len(want)+20 {
		t.Fatalf("%d records after 20 more, want %d", n, len(want)+20)
	}
}

// With one record damaged, and the log needed from any other on, everything up to the damage is kept, and only what follows is lost.
func TestRepair(t *testing.T) {
	t.Parallel()
	const n = 30
	for damaged := range n {
		for _, needed := range []int{0, damaged / 2, damaged, damaged + 1, n - 1, n} {
			fs := makeLog(t, n, damaged%2 == 0)
			l, err := Open(testDir, Options{FS: fs, ReadOnly: true})
			if err != nil {
				t.Fatal(err)
			}
			records, end := mustReadAll(t, l), l.End()
			l.Close()
			flipRecord(t, fs, records, damaged)
			from, upTo := end, n
			if needed < n {
				from = records[needed].Start
			}
			if needed <= damaged {
				upTo = damaged
			}
			want := records[min(needed, upTo):upTo]
			p := mustPlan(t, fs, from)
			lost := max(0, n-upTo-1)
			if int(p.Records) != len(want) || int(p.Lost.Records) != lost || p.Lost.Slots != lost {
				t.Fatalf("record %d damaged, needed from %d on: %+v", damaged, needed, p)
			}
			if lost > 0 && p.Lost.End != end {
				t.Fatalf("the end was %d: %+v", end, p)
			}
			before := segmentFiles(t, fs)
			if err := p.Apply("/data/kept"); err != nil {
				t.Fatal(err)
			}
			checkRepaired(t, fs, from, want)
			for _, name := range before {
				if _, err := fs.Stat("/data/kept/" + fs.PathBase(name)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// Segments and their headers may be gone as well, and the state file.
func TestRepairWithoutFiles(t *testing.T) {
	t.Parallel()
	const n = 60
	for i := range segmentFiles(t, makeLog(t, n, true)) {
		for _, how := range []string{"remove", "empty", "header", "state"} {
			fs := makeLog(t, n, true)
			name := segmentFiles(t, fs)[i]
			b := readFile(t, fs, name)
			switch how {
			case "remove":
				fs.Remove(name)
			case "empty":
				writeFile(t, fs, name, nil)
			case "header":
				b[20] ^= 1
				writeFile(t, fs, name, b)
			case "state":
				writeFile(t, fs, testDir+"/"+stateName, bytes.Repeat([]byte("x"), 40))
			}
			start, _ := parseSegmentName(fs.PathBase(name))
			p := mustPlan(t, fs, 0)
			whole := how == "header" || how == "state"
			if whole && p.Records != n || !whole && p.End != start {
				t.Fatalf("%s of segment %d at %d: %+v", how, i, start, p)
			}
			if err := p.Apply("/data/kept"); err != nil {
				t.Fatal(err)
			}
			l := openTest(t, fs, Options{})
			checkRecords(t, mustReadAll(t, l), int(p.Records))
			l.Close()
		}
	}
}

// A store that has applied more than can be read goes on at its offset.
func TestRepairBehindTheEnd(t *testing.T) {
	t.Parallel()
	fs := makeLog(t, 10, true)
	p := mustPlan(t, fs, 1<<40)
	if err := p.Apply("/data/kept"); err != nil {
		t.Fatal(err)
	}
	checkRepaired(t, fs, 1<<40, nil)
}

// readFrom opens the log as it is and reads what follows an offset.
func readFrom(fs vfs.FS, from uint64) ([]Record, error) {
	l, err := Open(testDir, Options{FS: fs, ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return readAll(l, from)
}

// A crash anywhere in a repair leaves a log that does not open, or one that holds what is kept; the repair can be done again.
func TestRepairCrash(t *testing.T) {
	t.Parallel()
	const n = 40
	errStop := errors.New("stop")
	for _, needed := range []int{0, 5, 21, 30} {
		for stop := 1; ; stop++ {
			rng := rand.New(rand.NewPCG(uint64(needed), uint64(stop)))
			fs := makeLog(t, n, false)
			l, err := Open(testDir, Options{FS: fs, ReadOnly: true})
			if err != nil {
				t.Fatal(err)
			}
			records := mustReadAll(t, l)
			l.Close()
			flipRecord(t, fs, records, 20)
			want := records[needed:]
			if needed <= 20 {
				want = records[needed:20]
			}
			from, left := records[needed].Start, stop
			err = mustPlan(t, errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
					left--
				}
				if left < 0 {
					return errStop
				}
				return nil
			})), from).Apply("/data/kept")
			if err != nil && !errors.Is(err, errStop) {
				t.Fatal(err)
			}
			crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
			if got, err := readFrom(crashed, from); err == nil && fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("stopped at %d: opens with %d records, want %d", stop, len(got), len(want))
			} else if err != nil && !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			if err := mustPlan(t, crashed, from).Apply("/data/again"); err != nil {
				t.Fatal(err)
			}
			checkRepaired(t, crashed, from, want)
			if err == nil {
				break
			}
		}
	}
}
