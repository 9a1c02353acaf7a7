package types

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
)

// streamTest is a stream under a clock that its steps set.
type streamTest struct {
	testing.TB
	t  *engine.Txn
	k  engine.Key
	s  Stream
	ms int64
}

func newStreamTest(t testing.TB, p engine.Packing) *streamTest {
	store := openStore(t)
	store.SetPacking(p)
	return &streamTest{TB: t, t: store.NewTxn(), k: key("s"), ms: 1000}
}

// begin opens the stream in a new transaction, end commits what changed and checks all that is stored.
func (h *streamTest) begin() {
	h.t.Lock([]uint16{h.k.Slot}, true)
	h.t.SetNow(h.ms)
	h.open()
}

func (h *streamTest) open() {
	var err error
	h.s, err = OpenStream(h.t, h.k)
	h.must(err)
}

func (h *streamTest) end() {
	h.Helper()
	h.verify()
	h.t.EndCommand()
	h.must(h.t.Commit())
}

func (h *streamTest) must(err error) {
	h.Helper()
	if err != nil {
		h.t.Discard()
		h.Fatal(err)
	}
}

// verify checks what is stored as engine.Check does.
func (h *streamTest) verify() {
	h.Helper()
	rec, found, err := h.t.Get(h.k)
	h.must(err)
	if !found {
		return
	}
	v, err := verifyStream(rec)
	h.must(err)
	size := uint64(0)
	h.must(h.t.WalkSub(h.k.Slot, rec.ID, engine.SubRange{}, false, func(sub, value []byte) bool {
		size += keys.SubBytes(sub, value)
		err = v.Sub(sub, value)
		return err == nil
	}))
	h.must(err)
	h.must(v.End())
	if size != rec.Bytes {
		h.must(fmt.Errorf("the sub-keys take %d bytes, the record says %d", size, rec.Bytes))
	}
}

func (h *streamTest) id(text string) StreamID {
	h.Helper()
	ms, seq, _ := strings.Cut(text, "-")
	a, err := strconv.ParseUint(ms, 10, 64)
	h.must(err)
	b, err := strconv.ParseUint(seq, 10, 64)
	h.must(err)
	return StreamID{a, b}
}

func (h *streamTest) ids(texts []string) (ids []StreamID) {
	h.Helper()
	for _, text := range texts {
		ids = append(ids, h.id(text))
	}
	return ids
}

func (h *streamTest) group(name string) *Group {
	h.Helper()
	g, err := h.s.Group([]byte(name))
	h.must(err)
	return g
}

func (h *streamTest) consumer(g *Group, name string) *Consumer {
	h.Helper()
	c, _, err := g.CreateConsumer([]byte(name))
	h.must(err)
	return c
}

func (h *streamTest) add(id StreamID, fields ...string) {
	h.Helper()
	if !h.s.Exists() {
		h.must(h.s.Create(0))
	}
	var p [][]byte
	for _, f := range fields {
		p = append(p, []byte(f))
	}
	h.must(h.s.Add(id, p))
}

// TestStreamKeys runs testdata/stream: what operations leave in the store. Each test block is a transaction.
//
//	do      one operation a line
//	stored  the record and the sub-keys
func TestStreamKeys(t *testing.T) {
	t.Parallel()
	p := engine.DefaultPacking()
	p.StreamNodeEntries = 3
	h := newStreamTest(t, p)
	datadriven.RunTest(t, "testdata/stream", func(t *testing.T, d *datadriven.TestData) string {
		h.TB = t
		h.begin()
		defer h.end()
		if d.Cmd == "stored" {
			return h.stored()
		}
		var out strings.Builder
		for line := range strings.Lines(d.Input) {
			h.ms++
			h.t.SetNow(h.ms)
			out.WriteString(h.do(strings.Fields(line)) + "\n")
			h.verify()
			h.open()
		}
		return out.String()
	})
}

// do runs one operation.
func (h *streamTest) do(args []string) string {
	h.Helper()
	switch args[0] {
	case "add":
		h.add(h.id(args[1]), args[2:]...)
		h.must(h.s.Save())
		return h.s.TopID().String()
	case "del":
		n, err := h.s.Delete(h.ids(args[1:]))
		h.must(err)
		h.must(h.s.Save())
		return strconv.Itoa(n)
	case "maxlen", "minid":
		trim := Trim{ByID: args[0] == "minid", Approximate: len(args) > 2}
		if trim.ByID {
			trim.MinID = h.id(args[1])
		} else {
			trim.MaxLen, _ = strconv.ParseUint(args[1], 10, 64)
		}
		n, err := h.s.Trim(trim)
		h.must(err)
		h.must(h.s.Save())
		return strconv.FormatUint(n, 10)
	case "group":
		g, err := h.s.CreateGroup([]byte(args[1]), h.id(args[2]), UnknownRead)
		h.must(err)
		h.must(g.Save())
		return "ok"
	case "destroy":
		h.must(h.group(args[1]).Destroy())
		h.must(h.s.Save())
		return "ok"
	}
	return h.doGroup(args, h.group(args[1]))
}

// doGroup runs an operation on a group and, except for acknowledgements, one of its consumers.
func (h *streamTest) doGroup(args []string, g *Group) string {
	h.Helper()
	var out []string
	note := func(id StreamID) { out = append(out, id.String()) }
	switch args[0] {
	case "ack":
		n, err := g.Acknowledge(h.ids(args[2:]))
		h.must(err)
		out = append(out, strconv.Itoa(n))
	case "read":
		h.must(g.Deliver(h.consumer(g, args[2]), 2, false, func(id StreamID, _ Fields) { note(id) }))
	case "again":
		h.must(g.History(h.consumer(g, args[2]), StreamID{}, 0, func(id StreamID, _ Fields, ok bool) {
			note(id)
			out = append(out, strconv.FormatBool(ok))
		}))
	case "claim":
		_, ok, err := g.Claim(h.consumer(g, args[2]), h.id(args[3]), Claim{Delivered: h.ms, Count: -1, Force: true})
		h.must(err)
		out = append(out, strconv.FormatBool(ok))
	case "remove":
		h.must(g.DeleteConsumer(h.consumer(g, args[2])))
	default:
		h.Fatalf("unknown operation %q", args)
	}
	h.must(g.Save())
	return strings.Join(out, " ")
}

func (h *streamTest) stored() string {
	var out strings.Builder
	rec, _, err := h.t.Get(h.k)
	h.must(err)
	fmt.Fprintf(&out, "count %d, bytes %d\nstate %x\n", rec.Count, rec.Bytes, rec.Value)
	h.must(h.t.WalkSub(h.k.Slot, rec.ID, engine.SubRange{}, false, func(sub, value []byte) bool {
		fmt.Fprintf(&out, "%s\n  %x\n", subText(sub), value)
		return true
	}))
	return out.String()
}

// subText shows a sub-key with ids and numbers in their own notation.
func subText(sub []byte) string {
	text := fmt.Sprintf("%c ", sub[0])
	rest := sub[1:]
	if sub[0] == streamGroups {
		return text + fmt.Sprintf("%q", rest)
	}
	if sub[0] == streamMembers {
		n, more, _ := takeNumber(rest)
		text += fmt.Sprintf("%d %c ", n, more[0])
		rest = more[1:]
		switch more[0] {
		case groupNames:
			return text + fmt.Sprintf("%q", rest)
		case groupConsumers, groupOwned:
			n, rest, _ = takeNumber(rest)
			text += fmt.Sprintf("%d ", n)
		}
	}
	if id, ok := keyID(rest); ok {
		text += id.String()
	}
	return strings.TrimSpace(text)
}

// TestStreamAgainstModel trims, deletes and reads at random, with so many entries that ranges of keys are deleted, too, and compares what is left with a slice of
// ids; verify compares everything else.
func TestStreamAgainstModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			p := engine.DefaultPacking()
			p.StreamNodeEntries = []int{1, 7, 100}[seed]
			m := &streamModel{streamTest: newStreamTest(t, p), rng: rand.New(rand.NewPCG(seed, 1))}
			for range 90 {
				m.begin()
				m.step()
				if mark, ids := m.t.Mark(), slices.Clone(m.ids); m.rng.IntN(5) == 0 {
					m.step()
					m.t.Rollback(mark)
					m.ids = ids
				}
				m.compare()
				m.end()
			}
		})
	}
}

type streamModel struct {
	*streamTest
	rng *rand.Rand
	ids []StreamID
}

func (m *streamModel) step() {
	m.ms += int64(m.rng.IntN(10))
	switch m.rng.IntN(10) {
	case 0, 1, 2:
		if len(m.ids) == 0 && m.s.Exists() {
			m.s.SetIDs(StreamID{}, StreamID{}, 0)
		}
		for range 1 + m.rng.IntN([]int{5, 50, 1500}[m.rng.IntN(3)]) {
			last := m.s.LastID()
			id := StreamID{last.Ms + uint64(m.rng.IntN(2)), last.Seq + 1}
			m.add(id, "field", strings.Repeat("v", m.rng.IntN(40)))
			m.ids = append(m.ids, id)
		}
	case 3:
		m.delete()
	case 4, 5:
		m.trim()
	default:
		m.groups()
	}
	if m.s.Exists() {
		m.must(m.s.Save())
	}
}

// delete deletes entries at random, or a run at an end.
func (m *streamModel) delete() {
	n := min(m.rng.IntN(40), len(m.ids))
	var gone []StreamID
	switch m.rng.IntN(3) {
	case 0:
		gone = slices.Clone(m.ids[:n])
	case 1:
		gone = slices.Clone(m.ids[len(m.ids)-n:])
	default:
		for range n {
			gone = append(gone, m.ids[m.rng.IntN(len(m.ids))])
		}
	}
	before := len(m.ids)
	m.ids = slices.DeleteFunc(m.ids, func(id StreamID) bool { return slices.Contains(gone, id) })
	if n, err := m.s.Delete(gone); err != nil || n != before-len(m.ids) {
		m.Fatalf("deleted %d, %v; want %d", n, err, before-len(m.ids))
	}
}

func (m *streamModel) trim() {
	keep := m.rng.IntN(len(m.ids) + 1)
	trim := Trim{MaxLen: uint64(keep), Approximate: m.rng.IntN(2) == 0}
	if keep < len(m.ids) && m.rng.IntN(2) == 0 {
		trim.ByID, trim.MinID = true, m.ids[len(m.ids)-1-keep]
		keep++
	}
	n, err := m.s.Trim(trim)
	m.must(err)
	most := len(m.ids) - keep
	if int(n) > most || !trim.Approximate && int(n) != most || trim.Approximate && int(n) < most-100 {
		m.Fatalf("%+v: deleted %d of %d", trim, n, len(m.ids))
	}
	m.ids = m.ids[n:]
}

// groups reads, claims, acknowledges and deletes in one of two groups.
func (m *streamModel) groups() {
	if !m.s.Exists() {
		return
	}
	name := []string{"a", "b"}[m.rng.IntN(2)]
	g := m.group(name)
	if g == nil {
		var err error
		g, err = m.s.CreateGroup([]byte(name), StreamID{}, 0)
		m.must(err)
	}
	c := m.consumer(g, strconv.Itoa(m.rng.IntN(5)))
	switch m.rng.IntN(16) {
	case 0:
		m.must(g.DeleteConsumer(c))
	case 1:
		m.must(g.Save())
		m.must(g.Destroy())
		return
	case 2:
		g.LastID = StreamID{}
	case 3, 4, 5, 9, 10, 11, 12:
		m.deliver(g, c)
	case 6:
		m.must(g.History(c, StreamID{}, uint64(m.rng.IntN(50)), func(StreamID, Fields, bool) {}))
	case 7:
		_, _, err := g.AutoClaim(c, StreamID{}, 300, 100, Claim{Count: -1, MinIdle: int64(m.rng.IntN(5))}, func(StreamID, Fields) {})
		m.must(err)
	case 8:
		for range min(10, len(m.ids)) {
			_, _, err := g.Claim(c, m.ids[m.rng.IntN(len(m.ids))], Claim{Count: 1, Force: true})
			m.must(err)
		}
	default:
		m.acknowledge(g)
	}
	m.must(g.Save())
}

// deliver reads what is new for a group, at once or little by little: the entries behind the last one, whole.
func (m *streamModel) deliver(g *Group, c *Consumer) {
	count, times := m.rng.IntN(1000), 1
	if m.rng.IntN(3) > 0 {
		count, times = 1+m.rng.IntN(9), m.rng.IntN(60)
	}
	type entry struct {
		id     StreamID
		fields string
	}
	text := func(f Fields) (s string) {
		f.Each(func(p []byte) { s += string(p) + "," })
		return s
	}
	for range times {
		if m.rng.IntN(4) == 0 {
			m.disturb(g)
		}
		want := m.ids[sort.Search(len(m.ids), func(i int) bool { return m.ids[i].Compare(g.LastID) > 0 }):]
		if count > 0 {
			want = want[:min(len(want), count)]
		}
		var got []entry
		m.must(g.Deliver(c, uint64(count), false, func(id StreamID, f Fields) { got = append(got, entry{id, text(f)}) }))
		if !slices.EqualFunc(got, want, func(e entry, id StreamID) bool { return e.id == id }) {
			m.must(fmt.Errorf("delivered %v, want %v", got, want))
		}
		for _, e := range got {
			if f, ok, err := m.s.Entry(e.id); !ok || err != nil || text(f) != e.fields {
				m.must(fmt.Errorf("delivered %v, stored %v, %v", e, f, err))
			}
		}
	}
}

// disturb deletes an entry that the group is given soon, or adds one.
func (m *streamModel) disturb(g *Group) {
	if m.rng.IntN(2) == 0 {
		id := StreamID{m.s.LastID().Ms + 1, 0}
		m.add(id, "field", "new")
		m.ids = append(m.ids, id)
		return
	}
	at := sort.Search(len(m.ids), func(i int) bool { return m.ids[i].Compare(g.LastID) > 0 }) + m.rng.IntN(30) - 5
	if at < 0 || at >= len(m.ids) {
		return
	}
	if n, err := m.s.Delete(m.ids[at : at+1]); n != 1 || err != nil {
		m.must(fmt.Errorf("deleted %d, %v", n, err))
	}
	m.ids = slices.Delete(m.ids, at, at+1)
}

// acknowledge takes many pending entries from the front, or from anywhere.
func (m *streamModel) acknowledge(g *Group) {
	var ids []StreamID
	limit, share := m.rng.IntN(400), 1+m.rng.IntN(3)
	m.must(g.EachPending(nil, StreamID{}, MaxStreamID, m.rng.IntN(2) == 0, func(p PendingEntry, _ *Consumer) bool {
		if m.rng.IntN(share) == 0 {
			ids = append(ids, p.ID)
		}
		return len(ids) < limit
	}))
	if n, err := g.Acknowledge(ids); err != nil || n != len(ids) {
		m.Fatalf("acknowledged %d of %d: %v", n, len(ids), err)
	}
}

func (m *streamModel) compare() {
	m.open()
	var got []StreamID
	m.must(m.s.Range(StreamID{}, MaxStreamID, false, func(id StreamID, _ Fields) bool {
		got = append(got, id)
		return true
	}))
	if !slices.Equal(got, m.ids) {
		m.Fatalf("%d entries, want %d", len(got), len(m.ids))
	}
	got = got[:0]
	m.must(m.s.Range(StreamID{}, MaxStreamID, true, func(id StreamID, _ Fields) bool {
		got = append(got, id)
		return len(got) < 20
	}))
	slices.Reverse(got)
	if !slices.Equal(got, m.ids[max(0, len(m.ids)-20):]) {
		m.Fatalf("the last entries are %v", got)
	}
}

// TestStreamForgetsRanges: an id that was deleted by a range of keys is gone, also where XSETID has gone back before it.
func TestStreamForgetsRanges(t *testing.T) {
	t.Parallel()
	h := newStreamTest(t, engine.DefaultPacking())
	h.begin()
	for i := range 2 * rangeWorth {
		h.add(StreamID{Ms: uint64(i + 1)}, "f", "v")
	}
	h.must(h.s.Save())
	h.end()
	h.begin()
	defer h.end()
	if n, err := h.s.Trim(Trim{}); err != nil || n != 2*rangeWorth {
		t.Fatal(n, err)
	}
	h.s.SetIDs(StreamID{}, StreamID{}, 0)
	h.add(StreamID{Ms: 1}, "f", "v")
	h.add(StreamID{Ms: 2 * rangeWorth}, "f", "v")
	h.must(h.s.Save())
	if _, ok, err := h.s.Entry(StreamID{Ms: 5}); ok || err != nil {
		t.Errorf("an entry that was trimmed is found again: %v", err)
	}
	if _, ok, err := h.s.Entry(StreamID{Ms: 1}); !ok || err != nil {
		t.Errorf("an entry that was added is not found: %v", err)
	}
}

// TestStreamVerifierMissesNothing: without any one of its sub-keys a stream is found damaged.
func TestStreamVerifierMissesNothing(t *testing.T) {
	t.Parallel()
	p := engine.DefaultPacking()
	p.StreamNodeEntries = 2
	h := newStreamTest(t, p)
	h.begin()
	defer h.end()
	for i := range 9 {
		h.add(StreamID{Ms: uint64(i + 1)}, "f", "v")
	}
	h.must(h.s.Save())
	for _, line := range []string{"group a 0-0", "group b 0-0", "read a one", "read a two", "read b one"} {
		h.do(strings.Fields(line))
		h.open()
	}
	type pair struct{ sub, value []byte }
	var all []pair
	h.must(h.s.walk(engine.SubRange{}, false, func(sub, value []byte) bool {
		all = append(all, pair{bytes.Clone(sub), bytes.Clone(value)})
		return true
	}))
	for missing := range all {
		v, err := verifyStream(h.s.rec)
		for i := 0; i < len(all) && err == nil; i++ {
			if i != missing {
				err = v.Sub(all[i].sub, all[i].value)
			}
		}
		if err == nil {
			err = v.End()
		}
		if err == nil {
			t.Errorf("%s is missed by nobody", subText(all[missing].sub))
		}
	}
}

// FuzzStream decodes damaged values of every kind: what decodes encodes to what it means, and nothing panics.
func FuzzStream(f *testing.F) {
	s := streamState{last: StreamID{5, 6}, added: 7, nodes: 2}
	f.Add(s.append(nil))
	f.Add(appendFields(nil, [][]byte{[]byte("f"), []byte("v")}))
	g := Group{id: 3, pending: 1, Read: -1}
	f.Add(g.append(nil))
	c := Consumer{Name: []byte("c"), pending: 2}
	f.Add(c.append(nil))
	p := PendingEntry{Delivered: 5, Count: 6, consumer: 7}
	f.Add(p.append(nil))
	f.Fuzz(func(t *testing.T, value []byte) {
		var s, s2 streamState
		if s.decode(value) == nil && (s2.decode(s.append(nil)) != nil || s != s2) {
			t.Errorf("%x: %+v, then %+v", value, s, s2)
		}
		if n, err := decodeNode(StreamID{}, value); err == nil {
			if again, err := decodeNode(StreamID{}, n.append(nil)); err != nil || again != n {
				t.Errorf("%x: %+v, then %+v, %v", value, n, again, err)
			}
		}
		if fields, err := decodeFields(value); err == nil {
			var all [][]byte
			fields.Each(func(p []byte) { all = append(all, p) })
			if again, err := decodeFields(appendFields(nil, all)); err != nil || again.Len() != fields.Len() {
				t.Errorf("%x: %d fields, then %d, %v", value, fields.Len(), again.Len(), err)
			}
		}
		if p, err := decodePending(StreamID{}, value); err == nil {
			if again, err := decodePending(StreamID{}, p.append(nil)); err != nil || again.Delivered != p.Delivered || again.Count != p.Count {
				t.Errorf("%x: %+v, then %+v, %v", value, p, again, err)
			}
		}
		fuzzGroup(t, value)
	})
}

func fuzzGroup(t *testing.T, value []byte) {
	if g, err := (&Stream{}).decodeGroup(nil, value); err == nil {
		again, err := (&Stream{}).decodeGroup(nil, g.append(nil))
		if err != nil || again.LastID != g.LastID || again.Read != g.Read || again.span != g.span || again.pending != g.pending {
			t.Errorf("%x: %+v, then %+v, %v", value, g, again, err)
		}
	}
	if c, err := decodeConsumer(1, value); err == nil {
		again, err := decodeConsumer(1, c.append(nil))
		if err != nil || !bytes.Equal(again.Name, c.Name) || again.Seen != c.Seen || again.Active != c.Active || again.span != c.span {
			t.Errorf("%x: %+v, then %+v, %v", value, c, again, err)
		}
	}
	if n, rest, ok := takeNumber(value); ok {
		if again, more, ok := takeNumber(append(appendNumber(nil, n), rest...)); !ok || again != n || !bytes.Equal(rest, more) {
			t.Errorf("%x: %d, then %d", value, n, again)
		}
	}
}
