package types

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairndb/cairn/engine"
	wal "github.com/cairndb/cairn/engine/log"
)

// formatVersion is the present version of the stored format. testdata/format has a data folder of each version that there was, as a crash left
// it, and beside it what is stored for each key. These files stay as they are: a new version adds its own, with -write-format.
const formatVersion = 1

var writeFormat = flag.Bool("write-format", false, "write the data folder of a new version of the stored format")

// formatStep writes a key in one transaction.
type formatStep struct {
	key  string
	make func(tx *engine.Txn, k engine.Key) error
}

// formatSteps write values of all types in all forms. What they write is the same each time, but for the last one's.
var formatSteps = []formatStep{
	{"string", func(tx *engine.Txn, k engine.Key) error { return SetString(tx, k, []byte("value"), 2_000_000) }},
	{"string-counter", func(tx *engine.Txn, k engine.Key) error {
		_, err := IncrBy(tx, k, 42)
		return err
	}},
	{"string-float", func(tx *engine.Txn, k engine.Key) error {
		_, err := IncrByFloat(tx, k, []byte("0.5"))
		return err
	}},
	{"string-bits", func(tx *engine.Txn, k engine.Key) error {
		s, err := OpenString(tx, k)
		if err == nil {
			_, err = s.SetBit(17_000*8, 1)
		}
		return err
	}},
	{"hll", func(tx *engine.Txn, k engine.Key) error {
		h, err := OpenHLL(tx, k)
		if err == nil {
			_, err = h.Add(formatElements(3))
		}
		return err
	}},
	{"hash", func(tx *engine.Txn, k engine.Key) error { return formatHash(tx, k, 3) }},
	{"hash-large", func(tx *engine.Txn, k engine.Key) error { return formatHash(tx, k, 12) }},
	{"list", func(tx *engine.Txn, k engine.Key) error { return formatList(tx, k, 3) }},
	{"list-large", func(tx *engine.Txn, k engine.Key) error { return formatList(tx, k, 12) }},
	{"list-irregular", func(tx *engine.Txn, k engine.Key) error {
		if err := formatList(tx, k, 300); err != nil {
			return err
		}
		l, err := OpenList(tx, k)
		for i := 50; i < 250 && err == nil; i += 50 {
			if _, err = l.Insert(fmt.Appendf(nil, "element %d", i), true, []byte("inserted")); err == nil {
				_, err = l.Remove(1, fmt.Appendf(nil, "element %d", i+7))
			}
		}
		return err
	}},
	{"set-integers", func(tx *engine.Txn, k engine.Key) error {
		return formatSet(tx, k, [][]byte{[]byte("-3"), []byte("5"), []byte("70000")})
	}},
	{"set", func(tx *engine.Txn, k engine.Key) error { return formatSet(tx, k, formatElements(3)) }},
	{"set-large", func(tx *engine.Txn, k engine.Key) error { return formatSet(tx, k, formatElements(12)) }},
	{"set-shrunk", func(tx *engine.Txn, k engine.Key) error {
		if err := formatSet(tx, k, formatElements(12)); err != nil {
			return err
		}
		s, err := OpenSet(tx, k)
		if err == nil {
			_, err = s.Remove(formatElements(4))
		}
		return err
	}},
	{"zset", func(tx *engine.Txn, k engine.Key) error { return formatZSet(tx, k, 3) }},
	{"zset-large", func(tx *engine.Txn, k engine.Key) error { return formatZSet(tx, k, 12) }},
	{"zset-counted", func(tx *engine.Txn, k engine.Key) error { return formatZSet(tx, k, 5000) }},
	{"stream", formatStream},
	{"deleted", func(tx *engine.Txn, k engine.Key) error { return formatHash(tx, k, 12) }},
	{"deleted", func(tx *engine.Txn, k engine.Key) error {
		_, err := tx.Delete(k)
		return err
	}},
	{"set-drawn", func(tx *engine.Txn, k engine.Key) error {
		if err := formatSet(tx, k, formatElements(50)); err != nil {
			return err
		}
		s, err := OpenSet(tx, k)
		if err == nil {
			err = s.Pop(1, func([]byte) {})
		}
		return err
	}},
}

func formatElements(n int) (elements [][]byte) {
	for i := range n {
		elements = append(elements, fmt.Appendf(nil, "element %d", i))
	}
	return elements
}

func formatHash(tx *engine.Txn, k engine.Key, n int) error {
	h, err := OpenHash(tx, k)
	for i, field := range formatElements(n) {
		if err == nil {
			_, err = h.Set(field, fmt.Append(nil, i), false)
		}
	}
	if err == nil {
		_, err = h.SetExpiry([]byte("element 1"), 3_000_000, Always)
	}
	return errors.Join(err, h.Save())
}

func formatList(tx *engine.Txn, k engine.Key, n int) error {
	l, err := OpenList(tx, k)
	if err == nil {
		err = l.Push(Right, formatElements(n)...)
	}
	if err == nil {
		err = l.Pop(Left, 1, func([]byte) {})
	}
	return err
}

func formatSet(tx *engine.Txn, k engine.Key, members [][]byte) error {
	s, err := OpenSet(tx, k)
	if err == nil {
		_, err = s.Add(members)
	}
	return err
}

func formatZSet(tx *engine.Txn, k engine.Key, n int) error {
	z, err := OpenZSet(tx, k)
	for i, member := range formatElements(n) {
		if err == nil {
			_, err = z.Add(member, float64(i%7)-2.5, 0)
		}
	}
	return errors.Join(err, z.Save())
}

func formatStream(tx *engine.Txn, k engine.Key) error {
	s, err := OpenStream(tx, k)
	if err != nil {
		return err
	}
	if err := s.Create(0); err != nil {
		return err
	}
	for i, value := range formatElements(7) {
		if err := s.Add(StreamID{uint64(i) + 1, 5}, [][]byte{[]byte("field"), value}); err != nil {
			return err
		}
	}
	_, err = s.Delete([]StreamID{{3, 5}})
	if err != nil {
		return err
	}
	g, err := s.CreateGroup([]byte("group"), StreamID{}, 0)
	if err != nil {
		return err
	}
	c, _, err := g.CreateConsumer([]byte("consumer"))
	if err == nil {
		err = g.Deliver(c, 4, false, func(StreamID, Fields) {})
	}
	if err == nil {
		_, err = g.Acknowledge([]StreamID{{2, 5}})
	}
	return errors.Join(err, g.Save(), s.Save())
}

func formatOptions(fs vfs.FS) engine.Options {
	p := engine.DefaultPacking()
	p.HashEntries, p.SetEntries, p.ZSetEntries, p.ListSize, p.StreamNodeEntries = 8, 8, 8, 8, 3
	return engine.Options{FS: fs, CacheBytes: 4 << 20, RecordCacheBytes: -1, MemTableBytes: 1 << 20, FreeSpaceReserve: 1, SyncPolicy: wal.Always, Packing: p,
		ExpireFields: ExpireFields, Verify: Verify, Now: newClock().now}
}

// formatFolder writes a data folder: half of it lies in the store, the other half in the log only.
func formatFolder(t *testing.T) *vfs.MemFS {
	t.Helper()
	fs := vfs.NewCrashableMem()
	s, err := engine.Open("d", formatOptions(fs))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.SetActiveExpire(false)
	tx := s.NewTxn()
	for i, step := range formatSteps {
		tx.Lock([]uint16{key(step.key).Slot}, true)
		err := step.make(tx, key(step.key))
		if err == nil {
			err = tx.Commit()
		}
		if err == nil {
			err = s.WaitStable(t.Context(), tx.Barrier())
		}
		if err == nil && i == len(formatSteps)/2 {
			err = s.Flush(t.Context())
		}
		if err != nil {
			t.Fatalf("%s: %v", step.key, err)
		}
	}
	return fs.CrashClone(vfs.CrashCloneCfg{})
}

// dumpFolder opens the folder, checks it, and shows what is stored for each key.
func dumpFolder(t *testing.T, fs vfs.FS, steps []formatStep) string {
	t.Helper()
	s, err := engine.Open("d", formatOptions(fs))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.SetActiveExpire(false)
	checkStore(t, s)
	var out strings.Builder
	seen := ""
	for _, step := range steps {
		if step.key == seen {
			continue
		}
		seen = step.key
		tx := locked(s, key(step.key))
		lines := strings.SplitAfter(dumpKey(t, tx, key(step.key)), "\n")
		tx.Discard()
		fmt.Fprintf(&out, "%s: %s", step.key, strings.Join(lines[:min(len(lines), 30)], ""))
		if len(lines) > 30 {
			fmt.Fprintf(&out, "  %d lines in all, %x\n", len(lines), sha256.Sum256([]byte(strings.Join(lines, ""))))
		}
	}
	return out.String()
}

func formatFiles(version int) (folder, dump string) {
	name := filepath.Join("testdata", "format", fmt.Sprintf("version%d", version))
	return name + ".tar.gz", name + ".txt"
}

// TestFormatStays: what is written today is what the format's present version says, byte for byte.
func TestFormatStays(t *testing.T) {
	t.Parallel()
	fs := formatFolder(t)
	folder, dump := formatFiles(formatVersion)
	if *writeFormat {
		packed := packFolder(t, fs)
		for name, content := range map[string][]byte{folder: packed, dump: []byte(dumpFolder(t, fs, formatSteps))} {
			f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
			if err == nil {
				_, err = f.Write(content)
				err = errors.Join(err, f.Close())
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	want, err := os.ReadFile(dump)
	if err != nil {
		t.Fatal(err)
	}
	if got := dumpFolder(t, fs, formatSteps[:len(formatSteps)-1]); !strings.HasPrefix(string(want), got) {
		t.Errorf("what is stored differs from %s: that is a new version of the format\n%s", dump, got)
	}
}

// TestFormatsAreRead: data folders of all versions are read, and can be written to.
func TestFormatsAreRead(t *testing.T) {
	t.Parallel()
	for version := 1; version <= formatVersion; version++ {
		folder, dump := formatFiles(version)
		fs := unpackFolder(t, folder)
		want, err := os.ReadFile(dump)
		if err != nil {
			t.Fatal(err)
		}
		if got := dumpFolder(t, fs, formatSteps); got != string(want) {
			t.Errorf("version %d is read as\n%s", version, got)
		}
		s, err := engine.Open("d", formatOptions(fs))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for _, step := range formatSteps {
			if strings.HasPrefix(step.key, "string") || step.key == "stream" {
				continue // those steps make no change, or none that is allowed twice
			}
			tx := locked(s, key(step.key))
			if err := errors.Join(step.make(tx, key(step.key)), tx.Commit()); err != nil {
				t.Errorf("version %d, writing %s: %v", version, step.key, err)
			}
		}
		if err := s.Flush(context.Background()); err != nil {
			t.Error(err)
		}
		checkStore(t, s)
	}
}

// packFolder makes a compressed archive of the data folder d, without what says nothing of the format.
func packFolder(t *testing.T, fs vfs.FS) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	var pack func(dir string)
	pack = func(dir string) {
		names, err := fs.List(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			name := path.Join(dir, name)
			info, err := fs.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			if info.IsDir() {
				pack(name)
				continue
			}
			if base := path.Base(name); base == "LOCK" || base == "ballast" {
				continue
			}
			f, err := fs.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			err = w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: info.Size()})
			if err == nil {
				_, err = io.Copy(w, f)
			}
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
	pack("d")
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func unpackFolder(t *testing.T, archive string) vfs.FS {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	fs := vfs.NewMem()
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return fs
		}
		if err == nil {
			err = fs.MkdirAll(path.Dir(h.Name), 0o755)
		}
		var out vfs.File
		if err == nil {
			out, err = fs.Create(h.Name, vfs.WriteCategoryUnspecified)
		}
		if err == nil {
			_, err = io.Copy(out, r)
			err = errors.Join(err, out.Sync(), out.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
