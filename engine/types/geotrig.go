package types

import "math"

// The C library's sine, cosine and arcsine are the doubles next to the true values (but for about one in a thousand), package math's not
// always, and near the opposite end of the earth a distance shows it. So they are computed here with twice the digits, as sums of two doubles.

// twofold is hi + lo, where hi is the double next to the sum.
type twofold struct{ hi, lo float64 }

// sum2 is a + b, exactly.
func sum2(a, b float64) twofold {
	s := a + b
	bb := s - a
	return twofold{s, (a - (s - bb)) + (b - bb)}
}

// norm is a + b, where a is not less than b.
func norm(a, b float64) twofold {
	s := a + b
	return twofold{s, b - (s - a)}
}

// prod2 is a * b, exactly.
func prod2(a, b float64) twofold {
	p := float64(a * b)
	return twofold{p, math.FMA(a, b, -p)}
}

func (a twofold) add(b twofold) twofold {
	s := sum2(a.hi, b.hi)
	return norm(s.hi, s.lo+(a.lo+b.lo))
}

func (a twofold) mul(b twofold) twofold {
	p := prod2(a.hi, b.hi)
	return norm(p.hi, p.lo+(float64(a.hi*b.lo)+float64(a.lo*b.hi)))
}

func (a twofold) neg() twofold { return twofold{-a.hi, -a.lo} }

// div is a / b.
func (a twofold) div(b float64) twofold {
	q := a.hi / b
	p := prod2(q, b)
	return norm(q, ((a.hi-p.hi)-p.lo+a.lo)/b)
}

// A quarter of the circle.
const (
	quarter1 = 1.5707963267948966
	quarter2 = 6.123233995736766e-17
	quarter3 = -1.4973849048591833e-33
	// trigLimit is where these functions leave it to package math.
	trigLimit = 8
)

// trigTerms are how many terms of the series count up to a quarter of a right angle, the first exactTerms of them with all digits.
const (
	trigTerms  = 13
	exactTerms = 6
)

// sinSeries and cosSeries are the coefficients of the even powers in sin(x)/x and cos(x).
var sinSeries, cosSeries = series(1), series(0)

func series(odd int) (c [trigTerms]twofold) {
	c[0] = twofold{hi: 1}
	for n := 1; n < trigTerms; n++ {
		c[n] = c[n-1].div(float64((2*n - 1 + odd) * (2*n + odd))).neg()
	}
	return c
}

// evaluate is the series for the square of x.
func evaluate(c *[trigTerms]twofold, square twofold) twofold {
	rest := 0.0
	for n := trigTerms - 1; n >= exactTerms; n-- {
		rest = float64(rest*square.hi) + c[n].hi
	}
	sum := twofold{hi: rest}
	for n := exactTerms - 1; n >= 0; n-- {
		sum = sum.mul(square).add(c[n])
	}
	return sum
}

// sinCos are the sine and the cosine of x, whose size is at most trigLimit.
func sinCos(x float64) (s, c twofold) {
	k := math.Round(x / quarter1)
	p, q := prod2(k, quarter1), prod2(k, quarter2)
	r := twofold{hi: x}.add(p.neg()).add(q.neg()).add(twofold{hi: -k * quarter3})
	square := r.mul(r)
	s, c = evaluate(&sinSeries, square).mul(r), evaluate(&cosSeries, square)
	switch int(k) & 3 {
	case 1:
		return c, s.neg()
	case 2:
		return s.neg(), c.neg()
	case 3:
		return c.neg(), s
	}
	return s, c
}

func sin(x float64) float64 {
	if x == 0 || !(math.Abs(x) <= trigLimit) {
		return math.Sin(x)
	}
	s, _ := sinCos(x)
	return s.hi
}

func cos(x float64) float64 {
	if !(math.Abs(x) <= trigLimit) {
		return math.Cos(x)
	}
	_, c := sinCos(x)
	return c.hi
}

// asin is the arcsine of x from 0 to 1.
func asin(x float64) float64 {
	switch {
	case !(x > 0 && x <= 1):
		return math.Asin(x)
	case x == 1:
		return quarter1
	case x <= 0.7:
		y, d := newtonAsin(twofold{hi: x})
		return y + d
	}
	half := (1 - x) / 2
	root := math.Sqrt(half)
	y, d := newtonAsin(norm(root, math.FMA(-root, root, half)/(2*root)))
	return twofold{quarter1, quarter2}.add(twofold{-2 * y, -2 * d}).hi
}

// newtonAsin is the arcsine of x as a sum: a double close to it, and by how much it is off.
func newtonAsin(x twofold) (y, d float64) {
	y = math.Asin(x.hi)
	s, c := sinCos(y)
	return y, (((x.hi - s.hi) - s.lo) + x.lo) / c.hi
}
