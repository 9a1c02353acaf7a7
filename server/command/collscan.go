package command

import (
	"math"
	"strconv"

	"github.com/cairndb/cairn/server/glob"
	"github.com/cairndb/cairn/server/resp"
)

// collectionScan is an HSCAN, SSCAN or ZSCAN. The order is Redis's: the cursor is parsed, then the key is looked up, and the options only when it exists.
//
//	s, ok := c.scanCursor()            answers an invalid cursor
//	…                                  open the collection; s.empty() answers when there is none
//	if ok := s.options(); !ok          answers what is wrong
//	next, err := Scan(s.cursor, s.count, func(…) { if s.selects(member) { s.add(member); s.add(score) } })
//	s.reply(next, err)
type collectionScan struct {
	c       *Ctx
	cursor  uint64
	count   int
	pattern []byte // nil selects everything
	// noValues is HSCAN's NOVALUES.
	noValues bool

	found resp.Writer
	n     int
}

// scanCursor parses args[2], or answers that it is no cursor.
func (c *Ctx) scanCursor() (s collectionScan, ok bool) {
	s = collectionScan{c: c, count: 10}
	if s.cursor, ok = parseCursor(c.Args[2]); !ok {
		c.Out.Error(resp.ErrCursor)
	}
	return s, ok
}

// options parses what stands behind the cursor.
func (s *collectionScan) options() bool {
	c := s.c
	for i := 3; i < len(c.Args); i++ {
		more := i+1 < len(c.Args)
		switch {
		case more && c.is(i, "count"):
			i++
			n, ok := c.int(i)
			if !ok {
				return false
			}
			if n < 1 {
				c.syntaxError()
				return false
			}
			s.count = int(min(n, math.MaxInt32))
		case more && c.is(i, "match"):
			i++
			if s.pattern = c.Args[i]; glob.MatchAll(s.pattern) {
				s.pattern = nil
			}
		case c.is(i, "novalues"):
			if c.Cmd.Name != "hscan" {
				c.Out.Error("ERR NOVALUES option can only be used in HSCAN")
				return false
			}
			s.noValues = true
		default:
			c.syntaxError()
			return false
		}
	}
	return true
}

// selects says whether an element is to be returned.
func (s *collectionScan) selects(element []byte) bool {
	return s.pattern == nil || glob.Match(s.pattern, element, false)
}

// add appends a bulk string to the reply.
func (s *collectionScan) add(b []byte) {
	s.found.Bulk(b)
	s.n++
}

// empty answers for a key that does not exist.
func (s *collectionScan) empty() { s.reply(0, nil) }

// reply answers what was added, and where the scan goes on.
func (s *collectionScan) reply(next uint64, err error) {
	if err != nil {
		s.c.Fail(err)
		return
	}
	w := &s.c.Out
	w.Array(2)
	w.BulkString(strconv.FormatUint(next, 10))
	w.Array(s.n)
	w.Raw(s.found.Buf)
}
