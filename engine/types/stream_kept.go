package types

import (
	"bytes"
	"slices"
)

// streamKept is what is kept in memory of a stream in use, beside what is stored (engine.Txn.Derived): what its records say, so that they are not
// parsed by each command, and the entries that its groups are given next, so that not each of them is walked to.
// It is read under the slot's lock and changed under the write lock.
type streamKept struct {
	record parsed[streamState]
	groups []*keptGroup // few
	hands  []*streamHand
	sized  int // bytes that were told to the transaction
}

// parsed is a stored value and what it says.
type parsed[T any] struct {
	value []byte
	is    T
}

func (p *parsed[T]) set(value []byte, is T) { p.value, p.is = append(p.value[:0], value...), is }

// says returns what a value says, if it is the one at hand.
func (p *parsed[T]) says(value []byte) (is T, ok bool) {
	if len(p.value) == 0 || !bytes.Equal(p.value, value) {
		return is, false
	}
	return p.is, true
}

// keptGroup is a group and some of its consumers.
type keptGroup struct {
	parsed[Group]
	name string
	// consumers are at their numbers modulo keptConsumers, those of them that were used last.
	consumers [keptConsumers]*keptConsumer
	names     map[string]*keptConsumer
}

type keptConsumer struct {
	parsed[Consumer]
	id uint64
}

const (
	// keptFrom is how many entries a stream has of which something is kept.
	keptFrom = 64
	// keptGroups and keptConsumers bound what is kept.
	keptGroups    = 8
	keptConsumers = 64
	keptName      = 64 // bytes
	// aheadEntries and aheadBytes bound a hand.
	aheadEntries = 256
	aheadBytes   = 64 << 10
	// keptOverhead is about what a streamKept takes, and each group with its consumers.
	keptOverhead = 8 << 10
)

// keeps says whether something is kept of the stream: from now on if it is large enough.
func (s *Stream) keeps() bool {
	if s.kept == nil && s.rec.Count >= keptFrom {
		s.kept = &streamKept{}
		s.account()
	}
	return s.kept != nil
}

// keep remembers what the stream's record says.
func (s *Stream) keep(value []byte) {
	if s.keeps() {
		s.kept.record.set(value, s.streamState)
	}
}

// account tells the transaction how much is kept, if that has grown.
func (s *Stream) account() {
	size := keptOverhead * (1 + len(s.kept.groups))
	for _, h := range s.kept.hands {
		size += h.bytes
	}
	if size > s.kept.sized {
		s.kept.sized = size + keptOverhead
		s.txn.SetDerived(s.key.Slot, s.rec.ID, s.kept, s.kept.sized)
	}
}

// group returns what is kept of a group, nil for nothing.
func (k *streamKept) group(name []byte) *keptGroup {
	if k == nil {
		return nil
	}
	for _, g := range k.groups {
		if g.name == string(name) {
			return g
		}
	}
	return nil
}

// keep remembers what the group's record says.
func (g *Group) keep(value []byte) {
	if g.s.kept == nil || len(g.Name) > keptName {
		return
	}
	k := g.s.kept.group(g.Name)
	if k == nil {
		if len(g.s.kept.groups) == keptGroups {
			g.s.kept.groups = slices.Delete(g.s.kept.groups, 0, 1)
		}
		g.s.kept.groups = append(g.s.kept.groups, &keptGroup{name: string(g.Name), names: map[string]*keptConsumer{}})
		k = g.s.kept.groups[len(g.s.kept.groups)-1]
	}
	is := *g
	is.Name, is.s, is.old, is.one, is.loaded, is.changed = nil, nil, nil, nil, nil, nil
	k.set(value, is)
	g.s.account()
}

// named returns the number of a consumer, if it is kept.
func (k *keptGroup) named(name []byte) (id uint64, ok bool) {
	if k == nil {
		return 0, false
	}
	c := k.names[string(name)]
	if c == nil {
		return 0, false
	}
	return c.id, true
}

func (k *keptGroup) consumer(id uint64) *keptConsumer {
	if k == nil {
		return nil
	}
	if c := k.consumers[id%keptConsumers]; c != nil && c.id == id {
		return c
	}
	return nil
}

// keepConsumer remembers what a consumer's record says.
func (g *Group) keepConsumer(c *Consumer, value []byte) {
	in := g.s.kept.group(g.Name)
	if in == nil || len(c.Name) > keptName {
		return
	}
	k := in.consumer(c.id)
	if k == nil || string(k.is.Name) != string(c.Name) {
		if old := in.consumers[c.id%keptConsumers]; old != nil && in.names[string(old.is.Name)] == old {
			delete(in.names, string(old.is.Name))
		}
		k = &keptConsumer{id: c.id}
		k.is.Name = bytes.Clone(c.Name)
		in.consumers[c.id%keptConsumers] = k
		in.names[string(c.Name)] = k
	}
	is := *c
	is.Name = k.is.Name
	k.set(value, is)
}

// streamHand are the entries from one id to another, both included, all that there are: what a group is given next.
type streamHand struct {
	group    uint64
	from, to StreamID
	entries  []handEntry
	at       int // the next of them
	bytes    int
	ahead    int // entries that were read at once
}

type handEntry struct {
	id    StreamID
	value []byte
}

// next returns the first entry from an id on, if the hand can tell; there is one somewhere.
func (h *streamHand) next(from StreamID) *handEntry {
	if h == nil || from.Compare(h.from) < 0 || from.Compare(h.to) > 0 {
		return nil
	}
	if h.at == len(h.entries) || h.entries[h.at].id.Compare(from) < 0 || h.at > 0 && h.entries[h.at-1].id.Compare(from) >= 0 {
		h.at, _ = slices.BinarySearchFunc(h.entries, from, func(e handEntry, id StreamID) int { return e.id.Compare(id) })
	}
	if h.at == len(h.entries) {
		return nil
	}
	h.at++
	return &h.entries[h.at-1]
}

func (h *streamHand) add(id StreamID, value []byte) {
	h.entries = append(h.entries, handEntry{id, value})
	h.to = id
	h.bytes += len(value) + 64
}

func (s *Stream) hand(group uint64) *streamHand {
	if s.kept == nil {
		return nil
	}
	i := slices.IndexFunc(s.kept.hands, func(h *streamHand) bool { return h.group == group })
	if i < 0 {
		return nil
	}
	return s.kept.hands[i]
}

// fill reads the entries from an id on that a group is to be given, so many at least: further ones, too, when it has asked
// for those before.
func (s *Stream) fill(group uint64, from StreamID, count int) (*streamHand, error) {
	old := s.hand(group)
	h := &streamHand{group: group, from: from, to: from, ahead: count}
	if old != nil {
		if next, ok := old.to.Next(); ok && next == from {
			h.ahead = min(max(4*old.ahead, count), aheadEntries)
		}
	}
	h.entries = make([]handEntry, 0, h.ahead)
	var values []byte
	err := s.rawRange(from, MaxStreamID, false, func(id StreamID, value []byte) bool {
		at := len(values)
		values = append(values, value...)
		h.add(id, values[at:len(values):len(values)])
		return len(h.entries) < h.ahead && (len(h.entries) < count || h.bytes < aheadBytes)
	})
	if err != nil || !s.keeps() {
		return h, err
	}
	s.kept.hands = slices.DeleteFunc(s.kept.hands, func(h *streamHand) bool { return h == old })
	if len(s.kept.hands) == keptGroups {
		s.kept.hands = slices.Delete(s.kept.hands, 0, 1)
	}
	if h.bytes <= aheadBytes+aheadBytes/2 {
		s.kept.hands = append(s.kept.hands, h)
		s.account()
	}
	return h, nil
}

// extend gives a new entry, behind all, to the hands that reach there. The value must not change any more.
func (s *Stream) extend(before, id StreamID, value []byte) {
	if s.kept == nil || len(s.kept.hands) == 0 {
		return
	}
	s.kept.hands = slices.DeleteFunc(s.kept.hands, func(h *streamHand) bool {
		if id.Compare(h.to) <= 0 {
			return true // XSETID went back
		}
		if h.to.Compare(before) < 0 {
			return false
		}
		if len(h.entries) == aheadEntries || h.bytes+len(value) > aheadBytes {
			h.forget()
		}
		if len(h.entries) < aheadEntries && h.bytes+len(value) <= aheadBytes {
			h.add(id, value)
		}
		return false
	})
	s.account()
}

// forget leaves what was given out already.
func (h *streamHand) forget() {
	if h.at == 0 {
		return
	}
	h.from, _ = h.entries[h.at-1].id.Next()
	for _, e := range h.entries[:h.at] {
		h.bytes -= len(e.value) + 64
	}
	h.entries = slices.Delete(h.entries, 0, h.at)
	h.at = 0
}

// gone takes entries from one id to another from the hands.
func (s *Stream) gone(from, to StreamID) {
	if s.kept == nil {
		return
	}
	s.kept.hands = slices.DeleteFunc(s.kept.hands, func(h *streamHand) bool {
		switch {
		case to.Compare(h.from) < 0 || from.Compare(h.to) > 0:
			return false
		case h.at > 0 && to.Compare(h.entries[h.at-1].id) <= 0:
			h.forget() // they were given out
			return false
		}
		return true
	})
}
