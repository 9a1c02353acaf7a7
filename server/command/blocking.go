package command

import (
	"container/list"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairndb/cairn/cluster"
	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/engine/types"
	"github.com/cairndb/cairn/server/resp"
)

// Waiters is the registry of connections that wait for keys: those of BLPOP, BZPOPMIN, XREAD BLOCK and their relatives.
//
// A command that finds nothing files its connection under its keys while it holds their slots' locks, so that no write comes in between (Ctx.Block). Its
// request stays in the connection's reader, and is run again whole, as if it had just arrived: routing, role, lease, pauses and claims
// are looked at again. It is run
//
//   - by who writes one of the keys, right behind the command or the transaction that wrote and in the same group, while the locks are still
//     held: nobody gets in between, and the log has both in one record;
//   - by its own connection (Wake), when that can't be: a lock is missing, the write came from this replica's primary, the time is over, CLIENT
//     UNBLOCK asks for it, or the slot or the role has changed.
//
// Whoever runs it owns the connection until it is released or removed; the registry sees to it that there is one owner. Those that wait for a key are
// served in the order of their arrival, and one that finds nothing again keeps its place. While nobody waits, a write pays one atomic load.
type Waiters struct {
	count atomic.Int64 // waiters

	mu       sync.Mutex // a leaf but for what Session.Conn's Resume takes
	queues   map[string][]*WaitQueue
	arrivals uint64
	onGone   int // queues with somebody who waits for the key's end, too

	// view, led and seen are what the last sweep went by.
	view *cluster.View
	led  bool
	seen uint64
}

// Block is what a command that found nothing waits for.
type Block struct {
	Keys [][]byte
	// Type is the type of a key that the command can do something with.
	Type keys.Type
	// Gone: it has something to say, too, when a key is deleted or gets another type (XREADGROUP).
	Gone bool
	// Group names those who look for the same thing: when one of them finds nothing, the others are not asked. Empty for none.
	Group string
	// Timeout is 0 for ever.
	Timeout time.Duration
	// Memo is what Waited returns when the command is run again.
	Memo any
}

// WaitQueue are those who wait for one key, in the order of their arrival.
type WaitQueue struct {
	name    []byte
	db      int // logical: what it stands for may change
	waiters list.List
	gone    int // waiters with Block.Gone
}

// Waiter is a connection that waits for keys.
type Waiter struct {
	session  *Session
	kind     keys.Type
	gone     bool
	group    string
	readOnly bool // a read of a connection in READONLY mode
	slot     uint16
	arrival  uint64
	places   []place
	timer    *time.Timer // of its owner, as is memo
	memo     any

	// Under Waiters.mu:
	owned bool // by who runs it, or is about to
	due   bool // a key may be ready, and nobody has looked since
	left  bool
	ended bool // it is over without being served: how
	how   waitEnd
}

type place struct {
	queue *WaitQueue
	at    *list.Element
}

// waitEnd is how a wait ends that was not served: with an error, or as if time were over.
type waitEnd struct {
	text  string
	close bool
}

// Waker is the server's side of a session.
type Waker interface {
	// Resume has the connection run its request again. The caller has given it to its server.
	Resume()
}

// Any says whether anybody waits.
func (b *Waiters) Any() bool { return b.count.Load() > 0 }

// Block has the connection wait without a reply. It returns false inside a transaction, where nothing waits: the handler then answers as if the
// time were over.
func (c *Ctx) Block(block Block) bool {
	if c.nested {
		return false
	}
	c.waits = true
	if c.waiter == nil { // who waits already keeps its place and its time
		c.Node.Waiters.add(c.Session, &block, c.Cmd.Flags&Write == 0 && c.ReadOnlyMode)
	}
	return true
}

// Waited returns the Memo of a command that is run again after it has waited, else nil.
func (c *Ctx) Waited() any {
	if c.waiter == nil {
		return nil
	}
	return c.waiter.memo
}

func (b *Waiters) add(s *Session, block *Block, readOnly bool) {
	w := &Waiter{
		session: s, kind: block.Type, gone: block.Gone, group: block.Group, readOnly: readOnly, slot: keys.Slot(block.Keys[0]),
		places: make([]place, 0, len(block.Keys)), memo: block.Memo, owned: true,
	}
	s.waiter = w
	b.file(w, block.Keys, s.DB)
	if block.Timeout > 0 {
		w.timer = time.AfterFunc(block.Timeout, func() { b.finish(w, waitEnd{}) })
	}
	unblock := func(text string) bool { return b.finish(w, waitEnd{text: text}) }
	s.unblock.Store(&unblock)
}

func (b *Waiters) file(w *Waiter, names [][]byte, db int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.arrivals++
	w.arrival = b.arrivals
	b.count.Add(1)
	for _, name := range names {
		q := b.queue(name, db)
		if last := q.waiters.Back(); last != nil && last.Value == w {
			continue // the key is named twice
		}
		w.places = append(w.places, place{q, q.waiters.PushBack(w)})
		if w.gone {
			if q.gone++; q.gone == 1 {
				b.onGone++
			}
		}
	}
}

// queue finds or makes the queue of a key.
func (b *Waiters) queue(name []byte, db int) *WaitQueue {
	for _, q := range b.queues[string(name)] {
		if q.db == db {
			return q
		}
	}
	if b.queues == nil {
		b.queues = make(map[string][]*WaitQueue)
	}
	key := string(name)
	q := &WaitQueue{name: []byte(key), db: db}
	b.queues[key] = append(b.queues[key], q)
	return q
}

// drop forgets an empty queue.
func (b *Waiters) drop(q *WaitQueue) {
	all := b.queues[string(q.name)]
	if len(all) == 1 {
		delete(b.queues, string(q.name))
		return
	}
	rest := make([]*WaitQueue, 0, len(all)-1)
	for _, other := range all {
		if other != q {
			rest = append(rest, other)
		}
	}
	b.queues[string(q.name)] = rest
}

// remove forgets the session's waiter, which the caller owns.
func (b *Waiters) remove(s *Session) {
	w := s.waiter
	s.waiter = nil
	s.unblock.Store(nil)
	if w.timer != nil {
		w.timer.Stop()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	w.left = true
	b.count.Add(-1)
	for _, p := range w.places {
		p.queue.waiters.Remove(p.at)
		if w.gone {
			if p.queue.gone--; p.queue.gone == 0 {
				b.onGone--
			}
		}
		if p.queue.waiters.Len() == 0 {
			b.drop(p.queue)
		}
	}
	if w.due { // it leaves without having looked: the next one does
		for _, p := range w.places {
			b.wakeFirst(p.queue, w.group)
		}
	}
}

// wakeFirst wakes the first of a group in a queue. Under mu.
func (b *Waiters) wakeFirst(q *WaitQueue, group string) {
	for e := q.waiters.Front(); e != nil; e = e.Next() {
		if w := e.Value.(*Waiter); w.group == group {
			b.wake(w)
			return
		}
	}
}

// wake has a waiter's connection run it, now or when its owner lets go. Under mu.
func (b *Waiters) wake(w *Waiter) {
	w.due = true
	if !w.owned {
		w.owned = true
		w.session.Conn.Resume()
	}
}

// finish ends a wait that is not served; false if it has ended.
func (b *Waiters) finish(w *Waiter, end waitEnd) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if w.left || w.ended {
		return false
	}
	b.end(w, end)
	return true
}

// end: see finish. Under mu.
func (b *Waiters) end(w *Waiter, end waitEnd) {
	w.ended, w.how = true, end
	if !w.owned {
		w.owned = true
		w.session.Conn.Resume()
	}
}

// finishAll ends all waits.
func (b *Waiters) finishAll(end waitEnd) {
	b.each(func(w *Waiter) {
		if !w.ended {
			b.end(w, end)
		}
	})
}

// wakeAll has all requests run again.
func (b *Waiters) wakeAll() { b.each(b.wake) }

// each calls fn for every waiter, under mu.
func (b *Waiters) each(fn func(*Waiter)) {
	if !b.Any() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, all := range b.queues {
		for _, q := range all {
			for e := q.waiters.Front(); e != nil; e = e.Next() {
				if w := e.Value.(*Waiter); w.places[0].queue == q {
					fn(w)
				}
			}
		}
	}
}

// Take makes the caller the owner of a waiter. If it has another one, that will run it once more: then busy.
func (b *Waiters) Take(w *Waiter) (taken, busy bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case w.left:
		return false, false
	case w.owned:
		w.due = true
		return false, true
	}
	w.owned = true
	return true, false
}

// Claim makes the caller the owner of the session's waiter, if nobody is.
func (b *Waiters) Claim(s *Session) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.waiter.owned {
		return false
	}
	s.waiter.owned = true
	return true
}

// Release ends the caller's ownership. If it returns false the request has to be run once more before, and the caller is still the owner.
func (b *Waiters) Release(s *Session) bool {
	w := s.waiter
	b.mu.Lock()
	defer b.mu.Unlock()
	w.owned = w.due || w.ended
	return !w.owned
}

// Return gives a waiter that the caller owns, and could not run, to its connection.
func (b *Waiters) Return(w *Waiter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w.due = true
	w.session.Conn.Resume()
}

// Waits says whether the connection waits for keys, or is just being looked at again.
func (s *Session) Waits() bool { return s.waiter != nil }

// BeginLook is called when the request of a connection that waits is about to be run, under its locks: what happens from now on asks for another look.
func (b *Waiters) BeginLook(s *Session) {
	b.mu.Lock()
	s.waiter.due = false
	b.mu.Unlock()
}

// FoundNothing says whether the command that was just run waits now; asked once.
func (s *Session) FoundNothing() bool {
	waits := s.waits
	s.waits = false
	return waits
}

// EndWait forgets that the connection waits: its request has been answered.
func (n *Node) EndWait(s *Session) { n.Waiters.remove(s) }

// Unblocked answers a request whose wait was ended, if it was.
func (n *Node) Unblocked(c *Ctx) bool {
	w := c.waiter
	n.Waiters.mu.Lock()
	ended, end := w.ended && (!w.due || w.how.close), w.how
	n.Waiters.mu.Unlock()
	if !ended { // or it looks once more: what was there before the end is served
		return false
	}
	c.LastCmd.Store(c.Cmd)
	if end.text == "" {
		c.Out.NullArray()
	} else {
		c.Out.Error(end.text)
		n.Stats.countError([]byte(end.text))
	}
	n.Stats.of(c.Cmd).record(0, end.text != "", n.Config.LatencyTracking())
	if end.close {
		c.close()
	}
	return true
}

// Session is who waits.
func (w *Waiter) Session() *Session { return w.session }

// Arrival numbers the waiters in the order in which they came.
func (w *Waiter) Arrival() uint64 { return w.arrival }

// Group is Block.Group.
func (w *Waiter) Group() string { return w.group }

// Wants says whether the waiter has something to do with a key of that type, none for an absent one.
func (w *Waiter) Wants(t keys.Type) bool { return w.kind == t || w.gone }

// Key is the queue's key in a store.
func (q *WaitQueue) Key(store *engine.Store) engine.Key {
	return engine.Key{Slot: keys.Slot(q.name), DB: store.DB(q.db), Name: q.name}
}

// Queues appends the queues of a key, in whichever database.
func (b *Waiters) Queues(dst []*WaitQueue, name []byte) []*WaitQueue {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append(dst, b.queues[string(name)]...)
}

// AllQueues appends all queues.
func (b *Waiters) AllQueues(dst []*WaitQueue) []*WaitQueue {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, all := range b.queues {
		dst = append(dst, all...)
	}
	return dst
}

// Next appends up to most waiters of a queue that arrived after a given one and want what the key is now.
func (b *Waiters) Next(dst []*Waiter, q *WaitQueue, t keys.Type, after uint64, most int) []*Waiter {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t == keys.TypeNone && q.gone == 0 {
		return dst
	}
	for e := q.waiters.Front(); e != nil && len(dst) < most; e = e.Next() {
		if w := e.Value.(*Waiter); w.arrival > after && w.Wants(t) {
			dst = append(dst, w)
		}
	}
	return dst
}

// WakeQueue has those who wait in a queue look by themselves: the first of each group, who passes it on when it has found something, and all that are in none.
func (b *Waiters) WakeQueue(q *WaitQueue) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wakeQueue(q)
}

func (b *Waiters) wakeQueue(q *WaitQueue) {
	var groups map[string]bool
	for e := q.waiters.Front(); e != nil; e = e.Next() {
		w := e.Value.(*Waiter)
		if w.group != "" {
			if groups[w.group] {
				continue
			}
			if groups == nil {
				groups = make(map[string]bool)
			}
			groups[w.group] = true
		}
		b.wake(w)
	}
}

// applied is told of what a replica's primary has written: name nil for whole databases.
func (b *Waiters) applied(name []byte) {
	if name == nil {
		b.wakeAll()
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, q := range b.queues[string(name)] {
		b.wakeQueue(q)
	}
}

// SweepBlocked has the requests run again that this node may have to send elsewhere: their slot has moved, the node has another role or has lost its
// lease, or the cluster is down. It is called a few times a second, inside the gate.
func (n *Node) SweepBlocked() {
	b := n.Waiters
	if n.Cluster == nil || !b.Any() {
		return
	}
	view, leads := n.View(), n.Serving()
	b.mu.Lock()
	same := view == b.view && leads == b.led && b.arrivals == b.seen
	b.view, b.led, b.seen = view, leads, b.arrivals
	b.mu.Unlock()
	if same {
		return
	}
	b.each(func(w *Waiter) {
		if !w.mayStay(view, leads) {
			b.wake(w)
		}
	})
}

func (w *Waiter) mayStay(view *cluster.View, leads bool) bool {
	switch {
	case !view.Up():
		return false
	case view.Importing(w.slot):
		return true
	case view.Owns(w.slot):
		return leads
	}
	return w.readOnly && view.Replicates(w.slot)
}

// blockedKeys counts the keys that somebody waits for, and those whose end is waited for, too (INFO clients).
func (b *Waiters) blockedKeys() (all, onGone int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, queues := range b.queues {
		all += len(queues)
	}
	return all, b.onGone
}

// blockTimeout parses args[i], seconds of which 0 means for ever, or answers what is wrong with it.
func (c *Ctx) blockTimeout(i int) (time.Duration, bool) {
	ms, ok, inRange := types.ParseSeconds(c.Args[i])
	switch {
	case !ok:
		c.Out.Error("ERR timeout is not a float or out of range")
	case inRange && ms < 0:
		c.Out.Error("ERR timeout is negative")
	case !inRange || !c.reachable(ms):
		c.Out.Error(resp.ErrTimeoutRange)
	default:
		return milliseconds(ms), true
	}
	return 0, false
}

// blockMillis is blockTimeout for XREAD's BLOCK, which counts milliseconds.
func (c *Ctx) blockMillis(i int) (time.Duration, bool) {
	ms, ok := types.ParseInt(c.Args[i])
	switch {
	case !ok:
		c.Out.Error("ERR timeout is not an integer or out of range")
	case ms < 0:
		c.Out.Error("ERR timeout is negative")
	case !c.reachable(ms):
		c.Out.Error(resp.ErrTimeoutRange)
	default:
		return milliseconds(ms), true
	}
	return 0, false
}

// reachable says whether the time in so many milliseconds has a number.
func (c *Ctx) reachable(ms int64) bool { return ms <= math.MaxInt64-c.Txn.Now() }

// milliseconds makes what is longer than a Duration can be as long as that.
func milliseconds(ms int64) time.Duration {
	return time.Duration(min(ms, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
}
