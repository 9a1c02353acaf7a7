package types

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/cairndb/cairn/engine"
)

// GeoPoint is a member that lies in a shape.
type GeoPoint struct {
	Member   []byte
	Score    float64
	Place    Place
	Distance float64 // from the shape's center, in metres
}

// Within returns the members that lie in a shape, in the order in which Redis finds them, or the first limit ones, if it isn't 0.
func (z *ZSet) Within(shape *GeoShape, limit int64) (points []GeoPoint, err error) {
	more := func() bool { return limit == 0 || int64(len(points)) < limit }
	for _, r := range shape.Ranges() {
		if !more() {
			break
		}
		err := z.Walk(z.ByScore(r), false, 0, -1, func(e Scored) bool {
			place := PlaceOf(e.Score)
			if metres, ok := shape.Distance(place); ok {
				points = append(points, GeoPoint{Member: bytes.Clone(e.Member), Score: e.Score, Place: place, Distance: metres})
			}
			return more()
		})
		if err != nil {
			return nil, err
		}
	}
	return points, nil
}

// Nearest puts the first n points into the order of their distances, the nearest or the farthest first. Those of one distance come as in Redis.
func Nearest(points []GeoPoint, n int, farthest bool) {
	compare := func(a, b *GeoPoint) int { return cmp.Compare(a.Distance, b.Distance) }
	if farthest {
		compare = func(a, b *GeoPoint) int { return cmp.Compare(b.Distance, a.Distance) }
	}
	if n == len(points) {
		slices.SortStableFunc(points, func(a, b GeoPoint) int { return compare(&a, &b) })
		return
	}
	partialSort(points, 0, n-1, compare)
}

// StorePoints makes the points the sorted set at k, with their scores, or with their distances in a unit.
func StorePoints(t *engine.Txn, k engine.Key, points []GeoPoint, byDistance bool, unit float64) error {
	seen := make(map[string]struct{}, len(points))
	elements := make([]Scored, 0, len(points))
	for _, p := range points {
		if _, twice := seen[string(p.Member)]; twice { // in two boxes, see Ranges
			continue
		}
		seen[string(p.Member)] = struct{}{}
		e := Scored{Member: p.Member, Score: p.Score}
		if byDistance {
			e.Score = p.Distance / unit
		}
		elements = append(elements, e)
	}
	sortScored(elements)
	return StoreZSet(t, k, elements)
}

// partialSort sorts so far that the elements first to last are where they belong (Redis: pqsort, of which the order of equal elements depends).
func partialSort[T any](a []T, first, last int, compare func(a, b *T) int) {
	for len(a) >= 7 {
		less, greater := partition(a, compare)
		if less > 1 && first < less && last >= 0 {
			partialSort(a[:less], first, last, compare)
		}
		rest := len(a) - greater
		if greater <= 1 || first >= len(a) || last < rest {
			return
		}
		a, first, last = a[rest:], first-rest, last-rest
	}
	for i := 1; i < len(a); i++ {
		for j := i; j > 0 && compare(&a[j-1], &a[j]) > 0; j-- {
			a[j-1], a[j] = a[j], a[j-1]
		}
	}
}

// partition puts what is less than some element to the front and what is greater to the end, and returns how many these are (Bentley and McIlroy,
// "Engineering a Sort Function").
func partition[T any](a []T, compare func(a, b *T) int) (less, greater int) {
	swap := func(i, j int) { a[i], a[j] = a[j], a[i] }
	n := len(a)
	swap(0, median(a, compare))
	equalLow, low, high, equalHigh := 1, 1, n-1, n-1
	for {
		for ; low <= high; low++ {
			c := compare(&a[low], &a[0])
			if c > 0 {
				break
			}
			if c == 0 {
				swap(equalLow, low)
				equalLow++
			}
		}
		for ; low <= high; high-- {
			c := compare(&a[high], &a[0])
			if c < 0 {
				break
			}
			if c == 0 {
				swap(high, equalHigh)
				equalHigh--
			}
		}
		if low > high {
			break
		}
		swap(low, high)
		low++
		high--
	}
	swapRun := func(i, j, n int) {
		for k := range n {
			swap(i+k, j+k)
		}
	}
	r := min(equalLow, low-equalLow)
	swapRun(0, low-r, r)
	r = min(equalHigh-high, n-1-equalHigh)
	swapRun(low, n-r, r)
	return low - equalLow, equalHigh - high
}

// median returns the index of an element near the middle, of seven or more.
func median[T any](a []T, compare func(a, b *T) int) int {
	n := len(a)
	of3 := func(i, j, k int) int {
		if compare(&a[i], &a[j]) < 0 {
			switch {
			case compare(&a[j], &a[k]) < 0:
				return j
			case compare(&a[i], &a[k]) < 0:
				return k
			}
			return i
		}
		switch {
		case compare(&a[j], &a[k]) > 0:
			return j
		case compare(&a[i], &a[k]) < 0:
			return i
		}
		return k
	}
	low, middle, high := 0, n/2, n-1
	if n == 7 {
		return middle
	}
	if n > 40 {
		d := n / 8
		low = of3(low, low+d, low+2*d)
		middle = of3(middle-d, middle, middle+d)
		high = of3(high-2*d, high-d, high)
	}
	return of3(low, middle, high)
}
