package replication

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"sync"
	"time"

	"github.com/klauspost/compress/s2"
)

const (
	frameHeader = 10
	// maxPayload bounds a frame's payload, compressed or not.
	maxPayload = 1 << 20
	// chunkSize is how much of the log or of a file goes into a frame.
	chunkSize = 256 << 10
	// minCompressed is the size from which compressing is tried.
	minCompressed = 256
)

type frameKind byte

const (
	frameDecision frameKind = 'D'
	frameLog      frameKind = 'L'
	framePing     frameKind = 'P'
	frameFiles    frameKind = 'F'
	frameChunk    frameKind = 'C'
	frameEnd      frameKind = 'E'
	frameBegin    frameKind = 'B'
	frameError    frameKind = 'X'
	frameAck      frameKind = 'A'
	frameHave     frameKind = 'H'
	frameRepair   frameKind = 'R'
)

const (
	flagS2         = 1
	flagAckWritten = 2
	flagAckStable  = 4
	flagAckSynced  = 8
	knownFlags     = flagS2 | flagAckWritten | flagAckStable | flagAckSynced
)

var (
	errFrame    = errors.New("replication: malformed frame")
	errChecksum = errors.New("replication: frame checksum mismatch")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frame is a decoded frame; payload is valid until the next one is read.
type frame struct {
	kind    frameKind
	flags   byte
	payload []byte
}

// appendFrame encodes a frame behind b. With compress, the payload is compressed if that makes it smaller.
func appendFrame(b []byte, kind frameKind, flags byte, compress bool, parts ...[]byte) []byte {
	at := len(b)
	b = append(b, make([]byte, frameHeader)...)
	for _, p := range parts {
		b = append(b, p...)
	}
	payload := b[at+frameHeader:]
	if compress && len(payload) >= minCompressed {
		if small := s2.Encode(nil, payload); len(small) < len(payload) {
			b = append(b[:at+frameHeader], small...)
			flags |= flagS2
		}
	}
	h := b[at:]
	binary.LittleEndian.PutUint32(h[4:], uint32(len(h)-frameHeader))
	h[8], h[9] = byte(kind), flags
	binary.LittleEndian.PutUint32(h, crc32.Checksum(h[4:], castagnoli))
	return b
}

// frameReader reads frames from a connection; each must arrive within the timeout.
type frameReader struct {
	in       io.Reader
	deadline func() error // sets it for the next read
	buf      []byte
	plain    []byte // decompressed
}

func newFrameReader(conn net.Conn, buffered *bufio.Reader, timeout func() time.Duration) *frameReader {
	return &frameReader{in: buffered, deadline: func() error { return conn.SetReadDeadline(time.Now().Add(timeout())) }}
}

// next reads a frame. What it allocates is bounded by maxPayload.
func (r *frameReader) next() (frame, error) {
	if err := r.deadline(); err != nil {
		return frame{}, err
	}
	var h [frameHeader]byte
	if _, err := io.ReadFull(r.in, h[:]); err != nil {
		return frame{}, err
	}
	n := int(binary.LittleEndian.Uint32(h[4:]))
	f := frame{kind: frameKind(h[8]), flags: h[9]}
	if n > maxPayload || f.flags&^knownFlags != 0 {
		return frame{}, errFrame
	}
	if cap(r.buf) < n {
		r.buf = make([]byte, max(n, 4096))
	}
	f.payload = r.buf[:n]
	if _, err := io.ReadFull(r.in, f.payload); err != nil {
		return frame{}, noEOF(err)
	}
	crc := crc32.Update(crc32.Checksum(h[4:], castagnoli), castagnoli, f.payload)
	if crc != binary.LittleEndian.Uint32(h[:]) {
		return frame{}, errChecksum
	}
	if f.flags&flagS2 == 0 {
		return f, nil
	}
	return r.decompress(f)
}

func (r *frameReader) decompress(f frame) (frame, error) {
	n, err := s2.DecodedLen(f.payload)
	if err != nil || n > maxPayload {
		return frame{}, errFrame
	}
	if cap(r.plain) < n {
		r.plain = make([]byte, n)
	}
	if f.payload, err = s2.Decode(r.plain[:n], f.payload); err != nil {
		return frame{}, fmt.Errorf("%w: %w", errFrame, err)
	}
	return f, nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// frameWriter writes frames to a connection, for any goroutine.
type frameWriter struct {
	conn     net.Conn
	timeout  func() time.Duration
	compress bool

	mu   sync.Mutex
	buf  []byte
	sent uint64
}

func (w *frameWriter) write(kind frameKind, flags byte, parts ...[]byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	compress := w.compress && (kind == frameLog || kind == frameChunk)
	w.buf = appendFrame(w.buf[:0], kind, flags, compress, parts...)
	if err := w.conn.SetWriteDeadline(time.Now().Add(w.timeout())); err != nil {
		return err
	}
	n, err := w.conn.Write(w.buf)
	w.sent += uint64(n)
	return err
}

// fields takes integers off a payload; ok turns false when it is too short.
type fields struct {
	b  []byte
	ok bool
}

func (p *fields) take(n int) []byte {
	if len(p.b) < n {
		p.ok, p.b = false, nil
		return make([]byte, n)
	}
	v := p.b[:n]
	p.b = p.b[n:]
	return v
}

func (p *fields) u8() byte    { return p.take(1)[0] }
func (p *fields) u32() uint32 { return binary.LittleEndian.Uint32(p.take(4)) }
func (p *fields) u64() uint64 { return binary.LittleEndian.Uint64(p.take(8)) }

// parse returns the fields of a frame.
func (f *frame) parse() *fields { return &fields{b: f.payload, ok: true} }

func u32(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }
func u64(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }
