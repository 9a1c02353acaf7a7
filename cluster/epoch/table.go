package epoch

import (
	"slices"
	"strings"

	"github.com/cairndb/cairn/cluster/slotmap"
)

// ShardID names a primary and its replicas together.
type ShardID = slotmap.NodeID

// Shard is a primary with its replicas. A Shard in a Table never changes.
type Shard struct {
	ID ShardID
	// Primary is the node that may hold the shard's lease, since Epoch.
	Primary slotmap.NodeID
	Epoch   uint64
	// Members are the primary and its replicas, ascending.
	Members []slotmap.NodeID
	// Strict: writes are acknowledged only when all of InSync hold them, so only one of InSync, or
	// the primary itself, may be made primary.
	Strict bool
	// InSync are replicas, ascending.
	InSync []slotmap.NodeID
	// Revision is the version of the table in which the shard last changed.
	Revision uint64
	// Remains are slots that the shard has handed over and whose data it has yet to drop, nil for none: see remains.go.
	Remains *slotmap.Set

	number uint32 // names the shard in the slots; never used again
}

// Has says whether the node is the shard's primary or one of its replicas.
func (s *Shard) Has(id slotmap.NodeID) bool { return has(s.Members, id) }

// Eligible says whether the node may be made the shard's primary.
func (s *Shard) Eligible(id slotmap.NodeID) bool {
	return s.Has(id) && (!s.Strict || id == s.Primary || has(s.InSync, id))
}

func (s *Shard) clone() *Shard {
	c := *s
	c.Members = slices.Clone(s.Members)
	c.InSync = slices.Clone(s.InSync)
	return &c
}

// slot is one slot's owner: the number of a shard, 0 for nobody, and the epoch of the grant.
type slot struct {
	shard uint32
	epoch uint64
}

// Table is the fold of all grants up to Version: who owns which slot, who is primary. It never changes.
type Table struct {
	// Cluster names the group, empty while there is none. Generation counts its forced recoveries.
	Cluster    slotmap.NodeID
	Generation uint64
	// Version is the index of the last Raft entry that is in the table.
	Version uint64
	// Epoch is the greatest epoch minted or adopted.
	Epoch uint64
	// Granted: something was granted after the claims were adopted, so the group can't dissolve any more.
	Granted bool
	// Into is the group that this one gave way to, empty for none; nothing is granted from then on.
	Into slotmap.NodeID
	// Voters are the nodes whose majority decides, ascending.
	Voters []slotmap.NodeID
	// Shards are ascending by ID.
	Shards []*Shard

	slots      *[slotmap.Slots]slot
	lastNumber uint32
	recent     []answered // oldest first, at most maxRecent
}

// answered remembers what became of a request, for its retries.
type answered struct {
	id     RequestID
	result Result
}

// maxRecent is how many answers are kept: a retry comes within seconds, and behind it there is still the compare-and-set.
const maxRecent = 256

var noSlots [slotmap.Slots]slot

// empty is the table before a group was formed.
func empty() *Table { return &Table{slots: &noSlots} }

// Formed says whether there is a group.
func (t *Table) Formed() bool { return t.Cluster != "" }

// Newer says whether t is of a later generation than o, or a later version of the same.
func (t *Table) Newer(o *Table) bool {
	if t.Generation != o.Generation {
		return t.Generation > o.Generation
	}
	return t.Version > o.Version
}

// Shard finds a shard, nil for an unknown one.
func (t *Table) Shard(id ShardID) *Shard {
	i, ok := t.find(id)
	if !ok {
		return nil
	}
	return t.Shards[i]
}

func (t *Table) find(id ShardID) (int, bool) {
	return slices.BinarySearchFunc(t.Shards, id, func(s *Shard, id ShardID) int { return strings.Compare(string(s.ID), string(id)) })
}

// ShardOf is the shard that the node is a member of, nil for none.
func (t *Table) ShardOf(node slotmap.NodeID) *Shard {
	for _, s := range t.Shards {
		if s.Has(node) {
			return s
		}
	}
	return nil
}

// Owner is the shard that owns a slot and the epoch of the grant; nil for nobody.
func (t *Table) Owner(s uint16) (*Shard, uint64) {
	at := t.slots[s%slotmap.Slots]
	if at.shard == 0 {
		return nil, at.epoch
	}
	for _, sh := range t.Shards {
		if sh.number == at.shard {
			return sh, at.epoch
		}
	}
	return nil, at.epoch
}

// Runs calls fn for all slots in order, in runs of the same owner (nil for nobody) and epoch.
func (t *Table) Runs(fn func(r slotmap.Range, owner *Shard, epoch uint64)) {
	shards := make(map[uint32]*Shard, len(t.Shards))
	for _, s := range t.Shards {
		shards[s.number] = s
	}
	for i := 0; i < slotmap.Slots; {
		at, n := t.slots[i], t.run(i)
		fn(slotmap.Range{First: uint16(i), Last: uint16(i + n - 1)}, shards[at.shard], at.epoch)
		i += n
	}
}

// run is the number of slots from i on that are alike.
func (t *Table) run(i int) int {
	n := 1
	for i+n < len(t.slots) && t.slots[i+n] == t.slots[i] {
		n++
	}
	return n
}

// SlotEpoch is the epoch at which the slot was last granted, or taken from its owner.
func (t *Table) SlotEpoch(s uint16) uint64 { return t.slots[s%slotmap.Slots].epoch }

// SlotsOf are the slots that a shard owns.
func (t *Table) SlotsOf(id ShardID) *slotmap.Set {
	set := new(slotmap.Set)
	if s := t.Shard(id); s != nil {
		for i, at := range t.slots {
			if at.shard == s.number {
				set.Add(uint16(i))
			}
		}
	}
	return set
}

// Expect describes slots with the epochs that they have now, as a grant's compare-and-set wants them.
func (t *Table) Expect(set *slotmap.Set) []SlotsAt {
	var out []SlotsAt
	for _, r := range set.Ranges() {
		for s := int(r.First); s <= int(r.Last); s++ {
			e := t.slots[s].epoch
			if n := len(out); n > 0 && int(out[n-1].Last)+1 == s && out[n-1].Epoch == e {
				out[n-1].Last = uint16(s)
				continue
			}
			out = append(out, SlotsAt{Range: slotmap.Range{First: uint16(s), Last: uint16(s)}, Epoch: e})
		}
	}
	return out
}

// Owns says whether all of the slots belong to the node's shard.
func (t *Table) Owns(node slotmap.NodeID, set *slotmap.Set) bool {
	s := t.ShardOf(node)
	if s == nil {
		return false
	}
	own := t.SlotsOf(s.ID)
	for i := range set {
		if set[i]&^own[i] != 0 {
			return false
		}
	}
	return true
}

// Founder is a shard as it was before there was a group, with the slots that its primary claims.
type Founder struct {
	Shard    ShardID
	Primary  slotmap.NodeID
	Replicas []slotmap.NodeID
	Epoch    uint64
	Slots    []slotmap.Range
}

// Form is the first table of a group: all claims decided between as gossip does (see slotmap). A primary that has no epoch gets one: 0 is
// nobody's grant.
func Form(cluster slotmap.NodeID, founders []Founder) (*Table, error) {
	t := empty()
	t.Cluster = cluster
	t.slots = new([slotmap.Slots]slot)
	claims := make([]slotmap.Claim, 0, len(founders))
	number := make(map[slotmap.NodeID]uint32)
	for _, f := range founders {
		t.Epoch = max(t.Epoch, f.Epoch)
	}
	for _, f := range founders {
		if t.Shard(f.Shard) != nil || f.Shard == "" || f.Primary == "" || number[f.Primary] != 0 {
			return nil, refusal(Malformed)
		}
		members := append([]slotmap.NodeID{f.Primary}, f.Replicas...)
		s := &Shard{ID: f.Shard, Primary: f.Primary, Epoch: f.Epoch, Members: sorted(members)}
		if s.Epoch == 0 {
			t.Epoch++
			s.Epoch = t.Epoch
		}
		t.add(s)
		number[f.Primary] = s.number
		claims = append(claims, slotmap.Claim{Node: f.Primary, Epoch: f.Epoch, Slots: f.Slots})
	}
	m := slotmap.Fold(claims...)
	for i := range t.slots {
		s := uint16(i)
		if owner := m.Owner(s); owner != "" {
			t.slots[i] = slot{shard: number[owner], epoch: m.Epoch(s)}
		}
	}
	return t, t.check()
}

// add puts a new shard into a table that is being made.
func (t *Table) add(s *Shard) {
	t.lastNumber++
	s.number = t.lastNumber
	i, _ := t.find(s.ID)
	t.Shards = slices.Insert(slices.Clone(t.Shards), i, s)
}

// check says whether the table keeps its invariants: each node in one shard at most, primaries and in-sync
// replicas are members, slots belong to known shards, and nothing that a shard owns is among its remains.
func (t *Table) check() error {
	numbers := map[uint32]bool{0: true}
	nodes := make(map[slotmap.NodeID]bool)
	for i, s := range t.Shards {
		if i > 0 && t.Shards[i-1].ID >= s.ID || numbers[s.number] || s.number > t.lastNumber || s.ID == "" || !s.Has(s.Primary) {
			return errEncoding
		}
		numbers[s.number] = true
		for _, n := range s.Members {
			if nodes[n] || n == "" {
				return errEncoding
			}
			nodes[n] = true
		}
		for _, n := range s.InSync {
			if !s.Has(n) || n == s.Primary {
				return errEncoding
			}
		}
	}
	shards := make(map[uint32]*Shard, len(t.Shards))
	for _, s := range t.Shards {
		shards[s.number] = s
	}
	for i, at := range t.slots {
		if !numbers[at.shard] || at.shard != 0 && shards[at.shard].HasRemains(uint16(i)) {
			return errEncoding
		}
	}
	return nil
}

func has(ids []slotmap.NodeID, id slotmap.NodeID) bool {
	_, ok := slices.BinarySearch(ids, id)
	return ok
}

func sorted(ids []slotmap.NodeID) []slotmap.NodeID {
	out := slices.Clone(ids)
	slices.Sort(out)
	return slices.Compact(out)
}

func with(ids []slotmap.NodeID, id slotmap.NodeID) []slotmap.NodeID {
	return sorted(append(slices.Clone(ids), id))
}

func without(ids []slotmap.NodeID, id slotmap.NodeID) []slotmap.NodeID {
	out := slices.Clone(ids)
	return slices.DeleteFunc(out, func(x slotmap.NodeID) bool { return x == id })
}
