package types

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
)

// streamVerifier checks that a stream's sub-keys agree with its record and with each other: they come in the order nodes, entries, groups, members of
// groups.
type streamVerifier struct {
	streamState
	count   uint64 // of entries, as the header says
	nodes   []streamNode
	at      int        // in nodes: that of the entry before
	seen    streamNode // what was seen of it
	entries uint64
	last    StreamID // of the entries
	groups  map[uint64]*groupVerifier
}

// groupVerifier is a group as its record has it, and what was seen of it.
type groupVerifier struct {
	*Group
	bytes     uint64
	names     uint64
	pending   uint64
	consumers map[uint64]*consumerVerifier
}

type consumerVerifier struct {
	*Consumer
	pending, owned uint64
	// sum is that of the hashes of the pending ids less those of the owned ones.
	sum uint64
}

func verifyStream(rec engine.Record) (engine.Verifier, error) {
	v := &streamVerifier{count: rec.Count, groups: map[uint64]*groupVerifier{}}
	if rec.ID == 0 {
		return nil, errors.New("a packed stream")
	}
	if err := v.decode(rec.Value); err != nil {
		return nil, err
	}
	if v.streamState.nodes > 1 {
		v.nodes = append(v.nodes, v.head)
	}
	return v, nil
}

// Sub: see engine.Verifier.
func (v *streamVerifier) Sub(sub, value []byte) error {
	if len(sub) == 0 {
		return errors.New("an empty sub-key")
	}
	id, ok := keyID(sub)
	switch kind := sub[0]; {
	case kind == streamNodes && ok && len(sub) == 17:
		n, err := decodeNode(id, value)
		v.nodes = append(v.nodes, n)
		return err
	case kind == streamEntries && ok && len(sub) == 17:
		return v.entry(id, sub, value)
	case kind == streamGroups:
		return v.group(bytes.Clone(sub[1:]), value)
	case kind == streamMembers:
		return v.member(sub, value)
	}
	return fmt.Errorf("an unknown sub-key %x", sub)
}

func (v *streamVerifier) entry(id StreamID, sub, value []byte) error {
	if v.entries == 0 {
		v.beginEntries()
		if id != v.first {
			return fmt.Errorf("the first entry is %v, not %v", id, v.first)
		}
	}
	v.entries++
	v.last = id
	for v.at < len(v.nodes) && id.Compare(v.nodes[v.at].last) > 0 {
		if err := v.endNode(); err != nil {
			return err
		}
	}
	if v.at == len(v.nodes) || id.Compare(v.nodes[v.at].first) < 0 {
		return fmt.Errorf("the entry %v is in no node", id)
	}
	v.seen.live++
	v.seen.bytes += keys.SubBytes(sub, value)
	_, err := decodeFields(value)
	return err
}

// beginEntries is called behind the nodes' records.
func (v *streamVerifier) beginEntries() {
	if v.streamState.nodes > 0 {
		v.nodes = append(v.nodes, v.tail)
	}
}

// endNode compares a node with what was seen of it.
func (v *streamVerifier) endNode() error {
	n := v.nodes[v.at]
	if n.live != v.seen.live || n.bytes != v.seen.bytes {
		return fmt.Errorf("the node %v has %d entries of %d bytes, it says %d of %d", n.first, v.seen.live, v.seen.bytes, n.live, n.bytes)
	}
	v.at++
	v.seen = streamNode{}
	return nil
}

func (v *streamVerifier) group(name, value []byte) error {
	g, err := (&Stream{}).decodeGroup(name, value)
	if err != nil {
		return err
	}
	if v.groups[g.id] != nil || g.id >= v.nextGroup {
		return fmt.Errorf("the number %d of a group is used twice, or is to be", g.id)
	}
	v.groups[g.id] = &groupVerifier{Group: g, consumers: map[uint64]*consumerVerifier{}}
	return nil
}

// takeNumber reads what appendNumber has written.
func takeNumber(key []byte) (n uint64, rest []byte, ok bool) {
	if len(key) == 0 || key[0] == 0 || key[0] > 8 || len(key) < 1+int(key[0]) {
		return 0, nil, false
	}
	rest = key[1+key[0]:]
	for _, b := range key[1 : 1+key[0]] {
		n = n<<8 | uint64(b)
	}
	return n, rest, true
}

func (v *streamVerifier) member(sub, value []byte) error {
	id, rest, ok := takeNumber(sub[1:])
	g := v.groups[id]
	if !ok || g == nil || len(rest) == 0 {
		return fmt.Errorf("a sub-key %x of no group", sub)
	}
	g.bytes += keys.SubBytes(sub, value)
	part, rest := rest[0], rest[1:]
	switch part {
	case groupConsumers:
		return g.consumer(rest, value)
	case groupNames:
		r := fieldReader{b: value}
		c := g.consumers[r.uint()]
		if c == nil || !bytes.Equal(c.Name, rest) {
			return fmt.Errorf("the name %q leads to another consumer, or none", rest)
		}
		g.names++
		return r.err()
	case groupPending:
		return g.pendingEntry(rest, value)
	case groupOwned:
		return g.owned(rest)
	}
	return fmt.Errorf("an unknown sub-key %x", sub)
}

func (g *groupVerifier) consumer(rest, value []byte) error {
	id, rest, ok := takeNumber(rest)
	if !ok || len(rest) > 0 || id >= g.nextConsumer {
		return errors.New("a malformed consumer")
	}
	c, err := decodeConsumer(id, bytes.Clone(value))
	g.consumers[id] = &consumerVerifier{Consumer: c}
	return err
}

func (g *groupVerifier) pendingEntry(rest, value []byte) error {
	id, ok := keyID(rest)
	p, err := decodePending(id, value)
	if err != nil {
		return err
	}
	c := g.consumers[p.consumer]
	if !ok || len(rest) != 16 || c == nil || !g.span.holds(id) || !c.span.holds(id) {
		return fmt.Errorf("the pending entry %v is nobody's, or outside of the bounds", id)
	}
	g.pending++
	c.pending++
	c.sum += hashID(id)
	return nil
}

func (g *groupVerifier) owned(rest []byte) error {
	number, rest, ok := takeNumber(rest)
	id, whole := keyID(rest)
	c := g.consumers[number]
	if !ok || !whole || len(rest) != 16 || c == nil {
		return fmt.Errorf("the pending entry %v of no consumer", id)
	}
	c.owned++
	c.sum -= hashID(id)
	return nil
}

func (p *pendingSpan) holds(id StreamID) bool {
	return p.low.Compare(id) <= 0 && id.Compare(p.high) <= 0
}

func hashID(id StreamID) uint64 {
	var b [17]byte
	sum := keys.Hash(id.appendKey(b[:0]))
	b[16] = 1
	return uint64(sum)<<32 | uint64(keys.Hash(b[:]))
}

// End: see engine.Verifier.
func (v *streamVerifier) End() error {
	if v.entries == 0 {
		v.beginEntries()
	}
	for v.at < len(v.nodes) {
		if err := v.endNode(); err != nil {
			return err
		}
	}
	switch {
	case v.entries != v.count:
		return fmt.Errorf("%d entries, the record says %d", v.entries, v.count)
	case v.last != v.top:
		return fmt.Errorf("the last entry is %v, not %v", v.last, v.top)
	case v.top.Compare(v.streamState.last) > 0:
		return fmt.Errorf("the last entry %v is behind the last id %v", v.top, v.streamState.last)
	case uint64(len(v.nodes)) != v.streamState.nodes:
		return fmt.Errorf("%d nodes, the record says %d", len(v.nodes), v.streamState.nodes)
	case uint64(len(v.groups)) != v.streamState.groups:
		return fmt.Errorf("%d groups, the record says %d", len(v.groups), v.streamState.groups)
	}
	for _, g := range v.groups {
		if err := g.end(); err != nil {
			return fmt.Errorf("the group %q: %w", g.Name, err)
		}
	}
	return nil
}

func (g *groupVerifier) end() error {
	consumers := uint64(len(g.consumers))
	switch {
	case consumers != g.Consumers() || g.names != consumers:
		return fmt.Errorf("%d consumers, %d names, its record says %d", consumers, g.names, g.Consumers())
	case g.pending != g.Pending():
		return fmt.Errorf("%d pending entries, its record says %d", g.pending, g.Pending())
	case g.bytes != g.Group.bytes:
		return fmt.Errorf("takes %d bytes, its record says %d", g.bytes, g.Group.bytes)
	}
	for _, c := range g.consumers {
		if c.pending != c.Pending() || c.owned != c.pending || c.sum != 0 {
			return fmt.Errorf("the consumer %q has %d pending entries and %d by name, its record says %d", c.Name, c.pending, c.owned, c.Pending())
		}
	}
	return nil
}
