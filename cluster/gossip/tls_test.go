package gossip

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cairndb/cairn/tools/testnode"
)

func files(t *testing.T, a *testnode.Authority, name string) TLSFiles {
	t.Helper()
	cert, key := a.Issue(t, name)
	return TLSFiles{Cert: cert, Key: key, CACert: a.File}
}

func listenTLS(t *testing.T, secret string, f TLSFiles) *Bus {
	t.Helper()
	protection, err := LoadTLS(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Listen(BusOptions{Bind: []string{"127.0.0.1"}, Secret: secret, TLS: protection})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	b.Handle(KindState, echo)
	return b
}

func TestTLS(t *testing.T) {
	t.Parallel()
	ours, theirs := testnode.NewAuthority(t), testnode.NewAuthority(t)
	b := listenTLS(t, "", files(t, ours, "b"))
	sealed := listenTLS(t, "quarry", files(t, ours, "sealed"))
	foreign, trusting := files(t, theirs, "foreign"), files(t, theirs, "trusting")
	trusting.CACert = ours.File
	for _, c := range []struct {
		name     string
		from, to *Bus
		ok       bool
	}{
		{"the same authority", listenTLS(t, "", files(t, ours, "a")), b, true},
		{"with a secret", listenTLS(t, "quarry", files(t, ours, "c")), sealed, true},
		{"another secret", listenTLS(t, "gravel", files(t, ours, "d")), sealed, false},
		{"another authority", listenTLS(t, "", foreign), b, false},
		{"a certificate of another authority", listenTLS(t, "", trusting), b, false},
		{"no TLS", listen(t, ""), b, false},
		{"a secret only", listen(t, "quarry"), sealed, false},
		{"to a bus without TLS", b, listen(t, ""), false},
	} {
		conn, err := c.from.Dial(context.Background(), addr(c.to), KindState)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrHandshake) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err != nil {
			continue
		}
		want := make([]byte, 100_000)
		_, _ = rand.Read(want)
		go func() { _, _ = conn.Write(want) }()
		got := make([]byte, len(want))
		if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v", c.name, err)
		}
		_ = conn.Close()
	}
}

// A certificate is replaced while the node runs; one that cannot be read changes nothing.
func TestReload(t *testing.T) {
	t.Parallel()
	old, next := testnode.NewAuthority(t), testnode.NewAuthority(t)
	a, b := listenTLS(t, "", files(t, old, "a")), listenTLS(t, "", files(t, old, "b"))
	reaches := func() bool {
		conn, err := a.Dial(context.Background(), addr(b), KindState)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}
	bad := files(t, old, "bad")
	if err := os.WriteFile(bad.Key, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := files(t, old, "empty")
	empty.CACert, empty.CADir = "", t.TempDir()
	for want, f := range map[string]TLSFiles{
		"tls-cert-file": {}, "tls-ca-cert-file": {Cert: bad.Cert, Key: bad.Key}, "bad.key": bad,
		"no such file": {Cert: "nothing.pem", Key: bad.Key, CACert: old.File}, "holds no certificate": empty,
	} {
		if err := a.o.TLS.Reload(f); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if !reaches() {
		t.Fatal("what could not be loaded has changed something")
	}
	f := files(t, next, "a")
	if err := a.o.TLS.Reload(f); err != nil || reaches() {
		t.Errorf("%v, or the new certificate is not used", err)
	}
	both := t.TempDir()
	for i, authority := range []*testnode.Authority{old, next} {
		content, err := os.ReadFile(authority.File)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(both, string(rune('a'+i))), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f = files(t, next, "b")
	f.CACert, f.CADir = "", both
	if err := b.o.TLS.Reload(f); err != nil || !reaches() {
		t.Errorf("%v, or the folder of authorities is not used", err)
	}
}

// Packets go over TLS connections, and again when the receiver has come back.
func TestPacketsOverTLS(t *testing.T) {
	t.Parallel()
	authority := testnode.NewAuthority(t)
	a, b := listenTLS(t, "", files(t, authority, "a")), listenTLS(t, "", files(t, authority, "b"))
	if len(a.sockets.packets) != 0 {
		t.Error("UDP is open")
	}
	for range 2 {
		got := make(chan string, 1000)
		b.HandlePackets(func(p []byte, _ net.Addr) { got <- string(p) })
		deadline := time.Now().Add(20 * time.Second)
		for n := 0; ; {
			if err := a.SendPacket([]byte("stone"), addr(b)); err != nil {
				t.Fatal(err)
			}
			select {
			case p := <-got:
				if p != "stone" {
					t.Fatalf("%q", p)
				}
				n++
			case <-time.After(10 * time.Millisecond):
			}
			if n == 300 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d packets arrive", n)
			}
		}
		to, port := files(t, authority, "again"), b.Port()
		_ = b.Close()
		protection, err := LoadTLS(to)
		if err != nil {
			t.Fatal(err)
		}
		if b, err = Listen(BusOptions{Bind: []string{"127.0.0.1"}, Port: port, TLS: protection}); err != nil {
			t.Fatal(err)
		}
		defer b.Close()
	}
}

// A receiver that counts nothing is given up.
func TestPacketsUncounted(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	defer theirs.Close()
	go func() { _, _ = io.Copy(io.Discard, theirs) }()
	queue, ended := make(chan []byte), make(chan error, 1)
	go func() { ended <- carry(context.Background(), ours, queue) }()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(4 * linkPatience); ; <-tick.C {
		select {
		case queue <- []byte("stone"):
		case err := <-ended:
			if !errors.Is(err, errUncounted) {
				t.Error(err)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("not given up")
		}
	}
}
