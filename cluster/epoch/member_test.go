package epoch

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/cairndb/cairn/cluster/slotmap"
)

// openLogged opens a member's folder in dir, without starting it.
func openLogged(t *testing.T, dir string) *member {
	t.Helper()
	o := Options{Dir: dir, Self: slotmap.NewNodeID(), Dialer: part{}, Lease: time.Second}
	if err := o.defaults(); err != nil {
		t.Fatal(err)
	}
	m, err := openMember(&o, memberDir(dir, identity{incarnation: 7}), identity{incarnation: 7}, func(*Table) {})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func store(t *testing.T, m *member, first, last uint64) {
	t.Helper()
	for i := first; i <= last; i++ {
		if err := m.log.StoreLog(&raft.Log{Index: i, Term: 1, Data: bytes.Repeat([]byte("entry "), 10)}); err != nil {
			t.Fatal(err)
		}
	}
}

// openCut opens a member with ten entries, of which the last four were cut off.
func openCut(t *testing.T, dir string) *member {
	t.Helper()
	m := openLogged(t, dir)
	store(t, m, 1, 10)
	if err := m.log.DeleteRange(7, 10); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestLogCutAtItsEnd: a follower cuts what its leader doesn't have off the end of its log; what is before that is there after a restart.
func TestLogCutAtItsEnd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := openCut(t, dir)
	store(t, m, 7, 8)
	if err := m.close(); err != nil {
		t.Fatal(err)
	}
	m = openLogged(t, dir)
	if last, err := m.log.LastIndex(); err != nil || last != 8 {
		t.Errorf("last index %d, %v", last, err)
	}
	if err := m.close(); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedLogIsSetAside: a voter whose log can't be read is none, rather than one that has forgotten its votes or does not start.
func TestDamagedLogIsSetAside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := openCut(t, dir)
	if err := m.close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(memberDir(dir, m.id), "log", "*.wal"))
	if err != nil || len(files) != 2 {
		t.Fatalf("segments %v, %v", files, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, []byte("entry"))
	clear(b[at-16 : at+40]) // a frame's header is gone
	if err := os.WriteFile(files[0], b, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := storeIdentity(dir, identity{cluster: slotmap.NewNodeID(), incarnation: 7}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		g, err := Open(Options{Dir: dir, Self: slotmap.NewNodeID(), Dialer: part{}, Lease: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		if g.member() != nil {
			t.Error("votes with a damaged log")
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Join(dir, damagedFolder)); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(memberDir(dir, identity{incarnation: 7})); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
}
