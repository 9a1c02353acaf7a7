package command

import (
	"bytes"
	"cmp"
	"errors"
	"slices"

	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/engine/types"
	"github.com/cairndb/cairn/server/resp"
)

// sorting is a SORT or a SORT_RO.
type sorting struct {
	by       []byte // the pattern of the keys to sort by, nil for the elements themselves
	unsorted bool   // BY a name that is the same for all elements: their own order stays
	desc     bool
	alpha    bool
	offset   int64
	count    int64 // negative for all
	get      [][]byte
	store    []byte // nil for none
}

// weighed is an element with what it is sorted by.
type weighed struct {
	element []byte
	score   float64
	text    []byte // with ALPHA and BY, nil for a missing one
}

const (
	errSortBy    = "ERR BY option of SORT denied in Cluster mode."
	errSortGet   = "ERR GET option of SORT denied in Cluster mode."
	errSortScore = "ERR One or more scores can't be converted into double"
)

// sortKeys finds the keys of a SORT (Redis: sortGetKeys): that of the last STORE counts.
func sortKeys(args [][]byte) ([]int, error) {
	idx := []int{1}
	for i := 2; i < len(args); i++ {
		switch {
		case equalFold(args[i], "limit"):
			i += 2
		case equalFold(args[i], "get"), equalFold(args[i], "by"):
			i++
		case equalFold(args[i], "store") && i+1 < len(args):
			idx = append(idx[:1], i+1)
		}
	}
	return idx, nil
}

// sortPatterns says whether a SORT reads keys that it does not name: then it needs all there are.
func sortPatterns(args [][]byte) bool {
	for i := 2; i+1 < len(args); i++ {
		if (equalFold(args[i], "by") || equalFold(args[i], "get")) && isPattern(args[i+1]) {
			return true
		}
	}
	return false
}

// isPattern: a C string ends at its first zero byte.
func isPattern(b []byte) bool { return bytes.IndexByte(resp.CString(b), '*') >= 0 }

func sortCommand(c *Ctx)  { c.sort(true) }
func sortReadOnly(c *Ctx) { c.sort(false) }

func (c *Ctx) sort(mayStore bool) {
	s, ok := c.sorting(mayStore)
	if !ok {
		return
	}
	elements, typ, err := c.sortElements(&s)
	if err != nil {
		c.Fail(err)
		return
	}
	if !s.unsorted {
		sortable, err := c.sortBy(&s, elements)
		if err != nil {
			c.Fail(err)
			return
		}
		if !sortable {
			c.Out.Error(errSortScore)
			return
		}
	}
	if !s.unsorted || typ == keys.TypeSet {
		from, to := s.limits(len(elements))
		elements = elements[from:to]
	}
	if s.store != nil {
		c.sortStore(&s, elements)
		return
	}
	begin := len(c.Out.Buf)
	c.Out.Array(len(elements) * max(len(s.get), 1))
	for i := range elements {
		if len(s.get) == 0 {
			c.Out.Bulk(elements[i].element)
		}
		for _, pattern := range s.get {
			v, found, err := c.byPattern(pattern, elements[i].element)
			switch {
			case err != nil:
				c.failInstead(begin, err)
				return
			case found:
				c.Out.Bulk(v)
			default:
				c.Out.Null()
			}
		}
	}
}

// sorting parses the request, or answers the error.
func (c *Ctx) sorting(mayStore bool) (s sorting, ok bool) {
	s.count = -1
	for i := 2; i < len(c.Args); i++ {
		more := len(c.Args) - 1 - i
		switch {
		case c.is(i, "asc"):
			s.desc = false
		case c.is(i, "desc"):
			s.desc = true
		case c.is(i, "alpha"):
			s.alpha = true
		case c.is(i, "limit") && more >= 2:
			if s.offset, ok = c.int(i + 1); !ok {
				return s, false
			}
			if s.count, ok = c.int(i + 2); !ok {
				return s, false
			}
			i += 2
		case mayStore && c.is(i, "store") && more >= 1:
			s.store = c.Args[i+1]
			i++
		case c.is(i, "by") && more >= 1:
			i++
			s.by = c.Args[i]
			if !isPattern(s.by) {
				s.unsorted = true
			} else if c.Node.View().Enabled() {
				c.Out.Error(errSortBy)
				return s, false
			}
		case c.is(i, "get") && more >= 1:
			if c.Node.View().Enabled() {
				c.Out.Error(errSortGet)
				return s, false
			}
			i++
			s.get = append(s.get, c.Args[i])
		default:
			c.syntaxError()
			return s, false
		}
	}
	return s, true
}

// limits are the bounds of what LIMIT selects of n elements.
func (s *sorting) limits(n int) (from, to int) {
	start := min(max(s.offset, 0), int64(n))
	if s.count < 0 {
		return int(start), n
	}
	return int(start), int(min(start+min(s.count, int64(n)), int64(n)))
}

// sortElements reads the elements to sort; those of a list or a sorted set that keeps its order only as far as LIMIT selects them.
func (c *Ctx) sortElements(s *sorting) (elements []weighed, typ keys.Type, err error) {
	k := c.Key(1)
	rec, found, err := c.Txn.Get(k)
	if err != nil || !found {
		return nil, keys.TypeNone, err
	}
	keep := func(e []byte) bool {
		elements = append(elements, weighed{element: bytes.Clone(e)})
		return true
	}
	switch rec.Type {
	case keys.TypeList:
		l, err := types.OpenList(c.Txn, k)
		if err != nil {
			return nil, rec.Type, err
		}
		from, to := 0, int(l.Len())
		reverse := s.unsorted && s.desc
		if s.unsorted {
			if from, to = s.limits(to); reverse {
				from, to = int(l.Len())-to, int(l.Len())-from
			}
		}
		if from < to {
			err = l.Each(int64(from), int64(to-from), reverse, keep)
		}
		return elements, rec.Type, err
	case keys.TypeSet:
		if s.unsorted && s.store != nil { // so that what is stored depends on nothing but the set
			s.unsorted, s.alpha, s.by = false, true, nil
		}
		set, err := types.OpenSet(c.Txn, k)
		if err == nil {
			err = set.Each(keep)
		}
		return elements, rec.Type, err
	case keys.TypeZSet:
		z, err := types.OpenZSet(c.Txn, k)
		if err != nil {
			return nil, rec.Type, err
		}
		from, to := 0, int(z.Len())
		if s.unsorted {
			from, to = s.limits(to)
		}
		if from < to {
			err = z.Walk(types.Span{}, s.unsorted && s.desc, int64(from), int64(to-from), func(e types.Scored) bool { return keep(e.Member) })
		}
		return elements, rec.Type, err
	}
	return nil, rec.Type, types.ErrWrongType
}

// sortBy sorts the elements; false: one of them has no number to be sorted by.
func (c *Ctx) sortBy(s *sorting, elements []weighed) (sortable bool, err error) {
	sortable = true
	for i := range elements {
		e := &elements[i]
		text, found := e.element, true
		if s.by != nil {
			if text, found, err = c.byPattern(s.by, e.element); err != nil {
				return false, err
			}
		}
		switch {
		case !found:
		case s.alpha:
			if e.text = text; text == nil {
				e.text = []byte{}
			}
		default:
			var ok bool
			e.score, ok = types.ParseWeight(text)
			sortable = sortable && ok
		}
	}
	if !sortable {
		return false, nil
	}
	slices.SortStableFunc(elements, func(a, b weighed) int {
		order := s.compare(&a, &b)
		if s.desc {
			return -order
		}
		return order
	})
	return true, nil
}

// compare orders elements as Redis does in the C locale, in which what is not stored is compared as C strings.
func (s *sorting) compare(a, b *weighed) int {
	switch {
	case !s.alpha:
		if order := cmp.Compare(a.score, b.score); order != 0 {
			return order
		}
		return bytes.Compare(a.element, b.element)
	case a.text == nil || b.text == nil:
		return cmp.Compare(boolInt(a.text != nil), boolInt(b.text != nil))
	case s.store != nil:
		return bytes.Compare(a.text, b.text)
	}
	return bytes.Compare(resp.CString(a.text), resp.CString(b.text))
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// byPattern looks up what a pattern of BY or GET means for an element: "#" is the element itself; else the element takes the place of the first star
// in the name of a string, or of a hash and, behind "->", a field (Redis: lookupKeyByPattern).
func (c *Ctx) byPattern(pattern, element []byte) (value []byte, found bool, err error) {
	if string(resp.CString(pattern)) == "#" {
		return element, true, nil
	}
	star := bytes.IndexByte(resp.CString(pattern), '*')
	if star < 0 {
		return nil, false, nil
	}
	rest, field := pattern[star+1:], []byte(nil)
	if arrow := bytes.Index(resp.CString(rest), []byte("->")); arrow >= 0 && arrow+2 < len(resp.CString(rest)) {
		rest, field = rest[:arrow], rest[arrow+2:]
	}
	k := c.key(slices.Concat(pattern[:star], element, rest))
	if field != nil {
		h, err := types.OpenHash(c.Txn, k)
		if err != nil {
			return nil, false, ignoreWrongType(err)
		}
		return h.Get(field)
	}
	str, err := types.OpenString(c.Txn, k)
	if err != nil || !str.Exists() {
		return nil, false, ignoreWrongType(err)
	}
	value, err = str.Bytes()
	if value == nil {
		value = []byte{}
	}
	return value, true, err
}

// ignoreWrongType: a key of another type counts as absent.
func ignoreWrongType(err error) error {
	if errors.Is(err, types.ErrWrongType) {
		return nil
	}
	return err
}

// sortStore makes the result a list.
func (c *Ctx) sortStore(s *sorting, elements []weighed) {
	values := make([][]byte, 0, len(elements)*max(len(s.get), 1))
	for i := range elements {
		if len(s.get) == 0 {
			values = append(values, elements[i].element)
		}
		for _, pattern := range s.get {
			v, _, err := c.byPattern(pattern, elements[i].element)
			if err != nil {
				c.Fail(err)
				return
			}
			values = append(values, v)
		}
	}
	to := c.key(s.store)
	_, err := c.Txn.Delete(to)
	if err == nil && len(values) > 0 {
		var l types.List
		if l, err = types.OpenList(c.Txn, to); err == nil {
			err = l.Push(types.Right, values...)
		}
	}
	if err != nil {
		c.Fail(err)
		return
	}
	c.Out.Int(int64(len(values)))
}
