package command

import (
	"time"

	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/engine/types"
	"github.com/cairndb/cairn/server/resp"
)

// streamRead is an XREAD or XREADGROUP.
type streamRead struct {
	group, consumer []byte // of XREADGROUP
	count           uint64 // 0 for all
	noAck           bool
	block           bool
	timeout         time.Duration // 0 for ever
	first           int           // index of the first key
	from            []streamFrom  // one for each key

	// stream and g are those that were looked at last: with one key, those to read from.
	stream *types.Stream
	g      *types.Group
}

// streamFrom is where the reading of a stream begins: behind an id, or behind all that the group was given.
type streamFrom struct {
	id  types.StreamID
	new bool
}

func xread(c *Ctx)      { c.xread(false) }
func xreadgroup(c *Ctx) { c.xread(true) }

func (c *Ctx) xread(group bool) {
	r, ok := c.streamRead(group)
	if !ok {
		return
	}
	at := len(c.Out.Buf)
	served, err := c.readStreams(&r)
	switch {
	case err != nil:
		c.failSince(at, err)
	case !served && !(r.block && c.blockStreams(&r)):
		c.Out.NullArray()
	}
}

// blockStreams waits for entries, or in a group for its end, too; false where nothing waits.
func (c *Ctx) blockStreams(r *streamRead) bool {
	b := Block{Keys: c.Args[r.first : r.first+len(r.from)], Type: keys.TypeStream, Timeout: r.timeout, Memo: r.from}
	if r.group != nil {
		b.Gone, b.Group = true, "g"+string(r.group)
	}
	return c.Block(b)
}

// streamRead parses the command and looks at the streams and groups that it names.
func (c *Ctx) streamRead(group bool) (r streamRead, ok bool) {
	if !c.streamReadOptions(&r, group) {
		return r, false
	}
	switch {
	case r.first == 0:
		c.syntaxError()
		return r, false
	case group && r.group == nil:
		c.Out.Error("ERR Missing GROUP option for XREADGROUP")
		return r, false
	}
	n := (len(c.Args) - r.first) / 2
	r.from = make([]streamFrom, n)
	for i := range r.from {
		if r.from[i], ok = c.streamFrom(&r, r.first+i, r.first+n+i); !ok {
			return r, false
		}
	}
	if from, ok := c.Waited().([]streamFrom); ok {
		r.from = from // what $ was then
	}
	return r, true
}

// streamReadOptions parses what stands before the keys.
func (c *Ctx) streamReadOptions(r *streamRead, group bool) (ok bool) {
	for i := 1; i < len(c.Args); i++ {
		more := len(c.Args) - 1 - i
		switch {
		case c.is(i, "block") && more > 0:
			i++
			r.block = true
			if r.timeout, ok = c.blockMillis(i); !ok {
				return false
			}
		case c.is(i, "count") && more > 0:
			i++
			n, ok := c.int(i)
			if !ok {
				return false
			}
			r.count = uint64(max(n, 0))
		case c.is(i, "streams") && more > 0:
			r.first = i + 1
			if more%2 != 0 {
				symbol := "$"
				if group {
					symbol = ">"
				}
				c.Out.Error("ERR Unbalanced '" + c.Cmd.Name + "' list of streams: for each stream key an ID or '" + symbol + "' must be specified.")
				return false
			}
			return true
		case c.is(i, "group") && more > 1:
			if !group {
				c.Out.Error("ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.")
				return false
			}
			r.group, r.consumer = c.Args[i+1], c.Args[i+2]
			i += 2
		case c.is(i, "noack"):
			if !group {
				c.Out.Error("ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.")
				return false
			}
			r.noAck = true
		default:
			c.syntaxError()
			return false
		}
	}
	return true
}

// streamFrom looks at the stream at args[key], and parses the id args[id].
func (c *Ctx) streamFrom(r *streamRead, key, id int) (from streamFrom, ok bool) {
	s, ok := c.openStream(key)
	if !ok {
		return from, false
	}
	r.stream = &s
	if r.group != nil {
		if r.g, ok = c.streamGroup(&s, r.group); !ok {
			return from, false
		}
		if r.g == nil {
			c.Out.Error(c.noGroup(key, r.group) + " in XREADGROUP with GROUP option")
			return from, false
		}
	}
	switch string(resp.CString(c.Args[id])) {
	case "$":
		if r.group == nil {
			return streamFrom{id: s.LastID()}, true
		}
		c.Out.Error("ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by specifying a proper ID, " +
			"or use the > ID to get new messages. The $ ID would just return an empty result set.")
		return from, false
	case ">":
		if r.group != nil {
			return streamFrom{new: true}, true
		}
		c.Out.Error("ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.")
		return from, false
	}
	from.id, ok = c.streamID(id)
	from.new = r.group != nil && from.id == types.MaxStreamID
	return from, ok
}

// streamGroup returns a group of a stream, nil if one of them is not there; ok is false when it has answered an error.
func (c *Ctx) streamGroup(s *types.Stream, name []byte) (g *types.Group, ok bool) {
	g, err := s.Group(name)
	if err != nil {
		c.Fail(err)
	}
	return g, err == nil
}

// readStreams replies with what there is, and says whether there was anything: without it nothing was written to the reply.
func (c *Ctx) readStreams(r *streamRead) (served bool, err error) {
	at, n := len(c.Out.Buf), 0
	for i := range r.from {
		k := r.first + i
		if err := c.reopen(r, k); err != nil {
			return false, err
		}
		s := r.stream
		if !s.Exists() {
			continue
		}
		got := false
		if r.group != nil {
			got, err = c.readGroup(r, k, r.from[i])
		} else if s.Len() > 0 && s.TopID().Compare(r.from[i].id) > 0 {
			got = true
			c.streamName(k)
			from, _ := r.from[i].id.Next()
			err = c.streamEntries(s, from, types.MaxStreamID, false, r.count)
		}
		if err != nil {
			return false, err
		}
		if got {
			n++
		}
	}
	if n == 0 {
		return false, nil
	}
	prefix := byte('*')
	if c.Out.Proto3 {
		prefix = '%'
	}
	c.counted(at, prefix, n)
	return true, nil
}

// reopen opens the stream at args[key], and the group of it, unless they are open already. A key may be named twice.
func (c *Ctx) reopen(r *streamRead, key int) error {
	if len(r.from) == 1 {
		return nil
	}
	s, err := types.OpenStream(c.Txn, c.Key(key))
	r.stream = &s
	if err == nil && r.group != nil {
		r.g, err = s.Group(r.group)
	}
	return err
}

// streamName begins what is read from the stream at args[key].
func (c *Ctx) streamName(key int) {
	if !c.Out.Proto3 {
		c.Out.Array(2)
	}
	c.Out.Bulk(c.Args[key])
}

// readGroup reads from one stream for a consumer, which is made if it is new, and says whether there was anything: a history is, even an empty one.
func (c *Ctx) readGroup(r *streamRead, key int, from streamFrom) (got bool, err error) {
	g := r.g
	consumer, created, err := g.CreateConsumer(r.consumer)
	if err != nil {
		return false, err
	}
	if now := c.Txn.Now(); consumer.Seen != now {
		g.SetTimes(consumer, now, consumer.Active)
	}
	got = !from.new || g.Undelivered()
	if !got && c.Waits() && !created {
		return false, nil // it was seen when it began to wait
	}
	if got {
		c.streamName(key)
		at, n := len(c.Out.Buf), 0
		if from.new {
			err = g.Deliver(consumer, r.count, r.noAck, func(id types.StreamID, f types.Fields) {
				c.streamEntry(id, f)
				n++
			})
		} else {
			n, err = c.history(r, g, consumer, from.id)
		}
		if err != nil {
			return false, err
		}
		c.counted(at, '*', n)
	}
	return got, g.Save()
}

// history writes what is pending for a consumer behind an id.
func (c *Ctx) history(r *streamRead, g *types.Group, consumer *types.Consumer, behind types.StreamID) (n int, err error) {
	from, _ := behind.Next()
	err = g.History(consumer, from, r.count, func(id types.StreamID, f types.Fields, ok bool) {
		n++
		if ok {
			c.streamEntry(id, f)
			return
		}
		c.Out.Array(2)
		c.writeStreamID(id)
		c.Out.NullArray()
	})
	return n, err
}

// streamReadKeys finds the keys of XREAD and XREADGROUP (Redis: xreadGetKeys). Without them the handler answers a syntax error.
func streamReadKeys(args [][]byte) (idx []int, err error) {
	for i := 1; i < len(args); i++ {
		switch {
		case equalFold(args[i], "block"), equalFold(args[i], "count"):
			i++
		case equalFold(args[i], "group"):
			i += 2
		case equalFold(args[i], "noack"):
		case equalFold(args[i], "streams"):
			n := len(args) - i - 1
			if n == 0 || n%2 != 0 {
				return nil, errBadKeys
			}
			for k := range n / 2 {
				idx = append(idx, i+1+k)
			}
			return idx, nil
		default:
			return nil, errBadKeys
		}
	}
	return nil, errBadKeys
}
