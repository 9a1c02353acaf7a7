package replication

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cairndb/cairn/engine"
	wal "github.com/cairndb/cairn/engine/log"
)

// Command is the command by which a replica asks for the stream; its arguments are for HandleSync.
const Command = "CAIRN.SYNC"

const (
	// Stores and log records are sent as they are stored: a new version of the stored format needs a new one of the protocol.
	protocolVersion = "4"
	greeting        = "+CAIRN " + protocolVersion
	// maxTerms is how many terms of its history a node tells. If the common point lies further back, a full sync is needed.
	maxTerms = 256
	maxID    = 64
	maxAddr  = 255
	idLen    = 40 // of a replication ID
	capS2    = "s2"
)

var errHello = errors.New("malformed " + Command)

// position is where a node's log ends, and how it got there.
type position struct {
	start engine.Offset // the first offset that it still has
	end   engine.Offset
	link  uint32 // checksum of the record that ends at end
	terms []wal.Term
}

// hello is what a replica says of itself.
type hello struct {
	nodeID string
	port   int
	addr   string
	s2     bool
	full   bool
	position
}

func (h *hello) args() []string {
	full, caps := "0", ""
	if h.full {
		full = "1"
	}
	if h.s2 {
		caps = capS2
	}
	return []string{
		Command, protocolVersion, h.nodeID, strconv.Itoa(h.port), h.addr, caps,
		strconv.FormatUint(h.end, 10), strconv.FormatUint(uint64(h.link), 10), full, formatTerms(h.terms),
	}
}

// parseHello reads the arguments, without the command's name.
func parseHello(args [][]byte) (hello, error) {
	var h hello
	if len(args) != 9 {
		return h, fmt.Errorf("wrong number of arguments for '%s' command", strings.ToLower(Command))
	}
	if string(args[0]) != protocolVersion {
		return h, fmt.Errorf("unknown version of the replication protocol, this node knows %s", protocolVersion)
	}
	h.nodeID, h.addr = string(args[1]), string(args[3])
	if len(h.nodeID) == 0 || len(h.nodeID) > maxID || !visible(h.nodeID) || len(h.addr) > maxAddr || !visible(h.addr) {
		return h, errHello
	}
	port, err := strconv.ParseUint(string(args[2]), 10, 16)
	if err != nil {
		return h, errHello
	}
	h.port = int(port)
	h.s2 = slices.Contains(strings.Split(string(args[4]), ","), capS2)
	if h.end, err = strconv.ParseUint(string(args[5]), 10, 64); err != nil {
		return h, errHello
	}
	link, err := strconv.ParseUint(string(args[6]), 10, 32)
	if err != nil {
		return h, errHello
	}
	h.link = uint32(link)
	h.full = string(args[7]) == "1"
	if h.terms, err = parseTerms(args[8]); err != nil {
		return h, errHello
	}
	return h, nil
}

func visible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// formatTerms writes the newest terms.
func formatTerms(terms []wal.Term) string {
	terms = terms[max(0, len(terms)-maxTerms):]
	var b strings.Builder
	for i, t := range terms {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(t.ID)
		b.WriteByte(':')
		b.WriteString(strconv.FormatUint(t.Start, 10))
	}
	return b.String()
}

func parseTerms(b []byte) ([]wal.Term, error) {
	if len(b) == 0 {
		return nil, nil
	}
	if len(b) > maxTerms*(idLen+22) {
		return nil, errHello
	}
	var terms []wal.Term
	for part := range strings.SplitSeq(string(b), ",") {
		id, digits, ok := strings.Cut(part, ":")
		start, err := strconv.ParseUint(digits, 10, 64)
		if !ok || err != nil || len(id) != idLen || !visible(id) || len(terms) == maxTerms {
			return nil, errHello
		}
		if n := len(terms); n > 0 && terms[n-1].Start >= start {
			return nil, errHello
		}
		terms = append(terms, wal.Term{ID: id, Start: start})
	}
	return terms, nil
}

// mode is how a replica gets what it lacks.
type mode byte

const (
	modePartial mode = 1 // the stream from the offset, which is the replica's end
	modeRewind  mode = 2 // the replica has more than the common history, which ends at the offset: it has to cut that first
	modeFull    mode = 3
)

func (m mode) String() string {
	return map[mode]string{modePartial: "partial", modeRewind: "rewind", modeFull: "full"}[m]
}

// decision is what the primary answers, and why.
type decision struct {
	mode   mode
	offset engine.Offset
	reason string
}

// decide compares the primary's position with a replica's. linkAt is the checksum of the primary's record that ends at an offset
// which it still has.
func decide(primary position, h *hello, linkAt func(engine.Offset) (uint32, error)) decision {
	common := wal.CommonPoint(primary.terms, primary.end, h.terms, h.end)
	switch {
	case h.full:
		return decision{modeFull, 0, "the replica asks for it"}
	case common < primary.start:
		return decision{modeFull, 0, fmt.Sprintf("the log begins at %d, the common history ends at %d", primary.start, common)}
	case common < h.end:
		return decision{modeRewind, common, fmt.Sprintf("the replica has %d, the common history ends at %d", h.end, common)}
	}
	link, err := linkAt(common)
	if err != nil {
		return decision{modeFull, 0, err.Error()}
	}
	if link != h.link {
		return decision{modeFull, 0, "the replica's last record is another one"}
	}
	return decision{modePartial, common, "the log has everything that the replica lacks"}
}
