package command

import (
	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
)

// A transaction is queued by dispatch (Session.Enqueue) and run by EXEC, whose handler calls the queued commands'
// handlers on its own engine transaction: one unit of isolation, one record of the log, one clock.
// Dispatch locks what Session.QueueNeeds names before it runs EXEC.
var transactionCommands = []*Command{
	{Name: "multi", Arity: 1, Flags: NoScript | Loading | Stale | Fast | AllowBusy | Unlocked, Run: multi,
		Categories: []string{"transaction"}, Group: "transactions", Since: "1.2.0", Complexity: "O(1)",
		Summary: "Starts a transaction: commands are queued until EXEC."},
	{Name: "exec", Arity: 1, Flags: NoScript | Loading | Stale | SkipSlowlog, Run: exec,
		Categories: []string{"transaction"}, Group: "transactions", Since: "1.2.0", Complexity: "Depends on commands in the transaction",
		Summary: "Runs the queued commands as one unit."},
	{Name: "discard", Arity: 1, Flags: NoScript | Loading | Stale | Fast | AllowBusy | Unlocked, Run: discard,
		Categories: []string{"transaction"}, Group: "transactions", Since: "2.0.0", Complexity: "O(N), when N is the number of queued commands",
		Summary: "Drops the queued commands and ends the transaction."},
	{Name: "watch", Arity: -2, Flags: NoScript | Loading | Stale | Fast | AllowBusy, Run: watchKeys,
		Keys:       []KeySpec{{Flags: []string{"RO"}, BeginIndex: 1, LastKey: -1, Step: 1}},
		Categories: []string{"transaction"}, Group: "transactions", Since: "2.2.0", Complexity: "O(1) for every key.",
		Summary: "Makes the next EXEC fail if one of the keys changes before it.",
		Args:    []Arg{keyArg("key", 0).many()}},
	{Name: "unwatch", Arity: 1, Flags: NoScript | Loading | Stale | Fast | AllowBusy | Unlocked, Run: unwatch,
		Categories: []string{"transaction"}, Group: "transactions", Since: "2.2.0", Complexity: "O(1)",
		Summary: "Forgets the watched keys."},
}

// Enqueues says whether cmd is queued rather than run now.
func (s *Session) Enqueues(cmd *Command) bool {
	if !s.InMulti {
		return false
	}
	switch cmd.Name {
	case "exec", "discard", "multi", "watch", "quit", "reset":
		return false
	}
	return true
}

// Enqueue keeps a copy of the command for EXEC and answers QUEUED. A transaction that is going to fail keeps nothing.
// What a client may queue is bounded by client-query-buffer-limit, as Redis counts it: beyond, the connection is closed.
func (s *Session) Enqueue(n *Node, cmd *Command, args [][]byte) {
	s.LastCmd.Store(cmd)
	if !s.MultiFailed && !s.Dirty.Load() {
		q := Queued{Cmd: cmd, Args: copyArgs(args)}
		s.Queue = append(s.Queue, q)
		s.queueBytes += queuedOverhead
		for _, a := range args {
			s.queueBytes += len(a) + argOverhead
		}
		s.limitMemory(n)
		s.publish()
	}
	s.Out.Simple("QUEUED")
}

// What a queued command, each of its arguments and a watched key take beside their bytes, about.
const (
	queuedOverhead = 32
	argOverhead    = 24
	watchOverhead  = 256
)

// limitMemory closes a connection that queues and watches more than client-query-buffer-limit.
func (s *Session) limitMemory(n *Node) {
	if int64(s.queueBytes+s.watchBytes) > n.Config.ClientQueryBufferLimit() {
		n.Stats.QueryLimit.Add(1)
		s.CloseAfterReply = true
	}
}

// copyArgs copies args, which alias a request buffer, into one block.
func copyArgs(args [][]byte) [][]byte {
	total := 0
	for _, a := range args {
		total += len(a)
	}
	block := make([]byte, 0, total)
	copies := make([][]byte, len(args))
	for i, a := range args {
		start := len(block)
		block = append(block, a...)
		copies[i] = block[start:len(block):len(block)]
	}
	return copies
}

// flagMulti makes the EXEC of a transaction that is being queued fail.
func (s *Session) flagMulti() {
	if s.InMulti {
		s.MultiFailed = true
	}
}

// discard drops the queue and the watches.
func (s *Session) discard(n *Node) {
	s.Queue = nil
	s.queueBytes = 0
	s.InMulti, s.MultiFailed = false, false
	s.unwatch(n)
	s.publish()
}

// unwatch forgets all watches.
func (s *Session) unwatch(n *Node) {
	for _, w := range s.watched {
		n.Watches.remove(w)
	}
	s.watched, s.watchBytes = nil, 0
	s.Dirty.Store(false)
}

// queueWrites says whether a queued command may write.
func (s *Session) queueWrites() bool {
	for _, q := range s.Queue {
		if q.Cmd.Flags&(Write|MayReplicate|Keeps) != 0 {
			return true
		}
	}
	return false
}

// QueueNeeds is what EXEC has to hold: the slots of everything queued, with write locks if anything writes, or the
// world. Slow says that a queued command must not run on the event loop, Claims that one changes who owns slots, on a member of a cluster, Waits that
// one may wait for other nodes.
type QueueNeeds struct {
	Slots                             []uint16
	Write, World, Slow, Claims, Waits bool
}

// Mixed says whether the transaction would wait for other nodes while it keeps others from its keys.
func (q *QueueNeeds) Mixed() bool { return q.Waits && (q.World || len(q.Slots) > 0) }

// QueueNeeds collects what EXEC has to hold; slots is the memory to use. Watched keys are among the slots, since EXEC looks
// at them once more.
func (s *Session) QueueNeeds(n *Node, slots []uint16) (needs QueueNeeds) {
	var buf [16]int
	for _, q := range s.Queue {
		needs.Write = needs.Write || n.Writes(q.Cmd)
		needs.World = needs.World || q.Cmd.Flags&World != 0
		needs.Slow = needs.Slow || q.Cmd.Flags&Slow != 0
		needs.Claims = needs.Claims || n.Cluster != nil && q.Cmd.changesClaims()
		needs.Waits = needs.Waits || n.Cluster != nil && q.Cmd.waitsForOthers()
		needs.World = needs.World || q.Cmd.Undeclared != nil && q.Cmd.Undeclared(q.Args)
		idx, err := q.Cmd.KeysOf(buf[:0], q.Args)
		if err != nil {
			continue // its handler answers with the error
		}
		for _, i := range idx {
			slots = append(slots, keys.Slot(q.Args[i]))
		}
	}
	for _, w := range s.watched {
		slots = append(slots, keys.Slot([]byte(w.name)))
	}
	needs.Slots = slots
	return needs
}

func multi(c *Ctx) {
	if c.InMulti {
		c.Out.Error("ERR MULTI calls can not be nested")
		return
	}
	c.InMulti = true
	c.publish()
	c.Out.OK()
}

func discard(c *Ctx) {
	if !c.InMulti {
		c.Out.Error("ERR DISCARD without MULTI")
		return
	}
	c.discard(c.Node)
	c.Out.OK()
}

func watchKeys(c *Ctx) {
	if c.InMulti {
		c.Out.Error("ERR WATCH inside MULTI is not allowed")
		return
	}
	for _, name := range c.Args[1:] {
		if err := c.watchKey(name); err != nil {
			c.Fail(err)
			return
		}
	}
	c.limitMemory(c.Node)
	c.publish()
	c.Out.OK()
}

func (c *Ctx) watchKey(name []byte) error {
	k := watchKey{c.DB, string(name)}
	if c.watched[k] != nil {
		return nil
	}
	w := &watch{watchKey: k, session: c.Session}
	r, ok, err := c.Txn.Get(w.key(c.Node))
	if err != nil {
		return err
	}
	w.existed, w.expireAt = ok, r.ExpireAt
	if c.watched == nil {
		c.watched = make(map[watchKey]*watch)
	}
	c.watched[k] = w
	c.watchBytes += watchOverhead + len(name)
	c.Node.Watches.add(w)
	return nil
}

func (w *watch) key(n *Node) engine.Key {
	name := []byte(w.name)
	return engine.Key{Slot: keys.Slot(name), DB: n.Store.DB(w.db), Name: name}
}

func unwatch(c *Ctx) {
	c.unwatch(c.Node)
	c.publish()
	c.Out.OK()
}

func exec(c *Ctx) {
	switch {
	case !c.InMulti:
		c.Out.Error("ERR EXEC without MULTI")
		return
	case c.MultiFailed:
		c.discard(c.Node)
		c.Out.Error("EXECABORT Transaction discarded because of previous errors.")
		return
	}
	changed, err := c.watchesChanged()
	queue := c.Queue
	c.discard(c.Node)
	switch {
	case err != nil:
		c.Fail(err)
	case changed:
		c.Out.NullArray()
	default:
		c.runQueue(queue)
	}
}

// watchesChanged says whether a watched key changed or expired since WATCH.
func (c *Ctx) watchesChanged() (bool, error) {
	if c.Dirty.Load() {
		return true, nil
	}
	for _, w := range c.watched {
		if w.expireAt != 0 && w.expireAt < c.Txn.Now() {
			return true, nil
		}
		if !w.swapped.Load() {
			continue
		}
		if _, exists, err := c.Txn.Get(w.key(c.Node)); err != nil || exists {
			return exists, err
		}
	}
	return false, nil
}

func (c *Ctx) runQueue(queue []Queued) {
	c.Out.Array(len(queue))
	q := *c
	q.nested = true
	for i := range queue {
		q.Cmd, q.Args = queue[i].Cmd, queue[i].Args
		c.Node.run(&q)
	}
}
