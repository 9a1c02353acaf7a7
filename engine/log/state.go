package log

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	iofs "io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	stateName    = "state"
	stateTmpName = "state.tmp"
	stateVersion = 2
	// maxTerms bounds the history; the oldest terms are forgotten.
	maxTerms     = 4096
	maxStateSize = 1 << 20
)

// state is the small file beside the segments:
//
//	cairn-log-state 2
//	synced 4711                                         everything before had been synced
//	segment 4096                                        start of the newest segment whose name and header had been synced, or "none"
//	term 0123456789abcdef0123456789abcdef01234567 0     replication ID and start, oldest first
//	cut 4000                                            only while Rewind removes what lies behind this offset
//	crc32c 0a1b2c3d                                     of all before this line
//
// Replaced as a whole by a rename, at a clean stop, when a term begins, and when a segment was synced for the first time, before
// anything in it counts as synced. So the loss of the last segments shows: no other segment tells of them. The log can
// do without the newest version: a term also stands in the
// record that began it and in the headers of the segments begun under it. Version 1 has no segment line.
type state struct {
	synced uint64
	newest uint64 // noSegment if not known
	terms  []Term
	// cutting: Rewind is removing what lies behind cut.
	cutting bool
	cut     uint64
}

func (s *state) encode() []byte {
	var b bytes.Buffer
	newest := "none"
	if s.newest != noSegment {
		newest = strconv.FormatUint(s.newest, 10)
	}
	fmt.Fprintf(&b, "cairn-log-state %d\nsynced %d\nsegment %s\n", stateVersion, s.synced, newest)
	for _, t := range s.terms {
		fmt.Fprintf(&b, "term %s %d\n", t.ID, t.Start)
	}
	if s.cutting {
		fmt.Fprintf(&b, "cut %d\n", s.cut)
	}
	fmt.Fprintf(&b, "crc32c %08x\n", crc32.Checksum(b.Bytes(), castagnoli))
	return b.Bytes()
}

var errState = errors.New("not a log state file")

func decodeState(b []byte) (state, error) {
	s := state{newest: noSegment}
	var version int
	if _, err := fmt.Sscanf(string(b), "cairn-log-state %d\n", &version); err != nil {
		return s, errState
	}
	if version < 1 || version > stateVersion {
		return s, fmt.Errorf("%w %d; this version knows %d", ErrVersion, version, stateVersion)
	}
	at := bytes.LastIndex(b, []byte("\ncrc32c ")) + 1
	if at == 0 || string(b[at:]) != fmt.Sprintf("crc32c %08x\n", crc32.Checksum(b[:at], castagnoli)) {
		return s, errors.New("checksum mismatch")
	}
	for i, line := range strings.Split(string(b[:at-1]), "\n") {
		if i > 0 && !s.decodeLine(line) {
			return s, errState
		}
	}
	return s, nil
}

func (s *state) decodeLine(line string) bool {
	word, rest, _ := strings.Cut(line, " ")
	var err error
	switch {
	case word == "synced":
		s.synced, err = strconv.ParseUint(rest, 10, 64)
	case line == "segment none":
	case word == "segment":
		s.newest, err = strconv.ParseUint(rest, 10, 64)
	case word == "cut":
		s.cutting = true
		s.cut, err = strconv.ParseUint(rest, 10, 64)
	case word == "term":
		var t Term
		_, err = fmt.Sscanf(rest, "%40s %d", &t.ID, &t.Start)
		s.terms = append(s.terms, t)
		return err == nil && validID(t.ID)
	default:
		return false
	}
	return err == nil
}

// loadState returns an empty state when there is no file.
func loadState(fs vfs.FS, dir string) (state, error) {
	name := fs.PathJoin(dir, stateName)
	f, err := fs.Open(name)
	if isNotExist(err) {
		return state{newest: noSegment}, nil
	} else if err != nil {
		return state{}, fileError(err)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxStateSize))
	if err = errors.Join(err, f.Close()); err != nil {
		return state{}, fmt.Errorf("log: reading %s: %w", name, err)
	}
	s, err := decodeState(b)
	if errors.Is(err, ErrVersion) {
		return s, fmt.Errorf("log: %s: %w", name, err)
	} else if err != nil {
		return s, fmt.Errorf("%w: %s: %w. It may be removed: only the history of terms older than the log's "+
			"first segment goes with it, and replicas may have to synchronise in full", ErrDamaged, name, err)
	}
	return s, nil
}

// saveState replaces the file atomically and durably.
func saveState(fs vfs.FS, dir string, s state) error {
	tmp := fs.PathJoin(dir, stateTmpName)
	f, err := fs.Create(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fileError(err)
	}
	_, err = f.Write(s.encode())
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fileError(err)
	}
	if err := fs.Rename(tmp, fs.PathJoin(dir, stateName)); err != nil {
		return fileError(err)
	}
	return fileError(syncDir(fs, dir))
}

// mergeTerms adds terms to a history, in order of their start. One start has one term.
func mergeTerms(history []Term, more ...Term) []Term {
	for _, t := range more {
		at, found := slices.BinarySearchFunc(history, t, func(a, b Term) int {
			switch {
			case a.Start < b.Start:
				return -1
			case a.Start > b.Start:
				return 1
			}
			return 0
		})
		if found {
			history[at] = t
		} else {
			history = slices.Insert(history, at, t)
		}
	}
	if n := len(history) - maxTerms; n > 0 {
		history = slices.Delete(history, 0, n)
	}
	return history
}

// validID: a replication ID is 40 hex digits in lower case.
func validID(id string) bool {
	if len(id) != idSize {
		return false
	}
	for i := range len(id) {
		if c := id[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func isNotExist(err error) bool { return errors.Is(err, iofs.ErrNotExist) }
