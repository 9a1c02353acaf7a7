package types

import (
	"bytes"
	"cmp"
	"container/heap"
	"errors"
	"slices"

	"github.com/cairndb/cairn/engine"
)

const (
	// readerBatch bounds what a reader holds in memory, in bytes; readerFirst is its first batch.
	readerBatch = 1 << 20
	readerFirst = 1 << 10
	// mergeRatio is how many members can be walked in the time of a point read.
	mergeRatio = 8
)

// setReader goes through a set's members, some at a time: unlike in a walk, the transaction may write between two of them.
type setReader struct {
	set   *Set
	batch []byte // entries: sub-keys
	size  int    // of the next batch, in bytes
	limit int
	from  []byte // where the next batch begins
	end   bool

	sub []byte // the current one
}

// reader returns the members in the order of their sub-keys. It holds at most limit bytes of a spread set in memory.
func (s *Set) reader(limit int) *setReader {
	return &setReader{set: s, size: min(readerFirst, limit), limit: limit}
}

// shareOf is how much each of n readers may hold in memory.
func shareOf(n int) int { return max(readerBatch/n, readerFirst) }

// next returns the next member's sub-key; it is valid until the next call.
func (r *setReader) next() (sub []byte, ok bool, err error) {
	if len(r.batch) == 0 && !r.end {
		if err := r.fill(); err != nil {
			return nil, false, err
		}
	}
	if len(r.batch) == 0 {
		r.sub = nil
		return nil, false, nil
	}
	r.sub, r.batch, err = takeEntry(r.batch)
	return r.sub, err == nil, err
}

func (r *setReader) fill() error {
	r.batch = nil // the current sub-key is part of it
	if !r.set.spread() {
		r.fillPacked()
		return nil
	}
	r.end = true
	err := r.set.walk(r.from, func(sub []byte) bool {
		r.batch = appendEntry(r.batch, sub)
		if len(r.batch) < r.size {
			return true
		}
		r.from = append(bytes.Clone(sub), 0)
		r.end = false
		return false
	})
	r.size = min(2*r.size, r.limit)
	return err
}

func (r *setReader) fillPacked() {
	var subs [][]byte
	r.set.packed.each(func(member []byte) bool {
		subs = append(subs, appendSetSub(nil, member))
		return true
	})
	slices.SortFunc(subs, bytes.Compare)
	for _, sub := range subs {
		r.batch = appendEntry(r.batch, sub)
	}
	r.end = true
}

// A setProbe tells which of the members of one set, in the order in which these are walked, are in another one.
type setProbe struct {
	in *Set
	r  *setReader // nil: each is looked up
}

// probe prepares for the question which of walked's members are in s. Sets of a like size are walked side by side, with so many bytes of
// s in memory.
func (s *Set) probe(walked *Set, limit int) *setProbe {
	p := &setProbe{in: s}
	if s.spread() && walked.spread() && s.Len()/mergeRatio <= walked.Len() {
		p.r = s.reader(limit)
	}
	return p
}

// has is asked in ascending order of sub-keys if walked is spread.
func (p *setProbe) has(sub []byte) (bool, error) {
	if p.r == nil {
		return p.in.Has(sub[setHashLen:])
	}
	for p.r.sub == nil || bytes.Compare(p.r.sub, sub) < 0 {
		_, ok, err := p.r.next()
		if !ok || err != nil {
			return false, err
		}
	}
	return bytes.Equal(p.r.sub, sub), nil
}

// eachIn calls fn for the members of s that are, or if not wanted are not, in all others, until it returns an error. It may write.
func (s *Set) eachIn(others []*Set, wanted bool, fn func(member []byte) error) error {
	probes := make([]*setProbe, len(others))
	for i, o := range others {
		probes[i] = o.probe(s, shareOf(len(others)))
	}
	selected := func(sub []byte) (bool, error) {
		for _, p := range probes {
			if has, err := p.has(sub); err != nil || has != wanted {
				return false, err
			}
		}
		return true, nil
	}
	test := func(sub []byte) error {
		ok, err := selected(sub)
		if ok && err == nil {
			err = fn(sub[setHashLen:])
		}
		return err
	}
	if s.spread() {
		return s.reader(readerBatch).each(test)
	}
	var err error
	var sub []byte
	s.packed.each(func(member []byte) bool {
		sub = append(append(sub[:0], 0, 0, 0, 0), member...) // nobody compares its hash
		err = test(sub)
		return err == nil
	})
	return err
}

// each calls fn for the sub-keys until it returns an error.
func (r *setReader) each(fn func(sub []byte) error) error {
	for {
		sub, ok, err := r.next()
		if !ok || err != nil {
			return err
		}
		if err := fn(sub); err != nil {
			return err
		}
	}
}

// errEnough ends a walk.
var errEnough = errors.New("types: enough")

// InterSets calls emit for the members that all sets have, until it returns false. It walks the smallest.
func InterSets(sets []Set, emit func(member []byte) bool) error {
	ordered := setsBySize(sets)
	if ordered[0].Len() == 0 {
		return nil
	}
	err := ordered[0].eachIn(withoutKey(ordered[1:], ordered[0]), true, func(member []byte) error {
		if !emit(member) {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// setsBySize returns the sets, the smallest first; those of one size keep their order.
func setsBySize(sets []Set) []*Set {
	ordered := make([]*Set, len(sets))
	for i := range sets {
		ordered[i] = &sets[i]
	}
	slices.SortStableFunc(ordered, func(a, b *Set) int { return cmp.Compare(a.Len(), b.Len()) })
	return ordered
}

// withoutKey returns those of the sets that lie at another key.
func withoutKey(sets []*Set, s *Set) []*Set {
	return slices.DeleteFunc(sets, func(o *Set) bool { return o.sameKey(s) })
}

// InterStore makes what all sets have in common the set at k, and returns how many members that are.
func InterStore(t *engine.Txn, k engine.Key, sets []Set) (int64, error) {
	smallest := setsBySize(sets)[0]
	dst := newSet(t, k, setInts)
	dst.loose = !(smallest.form == setInts)
	var list [][]byte // a list keeps its order unless all of it becomes integers
	onlyInts := true
	gather := !smallest.spread() && smallest.form == setList
	var err error
	inter := InterSets(sets, func(member []byte) bool {
		if !gather {
			err = dst.insert(member)
			return err == nil
		}
		_, isInt := ParseInt(member)
		onlyInts = onlyInts && isInt
		list = append(list, bytes.Clone(member))
		return true
	})
	if err = errors.Join(inter, err); err != nil {
		return 0, err
	}
	if !onlyInts || len(list) > t.Packing().SetInts {
		dst.form = setList
	}
	for _, member := range list {
		if err := dst.insert(member); err != nil {
			return 0, err
		}
	}
	return dst.Len(), dst.store()
}

// UnionSets calls emit for the members that any of the sets has, each once, until it returns an error. It may write.
func UnionSets(sets []Set, emit func(member []byte) error) error {
	var merged []*setReader
	for i := range sets {
		s := &sets[i]
		twice := slices.ContainsFunc(sets[:i], func(o Set) bool { return o.sameKey(s) })
		if !twice && s.Len() > 0 {
			merged = append(merged, s.reader(shareOf(len(sets))))
		}
	}
	if !slices.ContainsFunc(sets, func(s Set) bool { return s.spread() }) {
		return unionPacked(merged, emit)
	}
	return mergeReaders(merged, func(sub []byte) error { return emit(sub[setHashLen:]) })
}

// unionPacked keeps the order of the sets, as Redis does when it stores a small union; integers alone are sorted.
func unionPacked(sets []*setReader, emit func(member []byte) error) error {
	seen := make(map[string]struct{})
	var members [][]byte
	onlyInts := true
	for _, r := range sets {
		onlyInts = onlyInts && r.set.form == setInts
		r.set.packed.each(func(member []byte) bool {
			if _, ok := seen[string(member)]; !ok {
				member = bytes.Clone(member)
				seen[string(member)] = struct{}{}
				members = append(members, member)
			}
			return true
		})
	}
	if onlyInts {
		slices.SortFunc(members, compareInts)
	}
	for _, member := range members {
		if err := emit(member); err != nil {
			return err
		}
	}
	return nil
}

// compareInts orders members that are integers.
func compareInts(a, b []byte) int {
	x, _ := ParseInt(a)
	y, _ := ParseInt(b)
	return cmp.Compare(x, y)
}

// readers is a heap: the one with the least sub-key is on top.
type readers []*setReader

func (h readers) Len() int           { return len(h) }
func (h readers) Less(i, j int) bool { return bytes.Compare(h[i].sub, h[j].sub) < 0 }
func (h readers) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *readers) Push(r any)        { *h = append(*h, r.(*setReader)) }
func (h *readers) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// mergeReaders calls fn for the sub-keys of all readers in ascending order, each once.
func mergeReaders(all []*setReader, fn func(sub []byte) error) error {
	var h readers
	for _, r := range all {
		if _, ok, err := r.next(); err != nil {
			return err
		} else if ok {
			h = append(h, r)
		}
	}
	heap.Init(&h)
	var last []byte
	for len(h) > 0 {
		top := h[0]
		if !bytes.Equal(top.sub, last) {
			last = append(last[:0], top.sub...)
			if err := fn(last); err != nil {
				return err
			}
		}
		_, ok, err := top.next()
		switch {
		case err != nil:
			return err
		case ok:
			heap.Fix(&h, 0)
		default:
			heap.Pop(&h)
		}
	}
	return nil
}

// UnionStore makes the members of all sets the set at k, and returns how many they are.
func UnionStore(t *engine.Txn, k engine.Key, sets []Set) (int64, error) {
	dst := newSet(t, k, setInts)
	if err := UnionSets(sets, dst.insert); err != nil {
		return 0, err
	}
	return dst.Len(), dst.store()
}

// DiffSets calls emit for the members of the first set that no other one has, until it returns an error. It may write.
func DiffSets(sets []Set, emit func(member []byte) error) error {
	first := &sets[0]
	var others []*Set
	for i := range sets[1:] {
		o := &sets[1+i]
		if o.sameKey(first) {
			return nil
		}
		if o.Len() > 0 {
			others = append(others, o)
		}
	}
	// The largest is the likeliest to have a member.
	slices.SortStableFunc(others, func(a, b *Set) int { return cmp.Compare(b.Len(), a.Len()) })
	return first.eachIn(others, false, emit)
}

// DiffStore makes the members of the first set that no other one has the set at k, and returns how many they are.
func DiffStore(t *engine.Txn, k engine.Key, sets []Set) (int64, error) {
	dst := newSet(t, k, setInts)
	if copiesFirst(sets) {
		var err error
		if dst.form, err = sets[0].copyForm(); err != nil {
			return 0, err
		}
	}
	if err := DiffSets(sets, dst.insert); err != nil {
		return 0, err
	}
	return dst.Len(), dst.store()
}

// copiesFirst says whether Redis would copy the first set and remove the others' members: the result has the copy's form then.
func copiesFirst(sets []Set) bool {
	test, remove := int64(0), int64(0)
	for i := range sets {
		if i > 0 && sets[i].sameKey(&sets[0]) {
			return false
		}
		if sets[i].Exists() {
			test += sets[0].Len()
			remove += sets[i].Len()
		}
	}
	return sets[0].Exists() && test/2 > remove
}

// copyForm is the form of a new set that the members were added to one by one.
func (s *Set) copyForm() (form setForm, err error) {
	p := s.txn.Packing()
	form = setInts
	n, longest := int64(0), 0
	err = s.Each(func(member []byte) bool {
		_, isInt := ParseInt(member)
		form = form.grown(p, n, member, isInt, longest, false)
		n, longest = n+1, max(longest, len(member))
		return form != setTable
	})
	return form, err
}

// Move moves a member from one set to another, and says whether the first had it.
func (s *Set) Move(to *Set, member []byte) (bool, error) {
	if s.sameKey(to) {
		return s.Has(member)
	}
	removed, err := s.Remove([][]byte{member})
	if removed == 0 || err != nil {
		return false, err
	}
	_, err = to.Add([][]byte{member})
	return true, err
}
