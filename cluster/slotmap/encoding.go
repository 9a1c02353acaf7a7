package slotmap

import (
	"encoding/binary"
	"errors"
)

// ErrEncoding: bytes that are no claim.
var ErrEncoding = errors.New("slotmap: malformed claim")

// maxRanges is the most ranges that can be in 16384 slots: every second slot.
const maxRanges = Slots / 2

// AppendClaim appends the claim's encoding, which DecodeClaim reads. It is
// sent between nodes of different versions, so it never changes:
//
//	node(20) epoch(uvarint) n(uvarint) n × ( gap(uvarint) len-1(uvarint) )
//
// A gap is counted from the end of the range before, so after the first it is at least 1:
// one state has one encoding.
func AppendClaim(dst []byte, c Claim) []byte {
	dst = c.Node.Append(dst)
	dst = binary.AppendUvarint(dst, c.Epoch)
	dst = binary.AppendUvarint(dst, uint64(len(c.Slots)))
	next := 0
	for _, r := range c.Slots {
		dst = binary.AppendUvarint(dst, uint64(int(r.First)-next))
		dst = binary.AppendUvarint(dst, uint64(r.Last-r.First))
		next = int(r.Last) + 1
	}
	return dst
}

// DecodeClaim reads a claim from the front of b and returns the rest. It
// allocates no more than b's length warrants.
func DecodeClaim(b []byte) (c Claim, rest []byte, err error) {
	if len(b) < NodeIDBytes {
		return Claim{}, nil, ErrEncoding
	}
	c.Node, b = DecodeNodeID(b), b[NodeIDBytes:]
	var n uint64
	if c.Epoch, b, err = uvarint(b); err != nil {
		return Claim{}, nil, err
	}
	if n, b, err = uvarint(b); err != nil {
		return Claim{}, nil, err
	}
	if n > maxRanges || n*2 > uint64(len(b)) {
		return Claim{}, nil, ErrEncoding
	}
	c.Slots = make([]Range, 0, n)
	next := uint64(0)
	for i := range n {
		var gap, more uint64
		if gap, b, err = uvarint(b); err != nil {
			return Claim{}, nil, err
		}
		if more, b, err = uvarint(b); err != nil {
			return Claim{}, nil, err
		}
		if gap >= Slots || more >= Slots || i > 0 && gap == 0 || next+gap+more >= Slots {
			return Claim{}, nil, ErrEncoding
		}
		r := Range{uint16(next + gap), uint16(next + gap + more)}
		c.Slots = append(c.Slots, r)
		next = uint64(r.Last) + 1
	}
	return c, b, nil
}

// uvarint accepts the shortest form only.
func uvarint(b []byte) (uint64, []byte, error) {
	v, n := binary.Uvarint(b)
	if n <= 0 || n > 1 && b[n-1] == 0 {
		return 0, nil, ErrEncoding
	}
	return v, b[n:], nil
}
