package migrate

import (
	"bytes"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/cairndb/cairn/cluster/slotmap"
)

func pipe(t *testing.T) (a, b *link) {
	t.Helper()
	x, y := net.Pipe()
	t.Cleanup(func() { _, _ = x.Close(), y.Close() })
	return newLink(x), newLink(y)
}

func TestFramesComeAsTheyWent(t *testing.T) {
	t.Parallel()
	a, b := pipe(t)
	a.compress = true
	large := bytes.Repeat([]byte("a large batch that s2 makes small "), 100_000)
	sent := []struct {
		kind byte
		body []byte
	}{{frameBegin, []byte("x")}, {frameBatch, large}, {frameHere, nil}, {frameBatch, []byte{1}}, {frameMark, number(7)}}
	go func() {
		for _, f := range sent {
			_, _ = a.write(f.kind, f.body)
		}
	}()
	for _, f := range sent {
		kind, body, err := b.read()
		if err != nil || kind != f.kind || !bytes.Equal(body, f.body) {
			t.Fatalf("got %q with %d bytes, %v, want %q with %d", kind, len(body), err, f.kind, len(f.body))
		}
	}
}

func TestHostileFramesAreRefused(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"control frame too long":   "\x00\x03\x00\x00M\x00",
		"batch too long":           "\xff\xff\xff\xffD\x00",
		"unknown flags":            "\x00\x00\x00\x01D\x02x",
		"compressed control frame": "\x00\x00\x00\x01M\x01x",
		"no s2":                    "\x00\x00\x00\x04D\x01abcd",
		"s2 bomb":                  "\x00\x00\x00\x06D\x01\xff\xff\xff\xff\x0f\x00",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x, y := net.Pipe()
			defer x.Close()
			defer y.Close()
			go func() { _, _ = x.Write([]byte(text)) }()
			if _, _, err := newLink(y).read(); !errors.Is(err, errFrame) {
				t.Fatalf("read: %v", err)
			}
		})
	}
}

func TestOpeningsComeAsTheyWent(t *testing.T) {
	t.Parallel()
	all := slotmap.SetOf([]slotmap.Range{{First: 0, Last: 5}, {First: 7, Last: 7}, {First: 16000, Last: 16383}})
	group := slotmap.SetOf([]slotmap.Range{{First: 2, Last: 3}})
	was := opening{name: slotmap.NewNodeID(), group: group, all: all}
	b := was.encode()
	got, err := parseOpening(b)
	if err != nil || got.name != was.name || *got.group != *group || *got.all != *all {
		t.Fatalf("%+v, %v", got, err)
	}
	for n := range b {
		if _, err := parseOpening(b[:n]); err == nil {
			t.Fatalf("%d of %d bytes are taken for an opening", n, len(b))
		}
	}
}

func FuzzOpening(f *testing.F) {
	o := opening{name: slotmap.NewNodeID(), group: slotmap.SetOf([]slotmap.Range{{First: 1, Last: 2}}), all: new(slotmap.Set)}
	f.Add(o.encode())
	f.Add([]byte(strings.Repeat("\xff", 64)))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := parseOpening(b)
		if err != nil {
			return
		}
		again, err := parseOpening(o.encode())
		if err != nil || *again.group != *o.group || *again.all != *o.all || again.name != o.name {
			t.Fatalf("%+v, %+v, %v", o, again, err)
		}
	})
}

func TestTheThrottleIsSharedByAll(t *testing.T) {
	t.Parallel()
	rate := int64(1 << 20)
	th := throttle{rate: func() int64 { return rate }}
	now := time.Unix(1000, 0)
	if d := th.debt(1<<20, now); d != time.Second {
		t.Errorf("the first waits %v", d)
	}
	if d := th.debt(1<<20, now); d != 2*time.Second {
		t.Errorf("the second waits %v", d)
	}
	if d := th.debt(1, now.Add(3*time.Second)); d != 0 {
		t.Errorf("who comes later waits %v", d)
	}
	rate = 0
	if d := th.debt(1<<30, now); d != 0 {
		t.Errorf("without a limit %v", d)
	}
}

func TestHeldSlots(t *testing.T) {
	t.Parallel()
	var h Holds
	set := slotmap.SetOf([]slotmap.Range{{First: 3, Last: 4}})
	letGo := h.add(set)
	wait, held := h.On(3)
	if _, other := h.On(5); !held || wait == nil || other || !h.Any() {
		t.Fatalf("slot 3: %v, slot 5: %v", held, other)
	}
	letGo()
	letGo()
	select {
	case <-wait:
	default:
		t.Error("who waits is not let go")
	}
	if _, held := h.On(3); held || h.Any() {
		t.Error("still held")
	}
}
