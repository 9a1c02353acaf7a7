package replication

import (
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairndb/cairn/engine"
	wal "github.com/cairndb/cairn/engine/log"
)

func readerOf(b []byte) *frameReader {
	return &frameReader{in: bytes.NewReader(b), deadline: func() error { return nil }}
}

func TestFrames(t *testing.T) {
	t.Parallel()
	var b []byte
	long := bytes.Repeat([]byte("abc"), 10_000)
	b = appendFrame(b, framePing, flagAckStable, false, u64(7))
	b = appendFrame(b, frameLog, 0, true, u64(9), long)
	b = appendFrame(b, frameError, 0, false)
	in := readerOf(b)
	f, err := in.next()
	if p := f.parse(); err != nil || f.kind != framePing || f.flags != flagAckStable || p.u64() != 7 || !p.ok {
		t.Errorf("%+v %v", f, err)
	}
	f, err = in.next()
	if p := f.parse(); err != nil || f.kind != frameLog || p.u64() != 9 || !bytes.Equal(p.b, long) {
		t.Errorf("%c %v", f.kind, err)
	}
	if f, err = in.next(); err != nil || len(f.payload) != 0 {
		t.Errorf("%+v %v", f, err)
	}
	if _, err = in.next(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	if len(b) > len(long)/4 {
		t.Errorf("%d bytes: not compressed", len(b))
	}
	for i := range b[:frameHeader+8] {
		bad := bytes.Clone(b)
		bad[i] ^= 4
		if _, err := readerOf(bad).next(); err == nil {
			t.Errorf("byte %d is flipped and nobody sees it", i)
		}
	}
}

// FuzzFrame: any bytes are read without a panic and within bounded memory; what is
// read of an undamaged frame is what was written.
func FuzzFrame(f *testing.F) {
	f.Add([]byte("payload"), byte('L'), false)
	f.Add(bytes.Repeat([]byte{0}, 1000), byte('C'), true)
	f.Add(appendFrame(nil, frameLog, flagS2, false, []byte{0xff, 0xff, 0xff, 0x7f, 0}), byte(0), false)
	f.Fuzz(func(t *testing.T, b []byte, kind byte, compress bool) {
		in := readerOf(b)
		for {
			fr, err := in.next()
			if err != nil {
				break
			}
			_, _, _ = parseFiles(&fr)
			_, _, _ = parseHaves(&fr)
		}
		if cap(in.buf) > maxPayload || cap(in.plain) > maxPayload {
			t.Fatalf("buffers of %d and %d bytes", cap(in.buf), cap(in.plain))
		}
		if len(b) > maxPayload {
			return
		}
		for _, flags := range []byte{0, flagS2} { // the second one claims to be compressed
			got, err := readerOf(appendFrame(nil, frameKind(kind), flags, compress && flags == 0, b)).next()
			if flags == 0 && (err != nil || got.kind != frameKind(kind) || !bytes.Equal(got.payload, b)) {
				t.Fatalf("%v", err)
			}
		}
	})
}

// FuzzHello: any arguments are refused or mean the same when they are written again.
func FuzzHello(f *testing.F) {
	id := strings.Repeat("a", idLen)
	f.Add("1 node 6379  s2 100 7 0 " + id + ":5," + id + ":9")
	f.Add("1 node 6379 10.0.0.1  0 0 1 ")
	f.Fuzz(func(t *testing.T, line string) {
		args := bytes.Split([]byte(line), []byte(" "))
		h, err := parseHello(args)
		if err != nil {
			return
		}
		again := h.args()[1:]
		var b [][]byte
		for _, a := range again {
			b = append(b, []byte(a))
		}
		h2, err := parseHello(b)
		if err != nil || h2.end != h.end || h2.link != h.link || h2.nodeID != h.nodeID || h2.full != h.full || !slices.Equal(h2.terms, h.terms) {
			t.Fatalf("%+v, then %+v, %v", h, h2, err)
		}
	})
}

// TestDecide: what the primary answers, case by case.
func TestDecide(t *testing.T) {
	t.Parallel()
	a, b, c := strings.Repeat("a", idLen), strings.Repeat("b", idLen), strings.Repeat("c", idLen)
	own := position{start: 50, end: 300, terms: []wal.Term{{ID: a, Start: 0}, {ID: b, Start: 200}}}
	const link = 77
	for _, cs := range []struct {
		why  string
		h    hello
		want decision
	}{
		{"behind", hello{position: position{end: 250, link: link, terms: own.terms}}, decision{mode: modePartial, offset: 250}},
		{"even", hello{position: position{end: 300, link: link, terms: own.terms}}, decision{mode: modePartial, offset: 300}},
		{"behind, in the term before", hello{position: position{end: 100, link: link, terms: own.terms[:1]}}, decision{mode: modePartial, offset: 100}},
		{"went on in the old term", hello{position: position{end: 250, link: link, terms: own.terms[:1]}}, decision{mode: modeRewind, offset: 200}},
		{"a term of its own", hello{position: position{end: 250, link: link, terms: []wal.Term{own.terms[0], {ID: c, Start: 150}}}}, decision{mode: modeRewind, offset: 150}},
		{"ahead", hello{position: position{end: 400, link: link, terms: own.terms}}, decision{mode: modeRewind, offset: 300}},
		{"too far behind", hello{position: position{end: 40, link: link, terms: own.terms[:1]}}, decision{mode: modeFull}},
		{"empty", hello{}, decision{mode: modeFull}},
		{"another history", hello{position: position{end: 250, terms: []wal.Term{{ID: c, Start: 0}}}}, decision{mode: modeFull}},
		{"another last record", hello{position: position{end: 250, link: 1, terms: own.terms}}, decision{mode: modeFull}},
		{"asks for it", hello{full: true, position: position{end: 250, link: link, terms: own.terms}}, decision{mode: modeFull}},
	} {
		got := decide(own, &cs.h, func(engine.Offset) (uint32, error) { return link, nil })
		if got.mode != cs.want.mode || got.offset != cs.want.offset {
			t.Errorf("%s: %v at %d (%s), not %v at %d", cs.why, got.mode, got.offset, got.reason, cs.want.mode, cs.want.offset)
		}
	}
	fromZero := position{end: 300, terms: own.terms}
	h := hello{position: position{end: 90, terms: []wal.Term{{ID: c, Start: 0}}}}
	if d := decide(fromZero, &h, nil); d.mode != modeRewind || d.offset != 0 {
		t.Errorf("a log that has everything from the beginning: %+v", d)
	}
}

func TestThrottle(t *testing.T) {
	t.Parallel()
	th := throttle{rate: func() int64 { return 1000 }}
	now := time.Unix(0, 0)
	var waited time.Duration
	for range 100 {
		d := th.pause(100, now)
		waited += d
		now = now.Add(d + time.Millisecond)
	}
	if waited < 9*time.Second || waited > 10*time.Second {
		t.Errorf("10,000 bytes at 1,000 a second took %v", waited)
	}
}

// TestHostilePeers: what a stranger sends ends the connection, and no more.
func TestHostilePeers(t *testing.T) {
	t.Parallel()
	a := newNode(t, "a")
	a.put(0, 100, 10)
	hello := "2 x 1  s2 0 0 0 "
	for _, after := range []string{
		"garbage that is no frame at all, but long enough for a header",
		string(appendFrame(nil, frameLog, 0, false, []byte("a replica sends no log"))),
		string(appendFrame(nil, frameAck, 0, false, []byte("short"))),
		string(appendFrame(nil, frameHave, 0, false, []byte{1, 2, 3})),
		string(appendFrame(nil, frameAck, 0, false, u64(1<<60), u64(1<<60), u64(1<<60), u64(1))),
		"",
	} {
		ours, theirs := net.Pipe()
		done := make(chan error, 1)
		go func() { done <- a.m.HandleSync(theirs, bytes.Split([]byte(hello), []byte(" "))) }()
		go func() { _, _ = io.Copy(io.Discard, ours) }()
		if _, err := ours.Write([]byte(after)); err != nil && !errors.Is(err, io.ErrClosedPipe) {
			t.Fatal(err)
		}
		if n := a.m.Acks().Count(1<<59, Written); n != 0 {
			t.Error("what was never sent is acknowledged")
		}
		_ = ours.Close()
		if err := <-done; err == nil {
			t.Errorf("%q: no error", after)
		}
	}
	for _, line := range []string{"", "1 x 1  s2 0 0 0 ", "2  1  s2 0 0 0 ", "2 x -1  s2 0 0 0 ", "2 x 1  s2 0 0 0 zz:1"} {
		ours, theirs := net.Pipe()
		go func() { _ = a.m.HandleSync(theirs, bytes.Split([]byte(line), []byte(" "))) }()
		reply, err := io.ReadAll(ours)
		if err != nil || !strings.HasPrefix(string(reply), "-ERR ") {
			t.Errorf("%q: %q %v", line, reply, err)
		}
	}
}

func TestFileNames(t *testing.T) {
	t.Parallel()
	for name, ok := range map[string]bool{
		"000012.sst": true, "marker.manifest.000001.MANIFEST-000001": true, "..": false, "": false, "a/b": false, "../x": false, `a\b`: false,
	} {
		if validFileName(name) != ok {
			t.Errorf("%q", name)
		}
	}
}

// TestRefusal: a password that the primary does not take names the directive to set.
func TestRefusal(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		command, line string
		password      bool
	}{
		{"CAIRN.SYNC", "-NOAUTH Authentication required.", true},
		{"AUTH", "-WRONGPASS invalid username-password pair or user is disabled.", true},
		{"AUTH", "-ERR AUTH <password> called without any password configured for the default user.", true},
		{"CAIRN.SYNC", "-ERR unknown command", false},
	} {
		err := refusal(c.command, c.line).Error()
		if !strings.Contains(err, c.line) || strings.Contains(err, "masterauth") != c.password {
			t.Errorf("%s answered by %s: %s", c.command, c.line, err)
		}
	}
}
