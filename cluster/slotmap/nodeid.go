package slotmap

import (
	"crypto/rand"
	"encoding/hex"
)

// NodeID is 40 lower-case hex digits; empty for nobody.
type NodeID string

// NodeIDBytes is the length of an ID in binary form.
const NodeIDBytes = 20

// NewNodeID returns a random ID.
func NewNodeID() NodeID {
	var b [NodeIDBytes]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return NodeID(hex.EncodeToString(b[:]))
}

// ParseNodeID accepts exactly 40 lower-case hex digits.
func ParseNodeID(s string) (NodeID, bool) {
	if len(s) != 2*NodeIDBytes {
		return "", false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return "", false
		}
	}
	return NodeID(s), true
}

// Append appends the ID in binary form; nobody is all zeros.
func (id NodeID) Append(dst []byte) []byte {
	b, err := hex.DecodeString(string(id))
	if err != nil || len(b) != NodeIDBytes {
		b = make([]byte, NodeIDBytes)
	}
	return append(dst, b...)
}

// DecodeNodeID reads the binary form from the front of b, which holds at least NodeIDBytes.
func DecodeNodeID(b []byte) NodeID {
	b = b[:NodeIDBytes]
	for _, c := range b {
		if c != 0 {
			return NodeID(hex.EncodeToString(b))
		}
	}
	return ""
}
