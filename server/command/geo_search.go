package command

import (
	"math"

	"github.com/cairndb/cairn/engine/types"
)

// geoSearch is a GEOSEARCH, or one of the older commands that it took the place of.
type geoSearch struct {
	shape                         types.GeoShape
	withDist, withHash, withCoord bool
	from, by                      bool // GEOSEARCH was told where, and how far
	radius                        bool // by a radius
	member                        bool // from a member
	sorted, farthest              bool
	any                           bool
	count                         int64 // 0 for all
	store                         int   // index of the key to store under, 0 for none
	byDistance                    bool  // scores are distances
}

// geoForm says which command it is.
type geoForm struct {
	source   int  // index of the key to search
	options  int  // where the options begin
	search   bool // center and shape are options
	stores   bool // STORE and STOREDIST are options
	storeAll bool // GEOSEARCHSTORE
}

func georadius(c *Ctx)   { c.geoRadius(geoForm{source: 1, options: 6, stores: true}) }
func georadiusRO(c *Ctx) { c.geoRadius(geoForm{source: 1, options: 6}) }

func georadiusbymember(c *Ctx)   { c.geoRadius(geoForm{source: 1, options: 5, stores: true}) }
func georadiusbymemberRO(c *Ctx) { c.geoRadius(geoForm{source: 1, options: 5}) }

func geosearch(c *Ctx) { c.geoSearch(geoForm{source: 1, options: 2, search: true}) }
func geosearchstore(c *Ctx) {
	c.geoSearch(geoForm{source: 2, options: 3, search: true, storeAll: true})
}

// geoRadius is a command that has center and radius before its options.
func (c *Ctx) geoRadius(f geoForm) {
	z, ok := c.zset(f.source)
	if !ok {
		return
	}
	var s geoSearch
	switch {
	case f.options == 6:
		if s.shape.Center, ok = c.place(2); !ok {
			return
		}
	case !z.Exists(): // then nobody asks for the radius
		c.geoAnswer(&z, f, &s)
		return
	default:
		if ok = c.geoMember(&z, &s, 2); !ok {
			return
		}
	}
	if c.geoLength(&s, f.options-2) {
		c.geoAnswer(&z, f, &s)
	}
}

func (c *Ctx) geoSearch(f geoForm) {
	z, ok := c.zset(f.source)
	if !ok {
		return
	}
	var s geoSearch
	if f.storeAll {
		s.store = 1
	}
	c.geoAnswer(&z, f, &s)
}

// geoMember makes the place of a member the center.
func (c *Ctx) geoMember(z *types.ZSet, s *geoSearch, i int) bool {
	score, found, err := z.Score(c.Args[i])
	switch {
	case err != nil:
		c.Fail(err)
	case !found:
		c.Out.Error("ERR could not decode requested zset member")
	default:
		s.shape.Center = types.PlaceOf(score)
		return true
	}
	return false
}

// geoLength parses a radius and its unit at args[i].
func (c *Ctx) geoLength(s *geoSearch, i int) (ok bool) {
	if s.shape.Radius, ok = c.double(i, "ERR need numeric radius"); !ok {
		return false
	}
	if s.shape.Radius < 0 {
		c.Out.Error("ERR radius cannot be negative")
		return false
	}
	s.shape.Unit, ok = c.unit(i + 1)
	return ok
}

// geoBox parses width, height and their unit at args[i].
func (c *Ctx) geoBox(s *geoSearch, i int) (ok bool) {
	if s.shape.Width, ok = c.double(i, "ERR need numeric width"); !ok {
		return false
	}
	if s.shape.Height, ok = c.double(i+1, "ERR need numeric height"); !ok {
		return false
	}
	if s.shape.Width < 0 || s.shape.Height < 0 {
		c.Out.Error("ERR height or width cannot be negative")
		return false
	}
	s.shape.Unit, ok = c.unit(i + 2)
	return ok
}

// geoOptions parses the options, or answers what is wrong.
func (c *Ctx) geoOptions(z *types.ZSet, f geoForm, s *geoSearch) bool {
	for i := f.options; i < len(c.Args); i++ {
		n, ok := c.geoOption(z, f, s, i)
		if !ok {
			return false
		}
		i += n
	}
	switch {
	case s.store != 0 && (s.withDist || s.withHash || s.withCoord):
		what := "STORE option in GEORADIUS"
		if f.storeAll {
			what = "GEOSEARCHSTORE"
		}
		c.Out.Error("ERR " + what + " is not compatible with WITHDIST, WITHHASH and WITHCOORD options")
	case f.search && !s.from:
		c.Out.Error("ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for " + string(c.Args[0]))
	case f.search && !s.by:
		c.Out.Error("ERR exactly one of BYRADIUS and BYBOX can be specified for " + string(c.Args[0]))
	case s.any && s.count == 0:
		c.Out.Error("ERR the ANY argument requires COUNT argument")
	default:
		return true
	}
	return false
}

// geoOption parses the option at args[i] and returns how many arguments of its own it has.
func (c *Ctx) geoOption(z *types.ZSet, f geoForm, s *geoSearch, i int) (n int, ok bool) {
	left := len(c.Args) - i - 1
	switch {
	case c.is(i, "withdist"):
		s.withDist = true
	case c.is(i, "withhash"):
		s.withHash = true
	case c.is(i, "withcoord"):
		s.withCoord = true
	case c.is(i, "any"):
		s.any = true
	case c.is(i, "asc"):
		s.sorted, s.farthest = true, false
	case c.is(i, "desc"):
		s.sorted, s.farthest = true, true
	case c.is(i, "count") && left >= 1:
		if s.count, ok = c.int(i + 1); ok && s.count <= 0 {
			c.Out.Error("ERR COUNT must be > 0")
			ok = false
		}
		return 1, ok
	case f.stores && left >= 1 && (c.is(i, "store") || c.is(i, "storedist")):
		s.store, s.byDistance = i+1, c.is(i, "storedist")
		return 1, true
	case f.storeAll && c.is(i, "storedist"):
		s.byDistance = true
	case f.search:
		return c.geoWhere(z, s, i, left)
	default:
		c.syntaxError()
		return 0, false
	}
	return 0, true
}

// geoWhere parses the center or the shape of a GEOSEARCH.
func (c *Ctx) geoWhere(z *types.ZSet, s *geoSearch, i, left int) (n int, ok bool) {
	switch {
	case c.is(i, "frommember") && left >= 1 && (!s.from || s.member):
		s.from, s.member = true, true
		return 1, !z.Exists() || c.geoMember(z, s, i+1)
	case c.is(i, "fromlonlat") && left >= 2 && !s.member:
		s.from = true
		s.shape.Center, ok = c.place(i + 1)
		return 2, ok
	case c.is(i, "byradius") && left >= 2 && (!s.by || s.radius):
		s.by, s.radius = true, true
		return 2, c.geoLength(s, i+1)
	case c.is(i, "bybox") && left >= 3 && !s.radius:
		s.by, s.shape.Box = true, true
		return 3, c.geoBox(s, i+1)
	}
	c.syntaxError()
	return 0, false
}

// geoAnswer parses the options, searches and answers.
func (c *Ctx) geoAnswer(z *types.ZSet, f geoForm, s *geoSearch) {
	if !c.geoOptions(z, f, s) {
		return
	}
	var points []types.GeoPoint
	if z.Exists() {
		limit := int64(0)
		if s.any {
			limit = s.count
		}
		var err error
		if points, err = z.Within(&s.shape, limit); err != nil {
			c.Fail(err)
			return
		}
	}
	n := len(points)
	if s.count != 0 {
		n = int(min(int64(n), s.count))
	}
	if s.sorted || s.count != 0 && !s.any { // who counts wants the nearest
		types.Nearest(points, n, s.farthest)
	}
	points = points[:n]
	if s.store == 0 {
		c.geoPoints(points, s)
		return
	}
	c.count(int64(n), types.StorePoints(c.Txn, c.Key(s.store), points, s.byDistance, s.shape.Unit))
}

func (c *Ctx) geoPoints(points []types.GeoPoint, s *geoSearch) {
	fields := 1
	for _, with := range [...]bool{s.withDist, s.withHash, s.withCoord} {
		if with {
			fields++
		}
	}
	c.Out.Array(len(points))
	for i := range points {
		p := &points[i]
		if fields > 1 {
			c.Out.Array(fields)
		}
		c.Out.Bulk(p.Member)
		if s.withDist {
			c.distance(p.Distance / s.shape.Unit)
		}
		if s.withHash {
			c.Out.Int(geoHashInt(p.Score))
		}
		if s.withCoord {
			c.coordinates(p.Place)
		}
	}
}

// geoHashInt is a score as an integer, on x86-64 also where it doesn't fit.
func geoHashInt(score float64) int64 {
	if score >= 1<<63 || score < -1<<63 {
		return math.MinInt64
	}
	return int64(score)
}

// geoRadiusKeys are the keys of GEORADIUS and GEORADIUSBYMEMBER: of several to store under, the last one counts.
func geoRadiusKeys(args [][]byte) (idx []int, err error) {
	if len(args) < 2 {
		return nil, errBadKeys
	}
	store := 0
	for i := 5; i+1 < len(args); i++ {
		if equalFold(args[i], "store") || equalFold(args[i], "storedist") {
			store = i + 1
			i++
		}
	}
	if store == 0 {
		return []int{1}, nil
	}
	return []int{1, store}, nil
}
