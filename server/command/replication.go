package command

import (
	"context"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/replication"
	"github.com/cairndb/cairn/server/config"
	"github.com/cairndb/cairn/server/resp"
)

// Replication is the node's part in replication, as commands, the dispatch and the cluster use it. ReplicaOf and NoOne wait for what
// the node does at that moment, which may be the exchange of its store, and so for commands to end: a command's handler
// calls them by Await.
type Replication struct {
	*replication.Manager
	node *Node
	mark watermark
	good goodReplicas

	saidPrimary atomic.Bool // the log says that this node is a primary
}

// replicationSettings are the directives that change what the manager does.
var replicationSettings = []string{
	"masteruser", "masterauth", "replica-announce-ip", "replica-announce-port", "repl-ping-replica-period", "repl-timeout", "replication-sync-bandwidth", "replication-compression", "replication-max-held",
}

func newReplication(n *Node) *Replication {
	r := &Replication{node: n}
	id := n.RunID
	if n.Cluster != nil {
		id = string(n.Cluster.View().Self().ID)
	}
	r.Manager = replication.NewManager(n.Store, replication.Options{
		NodeID: id, Dir: n.Config.Dir(), LogSegmentBytes: n.Config.LogSegmentSize(),
		Replace: n.exchange, Logger: n.Logger,
	}, r.settings())
	n.Config.OnChange(replicationSettings, func() error {
		r.SetSettings(r.settings())
		return nil
	})
	n.Config.OnChange([]string{"replication-acks"}, func() error {
		r.mark.reset()
		return nil
	})
	return r
}

func (r *Replication) settings() replication.Settings {
	c := r.node.Config
	s := replication.Settings{
		User: c.MasterUser(), Password: c.MasterAuth(), PingPeriod: c.ReplPingPeriod(), Timeout: c.ReplTimeout(),
		SyncRate: c.ReplSyncBandwidth(), MaxHeld: uint64(c.ReplMaxHeld()),
	}
	s.Address, s.Port = c.ReplicaAddress()
	switch c.ReplCompression() {
	case "yes":
		s.Compression = replication.CompressYes
	case "no":
		s.Compression = replication.CompressNo
	}
	return s
}

// ReplicaOf makes the node a replica of the one at host and port. It returns when the store takes no more writes; the rest goes on
// by itself.
func (r *Replication) ReplicaOf(host string, port int) error {
	followed := r.node.CurrentStore().Following()
	if err := r.Manager.ReplicaOf(host, port); err != nil {
		return err
	}
	r.node.Logger.Log(context.Background(), config.LevelNotice, "this node is a replica now", "primary", net.JoinHostPort(host, strconv.Itoa(port)))
	if r.node.Cluster != nil { // its clients are sent to the new primary
		r.node.Waiters.wakeAll()
	} else if !followed {
		r.node.Waiters.finishAll(waitEnd{text: resp.ErrRoleChanged, close: true})
	}
	return nil
}

// NoOne makes the node a primary.
func (r *Replication) NoOne() error {
	followed := r.node.Store.Following()
	if err := r.Manager.NoOne(); err != nil {
		return err
	}
	if !r.saidPrimary.Swap(true) || followed { // a cluster's primary is told so with each new epoch
		r.node.Logger.Log(context.Background(), config.LevelNotice, "this node is a primary now")
	}
	return nil
}

// RefuseWrite is the error for a write that this node must not take, "" for none.
func (r *Replication) RefuseWrite() string {
	if r.node.Store.Following() {
		return resp.ErrReadOnly
	}
	if n, lag := r.node.Config.MinReplicas(); n > 0 && lag > 0 && r.good.count(r.Manager, lag) < n {
		return resp.ErrNoReplicas
	}
	return ""
}

// RefuseStale is the error for a command that needs data which is fresh enough, "" for none. What a cluster's primary that is about to begin has is
// fresh, and commands wait for its lease; commands with keys on a cluster's replica are for routing to refuse (RefuseReads).
func (r *Replication) RefuseStale(cmd *Command) string {
	if cmd.Flags&Stale != 0 || !r.node.Store.Following() {
		return ""
	}
	if v := r.node.View(); v.Enabled() && (v.Self().Primary == "" || len(cmd.Keys) > 0 || cmd.GetKeys != nil) {
		return ""
	}
	if r.Filling() && r.node.Cluster == nil && cmd.Flags&Loading == 0 { // a cluster's replica redirects
		return resp.ErrLoading
	}
	if text := r.RefuseReads(); text != resp.ErrStale || cmd.Flags&ReadOnly != 0 {
		return text
	}
	return ""
}

// RefuseReads is the error for reads of what this replica has, "" for none: it has no link to its primary (replica-serve-stale-data), or the data may be
// too old (replica-max-staleness).
func (r *Replication) RefuseReads() string {
	limit := r.node.Config.ReplicaMaxStaleness()
	if limit == 0 && r.node.Config.ReplicaServeStaleData() {
		return ""
	}
	up, staleness := r.Link()
	switch {
	case !up && !r.node.Config.ReplicaServeStaleData():
		return resp.ErrMasterDown
	case limit > 0 && (staleness < 0 || staleness > limit):
		return resp.ErrStale
	}
	return ""
}

// goodReplicas keeps for a moment how many replicas lag little.
type goodReplicas struct{ until, n atomic.Int64 }

const goodFor = 100 * time.Millisecond

func (g *goodReplicas) count(m *replication.Manager, lag time.Duration) int {
	if now := time.Now().UnixNano(); now > g.until.Load() {
		g.n.Store(int64(m.GoodReplicas(lag)))
		g.until.Store(now + int64(goodFor))
	}
	return int(g.n.Load())
}

// watermark is how far the store was ever acknowledged by the replicas that replication-acks asks for: what has been stays.
type watermark struct{ off atomic.Uint64 }

func (w *watermark) reset() { w.off.Store(0) }

func (w *watermark) raise(to engine.Offset) engine.Offset {
	for {
		old := w.off.Load()
		if old >= to || w.off.CompareAndSwap(old, to) {
			return max(old, to)
		}
	}
}

// NeedsAcks says whether replies wait for replicas: those to writes, and to reads of what was not acknowledged yet. A reply that has to wait does so
// until it is sent, also when the node becomes a replica meanwhile.
func (r *Replication) NeedsAcks() bool {
	return r.node.Config.ReplicationAcks() > 0 && !r.node.Store.Following()
}

// Acked says whether as many replicas as replication-acks names have the log up to off.
func (r *Replication) Acked(off engine.Offset) bool {
	n := r.node.Config.ReplicationAcks()
	return n == 0 || r.mark.off.Load() >= off || r.mark.raise(r.Acks().Reached(n, replication.Stable)) >= off
}

// OnAcked calls fn once when Acked(off) has become true; see replication.Acks.
func (r *Replication) OnAcked(off engine.Offset, fn func()) (cancel func() bool) {
	return r.Acks().OnAcked(off, max(1, r.node.Config.ReplicationAcks()), replication.Stable, func(error) { fn() })
}

// acksLook is how often a wait sees whether replication-acks asks for fewer now.
const acksLook = 100 * time.Millisecond

// WaitAcked waits until Acked(off); an error says that it took longer than replication-acks-timeout.
func (r *Replication) WaitAcked(ctx context.Context, off engine.Offset) error {
	ctx, cancel := context.WithTimeout(ctx, r.node.Config.ReplicationAcksTimeout())
	defer cancel()
	for !r.Acked(off) {
		look, done := context.WithTimeout(ctx, acksLook)
		_, err := r.Acks().Wait(look, off, r.node.Config.ReplicationAcks(), replication.Stable)
		ended := look.Err() == nil || ctx.Err() != nil
		done()
		switch {
		case err == nil:
			r.mark.raise(off)
			return nil
		case ended && !r.Acked(off):
			return err
		}
	}
	return nil
}

// replicaOf is REPLICAOF. The configuration follows, so that CONFIG REWRITE keeps the role.
func replicaOf(c *Ctx) {
	if c.Node.Cluster != nil {
		c.Out.Error("ERR REPLICAOF not allowed in cluster mode.")
		return
	}
	if c.InExec() { // it may have to wait for the end of others' commands
		c.Out.Error(resp.ErrNotInMulti)
		return
	}
	r, conf := c.Node.Replication, c.Node.Config
	if c.is(1, "no") && c.is(2, "one") {
		c.awaitRole(func() error {
			if err := r.NoOne(); err != nil {
				return err
			}
			conf.SetReplicaOf("", 0)
			return nil
		})
		return
	}
	port, err := strconv.ParseInt(string(c.Args[2]), 10, 64)
	host := string(c.Args[1])
	switch {
	case err != nil || port < 0 || port > 65535:
		c.Out.Error("ERR Invalid master port")
		return
	case host == "" || strings.ContainsAny(host, " \x00\r\n"):
		c.Out.Error("ERR Invalid master host")
		return
	}
	if h, p, ok := conf.ReplicaOf(); ok && strings.EqualFold(h, host) && p == int(port) {
		c.Out.Simple("OK Already connected to specified master")
		return
	}
	c.awaitRole(func() error {
		if err := r.ReplicaOf(host, int(port)); err != nil {
			return err
		}
		conf.SetReplicaOf(host, int(port))
		return nil
	})
}

// awaitRole answers OK when the role has changed.
func (c *Ctx) awaitRole(change func() error) {
	var err error
	c.Await(func(context.Context) { err = change() }, func(c *Ctx) {
		if err != nil {
			c.Fail(err)
			return
		}
		c.Out.OK()
	})
}

// sync serves a replica, which takes over the connection.
func syncReplica(c *Ctx) {
	if cl := c.Node.Cluster; cl != nil && cl.Lost() {
		c.Out.Error("ERR The data of this node are gone")
		return
	}
	args := copyArgs(c.Args[1:])
	r, s := c.Node.Replication, c.Session
	c.Takeover = func(conn net.Conn) {
		s.Replica.Store(true)
		_ = r.HandleSync(conn, args) // logged there
	}
}

func role(c *Ctx) {
	st := c.Node.Replication.Status()
	if !st.Primary {
		l := st.Link
		if l == nil { // it waits to be told whom to follow
			l = &replication.LinkStatus{State: "none"}
		}
		offset := int64(-1)
		if l.Up {
			offset = int64(st.Offset)
		}
		c.Out.Array(5)
		c.Out.BulkString("slave")
		c.Out.BulkString(l.Host)
		c.Out.Int(int64(l.Port))
		c.Out.BulkString(l.State)
		c.Out.Int(offset)
		return
	}
	online := onlineReplicas(&st)
	c.Out.Array(3)
	c.Out.BulkString("master")
	c.Out.Int(int64(st.Offset))
	c.Out.Array(len(online))
	for _, r := range online {
		c.Out.Array(3)
		c.Out.BulkString(r.Address)
		c.Out.BulkInt(int64(r.Port))
		c.Out.BulkInt(int64(r.Written))
	}
}

func onlineReplicas(st *replication.Status) (online []replication.ReplicaStatus) {
	for _, r := range st.Replicas {
		if r.State == replication.Online {
			online = append(online, r)
		}
	}
	return online
}

// roleName is what HELLO, INFO and ROLE call the node's role.
func (n *Node) roleName() string {
	if n.Store.Following() {
		return "slave"
	}
	return "master"
}
