package cluster

import (
	"bytes"
	"testing"
)

func TestMayHaveLost(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		before, now string
		want        bool
	}{
		{"a", "b", true},
		{"a", "a", false},
		{"a/always", "b", false},
		{"kept", "b", false},
		{"", "b", false}, // it ran with an earlier version
		{"a", "", false},
	} {
		if got := mayHaveLost(c.before, c.now); got != c.want {
			t.Errorf("%q %q: %v", c.before, c.now, got)
		}
	}
}

// TestConfKeepsVars: what stands in the last line of nodes.conf comes back.
func TestConfKeepsVars(t *testing.T) {
	t.Parallel()
	tab := covered(t)
	tab.promised, tab.follows, tab.boot, tab.dropped = 3, 2, "x/always", true
	tab.me().Lost = true
	s, err := parseConf(bytes.NewReader(tab.conf()))
	if err != nil {
		t.Fatal(err)
	}
	if s.promised != 3 || s.follows != 2 || s.boot != "x/always" || !s.dropped || !s.lost {
		t.Errorf("%+v", s)
	}
}

// TestForgottenNode: a node that the group has taken out asks for no place by itself, until it is met again.
func TestForgottenNode(t *testing.T) {
	t.Parallel()
	tab := formedTable(t)
	tab.dropped = true
	b := tab.peers[digitID("b")].record
	if tab.merge(&state{Sender: b.ID, Records: []record{b}}, false, 0); !tab.dropped {
		t.Error("gossip brings it back")
	}
	if tab.merge(&state{Sender: b.ID, Records: []record{b}}, true, 0); tab.dropped {
		t.Error("a meeting does not bring it back")
	}
}
