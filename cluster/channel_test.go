package cluster

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/cairndb/cairn/cluster/gossip"
	"github.com/cairndb/cairn/cluster/slotmap"
	"github.com/cairndb/cairn/tools/testnode"
)

func TestChannel(t *testing.T) {
	t.Parallel()
	authority := testnode.NewAuthority(t)
	for name, protect := range map[string]func(*testing.T, *Options){
		"plain":  func(*testing.T, *Options) {},
		"secret": func(_ *testing.T, o *Options) { o.Secret = "quarry" },
		"TLS": func(t *testing.T, o *Options) {
			cert, key := authority.Issue(t, string(slotmap.NewNodeID()))
			var err error
			if o.TLS, err = gossip.LoadTLS(gossip.TLSFiles{Cert: cert, Key: key, CACert: authority.File}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var members []*member
			for range 3 {
				o := options(t, short)
				protect(t, &o)
				members = append(members, start(t, o))
			}
			t.Logf("up after %v", join(t, members))
			channels(t, members)
		})
	}
}

// channels speaks from one member to another, before and after that one has moved and died.
func channels(t *testing.T, members []*member) {
	t.Helper()
	a, b := members[0], members[1]
	const kind = gossip.FirstKind
	serve := func() {
		b.Channel(kind).Handle(func(from slotmap.NodeID, conn net.Conn) {
			defer conn.Close()
			_, _ = io.WriteString(conn, string(from))
			_, _ = io.Copy(conn, conn)
		})
	}
	speak := func(id slotmap.NodeID) error {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		conn, err := a.Channel(kind).Dial(ctx, id)
		if err != nil {
			return err
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "stone"); err != nil {
			return err
		}
		want := string(a.id()) + "stone"
		got := make([]byte, len(want))
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
			t.Errorf("%q %v", got, err)
		}
		return nil
	}
	if err := speak(b.id()); !errors.Is(err, gossip.ErrHandshake) {
		t.Errorf("a kind that is not served: %v", err)
	}
	serve()
	if err := speak(b.id()); err != nil {
		t.Error(err)
	}
	if err := speak(slotmap.NewNodeID()); !errors.Is(err, ErrUnknownNode) {
		t.Errorf("an unknown node: %v", err)
	}
	id, before := b.id(), a.View().Node(b.id()).BusAddr()
	b.stop()
	if err := speak(id); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a node that is down: %v", err)
	}
	b.o.Bind = []string{"127.0.0.2"}
	b.start()
	serve()
	settled(t, members)
	if err := speak(id); err != nil || a.View().Node(id).BusAddr() == before {
		t.Errorf("a node that has moved: %v", err)
	}
	if err := a.Forget(string(id)); err != nil {
		t.Fatal(err)
	}
	if err := speak(id); !errors.Is(err, ErrUnknownNode) {
		t.Errorf("a forgotten node: %v", err)
	}
}

// A stream is neither served for a stranger nor by the wrong node.
func TestChannelStrangers(t *testing.T) {
	t.Parallel()
	members, _ := form(t, 2, short)
	stranger := start(t, options(t, short))
	const kind = gossip.FirstKind
	for _, m := range members {
		m.Channel(kind).Handle(func(_ slotmap.NodeID, conn net.Conn) { t.Error("served"); _ = conn.Close() })
	}
	dial := func(from *member, expected slotmap.NodeID) error {
		conn, err := stranger.bus.Dial(t.Context(), members[0].View().Self().BusAddr(), kind)
		if err != nil {
			return err
		}
		defer conn.Close()
		return from.Channel(kind).introduce(conn, expected)
	}
	if err := dial(stranger, members[0].id()); !errors.Is(err, ErrOtherNode) {
		t.Errorf("from a stranger: %v", err)
	}
	if err := dial(members[1], members[1].id()); !errors.Is(err, ErrOtherNode) {
		t.Errorf("for another node: %v", err)
	}
}
