package epoch

import (
	"math"
	"slices"

	"github.com/cairndb/cairn/cluster/slotmap"
)

// maxMembers bounds shards, and the nodes of one.
const maxMembers = 4096

// apply decides a request at the given index of the log. It depends on nothing but its arguments, so that every
// node decides alike; t stays as it is.
func apply(t *Table, index uint64, r *Request) (*Table, Result) {
	for i := range t.recent {
		if t.recent[i].id == r.ID {
			n := *t
			n.Version = index
			return &n, t.recent[i].result
		}
	}
	n := *t
	n.Version = index
	res := decide(&n, r)
	if res.Outcome != OK { // whatever decide did to n
		n = *t
		n.Version = index
	}
	res.Version = index
	if r.Op != OpOpen {
		n.recent = append(slices.Clone(t.recent[max(0, len(t.recent)+1-maxRecent):]), answered{id: r.ID, result: res})
	}
	return &n, res
}

// configure takes over the group's voters.
func configure(t *Table, index uint64, voters []slotmap.NodeID) *Table {
	n := *t
	n.Version = index
	n.Voters = sorted(voters)
	return &n
}

// decide changes t, which is a copy of its own, its slices and pointers excepted.
func decide(t *Table, r *Request) Result {
	switch {
	case r.Op == OpOpen:
		return Result{}
	case r.Op == OpAdopt:
		return t.adopt(r)
	case !t.Formed() || t.Into != "":
		return Result{Outcome: NotFormed}
	}
	var res Result
	switch r.Op {
	case OpSlots:
		res = t.grantSlots(r)
	case OpPrimary:
		res = t.grantPrimary(r)
	case OpInSync:
		res = t.setInSync(r)
	case OpMember:
		res = t.join(r)
	case OpForget:
		res = t.forget(r)
	case OpDropped:
		res = t.dropped(r)
	case OpDissolve:
		return t.dissolve(r)
	default:
		return Result{Outcome: Malformed}
	}
	t.Granted = true
	return res
}

func (t *Table) adopt(r *Request) Result {
	if t.Formed() {
		return Result{Outcome: AlreadyFormed}
	}
	if r.Table == nil || !r.Table.Formed() || r.Table.Into != "" || r.Table.check() != nil {
		return Result{Outcome: Malformed}
	}
	version, voters := t.Version, t.Voters
	*t = *r.Table
	t.Version, t.Voters, t.recent = version, voters, nil
	t.Epoch = max(t.Epoch, r.Seen)
	t.forgetRemains() // of a group before this one: what that decided last may be lost
	return Result{Epoch: t.Epoch}
}

// mint makes the next epoch, greater than every claim seen.
func (t *Table) mint(r *Request) (uint64, bool) {
	seen := max(t.Epoch, r.Seen)
	if seen == math.MaxUint64 {
		return 0, false
	}
	t.Epoch = seen + 1
	return t.Epoch, true
}

func (t *Table) grantSlots(r *Request) Result {
	var from, to *Shard
	number := uint32(0)
	if r.Shard != "" {
		if to = t.Shard(r.Shard); to == nil {
			return Result{Outcome: Unknown}
		}
		if to.Epoch != r.Expect {
			return Result{Outcome: Stale}
		}
		number = to.number
	}
	if len(r.Slots) == 0 {
		return Result{Outcome: Malformed}
	}
	if r.Node != "" {
		if from = t.ShardOf(r.Node); from == nil || from.Primary != r.Node || from.Epoch != r.Revision {
			return Result{Outcome: Stale}
		}
	}
	slots := *t.slots
	e, ok := t.mint(r)
	if !ok {
		return Result{Outcome: Exhausted}
	}
	for _, at := range r.Slots {
		for s := int(at.First); s <= int(at.Last); s++ {
			was := slots[s]
			if was.epoch != at.Epoch {
				return Result{Outcome: Stale}
			}
			if was.shard != 0 && number != 0 && was.shard != number && !r.Released {
				return Result{Outcome: Owned}
			}
			slots[s] = slot{shard: number, epoch: e}
		}
	}
	before := t.slots
	t.slots = &slots
	t.noteRemains(before, r, from, to)
	return Result{Epoch: e}
}

// change replaces a shard by a copy that the caller may change.
func (t *Table) change(id ShardID) *Shard {
	i, _ := t.find(id)
	s := t.Shards[i].clone()
	s.Revision = t.Version
	t.Shards = slices.Clone(t.Shards)
	t.Shards[i] = s
	return s
}

func (t *Table) grantPrimary(r *Request) Result {
	s := t.Shard(r.Shard)
	switch {
	case s == nil || !s.Has(r.Node):
		return Result{Outcome: Unknown}
	case s.Epoch != r.Expect:
		return Result{Outcome: Stale}
	case !s.Eligible(r.Node) && !r.Lossy:
		return Result{Outcome: NotInSync}
	}
	inSync := s.InSync
	switch {
	case !s.Eligible(r.Node):
		inSync = nil // what the others hold may be less, or more, than the new primary's log
	case r.Released && s.Strict && r.Node != s.Primary:
		inSync = with(inSync, s.Primary)
	}
	e, ok := t.mint(r)
	if !ok {
		return Result{Outcome: Exhausted}
	}
	s = t.change(r.Shard)
	s.Primary, s.Epoch = r.Node, e
	// The others of the set hold every acknowledged write too, and the new primary waits for them from now on.
	s.InSync = without(inSync, r.Node)
	return Result{Epoch: e}
}

func (t *Table) setInSync(r *Request) Result {
	s := t.Shard(r.Shard)
	switch {
	case s == nil:
		return Result{Outcome: Unknown}
	case s.Epoch != r.Expect || s.Revision != r.Revision:
		return Result{Outcome: Stale}
	}
	set := sorted(r.InSync)
	for _, id := range set {
		if !s.Has(id) || id == s.Primary {
			return Result{Outcome: Unknown}
		}
	}
	s = t.change(r.Shard)
	s.InSync, s.Strict = set, r.Strict
	return Result{}
}

func (t *Table) join(r *Request) Result {
	if r.Node == "" || r.Shard == "" {
		return Result{Outcome: Malformed}
	}
	to := t.Shard(r.Shard)
	if to != nil && to.Has(r.Node) {
		return Result{}
	}
	from := t.ShardOf(r.Node)
	if r.Released && (from == nil || to == nil || from.Revision != r.Expect || to.Revision != r.Revision || from.Primary == r.Node) {
		return Result{Outcome: Stale}
	}
	if from != nil {
		if res := t.leave(from, r.Node); res.Outcome != OK {
			return res
		}
	}
	if to == nil {
		e, ok := t.mint(r)
		if !ok || len(t.Shards) >= maxMembers || t.lastNumber == math.MaxUint32 {
			return Result{Outcome: Exhausted}
		}
		t.add(&Shard{ID: r.Shard, Primary: r.Node, Epoch: e, Members: []slotmap.NodeID{r.Node}, Revision: t.Version})
		return Result{Epoch: e}
	}
	if len(to.Members) >= maxMembers {
		return Result{Outcome: Exhausted}
	}
	s := t.change(r.Shard)
	s.Members = with(s.Members, r.Node)
	return Result{}
}

func (t *Table) forget(r *Request) Result {
	s := t.ShardOf(r.Node)
	if s == nil {
		return Result{}
	}
	return t.leave(s, r.Node)
}

// leave takes a node out of its shard. The primary goes last, and only without slots: then the shard goes with it.
func (t *Table) leave(s *Shard, node slotmap.NodeID) Result {
	if node != s.Primary {
		c := t.change(s.ID)
		c.Members, c.InSync = without(c.Members, node), without(c.InSync, node)
		return Result{}
	}
	if len(s.Members) > 1 || t.SlotsOf(s.ID).Len() > 0 {
		return Result{Outcome: Owned}
	}
	t.Shards = slices.DeleteFunc(slices.Clone(t.Shards), func(x *Shard) bool { return x.ID == s.ID })
	return Result{}
}

func (t *Table) dissolve(r *Request) Result {
	switch {
	case t.Granted || t.Generation > 0:
		return Result{Outcome: AlreadyFormed}
	case r.Cluster == "" || r.Cluster == t.Cluster || !r.Released && r.Cluster > t.Cluster:
		return Result{Outcome: Malformed}
	}
	t.Into = r.Cluster
	return Result{}
}
