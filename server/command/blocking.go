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
//   - by one goroutine that serves later (Later, More), when who writes would have to wait for that: for a lock, for the disk, for who has the
//     connection at the moment, or since the group is full. Until it is done, Reserved holds back all that others want of the keys that anybody waits
//     for, or would write: again nobody gets in between;
//   - by its own connection (Resume), when there is nothing to get in between: the write came from this replica's primary, the time is over, CLIENT
//     UNBLOCK asks for it, the slot or the role has changed, or its request was held back for another reason when it was its turn.
//
// Whoever runs it owns the connection until it is released or removed; the registry sees to it that there is one owner. Those that wait for a key are
// served in the order of their arrival, and one that finds nothing again keeps its place. While nobody waits, a write pays one atomic load.
type Waiters struct {
	count  atomic.Int64 // waiters
	onGone atomic.Int64 // queues with somebody who waits for the key's end, too
	later  atomic.Bool  // served is not nil

	// Serve calls More in a goroutine of its own. Set once, before anybody waits.
	Serve func()

	mu       sync.Mutex // a leaf but for what Session.Conn's Resume takes
	queues   map[string][]*WaitQueue
	also     map[string]int // the keys of Block.Also, and how many name them
	all      list.List      // of waiters, in the order of their arrival
	arrivals uint64

	ready  []*WaitQueue  // to serve later
	served chan struct{} // closed when that is done; nil if there is nothing to do

	// view, led and seen are what the last sweep went by.
	view *cluster.View
	led  bool
	seen uint64
}

// Block is what a command that found nothing waits for.
type Block struct {
	Keys [][]byte
	// Also is a key that the command writes when it is served, nil for none.
	Also []byte
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
	at       *list.Element // in Waiters.all
	places   []place
	also     string
	timer    *time.Timer // of its owner, as is memo
	memo     any

	// Under Waiters.mu:
	owned  bool          // by who runs it, or is about to
	due    bool          // a key may be ready, and nobody has looked since
	away   bool          // its owner does not run it now: it waits for something else than its keys
	wanted chan struct{} // closed when its owner lets go of it, or when it is away; nil when nobody waits for that
	left   bool
	ended  bool // it is over without being served: how
	how    waitEnd
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

// Found is what a command that may wait for keys has found.
type Found uint8

// Values of Found.
const (
	// Something: it has answered.
	Something Found = iota
	// Nothing: its connection waits now.
	Nothing
	// NothingYet: its connection would wait, but has replies that were not sent. When they are, it has to look again. So who serves a connection that waits finds
	// no reply in it that belongs to somebody else's group.
	NothingYet
)

// Block has the connection wait without a reply. It returns false inside a transaction, where nothing waits: the handler then answers as if the
// time were over.
func (c *Ctx) Block(block Block) bool {
	switch {
	case c.nested:
		return false
	case c.waiter != nil: // it keeps its place and its time
		c.found = Nothing
	case len(c.Out.Buf) > 0:
		c.found = NothingYet
	default:
		c.found = Nothing
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
		places: make([]place, 0, len(block.Keys)), also: string(block.Also), memo: block.Memo, owned: true,
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
	w.at = b.all.PushBack(w)
	b.count.Add(1)
	if w.also != "" {
		if b.also == nil {
			b.also = make(map[string]int)
		}
		b.also[w.also]++
	}
	for _, name := range names {
		q := b.queue(name, db)
		if last := q.waiters.Back(); last != nil && last.Value == w {
			continue // the key is named twice
		}
		w.places = append(w.places, place{q, q.waiters.PushBack(w)})
		if w.gone {
			if q.gone++; q.gone == 1 {
				b.onGone.Add(1)
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
	w.tell()
	b.count.Add(-1)
	b.all.Remove(w.at)
	if w.also != "" {
		if b.also[w.also]--; b.also[w.also] == 0 {
			delete(b.also, w.also)
		}
	}
	for _, p := range w.places {
		p.queue.waiters.Remove(p.at)
		if w.gone {
			if p.queue.gone--; p.queue.gone == 0 {
				b.onGone.Add(-1)
			}
		}
		switch {
		case p.queue.waiters.Len() == 0:
			b.drop(p.queue)
		case w.due: // it leaves without having looked: the next one does
			b.serveLater(p.queue)
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

// each calls fn for every waiter in the order of their arrival, under mu.
func (b *Waiters) each(fn func(*Waiter)) {
	if !b.Any() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for e := b.all.Front(); e != nil; e = e.Next() {
		fn(e.Value.(*Waiter))
	}
}

// Taken is what became of an attempt to own a waiter.
type Taken uint8

// Values of Taken.
const (
	// Own: the caller is its owner.
	Own Taken = iota
	// Left: it waits no longer.
	Left
	// Busy: its owner runs it, or is about to.
	Busy
	// Away: it waits for something else than its keys, and looks at them when that has ended.
	Away
)

// Take makes the caller the owner of a waiter.
func (b *Waiters) Take(w *Waiter) Taken {
	b.mu.Lock()
	defer b.mu.Unlock()
	return w.take()
}

// take: see Take. Under mu.
func (w *Waiter) take() Taken {
	switch {
	case w.left:
		return Left
	case w.away:
		w.due = true
		return Away
	case w.owned:
		return Busy
	}
	w.owned = true
	return Own
}

// Await is Take that waits for who is Busy.
func (b *Waiters) Await(w *Waiter) Taken {
	for {
		b.mu.Lock()
		t := w.take()
		if t == Busy && w.wanted == nil {
			w.wanted = make(chan struct{})
		}
		wanted := w.wanted
		b.mu.Unlock()
		if t != Busy {
			return t
		}
		<-wanted
	}
}

// tell wakes Await. Under mu.
func (w *Waiter) tell() {
	if w.wanted != nil {
		close(w.wanted)
		w.wanted = nil
	}
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
	if w.wanted == nil && (w.due || w.ended) {
		return false
	}
	w.owned = false // who wants it runs it
	w.tell()
	return true
}

// Return gives a waiter that the caller owns, and could not run, to its connection.
func (b *Waiters) Return(w *Waiter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w.due, w.away = true, true
	w.session.Conn.Resume()
}

// Leave says that the session's owner does not run it before something else has ended than its wait for keys, Back that it runs it again.
func (b *Waiters) Leave(s *Session) { b.setAway(s.waiter, true) }

// Back: see Leave.
func (b *Waiters) Back(s *Session) { b.setAway(s.waiter, false) }

func (b *Waiters) setAway(w *Waiter, away bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if w.away = away; away {
		w.due = true
		w.tell()
	}
}

// Waits says whether the connection waits for keys, or is just being looked at again.
func (s *Session) Waits() bool { return s.waiter != nil }

// BeginLook is called when the request of a connection that waits is about to be run, under its locks: what happens from now on asks for another look.
func (b *Waiters) BeginLook(s *Session) {
	b.mu.Lock()
	s.waiter.due = false
	b.mu.Unlock()
}

// Found is what the command that was just run has found; asked once.
func (s *Session) Found() Found {
	found := s.found
	s.found = Something
	return found
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

// WakeQueue has those who wait in a queue look by themselves.
func (b *Waiters) WakeQueue(q *WaitQueue) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wakeQueue(q)
}

func (b *Waiters) wakeQueue(q *WaitQueue) {
	for e := q.waiters.Front(); e != nil; e = e.Next() {
		b.wake(e.Value.(*Waiter))
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

// expired is told of a key whose time was over.
func (b *Waiters) expired(name []byte) {
	if b.onGone.Load() == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, q := range b.queues[string(name)] {
		if q.gone > 0 {
			b.serveLater(q)
		}
	}
}

// Later leaves queues, whose keys may be ready, to who serves later. The caller still holds the keys' locks.
func (b *Waiters) Later(queues []*WaitQueue) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, q := range queues {
		b.serveLater(q)
	}
}

// serveLater: see Later. Under mu.
func (b *Waiters) serveLater(q *WaitQueue) {
	b.ready = append(b.ready, q)
	if b.served == nil {
		b.served = make(chan struct{})
		b.later.Store(true)
		b.Serve()
	}
}

// More appends the queues that are to be served later. When there are none any more it ends that, and returns false.
func (b *Waiters) More(dst []*WaitQueue) ([]*WaitQueue, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.ready) > 0 {
		dst = append(dst, b.ready...)
		clear(b.ready)
		b.ready = b.ready[:0]
		return dst, true
	}
	close(b.served)
	b.served = nil
	b.later.Store(false)
	return dst, false
}

// Serving says whether somebody is served later, and for now.
func (b *Waiters) Serving() bool { return b.later.Load() }

// Served is closed when all are served that are served later; nil when nobody is.
func (b *Waiters) Served() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.served
}

// Reserved is Served for a request that names a key: nil, too, if nobody who waits has to do with that. The caller holds the key's lock.
func (b *Waiters) Reserved(name []byte) <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queues[string(name)]) == 0 && b.also[string(name)] == 0 {
		return nil
	}
	return b.served
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
	defer b.mu.Unlock()
	seen := b.seen
	if view != b.view || leads != b.led {
		seen = 0
	}
	b.view, b.led, b.seen = view, leads, b.arrivals
	for e := b.all.Back(); e != nil && e.Value.(*Waiter).arrival > seen; e = e.Prev() {
		if w := e.Value.(*Waiter); !w.mayStay(view, leads) {
			b.wake(w)
		}
	}
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
	return all, int(b.onGone.Load())
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
