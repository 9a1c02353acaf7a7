package types

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
)

// Parts of a group's sub-keys, behind its number.
const (
	groupConsumers = 'c'
	groupNames     = 'n'
	groupPending   = 'p'
	groupOwned     = 'q'
	groupEnd       = groupOwned + 1
)

// UnknownRead is the value of Group.Read that says that nobody knows.
const UnknownRead = -1

// Group is a consumer group. What changes it writes pending entries at once, and the rest by Group.Save.
type Group struct {
	Name []byte
	// LastID is the last entry that was delivered, Read how many entries of the stream that makes, or UnknownRead.
	LastID StreamID
	Read   int64

	s            *Stream
	id           uint64
	pending      uint64 // entries
	consumers    uint64 // that there are
	nextConsumer uint64 // the number of the next one
	bytes        uint64 // of the group's sub-keys, but for its own record
	span         pendingSpan
	one          *Consumer            // the first that was loaded
	loaded       map[uint64]*Consumer // the others
	changed      []*Consumer
	stored       int    // length of the record, or absent
	old          []byte // the record, if it is at hand
}

// Consumer is a consumer of a group.
type Consumer struct {
	Name []byte
	// Seen is when it last tried to read or claim, Active when it last got something, -1 for never; in unix milliseconds.
	Seen, Active int64

	id      uint64
	pending uint64
	span    pendingSpan
	changed bool
	stored  int
}

// pendingSpan are bounds of pending entries, so that nobody walks what was just acknowledged: no pending entry lies outside, and
// only few acknowledged ones inside since they were settled.
type pendingSpan struct {
	low, high StreamID
	removed   uint64 // since the bounds were settled
}

// spanSlack is how many entries are removed before the bounds are settled anew.
const spanSlack = 512

func (p *pendingSpan) include(id StreamID, first bool) {
	if first {
		*p = pendingSpan{low: id, high: id}
		return
	}
	p.low, p.high = minID(p.low, id), maxID(p.high, id)
}

func (p *pendingSpan) append(dst []byte) []byte {
	return binary.AppendUvarint(p.high.appendValue(p.low.appendValue(dst)), p.removed)
}

func (p *pendingSpan) decode(r *fieldReader) {
	p.low, p.high = r.id(), r.id()
	p.removed = r.uint()
}

func (g *Group) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, g.id)
	dst = g.LastID.appendValue(dst)
	dst = binary.AppendVarint(dst, g.Read)
	for _, n := range [...]uint64{g.pending, g.consumers, g.nextConsumer, g.bytes} {
		dst = binary.AppendUvarint(dst, n)
	}
	if g.pending > 0 {
		dst = g.span.append(dst)
	}
	return dst
}

func (s *Stream) decodeGroup(name, value []byte) (*Group, error) {
	g := &Group{Name: name, s: s, stored: len(value)}
	r := fieldReader{b: value}
	g.id = r.uint()
	g.LastID = r.id()
	g.Read = r.int()
	for _, n := range [...]*uint64{&g.pending, &g.consumers, &g.nextConsumer, &g.bytes} {
		*n = r.uint()
	}
	if g.pending > 0 {
		g.span.decode(&r)
	}
	return g, r.err()
}

func (c *Consumer) append(dst []byte) []byte {
	dst = appendBytes(dst, c.Name)
	dst = binary.AppendVarint(binary.AppendVarint(dst, c.Seen), c.Active)
	dst = binary.AppendUvarint(dst, c.pending)
	if c.pending > 0 {
		dst = c.span.append(dst)
	}
	return dst
}

func decodeConsumer(id uint64, value []byte) (*Consumer, error) {
	c := &Consumer{id: id, stored: len(value)}
	r := fieldReader{b: value}
	c.Name = r.bytes()
	c.Seen, c.Active = r.int(), r.int()
	if c.pending = r.uint(); c.pending > 0 {
		c.span.decode(&r)
	}
	return c, r.err()
}

// appendNumber appends a number of a group or a consumer to a key.
func appendNumber(dst []byte, n uint64) []byte {
	size := max((bits.Len64(n)+7)/8, 1)
	dst = append(dst, byte(size))
	for i := size - 1; i >= 0; i-- {
		dst = append(dst, byte(n>>(8*i)))
	}
	return dst
}

// member is a part of the group's sub-keys, the start of their keys.
func (g *Group) member(part byte) []byte {
	return append(appendNumber(append(make([]byte, 0, 40), streamMembers), g.id), part)
}

// These keys are valid until the next one is asked for.

func (g *Group) consumerKey(id uint64) []byte { return appendNumber(g.subKey(groupConsumers), id) }

func (g *Group) nameKey(name []byte) []byte { return append(g.subKey(groupNames), name...) }

func (g *Group) pendingKey(id StreamID) []byte { return id.appendKey(g.subKey(groupPending)) }

func (g *Group) ownedKey(consumer uint64, id StreamID) []byte {
	return id.appendKey(appendNumber(g.subKey(groupOwned), consumer))
}

func (g *Group) subKey(part byte) []byte {
	return append(appendNumber(append(g.s.sub[:0], streamMembers), g.id), part)
}

func groupKey(name []byte) []byte {
	return append(append(make([]byte, 0, 1+len(name)), streamGroups), name...)
}

// put and drop are those of the stream, and keep the group's own count of bytes.
func (g *Group) put(sub, value []byte, old int) error {
	before := g.s.rec.Bytes
	err := g.s.put(sub, value, old)
	g.bytes += g.s.rec.Bytes - before
	return err
}

func (g *Group) drop(sub []byte, old int) error {
	before := g.s.rec.Bytes
	err := g.s.drop(sub, old)
	g.bytes -= before - g.s.rec.Bytes
	return err
}

// Group returns the group of a name, nil if there is none.
func (s *Stream) Group(name []byte) (*Group, error) {
	if s.groups == 0 {
		return nil, nil
	}
	value, ok, err := s.get(groupKey(name))
	if err != nil || !ok {
		return nil, err
	}
	g := &Group{}
	if k := s.kept.group(name); k != nil {
		if *g, ok = k.says(value); ok {
			g.Name, g.s, g.old = name, s, value
			return g, nil
		}
	}
	if g, err = s.decodeGroup(name, value); err != nil {
		return nil, err
	}
	g.old = value
	return g, nil
}

// EachGroup calls fn for the groups in the order of their names, until it returns false. In fn nothing must be written.
func (s *Stream) EachGroup(fn func(g *Group) bool) error {
	if s.groups == 0 {
		return nil
	}
	var bad error
	err := s.walk(engine.SubRange{From: []byte{streamGroups}, To: []byte{streamGroups + 1}}, false, func(sub, value []byte) bool {
		var g *Group
		if g, bad = s.decodeGroup(bytes.Clone(sub[1:]), value); bad != nil {
			return false
		}
		return fn(g)
	})
	return orElse(err, bad)
}

// CreateGroup adds a group, which Group.Save writes; ErrGroupExists if there is one of that name.
func (s *Stream) CreateGroup(name []byte, last StreamID, read int64) (*Group, error) {
	g, err := s.Group(name)
	if err != nil {
		return nil, err
	}
	if g != nil {
		return nil, ErrGroupExists
	}
	g = &Group{Name: name, LastID: last, Read: read, s: s, id: s.nextGroup, nextConsumer: 1, stored: absent}
	s.nextGroup++
	s.groups++
	return g, nil
}

// Destroy deletes the group and all it has; the stream's record is for Stream.Save.
func (g *Group) Destroy() error {
	if g.bytes > 0 {
		prefix := g.member(0)
		r := engine.SubRange{From: prefix[:len(prefix)-1], To: g.member(groupEnd)}
		if err := g.s.txn.DeleteSubRange(g.s.key.Slot, g.s.rec.ID, r); err != nil {
			return err
		}
		g.s.rec.Bytes -= g.bytes
	}
	g.s.groups--
	return g.s.drop(groupKey(g.Name), g.stored)
}

// Save writes all that changed in the group, and the stream's record.
func (g *Group) Save() error {
	for _, c := range g.changed {
		if err := g.settle(&c.span, c.pending, appendNumber(g.member(groupOwned), c.id)); err != nil {
			return err
		}
		value := c.append(g.s.scratch[:0])
		if err := g.put(g.consumerKey(c.id), value, c.stored); err != nil {
			return err
		}
		c.changed, c.stored = false, len(value)
		g.keepConsumer(c, value)
	}
	g.changed = g.changed[:0]
	if err := g.settle(&g.span, g.pending, g.member(groupPending)); err != nil {
		return err
	}
	value := g.append(g.s.scratch[:0])
	if !bytes.Equal(value, g.old) {
		if err := g.s.put(groupKey(g.Name), value, g.stored); err != nil {
			return err
		}
		g.stored, g.old = len(value), nil // written once more, if at all
		g.keep(value)
	}
	return g.s.Save()
}

// settle narrows the bounds of so many pending entries, whose keys begin with prefix, after many were removed.
func (g *Group) settle(span *pendingSpan, pending uint64, prefix []byte) error {
	if pending == 0 {
		*span = pendingSpan{}
	}
	if span.removed < spanSlack {
		return nil
	}
	r := spanRange(prefix, span.low, span.high)
	for _, end := range [...]struct {
		id      *StreamID
		reverse bool
	}{{&span.low, false}, {&span.high, true}} {
		ok := false
		err := g.s.walk(r, end.reverse, func(sub, _ []byte) bool {
			*end.id, ok = keyID(sub)
			return false
		})
		if err != nil {
			return err
		}
		if !ok {
			return errStream
		}
	}
	span.removed = 0
	return nil
}

// spanRange are the keys of prefix and an id between two, both included.
func spanRange(prefix []byte, from, to StreamID) engine.SubRange {
	return engine.SubRange{From: from.appendKey(bytes.Clone(prefix)), To: append(to.appendKey(bytes.Clone(prefix)), 0)}
}

// Pending is the number of pending entries, Consumers that of consumers.
func (g *Group) Pending() uint64 { return g.pending }

// Consumers: see Pending.
func (g *Group) Consumers() uint64 { return g.consumers }

// Pending is the number of its pending entries.
func (c *Consumer) Pending() uint64 { return c.pending }

// Consumer returns the consumer of a name, nil if there is none.
func (g *Group) Consumer(name []byte) (*Consumer, error) {
	if g.consumers == 0 {
		return nil, nil
	}
	if id, ok := g.s.kept.group(g.Name).named(name); ok {
		if c, err := g.find(id); err != nil || c != nil && bytes.Equal(c.Name, name) {
			return c, err
		}
	}
	value, ok, err := g.s.get(g.nameKey(name))
	if err != nil || !ok {
		return nil, err
	}
	r := fieldReader{b: value}
	id := r.uint()
	if err := r.err(); err != nil {
		return nil, err
	}
	return g.consumer(id)
}

// consumer returns the consumer of a number.
func (g *Group) consumer(id uint64) (*Consumer, error) {
	c, err := g.find(id)
	if c == nil && err == nil {
		err = errStream
	}
	return c, err
}

// find returns the consumer of a number, nil if there is none.
func (g *Group) find(id uint64) (*Consumer, error) {
	if g.one != nil && g.one.id == id {
		return g.one, nil
	}
	if c := g.loaded[id]; c != nil {
		return c, nil
	}
	value, ok, err := g.s.get(g.consumerKey(id))
	if err != nil || !ok {
		return nil, err
	}
	c := &Consumer{}
	if k := g.s.kept.group(g.Name).consumer(id); k != nil {
		if *c, ok = k.says(value); ok {
			g.load(c)
			return c, nil
		}
	}
	if c, err = decodeConsumer(id, value); err != nil {
		return nil, err
	}
	g.load(c)
	return c, nil
}

func (g *Group) load(c *Consumer) {
	switch {
	case g.one == nil:
		g.one = c
		return
	case g.loaded == nil:
		g.loaded = make(map[uint64]*Consumer)
	}
	g.loaded[c.id] = c
}

// change has Save write the consumer's record.
func (g *Group) change(c *Consumer) {
	if !c.changed {
		c.changed = true
		g.changed = append(g.changed, c)
	}
}

// CreateConsumer returns the consumer of a name and whether it is new: seen now, active never.
func (g *Group) CreateConsumer(name []byte) (c *Consumer, created bool, err error) {
	if c, err = g.Consumer(name); c != nil || err != nil {
		return c, false, err
	}
	c = &Consumer{Name: name, Seen: g.s.txn.Now(), Active: -1, id: g.nextConsumer, stored: absent}
	g.nextConsumer++
	g.consumers++
	g.load(c)
	g.change(c)
	return c, true, g.put(g.nameKey(name), binary.AppendUvarint(nil, c.id), absent)
}

// SetTimes sets when a consumer was last seen and active.
func (g *Group) SetTimes(c *Consumer, seen, active int64) {
	c.Seen, c.Active = seen, active
	g.change(c)
}

// DeleteConsumer deletes a consumer with what is pending of it.
func (g *Group) DeleteConsumer(c *Consumer) error {
	ids, err := g.ownedIDs(c, StreamID{}, MaxStreamID, 0)
	if err != nil {
		return err
	}
	byRange := len(ids) >= rangeWorth
	for _, id := range ids {
		sub := g.pendingKey(id)
		value, ok, err := g.s.get(sub)
		if err != nil || !ok {
			return orElse(err, errStream)
		}
		if err := g.drop(sub, len(value)); err != nil {
			return err
		}
		owned := g.ownedKey(c.id, id)
		if byRange {
			g.s.uncount(owned, 0)
			g.bytes -= keys.SubBytes(owned, nil)
		} else if err := g.drop(owned, 0); err != nil {
			return err
		}
	}
	if byRange {
		r := spanRange(appendNumber(g.member(groupOwned), c.id), ids[0], ids[len(ids)-1])
		if err := g.s.txn.DeleteSubRange(g.s.key.Slot, g.s.rec.ID, r); err != nil {
			return err
		}
	}
	g.pending -= uint64(len(ids))
	g.span.removed += uint64(len(ids))
	g.consumers--
	if delete(g.loaded, c.id); g.one == c {
		g.one = nil
	}
	g.changed = slices.DeleteFunc(g.changed, func(other *Consumer) bool { return other == c })
	if err := g.drop(g.nameKey(c.Name), len(binary.AppendUvarint(nil, c.id))); err != nil {
		return err
	}
	return g.drop(g.consumerKey(c.id), c.stored)
}

// EachConsumer calls fn for the consumers in the order of their names, until it returns false. In fn nothing must be written.
func (g *Group) EachConsumer(fn func(c *Consumer) bool) error {
	if g.consumers == 0 {
		return nil
	}
	var bad error
	r := engine.SubRange{From: g.member(groupNames), To: g.member(groupNames + 1)}
	err := g.s.walk(r, false, func(_, value []byte) bool {
		in := fieldReader{b: value}
		id := in.uint()
		if bad = in.err(); bad != nil {
			return false
		}
		var c *Consumer
		if c, bad = g.consumer(id); bad != nil {
			return false
		}
		return fn(c)
	})
	return orElse(err, bad)
}

// Lag is how many entries were not delivered yet, if that can be told.
func (g *Group) Lag() (lag int64, ok bool) {
	s := g.s
	if s.added == 0 {
		return 0, true
	}
	if g.Read != UnknownRead && !s.deletedFrom(g.LastID) {
		return int64(s.added) - g.Read, true
	}
	if read := s.readUpTo(g.LastID); read != UnknownRead {
		return int64(s.added) - read, true
	}
	return 0, false
}

// deletedFrom says whether an entry from id on may have been deleted by name (Redis: streamRangeHasTombstones).
func (s *Stream) deletedFrom(id StreamID) bool {
	return s.rec.Count > 0 && !s.maxDeleted.IsZero() && s.first.Compare(s.maxDeleted) <= 0 && id.Compare(s.maxDeleted) <= 0
}

// readUpTo is how many entries were ever added up to id, UnknownRead if the state does not
// tell (Redis: streamEstimateDistanceFromFirstEverEntry).
func (s *Stream) readUpTo(id StreamID) int64 {
	added, count := int64(s.added), int64(s.rec.Count)
	last := id.Compare(s.last)
	switch {
	case added == 0:
		return 0
	case count == 0 && last <= 0, last == 0:
		return added
	case last > 0:
		return UnknownRead
	}
	if !s.maxDeleted.IsZero() && s.maxDeleted.Compare(s.first) >= 0 {
		return UnknownRead
	}
	switch first := id.Compare(s.first); {
	case first < 0:
		return added - count
	case first == 0:
		return added - count + 1
	}
	return UnknownRead
}
