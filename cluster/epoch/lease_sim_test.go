package epoch

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cairndb/cairn/cluster/slotmap"
)

// world plays holders and voters against each other: clocks run wrong by up to 5 %, messages are late, lost, repeated and
// overtake each other, voters restart, Raft's entries reach voters late, the voters themselves change.
type world struct {
	*rand.Rand
	failed string
	now    time.Duration // true time
	lease  time.Duration
	ids    []slotmap.NodeID
	rate   map[slotmap.NodeID]float64

	tables  []*Table // by version - 1; the last is committed
	logged  map[slotmap.NodeID]uint64
	applied map[slotmap.NodeID]uint64
	voters  map[slotmap.NodeID]*Voter
	holders map[slotmap.NodeID]*Holder

	changed  time.Duration // when the voters last changed
	disowned time.Duration
	renewals []sim[Renewal]
	promises []sim[Promise]
	releases []sim[Renewal]
	served   int
}

type sim[M any] struct {
	from, to slotmap.NodeID
	round    uint64
	body     M
}

var plays = flag.Int("plays", 300, "how many random orders of events the leases are tried in")

const contested = 7 // the slot that is taken and granted anew

func newWorld(seed uint64) *world {
	w := &world{
		Rand: rand.New(rand.NewPCG(seed, 0)), now: time.Hour, lease: time.Second, rate: map[slotmap.NodeID]float64{}, logged: map[slotmap.NodeID]uint64{}, applied: map[slotmap.NodeID]uint64{},
		voters: map[slotmap.NodeID]*Voter{}, holders: map[slotmap.NodeID]*Holder{},
	}
	tab, err := Form("00000000000000000000000000000000000000cc", []Founder{
		{Shard: sid(0), Primary: nid(0), Replicas: []slotmap.NodeID{nid(2)}, Epoch: 1, Slots: []slotmap.Range{{First: 0, Last: 8000}}},
		{Shard: sid(1), Primary: nid(1), Replicas: []slotmap.NodeID{nid(3)}, Epoch: 2, Slots: []slotmap.Range{{First: 8001, Last: slotmap.Slots - 1}}},
	})
	if err != nil {
		panic(err)
	}
	for i := range 6 {
		w.ids = append(w.ids, nid(i))
	}
	w.tables = []*Table{configure(tab, 1, w.ids[:3])}
	for _, id := range w.ids {
		w.rate[id] = []float64{0.95, 1, 1.05}[w.IntN(3)]
		w.logged[id], w.applied[id] = 1, 1
		w.voters[id] = NewVoter(w.lease, w.clock(id)-2*w.lease)
		w.holders[id] = NewHolder(id, w.lease, uint64(len(w.voters)))
		w.holders[id].Learn(w.tables[0])
	}
	return w
}

func (w *world) clock(id slotmap.NodeID) time.Duration {
	return time.Duration(float64(w.now) * w.rate[id])
}
func (w *world) table() *Table { return w.tables[len(w.tables)-1] }
func (w *world) draw(ids []slotmap.NodeID) slotmap.NodeID {
	return ids[w.IntN(len(ids))]
}

// commit appends an entry that some majority has in its logs; the others hear of it later.
func (w *world) commit(next *Table) {
	order := slices.Clone(next.Voters)
	w.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	w.tables = append(w.tables, next)
	for _, id := range order[:majority(len(order))] {
		w.logged[id] = next.Version
	}
}

func (w *world) request(r Request) {
	r.ID = NewRequestID()
	next, res := apply(w.table(), w.table().Version+1, &r)
	if res.Outcome != OK {
		w.fail("%+v: %v", r, res.Outcome)
	}
	w.commit(next)
}

// since says whether a duration has passed on the clock of any leader.
func (w *world) since(at time.Duration) bool { return float64(w.now-at) > float64(w.lease)/0.95 }

func (w *world) fail(format string, args ...any) {
	if w.failed == "" {
		w.failed = fmt.Sprintf(format, args...)
	}
}

// step does one of the things that can happen.
func (w *world) step() {
	switch w.IntN(16) {
	case 0, 1, 2:
		w.now += []time.Duration{1, 100, 300, 450, 870, 970, 1060}[w.IntN(7)] * time.Millisecond
	case 3, 4, 5:
		w.renew(w.draw(w.ids[:4]))
	case 6:
		w.deliver(1 + w.IntN(8))
	case 7:
		w.release(w.draw(w.ids[:4]))
	case 8:
		w.holders[w.draw(w.ids[:4])].Resume()
	case 9:
		w.restart(w.draw(w.ids))
	case 10:
		w.learn(w.draw(w.ids))
	case 11:
		w.learnAll()
	case 12:
		w.primary()
	case 13:
		w.reconfigure()
	case 14:
		w.slot()
	case 15: // what mostly happens after a grant
		w.primary()
		w.learnAll()
		for _, s := range w.table().Shards {
			w.renew(s.Primary)
		}
	}
	w.check()
}

func (w *world) release(id slotmap.NodeID) {
	voters := w.holders[id].table.Voters
	r, ok := w.holders[id].Release()
	if !ok {
		return
	}
	for _, v := range voters {
		w.releases = append(w.releases, sim[Renewal]{id, v, r.Round, r})
	}
}

// renew sends a round, of which most answers come at once.
func (w *world) renew(id slotmap.NodeID) {
	r, ok := w.holders[id].Begin(w.clock(id))
	if !ok {
		return
	}
	for _, v := range w.holders[id].table.Voters {
		m := sim[Renewal]{id, v, r.Round, r}
		if w.IntN(4) == 0 {
			w.renewals = append(w.renewals, m)
			continue
		}
		w.ask(m)
		p := w.promises[len(w.promises)-1]
		w.promises = w.promises[:len(w.promises)-1]
		w.holders[id].Answered(v, p.round, p.body)
	}
}

func (w *world) ask(m sim[Renewal]) {
	p := w.voters[m.to].Renew(w.clock(m.to), w.tables[w.applied[m.to]-1], w.logged[m.to], m.body)
	w.promises = append(w.promises, sim[Promise]{m.to, m.from, m.round, p})
}

func (w *world) deliver(n int) {
	for range min(n, len(w.renewals)) {
		w.ask(take(w.Rand, &w.renewals))
	}
	for range min(n, len(w.promises)) {
		m := take(w.Rand, &w.promises)
		w.holders[m.to].Answered(m.from, m.round, m.body)
	}
	for range min(n, len(w.releases)) {
		m := take(w.Rand, &w.releases)
		w.voters[m.to].Release(m.body)
	}
}

// take picks any message, which may come again.
func take[M any](r *rand.Rand, from *[]sim[M]) sim[M] {
	i := r.IntN(len(*from))
	m := (*from)[i]
	if r.IntN(8) > 0 {
		*from = slices.Delete(*from, i, i+1)
	}
	return m
}

func (w *world) restart(id slotmap.NodeID) { w.voters[id] = NewVoter(w.lease, w.clock(id)) }

func (w *world) learn(id slotmap.NodeID) {
	last := w.table().Version
	w.logged[id] = w.news(w.logged[id], last)
	w.applied[id] = w.news(w.applied[id], w.logged[id])
	w.holders[id].Learn(w.tables[w.news(w.holders[id].table.Version, last)-1])
}

// news is a later version, mostly the last.
func (w *world) news(from, to uint64) uint64 {
	if w.IntN(3) > 0 {
		return to
	}
	return from + w.Uint64N(to-from+1)
}

// learnAll brings news to most.
func (w *world) learnAll() {
	for _, id := range w.ids {
		if w.IntN(4) > 0 {
			w.learn(id)
		}
	}
}

// primary grants without asking anybody: that leases exclude each other does not hang on agreement.
func (w *world) primary() {
	s := w.table().Shards[w.IntN(2)]
	w.request(Request{Op: OpPrimary, Shard: s.ID, Node: w.draw(s.Members), Expect: s.Epoch})
}

func (w *world) reconfigure() {
	if !w.since(w.changed) {
		return
	}
	w.changed = w.now
	id := w.draw(w.ids)
	t := w.table()
	switch {
	case !has(t.Voters, id) && len(t.Voters) < MaxVoters:
		w.commit(configure(t, t.Version+1, with(t.Voters, id)))
	case has(t.Voters, id) && len(t.Voters) > 1:
		w.commit(configure(t, t.Version+1, without(t.Voters, id)))
	}
}

func (w *world) slot() {
	t := w.table()
	owner, _ := t.Owner(contested)
	switch {
	case owner != nil:
		w.request(Request{Op: OpSlots, Slots: t.Expect(one(contested))})
		w.disowned = w.now
	case w.since(w.disowned):
		to := t.Shards[w.IntN(2)]
		w.request(Request{Op: OpSlots, Shard: to.ID, Expect: to.Epoch, Slots: t.Expect(one(contested))})
	}
}

func (w *world) check() {
	in := make(map[ShardID]slotmap.NodeID)
	serves := slotmap.NodeID("")
	for _, id := range w.ids {
		h := w.holders[id]
		if h.shard == nil || w.clock(id) >= h.Until() {
			continue
		}
		w.served++
		if other := in[h.shard.ID]; other != "" {
			w.fail("%s and %s are inside the lease of %s", other, id, h.shard.ID)
		}
		in[h.shard.ID] = id
		if owner, _ := h.table.Owner(contested); owner != nil && owner.ID == h.shard.ID {
			if serves != "" {
				w.fail("%s and %s serve one slot", serves, id)
			}
			serves = id
		}
	}
}

func TestLeasesExcludeEachOther(t *testing.T) {
	t.Parallel()
	served := 0
	for seed := range uint64(*plays) {
		w := newWorld(seed)
		for range 200 {
			w.step()
		}
		if w.failed != "" {
			t.Fatalf("seed %d: %s", seed, w.failed)
		}
		served += w.served
	}
	if served == 0 {
		t.Error("nobody ever served: the play proves nothing")
	}
	t.Logf("leases seen held: %d", served)
}
