package cluster

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairndb/cairn/cluster/slotmap"
	"github.com/cairndb/cairn/tools/poll"
)

// logBuffer collects what a member logs.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.b.String(), text)
}

// copyOf makes options for a process with a copy of m's nodes.conf, at another port.
func copyOf(t *testing.T, m *member, change func(text string, self *Node) string) (Options, *logBuffer) {
	t.Helper()
	if err := m.Save(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(m.o.ConfigFile)
	if err != nil {
		t.Fatal(err)
	}
	o, log := options(t, short), new(logBuffer)
	o.ConfigFile = filepath.Join(t.TempDir(), "nodes.conf")
	o.Logger = slog.New(slog.NewTextHandler(log, nil))
	if err := os.WriteFile(o.ConfigFile, []byte(change(string(text), m.View().Self())), 0o644); err != nil {
		t.Fatal(err)
	}
	return o, log
}

// The original is found by its address in the copied nodes.conf, or, where that is lost, through the other nodes.
func TestCopiedFolder(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(text string, self *Node) string{
		"by nodes.conf": func(text string, _ *Node) string { return text },
		"by the others": func(text string, self *Node) string {
			return strings.Replace(text, string(self.ID)+" "+self.IP+":", string(self.ID)+" :", 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			loud := new(logBuffer)
			var members []*member
			for i := range 3 {
				o := options(t, short)
				if i == 0 {
					o.Logger = slog.New(slog.NewTextHandler(loud, nil))
				}
				members = append(members, start(t, o))
			}
			join(t, members)
			original := members[0]
			o, log := copyOf(t, original, change)
			twin := start(t, o)
			if twin.id() != original.id() {
				t.Fatal("the copy has another ID")
			}
			served := false
			poll.Within(t, "the copy withdraws", 20*time.Second, func() bool {
				served = served || twin.View().Up()
				return log.has("ANOTHER PROCESS RUNS WITH THIS NODE'S ID")
			})
			if served || twin.View().Up() || twin.View().ReadsWhenDown() {
				t.Error("the copy serves")
			}
			poll.Within(t, "the original says so", 20*time.Second, func() bool { return loud.has("goes on") })
			settled(t, members)
			for _, m := range members {
				if n := m.sees(original.id()); n.BusPort != original.BusPort() {
					t.Errorf("known at port %d", n.BusPort)
				}
			}
			// A new identity makes a node of it.
			if err := twin.Reset(true); err != nil {
				t.Fatal(err)
			}
			twin.Meet("127.0.0.1", 7000, original.BusPort())
			poll.Within(t, "the copy is a node of its own", 20*time.Second, func() bool {
				return len(original.Nodes()) == 4 && twin.reaches(4)
			})
		})
	}
}

// The rules, without a network.
func TestWonder(t *testing.T) {
	t.Parallel()
	self := record{ID: slotmap.NewNodeID(), Version: 10, Nonce: 1}
	past := record{ID: self.ID, Version: 5, Nonce: 2, IP: "127.0.0.1", BusPort: 17000}
	alive := past
	alive.Version = 20
	nowhere := past
	nowhere.IP = ""
	for name, c := range map[string]struct {
		cleared *record
		heard   record
		doubt   bool
	}{
		"its own":                  {nil, record{ID: self.ID, Nonce: 1, IP: "127.0.0.1", BusPort: 17000}, false},
		"another process":          {nil, past, true},
		"an address is missing":    {nil, nowhere, false},
		"one that is gone":         {&past, past, false},
		"one that goes on writing": {&past, alive, true},
	} {
		tb := newTable(self, Settings{NodeTimeout: short}, 1000)
		if c.cleared != nil {
			tb.wonder(c.cleared)
			tb.clear(c.cleared)
		}
		tb.reclaim(&c.heard)
		if got := tb.twins.doubt != nil; got != c.doubt {
			t.Errorf("%s: %v", name, got)
		}
		if tb.unsure(1000) != c.doubt || tb.unsure(1000+startDelay) {
			t.Errorf("%s: unsure", name)
		}
	}
}

// A node whose process is gone is suspected at once, and has failed after the node timeout.
func TestRefused(t *testing.T) {
	t.Parallel()
	members, _ := form(t, 3, 4*short)
	id := members[2].id()
	poll.Within(t, "all are watched", 10*time.Second, func() bool {
		members[0].mu.Lock()
		defer members[0].mu.Unlock()
		return len(members[0].mu.watches) == 2
	})
	members[2].stop()
	took := poll.Within(t, "it is suspected", 2*time.Second, func() bool { return members[0].sees(id).Suspected })
	if n := members[0].sees(id); n.Fail || n.Connected || !members[0].View().Up() {
		t.Errorf("after %v: %v", took, n)
	}
	took += poll.Within(t, "it has failed", 20*time.Second, func() bool { return members[0].failed(id) })
	if took < 4*short-200*time.Millisecond || took > 5*short {
		t.Errorf("failed after %v", took)
	}
}
