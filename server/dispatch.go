package server

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/server/command"
	"github.com/cairndb/cairn/server/resp"
)

// maxQuoted is how much of an unknown command an error reply repeats.
const maxQuoted = 128

// dispatch decides about one request in the order of Redis's processCommand: known, arity, authenticated,
// allowed in MULTI, routed, paused, queued; then locks its slots, routes again under the locks, and runs it.
func (x *executor) dispatch(c *conn, args [][]byte) verdict {
	cmd, container := command.Lookup(args)
	if cmd == nil {
		return x.unknown(c, args, container)
	}
	if c.Awaiting() != nil {
		return x.awaited(c, cmd, args)
	}
	if c.Waits() && x.unblocked(c, cmd, args) {
		return ran
	}
	switch {
	case !cmd.ArityOK(len(args)):
		return x.reject(c, cmd, "ERR wrong number of arguments for '"+cmd.Name+"' command")
	case cmd.Flags&command.NoAuth == 0 && !x.node.Authenticated(&c.Session):
		return x.reject(c, cmd, resp.ErrNoAuth)
	case c.InMulti && cmd.Flags&(command.NoMulti|command.OwnLocks) != 0:
		return x.reject(c, cmd, resp.ErrNotInMulti)
	}
	if text := x.refusal(cmd); text != "" {
		return x.reject(c, cmd, text)
	}
	if c.Enqueues(cmd) {
		return x.enqueue(c, cmd, args)
	}
	if _, wait := x.node.Clients.Paused(&c.Session, cmd); wait {
		return paused
	}
	if cmd.Flags&command.Slow != 0 {
		if v := x.beforeSlow(c); v != proceed {
			return v
		}
		x.settle()
	}
	if cmd.Flags&command.Settled != 0 {
		x.settle()
	}
	switch {
	case cmd.Name == "exec":
		return x.exec(c, cmd, args)
	case cmd.Flags&command.Unlocked != 0:
		return x.unlocked(c, cmd, args)
	case cmd.Flags&command.OwnLocks != 0:
		return x.ownLocks(c, cmd, args)
	}
	return x.locked(c, cmd, args)
}

// refusal is why a command can't be served while the node follows another one, or has too few replicas. A
// cluster's replica sends clients to its primary instead of refusing writes.
func (x *executor) refusal(cmd *command.Command) string {
	write := cmd.Flags&command.Write != 0
	switch {
	case x.node.Loading() && (cmd.Flags&command.Loading == 0 && !cmd.LeavesStore() || cmd.Name == "exec" || cmd.Name == "watch"): // these read
		return resp.ErrLoading
	case write && !x.node.View().Enabled():
		if text := x.node.Replication.RefuseWrite(); text != "" {
			return text
		}
	}
	return x.node.Replication.RefuseStale(cmd)
}

// unlocked runs a command without locks, which may begin to wait, or take the connection over.
func (x *executor) unlocked(c *conn, cmd *command.Command, args [][]byte) verdict {
	if cmd.Name == "client|unblock" { // who is about to be served is
		if c.wait = x.node.Waiters.Served(); c.wait != nil {
			return held
		}
	}
	x.call(c, cmd, args, nil)
	c.ran(cmd)
	switch {
	case c.Awaiting() != nil:
		c.wait = c.Awaiting()
		return held
	case c.Takeover != nil:
		return taken
	}
	return ran
}

// awaited goes on with a request that has begun to wait.
func (x *executor) awaited(c *conn, cmd *command.Command, args [][]byte) verdict {
	select {
	case <-c.Awaiting():
	default:
		c.wait = c.Awaiting()
		return held
	}
	x.ctx = command.Ctx{Session: &c.Session, Node: x.node, Cmd: cmd, Args: args}
	x.node.Finish(&x.ctx)
	return ran
}

// unblocked answers a request that has waited for keys and does so no longer.
func (x *executor) unblocked(c *conn, cmd *command.Command, args [][]byte) bool {
	x.ctx = command.Ctx{Session: &c.Session, Node: x.node, Cmd: cmd, Args: args}
	if !x.node.Unblocked(&x.ctx) {
		return false
	}
	c.endAsking()
	return true
}

// ownLocks runs MIGRATE, which locks and commits by itself. The group is empty: see Slow.
func (x *executor) ownLocks(c *conn, cmd *command.Command, args [][]byte) verdict {
	n := x.need(cmd, args)
	if redirect := x.routeMigrate(c, &n); redirect != "" {
		return x.redirect(c, cmd, redirect)
	}
	for _, slot := range n.slots {
		if x.node.Moving(slot) {
			return x.redirect(c, cmd, resp.ErrSlotMoving)
		}
	}
	if v := x.fence(c, cmd, x.node.View(), &n); v != proceed {
		return v
	}
	if v := x.admit(c, cmd, &n); v != proceed {
		return v
	}
	if c.wait = x.node.Migrations.Enter(); c.wait != nil {
		return held
	}
	defer x.node.Migrations.Leave()
	x.join(c)
	x.call(c, cmd, args, x.txn)
	c.ran(cmd)
	if x.node.Waiters.Any() {
		x.noteWritten(&n)
	}
	c.barrier = max(c.barrier, x.txn.Barrier())
	return ran
}

// beforeSlow sees to it that a slow command runs on a worker, and holds up no reply to the requests before it.
func (x *executor) beforeSlow(c *conn) verdict {
	switch {
	case !x.blocking:
		return wouldBlock
	case len(c.Out.Buf) > x.begin:
		return full
	}
	return proceed
}

// reject answers a request that is refused before it runs.
func (x *executor) reject(c *conn, cmd *command.Command, text string) verdict {
	x.node.Reject(&c.Session, cmd, text)
	c.endAsking()
	return ran
}

// unknown answers a request that names no command or no subcommand of its container.
func (x *executor) unknown(c *conn, args [][]byte, container *command.Command) verdict {
	if container != nil {
		return x.reject(c, nil, fmt.Sprintf("ERR unknown subcommand '%.128s'. Try %s HELP.", resp.CString(args[1]), strings.ToUpper(container.Name)))
	}
	if isHTTP(args[0]) {
		x.srv.log.Warn("a client sent POST or Host:, which looks like a web page that attacks this server; the connection is closed", "client", c.Addr)
		return cut
	}
	var quoted strings.Builder
	for _, a := range args[1:] {
		if quoted.Len() >= maxQuoted {
			break
		}
		a = resp.CString(a)
		fmt.Fprintf(&quoted, "'%s' ", a[:min(len(a), maxQuoted-quoted.Len())])
	}
	name := resp.CString(args[0])
	return x.reject(c, nil, fmt.Sprintf("ERR unknown command '%s', with args beginning with: %s", name[:min(len(name), maxQuoted)], quoted.String()))
}

// isHTTP recognises requests that a browser can be made to send (Redis: securityWarningCommand).
func isHTTP(name []byte) bool {
	return strings.EqualFold(string(name), "post") || strings.EqualFold(string(name), "host:")
}

// locked runs a command on the transaction, under the locks of its keys' slots.
func (x *executor) locked(c *conn, cmd *command.Command, args [][]byte) verdict {
	need := x.need(cmd, args)
	if v := x.early(c, cmd, &need); v != proceed {
		return v
	}
	if v := x.admit(c, cmd, &need); v != proceed {
		return v
	}
	return x.underLocks(c, cmd, args, &need)
}

// underLocks locks, routes, and runs the handler if nothing has to be waited for.
func (x *executor) underLocks(c *conn, cmd *command.Command, args [][]byte, n *need) verdict {
	if !x.take(n) {
		return wouldBlock
	}
	defer x.txn.EndCommand()
	if v := x.departing(c, cmd, n); v != proceed {
		return v
	}
	view := x.node.View()
	if redirect := x.routeView(view, c, n); redirect != "" {
		return x.sendAway(c, cmd, n, redirect)
	}
	if v := x.moving(c, cmd, view, n); v != proceed {
		return v
	}
	if v := x.fence(c, cmd, view, n); v != proceed {
		return v
	}
	if !x.ready(c, n) {
		return wouldBlock
	}
	if c.wait = x.claimed(c, n); c.wait != nil {
		return held
	}
	if c.wait = x.reserved(c, n); c.wait != nil {
		return held
	}
	if redirect := x.routeOpen(view, c, n); redirect != "" {
		return x.redirect(c, cmd, redirect)
	}
	if n.write { // once more: EXEC, and a cluster's commands, which are routed first
		switch text := x.node.Replication.RefuseWrite(); text {
		case "":
		case resp.ErrReadOnly:
			return x.replaced(c, cmd, n)
		default:
			return x.reject(c, cmd, text)
		}
	}
	p, v := x.takesPieces(c, n)
	if v != proceed {
		return v
	}
	x.touch(c, n)
	x.look(c)
	var took time.Duration
	if p == nil {
		took = x.call(c, cmd, args, x.txn)
	} else if took, v = x.callInPieces(p, cmd, args); v != proceed {
		return v
	}
	switch c.Found() {
	case command.Nothing:
		x.part(c)
		return blocked
	case command.NothingYet:
		return unsent
	}
	c.ran(cmd)
	x.account(n, took)
	if n.write && (cmd.Flags&command.Quiet == 0 || c.Waits()) && x.node.Waiters.Any() {
		x.noteWritten(n)
	}
	return ran
}

// need is what a request has to hold and to look at.
type need struct {
	cmd          *command.Command
	args         [][]byte
	queue        []command.Queued // of EXEC
	keys         []keyAt
	slots        []uint16
	write, world bool
	whole        bool // reads what no key names: SCAN, DBSIZE
	flags        command.Flags
}

// keyAt is one key of a request with its slot.
type keyAt struct {
	name []byte
	slot uint16
}

// need collects the keys and slots of a request. Keys that cannot be told from malformed arguments
// make it take the world: the handler finds the same fault and says so.
func (x *executor) need(cmd *command.Command, args [][]byte) need {
	n := need{
		cmd: cmd, args: args, keys: x.keys[:0], slots: x.slots[:0],
		write: x.node.Writes(cmd), world: cmd.Flags&command.World != 0, flags: cmd.Flags,
	}
	x.addKeys(&n, cmd, args)
	return n
}

func (x *executor) addKeys(n *need, cmd *command.Command, args [][]byte) {
	at, err := cmd.KeysOf(x.keysAt[:0], args)
	x.keysAt = at
	if err != nil {
		n.world = true
		return
	}
	n.world = n.world || cmd.Undeclared != nil && cmd.Undeclared(args)
	// What reads no data, as INFO, waits neither for the disk nor for replicas: it is asked when these fail.
	n.whole = n.whole || len(at) == 0 && cmd.Flags&command.Unlocked == 0 && cmd.Flags&(command.ReadOnly|command.Write) != 0
	for _, i := range at {
		slot := keys.Slot(args[i])
		n.keys = append(n.keys, keyAt{args[i], slot})
		n.slots = append(n.slots, slot)
	}
	x.keys, x.slots = n.keys, n.slots
}

// early routes a write before it is admitted: a replica, whose store takes none, sends it to its primary.
func (x *executor) early(c *conn, cmd *command.Command, n *need) verdict {
	view := x.node.View()
	if !n.write || !view.Enabled() {
		return proceed
	}
	if redirect := x.routeView(view, c, n); redirect != "" {
		return x.sendAway(c, cmd, n, redirect)
	}
	return x.fence(c, cmd, view, n)
}

// admit asks whether the store takes writes, before any lock is taken; if not, it has answered.
func (x *executor) admit(c *conn, cmd *command.Command, n *need) verdict {
	if n.world && !x.blocking {
		return wouldBlock
	}
	if !n.write {
		return proceed
	}
	ok, err := x.store.TryAdmitWrite()
	if !ok && err == nil && x.blocking {
		x.settle()
		ok, err = true, x.store.AdmitWrite(x.node.Context())
	}
	switch {
	case errors.Is(err, engine.ErrReplica):
		return x.replaced(c, cmd, n)
	case err != nil:
		return x.reject(c, cmd, command.ErrorText(err))
	case !ok:
		return wouldBlock
	}
	return proceed
}

// replaced answers a write whose store follows another node, by now: this may have been a primary when the write was routed. So it is routed again, to the new
// primary, or it waits until there is one; never does a cluster's client see READONLY for a key, which it would take for an error.
func (x *executor) replaced(c *conn, cmd *command.Command, n *need) verdict {
	view := x.node.View()
	if !view.Enabled() || view.Self().Primary != "" && len(n.keys) == 0 {
		return x.reject(c, cmd, resp.ErrReadOnly)
	}
	if v := x.early(c, cmd, n); v != proceed {
		return v
	}
	return x.atGate(c, cmd) // it leads again
}

// take takes the locks.
func (x *executor) take(n *need) bool {
	if n.world {
		x.settle()
		x.txn.LockWorld()
		return true
	}
	return x.lock(n.slots, n.write)
}

// ready says whether the records of all keys can be read without waiting for the disk, or for long.
func (x *executor) ready(c *conn, n *need) bool {
	if x.blocking {
		return true
	}
	db := x.store.DB(c.DB)
	look := len(n.keys) == 1 || n.queue == nil && n.cmd.Long != nil
	for _, k := range n.keys {
		key := engine.Key{Slot: k.slot, DB: db, Name: k.name}
		if look {
			if rec, large := x.txn.Large(key); large && n.takesLong(rec) {
				return false
			}
		}
		if !x.txn.Ready(key) {
			return false
		}
	}
	return true
}

// takesLong says whether the request takes long, given the record of a key whose value is large.
func (n *need) takesLong(rec engine.Record) bool {
	for _, q := range n.queue {
		if q.Cmd.TakesLong(q.Args, rec) {
			return true
		}
	}
	return n.queue == nil && n.cmd.TakesLong(n.args, rec)
}

// enqueue keeps a request for EXEC, unless routing already refuses it.
func (x *executor) enqueue(c *conn, cmd *command.Command, args [][]byte) verdict {
	if x.node.View().Enabled() {
		n := x.need(cmd, args)
		redirect, v := x.routeQueued(c, &n)
		switch {
		case v != proceed:
			return v
		case redirect != "":
			return x.sendAway(c, cmd, &n, redirect)
		}
	}
	if cmd.Flags&command.Write != 0 {
		_, err := x.store.TryAdmitWrite()
		if view := x.node.View(); errors.Is(err, engine.ErrReplica) && view.Enabled() && view.Self().Primary == "" {
			err = nil // EXEC is routed again
		}
		if err != nil {
			return x.reject(c, cmd, command.ErrorText(err))
		}
	}
	if _, wait := x.node.Clients.Paused(&c.Session, cmd); wait {
		return paused
	}
	c.Enqueue(x.node, cmd, args)
	return ran
}

// exec runs a transaction under the locks of everything queued.
func (x *executor) exec(c *conn, cmd *command.Command, args [][]byte) verdict {
	queued := c.QueueNeeds(x.node, x.slots[:0])
	if queued.Slow {
		if v := x.beforeSlow(c); v != proceed {
			return v
		}
		x.settle()
	}
	if queued.Claims {
		if c.wait = x.node.Cluster.Undecided(); c.wait != nil {
			return held
		}
	}
	if queued.Mixed() {
		return x.reject(c, cmd, resp.ErrMixedExec)
	}
	n := need{cmd: cmd, args: args, queue: c.Queue, keys: x.keys[:0], slots: x.slots[:0]}
	for _, q := range c.Queue {
		x.addKeys(&n, q.Cmd, q.Args)
		n.flags |= q.Cmd.Flags & (command.Write | command.Asking)
	}
	// The watched keys' slots come on top of the queued commands'.
	n.slots = queued.Slots
	n.write, n.world = queued.Write, queued.World || n.world
	x.slots = n.slots
	if v := x.early(c, cmd, &n); v != proceed {
		return v
	}
	if v := x.admit(c, cmd, &n); v != proceed {
		return v
	}
	return x.underLocks(c, cmd, args, &n)
}
