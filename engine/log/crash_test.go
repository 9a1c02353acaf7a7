package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// crashSeeds is how many random histories a crash test runs, each with several crashes.
// CAIRN_CRASH_POINTS sets how many crashes there are in a long run.
func crashSeeds(t *testing.T, seeds, crashes int) int {
	env := os.Getenv("CAIRN_CRASH_POINTS")
	if env == "" {
		return seeds
	}
	points, err := strconv.Atoi(env)
	if err != nil {
		t.Fatalf("CAIRN_CRASH_POINTS=%q is no number", env)
	}
	return max(1, points/crashes)
}

// crashModel is what a log must be able to show after a crash.
type crashModel struct {
	t    *testing.T
	seed uint64
	rng  *rand.Rand
	fs   *vfs.MemFS
	l    *Log

	appended []Record // everything in the log, in order
	// always: this run keeps to that policy, and acked is what its callbacks have reported.
	always bool
	acked  *atomic.Uint64
}

func (m *crashModel) fatalf(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("seed %d: %s", m.seed, fmt.Sprintf(format, args...))
}

func (m *crashModel) open() {
	var err error
	m.acked = new(atomic.Uint64)
	m.always = m.rng.IntN(3) == 0
	policy := Always
	if !m.always {
		policy = Policy(m.rng.IntN(3))
	}
	m.l, err = Open(testDir, Options{
		FS:           m.fs,
		SegmentSize:  int64(5000 + m.rng.IntN(30000)),
		BufferSize:   1 + m.rng.IntN(20000),
		Policy:       policy,
		SyncInterval: time.Duration(1+m.rng.IntN(20)) * time.Millisecond,
	})
	if err != nil {
		m.fatalf("open: %v", err)
	}
}

func (m *crashModel) randomPayload() []byte {
	size := m.rng.IntN(300)
	switch m.rng.IntN(30) {
	case 0:
		size = m.rng.IntN(50000)
	case 1, 2, 3:
		size = m.rng.IntN(8000)
	}
	p := make([]byte, size)
	if m.rng.IntN(4) > 0 { // otherwise zeros, which look like what was never written
		for i := range p {
			p[i] = byte(m.rng.Uint32())
		}
	}
	return p
}

func (m *crashModel) step() {
	var err error
	switch m.rng.IntN(20) {
	case 0, 1, 2:
		_, err = m.l.Flush()
	case 3:
		err = m.l.Sync()
	case 4:
		if !m.always {
			m.l.SetPolicy(Policy(m.rng.IntN(3)))
		}
	case 5:
		if err = m.l.Drop(m.rng.Uint64N(m.l.End() + 1)); err == nil {
			m.forget()
		}
	case 6:
		if !m.always {
			break
		}
		end, acked := m.l.End(), m.acked
		m.l.OnStable(end, func(err error) {
			for was := acked.Load(); err == nil && was < end && !acked.CompareAndSwap(was, end); was = acked.Load() {
			}
		})
	default:
		r := Record{Kind: KindBatch, Start: m.l.End(), Payload: m.randomPayload()}
		r.End, err = m.l.Append(r.Kind, nil, r.Payload)
		m.appended = append(m.appended, r)
	}
	if err != nil {
		m.fatalf("%v", err)
	}
}

// forget drops from the model what the log has dropped.
func (m *crashModel) forget() {
	start := m.l.Start()
	m.appended = slices.DeleteFunc(m.appended, func(r Record) bool { return r.End <= start })
}

// crash replaces the file system by what a crash leaves of it. It returns the offset
// that must have survived.
func (m *crashModel) crash() uint64 {
	if m.rng.IntN(3) == 0 { // the process is killed: what the system has stays
		if m.rng.IntN(2) == 0 {
			kill(m.l)
			return m.l.Written()
		}
		must := m.l.Written()
		m.fs = m.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: m.rng})
		return must
	}
	must := max(m.l.Synced(), m.acked.Load())
	m.fs = m.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: m.rng.IntN(100), RNG: m.rng})
	if m.rng.IntN(2) == 0 {
		m.tear(must)
	}
	return must
}

// tear damages files by hand behind the offset that is synced.
func (m *crashModel) tear(synced uint64) {
	st, err := loadState(m.fs, testDir) // the log's own goroutines may have synced more just before the crash
	if err != nil {
		m.fatalf("%v", err)
	}
	synced = max(synced, st.synced)
	names, err := m.fs.List(testDir)
	if err != nil {
		m.fatalf("%v", err)
	}
	slices.Sort(names)
	for _, name := range names {
		start, ok := parseSegmentName(name)
		if !ok {
			continue
		}
		b := readFile(m.t, m.fs, testDir+"/"+name)
		from := 0 // the segment was begun behind what is synced
		if start <= synced && synced > 0 || start == 0 {
			from = int((&segment{start: start}).position(synced))
		}
		if start == st.newest {
			from = max(from, segmentHeaderSize)
		}
		if from >= len(b) {
			continue
		}
		at := from + m.rng.IntN(len(b)-from)
		switch m.rng.IntN(4) {
		case 0:
			b = b[:at]
		case 1:
			clear(b[at:min(at+4096, len(b))])
		case 2:
			b[at] ^= 1 << m.rng.IntN(8)
		case 3:
			for range m.rng.IntN(10000) {
				b = append(b, byte(m.rng.Uint32()))
			}
		}
		writeFile(m.t, m.fs, testDir+"/"+name, b)
	}
}

// verify checks what the reopened log holds, and makes it the model's truth.
func (m *crashModel) verify(must uint64) {
	if m.l.End() < must {
		m.fatalf("log ends at %d, but %d was promised", m.l.End(), must)
	}
	got, err := readAll(m.l, m.l.Start())
	if err != nil {
		m.fatalf("%v", err)
	}
	m.forget()
	for len(m.appended) > 0 && m.appended[0].Start < m.l.Start() {
		m.appended = m.appended[1:]
	}
	if len(got) > len(m.appended) {
		m.fatalf("%d records, only %d were appended", len(got), len(m.appended))
	}
	for i, r := range got {
		want := m.appended[i]
		if r.Start != want.Start || r.End != want.End || r.Kind != want.Kind || !bytes.Equal(r.Payload, want.Payload) {
			m.fatalf("record %d at %d is not what was appended at %d", i, r.Start, want.Start)
		}
	}
	m.appended = m.appended[:len(got)]
	if end := m.l.End(); len(got) > 0 && got[len(got)-1].End != end {
		m.fatalf("log ends at %d, its last record at %d", end, got[len(got)-1].End)
	}
}

// Random histories with several crashes each: what was promised is there, nothing is
// invented, the order is kept, and what was cut never comes back.
func TestCrash(t *testing.T) {
	t.Parallel()
	for seed := range crashSeeds(t, 60, 6) {
		m := &crashModel{t: t, seed: uint64(seed), rng: rand.New(rand.NewPCG(uint64(seed), 1)), fs: newMem(t)}
		m.open()
		for term := range 6 {
			start := m.l.End()
			if err := m.l.BeginTerm(testID(term)); err != nil {
				m.fatalf("%v", err)
			}
			m.appended = append(m.appended, Record{Kind: KindTerm, Start: start, End: m.l.End(), Payload: []byte(testID(term))})
			for range m.rng.IntN(150) {
				m.step()
			}
			if m.rng.IntN(4) == 0 {
				if err := m.l.Close(); err != nil {
					m.fatalf("%v", err)
				}
			}
			must := m.crash()
			m.l.Close()
			m.open()
			m.verify(must)
			if terms := m.l.Terms(); len(terms) != term+1 || terms[term] != (Term{testID(term), start}) {
				m.fatalf("terms %v, want %d of them, the last at %d", terms, term+1, start)
			}
		}
		m.l.Close()
	}
}

// Several goroutines write and wait while the machine crashes again and again: each
// has what it was promised, in its order.
func TestCrashWithManyWriters(t *testing.T) {
	t.Parallel()
	for seed := range crashSeeds(t, 30, 6) {
		rng := rand.New(rand.NewPCG(uint64(seed), 3))
		policy, survives := Always, rng.IntN(100)
		if seed%2 == 0 {
			policy, survives = EverySec, 100 // only the process is killed
		}
		fs := newMem(t)
		l := openTest(t, fs, Options{Policy: policy, SegmentSize: 3000, BufferSize: 1 + rng.IntN(3000), SyncInterval: time.Millisecond})
		var acked [4]atomic.Int64
		var writers sync.WaitGroup
		for w := range acked {
			writers.Add(1)
			go func() {
				defer writers.Done()
				for i := range int64(60) {
					end, err := l.Append(KindBatch, nil, fmt.Appendf(nil, "%d %d %s", w, i, payload(int(i))))
					if err == nil {
						err = l.WaitStable(context.Background(), end)
					}
					if err != nil {
						t.Error(seed, err)
						return
					}
					acked[w].Store(i + 1)
				}
			}()
		}
		for range 6 {
			var must [len(acked)]int64
			for w := range acked {
				must[w] = acked[w].Load()
			}
			clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: survives, RNG: rng})
			checkWriters(t, seed, clone, must[:])
		}
		writers.Wait()
		if err := l.Close(); err != nil {
			t.Fatal(seed, err)
		}
		checkWriters(t, seed, fs, []int64{60, 60, 60, 60})
	}
}

// checkWriters opens what a crash has left and looks for each writer's records.
func checkWriters(t *testing.T, seed int, fs vfs.FS, must []int64) {
	t.Helper()
	l, err := Open(testDir, Options{FS: fs})
	if err != nil {
		t.Fatal(seed, err)
	}
	defer l.Close()
	found := make([]int64, len(must))
	for _, r := range mustReadAll(t, l) {
		var w int
		var i int64
		if _, err := fmt.Sscan(string(r.Payload), &w, &i); err != nil || found[w] != i {
			t.Fatalf("seed %d: %q, want %d: %v", seed, r.Payload, found[w], err)
		}
		found[w]++
	}
	for w, n := range must {
		if found[w] < n {
			t.Fatalf("seed %d: writer %d has %d records, %d were promised", seed, w, found[w], n)
		}
	}
}

// kill ends a log as the end of its process does: nothing more is written or synced.
func kill(l *Log) {
	l.closeOnce.Do(func() {
		close(l.quit)
		l.goroutines.Wait()
		l.closeFiles()
	})
}

func readFile(t testing.TB, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// writeFile replaces a file, durably.
func writeFile(t testing.TB, fs vfs.FS, name string, b []byte) {
	t.Helper()
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(bytes.Clone(b))
	if err = errors.Join(err, f.Sync(), f.Close(), syncDir(fs, fs.PathDir(name))); err != nil {
		t.Fatal(err)
	}
}
