package types

import (
	"bytes"
	"errors"
	"math"
	"slices"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
)

// Source is an input of a union, an intersection or a difference: a sorted set, or a set, whose members have the score 1.
type Source struct {
	Weight float64
	zset   ZSet
	set    *Set // nil for a sorted set
}

// OpenSource returns what is at k; ErrWrongType if it is neither a sorted set nor a set. What is absent is empty.
func OpenSource(t *engine.Txn, k engine.Key) (Source, error) {
	rec, found, err := t.Get(k)
	if err != nil {
		return Source{}, err
	}
	if found && rec.Type == keys.TypeSet {
		s, err := OpenSet(t, k)
		return Source{Weight: 1, set: &s}, err
	}
	z, err := OpenZSet(t, k)
	if errors.Is(err, ErrWrongType) {
		set, err := OpenSet(t, k)
		return Source{Weight: 1, set: &set}, err
	}
	return Source{Weight: 1, zset: z}, err
}

// Len is the number of elements.
func (s *Source) Len() int64 {
	if s.set != nil {
		return s.set.Len()
	}
	return s.zset.Len()
}

func (s *Source) each(fn func(Scored) bool) error {
	if s.set != nil {
		return s.set.Each(func(member []byte) bool { return fn(Scored{member, 1}) })
	}
	return s.zset.Walk(Span{}, false, 0, -1, fn)
}

func (s *Source) score(member []byte) (float64, bool, error) {
	if s.set != nil {
		found, err := s.set.Has(member)
		return 1, found, err
	}
	return s.zset.Score(member)
}

// probe returns a function that looks members up. If there are going to be many look-ups for its size, the source is read once.
func (s *Source) probe(lookups int64) (func(member []byte) (float64, bool, error), error) {
	const few, share = 16, 4
	if s.Len() <= few || s.Len()/share > lookups {
		return s.score, nil
	}
	scores := make(map[string]float64, s.Len())
	err := s.each(func(e Scored) bool {
		scores[string(e.Member)] = e.Score
		return true
	})
	return func(member []byte) (float64, bool, error) {
		score, found := scores[string(member)]
		return score, found, nil
	}, err
}

// Aggregate says how the scores of one member become one.
type Aggregate uint8

// The ways to combine scores.
const (
	Sum Aggregate = iota
	Min
	Max
)

func (a Aggregate) combine(x, y float64) float64 {
	switch {
	case a == Sum:
		if x += y; math.IsNaN(x) {
			return 0
		}
	case a == Min && y < x, a == Max && y > x:
		return y
	}
	return x
}

// weighted is a score that begins a sum; infinity times 0 is 0. The conversion keeps the product from being fused with the sum.
func weighted(weight, score float64) float64 {
	product := float64(weight * score)
	if math.IsNaN(product) {
		return 0
	}
	return product
}

// bySize sorts sources as Redis does, which decides in which order scores are added.
func bySize(sources []Source) {
	slices.SortStableFunc(sources, func(a, b Source) int { return int(max(min(a.Len()-b.Len(), 1), -1)) })
}

// Union returns the elements that are in any source, in order. It sorts sources.
func Union(sources []Source, how Aggregate) ([]Scored, error) {
	bySize(sources)
	var all []Scored
	index := map[string]int{}
	for i := range sources {
		s := &sources[i]
		err := s.each(func(e Scored) bool {
			if at, seen := index[string(e.Member)]; seen {
				all[at].Score = how.combine(all[at].Score, weighted(s.Weight, e.Score))
				return true
			}
			member := bytes.Clone(e.Member)
			index[string(member)] = len(all)
			all = append(all, Scored{member, weighted(s.Weight, e.Score)})
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	sortScored(all)
	return all, nil
}

// Intersect returns the elements that are in all sources, in order. It sorts sources.
func Intersect(sources []Source, how Aggregate) ([]Scored, error) {
	var all []Scored
	err := intersect(sources, func(e Scored, others []float64) bool {
		score := weighted(sources[0].Weight, e.Score)
		for i, other := range others {
			score = how.combine(score, float64(other*sources[1+i].Weight))
		}
		all = append(all, Scored{bytes.Clone(e.Member), score})
		return true
	})
	sortScored(all)
	return all, err
}

// IntersectCount counts the elements that are in all sources, up to a limit if it is not 0. It sorts sources.
func IntersectCount(sources []Source, limit int64) (n int64, err error) {
	err = intersect(sources, func(Scored, []float64) bool {
		n++
		return n != limit
	})
	return n, err
}

// intersect calls fn for each element of the least source that all others have, with its scores there.
func intersect(sources []Source, fn func(e Scored, others []float64) bool) error {
	bySize(sources)
	least := &sources[0]
	if least.Len() == 0 {
		return nil
	}
	var look []func([]byte) (float64, bool, error)
	for i := range sources[1:] {
		f, err := sources[1+i].probe(least.Len())
		if err != nil {
			return err
		}
		look = append(look, f)
	}
	others := make([]float64, len(look))
	failed := error(nil)
	err := least.each(func(e Scored) bool {
		for i, f := range look {
			found := false
			if others[i], found, failed = f(e.Member); !found || failed != nil {
				return failed == nil
			}
		}
		return fn(e, others)
	})
	if err == nil {
		err = failed
	}
	return err
}

// Difference returns the elements of the first source that no other one has, in order.
func Difference(sources []Source) ([]Scored, error) {
	var all []Scored
	first := &sources[0]
	if first.Len() == 0 {
		return nil, nil
	}
	var look []func([]byte) (float64, bool, error)
	for i := range sources[1:] {
		f, err := sources[1+i].probe(first.Len())
		if err != nil {
			return nil, err
		}
		look = append(look, f)
	}
	failed := error(nil)
	err := first.each(func(e Scored) bool {
		for _, f := range look {
			found := false
			if _, found, failed = f(e.Member); found || failed != nil {
				return failed == nil
			}
		}
		all = append(all, e.Clone())
		return true
	})
	if err == nil {
		err = failed
	}
	sortScored(all)
	return all, err
}

// sortScored puts elements in the order of a sorted set.
func sortScored(elements []Scored) {
	slices.SortFunc(elements, func(a, b Scored) int {
		switch {
		case a.Score < b.Score:
			return -1
		case a.Score > b.Score:
			return 1
		}
		return bytes.Compare(a.Member, b.Member)
	})
}
