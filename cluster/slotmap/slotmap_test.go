package slotmap

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

func id(c string) NodeID { return NodeID(strings.Repeat(c, 2*NodeIDBytes)) }

func TestFold(t *testing.T) {
	t.Parallel()
	a, b, c := id("a"), id("b"), id("c")
	m := Fold(
		Claim{a, 3, []Range{{0, 100}}},
		Claim{b, 5, []Range{{50, 60}}},
		Claim{c, 3, []Range{{90, 110}}},
	)
	for slot, want := range map[uint16]NodeID{0: a, 49: a, 50: b, 60: b, 61: a, 90: a, 100: a, 101: c, 110: c, 111: ""} {
		if got := m.Owner(slot); got != want {
			t.Errorf("slot %d: owner %.4s, want %.4s", slot, got, want)
		}
	}
	if m.Epoch(55) != 5 || m.Epoch(0) != 3 || m.Epoch(200) != 0 {
		t.Errorf("epochs: %d %d %d", m.Epoch(55), m.Epoch(0), m.Epoch(200))
	}
	if m.Assigned() != 111 {
		t.Errorf("assigned %d", m.Assigned())
	}
	if got := m.SlotsOf(a).Ranges(); !reflect.DeepEqual(got, []Range{{0, 49}, {61, 100}}) {
		t.Errorf("ranges of a: %v", got)
	}
	if sets := m.Sets(); len(sets) != 3 || *sets[b] != *SetOf([]Range{{50, 60}}) {
		t.Errorf("sets: %v", sets)
	}
}

// The order in which claims arrive must not matter.
func TestFoldOrder(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var claims []Claim
		for _, n := range "0123456789" {
			claims = append(claims, Claim{id(string(n)), rng.Uint64N(4), randomSet(rng).Ranges()})
		}
		want := Fold(claims...)
		rng.Shuffle(len(claims), func(i, j int) { claims[i], claims[j] = claims[j], claims[i] })
		got := Fold(claims...)
		for s := range uint16(Slots) {
			if got.Owner(s) != want.Owner(s) || got.Epoch(s) != want.Epoch(s) {
				t.Fatalf("slot %d: %s@%d and %s@%d", s, got.Owner(s), got.Epoch(s), want.Owner(s), want.Epoch(s))
			}
		}
	}
}

func randomSet(rng *rand.Rand) *Set {
	s := new(Set)
	for range rng.IntN(200) {
		first := rng.IntN(Slots)
		s.AddRange(Range{uint16(first), uint16(min(Slots-1, first+rng.IntN(300)))})
	}
	return s
}

func TestSetRanges(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(3, 4))
	full := SetOf([]Range{{0, Slots - 1}})
	for _, s := range []*Set{new(Set), full, randomSet(rng), randomSet(rng)} {
		ranges, n := s.Ranges(), 0
		for i, r := range ranges {
			n += r.Len()
			if back, ok := ParseRange(r.String()); !ok || back != r {
				t.Errorf("%v reads back as %v", r, back)
			}
			if i > 0 && r.First <= ranges[i-1].Last+1 {
				t.Errorf("%v touches %v", r, ranges[i-1])
			}
		}
		if *SetOf(ranges) != *s || n != s.Len() {
			t.Errorf("%v is another set", ranges)
		}
	}
	full.Del(7)
	if full.Has(7) || full.Len() != Slots-1 {
		t.Error("slot 7 stayed")
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "-", "1-", "-1", "5-4", "16384", "1-16384", "a", "1-2-3"} {
		if r, ok := ParseRange(bad); ok {
			t.Errorf("range %q gives %v", bad, r)
		}
	}
	if got, ok := ParseNodeID(string(id("e"))); !ok || got != id("e") {
		t.Error("a good ID is refused")
	}
	for _, bad := range []string{"", "e", strings.Repeat("E", 40), strings.Repeat("g", 40), strings.Repeat("e", 41)} {
		if _, ok := ParseNodeID(bad); ok {
			t.Errorf("ID %q is accepted", bad)
		}
	}
	if fresh := NewNodeID(); fresh == NewNodeID() {
		t.Error("two new IDs are equal")
	}
}

func TestClaimEncoding(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(5, 6))
	var every2nd Set
	for s := uint16(0); s < Slots; s += 2 {
		every2nd.Add(s)
	}
	for _, s := range []*Set{new(Set), &every2nd, SetOf([]Range{{0, Slots - 1}}), randomSet(rng)} {
		want := Claim{NewNodeID(), rng.Uint64(), s.Ranges()}
		b := AppendClaim(nil, want)
		got, rest, err := DecodeClaim(append(b, "rest"...))
		if err != nil || string(rest) != "rest" || got.Node != want.Node || got.Epoch != want.Epoch || *SetOf(got.Slots) != *s {
			t.Errorf("%v %q: %v", err, rest, got.Slots)
		}
		for i := range b {
			if _, _, err := DecodeClaim(b[:i]); err == nil {
				t.Fatalf("%d of %d bytes decode", i, len(b))
			}
		}
	}
}

func FuzzDecodeClaim(f *testing.F) {
	f.Add(AppendClaim(nil, Claim{id("a"), 7, []Range{{0, 5460}, {6000, 6000}}}))
	f.Add(AppendClaim(nil, Claim{Slots: []Range{{0, Slots - 1}}}))
	f.Add(append(make([]byte, NodeIDBytes), 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, rest, err := DecodeClaim(b)
		if err != nil {
			return
		}
		if again := AppendClaim(nil, c); !bytes.Equal(again, b[:len(b)-len(rest)]) {
			t.Fatalf("%x encodes again as %x", b, again)
		}
		Fold(c)
	})
}
