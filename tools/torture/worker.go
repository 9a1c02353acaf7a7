package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairndb/cairn/engine/keys"
)

func slotOf(key string) uint16 { return keys.Slot([]byte(key)) }

// store is all objects: those in use, those that had enough and wait for their last read, and what the ones that were found right held at the end.
type store struct {
	begin time.Time
	rng   *rand.Rand // under mu
	run   string     // in all names

	mu      sync.Mutex
	next    int
	live    []*object
	retired []*object
	settled map[string]settled
	order   []string // names of settled ones, the oldest first

	operations, unknown, refused atomic.Int64
}

// settled is an object that is done with, and what it must hold for ever.
type settled struct {
	object *object
	text   string
}

const (
	liveObjects = 33 // each kind three times
	// maxSettled bounds the objects that are kept for later reads; beyond it the oldest are deleted.
	maxSettled = 3000
	// maxAge is for how long an object is used.
	maxAge = 90 * time.Second
)

func newStore(seed uint64) *store {
	s := &store{begin: time.Now(), rng: rand.New(rand.NewPCG(seed, 3)), run: fmt.Sprintf("%x", seed&0xffff), settled: make(map[string]settled)}
	for i := range liveObjects {
		s.live = append(s.live, s.create(kind(i%int(kinds))))
	}
	return s
}

// create makes an object in a slot that its number decides. The caller holds mu.
func (s *store) create(k kind) *object {
	s.next++
	return &object{kind: k, name: fmt.Sprintf("%s:%s:%d", k, s.run, s.next), born: time.Now()}
}

// draw is an object to use now, until it is released.
func (s *store) draw(rng *rand.Rand) *object {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := rng.IntN(len(s.live))
	o := s.live[i]
	if o.full() || time.Since(o.born) > maxAge {
		s.retired = append(s.retired, o)
		s.live[i] = s.create(o.kind)
		o = s.live[i]
	}
	o.users++
	return o
}

// release gives back what draw has given: the operation is in the history.
func (s *store) release(o *object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o.users--
}

// keysInUse are keys of some objects: their slots are the ones worth moving.
func (s *store) keysInUse() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, o := range s.live {
		out = append(out, o.key(""))
	}
	for _, name := range s.order[max(0, len(s.order)-liveObjects):] {
		out = append(out, s.settled[name].object.key(""))
	}
	return out
}

// worker uses the objects over connections of its own.
type worker struct {
	id     int
	store  *store
	client *client
	rng    *rand.Rand
	count  int
	pace   time.Duration
}

func newWorker(id int, seed uint64, s *store, r *router, pace time.Duration) *worker {
	return &worker{id: id, store: s, client: newClient(r, seed+uint64(id)), rng: rand.New(rand.NewPCG(seed, uint64(100+id))), pace: pace}
}

func (w *worker) run(ctx context.Context) {
	defer w.client.close()
	for ctx.Err() == nil {
		o := w.store.draw(w.rng)
		op := w.operation(o)
		r := w.client.do(ctx, o.commands(op)...)
		o.record(w.id, op, r, w.store.begin)
		w.store.release(o)
		w.store.operations.Add(1)
		switch r.outcome {
		case unknown:
			w.store.unknown.Add(1)
		case refused:
			w.store.refused.Add(1)
		}
		pause(ctx, time.Duration(w.rng.Int64N(int64(2*w.pace))))
	}
}

// operation draws what to do; each written value is unique.
func (w *worker) operation(o *object) operation {
	if w.rng.IntN(3) == 0 {
		return operation{action: read}
	}
	w.count++
	op := operation{action: write, value: fmt.Sprintf("%d-%d;", w.id, w.count)}
	if o.kind.collection() {
		return w.collectionOperation(o)
	}
	switch o.kind {
	case counter:
		op.value = ""
	case group:
		if w.rng.IntN(4) == 0 {
			op.action = part
		}
	}
	return op
}

// takeRetired hands over the objects that had enough and that nobody uses any more: an operation under way may have been applied, and is not in the
// history yet.
func (s *store) takeRetired() (out []*object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retired = slices.DeleteFunc(s.retired, func(o *object) bool {
		if o.users == 0 {
			out = append(out, o)
		}
		return o.users == 0
	})
	return out
}

// retireAll gives the workers new objects.
func (s *store) retireAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, o := range s.live {
		s.retired = append(s.retired, o)
		s.live[i] = s.create(o.kind)
	}
}

// inUse is an error while anybody uses an object that had enough.
func (s *store) inUse() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.retired {
		if o.users > 0 {
			return fmt.Errorf("%s is in use", o.name)
		}
	}
	return nil
}

// settle keeps what an object holds for ever; it returns one that is to be forgotten, if any.
func (s *store) settle(o *object, text string) *object {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settled[o.name] = settled{o, text}
	s.order = append(s.order, o.name)
	if len(s.order) <= maxSettled {
		return nil
	}
	old := s.settled[s.order[0]].object
	delete(s.settled, s.order[0])
	s.order = s.order[1:]
	return old
}

func (s *store) allSettled() []settled {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]settled, 0, len(s.order))
	for _, name := range s.order {
		out = append(out, s.settled[name])
	}
	return out
}
