package gossip

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/cairndb/cairn/cluster/slotmap"
)

func listen(t *testing.T, secret string) *Bus {
	t.Helper()
	b, err := Listen(BusOptions{Bind: []string{"127.0.0.1"}, Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func addr(b *Bus) string { return b.sockets.listeners[0].Addr().String() }

func echo(conn net.Conn) {
	defer conn.Close()
	_, _ = io.Copy(conn, conn)
}

func TestBus(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{"", "quarry"} {
		a, b := listen(t, secret), listen(t, secret)
		b.Handle(KindState, echo)
		conn, err := a.Dial(context.Background(), addr(b), KindState)
		if err != nil {
			t.Fatal(err)
		}
		want := make([]byte, 5*maxSealed+7)
		_, _ = rand.Read(want)
		go func() { _, _ = conn.Write(want) }()
		got := make([]byte, len(want))
		if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, want) {
			t.Errorf("secret %q: %v", secret, err)
		}
		if _, err := a.Dial(context.Background(), addr(b), KindGossip); err == nil {
			t.Error("a kind that is not served is accepted")
		}
		_ = conn.Close()
	}
}

func TestBusRefusesStrangers(t *testing.T) {
	t.Parallel()
	b := listen(t, "quarry")
	b.Handle(KindState, func(conn net.Conn) { t.Error("served"); _ = conn.Close() })
	for _, secret := range []string{"", "gravel"} {
		if _, err := listen(t, secret).Dial(context.Background(), addr(b), KindState); !errors.Is(err, ErrHandshake) {
			t.Errorf("secret %q: %v", secret, err)
		}
	}
}

func TestBusNeedsProtection(t *testing.T) {
	t.Parallel()
	for _, bind := range [][]string{nil, {"*"}, {"127.0.0.1", "0.0.0.0"}, {"::"}} {
		if b, err := Listen(BusOptions{Bind: bind}); !errors.Is(err, ErrPlain) {
			t.Errorf("%v: %v", bind, err)
			_ = b.Close()
		}
	}
	b, err := Listen(BusOptions{Bind: []string{"127.0.0.1", "-no-such-host.invalid"}, Plain: true})
	if err != nil {
		t.Fatal(err)
	}
	_ = b.Close()
	if _, err := Listen(BusOptions{Bind: []string{"127.0.0.1"}, Port: listen(t, "").Port()}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a port that is taken: %v", err)
	}
}

// Whoever sends rubbish, or nothing, costs a bounded number of connections, and members go on.
func TestBusAndGarbage(t *testing.T) {
	t.Parallel()
	a, b := listen(t, "quarry"), listen(t, "quarry")
	b.Handle(KindState, echo)
	b.HandlePackets(func([]byte, net.Addr) {})
	var idle []net.Conn
	defer func() {
		for _, conn := range idle {
			_ = conn.Close()
		}
	}()
	for i := range 2 * maxGreeting {
		conn, err := net.Dial("tcp", addr(b))
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, conn)
		if i%2 == 0 {
			junk := make([]byte, 200)
			_, _ = rand.Read(junk)
			_, _ = conn.Write(junk)
		}
	}
	udp, err := net.Dial("udp", addr(b))
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	for n := range 500 {
		junk := make([]byte, n)
		_, _ = rand.Read(junk)
		_, _ = udp.Write(junk)
	}
	deadline := time.Now().Add(3 * handshakeTimeout)
	for {
		conn, err := a.Dial(context.Background(), addr(b), KindState)
		if err == nil {
			_ = conn.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("a member is locked out: %v", err)
		}
	}
	b.mu.Lock()
	open := len(b.mu.conns)
	b.mu.Unlock()
	if open > maxGreeting+1 {
		t.Errorf("%d connections are held", open)
	}
}

// A frame that was changed, repeated or reordered ends the connection.
func TestSealedFrames(t *testing.T) {
	t.Parallel()
	record := func() ([]byte, *session) {
		s := &session{[]byte("quarry"), []byte("transcript")}
		wire := &pipe{}
		conn, err := seal(wire, s, true)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := conn.Write([]byte("stone")); err != nil {
				t.Fatal(err)
			}
		}
		return wire.Bytes(), s
	}
	frame := 2 + 5 + 16
	for name, damage := range map[string]func([]byte) []byte{
		"changed":   func(b []byte) []byte { b[4] ^= 1; return b },
		"repeated":  func(b []byte) []byte { return append(bytes.Clone(b[:frame]), b[:frame]...) },
		"reordered": func(b []byte) []byte { return append(bytes.Clone(b[frame:]), b[:frame]...) },
		"cut":       func(b []byte) []byte { return b[:2*frame-1] },
		"too long":  func(b []byte) []byte { b[0] = 0xff; return b },
	} {
		wire, s := record()
		conn, err := seal(&pipe{Buffer: *bytes.NewBuffer(damage(wire))}, s, false)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(conn); err == nil {
			t.Errorf("%s: %q", name, got)
		}
	}
	wire, s := record()
	conn, _ := seal(&pipe{Buffer: *bytes.NewBuffer(wire)}, s, false)
	if got, err := io.ReadAll(conn); err != nil || string(got) != "stonestone" {
		t.Errorf("%q %v", got, err)
	}
}

// pipe is a connection onto a buffer.
type pipe struct {
	bytes.Buffer
	net.Conn
}

func (p *pipe) Read(b []byte) (int, error)  { return p.Buffer.Read(b) }
func (p *pipe) Write(b []byte) (int, error) { return p.Buffer.Write(b) }

func TestNews(t *testing.T) {
	t.Parallel()
	want := News{slotmap.NewNodeID(), 1 << 60, slotmap.NewNodeID()}
	b := appendNews(nil, want)
	if got, err := decodeNews(append(b, "more"...)); err != nil || got != want {
		t.Errorf("%v %v", got, err)
	}
	for i := range b {
		if _, err := decodeNews(b[:i]); err == nil {
			t.Errorf("%d bytes decode", i)
		}
	}
}

func FuzzWelcome(f *testing.F) {
	hello := append([]byte(magic), busVersion, byte(KindState))
	f.Add(append(hello, make([]byte, 100)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, _, err := welcome(&pipe{Buffer: *bytes.NewBuffer(b)}, []byte("quarry"), nil, func(Kind) bool { return true }); err == nil {
			t.Fatal("admitted without the secret")
		}
	})
}

func FuzzSealed(f *testing.F) {
	f.Add([]byte{0, 20, 1, 2, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		conn, err := seal(&pipe{Buffer: *bytes.NewBuffer(b)}, &session{[]byte("quarry"), nil}, false)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := io.ReadAll(conn); len(got) > 0 {
			t.Fatalf("%x is read as %x", b, got)
		}
	})
}

func FuzzNews(f *testing.F) {
	f.Add(appendNews(nil, News{slotmap.NewNodeID(), 7, slotmap.NewNodeID()}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n, err := decodeNews(b); err == nil && !bytes.HasPrefix(b, appendNews(nil, n)) {
			t.Fatalf("%x", b)
		}
	})
}
