package types

import (
	"math"
)

// The geo commands keep places in a sorted set: the score of a member is a geohash of 52 bits, the bits of latitude (even) and longitude (odd) interleaved.
// Whatever is computed here is what Redis computes (geohash.c, geohash_helper.c, geo.c), in the same order of operations, so that replies
// are the same to the last digit. Explicit conversions keep the compiler from fusing a product and a sum.
const (
	geoSteps = 26 // bits of each coordinate
	// MaxLon and MaxLat are the greatest coordinates that are taken (EPSG:3857).
	MaxLon = 180
	MaxLat = 85.05112878

	earthRadius = 6372797.560856 // metres
	mercatorMax = 20037726.37
	degree      = float64(math.Pi) / 180
)

// Place is a point on earth, in degrees.
type Place struct{ Lon, Lat float64 }

// Valid says whether the place can be stored.
func (p Place) Valid() bool {
	return p.Lon >= -MaxLon && p.Lon <= MaxLon && p.Lat >= -MaxLat && p.Lat <= MaxLat
}

// Score is the place as a member's score.
func (p Place) Score() float64 { return float64(encodePlace(p, MaxLat, geoSteps).aligned()) }

// PlaceOf is the place that a score stands for.
func PlaceOf(score float64) Place {
	area := geoBox{hash: truncate(score), step: geoSteps}.area()
	return Place{
		Lon: min(max((area.min.Lon+area.max.Lon)/2, -MaxLon), MaxLon),
		Lat: min(max((area.min.Lat+area.max.Lat)/2, -MaxLat), MaxLat),
	}
}

// truncate is C's conversion to 64 bits without a sign, on x86-64 also for what doesn't fit.
func truncate(f float64) uint64 {
	const half = 1 << 63
	signed := func(f float64) uint64 {
		if f >= half || f < -half || f != f {
			return half
		}
		return uint64(int64(f))
	}
	if f < half {
		return signed(f)
	}
	return signed(f-half) ^ half
}

// Geohash is the place's standard geohash of 11 characters, the last of which is always 0: there are 52 bits.
func (p Place) Geohash() string {
	const alphabet = "0123456789bcdefghjkmnpqrstuvwxyz"
	h := encodePlace(p, 90, geoSteps).hash
	var text [11]byte
	for i := range text {
		text[i] = alphabet[0]
		if i < 10 {
			text[i] = alphabet[h>>(52-5*(i+1))&31]
		}
	}
	return string(text[:])
}

// Distance is the way between two places along the surface, in metres (haversine).
func Distance(a, b Place) float64 {
	v := sin((float64(b.Lon*degree) - float64(a.Lon*degree)) / 2)
	if v == 0 {
		return latDistance(a.Lat, b.Lat)
	}
	lat1, lat2 := float64(a.Lat*degree), float64(b.Lat*degree)
	u := sin((lat2 - lat1) / 2)
	h := float64(u*u) + float64(float64(float64(cos(lat1)*cos(lat2))*v)*v)
	return 2 * earthRadius * asin(math.Sqrt(h))
}

// roughDistance is Distance up to a relative error of a few in a billion, faster.
func roughDistance(a, b Place) float64 {
	lat1, lat2 := a.Lat*degree, b.Lat*degree
	u, v := math.Sin((lat2-lat1)/2), math.Sin((b.Lon-a.Lon)*degree/2)
	return 2 * earthRadius * math.Asin(min(math.Sqrt(u*u+math.Cos(lat1)*math.Cos(lat2)*v*v), 1))
}

func latDistance(a, b float64) float64 {
	return earthRadius * math.Abs(float64(b*degree)-float64(a*degree))
}

// geoBox is a rectangle of the map: so many bits of each coordinate. That of step 0 is none.
type geoBox struct {
	hash uint64
	step uint
}

// encodePlace returns the box that a place is in, of a map whose latitudes end at maxLat.
func encodePlace(p Place, maxLat float64, step uint) geoBox {
	scale := float64(uint64(1) << step)
	lat := (p.Lat + maxLat) / (maxLat + maxLat) * scale
	lon := (p.Lon + MaxLon) / (MaxLon + MaxLon) * scale
	return geoBox{hash: interleave(uint32(lat)) | interleave(uint32(lon))<<1, step: step}
}

// interleave puts a zero before each bit.
func interleave(x uint32) uint64 {
	v := uint64(x)
	v = (v | v<<16) & 0x0000FFFF0000FFFF
	v = (v | v<<8) & 0x00FF00FF00FF00FF
	v = (v | v<<4) & 0x0F0F0F0F0F0F0F0F
	v = (v | v<<2) & 0x3333333333333333
	return (v | v<<1) & latBits
}

// deinterleave is the reverse of interleave; odd bits don't matter.
func deinterleave(v uint64) uint32 {
	v &= latBits
	v = (v | v>>1) & 0x3333333333333333
	v = (v | v>>2) & 0x0F0F0F0F0F0F0F0F
	v = (v | v>>4) & 0x00FF00FF00FF00FF
	v = (v | v>>8) & 0x0000FFFF0000FFFF
	return uint32(v | v>>16)
}

const (
	latBits = 0x5555555555555555
	lonBits = 0xAAAAAAAAAAAAAAAA
)

// aligned is the least score in the box.
func (b geoBox) aligned() uint64 { return b.hash << (2*geoSteps - 2*b.step) }

// scores are the scores of the box, from min to max (exclusive).
func (b geoBox) scores() (min, max float64) {
	next := geoBox{b.hash + 1, b.step}
	return float64(b.aligned()), float64(next.aligned())
}

type geoArea struct{ min, max Place }

func (b geoBox) area() geoArea {
	lat, lon := deinterleave(b.hash), deinterleave(b.hash>>1)
	scale := float64(uint64(1) << b.step)
	at := func(i uint32, limit float64) float64 { return -limit + float64(float64(i)/scale*(limit+limit)) }
	return geoArea{min: Place{at(lon, MaxLon), at(lat, MaxLat)}, max: Place{at(lon+1, MaxLon), at(lat+1, MaxLat)}}
}

// east returns the neighbour that lies so many boxes to the east: -1, 0 or 1. Behind the map's edge comes its other side.
func (b geoBox) east(d int) geoBox { return geoBox{b.move(lonBits, latBits, d), b.step} }

// north returns the neighbour to the north, alike.
func (b geoBox) north(d int) geoBox { return geoBox{b.move(latBits, lonBits, d), b.step} }

// move adds d to the coordinate whose bits are in own.
func (b geoBox) move(own, other uint64, d int) uint64 {
	unused := 64 - 2*b.step
	moved := b.hash & own
	switch d {
	case 1:
		moved += other>>unused + 1
	case -1:
		moved |= other >> unused
		moved -= other>>unused + 1
	}
	return moved&(own>>unused) | b.hash&other
}

// GeoShape is what is searched: a circle, or a box whose sides have a length along the surface.
type GeoShape struct {
	Center        Place
	Box           bool
	Radius        float64 // of a circle
	Width, Height float64 // of a box
	Unit          float64 // of these lengths, in metres
}

// Distance says whether a place lies in the shape, and how far from its center, in metres.
func (s *GeoShape) Distance(p Place) (metres float64, ok bool) {
	if s.Box {
		if latDistance(p.Lat, s.Center.Lat) > s.Height*s.Unit/2 {
			return 0, false
		}
		if Distance(p, Place{s.Center.Lon, p.Lat}) > s.Width*s.Unit/2 {
			return 0, false
		}
		return Distance(s.Center, p), true
	}
	radius := s.Radius * s.Unit
	if roughDistance(s.Center, p) > radius+radius/1e6+1 {
		return 0, false
	}
	metres = Distance(s.Center, p)
	return metres, metres <= radius
}

// bounds are the degrees that the shape may reach.
func (s *GeoShape) bounds() geoArea {
	height, width := s.Unit*s.Radius, s.Unit*s.Radius
	if s.Box {
		height, width = s.Unit*(s.Height/2), s.Unit*(s.Width/2)
	}
	lat := height / earthRadius / degree
	nearest := s.Center.Lat + lat // to a pole
	if s.Center.Lat < 0 {
		nearest = s.Center.Lat - lat
	}
	lon := width / earthRadius / cos(float64(nearest*degree)) / degree
	return geoArea{min: Place{s.Center.Lon - lon, s.Center.Lat - lat}, max: Place{s.Center.Lon + lon, s.Center.Lat + lat}}
}

// reach is how far the shape goes from its center, in metres.
func (s *GeoShape) reach() float64 {
	if !s.Box {
		return s.Radius * s.Unit
	}
	w, h := s.Width/2, s.Height/2
	return math.Sqrt(float64(w*w)+float64(h*h)) * s.Unit
}

// estimateStep is how large the boxes are that are searched around a latitude.
func estimateStep(reach, lat float64) uint {
	if reach == 0 {
		return geoSteps
	}
	step := 1
	for ; reach < mercatorMax; reach *= 2 {
		step++
	}
	step -= 2
	if lat > 66 || lat < -66 {
		step--
		if lat > 80 || lat < -80 {
			step--
		}
	}
	return uint(min(max(step, 1), geoSteps))
}

// Ranges are the scores of the boxes that cover the shape, in the order in which Redis searches them. A place may be in two of them when they are so
// large that they meet behind the map's edge.
func (s *GeoShape) Ranges() []ScoreRange {
	bounds := s.bounds()
	step := estimateStep(s.reach(), s.Center.Lat)
	center := encodePlace(s.Center, MaxLat, step)
	if step > 1 && !center.covers(bounds) {
		step--
		center = encodePlace(s.Center, MaxLat, step)
	}
	var ranges []ScoreRange
	last := geoBox{}
	for i, b := range center.around(bounds) {
		if b.step == 0 || b == last {
			continue
		}
		low, high := b.scores()
		ranges = append(ranges, ScoreRange{Min: low, Max: high, MaxEx: true})
		if i > 0 { // Redis does not compare with the first
			last = b
		}
	}
	return ranges
}

// covers says whether the box with its neighbours holds the bounds.
func (b geoBox) covers(bounds geoArea) bool {
	less := b.north(1).area().max.Lat < bounds.max.Lat || b.north(-1).area().min.Lat > bounds.min.Lat ||
		b.east(1).area().max.Lon < bounds.max.Lon || b.east(-1).area().min.Lon > bounds.min.Lon
	return !less // also when a bound is no number
}

// around returns the box and its neighbours, of which those are none where the box itself reaches beyond the bounds.
func (b geoBox) around(bounds geoArea) [9]geoBox {
	area := b.area()
	small := b.step >= 2
	noNorth, noSouth := small && area.max.Lat > bounds.max.Lat, small && area.min.Lat < bounds.min.Lat
	noEast, noWest := small && area.max.Lon > bounds.max.Lon, small && area.min.Lon < bounds.min.Lon
	boxes := [9]geoBox{
		b, b.north(1), b.north(-1), b.east(1), b.east(-1),
		b.east(1).north(1), b.east(-1).north(1), b.east(1).north(-1), b.east(-1).north(-1),
	}
	for i, out := range [9]bool{
		false, noNorth, noSouth, noEast, noWest, noNorth || noEast, noNorth || noWest, noSouth || noEast, noSouth || noWest,
	} {
		if out {
			boxes[i] = geoBox{}
		}
	}
	return boxes
}
