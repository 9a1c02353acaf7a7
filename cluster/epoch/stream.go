package epoch

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cairndb/cairn/cluster/slotmap"
	"github.com/hashicorp/raft"
)

// Dialer connects to the group's port of another node, wherever that is now.
type Dialer interface {
	DialNode(ctx context.Context, id slotmap.NodeID) (net.Conn, error)
}

// A connection begins with its purpose:
//
//	'C'  calls, see peer
//	'R'  cluster(20) generation(8) incarnation(8): Raft's, to that incarnation of the node's Raft member
const (
	purposeCalls = 'C'
	purposeRaft  = 'R'
	raftHello    = slotmap.NodeIDBytes + 8 + 8
)

const helloTimeout = 5 * time.Second

// identity says which group a node's Raft member belongs to. The incarnation is random for each empty log, so
// that a node that has lost its log is never taken for the voter that it was.
type identity struct {
	cluster     slotmap.NodeID
	generation  uint64
	incarnation uint64
}

func (id identity) append(b []byte) []byte {
	b = id.cluster.Append(b)
	b = binary.BigEndian.AppendUint64(b, id.generation)
	return binary.BigEndian.AppendUint64(b, id.incarnation)
}

func decodeIdentity(b []byte) identity {
	return identity{
		cluster:     slotmap.DecodeNodeID(b),
		generation:  binary.BigEndian.Uint64(b[slotmap.NodeIDBytes:]),
		incarnation: binary.BigEndian.Uint64(b[slotmap.NodeIDBytes+8:]),
	}
}

// raftAddress is a Raft member's address in the group's configuration: never a network address.
func raftAddress(node slotmap.NodeID, incarnation uint64) raft.ServerAddress {
	return raft.ServerAddress(string(node) + "/" + strconv.FormatUint(incarnation, 16))
}

func parseRaftAddress(a raft.ServerAddress) (slotmap.NodeID, uint64, error) {
	node, inc, _ := strings.Cut(string(a), "/")
	n, err := strconv.ParseUint(inc, 16, 64)
	if id, ok := slotmap.ParseNodeID(node); ok && err == nil {
		return id, n, nil
	}
	return "", 0, fmt.Errorf("epoch: %q is no address of a Raft member", a)
}

// streams is the raft.StreamLayer of one member: it dials by node ID and accepts what Serve hands in.
type streams struct {
	dialer Dialer
	self   slotmap.NodeID
	id     identity

	accepted chan net.Conn
	done     chan struct{}
	once     sync.Once
}

func newStreams(d Dialer, self slotmap.NodeID, id identity) *streams {
	return &streams{dialer: d, self: self, id: id, accepted: make(chan net.Conn), done: make(chan struct{})}
}

// Dial is part of raft.StreamLayer.
func (s *streams) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	node, incarnation, err := parseRaftAddress(address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	conn, err := s.dialer.DialNode(ctx, node)
	if err != nil {
		return nil, err
	}
	to := s.id
	to.incarnation = incarnation
	_ = conn.SetWriteDeadline(time.Now().Add(timeout))
	if _, err := conn.Write(to.append([]byte{purposeRaft})); err != nil {
		_ = conn.Close()
		return nil, err
	}
	_ = conn.SetWriteDeadline(time.Time{})
	return conn, nil
}

// offer hands an accepted connection to Raft.
func (s *streams) offer(conn net.Conn) {
	select {
	case s.accepted <- conn:
	case <-s.done:
		_ = conn.Close()
	}
}

// Accept is part of net.Listener.
func (s *streams) Accept() (net.Conn, error) {
	select {
	case c := <-s.accepted:
		return c, nil
	case <-s.done:
		return nil, net.ErrClosed
	}
}

// Close is part of net.Listener.
func (s *streams) Close() error {
	s.once.Do(func() { close(s.done) })
	return nil
}

// Addr is part of net.Listener.
func (s *streams) Addr() net.Addr { return memberAddr(raftAddress(s.self, s.id.incarnation)) }

type memberAddr string

func (memberAddr) Network() string  { return "cairn" }
func (a memberAddr) String() string { return string(a) }
