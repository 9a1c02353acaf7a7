package types

import "encoding/binary"

// PendingEntry is an entry that was delivered and is not acknowledged yet.
type PendingEntry struct {
	ID StreamID
	// Delivered is when it was last delivered, in unix milliseconds, and Count how often.
	Delivered int64
	Count     uint64

	consumer uint64 // its number
	stored   int
}

func (p *PendingEntry) append(dst []byte) []byte {
	dst = binary.AppendVarint(binary.AppendUvarint(dst, p.consumer), p.Delivered)
	return binary.AppendUvarint(dst, p.Count)
}

func decodePending(id StreamID, value []byte) (p PendingEntry, err error) {
	p = PendingEntry{ID: id, stored: len(value)}
	r := fieldReader{b: value}
	p.consumer, p.Delivered, p.Count = r.uint(), r.int(), r.uint()
	return p, r.err()
}

// Idle is for how many milliseconds it was not delivered.
func (p *PendingEntry) Idle(now int64) int64 { return now - p.Delivered }

// pendingEntry returns the pending entry with an id.
func (g *Group) pendingEntry(id StreamID) (p PendingEntry, ok bool, err error) {
	if g.pending == 0 || id.Compare(g.span.low) < 0 || id.Compare(g.span.high) > 0 {
		return p, false, nil
	}
	value, ok, err := g.s.get(g.pendingKey(id))
	if ok && err == nil {
		p, err = decodePending(id, value)
	}
	return p, ok && err == nil, err
}

// assign makes p, as it is to be, pending for c; was is how it was before, or nil.
func (g *Group) assign(p *PendingEntry, was *PendingEntry, c *Consumer) error {
	old := absent
	if was != nil {
		old = was.stored
	}
	if was == nil || was.consumer != c.id {
		if was != nil {
			if err := g.disown(was); err != nil {
				return err
			}
		} else {
			g.span.include(p.ID, g.pending == 0)
			g.pending++
		}
		c.span.include(p.ID, c.pending == 0)
		c.pending++
		if err := g.put(g.ownedKey(c.id, p.ID), nil, absent); err != nil {
			return err
		}
		g.change(c)
	}
	p.consumer = c.id
	return g.put(g.pendingKey(p.ID), p.append(make([]byte, 0, 24)), old)
}

// disown takes a pending entry from its consumer.
func (g *Group) disown(p *PendingEntry) error {
	c, err := g.consumer(p.consumer)
	if err != nil {
		return err
	}
	if c.pending == 0 {
		return errStream
	}
	c.pending--
	c.span.removed++
	g.change(c)
	return g.drop(g.ownedKey(c.id, p.ID), 0)
}

// acknowledge takes p from the pending entries.
func (g *Group) acknowledge(p *PendingEntry) error {
	if err := g.disown(p); err != nil {
		return err
	}
	g.pending--
	g.span.removed++
	return g.drop(g.pendingKey(p.ID), p.stored)
}

// AddPending makes an entry pending for c, whoever had it before.
func (g *Group) AddPending(c *Consumer, id StreamID, delivered int64, count uint64) error {
	p := PendingEntry{ID: id, Delivered: delivered, Count: count}
	was, ok, err := g.pendingEntry(id)
	if err != nil {
		return err
	}
	if !ok {
		return g.assign(&p, nil, c)
	}
	return g.assign(&p, &was, c)
}

// Undelivered says whether there is an entry that Deliver would deliver.
func (g *Group) Undelivered() bool { return g.s.rec.Count > 0 && g.s.top.Compare(g.LastID) > 0 }

// Deliver calls fn for up to count entries behind the last delivered one, 0 for all, which become pending for c unless noAck
// is set. In fn nothing must be written, and the fields are valid during the call only.
func (g *Group) Deliver(c *Consumer, count uint64, noAck bool, fn func(id StreamID, f Fields)) error {
	var ids []StreamID
	err := g.eachNew(count, func(id StreamID, f Fields) {
		g.advance(id)
		fn(id, f)
		if !noAck {
			ids = append(ids, id)
		}
	})
	if err != nil {
		return err
	}
	now := g.s.txn.Now()
	for _, id := range ids {
		if err := g.AddPending(c, id, now, 1); err != nil {
			return err
		}
	}
	if len(ids) > 0 {
		g.SetTimes(c, c.Seen, now)
	}
	return nil
}

// eachNew calls fn, which moves LastID on, for up to count entries behind the last delivered one, 0 for all.
func (g *Group) eachNew(count uint64, fn func(id StreamID, f Fields)) error {
	from, ok := g.LastID.Next()
	if !ok {
		return nil
	}
	if count == 0 || count > aheadEntries {
		n := uint64(0)
		return g.s.Range(from, MaxStreamID, false, func(id StreamID, f Fields) bool {
			fn(id, f)
			n++
			return n != count
		})
	}
	h := g.s.hand(g.id)
	for left := int(count); left > 0 && g.Undelivered(); left-- {
		from, _ := g.LastID.Next()
		e := h.next(from)
		if e == nil {
			var err error
			if h, err = g.s.fill(g.id, from, left); err != nil {
				return err
			}
			if e = h.next(from); e == nil {
				return errStream
			}
		}
		f, err := decodeFields(e.value)
		if err != nil {
			return err
		}
		fn(e.id, f)
	}
	return nil
}

// advance counts that the entry behind the last delivered one is delivered.
func (g *Group) advance(id StreamID) {
	if g.Read != UnknownRead && !g.s.deletedFrom(id) {
		g.Read++
	} else if g.s.added > 0 {
		g.Read = g.s.readUpTo(id)
	}
	g.LastID = id
}

// History calls fn for up to count entries, 0 for all, from an id on that are pending for c; ok is false for one that was deleted from the stream.
// Those that are there count as delivered once more.
func (g *Group) History(c *Consumer, from StreamID, count uint64, fn func(id StreamID, f Fields, ok bool)) error {
	ids, err := g.ownedIDs(c, from, MaxStreamID, count)
	if err != nil {
		return err
	}
	for _, id := range ids {
		f, ok, err := g.s.Entry(id)
		if err != nil {
			return err
		}
		fn(id, f, ok)
		if !ok {
			continue
		}
		was, ok, err := g.pendingEntry(id)
		if err != nil || !ok {
			return orElse(err, errStream)
		}
		p := was
		p.Delivered = g.s.txn.Now()
		p.Count++
		if err := g.assign(&p, &was, c); err != nil {
			return err
		}
	}
	return nil
}

// ownedIDs lists up to limit pending entries of a consumer, 0 for all, from one id to another.
func (g *Group) ownedIDs(c *Consumer, from, to StreamID, limit uint64) (ids []StreamID, err error) {
	err = g.walkOwned(c, from, to, func(id StreamID) bool {
		ids = append(ids, id)
		return uint64(len(ids)) != limit
	})
	return ids, err
}

func (g *Group) walkOwned(c *Consumer, from, to StreamID, fn func(id StreamID) bool) error {
	return g.walkSpan(&c.span, c.pending, appendNumber(g.member(groupOwned), c.id), from, to, false, func(id StreamID, _ []byte) bool { return fn(id) })
}

// walkSpan calls fn for those of so many pending entries, whose keys begin with prefix, that lie between two ids, both included.
func (g *Group) walkSpan(span *pendingSpan, pending uint64, prefix []byte, from, to StreamID, reverse bool, fn func(id StreamID, value []byte) bool) error {
	from, to = maxID(from, span.low), minID(to, span.high)
	if pending == 0 || from.Compare(to) > 0 {
		return nil
	}
	var bad error
	err := g.s.walk(spanRange(prefix, from, to), reverse, func(sub, value []byte) bool {
		id, ok := keyID(sub)
		if !ok || len(sub) != len(prefix)+16 {
			bad = errStream
			return false
		}
		return fn(id, value)
	})
	return orElse(err, bad)
}

// EachPending calls fn for the pending entries from one id to another, both included, ascending or descending, with their consumers,
// until it returns false. With a consumer given only for its own. In fn nothing must be written.
func (g *Group) EachPending(only *Consumer, from, to StreamID, reverse bool, fn func(p PendingEntry, c *Consumer) bool) error {
	var bad error
	visit := func(p PendingEntry, err error) bool {
		var c *Consumer
		if bad = err; bad == nil {
			c, bad = g.consumer(p.consumer)
		}
		return bad == nil && fn(p, c)
	}
	var err error
	if only != nil {
		err = g.walkOwned(only, from, to, func(id StreamID) bool {
			p, ok, err := g.pendingEntry(id)
			if !ok {
				err = orElse(err, errStream)
			}
			return visit(p, err)
		})
	} else {
		err = g.walkSpan(&g.span, g.pending, g.member(groupPending), from, to, reverse, func(id StreamID, value []byte) bool {
			return visit(decodePending(id, value))
		})
	}
	return orElse(err, bad)
}

// PendingEnds returns the least and the greatest id of the pending entries, of which there are some.
func (g *Group) PendingEnds() (first, last StreamID, err error) {
	for _, end := range [...]struct {
		id      *StreamID
		reverse bool
	}{{&first, false}, {&last, true}} {
		err := g.EachPending(nil, StreamID{}, MaxStreamID, end.reverse, func(p PendingEntry, _ *Consumer) bool {
			*end.id = p.ID
			return false
		})
		if err != nil {
			return first, last, err
		}
	}
	return first, last, nil
}

// Acknowledge takes entries from the pending ones and returns how many were.
func (g *Group) Acknowledge(ids []StreamID) (n int, err error) {
	for _, id := range ids {
		p, ok, err := g.pendingEntry(id)
		if err != nil {
			return n, err
		}
		if !ok {
			continue
		}
		if err := g.acknowledge(&p); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// Claim says how pending entries change hands.
type Claim struct {
	MinIdle   int64 // milliseconds; those delivered later stay where they are
	Delivered int64 // the new time of delivery, in unix milliseconds
	Count     int64 // the new number of deliveries, -1 to count on
	// Force claims entries that are not pending, too. JustID does not count the delivery.
	Force, JustID bool
}

// Claim makes the entry with an id pending for c if the conditions hold. One that is no longer in the stream is taken from the
// pending ones instead.
func (g *Group) Claim(c *Consumer, id StreamID, how Claim) (f Fields, claimed bool, err error) {
	was, pending, err := g.pendingEntry(id)
	if err != nil {
		return f, false, err
	}
	f, there, err := g.s.Entry(id)
	if err != nil {
		return f, false, err
	}
	if !there {
		if pending {
			err = g.acknowledge(&was)
		}
		return f, false, err
	}
	if !pending && !how.Force || pending && how.MinIdle > 0 && was.Idle(g.s.txn.Now()) < how.MinIdle {
		return f, false, nil
	}
	old := &was
	p := was
	if !pending {
		old, p = nil, PendingEntry{ID: id, Count: 1}
	}
	return f, true, g.claim(&p, old, c, how)
}

func (g *Group) claim(p, was *PendingEntry, c *Consumer, how Claim) error {
	p.Delivered = how.Delivered
	if how.Count >= 0 {
		p.Count = uint64(how.Count)
	} else if !how.JustID {
		p.Count++
	}
	g.SetTimes(c, c.Seen, g.s.txn.Now())
	return g.assign(p, was, c)
}

// AutoClaim looks at up to attempts pending entries from an id on, and claims up to count of them for c; fn is called for each, without fields with JustID. What is no longer in
// the stream is taken from the pending ones, counts, and is returned as deleted. next is the first pending entry that it has not looked at, zero at the end.
func (g *Group) AutoClaim(c *Consumer, from StreamID, attempts, count int64, how Claim, fn func(id StreamID, f Fields)) (next StreamID, deleted []StreamID, err error) {
	var claimed, gone []PendingEntry
	now := g.s.txn.Now()
	err = g.eachPendingRaw(from, func(p PendingEntry) (bool, error) {
		if attempts == 0 || count == 0 {
			next = p.ID
			return false, nil
		}
		attempts--
		value, there, err := g.s.entry(p.ID)
		if err != nil {
			return false, err
		}
		switch {
		case !there:
			gone = append(gone, p)
			count--
		case how.MinIdle > 0 && p.Idle(now) < how.MinIdle:
		default:
			f, err := decodeFields(value)
			if err != nil {
				return false, err
			}
			fn(p.ID, f)
			claimed = append(claimed, p)
			count--
		}
		return true, nil
	})
	if err != nil {
		return next, nil, err
	}
	for i := range gone {
		deleted = append(deleted, gone[i].ID)
		if err := g.acknowledge(&gone[i]); err != nil {
			return next, nil, err
		}
	}
	for i := range claimed {
		p := claimed[i]
		if err := g.claim(&p, &claimed[i], c, how); err != nil {
			return next, nil, err
		}
	}
	return next, deleted, nil
}

func (g *Group) eachPendingRaw(from StreamID, fn func(p PendingEntry) (bool, error)) error {
	var bad error
	err := g.walkSpan(&g.span, g.pending, g.member(groupPending), from, MaxStreamID, false, func(id StreamID, value []byte) bool {
		p, err := decodePending(id, value)
		goOn := false
		if err == nil {
			goOn, err = fn(p)
		}
		bad = err
		return goOn && err == nil
	})
	return orElse(err, bad)
}
