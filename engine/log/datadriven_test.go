package log

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestDataDriven runs the stories in testdata: what the files look like, byte for byte, and
// what the log says when they are damaged.
func TestDataDriven(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &story{t: t, fs: newMem(t)}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			return s.run(d)
		})
		if s.l != nil {
			s.l.Close()
		}
	})
}

type story struct {
	t  *testing.T
	fs *vfs.MemFS
	l  *Log
}

func (s *story) run(d *datadriven.TestData) string {
	if s.l == nil && !slices.Contains([]string{"open", "change", "ls", "dump", "cat"}, d.Cmd) {
		return "not open\n"
	}
	switch d.Cmd {
	case "open":
		return s.open(d)
	case "append":
		return s.append(d)
	case "term":
		var id int
		d.ScanArgs(s.t, "id", &id)
		return s.offsets(s.l.BeginTerm(testID(id)))
	case "flush":
		_, err := s.l.Flush()
		return s.offsets(err)
	case "sync":
		return s.offsets(s.l.Sync()) + s.synced()
	case "drop":
		var before uint64
		d.ScanArgs(s.t, "before", &before)
		return s.offsets(s.l.Drop(before))
	case "close":
		result := s.offsets(s.l.Close()) + s.synced()
		s.l = nil
		return result
	case "kill":
		kill(s.l)
		s.l = nil
		return ""
	case "ls":
		return s.list()
	case "dump":
		if _, err := s.fs.Stat(s.path(d)); err != nil {
			return err.Error() + "\n"
		}
		return hex.Dump(readFile(s.t, s.fs, s.path(d)))
	case "cat":
		return string(readFile(s.t, s.fs, s.path(d)))
	case "read":
		return s.read(d)
	case "change":
		return s.change(d)
	}
	d.Fatalf(s.t, "unknown command")
	return ""
}

func (s *story) open(d *datadriven.TestData) string {
	o := Options{FS: s.fs, SegmentSize: 200, SyncInterval: time.Hour, ReadOnly: d.HasArg("read-only"),
		Now: func() time.Time { return time.UnixMilli(0x1122334455) }}
	if s.l != nil {
		d.Fatalf(s.t, "still open")
	}
	var err error
	if s.l, err = Open(testDir, o); err != nil {
		s.l = nil
		return explain(err)
	}
	return fmt.Sprintf("start %d, end %d, terms %v\n", s.l.Start(), s.l.End(), s.l.Terms())
}

func explain(err error) string {
	var damage *DamagedError
	if errors.As(err, &damage) {
		return fmt.Sprintf("%s\nfile %s, offset %d, byte %d, synced %d\n", err, damage.File, damage.Offset, damage.Pos, damage.Synced)
	}
	return err.Error() + "\n"
}

func (s *story) append(d *datadriven.TestData) string {
	var slots []uint16
	for _, arg := range d.CmdArgs {
		if arg.Key == "slots" {
			for _, v := range arg.Vals {
				var slot uint16
				fmt.Sscan(v, &slot)
				slots = append(slots, slot)
			}
		}
	}
	_, err := s.l.Append(KindBatch, slots, []byte(d.Input))
	return s.offsets(err)
}

func (s *story) offsets(err error) string {
	if err != nil {
		return explain(err)
	}
	return fmt.Sprintf("end %d\n", s.l.End())
}

// synced is shown after a sync only: else it is up to the syncer.
func (s *story) synced() string { return fmt.Sprintf("synced %d\n", s.l.Synced()) }

// list leaves out the segment made ahead: when it comes is up to the keeper.
func (s *story) list() string {
	names, err := s.fs.List(testDir)
	if err != nil {
		return err.Error()
	}
	slices.Sort(names)
	var b strings.Builder
	for _, name := range names {
		if name != nextName {
			fmt.Fprintf(&b, "%s %d\n", name, len(readFile(s.t, s.fs, testDir+"/"+name)))
		}
	}
	return b.String()
}

func (s *story) path(d *datadriven.TestData) string {
	var name string
	d.ScanArgs(s.t, "file", &name)
	return testDir + "/" + name
}

func (s *story) read(d *datadriven.TestData) string {
	var from uint64
	d.ScanArgs(s.t, "from", &from)
	records, err := readAll(s.l, from)
	var b strings.Builder
	for _, r := range records {
		fmt.Fprintf(&b, "%d-%d kind %d synced %d slots %v: %s\n", r.Start, r.End, r.Kind, r.Synced, r.Slots, r.Payload)
	}
	if err != nil {
		b.WriteString(explain(err))
	}
	return b.String()
}

// change damages a file: flip=BYTE, cut=SIZE, remove, or garbage=TEXT at its end.
func (s *story) change(d *datadriven.TestData) string {
	path := s.path(d)
	if _, err := s.fs.Stat(path); err != nil {
		return err.Error() + "\n"
	}
	b := readFile(s.t, s.fs, path)
	var n int
	var text string
	switch {
	case d.HasArg("flip"):
		d.ScanArgs(s.t, "flip", &n)
		b[n] ^= 1
	case d.HasArg("cut"):
		d.ScanArgs(s.t, "cut", &n)
		b = b[:n]
	case d.HasArg("garbage"):
		d.ScanArgs(s.t, "garbage", &text)
		b = append(b, text...)
	case d.HasArg("remove"):
		if err := s.fs.Remove(path); err != nil {
			return err.Error()
		}
		return ""
	}
	writeFile(s.t, s.fs, path, b)
	return ""
}
