package epoch

import "github.com/cairndb/cairn/cluster/slotmap"

// A shard that has handed slots over with all that was in them (OpSlots with a Node) still has their data for a moment. They are its remains until its
// primary, or whoever takes that one's place, has said that they are dropped (OpDropped).
//
// Remains prove that what the shard has of a slot is old: all of it went to the new owner, and nothing came into the slot there since. So they
// end when anything but a hand-over or the same owner's confirmation changes whose the slot is, when it comes back, and when the group is formed anew by
// what is left of it (see adopt): then nobody knows any more that the shard does not have the only copy, and what it has stays.

// HasRemains says whether the shard has yet to drop what it has of a slot.
func (s *Shard) HasRemains(slot uint16) bool { return s.Remains != nil && s.Remains.Has(slot) }

// noteRemains draws the conclusions of a grant of slots to a shard, nil for nobody. before are their owners until now, from is the shard that has handed over
// what it owned of them, nil for none.
func (t *Table) noteRemains(before *[slotmap.Slots]slot, r *Request, from, to *Shard) {
	var handed, doubtful slotmap.Set
	for _, at := range r.Slots {
		for s := int(at.First); s <= int(at.Last); s++ {
			switch was := before[s].shard; {
			case to != nil && was == to.number:
			case to != nil && from != nil && was == from.number:
				handed.Add(uint16(s))
			default:
				doubtful.Add(uint16(s))
			}
		}
	}
	if handed.Len()+doubtful.Len() == 0 {
		return
	}
	for _, s := range t.Shards {
		left := s.remains()
		for i := range left {
			left[i] &^= doubtful[i]
			switch s {
			case from:
				left[i] |= handed[i]
			case to:
				left[i] &^= handed[i]
			}
		}
		t.setRemains(s, &left)
	}
}

// remains is a copy.
func (s *Shard) remains() slotmap.Set {
	if s.Remains == nil {
		return slotmap.Set{}
	}
	return *s.Remains
}

// setRemains replaces a shard by a copy with other remains. Its revision stays: who is in it does not change.
func (t *Table) setRemains(s *Shard, left *slotmap.Set) {
	if s.remains() == *left {
		return
	}
	c := *s
	if c.Remains = left; left.Len() == 0 {
		c.Remains = nil
	}
	i, _ := t.find(s.ID)
	shards := make([]*Shard, len(t.Shards))
	copy(shards, t.Shards)
	shards[i] = &c
	t.Shards = shards
}

// forgetRemains ends those of all shards.
func (t *Table) forgetRemains() {
	for _, s := range t.Shards {
		t.setRemains(s, new(slotmap.Set))
	}
}

// dropped ends the remains that a shard's primary has dropped, if nothing has been decided about the slots meanwhile.
func (t *Table) dropped(r *Request) Result {
	s := t.Shard(r.Shard)
	switch {
	case s == nil:
		return Result{Outcome: Unknown}
	case s.Epoch != r.Expect || s.Primary != r.Node:
		return Result{Outcome: Stale}
	}
	left := s.remains()
	for _, at := range r.Slots {
		for slot := int(at.First); slot <= int(at.Last); slot++ {
			if t.slots[slot].epoch != at.Epoch {
				return Result{Outcome: Stale}
			}
			left.Del(uint16(slot))
		}
	}
	t.setRemains(s, &left)
	return Result{}
}
