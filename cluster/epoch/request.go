package epoch

import (
	"crypto/rand"
	"fmt"

	"github.com/cairndb/cairn/cluster/slotmap"
)

// Op says what a Request asks for. Its numbers never change.
type Op byte

// The operations.
const (
	// OpOpen begins a leader's term and changes nothing: the table's version passes all earlier entries.
	OpOpen Op = 1
	// OpAdopt makes Table the group's first.
	OpAdopt Op = 2
	// OpSlots grants Slots to Shard, or to nobody when Shard is empty. Slots that another shard owns need Released:
	// their primary has stopped serving them. Others are first taken to nobody, and granted a full lease later. With a Node, that must still
	// be the primary of its shard since the epoch Revision: what it says of the slots is void once another one has its place. It hands them over with
	// all that is in them, and its data of them become its shard's Remains.
	OpSlots Op = 3
	// OpPrimary makes Node the primary of Shard, whose epoch is still Expect. Released: the old primary has handed over, and holds all that Node does.
	// Lossy: also a Node that may miss acknowledged writes, since an operator says so.
	OpPrimary Op = 4
	// OpInSync replaces InSync and Strict of Shard, whose epoch is still Expect and whose revision is still Revision.
	OpInSync Op = 5
	// OpMember makes Node a replica of Shard, or, when there is no such shard, the primary of a new one. Released: only if Node is a replica of another
	// shard, whose revision is still Expect, and that of Shard still Revision.
	OpMember Op = 6
	// OpForget takes Node out of its shard.
	OpForget Op = 7
	// OpDissolve ends a group that has granted nothing yet, in favour of the group Cluster, whose ID is smaller or
	// which has granted something (Released).
	OpDissolve Op = 8
	// OpDropped says that Node, the primary of Shard since the epoch Expect, has dropped what it had of Slots: they are no Remains any more.
	OpDropped Op = 9
)

// RequestID names a request through all its tries.
type RequestID [16]byte

// NewRequestID returns a random ID.
func NewRequestID() (id RequestID) {
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	return id
}

// SlotsAt are slots that were last granted at an epoch.
type SlotsAt struct {
	slotmap.Range
	Epoch uint64
}

// Request is one change asked of the group. Which fields count depends on Op.
type Request struct {
	// ID is chosen by Propose when it is zero.
	ID RequestID
	Op Op
	// Seen is the greatest epoch that the proposer has heard of, from anyone.
	Seen     uint64
	Shard    ShardID
	Node     slotmap.NodeID
	Cluster  slotmap.NodeID
	Expect   uint64
	Revision uint64
	Released bool
	Strict   bool
	Lossy    bool
	InSync   []slotmap.NodeID
	Slots    []SlotsAt
	Table    *Table
}

// Outcome says what became of a request. Its numbers never change.
type Outcome byte

// The outcomes.
const (
	// OK: granted.
	OK Outcome = iota
	// Stale: the table has changed since the request was made; look again.
	Stale
	// NotFormed: there is no group yet, or it has dissolved.
	NotFormed
	// AlreadyFormed: there is a group already, or it has granted something.
	AlreadyFormed
	// Unknown: no such shard or node.
	Unknown
	// Owned: the slots have an owner who has not released them, or the node's shard still needs it.
	Owned
	// NotInSync: the node may miss acknowledged writes.
	NotInSync
	// Exhausted: no greater epoch or no further shard exists.
	Exhausted
	// Malformed: the request makes no sense.
	Malformed
)

var outcomeText = [...]string{
	OK: "granted", Stale: "the table has changed meanwhile", NotFormed: "the group is not formed", AlreadyFormed: "a group is formed already",
	Unknown: "unknown shard or node", Owned: "still owned", NotInSync: "the replica is not in sync", Exhausted: "epochs or shards are exhausted", Malformed: "malformed request",
}

func (s Outcome) String() string {
	if int(s) < len(outcomeText) {
		return outcomeText[s]
	}
	return fmt.Sprintf("outcome %d", byte(s))
}

// Result is what became of a request.
type Result struct {
	Outcome Outcome
	// Epoch is the epoch minted for the grant; 0 when the operation mints none.
	Epoch uint64
	// Version is the table's version that holds the outcome.
	Version uint64
}

// Err is nil when the request was granted, else a *Refused.
func (r Result) Err() error {
	if r.Outcome == OK {
		return nil
	}
	return refusal(r.Outcome)
}

// Refused: the group decided against a request. Nothing has changed.
type Refused struct{ Outcome Outcome }

func (r *Refused) Error() string { return "epoch: refused: " + r.Outcome.String() }

func refusal(s Outcome) error { return &Refused{Outcome: s} }
