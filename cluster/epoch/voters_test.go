package epoch

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cairndb/cairn/cluster/slotmap"
)

// TestPlanVoters describes a node as id/host/shard, with ! for dead long, ? for dead shortly.
func TestPlanVoters(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, nodes, current, want string }{
		{"one node", "a0/h/0", "a0", ""},
		{"two nodes: a second voter would only be one more to lose", "a0/h/0 a1/h/1", "a0", ""},
		{"three", "a0/h/0 a1/h/1 a2/h/2", "a0", "+a1 +a2"},
		{"six of three shards on one host", "a0/h/0 a1/h/1 a2/h/2 a3/h/0 a4/h/1 a5/h/2", "a0", "+a1 +a2 +a3 +a4"},
		{"hosts before shards", "a0/g/0 a1/g/1 a2/g/2 a3/h/0 a4/i/0", "a0 a1 a2", "+a3 +a4"},
		{"hosts before those that are voters", "a0/g/0 a1/g/1 a2/g/2 a3/g/3 a4/g/4 a5/h/5", "a0 a1 a2 a3 a4", "+a5 -a4"},
		{"nothing to do", "a0/h/0 a1/h/1 a2/h/2 a3/h/3 a4/h/4 a5/h/5", "a1 a2 a3 a4 a5", ""},
		{"forgotten", "a0/h/0 a1/h/1 a2/h/2 a3/h/3", "a0 a1 a9", "-a9 +a2"},
		{"dead shortly", "a0/h/0 a1/h/1 a2/h/2? a3/h/3", "a0 a1 a2", ""},
		{"dead long", "a0/h/0 a1/h/1 a2/h/2! a3/h/3", "a0 a1 a2", "-a2 +a3"},
		{"dead long, nobody to replace it", "a0/h/0 a1/h/1 a2/h/2!", "a0 a1 a2", ""},
		{"a dead node is not chosen", "a0/h/0 a1/h/1? a2/h/2 a3/h/3", "a0", "+a2 +a3"},
	} {
		v := &View{}
		for _, s := range strings.Fields(tc.nodes) {
			p := strings.Split(strings.TrimRight(s, "!?"), "/")
			n := Node{ID: storyNode(p[0]), Host: p[1], Shard: storyShard(p[2]), Alive: true}
			switch s[len(s)-1] {
			case '!':
				n.Alive, n.Dead = false, time.Hour
			case '?':
				n.Alive, n.Dead = false, time.Second
			}
			v.Nodes = append(v.Nodes, n)
		}
		var current []slotmap.NodeID
		for _, s := range strings.Fields(tc.current) {
			current = append(current, storyNode(s))
		}
		var got []string
		for _, c := range planVoters(v, current, time.Minute) {
			got = append(got, fmt.Sprintf("%s%s", map[bool]string{true: "+", false: "-"}[c.add], short(c.node)))
		}
		if s := strings.Join(got, " "); s != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, s, tc.want)
		}
	}
}
