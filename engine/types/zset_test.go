package types

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/cairndb/cairn/engine"
)

// zsetModel is a sorted set as a map and a sorted slice.
type zsetModel struct {
	scores map[string]float64
	sorted []Scored
}

func (m *zsetModel) at(e Scored) (int, bool) {
	return slices.BinarySearchFunc(m.sorted, e, func(a, b Scored) int { return comparePlace(a, placeKey(b.Score, b.Member)[1:]) })
}

func (m *zsetModel) set(member string, score float64) {
	m.remove(member)
	e := Scored{[]byte(member), score}
	i, _ := m.at(e)
	m.sorted = slices.Insert(m.sorted, i, e)
	m.scores[member] = score
}

func (m *zsetModel) remove(member string) bool {
	score, found := m.scores[member]
	if found {
		i, _ := m.at(Scored{[]byte(member), score})
		m.sorted = slices.Delete(m.sorted, i, i+1)
		delete(m.scores, member)
	}
	return found
}

// rank is how many elements lie before a place; nil is one behind all.
func (m *zsetModel) rank(place []byte) int {
	if place == nil {
		return len(m.sorted)
	}
	i, _ := slices.BinarySearchFunc(m.sorted, place, comparePlace)
	return i
}

// zsetTest runs random operations on a set and the model.
type zsetTest struct {
	*testing.T
	rng   *rand.Rand
	tx    *engine.Txn
	k     engine.Key
	model zsetModel
	names int
}

func (t *zsetTest) fatal(err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (t *zsetTest) member() string {
	n := t.rng.IntN(t.names)
	if n%40 == 7 {
		return strings.Repeat("long", 20) + strconv.Itoa(n)
	}
	return strconv.Itoa(n)
}

func (t *zsetTest) score() float64 {
	switch t.rng.IntN(12) {
	case 0:
		return math.Copysign(0, -1)
	case 1:
		return math.Inf(1 - 2*t.rng.IntN(2))
	case 2, 3:
		return t.rng.NormFloat64()
	}
	return float64(t.rng.IntN(10) - 4)
}

func (t *zsetTest) open() ZSet {
	z, err := OpenZSet(t.tx, t.k)
	t.fatal(err)
	return z
}

func (t *zsetTest) step() {
	z := t.open()
	switch p := t.rng.IntN(100); {
	case p < 60:
		t.add(&z)
	case p < 75:
		for range 1 + t.rng.IntN(4) {
			m := t.member()
			found, err := z.Remove([]byte(m))
			if t.fatal(err); found != t.model.remove(m) {
				t.Fatalf("remove %s: %v", m, found)
			}
		}
		t.fatal(z.Save())
	case p < 88:
		t.pop(&z)
	case p < 91:
		t.removeSpan(&z)
	case p < 92:
		t.store()
	default:
		t.fatal(t.tx.Commit())
		t.tx.Lock([]uint16{t.k.Slot}, true)
	}
}

func (t *zsetTest) add(z *ZSet) {
	n := 1
	if t.rng.IntN(10) == 0 {
		n = 40
	}
	how := How(0)
	if t.rng.IntN(3) == 0 {
		how = []How{ZIfAbsent, ZIfPresent, ZIfGreater, ZIfLess, ZIncrement, ZIncrement | ZIfGreater, ZIfPresent | ZIfLess}[t.rng.IntN(7)]
	}
	if how&ZIfPresent == 0 || z.Exists() {
		t.fatal(z.Expect(n, []byte("x")))
	}
	for range n {
		m, score := t.member(), t.score()
		old, had := t.model.scores[m]
		got, err := z.Add([]byte(m), score, how)
		if had && how&ZIncrement != 0 {
			score += old
		}
		if errors.Is(err, ErrScoreNaN) && math.IsNaN(score) {
			continue
		}
		t.fatal(err)
		met := !(had && (how&ZIfAbsent != 0 || how&ZIfGreater != 0 && score <= old || how&ZIfLess != 0 && score >= old) || !had && how&ZIfPresent != 0)
		want := Added{Met: met, New: met && !had, Moved: met && had && score != old}
		if met {
			want.Score = score
		}
		if got != want {
			t.Fatalf("add %s %g (%g %v) how %d: %+v, want %+v", m, score, old, had, how, got, want)
		}
		if got.New || got.Moved {
			t.model.set(m, z.stored(score))
		}
	}
	t.fatal(z.Save())
}

func (t *zsetTest) pop(z *ZSet) {
	greatest, n := t.rng.IntN(2) == 0, 1
	if t.rng.IntN(6) == 0 {
		n = t.rng.IntN(60)
	}
	popped, err := z.Pop(greatest, int64(n))
	t.fatal(err)
	for i := range min(n, len(t.model.sorted)) {
		want := t.model.sorted[0]
		if greatest {
			want = t.model.sorted[len(t.model.sorted)-1]
		}
		if i >= len(popped) || !same(popped[i], want) {
			t.Fatalf("popped %v, want %v at %d", popped, want, i)
		}
		t.model.remove(string(want.Member))
	}
}

func same(a, b Scored) bool {
	return bytes.Equal(a.Member, b.Member) && math.Float64bits(a.Score) == math.Float64bits(b.Score)
}

// span draws a span and returns the ranks of its elements.
func (t *zsetTest) span(z *ZSet) (s Span, from, to int) {
	switch t.rng.IntN(3) {
	case 0:
		s = z.ByScore(ScoreRange{Min: t.score(), Max: t.score(), MinEx: t.rng.IntN(2) == 0, MaxEx: t.rng.IntN(2) == 0})
	case 1:
		bound := func() LexBound {
			return LexBound{Member: []byte(t.member()), Ex: t.rng.IntN(2) == 0, Infinite: t.rng.IntN(8)/6*2 - t.rng.IntN(8)/7}
		}
		var err error
		s, err = z.ByLex(LexRange{bound(), bound()})
		t.fatal(err)
		if z.Len() == 0 {
			return s, 0, 0
		}
	}
	from, to = 0, t.model.rank(s.to)
	if s.from != nil {
		from = t.model.rank(s.from)
	}
	return s, from, max(from, to)
}

func (t *zsetTest) removeSpan(z *ZSet) {
	s, from, to := t.span(z)
	skip, limit := int64(t.rng.IntN(4)), int64(t.rng.IntN(30))-1
	gone := slices.Clone(t.model.sorted[from:to])
	gone = gone[min(skip, int64(len(gone))):]
	if limit >= 0 {
		gone = gone[:min(limit, int64(len(gone)))]
	}
	n, err := z.RemoveSpan(s, skip, limit)
	if t.fatal(err); n != int64(len(gone)) {
		t.Fatalf("removed %d, want %d", n, len(gone))
	}
	for _, e := range gone {
		t.model.remove(string(e.Member))
	}
}

// store writes what is there once more, without some of it.
func (t *zsetTest) store() {
	for range t.rng.IntN(3) {
		t.model.remove(t.member())
	}
	t.fatal(StoreZSet(t.tx, t.k, slices.Clone(t.model.sorted)))
	if z := t.open(); z.Exists() && z.listpack() {
		for i := range t.model.sorted {
			e := &t.model.sorted[i]
			e.Score = z.stored(e.Score)
			t.model.scores[string(e.Member)] = e.Score
		}
	}
}

// look compares what can be read.
func (t *zsetTest) look() {
	z := t.open()
	if z.Len() != int64(len(t.model.sorted)) || z.Exists() != (len(t.model.sorted) > 0) {
		t.Fatalf("%d elements, want %d", z.Len(), len(t.model.sorted))
	}
	m := t.member()
	want, had := t.model.scores[m]
	score, found, err := z.Score([]byte(m))
	if t.fatal(err); found != had || math.Float64bits(score) != math.Float64bits(want) {
		t.Fatalf("score of %s: %g %v, want %g %v", m, score, found, want, had)
	}
	rank, _, found, err := z.Rank([]byte(m))
	wantRank, _ := t.model.at(Scored{[]byte(m), want})
	if t.fatal(err); found != had || had && rank != int64(wantRank) {
		t.Fatalf("rank of %s: %d %v, want %d %v", m, rank, found, wantRank, had)
	}
	s, from, to := t.span(&z)
	n, err := z.Count(s)
	if t.fatal(err); n != int64(to-from) {
		t.Fatalf("count of %x to %x: %d, want %d", s.from, s.to, n, to-from)
	}
	t.walk(&z, s, slices.Clone(t.model.sorted[from:to]))
}

func (t *zsetTest) walk(z *ZSet, s Span, want []Scored) {
	reverse := t.rng.IntN(2) == 0
	if reverse {
		slices.Reverse(want)
	}
	skip, limit := t.rng.Int64N(int64(len(want))+2), t.rng.Int64N(20)-1
	want = want[min(skip, int64(len(want))):]
	if limit >= 0 {
		want = want[:min(limit, int64(len(want)))]
	}
	i := 0
	err := z.Walk(s, reverse, skip, limit, func(e Scored) bool {
		if i >= len(want) || !same(e, want[i]) {
			t.Fatalf("walk, reverse %v, skip %d, limit %d: element %d is %q %g", reverse, skip, limit, i, e.Member, e.Score)
		}
		i++
		return true
	})
	if t.fatal(err); i != len(want) {
		t.Fatalf("walk, reverse %v, skip %d, limit %d: %d elements, want %d", reverse, skip, limit, i, len(want))
	}
}

// random looks at random elements, and at what scans return.
func (t *zsetTest) random() {
	z := t.open()
	if !z.Exists() {
		return
	}
	n, distinct := t.rng.Int64N(2*z.Len()), t.rng.IntN(2) == 0
	seen := map[string]bool{}
	drawn := int64(0)
	check := func(e Scored) {
		if score, had := t.model.scores[string(e.Member)]; !had || score != e.Score {
			t.Fatalf("drew %q %g", e.Member, e.Score)
		}
		seen[string(e.Member)] = true
		drawn++
	}
	t.fatal(z.Random(n, distinct, check))
	if distinct && (drawn != min(n, z.Len()) || int64(len(seen)) != drawn) || !distinct && drawn != n {
		t.Fatalf("drew %d of %d, %d different, wanted %d, distinct %v", drawn, z.Len(), len(seen), n, distinct)
	}
	clear(seen)
	for cursor := uint64(0); ; {
		next, err := z.Scan(cursor, 1+t.rng.IntN(50), check)
		t.fatal(err)
		if cursor = next; cursor == 0 {
			break
		}
	}
	if len(seen) != len(t.model.sorted) {
		t.Fatalf("a scan found %d of %d", len(seen), len(t.model.sorted))
	}
}

// verify lets engine.Check's verifier look at the set, then at one that lacks a sub-key.
func (t *zsetTest) verify() {
	rec, found, err := t.tx.Get(t.k)
	if t.fatal(err); !found || rec.ID == 0 {
		return
	}
	run := func(without int) (n int, failed error) {
		v, err := verifyZSet(rec)
		t.fatal(err)
		t.fatal(t.tx.ScanSub(t.k.Slot, rec.ID, nil, func(sub, value []byte) bool {
			if n != without {
				failed = v.Sub(sub, value)
			}
			n++
			return failed == nil
		}))
		if failed == nil {
			failed = v.End()
		}
		return n, failed
	}
	n, err := run(-1)
	t.fatal(err)
	without := t.rng.IntN(n)
	if _, err := run(without); err == nil {
		t.Fatalf("sub-key %d of %d is not missed", without, n)
	}
}

// TestZSetIsSorted compares sorted sets of all forms and sizes with a model. Several operations share a transaction.
func TestZSetIsSorted(t *testing.T) {
	t.Parallel()
	tiny, bytes := engine.DefaultPacking(), engine.DefaultPacking()
	tiny.ZSetEntries, tiny.ZSetValue = 4, 20
	bytes.Bytes = 100
	for i, c := range []struct {
		packing      engine.Packing
		names, steps int
	}{
		{engine.DefaultPacking(), 100, 1500}, {tiny, 12, 1500}, {bytes, 60, 1500}, {tiny, 1500, 4000}, {bytes, 6000, 2500},
	} {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			s := openStore(t)
			s.SetPacking(c.packing)
			zt := &zsetTest{T: t, rng: rand.New(rand.NewPCG(uint64(i), 1)), tx: s.NewTxn(), k: key("z"), names: c.names}
			zt.model.scores = map[string]float64{}
			zt.tx.Lock([]uint16{zt.k.Slot}, true)
			defer func() { zt.tx.Discard() }()
			if c.names > 1000 { // large from the start
				z := zt.open()
				for range c.names {
					m, score := zt.member(), zt.score()
					_, err := z.Add([]byte(m), score, 0)
					zt.fatal(err)
					if old, had := zt.model.scores[m]; !had || old != score {
						zt.model.set(m, z.stored(score))
					}
				}
				zt.fatal(z.Save())
			}
			for n := range c.steps {
				zt.step()
				zt.look()
				if n%100 == 0 {
					z := zt.open()
					zt.fatal(z.Check())
					zt.random()
					zt.verify()
				}
			}
		})
	}
}

// TestZSetStored shows what is stored after each step. A line of input is an operation on the sorted set at z; what it returns stands before the dump.
func TestZSetStored(t *testing.T) {
	t.Parallel()
	s := openClocked(t, newClock())
	k := key("z")
	datadriven.RunTest(t, "testdata/zset", func(t *testing.T, d *datadriven.TestData) string {
		p := engine.DefaultPacking()
		d.MaybeScanArgs(t, "entries", &p.ZSetEntries)
		d.MaybeScanArgs(t, "value", &p.ZSetValue)
		d.MaybeScanArgs(t, "bytes", &p.Bytes)
		s.SetPacking(p)
		tx := locked(s, k)
		defer tx.Discard()
		var out strings.Builder
		for line := range strings.Lines(d.Input) {
			fmt.Fprintln(&out, zsetStep(t, tx, k, strings.Fields(line)))
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		checkStore(t, s)
		tx.Lock([]uint16{k.Slot}, true)
		return out.String() + dumpKey(t, tx, k)
	})
}

// zsetStep runs one operation and saves the set.
func zsetStep(t *testing.T, tx *engine.Txn, k engine.Key, words []string) string {
	z, err := OpenZSet(tx, k)
	if err != nil {
		t.Fatal(err)
	}
	number := func(i int) float64 {
		f, ok := ParseDouble([]byte(words[i]))
		if !ok {
			t.Fatalf("%s is no number", words[i])
		}
		return f
	}
	var result any
	switch words[0] {
	case "add", "incr":
		how := How(0)
		if words[0] == "incr" {
			how = ZIncrement
		}
		result, err = z.Add([]byte(words[2]), number(1), how)
		result = fmt.Sprintf("%+v", result)
	case "remove":
		result, err = z.Remove([]byte(words[1]))
	case "pop-least", "pop-greatest":
		var popped []Scored
		popped, err = z.Pop(words[0] == "pop-greatest", int64(number(1)))
		names := make([]string, len(popped))
		for i, e := range popped {
			names[i] = fmt.Sprintf("%s %g", e.Member, e.Score)
		}
		result = strings.Join(names, ", ")
		if err == nil {
			z, err = OpenZSet(tx, k)
		}
	default:
		t.Fatalf("unknown operation %s", words[0])
	}
	if err == nil {
		err = z.Save()
	}
	if err == nil {
		err = z.Check()
	}
	if err != nil {
		return fmt.Sprint(words[0], ": ", err)
	}
	return fmt.Sprint(words[0], ": ", result)
}

// TestZSetCrashes crashes while a set grows from packed to spread, gets markers and shrinks again: what is left is one of its steps, whole.
func TestZSetCrashes(t *testing.T) {
	t.Parallel()
	k := key("z")
	for seed := range uint64(6) {
		p := engine.DefaultPacking()
		p.ZSetEntries = 20
		o := engine.Options{CacheBytes: 4 << 20, RecordCacheBytes: -1, MemTableBytes: 256 << 10, FreeSpaceReserve: 1, Packing: p, Verify: Verify}
		n := 0
		var model []int // the sizes after each step
		size := 0
		step := func(tx *engine.Txn, rng *rand.Rand) error {
			tx.Lock([]uint16{k.Slot}, true)
			z, err := OpenZSet(tx, k)
			if err != nil {
				return err
			}
			if z.Len() != int64(size) {
				return fmt.Errorf("%d elements, want %d", z.Len(), size)
			}
			if rng.IntN(4) == 0 {
				_, err = z.Pop(rng.IntN(2) == 0, 10)
				size = max(0, size-10)
			} else {
				for range 15 {
					n++
					if _, err := z.Add([]byte(strconv.Itoa(n)), float64(rng.IntN(1000)), 0); err != nil {
						return err
					}
				}
				size += 15
				err = z.Save()
			}
			model = append(model, size)
			return err
		}
		after, least, most := crash(t, seed, o, step)
		tx := locked(after, k)
		z, err := OpenZSet(tx, k)
		if err == nil {
			err = z.Check()
		}
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		sizes := append([]int{0}, model...)[least : most+1]
		if !slices.Contains(sizes, int(z.Len())) {
			t.Errorf("seed %d: %d elements, want one of %v", seed, z.Len(), sizes)
		}
		tx.Discard()
		checkStore(t, after)
	}
}

// FuzzZSetRecord decodes arbitrary records and sub-keys: damage is an error.
func FuzzZSetRecord(f *testing.F) {
	f.Add(true, appendScored(appendScored(nil, []byte("a"), 1), []byte("bb"), 2))
	f.Add(false, []byte{3, 0, 1, 'x', 1, 9, 0x80, 0, 0, 0, 0, 0, 0, 0, 'y'})
	f.Add(false, append([]byte{0, 1, 9}, placeKey(-1, []byte("m"))[1:]...))
	f.Fuzz(func(t *testing.T, packed bool, p []byte) {
		if packed {
			n, err := countScored(p)
			if err != nil {
				if !errors.Is(err, engine.ErrCorrupt) {
					t.Fatal(err)
				}
				return
			}
			z := ZSet{found: true, packedCount: n}
			z.rec.Value = p
			z.walkPacked(Span{}, true, 0, -1, func(e Scored) bool {
				n--
				if _, _, found, err := z.Rank(e.Member); !found || err != nil {
					t.Fatalf("%q is not found, %v", e.Member, err)
				}
				return true
			})
			if n != 0 {
				t.Fatalf("%d elements are missing", n)
			}
			return
		}
		var ends zsetEnds
		if err := ends.decode(p); err != nil {
			if !errors.Is(err, engine.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		var again zsetEnds
		if err := again.decode(ends.append(nil)); err != nil || fmt.Sprint(again) != fmt.Sprint(ends) {
			t.Fatalf("%v, then %v, %v", ends, again, err)
		}
		ends.clamp(Span{})
		ends.insert([]byte("12345678place"), true)
		if len(p) > 0 {
			decodePlace(p, p[:1])
			decodeScore(p)
		}
	})
}
