package cluster

import "testing"

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
