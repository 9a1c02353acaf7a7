package main

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/cairndb/cairn/engine/keys"
)

// Verdicts on a cluster.
const (
	healthy  = "healthy"
	degraded = "degraded" // it serves all slots that it can, but something is wrong
	unusable = "unusable"
)

// States of an open slot, on the side that gives and on the side that gets.
const (
	migrating = "migrating"
	importing = "importing"
)

// statusReport is what an operator is shown. Numbers that could not be found out are left out.
type statusReport struct {
	Health   string        `json:"health"`
	State    string        `json:"cluster_state"`
	SeenBy   string        `json:"seen_by"` // whose CLUSTER NODES this is
	Nodes    int           `json:"nodes"`
	Slots    int           `json:"slots_covered"`
	Keys     int64         `json:"keys"`
	Epoch    int64         `json:"current_epoch"`
	Group    *groupReport  `json:"group,omitempty"`
	Shards   []shardReport `json:"shards"`
	Others   []nodeReport  `json:"nodes_without_slots"`
	Warnings []string      `json:"warnings"`
	Notes    []string      `json:"notes"` // worth knowing, but as it was set up

	served  bool             // some primary serves its slots
	applied int64            // up to which decision of the group the shown view goes, -1 when that is not known
	doubts  map[string]doubt // warnings that nodes asked a moment apart may give without a fault, by what they are about
}

// doubt is a warning that counts only when it still holds a little later.
type doubt struct {
	warning string
	applied int64 // up to which decision of the group the node knew, -1 when that does not matter
}

// groupReport is the group of epochs, which decides who is primary.
type groupReport struct {
	Leader    string   `json:"leader"` // an address, or the ID; empty when there is none
	Term      int64    `json:"term"`
	Epoch     int64    `json:"epoch"`
	Voters    int64    `json:"voters"`
	Answering []string `json:"voters_answering"` // addresses
}

type shardReport struct {
	Slots    string       `json:"slots"`
	Count    int          `json:"slot_count"`
	Keys     *int64       `json:"keys,omitempty"`
	Primary  nodeReport   `json:"primary"`
	Replicas []nodeReport `json:"replicas"`
	Open     []openSlot   `json:"open_slots"`
	Moves    []moveReport `json:"migrations,omitempty"`

	first int
}

// moveReport is a migration of slots that is under way.
type moveReport struct {
	Slots     string `json:"slots"`
	To        string `json:"to"` // an address, or the ID
	State     string `json:"state"`
	Remaining int64  `json:"remaining_bytes"`
	Message   string `json:"message,omitempty"`
}

type openSlot struct {
	Slot   int    `json:"slot"`
	State  string `json:"state"`
	NodeID string `json:"node"` // the other side
}

type nodeReport struct {
	ID      string `json:"id"`
	Address string `json:"address"`
	Role    string `json:"role"`
	// Health is ok, fail?, fail, unreachable, link down or full sync.
	Health     string      `json:"health"`
	Error      string      `json:"error,omitempty"`
	Offset     *int64      `json:"offset,omitempty"`
	LagBytes   *int64      `json:"lag_bytes,omitempty"`
	LagSeconds *int64      `json:"lag_seconds,omitempty"` // since the last acknowledgement, or since the link is down
	LeaseMS    *int64      `json:"lease_ms,omitempty"`
	Sync       *syncReport `json:"full_sync,omitempty"`
}

type syncReport struct {
	Read  int64 `json:"read_bytes"`
	Total int64 `json:"total_bytes"` // 0 when not known yet
}

// slotRange is a range of slots, both ends in it.
type slotRange struct{ first, last int }

func slotNumber(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= 0 && n < keys.Slots
}

func (r slotRange) String() string {
	if r.first == r.last {
		return strconv.Itoa(r.first)
	}
	return fmt.Sprintf("%d-%d", r.first, r.last)
}

func rangesText(ranges []slotRange) string {
	texts := make([]string, len(ranges))
	for i, r := range ranges {
		texts[i] = r.String()
	}
	return strings.Join(texts, " ")
}

// assessment is a report that is being made.
type assessment struct {
	statusReport
	answers []nodeAnswer
	base    *nodeAnswer            // whose view of the cluster is shown
	byID    map[string]*nodeAnswer // what the nodes say that answer
	errs    map[string]error       // by address, why the others don't
}

// assess makes a report of what the nodes answered. At least one of them has.
func assess(answers []nodeAnswer) *statusReport {
	a := &assessment{answers: answers, byID: map[string]*nodeAnswer{}, errs: map[string]error{}}
	a.Shards, a.Others, a.Warnings, a.Notes, a.doubts = []shardReport{}, []nodeReport{}, []string{}, []string{}, map[string]doubt{}
	for i := range answers {
		answer := &answers[i]
		if answer.err != nil {
			a.errs[answer.addr] = answer.err
			continue
		}
		a.byID[answer.self().id] = answer
		if a.base == nil || better(answer, a.base) {
			a.base = answer
		}
	}
	a.SeenBy, a.State, a.Epoch = a.base.addr, a.base.fields["cluster_state"], a.base.number("cluster_current_epoch")
	a.applied = a.base.number("cluster_group_applied")
	a.Nodes = len(a.base.nodes)
	a.checkState()
	a.checkGroup()
	a.checkSlots()
	a.checkShards()
	a.checkViews()
	a.Health = a.verdict()
	return &a.statusReport
}

// better says whether x is the better witness: it sees the cluster as ok, which takes a majority, and knows newer decisions.
func better(x, y *nodeAnswer) bool {
	state := func(n *nodeAnswer) int {
		if n.fields["cluster_state"] == "ok" {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(state(x), state(y)), cmp.Compare(x.number("cluster_group_applied"), y.number("cluster_group_applied")),
		cmp.Compare(x.number("cluster_current_epoch"), y.number("cluster_current_epoch"))) > 0
}

func (a *assessment) warn(format string, args ...any) {
	a.Warnings = append(a.Warnings, fmt.Sprintf(format, args...))
}

// doubtful is warn about something that is a fault only when it lasts.
func (a *assessment) doubtful(about string, applied int64, format string, args ...any) {
	d := doubt{fmt.Sprintf(format, args...), applied}
	a.doubts[about] = d
	a.Warnings = append(a.Warnings, d.warning)
}

// confirm takes the doubts back that a report of a moment before does not share: while slots move, nodes that are asked one after the other
// tell of different moments. A node that has heard since then of what the others knew is no laggard, unless what it makes of that differs.
func (r *statusReport) confirm(before *statusReport) {
	for about, d := range r.doubts {
		_, lasts := before.doubts[about]
		if lasts && (d.applied < 0 || d.applied < before.applied || d.applied == r.applied) {
			continue
		}
		delete(r.doubts, about)
		r.Warnings = slices.DeleteFunc(r.Warnings, func(w string) bool { return w == d.warning })
	}
	r.Health = r.verdict()
}

func (r *statusReport) verdict() string {
	switch {
	case r.State != "ok", !r.served, r.Group != nil && r.Group.Leader == "":
		return unusable
	case len(r.Warnings) > 0:
		return degraded
	}
	return healthy
}

func (a *assessment) checkState() {
	var down []string
	for i := range a.answers {
		if n := &a.answers[i]; n.err == nil && n.fields["cluster_state"] != "ok" {
			down = append(down, n.addr)
		}
	}
	if len(down) > 0 {
		a.warn("cluster_state:fail on %s", strings.Join(down, " "))
	}
}

// checkGroup gathers what the members of the group say. There is none before the cluster's slots are covered, and none in
// Redis's.
func (a *assessment) checkGroup() {
	voters := a.base.number("cluster_group_voters")
	if voters < 0 {
		return
	}
	g := &groupReport{Voters: voters, Epoch: a.base.number("cluster_group_epoch"), Term: a.base.number("cluster_group_term"), Answering: []string{}}
	a.Group = g
	leader, leading := "", false
	for i := range a.answers {
		n := &a.answers[i]
		if n.err != nil || n.fields["cluster_group_id"] != a.base.fields["cluster_group_id"] {
			continue
		}
		state := n.fields["cluster_group_state"]
		if state == "leader" || state == "follower" || state == "candidate" {
			g.Answering = append(g.Answering, n.addr)
		}
		// The newest term's leader counts, and its own word most.
		term := n.number("cluster_group_term")
		if id := n.fields["cluster_group_leader"]; id != "" && (term > g.Term || leader == "" || state == "leader" && !leading && term == g.Term) {
			leader, leading = id, state == "leader"
		}
		g.Term = max(g.Term, term)
	}
	slices.Sort(g.Answering)
	if leader == "" {
		a.warn("the group of epochs has no leader: leases are not renewed, nobody takes over")
	} else {
		g.Leader = a.name(leader)
	}
	if lost := voters - int64(len(g.Answering)); lost > 0 {
		left := "a majority is left"
		if int64(len(g.Answering)) <= voters/2 {
			left = "no majority is left"
		}
		a.warn("%d of %d voters of the group lost: %s", lost, voters, left)
	}
}

// name is a node's address, or its ID when that is not known.
func (a *assessment) name(id string) string {
	for _, n := range a.base.nodes {
		if n.id == id && n.addr != "" {
			return n.addr
		}
	}
	return id
}

func (a *assessment) checkSlots() {
	var owned [keys.Slots]bool
	for _, n := range a.base.nodes {
		for _, r := range n.slots {
			for s := r.first; s <= r.last; s++ {
				owned[s] = true
			}
		}
	}
	var missing []slotRange
	for s, ok := range owned {
		switch {
		case ok:
			a.Slots++
		case len(missing) > 0 && missing[len(missing)-1].last == s-1:
			missing[len(missing)-1].last = s
		default:
			missing = append(missing, slotRange{s, s})
		}
	}
	if len(missing) > 0 {
		a.warn("slots not covered: %s (%d of %d)", rangesText(missing), keys.Slots-a.Slots, keys.Slots)
	}
}

func (a *assessment) checkShards() {
	placed := map[string]bool{}
	for _, n := range a.base.nodes {
		if n.primary == "" && len(n.slots) > 0 {
			a.Shards = append(a.Shards, a.shard(n, placed))
		}
	}
	slices.SortFunc(a.Shards, func(x, y shardReport) int { return x.first - y.first })
	for _, n := range a.base.nodes {
		if !placed[n.id] {
			other := a.node(n, nil)
			if other.LeaseMS != nil && *other.LeaseMS == 0 {
				other.LeaseMS = nil // nothing to serve
			}
			a.Others = append(a.Others, other)
		}
	}
	slices.SortFunc(a.Others, compareNodes)
	a.warnOfShards()
	for _, n := range a.Others {
		a.warnOfNode(n)
	}
}

// addressOf is a node's address, or its ID if that is not known.
func (a *assessment) addressOf(id string) string {
	for _, n := range a.base.nodes {
		if n.id == id && n.addr != "" {
			return n.addr
		}
	}
	return id
}

func compareNodes(x, y nodeReport) int {
	return cmp.Or(strings.Compare(x.Address, y.Address), strings.Compare(x.ID, y.ID))
}

func (a *assessment) shard(primary nodeLine, placed map[string]bool) shardReport {
	s := shardReport{
		Slots: rangesText(primary.slots), first: primary.slots[0].first, Primary: a.node(primary, nil),
		Replicas: []nodeReport{}, Open: []openSlot{},
	}
	placed[primary.id] = true
	for _, r := range primary.slots {
		s.Count += r.last - r.first + 1
	}
	answer := a.byID[primary.id]
	for _, n := range a.base.nodes {
		if n.primary == primary.id {
			placed[n.id] = true
			s.Replicas = append(s.Replicas, a.node(n, answer))
		}
	}
	slices.SortFunc(s.Replicas, compareNodes)
	if answer == nil {
		return s
	}
	s.Open = append(s.Open, answer.self().open...)
	for _, m := range answer.moves {
		s.Moves = append(s.Moves, moveReport{
			Slots: m["slot_ranges"], To: a.addressOf(m["target_node"]), State: m["state"], Remaining: max(0, number(m["remaining_repl_size"])), Message: m["message"],
		})
	}
	if answer.keys >= 0 {
		s.Keys = &answer.keys
		a.Keys += answer.keys
	}
	if lease := s.Primary.LeaseMS; lease == nil || *lease > 0 {
		a.served = true
	}
	return s
}

// node describes a node; primary is what a replica's primary answered, nil if it did not.
func (a *assessment) node(n nodeLine, primary *nodeAnswer) nodeReport {
	r := nodeReport{ID: n.id, Address: n.addr, Role: "primary", Health: "ok"}
	if n.primary != "" {
		r.Role = "replica"
	}
	answer := a.byID[n.id]
	if answer != nil {
		r.own(answer)
	} else {
		r.Health, r.Error = "unreachable", a.silence(n.addr)
	}
	if primary != nil {
		r.behind(primary, answer)
	}
	switch {
	case n.is("fail"):
		r.Health = "fail"
	case n.is("fail?"):
		r.Health = "fail?"
	}
	return r
}

// silence says why a node at an address did not answer.
func (a *assessment) silence(addr string) string {
	if addr == "" {
		return "its address is not known"
	}
	if err := a.errs[addr]; err != nil {
		return err.Error()
	}
	return "another node answers there"
}

// own takes what the node says of itself.
func (r *nodeReport) own(answer *nodeAnswer) {
	if offset := answer.number("master_repl_offset"); offset >= 0 {
		r.Offset = &offset
	}
	if r.Role == "primary" {
		if lease := answer.number("cluster_lease_ms"); lease >= 0 {
			r.LeaseMS = &lease
		}
		return
	}
	if answer.fields["master_link_status"] != "up" {
		r.Health = "link down"
		if down := answer.number("master_link_down_since_seconds"); down >= 0 {
			r.LagSeconds = &down
		}
	}
	if answer.fields["master_sync_in_progress"] == "1" {
		r.Health = "full sync"
		r.Sync = &syncReport{Read: max(0, answer.number("master_sync_read_bytes")), Total: max(0, answer.number("master_sync_total_bytes"))}
	}
}

// behind takes how far the primary sees the replica behind itself: both offsets are of one moment then. A replica that is not
// listed there under this address is compared by what it says itself.
func (r *nodeReport) behind(primary, own *nodeAnswer) {
	end := primary.number("master_repl_offset")
	acked := int64(-1)
	if s := primary.follower(r.Address); s != nil {
		if s["state"] != "online" && r.Health != "unreachable" {
			r.Health = "full sync"
			return
		}
		acked = number(s["offset"])
		if lag := number(s["lag"]); lag >= 0 && r.LagSeconds == nil {
			r.LagSeconds = &lag
		}
	} else if own != nil {
		acked = own.number("slave_repl_offset")
	}
	if end >= 0 && acked >= 0 && r.Sync == nil {
		lag := max(0, end-acked)
		r.LagBytes = &lag
	}
}

// follower is a primary's line on the replica at addr: slave0:ip=…,port=…,state=…,offset=…,lag=…
func (answer *nodeAnswer) follower(addr string) map[string]string {
	for i := range answer.number("connected_slaves") {
		line := map[string]string{}
		for part := range strings.SplitSeq(answer.fields["slave"+strconv.FormatInt(i, 10)], ",") {
			name, value, _ := strings.Cut(part, "=")
			line[name] = value
		}
		if net.JoinHostPort(line["ip"], line["port"]) == addr {
			return line
		}
	}
	return nil
}

// checkViews compares the slot owners and roles that the nodes tell.
func (a *assessment) checkViews() {
	want := a.base.view()
	for i := range a.answers {
		if n := &a.answers[i]; n.err == nil && n.view() != want {
			a.doubtful("view of "+n.self().id, n.number("cluster_group_applied"), "%s: does not agree with %s on slots and roles", n.addr, a.SeenBy)
		}
	}
}

func (answer *nodeAnswer) view() string {
	lines := make([]string, 0, len(answer.nodes))
	for _, n := range answer.nodes {
		lines = append(lines, n.id+" "+n.primary+" "+rangesText(n.slots))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
