package types

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestTrigIsExact: the functions give the C library's doubles.
func TestTrigIsExact(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ x, sin, cos, asin float64 }{
		{1e-09, 1e-09, 1.0, 2.5e-10},
		{0.001, 0.0009999998333333417, 0.9999995000000417, 0.0002500000026041667},
		{0.1, 0.09983341664682815, 0.9950041652780258, 0.02500260489936114},
		{0.5, 0.479425538604203, 0.8775825618903728, 0.1253278311680654},
		{0.7853981633974483, 0.7071067811865475, 0.7071067811865476, 0.1976335935733101},
		{1.0, 0.8414709848078965, 0.5403023058681398, 0.25268025514207865},
		{1.5, 0.9974949866040544, 0.0707372016677029, 0.3843967744956391},
		{1.5707963267948966, 1.0, 6.123233995736766e-17, 0.40356460692486534},
		{2.0, 0.9092974268256817, -0.4161468365471424, 0.5235987755982989},
		{2.7, 0.4273798802338298, -0.9040721420170612, 0.74096470220302},
		{2.8000001, 0.3349880559336691, -0.9422223741674685, 0.7753975316177558},
		{3.0, 0.1411200080598672, -0.9899924966004454, 0.848062078981481},
		{3.14159, 2.65358979335273e-06, -0.9999999999964793, 0.9033380390270004},
		{3.9999, -0.7567371271619382, -0.6537192978447987, 1.5637252442515495},
		{4.0, -0.7568024953079282, -0.6536436208636119, 1.5707963267948966},
	} {
		if s, c2, a := sin(c.x), cos(c.x), asin(c.x/4); s != c.sin || c2 != c.cos || a != c.asin {
			t.Errorf("%v: %v %v %v, want %v %v %v", c.x, s, c2, a, c.sin, c.cos, c.asin)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 1000 { // package math is a little less exact
		x := rng.Float64() * 4
		if math.Abs(sin(x)-math.Sin(x)) > 1e-13 || math.Abs(cos(x)-math.Cos(x)) > 1e-13 || math.Abs(asin(x/4)-math.Asin(x/4)) > 1e-13 {
			t.Errorf("%v: %v %v %v", x, sin(x), cos(x), asin(x/4))
		}
	}
}

// TestShapeIsCovered: a place that lies in a shape is in one of its ranges of scores, and a stored place is where it was.
func TestShapeIsCovered(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		place := func(name string, from Place, reach float64) Place {
			return Place{from.Lon + rapid.Float64Range(-reach, reach).Draw(t, name+" lon"), from.Lat + rapid.Float64Range(-reach, reach).Draw(t, name+" lat")}
		}
		reach := rapid.SampledFrom([]float64{0.001, 0.1, 5}).Draw(t, "reach")
		s := GeoShape{Center: place("center", Place{}, 55), Unit: rapid.SampledFrom([]float64{1, 0.3048, 1000}).Draw(t, "unit")}
		size := rapid.Float64Range(0, reach*200_000/s.Unit)
		if s.Box = rapid.Bool().Draw(t, "box"); s.Box {
			s.Width, s.Height = size.Draw(t, "width"), size.Draw(t, "height")
		} else {
			s.Radius = size.Draw(t, "radius")
		}
		p := place("place", s.Center, reach)
		score := p.Score()
		stored := PlaceOf(score)
		if math.Abs(stored.Lon-p.Lon) > 6e-6 || math.Abs(stored.Lat-p.Lat) > 3e-6 {
			t.Fatalf("%v is stored as %v", p, stored)
		}
		if math.Abs(roughDistance(s.Center, p)-Distance(s.Center, p)) > 0.01 {
			t.Fatalf("the distance is %v, roughly %v", Distance(s.Center, p), roughDistance(s.Center, p))
		}
		if _, ok := s.Distance(stored); !ok {
			return
		}
		in := func(r ScoreRange) bool { return score >= r.Min && score < r.Max }
		if ranges := s.Ranges(); !slices.ContainsFunc(ranges, in) {
			t.Fatalf("%v, score %v, is not in %v", p, score, ranges)
		}
	})
}

// TestNearest compares the partial sort with a whole one.
func TestNearest(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		points := make([]GeoPoint, 1+rng.IntN(100))
		for i := range points {
			points[i].Distance = float64(rng.IntN(40))
		}
		want := slices.Clone(points)
		n := 1 + rng.IntN(len(points))
		farthest := rng.IntN(2) == 0
		Nearest(want, len(want), farthest)
		Nearest(points, n, farthest)
		for i := range n {
			if points[i].Distance != want[i].Distance {
				t.Fatal(fmt.Sprint(i, " of ", n, ": ", points, " want ", want))
			}
		}
	}
}
