package cluster

import (
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cairndb/cairn/cluster/slotmap"
	"github.com/cairndb/cairn/tools/poll"
)

const short = time.Second // node timeout in tests

func TestForm(t *testing.T) {
	t.Parallel()
	members, _ := form(t, 3, short)
	for slot, want := range map[uint16]int{0: 0, 5460: 0, 5462: 1, 16383: 2} {
		for _, m := range members {
			v := m.View()
			if got := v.Owner(slot); got == nil || got.ID != members[want].id() {
				t.Errorf("slot %d belongs to %v", slot, got)
			}
			if v.Owns(slot) != (m == members[want]) {
				t.Errorf("slot %d: Owns says %v", slot, v.Owns(slot))
			}
		}
	}
}

func TestSixNodesLoseTwo(t *testing.T) {
	t.Parallel()
	members, w := form(t, 6, 2*short)
	lost, rest := members[:2], members[2:]
	w.split(1, lost...)
	took := poll.Within(t, "the majority agrees that both have failed", 40*time.Second, everyone(rest, func(m *member) bool {
		return m.failed(lost[0].id()) && m.failed(lost[1].id()) && !m.View().Up()
	}))
	t.Logf("four of six agree on two failures after %v", took)
	poll.Within(t, "the minority goes down without calling anyone failed", 40*time.Second, everyone(lost, func(m *member) bool {
		n := m.sees(rest[0].id())
		return !m.View().Up() && n.Suspected && !n.Fail
	}))
	if n, ok := rest[0].FailureReports(string(lost[0].id())); !ok || n < 2 {
		t.Errorf("%d failure reports", n)
	}
	w.heal()
	t.Logf("healed after %v", settled(t, members))
}

func TestKillAndRestart(t *testing.T) {
	t.Parallel()
	members, _ := form(t, 3, short)
	before, epoch := members[1].signature(), members[2].View().Self().Epoch
	victim := members[2].id()
	members[2].stop()
	took := poll.Within(t, "the failure is agreed on", 40*time.Second, everyone(members[:2], func(m *member) bool {
		return m.failed(victim) && !m.View().Up()
	}))
	t.Logf("failure agreed on after %v with a node timeout of %v", took, short)
	members[2].o.BusPort = 0
	members[2].o.Port = members[2].BusPort() - busOffset // the same bus port as before
	members[2].start()
	t.Logf("back after %v", settled(t, members))
	if members[2].id() != victim || members[2].View().Self().Epoch != epoch || members[0].signature() != before {
		t.Errorf("changed by the restart:\n%s\n%s", before, members[0].signature())
	}
}

// A node may come back at another address; the others know it by its ID.
func TestAddressChange(t *testing.T) {
	t.Parallel()
	members, _ := form(t, 3, short)
	for _, m := range members[1:] { // two of three at once: only the first address is still right
		m.stop()
		m.o.Bind = []string{"127.0.0.2"}
		m.o.Port = 7777
		m.start()
	}
	settled(t, members)
	for _, m := range members {
		n := m.sees(members[2].id())
		if n.IP != "127.0.0.2" || n.Port != 7777 || n.Endpoint() != "127.0.0.2:7777" {
			t.Errorf("known as %s:%d", n.IP, n.Port)
		}
	}
}

// All nodes come back at other ports, one after the other: nobody knows where anybody is.
func TestAllAddressesChange(t *testing.T) {
	t.Parallel()
	members, _ := form(t, 3, short)
	was := map[int]bool{}
	for _, m := range members {
		was[m.BusPort()] = true
		m.stop()
	}
	slices.Reverse(members)
	for _, m := range members {
		m.o.BusPort = freePort(t)
		m.start()
	}
	settled(t, members)
	for port := range was {
		poll.Until(t, "the former ports are left", func() bool {
			l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
			if err == nil {
				_ = l.Close()
			}
			return err == nil
		})
	}
}

func TestAllRestart(t *testing.T) {
	t.Parallel()
	members, _ := form(t, 3, short)
	before := members[0].View()
	for _, m := range members {
		m.stop()
	}
	for i, m := range members {
		m.o.BusPort, m.o.Port = 0, m.BusPort()-busOffset
		m.start()
		if i == 0 && m.View().Up() {
			t.Error("a lone node of three says it is up")
		}
	}
	settled(t, members)
	for _, n := range before.Nodes() {
		now := members[1].View().Node(n.ID)
		if now == nil || now.Epoch != n.Epoch || now.ShardID != n.ShardID {
			t.Errorf("%v has become %v", n, now)
		}
	}
}

func TestForget(t *testing.T) {
	t.Parallel()
	members, _ := form(t, 3, short)
	gone, rest := members[2], members[:2]
	if err := gone.DelSlots(slotmap.SetOf(gone.View().Self().Slots), false); err != nil {
		t.Fatal(err)
	}
	for _, m := range rest {
		for range 2 { // again is no error while the ban lasts
			if err := m.Forget(string(gone.id())); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.Forget(string(m.id())); err == nil || err.Error() != "I tried hard but I can't forget myself..." {
			t.Error(err)
		}
		if err := m.Forget(strings.Repeat("0", 40)); err == nil || err.Error() != "Unknown node "+strings.Repeat("0", 40) {
			t.Error(err)
		}
	}
	// The forgotten node still knows the others and goes on speaking to them.
	deadline := time.Now().Add(time.Second)
	poll.Within(t, "time passes", 2*time.Second, func() bool { return time.Now().After(deadline) })
	for _, m := range rest {
		if m.sees(gone.id()) != nil {
			t.Error("the forgotten node is back")
		}
	}
	gone.Meet("127.0.0.1", 7000, rest[0].BusPort())
	poll.Within(t, "a meeting ends the ban", 20*time.Second, func() bool { return rest[0].sees(gone.id()) != nil })
}

func TestReset(t *testing.T) {
	t.Parallel()
	members, _ := form(t, 3, short)
	m := members[0]
	id, epoch := m.id(), m.View().Self().Epoch
	if err := m.Reset(false); err != nil {
		t.Fatal(err)
	}
	if v := m.View(); v.Self().ID != id || len(v.Nodes()) != 1 || v.Assigned() != 0 || v.Up() || v.Self().Epoch != epoch {
		t.Errorf("after a soft reset: %v", v.Self())
	}
	poll.Within(t, "the others see its slots go", 40*time.Second, everyone(members[1:], func(m *member) bool {
		return m.View().Owner(0) == nil && !m.View().Up()
	}))
	if err := m.Reset(true); err != nil {
		t.Fatal(err)
	}
	if v := m.View(); v.Self().ID == id || v.Self().Epoch != 0 || v.CurrentEpoch() != 0 {
		t.Errorf("after a hard reset: %v", v.Self())
	}
	for _, other := range members[1:] {
		if err := other.Forget(string(id)); err != nil {
			t.Fatal(err)
		}
	}
	m.Meet("127.0.0.1", 7000, members[1].BusPort())
	poll.Within(t, "they know each other", 20*time.Second, func() bool { return len(m.Nodes()) == 3 })
	if err := m.AddSlots(set(0, 5460)); err != nil {
		t.Fatal(err)
	}
	settled(t, members)
}

// A stranger at the address of a node that is gone is not taken for it, and learns nothing.
func TestReusedAddress(t *testing.T) {
	t.Parallel()
	members, _ := form(t, 3, short)
	old := members[2]
	id, port := old.id(), old.BusPort()
	old.stop()
	o := options(t, short)
	o.BusPort = port
	stranger := start(t, o)
	other := start(t, options(t, short)) // the stranger has a cluster of its own
	stranger.Meet("127.0.0.1", 7000, other.BusPort())
	poll.Within(t, "the strangers meet", 20*time.Second, func() bool { return len(other.Nodes()) == 2 })
	poll.Within(t, "the old node has failed", 40*time.Second, func() bool { return members[0].failed(id) })
	for _, m := range members[:2] {
		if len(m.Nodes()) != 3 || m.sees(stranger.id()) != nil {
			t.Error("the clusters have merged")
		}
	}
	if len(stranger.Nodes()) != 2 || len(other.Nodes()) != 2 {
		t.Error("the stranger has learned of the cluster")
	}
	old.o = options(t, short)
	old.o.ConfigFile = members[2].o.ConfigFile
	old.start()
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	var members []*member
	for _, secret := range []string{"quarry", "quarry", "gravel", ""} {
		o := options(t, short)
		o.Secret = secret
		members = append(members, start(t, o))
	}
	for _, m := range members[1:] {
		m.Meet("127.0.0.1", 7000, members[0].BusPort())
	}
	poll.Within(t, "those with the same secret meet", 20*time.Second, func() bool {
		return members[0].reaches(2) && members[1].reaches(2)
	})
	for _, m := range members[2:] {
		if len(m.Nodes()) != 1 {
			t.Error("met without the secret")
		}
	}
	if len(members[0].Nodes()) != 2 {
		t.Error("a node without the secret was met")
	}
	o := options(t, short)
	o.Bind = nil
	if _, err := Start(o); err == nil || !strings.Contains(err.Error(), "cluster-bus-secret") {
		t.Errorf("open to the world without a secret: %v", err)
	}
}

// Two lone nodes have the same epoch, 0, until they meet.
func TestEpochCollision(t *testing.T) {
	t.Parallel()
	var members []*member
	for range 3 {
		members = append(members, start(t, options(t, short)))
	}
	for _, m := range members[1:] {
		m.Meet("127.0.0.1", 7000, members[0].BusPort())
	}
	poll.Within(t, "all epochs differ", 30*time.Second, func() bool {
		seen := make(map[uint64]bool)
		for _, n := range members[0].Nodes() {
			seen[n.Epoch] = true
		}
		return len(seen) == 3 && members[0].signature() == members[1].signature()
	})
}

// holds is a node with so many keys in each slot.
func holds(keys int64) func(func(int64) error) error {
	return func(fn func(int64) error) error { return fn(keys) }
}

// What redis-cli --cluster fix sends to give an open slot to a node, and what reshard sends.
func TestSlotMoves(t *testing.T) {
	t.Parallel()
	members, _ := form(t, 3, short)
	a, b, c := members[0], members[1], members[2]
	must := func(errs ...error) {
		t.Helper()
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	must(b.Import(7, string(a.id())), a.Migrate(7, string(b.id())))
	if !b.View().Importing(7) || a.View().Migrating(7).ID != b.id() || len(a.Marks()) != 1 {
		t.Error("the marks do not show")
	}
	if err := a.Assign(7, string(b.id()), holds(1)); err == nil || !strings.HasPrefix(err.Error(), "Can't assign hashslot 7") {
		t.Errorf("given away with keys: %v", err)
	}
	must(b.Assign(7, string(b.id()), holds(0)), a.Assign(7, string(b.id()), holds(0)), c.Assign(7, string(b.id()), holds(0)))
	if a.View().Owner(7).ID != b.id() || c.View().Owner(7).ID != b.id() || a.View().Migrating(7) != nil {
		t.Error("not given at once")
	}
	settled(t, members)
	poll.Within(t, "c hears of b's new epoch", 20*time.Second, func() bool { return c.View().CurrentEpoch() == 4 })

	// fix: c takes slot 8 from a, which does not know.
	must(c.DelSlots(set(8, 8), true), c.AddSlots(set(8, 8)), c.Stable(8))
	if !c.View().Owns(8) {
		t.Error("not taken at once")
	}
	_, bumped, err := c.Bump()
	must(err)
	if !bumped {
		t.Error("the greatest epoch was another's")
	}
	poll.Within(t, "slot 8 is taken", 40*time.Second, everyone(members, func(m *member) bool {
		o := m.View().Owner(8)
		return o != nil && o.ID == c.id()
	}))
	settled(t, members)

	// Given up by its owner only: free everywhere.
	must(a.DelSlots(set(9, 9), false))
	poll.Within(t, "slot 9 is free", 40*time.Second, everyone(members, func(m *member) bool {
		return m.View().Owner(9) == nil && !m.View().Up()
	}))
	must(b.AddSlots(set(9, 9)))
	settled(t, members)
}

// A setting changes while the node runs.
func TestConfigure(t *testing.T) {
	t.Parallel()
	members, _ := form(t, 3, 20*time.Second)
	s := members[0].o.Settings
	s.NodeTimeout, s.AnnounceHostname, s.Endpoint, s.AllowReadsWhenDown = short, "cairn.example", EndpointHostname, true
	for _, m := range members {
		if err := m.Configure(s); err != nil {
			t.Fatal(err)
		}
	}
	poll.Within(t, "the host name is known", 20*time.Second, func() bool {
		return members[1].View().Owner(0).Endpoint() == "cairn.example:7000"
	})
	settled(t, members)
	members[2].stop()
	poll.Within(t, "the new timeout counts", 30*time.Second, func() bool {
		return members[0].failed(members[2].id()) && !members[0].View().Up()
	})
	if v := members[0].View(); !v.ReadsWhenDown() {
		t.Error("reads are refused")
	}
	s.RequireFullCoverage = false
	if err := members[0].Configure(s); err != nil {
		t.Fatal(err)
	}
	poll.Within(t, "up without full coverage", 20*time.Second, members[0].View().Up)
	members[2].start()
}

// Two processes must not share a nodes.conf that one of them cannot read.
func TestBadFile(t *testing.T) {
	t.Parallel()
	o := options(t, short)
	for text, want := range map[string]string{
		"nonsense\n": "line 1",
		"0123456789012345678901234567890123456789 :1@2 master - 0 0 0 connected 5-4\n":         "line 1",
		"0123456789012345678901234567890123456789 :1@2 master - 0 0 0 connected 5\nvars x 1\n": "myself",
	} {
		if err := os.WriteFile(o.ConfigFile, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if c, err := Start(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
			if c != nil {
				_ = c.Close()
			}
		}
	}
}
