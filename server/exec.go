package server

import (
	"runtime/debug"
	"time"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/server/command"
	"github.com/cairndb/cairn/server/resp"
)

// verdict says why an executor stopped running a connection's requests.
type verdict uint8

const (
	// proceed: nothing stands against running the request.
	proceed verdict = iota
	// ran: the request has been answered.
	ran
	// drained: no complete request is left.
	drained
	// wouldBlock: the next request has to wait and belongs on a worker.
	wouldBlock
	// paused: the next request waits for the end of CLIENT PAUSE.
	paused
	// held: the next request waits until conn.wait is closed, since a key of it is on its way to another node.
	held
	// blocked: the request waits for its keys, see command.Waiters.
	blocked
	// unsent: the request may have to wait for keys, and is run again when the replies before it are sent.
	unsent
	// full: the group or the rendered replies are large, or a slow command is next; they have to be settled and sent first.
	full
	// taken: the connection is taken over by what its session says, once the replies are sent.
	taken
	// closing: the connection ends once its replies are sent.
	closing
	// cut: the connection ends at once.
	cut
	// crashed: a handler panicked. The group is lost, the connection ends.
	crashed
)

// again says that the request has not run and has to be tried again later.
func (v verdict) again() bool {
	return v == wouldBlock || v == paused || v == held || v == blocked || v == unsent || v == full
}

// A group is committed when it holds this much. No connection runs more in a row on a loop, so that none holds up the others.
const (
	groupCommands = 1000
	groupBytes    = 1 << 20
)

// executor runs requests on one transaction. The commands that it runs form a group until settle. Without blocking it
// never waits; with blocking it settles the group before it waits, so that nobody waits for the disk or for a lock while
// holding one.
//
// Invariant: a reply that depends on the uncommitted group is in its connection's part. Those are the replies of
// writes, and of reads of a slot that the group has written.
type executor struct {
	srv      *Server
	node     *command.Node
	store    *engine.Store // the node's, as of enter
	txn      *engine.Txn
	blocking bool
	pool     *workers // that it belongs to, or nil

	ctx    command.Ctx
	ahead  [][]byte // scratch of lookAhead
	keysAt []int    // of need
	keys   []keyAt
	slots  []uint16
	rest   time.Duration // since the last full quantum, see command.SlotTimes

	serving  bool // the node may serve its slots, as of the beginning of the present run
	begin    int  // where the replies of the present run begin
	commands int
	members  []*conn
	stable   engine.Offset           // the store's, as last seen
	written  [keys.Slots / 64]uint64 // slots that the group may have written
	wrote    []uint16                // the same, to clear

	toServe []*command.WaitQueue // of keys that the present request has written
	waking  bool                 // serveWaiters is at work
	guests  []guest              // whose requests have run as part of the group
}

func (s *Server) newExecutor(blocking bool) *executor {
	return &executor{srv: s, node: s.node, blocking: blocking}
}

// enter and leave enclose whatever uses the executor. enter reports whether the store is another one than before.
func (x *executor) enter() (replaced bool) {
	x.node.Enter()
	if x.store == x.node.Store {
		return false
	}
	replaced = x.store != nil
	x.store = x.node.Store
	x.txn = x.store.NewTxn()
	x.stable = 0
	return replaced
}

func (x *executor) leave() { x.node.Leave() }

// replacedText is for replies that depend on writes to a store that has been replaced.
const replacedText = resp.ErrMayStand + "this node follows another one now, whose data has replaced its own"

// meet gives a connection the executor's store. What waits for another one will never be known.
func (x *executor) meet(c *conn) {
	if c.store == x.store {
		return
	}
	if c.store != nil {
		c.fail(&c.unstable, replacedText)
		c.unstable, c.owed = part{}, false
	}
	c.store, c.barrier = x.store, 0
}

// run runs the complete requests that the reader holds. After wouldBlock, paused, held, blocked and full those not run are still in it.
func (x *executor) run(c *conn) verdict {
	x.meet(c)
	x.txn.ResetBarrier()
	x.begin = len(c.Out.Buf)
	x.serving = x.node.Serving()
	for n := 0; ; n++ {
		if c.killed.Load() || x.blocking && x.node.Context().Err() != nil {
			return cut
		}
		if x.blocking && x.large() {
			x.settle()
		}
		replaced := x.store != x.node.Store // while a command waited outside the gate
		if len(c.Out.Buf)-x.begin >= outputBurst || x.large() || n >= groupCommands && !x.blocking || replaced {
			c.more = true
			return full
		}
		if n%engine.PrefetchKeys == 0 {
			x.lookAhead(c)
		}
		args, ok, err := c.reader.Next()
		if err != nil {
			x.srv.protocolError(c, err)
			return closing
		}
		if !ok {
			c.more = false
			return drained
		}
		v := x.one(c, args)
		switch {
		case v.again():
			c.reader.Unread()
			c.more = true
			return v
		case v != ran:
			return v
		case c.CloseAfterReply:
			return closing
		}
		if !c.reader.Limits.Authenticated {
			c.setLimits(x.node)
		}
	}
}

// lookAhead lets what the next requests of a pipeline look up be fetched from memory at once.
func (x *executor) lookAhead(c *conn) {
	if x.ahead = c.reader.Ahead(x.ahead[:0], engine.PrefetchKeys); len(x.ahead) > 1 {
		x.txn.Prefetch(x.store.DB(c.DB), x.ahead)
	}
}

// large says whether the group should be settled before it grows further.
func (x *executor) large() bool {
	if x.commands >= groupCommands {
		return true
	}
	_, bytes := x.txn.Size()
	return bytes >= groupBytes
}

// one runs one request and keeps what outlives it: reply suppression, ASKING.
func (x *executor) one(c *conn, args [][]byte) (v verdict) {
	start := len(c.Out.Buf)
	if c.Waits() {
		x.node.Waiters.Back(&c.Session)
	}
	v = x.guarded(c, args)
	if c.Waits() && (v == paused || v == held) {
		x.node.Waiters.Leave(&c.Session)
	}
	if v.again() || v == crashed || v == cut {
		return v
	}
	c.FinishReply(start)
	if len(c.Out.Buf) > start {
		c.replied()
	}
	if c.Waits() {
		x.node.EndWait(&c.Session)
	}
	if len(x.toServe) > 0 && !x.waking {
		x.serveWaiters()
	}
	return v
}

// guarded turns a handler's panic into an error reply, the end of the connection and of the group.
func (x *executor) guarded(c *conn, args [][]byte) (v verdict) {
	start := len(c.Out.Buf)
	defer func() {
		if p := recover(); p != nil {
			x.srv.log.Error("a command panicked", "command", x.ctx.Cmd.Name, "panic", p, "stack", string(debug.Stack()))
			c.Out.Buf = c.Out.Buf[:start]
			x.abandon()
			c.Out.Error(resp.ErrInternal)
			v = crashed
		}
	}()
	return x.dispatch(c, args)
}

// call runs the handler under the locks that the transaction holds, and returns how long it took.
func (x *executor) call(c *conn, cmd *command.Command, args [][]byte, txn *engine.Txn) (took time.Duration) {
	return x.callWith(c, cmd, args, txn, nil)
}

// callWith is call for a reply that may be sent in pieces.
func (x *executor) callWith(c *conn, cmd *command.Command, args [][]byte, txn *engine.Txn, inPieces func()) (took time.Duration) {
	x.ctx = command.Ctx{Session: &c.Session, Node: x.node, Cmd: cmd, Args: args, Txn: txn, Pieces: inPieces}
	return x.node.Call(&x.ctx)
}

// account counts the time of a command for its slot: a cluster's command has one, or none.
func (x *executor) account(n *need, took time.Duration) {
	if times := x.node.Stats.SlotTimes; times != nil && len(n.keys) > 0 {
		times.Add(&x.rest, n.keys[0].slot, took)
	}
}

// join makes c's replies from the present one on part of the group.
func (x *executor) join(c *conn) {
	c.owed = c.owed || x.node.Replication.NeedsAcks()
	if !c.group.joined {
		c.group = part{joined: true, start: len(c.Out.Buf)}
		x.members = append(x.members, c)
	}
}

// lock takes the slots, or says that it would have to wait.
func (x *executor) lock(slots []uint16, write bool) bool {
	for _, slot := range slots {
		if !x.txn.TryLock(slot, write) {
			x.txn.EndCommand()
			if !x.blocking {
				return false
			}
			x.settle()
			x.txn.Lock(slots, write)
			return true
		}
	}
	return true
}

// touch records what the group writes, and joins a connection whose reply depends on
// what is not committed or not stable yet.
func (x *executor) touch(c *conn, n *need) {
	x.commands++
	depends := n.write || n.whole && len(x.wrote) > 0
	for _, slot := range n.slots {
		word, bit := slot/64, uint64(1)<<(slot%64)
		if x.written[word]&bit != 0 {
			depends = true
		} else if n.write {
			x.written[word] |= bit
			x.wrote = append(x.wrote, slot)
		}
	}
	c.barrier = max(c.barrier, x.txn.Barrier())
	if n.whole {
		c.barrier = max(c.barrier, x.store.End())
	}
	if c.barrier > x.stable {
		x.stable = x.store.Stable()
		depends = depends || c.barrier > x.stable
	}
	if r := x.node.Replication; depends || r.NeedsAcks() && !r.Acked(c.barrier) {
		x.join(c)
	}
}

// awaits says whether the rendered replies have to wait for the disk or for replicas.
func (x *executor) awaits(c *conn) bool { return c.barrier > x.stable || x.owes(c) }

// owes says whether they have to wait for replicas.
func (x *executor) owes(c *conn) bool { return c.owed && !x.node.Replication.Acked(c.barrier) }

// commit commits the transaction and releases its locks.
func (x *executor) commit() error {
	err := x.txn.Commit()
	if err != nil {
		x.srv.log.Error("a commit failed", "err", err)
	}
	return err
}

// settle commits the group. Its members' replies then depend only on the log, up to their barrier.
func (x *executor) settle() {
	err := x.commit()
	for _, c := range x.members {
		if err != nil {
			c.fail(&c.group, command.ErrorText(err))
		} else {
			c.barrier = max(c.barrier, x.txn.Barrier())
		}
		c.committed()
	}
	x.reset()
	x.sendHome()
}

// mayStand is the error reply for writes that are committed and whose way into the log has failed.
func mayStand(err error) string { return resp.ErrMayStand + err.Error() }

// abandon discards the group after a panic; its transaction may be in any state.
func (x *executor) abandon() {
	func() {
		defer func() {
			if p := recover(); p != nil {
				x.srv.log.Error("a transaction could not be discarded", "panic", p, "stack", string(debug.Stack()))
			}
		}()
		x.txn.Discard()
	}()
	for _, c := range x.members {
		c.fail(&c.group, resp.ErrInternal)
		c.committed()
	}
	x.txn = x.store.NewTxn()
	x.reset()
	x.toServe = x.toServe[:0]
	x.sendHome()
}

// reset empties the bookkeeping of the group.
func (x *executor) reset() {
	for _, slot := range x.wrote {
		x.written[slot/64] = 0
	}
	x.wrote = x.wrote[:0]
	clear(x.members)
	x.members = x.members[:0]
	x.commands = 0
}
