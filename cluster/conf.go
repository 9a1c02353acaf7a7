package cluster

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairndb/cairn/cluster/slotmap"
)

// nodes.conf has Redis's format: a line for each node as CLUSTER NODES prints
// it, with the shard ID behind the host name, and a last line of variables.
//
//	<id> <ip>:<port>@<busport>,<hostname>,shard-id=<id> <flags> <primary|-> 0 0 <epoch> connected <slots>
//	vars currentEpoch <n> lastVoteEpoch <n> [logEpoch <n>] [leaving <ranges>] [dropped 1] [lost 1] [boot <id>]
//
// lastVoteEpoch is the epoch of the last primary that this node has promised to take nothing more from, logEpoch that
// of the primary whose log its own continues. leaving are slots that this node may have given away (see cluster/migrate); dropped: the group has taken this node out (CLUSTER FORGET); lost is explained in lost.go, boot in doubt.go.
//
// Behind it may stand what SETSLOT has marked since: see notes.go.
//
// Who has failed is not in it: a node that starts finds that out anew.
//
// It is replaced as a whole (written beside, synced, renamed), so a crash leaves the old or the new one.

// conf writes the table.
func (t *table) conf() []byte {
	var b bytes.Buffer
	for _, n := range t.nodes() {
		flags, primary := "master", "-"
		if n.Primary != "" {
			flags, primary = "slave", string(n.Primary)
		}
		if n.Myself {
			flags = "myself," + flags
		}
		fmt.Fprintf(&b, "%s %s:%d@%d,%s,shard-id=%s %s %s 0 0 %d connected", n.ID, n.IP, n.Port, n.BusPort, n.Hostname, n.ShardID, flags, primary, n.Epoch)
		for _, r := range n.Slots {
			b.WriteString(" " + r.String())
		}
		if n.Myself {
			for _, mark := range t.marks() {
				b.WriteString(" " + mark)
			}
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "vars currentEpoch %d lastVoteEpoch %d", t.currentEpoch, t.promised)
	if t.follows != 0 {
		fmt.Fprintf(&b, " logEpoch %d", t.follows)
	}
	for i, r := range t.leaving.Ranges() {
		b.WriteString([]string{" leaving ", ","}[min(i, 1)] + r.String())
	}
	if t.dropped {
		b.WriteString(" dropped 1")
	}
	if t.me().Lost {
		b.WriteString(" lost 1")
	}
	if t.boot != "" {
		b.WriteString(" boot " + t.boot)
	}
	b.WriteByte('\n')
	return b.Bytes()
}

// marks are the slots that SETSLOT has marked, as CLUSTER NODES prints them.
func (t *table) marks() []string {
	var out []string
	for _, slot := range slices.Sorted(maps.Keys(t.migrating)) {
		out = append(out, fmt.Sprintf("[%d->-%s]", slot, t.migrating[slot]))
	}
	for _, slot := range slices.Sorted(maps.Keys(t.importing)) {
		out = append(out, fmt.Sprintf("[%d-<-%s]", slot, t.importing[slot]))
	}
	return out
}

// saved is what a nodes.conf says.
type saved struct {
	self                 slotmap.NodeID
	records              []record
	currentEpoch         uint64
	promised, follows    uint64
	leaving              slotmap.Set
	boot                 string
	dropped, lost        bool
	migrating, importing map[uint16]slotmap.NodeID
	whole                bool // the last line has been read; notes may follow
}

// replica says whether the node was one.
func (s *saved) replica() bool {
	return slices.ContainsFunc(s.records, func(r record) bool { return r.ID == s.self && r.Primary != "" })
}

var errConf = errors.New("not a nodes.conf line")

// maxConfLine bounds a line: 8192 ranges of up to 11 bytes, and as many marks of up to 52.
const maxConfLine = 1 << 20

// parseConf reads what conf and Redis write. An empty file says nothing.
func parseConf(text io.Reader) (*saved, error) {
	s := &saved{migrating: make(map[uint16]slotmap.NodeID), importing: make(map[uint16]slotmap.NodeID)}
	lines := bufio.NewScanner(text)
	lines.Buffer(nil, maxConfLine)
	n := 0
	for lines.Scan() {
		n++
		words := strings.Fields(lines.Text())
		if len(words) == 0 {
			continue
		}
		if s.whole {
			if !s.applyNote(words[0]) {
				break
			}
			continue
		}
		if err := s.line(words); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if len(s.records) > maxNodes {
			return nil, fmt.Errorf("line %d: more than %d nodes", n, maxNodes)
		}
	}
	if err := lines.Err(); err != nil && !s.whole {
		return nil, err
	}
	if n > 0 && s.self == "" {
		return nil, errors.New("no line has the flag myself")
	}
	return s, nil
}

func (s *saved) line(words []string) error {
	if words[0] == "vars" {
		s.whole = true
		return s.vars(words[1:])
	}
	if len(words) < 8 {
		return errConf
	}
	id, ok := slotmap.ParseNodeID(words[0])
	if !ok {
		return fmt.Errorf("%q is no node ID", words[0])
	}
	r := record{ID: id}
	if err := r.parseAddress(words[1]); err != nil {
		return err
	}
	var err error
	if r.Epoch, err = strconv.ParseUint(words[6], 10, 64); err != nil {
		return fmt.Errorf("%q is no epoch", words[6])
	}
	flags := strings.Split(words[2], ",")
	if slices.Contains(flags, "handshake") || slices.Contains(flags, "noaddr") {
		return nil
	}
	if slices.Contains(flags, "myself") {
		s.self = id
	}
	if slices.Contains(flags, "slave") {
		r.Primary, _ = slotmap.ParseNodeID(words[3])
	}
	set := new(slotmap.Set)
	for _, word := range words[8:] {
		if err := s.slots(word, set); err != nil {
			return err
		}
	}
	r.Slots = set.Ranges()
	s.records = append(s.records, r)
	return nil
}

func (s *saved) vars(words []string) (err error) {
	for i := 0; i+1 < len(words); i += 2 {
		var at *uint64
		switch words[i] {
		case "currentEpoch":
			at = &s.currentEpoch
		case "lastVoteEpoch":
			at = &s.promised
		case "logEpoch":
			at = &s.follows
		case "leaving":
			for _, word := range strings.Split(words[i+1], ",") {
				r, ok := slotmap.ParseRange(word)
				if !ok {
					return fmt.Errorf("%q is no range of slots", word)
				}
				s.leaving.AddRange(r)
			}
			continue
		case "dropped":
			s.dropped = words[i+1] == "1"
			continue
		case "lost":
			s.lost = words[i+1] == "1"
			continue
		case "boot":
			s.boot = words[i+1]
			continue
		default:
			continue
		}
		if *at, err = strconv.ParseUint(words[i+1], 10, 64); err != nil {
			return fmt.Errorf("%q is no epoch", words[i+1])
		}
	}
	return nil
}

// parseAddress reads ip:port@busport[,hostname[,name=value…]].
func (r *record) parseAddress(word string) error {
	fields := strings.Split(word, ",")
	addr, bus, hasBus := strings.Cut(fields[0], "@")
	colon := strings.LastIndexByte(addr, ':')
	if colon < 0 || !printable([]byte(addr)) {
		return fmt.Errorf("%q is no address", word)
	}
	port, err := strconv.ParseUint(addr[colon+1:], 10, 16)
	if err != nil {
		return fmt.Errorf("%q is no address", word)
	}
	r.IP, r.Port, r.BusPort = addr[:colon], int(port), int(port)+busOffset
	if hasBus {
		cport, err := strconv.ParseUint(bus, 10, 16)
		if err != nil {
			return fmt.Errorf("%q is no address", word)
		}
		r.BusPort = int(cport)
	}
	if len(fields) > 1 {
		r.Hostname = fields[1]
	}
	for _, aux := range fields[min(2, len(fields)):] {
		if value, ok := strings.CutPrefix(aux, "shard-id="); ok {
			r.Shard, _ = slotmap.ParseNodeID(value)
		}
	}
	return nil
}

// slots reads n, a-b, [n->-id] or [n-<-id].
func (s *saved) slots(word string, set *slotmap.Set) error {
	if !strings.HasPrefix(word, "[") {
		r, ok := slotmap.ParseRange(word)
		if !ok {
			return fmt.Errorf("%q is no slot", word)
		}
		set.AddRange(r)
		return nil
	}
	for sep, marks := range map[string]map[uint16]slotmap.NodeID{"->-": s.migrating, "-<-": s.importing} {
		if slot, id, ok := strings.Cut(strings.Trim(word, "[]"), sep); ok {
			r, okSlot := slotmap.ParseRange(slot)
			other, okID := slotmap.ParseNodeID(id)
			if okSlot && okID && r.Len() == 1 {
				marks[r.First] = other
				return nil
			}
		}
	}
	return fmt.Errorf("%q is no slot", word)
}

// store keeps nodes.conf. What it should say is handed in without waiting, in order (put, add), and brought to the disk by whoever calls flush and
// flushNotes: one write at a time, each of all that has been handed in by then, so that however many wait, at most one more write does for them.
type store struct {
	fs   vfs.FS
	path string
	lock io.Closer

	mu    sync.Mutex // never held while the disk works
	next  draft
	notes []note // not in a text that is in the file
	force bool   // write, whatever the file says

	disk  sync.Mutex // held while it does, and taken before mu
	saved []byte     // the file begins with
	turn  uint64     // of saved
	size  int64      // of the file
}

// draft is a text, and the turn in which it was made.
type draft struct {
	text []byte
	turn uint64
}

// openStore locks the file's place and reads it; nil when there is none or it is empty.
func openStore(files vfs.FS, path string) (*store, *saved, error) {
	lock, err := files.Lock(path + ".lock")
	if err != nil {
		return nil, nil, fmt.Errorf("%s is in use by another node: %w", path, err)
	}
	st := &store{fs: files, path: path, lock: lock}
	s, err := st.load()
	if err != nil {
		_ = lock.Close()
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return st, s, nil
}

func (st *store) load() (*saved, error) {
	f, err := st.fs.Open(st.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s, err := parseConf(f)
	if err != nil || s.self == "" {
		return nil, err
	}
	return s, nil
}

// put hands in what the file should say from now on, unless that is older than what it was told last.
func (st *store) put(text []byte, turn uint64) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if turn >= st.next.turn {
		st.next = draft{text, turn}
	}
}

// flush returns when the text of a turn, or a later one, is on disk.
func (st *store) flush(turn uint64) error {
	st.disk.Lock()
	defer st.disk.Unlock()
	st.mu.Lock()
	next, force, notes := st.next, st.force, len(st.notes)
	content := bytes.Clone(next.text)
	for _, n := range st.notes {
		if n.turn > next.turn {
			content = append(content, n.line...)
		}
	}
	st.mu.Unlock()
	if st.turn >= turn && !force {
		return nil
	}
	if force || !bytes.Equal(next.text, st.saved) || st.size != int64(len(content)) {
		if err := st.replace(content); err != nil {
			return err
		}
	}
	st.saved, st.turn = next.text, next.turn
	st.mu.Lock()
	defer st.mu.Unlock()
	st.force = false
	var rest []note
	for i, n := range st.notes {
		if n.turn > next.turn {
			n.inFile = n.inFile || i < notes
			rest = append(rest, n)
		}
	}
	st.notes = rest
	return nil
}

func (st *store) replace(content []byte) error {
	tmp := st.path + ".tmp"
	f, err := st.fs.Create(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := st.fs.Rename(tmp, st.path); err != nil {
		return err
	}
	st.saved, st.turn, st.size = nil, 0, int64(len(content)) // not known to outlast a crash yet
	return st.syncDir()
}

func (st *store) syncDir() error {
	dir, err := st.fs.OpenDir(st.fs.PathDir(st.path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// forget makes the next flush write in any case.
func (st *store) forget() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.force = true
}

func (st *store) close() error { return st.lock.Close() }
