package log

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// segmentFiles returns the paths of the segments, oldest first.
func segmentFiles(t testing.TB, fs vfs.FS) []string {
	t.Helper()
	names, err := fs.List(testDir)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	var paths []string
	for _, name := range names {
		if _, ok := parseSegmentName(name); ok {
			paths = append(paths, testDir+"/"+name)
		}
	}
	return paths
}

// makeLog fills a log of several segments with n records; stopped cleanly or killed after a sync.
func makeLog(t testing.TB, n int, clean bool) *vfs.MemFS {
	t.Helper()
	fs := newMem(t)
	l := openTest(t, fs, Options{SegmentSize: 600, BufferSize: 200})
	for i := range n {
		appendN(t, l, i, i+1)
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	if clean {
		l.Close()
	} else {
		kill(l)
	}
	return fs
}

// A bit flipped anywhere is noticed: at the start, or by whoever reads the
// record. Never is a wrong record returned, and after a clean stop none is missing.
func TestFlippedBit(t *testing.T) {
	t.Parallel()
	const n = 12
	fs := makeLog(t, n, true)
	for _, name := range segmentFiles(t, fs) {
		good := readFile(t, fs, name)
		for i := range good {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << (i % 8)
			writeFile(t, fs, name, bad)
			l, err := Open(testDir, Options{FS: fs, ReadOnly: true})
			if err == nil {
				_, err = readAll(l, 0)
				l.Close()
			}
			var damage *DamagedError
			if !errors.As(err, &damage) || damage.File != name || !errors.Is(err, ErrDamaged) {
				t.Fatalf("%s byte %d: %v", name, i, err)
			}
		}
		writeFile(t, fs, name, good)
	}
}

// After a crash only what no record knows to be synced may be cut.
func TestFlippedBitAfterCrash(t *testing.T) {
	t.Parallel()
	const n = 12
	fs := makeLog(t, n, false)
	files := segmentFiles(t, fs)
	name := files[len(files)-1]
	good := readFile(t, fs, name)
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1 << (i % 8)
		writeFile(t, fs, name, bad)
		l, err := Open(testDir, Options{FS: fs, ReadOnly: true})
		if errors.Is(err, ErrDamaged) {
			continue
		}
		records, err := readAll(l, 0)
		if err != nil {
			t.Fatal(err)
		}
		// Each record says that the one before it was synced, so it is the last that is cut.
		checkRecords(t, records, n-1)
		l.Close()
	}
}

func TestMissingSegment(t *testing.T) {
	t.Parallel()
	for _, clean := range []bool{true, false} {
		fs := makeLog(t, 60, clean)
		files := segmentFiles(t, fs)
		for i, name := range files {
			good := readFile(t, fs, name)
			if err := fs.Remove(name); err != nil {
				t.Fatal(err)
			}
			l, err := Open(testDir, Options{FS: fs, ReadOnly: true})
			var damage *DamagedError
			switch {
			case i == 0: // as if dropped: whoever needs it learns it from Start
				if err != nil || l.Start() == 0 {
					t.Fatal(err)
				}
			case i < len(files)-1:
				if !errors.Is(err, ErrMissingSegment) || !errors.As(err, &damage) || damage.File != name {
					t.Fatalf("without %s: %v", name, err)
				}
			default:
				if !errors.Is(err, ErrMissingSegment) {
					t.Fatalf("without %s: %v", name, err)
				}
			}
			writeFile(t, fs, name, good)
		}
	}
	fs := makeLog(t, 60, true)
	for _, name := range segmentFiles(t, fs) {
		fs.Remove(name)
	}
	if _, err := Open(testDir, Options{FS: fs}); !errors.Is(err, ErrMissingSegment) {
		t.Fatal(err)
	}
}

// The newest segment may be torn behind what is known synced, but its header is in place since anything in it counts as synced.
func TestNewestSegmentCutToNothing(t *testing.T) {
	t.Parallel()
	fs := makeLog(t, 60, false)
	files := segmentFiles(t, fs)
	name := files[len(files)-1]
	good := readFile(t, fs, name)
	for size := range segmentHeaderSize + 1 {
		writeFile(t, fs, name, good[:size])
		if _, err := Open(testDir, Options{FS: fs, ReadOnly: true}); !errors.Is(err, ErrDamaged) {
			t.Fatalf("%d bytes: %v", size, err)
		}
	}
}

// A segment that was begun and never synced may be lost; one that the state file does not name although it was synced, too.
func TestSegmentThatIsNotNoted(t *testing.T) {
	t.Parallel()
	fs := newMem(t)
	l := openTest(t, fs, Options{SegmentSize: 600, Policy: No})
	appendN(t, l, 0, 3)
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	err := l.beginSegment(0)
	l.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	crashed := fs.CrashClone(vfs.CrashCloneCfg{})
	kill(l)
	if len(segmentFiles(t, crashed)) != 1 {
		t.Fatal(segmentFiles(t, crashed))
	}
	l = openTest(t, crashed, Options{})
	checkRecords(t, mustReadAll(t, l), 3)
}

// The state file of the version before, which names no segment.
func TestStateVersionOne(t *testing.T) {
	t.Parallel()
	fs := makeLog(t, 3, true)
	body := "cairn-log-state 1\nsynced 0\nterm " + testID(1) + " 0\n"
	writeFile(t, fs, testDir+"/"+stateName, fmt.Appendf(nil, "%scrc32c %08x\n", body, crc32.Checksum([]byte(body), castagnoli)))
	l := openTest(t, fs, Options{})
	checkRecords(t, mustReadAll(t, l), 3)
	if terms := l.Terms(); len(terms) != 1 || terms[0].ID != testID(1) {
		t.Fatal(terms)
	}
}

func TestForeignVersion(t *testing.T) {
	t.Parallel()
	fs := makeLog(t, 3, true)
	name := segmentFiles(t, fs)[0]
	b := readFile(t, fs, name)
	b[12] = 2
	writeFile(t, fs, name, b)
	if _, err := Open(testDir, Options{FS: fs}); !errors.Is(err, ErrDamaged) {
		t.Fatal(err)
	}
	h := segmentHeader{}
	copy(b, h.encodeVersion(2))
	writeFile(t, fs, name, b)
	if _, err := Open(testDir, Options{FS: fs}); !errors.Is(err, ErrVersion) {
		t.Fatal(err)
	}
}

func TestDamagedState(t *testing.T) {
	t.Parallel()
	fs := makeLog(t, 3, true)
	name := testDir + "/" + stateName
	good := readFile(t, fs, name)
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1 << (i % 7)
		writeFile(t, fs, name, bad)
		if _, err := Open(testDir, Options{FS: fs, ReadOnly: true}); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrVersion) {
			t.Fatalf("byte %d: %v", i, err)
		}
	}
	fs.Remove(name)
	l := openTest(t, fs, Options{})
	checkRecords(t, mustReadAll(t, l), 3)
}

// Records of a lost tail that are still on the disk, whole and at the right
// offset, never come back: not after the cut, not when new records end where they begin.
func TestStaleTail(t *testing.T) {
	t.Parallel()
	for _, zeroed := range []bool{true, false} {
		fs := newMem(t)
		l := openTest(t, fs, Options{})
		appendN(t, l, 0, 10)
		l.Sync()
		kept := l.End()
		appendN(t, l, 10, 20)
		l.Flush()
		kill(l)
		name := segmentFiles(t, fs)[0]
		b := readFile(t, fs, name)
		stale := bytes.Clone(b)
		at := (&segment{}).position(kept)
		b[at+45] ^= 1 // record 10 did not reach the disk, 11 to 19 did
		writeFile(t, fs, name, b)

		l = openTest(t, fs, Options{})
		if l.End() != kept {
			t.Fatal(l.End(), kept)
		}
		appendN(t, l, 10, 11)
		l.Flush()
		kill(l)
		if !zeroed { // as if a disk brought back what had been there before
			b = readFile(t, fs, name)
			b = append(b[:(&segment{}).position(l.End())], stale[(&segment{}).position(l.End()):]...)
			b[at+24]++ // the record in between is another one: its time differs
			h, _ := decodeRecordHeader(b[at:], kept, int64(len(b)))
			reseal(b[at : at+int64(h.length)])
			writeFile(t, fs, name, b)
		}
		l = openTest(t, fs, Options{})
		checkRecords(t, mustReadAll(t, l), 11)
		l.Close()
	}
}
