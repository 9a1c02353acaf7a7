package types

import (
	"encoding/binary"
	"math"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
)

// streamNode are the counts of what Redis keeps in one listpack: a run of entries. It is exact to the byte, so that approximate
// trimming deletes the very entries that it deletes there.
type streamNode struct {
	first    StreamID // its name; what it names may be deleted
	last     StreamID // added to it
	live     uint64   // entries
	deleted  uint64   // entries that were deleted one by one
	listpack uint64   // bytes, but for the two counts above
	fields   uint64   // how many its first entry has
	hash     uint32   // of their names
	bytes    uint64   // that the live entries take as sub-keys
}

func (n *streamNode) append(dst []byte) []byte {
	dst = n.last.appendValue(dst)
	for _, v := range [...]uint64{n.live, n.deleted, n.listpack, n.fields, uint64(n.hash), n.bytes} {
		dst = binary.AppendUvarint(dst, v)
	}
	return dst
}

func (n *streamNode) decode(r *fieldReader) {
	n.last = r.id()
	var hash uint64
	for _, v := range [...]*uint64{&n.live, &n.deleted, &n.listpack, &n.fields, &hash, &n.bytes} {
		*v = r.uint()
	}
	n.hash = uint32(hash)
	r.bad = r.bad || hash > math.MaxUint32
}

func decodeNode(first StreamID, value []byte) (n streamNode, err error) {
	r := fieldReader{b: value}
	n.first = first
	n.decode(&r)
	return n, r.err()
}

func hashFields(fields [][]byte) (h uint32) {
	for i := 0; i < len(fields); i += 2 {
		h = h*31 + keys.Hash(fields[i])
	}
	return h
}

// size is the length of the listpack.
func (n *streamNode) size() uint64 {
	return n.listpack + listpackInt(int64(n.live)) + listpackInt(int64(n.deleted))
}

// full says whether Redis would begin a new listpack rather than add strings of so many bytes.
func (n *streamNode) full(added uint64, p *engine.Packing) bool {
	const maxListpack = 1 << 30
	limit := uint64(p.StreamNodeBytes)
	if limit == 0 || limit > maxListpack {
		limit = maxListpack
	}
	return n.size()+added >= limit || p.StreamNodeEntries > 0 && n.live+n.deleted >= uint64(p.StreamNodeEntries)
}

// add counts an entry that takes so many bytes as a sub-key.
func (n *streamNode) add(id StreamID, fields [][]byte, stored uint64) {
	hash, count := hashFields(fields), uint64(len(fields)/2)
	if n.live+n.deleted == 0 {
		*n = streamNode{first: id, fields: count, hash: hash}
		n.listpack = listpackFrame + listpackInt(int64(count)) + listpackInt(0)
		for i := 0; i < len(fields); i += 2 {
			n.listpack += listpackSize(fields[i])
		}
	}
	n.listpack += listpackInt(0) + listpackInt(int64(id.Ms-n.first.Ms)) + listpackInt(int64(id.Seq-n.first.Seq))
	same := count == n.fields && hash == n.hash
	pieces := 3 + int64(count)
	if !same {
		n.listpack += listpackInt(int64(count))
		pieces += int64(count) + 1
	}
	for i, p := range fields {
		if i%2 == 1 || !same {
			n.listpack += listpackSize(p)
		}
	}
	n.listpack += listpackInt(pieces)
	n.last = id
	n.live++
	n.bytes += stored
}

// appendToNode counts a new entry in the last node, or in a new one.
func (s *Stream) appendToNode(id StreamID, fields [][]byte, stored uint64) error {
	var size uint64
	for _, p := range fields {
		size += uint64(len(p))
	}
	if s.nodes == 1 && s.tail.live == 0 && id.Compare(s.tail.first) < 0 {
		s.nodes = 0 // all is deleted, and XSETID went back before it
	}
	if s.nodes == 0 || s.tail.full(size, s.txn.Packing()) {
		switch {
		case s.nodes == 1:
			s.head = s.tail
		case s.nodes > 1:
			if err := s.putNode(&s.tail, absent); err != nil {
				return err
			}
		}
		s.nodes++
		s.tail = streamNode{}
	}
	s.tail.add(id, fields, stored)
	return nil
}

func (s *Stream) putNode(n *streamNode, old int) error {
	return s.put(streamKey(streamNodes, n.first), n.append(make([]byte, 0, 64)), old)
}

func (s *Stream) dropNode(n *streamNode, old int) error {
	return s.drop(streamKey(streamNodes, n.first), old)
}

// storedNode returns the first node of a range that has a record, or the last, and the record's length.
func (s *Stream) storedNode(from, to StreamID, reverse bool) (n streamNode, length int, err error) {
	length = absent
	var bad error
	err = s.walkIDs(streamNodes, from, to, reverse, func(id StreamID, value []byte) bool {
		length = len(value)
		n, bad = decodeNode(id, value)
		return false
	})
	if err == nil {
		err = bad
	}
	if err == nil && length == absent {
		err = errStream
	}
	return n, length, err
}

// takeNode is storedNode, and deletes the record.
func (s *Stream) takeNode(from, to StreamID, reverse bool) (streamNode, error) {
	n, length, err := s.storedNode(from, to, reverse)
	if err == nil {
		err = s.dropNode(&n, length)
	}
	return n, err
}

// removeFromNode counts that one entry is deleted, which took so many bytes as a sub-key.
func (s *Stream) removeFromNode(id StreamID, stored uint64) error {
	remove := func(n *streamNode) {
		n.live--
		n.deleted++
		n.bytes -= stored
	}
	switch {
	case s.nodes == 0:
		return errStream
	case id.Compare(s.tail.first) >= 0:
		if remove(&s.tail); s.tail.live == 0 {
			return s.dropTail()
		}
		return nil
	case s.nodes > 1 && id.Compare(s.head.last) <= 0:
		if remove(&s.head); s.head.live == 0 {
			return s.dropHead()
		}
		return nil
	}
	n, length, err := s.storedNode(s.head.first, id, true)
	if err != nil {
		return err
	}
	if remove(&n); n.live == 0 {
		s.nodes--
		return s.dropNode(&n, length)
	}
	return s.putNode(&n, length)
}

// dropTail makes the node before the last the last one.
func (s *Stream) dropTail() (err error) {
	switch s.nodes {
	case 1:
	case 2:
		s.tail = s.head
	default:
		s.tail, err = s.takeNode(s.head.first, s.tail.first, true)
	}
	s.nodes--
	return err
}

// dropHead makes the node behind the first the first one. There are two at least.
func (s *Stream) dropHead() (err error) {
	if s.nodes > 2 {
		s.head, err = s.takeNode(s.head.first, s.tail.first, false)
	}
	s.nodes--
	return err
}
