package epoch

import (
	"encoding/binary"
	"errors"

	"github.com/cairndb/cairn/cluster/slotmap"
)

var errEncoding = errors.New("epoch: malformed encoding")

// formatVersion begins every encoding: entries and snapshots outlive the program that wrote them.
const formatVersion = 1

// appendRequest appends the encoding that decodeRequest reads:
//
//	format(1) id(16) op(1) flags(1) seen expect revision (uvarints) shard(20) node(20) cluster(20)
//	n(uvarint) n × inSync(20)
//	n(uvarint) n × ( first(uvarint) last-first(uvarint) epoch(uvarint) )
//	table, if the operation is OpAdopt
//
// An ID of zeros is nobody.
func appendRequest(b []byte, r *Request) []byte {
	b = append(b, formatVersion)
	b = append(b, r.ID[:]...)
	b = append(b, byte(r.Op), bit(r.Released, 1)|bit(r.Strict, 2)|bit(r.Lossy, 4))
	b = binary.AppendUvarint(b, r.Seen)
	b = binary.AppendUvarint(b, r.Expect)
	b = binary.AppendUvarint(b, r.Revision)
	b = r.Shard.Append(b)
	b = r.Node.Append(b)
	b = r.Cluster.Append(b)
	b = appendIDs(b, r.InSync)
	b = binary.AppendUvarint(b, uint64(len(r.Slots)))
	for _, s := range r.Slots {
		b = binary.AppendUvarint(b, uint64(s.First))
		b = binary.AppendUvarint(b, uint64(s.Last-s.First))
		b = binary.AppendUvarint(b, s.Epoch)
	}
	if r.Op == OpAdopt && r.Table != nil {
		b = appendTable(b, r.Table, false)
	}
	return b
}

func decodeRequest(b []byte) (*Request, error) {
	d := decoder{b: b}
	if d.byte() != formatVersion {
		return nil, errEncoding
	}
	r := &Request{}
	copy(r.ID[:], d.take(uint64(len(r.ID))))
	r.Op = Op(d.byte())
	flags := d.byte()
	r.Released, r.Strict, r.Lossy = flags&1 != 0, flags&2 != 0, flags&4 != 0
	r.Seen, r.Expect, r.Revision = d.uvarint(), d.uvarint(), d.uvarint()
	r.Shard, r.Node, r.Cluster = d.id(), d.id(), d.id()
	r.InSync = d.ids()
	for range d.count(slotmap.Slots, 3) {
		first, more, e := d.uvarint(), d.uvarint(), d.uvarint()
		if first >= slotmap.Slots || more >= slotmap.Slots-first {
			return nil, errEncoding
		}
		r.Slots = append(r.Slots, SlotsAt{slotmap.Range{First: uint16(first), Last: uint16(first + more)}, e})
	}
	if r.Op == OpAdopt && !d.bad {
		var err error
		if r.Table, err = d.table(); err != nil {
			return nil, err
		}
	}
	if d.bad || len(d.b) != 0 || flags > 7 {
		return nil, errEncoding
	}
	return r, nil
}

// appendTable appends the encoding that decodeTable reads. It is a snapshot's contents and what is sent to followers,
// who need no answers to old requests:
//
//	format(1) flags(1) cluster(20) into(20) generation version epoch lastNumber (uvarints)
//	n(uvarint) n × voter(20)
//	n(uvarint) n × shard: number epoch revision (uvarints) id(20) primary(20) flags(1) members inSync, and if flags say that there are remains:
//	               n(uvarint) n × ( first(uvarint) last-first(uvarint) ), ascending
//	runs until all slots are described: length(uvarint) number(uvarint) epoch(uvarint)
//	n(uvarint) n × answer: request(16) outcome(1) epoch(uvarint) version(uvarint)
func appendTable(b []byte, t *Table, answers bool) []byte {
	b = append(b, formatVersion, bit(t.Granted, 1))
	b = t.Cluster.Append(b)
	b = t.Into.Append(b)
	b = binary.AppendUvarint(b, t.Generation)
	b = binary.AppendUvarint(b, t.Version)
	b = binary.AppendUvarint(b, t.Epoch)
	b = binary.AppendUvarint(b, uint64(t.lastNumber))
	b = appendIDs(b, t.Voters)
	b = binary.AppendUvarint(b, uint64(len(t.Shards)))
	for _, s := range t.Shards {
		b = appendShard(b, s)
	}
	for i := 0; i < len(t.slots); {
		n := t.run(i)
		b = binary.AppendUvarint(b, uint64(n))
		b = binary.AppendUvarint(b, uint64(t.slots[i].shard))
		b = binary.AppendUvarint(b, t.slots[i].epoch)
		i += n
	}
	if !answers {
		return binary.AppendUvarint(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(len(t.recent)))
	for _, a := range t.recent {
		b = append(b, a.id[:]...)
		b = appendResult(b, a.result)
	}
	return b
}

func appendShard(b []byte, s *Shard) []byte {
	b = binary.AppendUvarint(b, uint64(s.number))
	b = binary.AppendUvarint(b, s.Epoch)
	b = binary.AppendUvarint(b, s.Revision)
	b = s.ID.Append(b)
	b = s.Primary.Append(b)
	b = append(b, bit(s.Strict, 1)|bit(s.Remains != nil, 2))
	b = appendIDs(b, s.Members)
	b = appendIDs(b, s.InSync)
	if s.Remains == nil {
		return b
	}
	ranges := s.Remains.Ranges()
	b = binary.AppendUvarint(b, uint64(len(ranges)))
	for _, r := range ranges {
		b = binary.AppendUvarint(b, uint64(r.First))
		b = binary.AppendUvarint(b, uint64(r.Last-r.First))
	}
	return b
}

func appendResult(b []byte, r Result) []byte {
	b = append(b, byte(r.Outcome))
	b = binary.AppendUvarint(b, r.Epoch)
	return binary.AppendUvarint(b, r.Version)
}

func decodeTable(b []byte) (*Table, error) {
	d := decoder{b: b}
	t, err := d.table()
	if err != nil || len(d.b) != 0 {
		return nil, errEncoding
	}
	return t, nil
}

func (d *decoder) table() (*Table, error) {
	if d.byte() != formatVersion {
		return nil, errEncoding
	}
	flags := d.byte()
	t := &Table{Granted: flags == 1, slots: new([slotmap.Slots]slot)}
	t.Cluster, t.Into = d.id(), d.id()
	t.Generation, t.Version, t.Epoch = d.uvarint(), d.uvarint(), d.uvarint()
	t.lastNumber = d.uint32()
	t.Voters = d.ids()
	for range d.count(maxMembers, 46) {
		t.Shards = append(t.Shards, d.shard())
	}
	for i := uint64(0); i < slotmap.Slots; {
		n, at := d.uvarint(), slot{shard: d.uint32(), epoch: d.uvarint()}
		if d.bad || n == 0 || n > slotmap.Slots-i {
			return nil, errEncoding
		}
		for range n {
			t.slots[i] = at
			i++
		}
	}
	for range d.count(maxRecent, 19) {
		var a answered
		copy(a.id[:], d.take(uint64(len(a.id))))
		a.result = d.result()
		t.recent = append(t.recent, a)
	}
	if d.bad || flags > 1 {
		return nil, errEncoding
	}
	return t, t.check()
}

func (d *decoder) shard() *Shard {
	s := &Shard{number: d.uint32(), Epoch: d.uvarint(), Revision: d.uvarint(), ID: d.id(), Primary: d.id()}
	flags := d.byte()
	s.Strict = flags&1 != 0
	s.Members, s.InSync = d.ids(), d.ids()
	if flags&2 != 0 {
		s.Remains = d.remains()
	}
	d.bad = d.bad || flags > 3
	return s
}

// remains reads at least one slot, in ranges that are ascending and don't touch.
func (d *decoder) remains() *slotmap.Set {
	set, next := new(slotmap.Set), uint64(0)
	for range d.count(slotmap.Slots/2, 2) {
		first, more := d.uvarint(), d.uvarint()
		if d.bad || first < next || first >= slotmap.Slots || more >= slotmap.Slots-first {
			d.bad = true
			return nil
		}
		set.AddRange(slotmap.Range{First: uint16(first), Last: uint16(first + more)})
		next = first + more + 2
	}
	d.bad = d.bad || set.Len() == 0
	return set
}

func (d *decoder) result() Result {
	return Result{Outcome: Outcome(d.byte()), Epoch: d.uvarint(), Version: d.uvarint()}
}

func bit(set bool, b byte) byte {
	if set {
		return b
	}
	return 0
}

func appendIDs(b []byte, ids []slotmap.NodeID) []byte {
	b = binary.AppendUvarint(b, uint64(len(ids)))
	for _, id := range ids {
		b = id.Append(b)
	}
	return b
}

// decoder reads fields one after the other; after the first malformed one it is bad and returns zeros.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n uint64) []byte {
	if d.bad || n > uint64(len(d.b)) {
		d.bad = true
		return nil
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

// uvarint accepts the shortest form only, so that one value has one encoding.
func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if d.bad || n <= 0 || n > 1 && d.b[n-1] == 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) uint32() uint32 {
	v := d.uvarint()
	if v > 1<<32-1 {
		d.bad = true
	}
	return uint32(v)
}

// count reads a number of items of at least size bytes each: no more than are there.
func (d *decoder) count(most, size uint64) uint64 {
	n := d.uvarint()
	if n > most || n > uint64(len(d.b))/size {
		d.bad = true
		return 0
	}
	return n
}

func (d *decoder) id() slotmap.NodeID {
	b := d.take(slotmap.NodeIDBytes)
	if b == nil {
		return ""
	}
	return slotmap.DecodeNodeID(b)
}

// ids reads an ascending list.
func (d *decoder) ids() []slotmap.NodeID {
	var ids []slotmap.NodeID
	for range d.count(maxMembers, slotmap.NodeIDBytes) {
		id := d.id()
		if n := len(ids); id == "" || n > 0 && ids[n-1] >= id {
			d.bad = true
			return nil
		}
		ids = append(ids, id)
	}
	return ids
}
