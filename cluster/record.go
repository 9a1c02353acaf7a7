package cluster

import (
	"encoding/binary"
	"errors"

	"github.com/cairndb/cairn/cluster/slotmap"
)

// record is what a node says about itself. Only the node itself makes a new
// version of it; all others pass it on unchanged, and the greatest version counts.
// So no order of arrival matters, and no clock but the writer's own.
type record struct {
	ID      slotmap.NodeID
	Version uint64
	// Epoch is the config epoch, at which all of Slots are claimed.
	Epoch    uint64
	Slots    []slotmap.Range
	Shard    slotmap.NodeID
	IP       string
	Hostname string
	Port     int
	BusPort  int
	// Suspects are the nodes that it does not reach.
	Suspects []slotmap.NodeID
	// Nonce is of the process that made the record, 0 when not known.
	Nonce uint64
	// Primary is the node that it replicates, empty for a primary.
	Primary slotmap.NodeID
	// Offset is the end of its log, as of some seconds ago.
	Offset uint64
	// Group, Generation and Granted are those of its table of grants (epoch), zero while it knows none.
	Group      slotmap.NodeID
	Generation uint64
	Granted    bool
	// Pledged: Slots change no more until there is a group, which adopts them.
	Pledged bool
	// Doubtful: the end of its log may be lost (doubt.go).
	Doubtful bool
	// Lost: its data are gone (lost.go).
	Lost bool
	// NoFailover: it takes its primary's place only when a client says so (cluster-replica-no-failover).
	NoFailover bool
}

func (r *record) claim() slotmap.Claim {
	return slotmap.Claim{Node: r.ID, Epoch: r.Epoch, Slots: r.Slots}
}

// state is what one node sends to another: everything it knows.
type state struct {
	Sender       slotmap.NodeID
	CurrentEpoch uint64
	Records      []record
}

var errState = errors.New("cluster: malformed state")

const (
	stateFormat = 1
	maxNodes    = 4096
	maxName     = 255     // bytes of an IP address or a host name (RFC 1035)
	maxState    = 8 << 20 // bytes; 1000 nodes with scattered slots need about half
)

// The flags of a record. Their numbers never change.
const (
	flagGranted byte = 1 << iota
	flagPledged
	flagDoubtful
	flagNoFailover
	flagLost
)

// appendState appends the encoding that decodeState reads. Nodes of different
// versions read each other's, so fields are only ever added, at the end of a record:
//
//	format(1) sender(20) currentEpoch(uvarint) n(uvarint) n × ( length(uvarint) record )
//	record: claim (slotmap.AppendClaim) version(uvarint) shard(20) ip(string) hostname(string)
//	        port(uvarint) busport(uvarint) n(uvarint) n × suspect(20) nonce(8, big endian)
//	        primary(20) offset(uvarint) group(20) generation(uvarint) flags(1)
//	string: length(uvarint) bytes
func appendState(b []byte, s *state) []byte {
	b = append(b, stateFormat)
	b = s.Sender.Append(b)
	b = binary.AppendUvarint(b, s.CurrentEpoch)
	b = binary.AppendUvarint(b, uint64(len(s.Records)))
	var one []byte
	for i := range s.Records {
		one = appendRecord(one[:0], &s.Records[i])
		b = binary.AppendUvarint(b, uint64(len(one)))
		b = append(b, one...)
	}
	return b
}

func appendRecord(b []byte, r *record) []byte {
	b = slotmap.AppendClaim(b, r.claim())
	b = binary.AppendUvarint(b, r.Version)
	b = r.Shard.Append(b)
	b = appendString(b, r.IP)
	b = appendString(b, r.Hostname)
	b = binary.AppendUvarint(b, uint64(r.Port))
	b = binary.AppendUvarint(b, uint64(r.BusPort))
	b = binary.AppendUvarint(b, uint64(len(r.Suspects)))
	for _, id := range r.Suspects {
		b = id.Append(b)
	}
	b = binary.BigEndian.AppendUint64(b, r.Nonce)
	b = r.Primary.Append(b)
	b = binary.AppendUvarint(b, r.Offset)
	b = r.Group.Append(b)
	b = binary.AppendUvarint(b, r.Generation)
	flags := byte(0)
	if r.Granted {
		flags |= flagGranted
	}
	if r.Pledged {
		flags |= flagPledged
	}
	if r.Doubtful {
		flags |= flagDoubtful
	}
	if r.NoFailover {
		flags |= flagNoFailover
	}
	if r.Lost {
		flags |= flagLost
	}
	return append(b, flags)
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// decodeState allocates no more than a small multiple of b's length.
func decodeState(b []byte) (*state, error) {
	d := decoder{b: b}
	if d.byte() != stateFormat {
		return nil, errState
	}
	s := &state{Sender: d.id(), CurrentEpoch: d.uvarint()}
	n := d.uvarint()
	if d.bad || s.Sender == "" || n > maxNodes || n > uint64(len(d.b)) {
		return nil, errState
	}
	for range n {
		one := decoder{b: d.take(d.uvarint())}
		r := one.record()
		if d.bad || one.bad {
			return nil, errState
		}
		s.Records = append(s.Records, r)
	}
	return s, nil
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

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if d.bad || n <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) id() slotmap.NodeID {
	if b := d.take(slotmap.NodeIDBytes); b != nil {
		return slotmap.DecodeNodeID(b)
	}
	return ""
}

// name reads a string that may be shown in CLUSTER NODES, so nothing in it may break a line or a field.
func (d *decoder) name() string {
	n := d.uvarint()
	b := d.take(min(n, maxName+1))
	if len(b) > maxName || !printable(b) {
		d.bad = true
		return ""
	}
	return string(b)
}

func printable(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c >= 0x7f || c == ',' || c == '@' {
			return false
		}
	}
	return true
}

func (d *decoder) port() int {
	p := d.uvarint()
	if p > 65535 {
		d.bad = true
	}
	return int(p)
}

func (d *decoder) record() (r record) {
	if d.bad {
		return r
	}
	claim, rest, err := slotmap.DecodeClaim(d.b)
	if err != nil || claim.Node == "" {
		d.bad = true
		return r
	}
	d.b = rest
	r.ID, r.Epoch, r.Slots = claim.Node, claim.Epoch, claim.Slots
	r.Version, r.Shard = d.uvarint(), d.id()
	r.IP, r.Hostname = d.name(), d.name()
	r.Port, r.BusPort = d.port(), d.port()
	n := d.uvarint()
	if n > maxNodes || n*slotmap.NodeIDBytes > uint64(len(d.b)) {
		d.bad = true
		return r
	}
	for range n {
		r.Suspects = append(r.Suspects, d.id())
	}
	if !d.bad && len(d.b) >= 8 {
		r.Nonce = binary.BigEndian.Uint64(d.take(8))
	}
	if !d.bad && len(d.b) > 0 {
		r.Primary, r.Offset = d.id(), d.uvarint()
		r.Group, r.Generation = d.id(), d.uvarint()
		flags := d.byte()
		r.Granted, r.Pledged, r.Doubtful = flags&flagGranted != 0, flags&flagPledged != 0, flags&flagDoubtful != 0
		r.NoFailover, r.Lost = flags&flagNoFailover != 0, flags&flagLost != 0
	}
	return r
}
