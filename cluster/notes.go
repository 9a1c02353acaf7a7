package cluster

import (
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairndb/cairn/cluster/slotmap"
)

// SETSLOT comes up to five times for each slot that redis-cli moves, and replacing nodes.conf waits for the disk twice. So a mark
// is only noted behind the last line of the file, and not synced; the file is replaced soon after (saveLate). A note
// outlives the process. When the power fails it may be missing or torn, which leaves the slot as it was before, for
// redis-cli --cluster fix to go on with.
//
//	[<slot>->-<id>]   MIGRATING
//	[<slot>-<-<id>]   IMPORTING
//	[<slot>]          STABLE
//
// note is such a line, and the turn in which it was made.
type note struct {
	turn   uint64
	line   string
	inFile bool
}

func noteMigrating(slot uint16, to slotmap.NodeID) string {
	return fmt.Sprintf("[%d->-%s]\n", slot, to)
}
func noteImporting(slot uint16, from slotmap.NodeID) string {
	return fmt.Sprintf("[%d-<-%s]\n", slot, from)
}
func noteStable(slot uint16) string { return fmt.Sprintf("[%d]\n", slot) }

// applyNote takes in a line behind the last; ok is false for what is torn.
func (s *saved) applyNote(line string) (ok bool) {
	if !strings.HasPrefix(line, "[") || !strings.HasSuffix(line, "]") {
		return false
	}
	if r, stable := slotmap.ParseRange(strings.Trim(line, "[]")); stable {
		delete(s.migrating, r.First)
		delete(s.importing, r.First)
		return r.Len() == 1
	}
	return s.slots(line, nil) == nil
}

// add hands in a line.
func (st *store) add(n note) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.notes = append(st.notes, n)
}

// flushNotes puts the lines that are not in the file behind its last.
func (st *store) flushNotes() error {
	st.disk.Lock()
	defer st.disk.Unlock()
	st.mu.Lock()
	notes, lines := len(st.notes), ""
	for _, n := range st.notes {
		if !n.inFile {
			lines += n.line
		}
	}
	st.mu.Unlock()
	if lines == "" {
		return nil
	}
	f, err := st.fs.OpenReadWrite(st.path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt([]byte(lines), st.size); err != nil {
		_ = f.Close()
		return err
	}
	st.size += int64(len(lines))
	st.mu.Lock()
	for i := range notes {
		st.notes[i].inFile = true
	}
	st.mu.Unlock()
	return f.Close()
}

// mark applies one of SETSLOT's marks to the table, and notes it. It claims nothing and gives nothing up.
func (c *Cluster) mark(line string, fn func(t *table) error) error {
	if err := c.noted(line, fn); err != nil {
		return err
	}
	if err := c.store.flushNotes(); err != nil {
		return fmt.Errorf("error saving the cluster node config: %w", err)
	}
	return nil
}

func (c *Cluster) noted(line string, fn func(t *table) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := fn(c.mu.table); err != nil {
		return err
	}
	c.mu.turn++
	c.store.add(note{turn: c.mu.turn, line: line})
	c.show()
	return nil
}
