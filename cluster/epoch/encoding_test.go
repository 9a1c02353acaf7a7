package epoch

import (
	"bufio"
	"bytes"
	"reflect"
	"testing"

	"github.com/cairndb/cairn/cluster/slotmap"
)

func sampleTable(t testing.TB) *Table {
	t.Helper()
	tab, err := Form("00000000000000000000000000000000000000cc", []Founder{
		{Shard: sid(0), Primary: nid(0), Replicas: []slotmap.NodeID{nid(3), nid(2)}, Epoch: 7, Slots: []slotmap.Range{{First: 0, Last: 99}, {First: 300, Last: 300}}},
		{Shard: sid(1), Primary: nid(1), Epoch: 1 << 40, Slots: []slotmap.Range{{First: 50, Last: slotmap.Slots - 1}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	tab = configure(tab, 4, []slotmap.NodeID{nid(2), nid(0), nid(1)})
	for i, r := range []Request{
		{Op: OpInSync, Shard: sid(0), Expect: 7, InSync: []slotmap.NodeID{nid(2)}, Strict: true},
		{Op: OpSlots, Slots: tab.Expect(one(5))},
		{Op: OpPrimary, Shard: sid(0), Node: nid(3), Expect: 7},
		{Op: OpSlots, Slots: tab.Expect(slotmap.SetOf([]slotmap.Range{{First: 51, Last: 53}, {First: 16383, Last: 16383}})), Shard: sid(0), Expect: 7, Node: nid(1), Revision: 1 << 40, Released: true},
	} {
		r.ID = NewRequestID()
		tab, _ = apply(tab, uint64(5+i), &r)
	}
	if tab.Shard(sid(1)).Remains == nil {
		t.Fatal("the hand-over has left no remains")
	}
	return tab
}

func TestEncodings(t *testing.T) {
	t.Parallel()
	tab := sampleTable(t)
	got, err := decodeTable(appendTable(nil, tab, true))
	if err != nil || !reflect.DeepEqual(got, tab) {
		t.Errorf("%v\n got %+v\nwant %+v", err, got, tab)
	}
	bare, err := decodeTable(appendTable(nil, tab, false))
	if err != nil || len(bare.recent) != 0 {
		t.Errorf("%v %+v", err, bare)
	}
	for _, r := range []Request{
		{ID: NewRequestID(), Op: OpOpen},
		{
			ID: NewRequestID(), Op: OpSlots, Seen: 1 << 63, Shard: sid(1), Expect: 9, Released: true,
			Slots: []SlotsAt{{Range: slotmap.Range{First: 3, Last: 900}, Epoch: 4}, {Range: slotmap.Range{First: 16383, Last: 16383}}},
		},
		{ID: NewRequestID(), Op: OpInSync, Shard: sid(1), Strict: true, InSync: []slotmap.NodeID{nid(1), nid(2)}, Revision: 5},
		{ID: NewRequestID(), Op: OpAdopt, Table: bare, Cluster: nid(4)},
		{ID: NewRequestID(), Op: OpDropped, Shard: sid(1), Node: nid(1), Expect: 1 << 40, Slots: []SlotsAt{{Range: slotmap.Range{First: 51, Last: 53}, Epoch: 9}}},
	} {
		got, err := decodeRequest(appendRequest(nil, &r))
		if err != nil || !reflect.DeepEqual(*got, r) {
			t.Errorf("%v\n got %+v\nwant %+v", err, got, r)
		}
	}
	want := Renewal{Cluster: nid(1), Generation: 2, Session: 3, Round: 4, Shard: sid(5), Node: nid(6), Epoch: 7, Lease: 8}
	d := &decoder{b: appendRenewal(nil, want)}
	if got := d.renewal(); got != want || d.bad {
		t.Errorf("%+v", got)
	}
}

func FuzzRequest(f *testing.F) {
	f.Add(appendRequest(nil, &Request{Op: OpSlots, Shard: sid(1), Slots: []SlotsAt{{Range: slotmap.Range{First: 1, Last: 2}, Epoch: 3}}}))
	f.Add(appendRequest(nil, &Request{Op: OpAdopt, Table: sampleTable(f)}))
	f.Add(appendRequest(nil, &Request{Op: OpPrimary, Shard: sid(0), Node: nid(2), Expect: 7, InSync: []slotmap.NodeID{nid(1)}}))
	start := sampleTable(f)
	f.Add(appendRequest(nil, &Request{Op: OpDropped, Shard: sid(1), Node: nid(1), Expect: 1 << 40, Slots: start.Expect(one(52))}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRequest(b)
		if err != nil {
			return
		}
		if again := appendRequest(nil, r); !bytes.Equal(again, b) {
			t.Fatalf("%x encodes as %x", b, again)
		}
		for _, tab := range []*Table{empty(), start} {
			before := appendTable(nil, tab, true)
			next, _ := apply(tab, tab.Version+1, r)
			if err := next.check(); err != nil {
				t.Fatalf("%+v breaks the table", r)
			}
			if !bytes.Equal(before, appendTable(nil, tab, true)) {
				t.Fatalf("%+v changes the table that it was applied to", r)
			}
			if _, err := decodeTable(appendTable(nil, next, true)); err != nil {
				t.Fatalf("%+v makes a table that can't be read", r)
			}
		}
	})
}

func FuzzTable(f *testing.F) {
	f.Add(appendTable(nil, sampleTable(f), true))
	f.Add(appendTable(nil, empty(), true))
	f.Fuzz(func(t *testing.T, b []byte) {
		if tab, err := decodeTable(b); err == nil {
			again, err := decodeTable(appendTable(nil, tab, true))
			if err != nil || !reflect.DeepEqual(again, tab) {
				t.Fatalf("%v: %+v, then %+v", err, tab, again)
			}
		}
	})
}

func FuzzFrame(f *testing.F) {
	f.Add(frame(7, callRenew, []byte("body")))
	f.Add([]byte{0xff, 0xff, 0xff, 0x00, 1, 2, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bufio.NewReader(bytes.NewReader(b))
		for {
			call, k, body, err := readFrame(r)
			if err != nil {
				return
			}
			if len(body) > len(b) || !bytes.Contains(b, frame(call, k, body)) {
				t.Fatalf("%d %d %x", call, k, body)
			}
		}
	})
}
