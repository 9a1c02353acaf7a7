package command

import (
	"bytes"
	"fmt"
	"math"
	"strconv"

	"github.com/cairndb/cairn/engine/types"
	"github.com/cairndb/cairn/server/resp"
)

// double parses args[i], or answers that it is none.
func (c *Ctx) double(i int, text string) (float64, bool) {
	f, ok := types.ParseDouble(c.Args[i])
	if !ok {
		c.Out.Error(text)
	}
	return f, ok
}

// place parses longitude and latitude at args[i], or answers what is wrong.
func (c *Ctx) place(i int) (p types.Place, ok bool) {
	if p.Lon, ok = c.double(i, resp.ErrNotFloat); !ok {
		return p, false
	}
	if p.Lat, ok = c.double(i+1, resp.ErrNotFloat); !ok {
		return p, false
	}
	if !p.Valid() {
		c.Out.Error("ERR invalid longitude,latitude pair " + fixed6(p.Lon) + "," + fixed6(p.Lat))
		return p, false
	}
	return p, true
}

// fixed6 is C's %f.
func fixed6(f float64) string {
	if math.IsInf(f, 0) {
		return string(resp.AppendDouble(nil, f))
	}
	return strconv.FormatFloat(f, 'f', 6, 64)
}

// unit parses a unit of length at args[i], in metres, or answers that there is none such.
func (c *Ctx) unit(i int) (metres float64, ok bool) {
	switch {
	case c.is(i, "m"):
		return 1, true
	case c.is(i, "km"):
		return 1000, true
	case c.is(i, "ft"):
		return 0.3048, true
	case c.is(i, "mi"):
		return 1609.34, true
	}
	c.Out.Error("ERR unsupported unit provided. please use M, KM, FT, MI")
	return 0, false
}

// distance writes a length with four decimals (Redis: fixedpoint_d2string).
func (c *Ctx) distance(d float64) {
	scaled := math.RoundToEven(d * 10000)
	if math.Abs(scaled) < 1<<62 {
		n := int64(scaled)
		c.Out.BulkString(fmt.Sprintf("%d.%04d", n/10000, n%10000))
		return
	}
	c.Out.BulkString(strconv.FormatFloat(d, 'f', 4, 64))
}

// coordinates writes a place as Redis does, with up to 17 decimals.
func (c *Ctx) coordinates(p types.Place) {
	c.Out.Array(2)
	for _, f := range [...]float64{p.Lon, p.Lat} {
		text := strconv.AppendFloat(nil, f, 'f', 17, 64)
		text = bytes.TrimSuffix(bytes.TrimRight(text, "0"), []byte("."))
		if string(text) == "-0" {
			text = text[1:]
		}
		if c.Out.Proto3 {
			c.Out.Raw(append(append([]byte{','}, text...), "\r\n"...))
		} else {
			c.Out.Bulk(text)
		}
	}
}

func geoadd(c *Ctx) {
	var how types.How
	first, changed := 2, false
options:
	for ; first < len(c.Args); first++ {
		switch {
		case c.is(first, "nx"):
			how |= types.ZIfAbsent
		case c.is(first, "xx"):
			how |= types.ZIfPresent
		case c.is(first, "ch"):
			changed = true
		default:
			break options
		}
	}
	n := len(c.Args) - first
	if n == 0 || n%3 != 0 || how == types.ZIfAbsent|types.ZIfPresent {
		c.syntaxError()
		return
	}
	elements := make([]types.Scored, n/3)
	for i := range elements {
		at := first + 3*i
		p, ok := c.place(at)
		if !ok {
			return
		}
		elements[i] = types.Scored{Member: c.Args[at+2], Score: p.Score()}
	}
	c.addPlaces(elements, how, changed)
}

func (c *Ctx) addPlaces(elements []types.Scored, how types.How, changed bool) {
	z, ok := c.zset(1)
	if !ok {
		return
	}
	added, err := int64(0), error(nil)
	if z.Exists() || how&types.ZIfPresent == 0 {
		err = z.Expect(len(elements), elements[0].Member)
		for i := 0; err == nil && i < len(elements); i++ {
			var done types.Added
			done, err = z.Add(elements[i].Member, elements[i].Score, how)
			if done.New || (changed && done.Moved) {
				added++
			}
		}
		if err == nil {
			err = z.Save()
		}
	}
	c.count(added, err)
}

func geopos(c *Ctx) {
	c.eachPlace(c.Out.NullArray, c.coordinates)
}

func geohash(c *Ctx) {
	c.eachPlace(c.Out.Null, func(p types.Place) { c.Out.BulkString(p.Geohash()) })
}

// eachPlace answers for each of the members given.
func (c *Ctx) eachPlace(absent func(), write func(types.Place)) {
	z, ok := c.zset(1)
	if !ok {
		return
	}
	begin := len(c.Out.Buf)
	c.Out.Array(len(c.Args) - 2)
	for _, member := range c.Args[2:] {
		score, found, err := z.Score(member)
		switch {
		case err != nil:
			c.failAt(begin, err)
			return
		case found:
			write(types.PlaceOf(score))
		default:
			absent()
		}
	}
}

func geodist(c *Ctx) {
	unit := 1.0
	switch {
	case len(c.Args) > 5:
		c.syntaxError()
		return
	case len(c.Args) == 5:
		var ok bool
		if unit, ok = c.unit(4); !ok {
			return
		}
	}
	z, ok := c.zset(1)
	if !ok {
		return
	}
	var places [2]types.Place
	for i := range places {
		score, found, err := z.Score(c.Args[2+i])
		if err != nil {
			c.Fail(err)
			return
		}
		if !found {
			c.Out.Null()
			return
		}
		places[i] = types.PlaceOf(score)
	}
	c.distance(types.Distance(places[0], places[1]) / unit)
}
