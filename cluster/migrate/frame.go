package migrate

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/klauspost/compress/s2"

	"github.com/cairndb/cairn/cluster/slotmap"
	"github.com/cairndb/cairn/engine"
)

// A link carries frames, in both directions:
//
//	length(4, big endian) kind(1) flags(1) payload
//
//	source → target                                   target → source
//	B  name(20) format(1) ranges of the group, of all left     a  accepted
//	                                                  r  why not: again(1) text
//	D  a batch of the engine's, s2 if flags say so    p  bytes of batches imported so far(8)
//	M  number(8): answer when you have everything     m  number(8)
//	F  number(8): the same, and nothing more is written    m  number(8)
//	G  version(8) of the group's table with the grant e  the slots are served
//	X  why the source gives up
//	H  nothing, to be heard                           h  nothing
//
// The engine's batches have checksums of their own. The bus has asked both sides who they are.
const (
	frameBegin   = 'B'
	frameBatch   = 'D'
	frameMark    = 'M'
	frameFinal   = 'F'
	frameGranted = 'G'
	frameAbort   = 'X'
	frameHere    = 'H'

	frameAccept   = 'a'
	frameRefuse   = 'r'
	frameProgress = 'p'
	frameMarked   = 'm'
	frameEnded    = 'e'
	frameAlive    = 'h'
)

const (
	linkFormat  = 1
	frameHeader = 6
	flagS2      = 1
	// maxControl bounds all frames but batches: 2 × 8192 ranges and a little.
	maxControl = 128 << 10
	// maxBatch bounds a batch's frame, which s2 may have made larger.
	maxBatch = engine.MaxSlotBatch + engine.MaxSlotBatch/6 + 64
	// maxText bounds what one side says about the other's failure.
	maxText = 1 << 10
	// linkTimeout ends a link on which nothing comes, or nothing is taken; linkPace is how often each side shows that it lives.
	linkTimeout = 10 * time.Second
	linkPace    = 2 * time.Second
)

var errFrame = errors.New("migrate: malformed frame")

// link is a connection between source and target. One goroutine reads, any may write.
type link struct {
	conn     net.Conn
	in       *bufio.Reader
	compress bool

	head  [frameHeader]byte
	buf   []byte
	plain []byte

	mu  sync.Mutex
	out []byte
}

func newLink(conn net.Conn) *link {
	return &link{conn: conn, in: bufio.NewReaderSize(conn, 64<<10), compress: !loopback(conn)}
}

func loopback(conn net.Conn) bool {
	a, ok := conn.RemoteAddr().(*net.TCPAddr)
	return ok && a.IP.IsLoopback()
}

// write sends a frame and returns how many bytes went over the wire.
func (l *link) write(kind byte, payload ...[]byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := append(l.out[:0], make([]byte, frameHeader)...)
	b[4] = kind
	for _, p := range payload {
		b = append(b, p...)
	}
	if kind == frameBatch && l.compress {
		if small := s2.Encode(nil, b[frameHeader:]); len(small) < len(b)-frameHeader {
			b = append(b[:frameHeader], small...)
			b[5] = flagS2
		}
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-frameHeader))
	if cap(b) <= maxKept {
		l.out = b
	}
	if err := l.conn.SetWriteDeadline(time.Now().Add(linkTimeout)); err != nil {
		return 0, err
	}
	return l.conn.Write(b)
}

// maxKept bounds the buffers that are kept between frames.
const maxKept = 4 << 20

// read returns the next frame; its payload is valid until the next call. What it allocates grows with what has arrived.
func (l *link) read() (kind byte, payload []byte, err error) {
	if err := l.conn.SetReadDeadline(time.Now().Add(linkTimeout)); err != nil {
		return 0, nil, err
	}
	if _, err := io.ReadFull(l.in, l.head[:]); err != nil {
		return 0, nil, err
	}
	kind, size := l.head[4], int(binary.BigEndian.Uint32(l.head[:]))
	limit, flags := maxControl, byte(0)
	if kind == frameBatch {
		limit, flags = maxBatch, flagS2
	}
	if size > limit || l.head[5]&^flags != 0 {
		return 0, nil, fmt.Errorf("%w: kind %q, %d bytes, flags %#x", errFrame, kind, size, l.head[5])
	}
	if payload, err = l.body(size); err != nil || l.head[5]&flagS2 == 0 {
		return kind, payload, err
	}
	payload, err = l.unpack(payload)
	return kind, payload, err
}

// firstRead is how much is allocated before anything of a frame has come.
const firstRead = 256 << 10

func (l *link) body(size int) ([]byte, error) {
	if cap(l.buf) > maxKept {
		l.buf = nil
	}
	b := l.buf[:0]
	for len(b) < size {
		n := min(size-len(b), max(firstRead, len(b)))
		at := len(b)
		b = slices.Grow(b, n)[:at+n]
		if err := l.conn.SetReadDeadline(time.Now().Add(linkTimeout)); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(l.in, b[at:]); err != nil {
			return nil, err
		}
	}
	l.buf = b
	return b, nil
}

func (l *link) unpack(packed []byte) ([]byte, error) {
	n, err := s2.DecodedLen(packed)
	if err != nil || n > engine.MaxSlotBatch {
		return nil, errFrame
	}
	if cap(l.plain) < n || cap(l.plain) > maxKept {
		l.plain = make([]byte, n)
	}
	b, err := s2.Decode(l.plain[:n], packed)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errFrame, err)
	}
	return b, nil
}

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func parseNumber(b []byte) (uint64, bool) {
	if len(b) != 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(b), true
}

// opening is what a source says first.
type opening struct {
	name slotmap.NodeID
	// group is what moves now, all that and what is to come of the job.
	group, all *slotmap.Set
}

func (o *opening) encode() []byte {
	b := append(o.name.Append(nil), linkFormat)
	return appendRanges(appendRanges(b, o.group), o.all)
}

func appendRanges(b []byte, set *slotmap.Set) []byte {
	ranges := set.Ranges()
	b = binary.BigEndian.AppendUint16(b, uint16(len(ranges)))
	for _, r := range ranges {
		b = binary.BigEndian.AppendUint16(b, r.First)
		b = binary.BigEndian.AppendUint16(b, r.Last)
	}
	return b
}

func parseOpening(b []byte) (*opening, error) {
	if len(b) < slotmap.NodeIDBytes+1 {
		return nil, errFrame
	}
	o := &opening{name: slotmap.DecodeNodeID(b)}
	if format := b[slotmap.NodeIDBytes]; format != linkFormat {
		return nil, fmt.Errorf("migrate: the source speaks format %d, this node %d", format, linkFormat)
	}
	var ok bool
	b = b[slotmap.NodeIDBytes+1:]
	if o.group, b, ok = parseRanges(b); !ok {
		return nil, errFrame
	}
	if o.all, b, ok = parseRanges(b); !ok || len(b) > 0 || o.name == "" || o.group.Len() == 0 {
		return nil, errFrame
	}
	return o, nil
}

func parseRanges(b []byte) (set *slotmap.Set, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	n := int(binary.BigEndian.Uint16(b))
	if b = b[2:]; len(b) < 4*n {
		return nil, nil, false
	}
	set = new(slotmap.Set)
	for ; n > 0; n-- {
		r := slotmap.Range{First: binary.BigEndian.Uint16(b), Last: binary.BigEndian.Uint16(b[2:])}
		if r.First > r.Last || int(r.Last) >= slotmap.Slots {
			return nil, nil, false
		}
		set.AddRange(r)
		b = b[4:]
	}
	return set, b, true
}
