package cluster

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"net"
	"reflect"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairndb/cairn/cluster/slotmap"
)

func exampleState() *state {
	return &state{
		Sender: digitID("a"), CurrentEpoch: 9,
		Records: []record{
			{ID: digitID("a"), Version: 12345, Epoch: 9, Slots: ranges("0-5460,6000"), Shard: digitID("1"),
				IP: "10.0.0.1", Hostname: "a.example", Port: 6379, BusPort: 16379, Suspects: []slotmap.NodeID{digitID("b")},
				Primary: digitID("b"), Offset: 77, Group: digitID("c"), Generation: 3, Granted: true, Pledged: true},
			{ID: digitID("b"), Slots: []slotmap.Range{}, IP: "fd00::1", Port: 1, BusPort: 65535},
		},
	}
}

func TestStateEncoding(t *testing.T) {
	t.Parallel()
	want := exampleState()
	b := appendState(nil, want)
	got, err := decodeState(b)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%v\n%+v\n%+v", err, got, want)
	}
	for i := range b {
		if _, err := decodeState(b[:i]); err == nil {
			t.Fatalf("%d of %d bytes decode", i, len(b))
		}
	}
}

// A later version may add fields at a record's end.
func TestStateFromTheFuture(t *testing.T) {
	t.Parallel()
	s := exampleState()
	one := append(appendRecord(nil, &s.Records[0]), "new field"...)
	b := append([]byte{stateFormat}, digitID("a").Append(nil)...)
	b = binary.AppendUvarint(append(b, 9, 1), uint64(len(one)))
	got, err := decodeState(append(b, one...))
	if err != nil || !reflect.DeepEqual(got.Records, s.Records[:1]) {
		t.Fatalf("%v %+v", err, got)
	}
}

// What a peer sends ends up in CLUSTER NODES and nodes.conf, line by line.
func TestStateNames(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"a b", "a\nb", "a,b", "a@b", "a\x00", "ü", string(make([]byte, 300))} {
		s := exampleState()
		s.Records[0].Hostname = bad
		if _, err := decodeState(appendState(nil, s)); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func FuzzDecodeState(f *testing.F) {
	f.Add(appendState(nil, exampleState()))
	f.Add([]byte{stateFormat})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeState(b)
		if err != nil {
			return
		}
		again, err := decodeState(appendState(nil, s))
		if err != nil || !reflect.DeepEqual(s, again) {
			t.Fatalf("%v\n%+v\n%+v", err, s, again)
		}
		table := newTable(record{ID: digitID("5"), BusPort: 1}, Settings{}, 0)
		table.merge(s, true, 0)
		table.tick(1)
		if _, err := parseConf(bytes.NewReader(table.conf())); err != nil {
			t.Fatalf("%v\n%s", err, table.conf())
		}
	})
}

func FuzzAnswer(f *testing.F) {
	request := digitID("5").Append([]byte{exchangeFormat, 0})
	f.Add(appendState(request, exampleState()))
	f.Add(appendState(bytes.Clone(request), &state{Sender: digitID("5")}))
	met := bytes.Clone(request)
	met[1] = flagMeet
	f.Add(appendState(met, exampleState()))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := hermit(t)
		answer, err := c.answer(b, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1})
		if err != nil {
			return
		}
		if err := hermit(t).absorb(answer, true); err != nil && answer[0] == statusOK {
			t.Fatalf("%x: %v", answer, err)
		}
	})
}

// hermit is a member without a bus.
func hermit(t testing.TB) *Cluster {
	st, _, err := openStore(vfs.NewMem(), "nodes.conf")
	if err != nil {
		t.Fatal(err)
	}
	c := &Cluster{store: st, log: slog.New(slog.DiscardHandler)}
	c.mu.table = newTable(record{ID: digitID("5"), BusPort: 1, Shard: digitID("6")}, Settings{NodeTimeout: time.Second}, 0)
	if err := c.settleFirst(); err != nil {
		t.Fatal(err)
	}
	return c
}
