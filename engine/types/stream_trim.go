package types

import "github.com/cairndb/cairn/engine/keys"

// Trim says which entries at the front are to go.
type Trim struct {
	ByID   bool
	MaxLen uint64   // leave so many, unless ByID
	MinID  StreamID // with ByID: leave this one and those behind it
	// Approximate deletes whole nodes only.
	Approximate bool
	// Limit is how many entries are deleted at most, whole nodes only; 0 for any number.
	Limit uint64
}

// trimmer is one run of Trim: what it has found can go, before anything is deleted.
type trimmer struct {
	Trim
	left    uint64   // entries, when all that was found is deleted
	nodes   uint64   // that go as a whole
	entries uint64   // in them
	bytes   uint64   // of those, as sub-keys
	last    StreamID // that was added to them
	records []nodeRecord
	partly  bool // entries of the next node go as well
	damaged bool
}

// nodeRecord names a node's record.
type nodeRecord struct {
	first  StreamID
	length int
}

// takes says whether a node goes as a whole, and if so counts it.
func (t *trimmer) takes(n *streamNode) bool {
	if t.damaged = t.damaged || n.live > t.left; t.damaged {
		return false
	}
	if !t.ByID && t.left <= t.MaxLen || t.Limit > 0 && t.entries+n.live > t.Limit {
		return false
	}
	whole := t.left-n.live >= t.MaxLen
	if t.ByID {
		whole = n.last.Compare(t.MinID) < 0
	}
	if !whole {
		t.partly = !t.Approximate
		return false
	}
	t.nodes++
	t.left -= n.live
	t.entries += n.live
	t.bytes += n.bytes
	t.last = n.last
	return true
}

// Trim deletes entries at the front and returns how many. It reads the counts of the nodes that go, and the entries only of few nodes.
func (s *Stream) Trim(trim Trim) (removed uint64, err error) {
	t := trimmer{Trim: trim, left: s.rec.Count}
	next, length, err := s.findTrimmed(&t)
	if err != nil {
		return 0, err
	}
	if t.nodes > 0 {
		if err := s.dropEntries(&t); err != nil {
			return 0, err
		}
		if err := s.dropNodes(&t, &next, length); err != nil {
			return 0, err
		}
	}
	known := t.entries == 0
	if t.partly {
		n, met, err := s.trimFront(&t)
		if err != nil {
			return 0, err
		}
		removed, known = n, met
	}
	removed += t.entries
	return removed, s.settleEnds(!known, false)
}

// findTrimmed finds the nodes that go as a whole. next is the first one with a record that stays, if the node before
// goes, and length that of its record.
func (s *Stream) findTrimmed(t *trimmer) (next streamNode, length int, err error) {
	if s.nodes > 1 {
		if !t.takes(&s.head) {
			return next, 0, t.err()
		}
		var bad error
		all := true
		if s.nodes > 2 {
			err = s.walkIDs(streamNodes, s.head.first, s.tail.first, false, func(id StreamID, value []byte) bool {
				if next, bad = decodeNode(id, value); bad != nil {
					return false
				}
				if all = t.takes(&next); all {
					t.records = append(t.records, nodeRecord{id, len(value)})
				}
				length = len(value)
				return all
			})
		}
		if err == nil {
			err = bad
		}
		if err != nil || !all {
			return next, length, orElse(err, t.err())
		}
	}
	if s.nodes > 0 {
		t.takes(&s.tail)
	}
	if t.nodes > s.nodes || t.nodes+1 < s.nodes {
		t.damaged = true
	}
	return next, length, t.err()
}

func (t *trimmer) err() error {
	if t.damaged {
		return errStream
	}
	return nil
}

func orElse(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// dropEntries deletes the entries of the nodes that go.
func (s *Stream) dropEntries(t *trimmer) error {
	s.gone(s.first, t.last)
	if t.entries >= rangeWorth {
		if err := s.cutEntries(s.first, t.last, t.bytes); err != nil {
			return err
		}
	} else if t.entries > 0 {
		batch, err := s.frontEntries(s.first, t.last, rangeWorth, nil)
		if err != nil {
			return err
		}
		if uint64(len(batch)) != t.entries {
			return errStream
		}
		if _, err := s.dropEach(batch); err != nil {
			return err
		}
	}
	s.rec.Count -= t.entries
	if t.entries > 0 {
		s.first, _ = t.last.Next()
	}
	return nil
}

// cutEntries deletes the entries from one to another, which take so many bytes, by their range.
func (s *Stream) cutEntries(from, to StreamID, bytes uint64) error {
	s.cut = maxID(s.cut, to)
	s.rec.Bytes -= bytes
	return s.txn.DeleteSubRange(s.key.Slot, s.rec.ID, streamRange(streamEntries, from, to))
}

// frontEntry is an entry that is to go, and the length of its value.
type frontEntry struct {
	id     StreamID
	length int
}

// frontEntries lists up to limit entries from one id to another, up to the first that stays says true of.
func (s *Stream) frontEntries(from, to StreamID, limit int, stays func(StreamID) bool) (batch []frontEntry, err error) {
	err = s.walkIDs(streamEntries, from, to, false, func(id StreamID, value []byte) bool {
		if stays != nil && stays(id) {
			return false
		}
		batch = append(batch, frontEntry{id, len(value)})
		return len(batch) < limit
	})
	return batch, err
}

// dropEach deletes entries one by one and returns the bytes they took.
func (s *Stream) dropEach(batch []frontEntry) (bytes uint64, err error) {
	for _, e := range batch {
		sub := streamKey(streamEntries, e.id)
		if err := s.drop(sub, e.length); err != nil {
			return bytes, err
		}
		bytes += keys.SubBytes(sub, nil) + uint64(e.length)
	}
	return bytes, nil
}

// dropNodes deletes the nodes that go; next is the first one with a record that stays.
func (s *Stream) dropNodes(t *trimmer, next *streamNode, length int) error {
	if n := len(t.records); n >= rangeWorth {
		for _, r := range t.records {
			s.uncount(streamKey(streamNodes, r.first), r.length)
		}
		r := streamRange(streamNodes, t.records[0].first, t.records[n-1].first)
		if err := s.txn.DeleteSubRange(s.key.Slot, s.rec.ID, r); err != nil {
			return err
		}
	} else {
		for _, r := range t.records {
			if err := s.drop(streamKey(streamNodes, r.first), r.length); err != nil {
				return err
			}
		}
	}
	switch s.nodes -= t.nodes; s.nodes {
	case 0:
		s.tail = streamNode{}
	case 1:
		s.head = streamNode{}
	default:
		s.head = *next
		return s.dropNode(next, length)
	}
	return nil
}

// trimFront deletes entries of the node at the front one by one. met says whether it has met one that stays, which is the first then.
func (s *Stream) trimFront(t *trimmer) (removed uint64, met bool, err error) {
	n := &s.tail
	if s.nodes > 1 {
		n = &s.head
	}
	stays := func(id StreamID) bool {
		if t.ByID && id.Compare(t.MinID) >= 0 || !t.ByID && t.left <= t.MaxLen {
			s.first, met = id, true
			return true
		}
		t.left--
		return false
	}
	for from := maxID(n.first, s.first); !met; {
		batch, err := s.frontEntries(from, n.last, rangeWorth, stays)
		if err != nil || len(batch) == 0 {
			return removed, met, err
		}
		s.gone(batch[0].id, batch[len(batch)-1].id)
		bytes, err := s.dropEach(batch)
		if err != nil {
			return removed, met, err
		}
		count := uint64(len(batch))
		n.live -= count
		n.deleted += count
		n.bytes -= bytes
		s.rec.Count -= count
		removed += count
		from, _ = batch[count-1].id.Next()
		if !met {
			s.first = from
		}
	}
	return removed, met, nil
}
