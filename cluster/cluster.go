// Package cluster decides who serves which slot: it keeps the node table and
// nodes.conf, hears and tells the gossip, detects failures.
//
// All knowledge and every decision is in table, which is pure; Cluster gives it
// a clock, a bus and a file. Lock order: handing, changing, life, mu; memberlist's own locks are never asked for under mu.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairndb/cairn/cluster/epoch"
	"github.com/cairndb/cairn/cluster/gossip"
	"github.com/cairndb/cairn/cluster/slotmap"
)

// busOffset is added to the client port for the bus (Redis CLUSTER_PORT_INCR).
const busOffset = 10000

// Cluster is a running member.
type Cluster struct {
	o     Options
	log   *slog.Logger
	bus   *gossip.Bus
	store *store
	view  atomic.Pointer[View]
	// nonce and started tell this process from others with the same node ID; withdrawn says that it gives way to one.
	nonce uint64
	// lease is cluster-node-timeout as it was at the start: all nodes have to agree about it.
	lease time.Duration
	group atomic.Pointer[epoch.Group]
	repl  atomic.Pointer[Replicator]
	// leading: this node has begun its term as a primary. fenced: it serves inside a lease only; until then it serves as a founder, up to
	// foundingUntil if there is a group (CLOCK_BOOTTIME, 0 for none). Until replyUntil replies may be sent of what was run before a hand-over.
	// relead: a hand-over has failed, and the term has to begin anew.
	leading, fenced, relead atomic.Bool
	foundingUntil           atomic.Int64
	replyUntil              atomic.Int64
	roleChanged             chan struct{}
	gate                    gate
	arrivals                arrivals
	departures              departures
	handing                 sync.Mutex // one hand-over at a time
	changing                sync.Mutex // the role; held as long as replication takes to change it
	started                 time.Time
	withdrawn               atomic.Bool
	doubtful                atomic.Bool
	ruled                   ruled
	offsetAt                int64 // when the record's offset was brought up to date; run's

	// mu may be taken by commands, which hold the store: what is called under it must not wait for the store.
	mu struct {
		sync.Mutex
		table *table
		// told is the version of this node's record that was announced last.
		told     uint64
		contacts map[slotmap.NodeID]*contact
		watches  map[slotmap.NodeID]context.CancelFunc
		// turn counts the texts made for nodes.conf; unsaved says that the newest is not there yet.
		turn    uint64
		unsaved bool
		// proposing: one of this node's own requests to the group is under way. covered is since when all slots are.
		proposing bool
		covered   int64
		// deciding is where changes of claims wait.
		deciding episode
	}
	gossip atomic.Pointer[gossip.Gossip]
	// life is held while the gossip is started or stopped.
	life   sync.Mutex
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	// patient ends when commands must wait no longer: see StopWaiting.
	patient   context.Context
	impatient context.CancelFunc
}

// View returns the current snapshot: one atomic load.
func (c *Cluster) View() *View { return c.view.Load() }

// Start reads nodes.conf, opens the bus, and looks for the nodes known from before.
func Start(o Options) (*Cluster, error) {
	o = withDefaults(o)
	st, was, err := openStore(o.FS, o.ConfigFile)
	if err != nil {
		return nil, err
	}
	c := &Cluster{o: o, log: o.Logger, store: st, nonce: rand.Uint64() | 1, started: time.Now()}
	c.lease, c.roleChanged = o.Settings.NodeTimeout, make(chan struct{}, 1)
	c.leading.Store(was == nil || !was.replica())
	c.mu.contacts = make(map[slotmap.NodeID]*contact)
	c.mu.watches = make(map[slotmap.NodeID]context.CancelFunc)
	if c.bus, err = gossip.Listen(c.busOptions()); err != nil {
		_ = st.close()
		return nil, err
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.patient, c.impatient = context.WithCancel(c.ctx)
	c.mu.table = c.restore(was, now())
	if err = c.settleFirst(); err == nil {
		c.bus.Handle(gossip.KindState, c.serveExchange)
		c.bus.Handle(gossip.KindIdentity, c.serveIdentity)
		c.Channel(gossip.KindWatch).Handle(serveWatch)
		c.Channel(kindShard).Handle(c.serveHandOver)
		if err = c.openGroup(); err == nil {
			c.leading.Store(c.leading.Load() && !c.fenced.Load())
			err = c.startGossip()
		}
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	c.doubtMigrating()
	c.wg.Go(c.run)
	c.wg.Go(c.roles)
	c.wg.Go(c.keepInSync)
	return c, nil
}

func withDefaults(o Options) Options {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Boot == "" {
		o.Boot = bootID()
	}
	if o.Settings.NodeTimeout == 0 {
		o.Settings.NodeTimeout = defaultNodeTimeout
	}
	return o
}

func (c *Cluster) busOptions() gossip.BusOptions {
	o := c.o
	port := o.BusPort
	switch port {
	case AnyPort:
		port = 0
	case 0:
		port = o.Port + busOffset
	}
	return gossip.BusOptions{
		Bind: o.Bind, Port: port, Secret: o.Secret, TLS: o.TLS, Plain: o.Plain,
		Network: o.Network, Logger: o.Logger,
	}
}

var began = time.Now()

// now is the unix time in milliseconds, as of the process's start and steady since: a clock that is set makes nobody fail.
func now() int64 { return began.UnixMilli() + time.Since(began).Milliseconds() }

// restore makes the table from nodes.conf, or of a lone new node.
func (c *Cluster) restore(was *saved, now int64) *table {
	self := record{ID: slotmap.NewNodeID(), Shard: slotmap.NewNodeID()}
	if was != nil {
		i := slices.IndexFunc(was.records, func(r record) bool { return r.ID == was.self })
		self = was.records[i]
		if self.Shard == "" {
			self.Shard = slotmap.NewNodeID()
		}
	}
	last := self
	self.Nonce = c.nonce
	// Versions go on from the clock; if that went back, reclaim corrects it.
	self.Version = uint64(now)
	t := newTable(self, c.o.Settings, now)
	t.grouped = c.o.GroupDir != ""
	if was != nil {
		t.currentEpoch = max(t.currentEpoch, was.currentEpoch)
		t.migrating, t.importing = was.migrating, was.importing
		t.promised, t.follows, t.leaving = was.promised, was.follows, was.leaving
		t.dropped = was.dropped
		for _, r := range was.records {
			if r.ID != was.self {
				t.peers[r.ID] = &peer{record: r, created: now, stored: true, liveness: newLiveness(now)}
			}
		}
	}
	t.wonder(&last)
	c.beginDoubt(t, was)
	c.beginLost(t, was)
	c.announceAs(t)
	c.stayFindable(&last)
	return t
}

// stayFindable lets peers find this node where it was in its last run, until it is in touch with one of them: else a cluster all of whose nodes
// come back at other ports would never meet.
func (c *Cluster) stayFindable(last *record) {
	if last.BusPort == 0 || last.BusPort == c.bus.Port() || c.o.Settings.AnnounceBusPort != 0 {
		return
	}
	if err := c.bus.StayAt(last.BusPort); err != nil {
		c.log.Info("cluster: the bus can't be reached at its former port any more", "port", last.BusPort, "err", err)
	}
}

// announceAs brings this node's own record in line with the settings.
func (c *Cluster) announceAs(t *table) {
	me, set := t.me(), &t.set
	before := me.record
	me.Hostname, me.Port, me.BusPort = set.AnnounceHostname, c.o.Port, c.bus.Port()
	if set.AnnouncePort != 0 {
		me.Port = set.AnnouncePort
	}
	if set.AnnounceBusPort != 0 {
		me.BusPort = set.AnnounceBusPort
	}
	if set.AnnounceIP != "" {
		me.IP = set.AnnounceIP
	} else if !c.isMine(me.IP) {
		me.IP = ""
	}
	me.NoFailover = set.ReplicaNoFailover
	if me.IP != before.IP || me.Hostname != before.Hostname || me.Port != before.Port || me.BusPort != before.BusPort || me.NoFailover != before.NoFailover {
		t.touch()
	}
}

// isMine says whether an address that this node had is still one of those it listens on.
func (c *Cluster) isMine(ip string) bool {
	if ip == "" {
		return true
	}
	wildcard := len(c.o.Bind) == 0
	for _, word := range c.o.Bind {
		bound := net.ParseIP(gossip.ListenHost(word))
		if bound != nil && bound.Equal(net.ParseIP(ip)) {
			return true
		}
		wildcard = wildcard || bound != nil && bound.IsUnspecified()
	}
	if !wildcard {
		return false
	}
	addrs, err := net.InterfaceAddrs()
	return err != nil || slices.ContainsFunc(addrs, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && (n.IP.Equal(net.ParseIP(ip)) || n.IP.IsLoopback() && n.Contains(net.ParseIP(ip)))
	})
}

// settleFirst brings out the first view; nothing runs yet.
func (c *Cluster) settleFirst() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := now()
	c.mu.table.settle(t)
	c.mu.table.judge(t)
	return c.publish()
}

// publish saves what changed, makes a new view, and announces this node's record if it has a new version. The caller holds mu.
//
// Without a group an epoch or a claim is on disk before anybody hears of it. With one neither is this node's word: then mu is given up while the disk
// works, so that a slow one holds up neither routing nor gossip, and the table may have changed when publish returns.
func (c *Cluster) publish() error {
	turn := c.draft()
	var err error
	if c.mu.table.formed() {
		c.show()
		c.mu.unsaved = false
		c.mu.Unlock()
		err = c.store.flush(turn)
		c.mu.Lock()
	} else {
		err = c.store.flush(turn)
		c.show()
		c.mu.unsaved = false
	}
	if err != nil {
		c.mu.unsaved = true
		c.log.Error("cluster: cannot save nodes.conf", "err", err)
	}
	return err
}

// draft hands the table to the store. The caller holds mu.
func (c *Cluster) draft() (turn uint64) {
	c.mu.turn++
	c.store.put(c.mu.table.conf(), c.mu.turn)
	return c.mu.turn
}

// show is publish for what others have told, which may be on disk a little later. The caller holds mu.
func (c *Cluster) show() {
	t := c.mu.table
	c.mu.unsaved = true
	c.view.Store(t.view())
	if me := t.me(); me.Version != c.mu.told {
		c.mu.told = me.Version
		c.announce(gossip.News{Subject: me.ID, Version: me.Version, Holder: me.ID})
	}
}

// saveLate writes what show left, without holding mu while the disk works.
func (c *Cluster) saveLate() {
	c.mu.Lock()
	if !c.mu.unsaved {
		c.mu.Unlock()
		return
	}
	turn := c.draft()
	c.mu.unsaved = false
	c.mu.Unlock()
	if err := c.store.flush(turn); err != nil {
		c.log.Error("cluster: cannot save nodes.conf", "err", err)
		c.mu.Lock()
		c.mu.unsaved = true
		c.mu.Unlock()
	}
}

func (c *Cluster) announce(n gossip.News) {
	if g := c.gossip.Load(); g != nil {
		g.Announce(n)
	}
}

func (c *Cluster) startGossip() error {
	c.life.Lock()
	defer c.life.Unlock()
	if c.withdrawn.Load() || c.gossip.Load() != nil {
		return nil
	}
	view := c.View()
	c.mu.Lock()
	timeout, version := c.mu.table.set.NodeTimeout, c.mu.table.me().Version
	c.mu.Unlock()
	g, err := gossip.Start(gossip.Options{
		ID: view.self.ID, Bus: c.bus, NodeTimeout: timeout,
		Resolve: c.resolve, State: c.encodeState, Merge: c.mergeBytes,
		Answered: c.answered, News: c.news, Logger: c.log,
	})
	if err != nil {
		return fmt.Errorf("gossip: %w", err)
	}
	g.Announce(gossip.News{Subject: view.self.ID, Version: version, Holder: view.self.ID})
	c.gossip.Store(g)
	return nil
}

func (c *Cluster) stopGossip() {
	c.life.Lock()
	defer c.life.Unlock()
	if g := c.gossip.Swap(nil); g != nil {
		_ = g.Close()
	}
}

// spawn runs fn until the cluster is closed. The caller holds mu, so that nothing starts while Close waits.
func (c *Cluster) spawn(fn func()) {
	if c.ctx.Err() == nil {
		c.wg.Go(fn)
	}
}

// resolve answers from the view, so it may be called under any lock.
func (c *Cluster) resolve(id slotmap.NodeID) (string, bool) {
	n := c.View().Node(id)
	if n == nil || n.IP == "" {
		return "", false
	}
	return n.BusAddr(), true
}

func (c *Cluster) answered(id slotmap.NodeID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.mu.table.peers[id]; p != nil {
		p.lastAnswer = now()
	}
}

func (c *Cluster) encodeState() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return appendState(nil, c.mu.table.state())
}

// ownState is what this node tells those who are not in its table.
func (c *Cluster) ownState() *state {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.mu.table
	return &state{Sender: t.self, CurrentEpoch: t.currentEpoch, Records: []record{t.me().record}}
}

func (c *Cluster) mergeBytes(b []byte) {
	s, err := decodeState(b)
	if err != nil {
		c.log.Debug("cluster: malformed state in the gossip", "err", err)
		return
	}
	c.merge(s, false)
}

// merge takes in a peer's state and passes on what is new.
func (c *Cluster) merge(s *state, met bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.mu.table
	wasStored := t.peers[s.Sender] != nil && t.peers[s.Sender].stored
	epoch, known := t.me().Epoch, len(t.peers)
	news := t.merge(s, met, now())
	if len(news) == 0 && !wasStored {
		return
	}
	t.judge(now())
	// New members are on disk before they are shown, too: a node that forgot them in a crash would be alone for good.
	if t.me().Epoch != epoch || len(t.peers) != known {
		_ = c.publish()
	} else {
		c.show()
	}
	for _, id := range news {
		if p := t.peers[id]; p != nil && id != t.self {
			c.announce(gossip.News{Subject: id, Version: p.Version, Holder: t.self})
		}
	}
}

// run lets time pass until the cluster is closed.
func (c *Cluster) run() {
	const pace = 100 * time.Millisecond // Redis clusterCron
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			c.noteOffset(now())
			c.tick()
			c.saveLate()
		case <-c.ctx.Done():
			return
		}
	}
}

func (c *Cluster) tick() {
	g := c.gossip.Load()
	if g == nil {
		return
	}
	alive, silence := g.Alive(), g.Silence().Milliseconds()
	c.mu.Lock()
	defer c.mu.Unlock()
	t, at := c.mu.table, now()
	for id, p := range t.peers {
		switch {
		case alive[id] && !p.answers && !p.refuses:
			t.answered(id, at)
			c.bus.Leave()
		case !alive[id] && p.answers:
			t.silent(id, at-silence)
		}
	}
	if changed := t.tick(at); changed || t.me().Version != c.mu.told {
		c.show()
	}
	c.keepContact(at)
	c.tend(at)
	c.endDeciding()
}

// Configure changes the settings.
func (c *Cluster) Configure(s Settings) error {
	if s.NodeTimeout == 0 {
		s.NodeTimeout = defaultNodeTimeout
	}
	c.mu.Lock()
	probes := c.mu.table.set.NodeTimeout != s.NodeTimeout
	c.mu.table.set = s
	c.mu.table.boot = c.boot(&s)
	c.announceAs(c.mu.table)
	c.mu.table.judge(now())
	err := c.publish()
	c.mu.Unlock()
	if probes {
		c.stopGossip()
		err = c.startGossip()
	}
	return err
}

// StopWaiting has changes that commands wait for, and further ones, fail at once when they can't be made: the node is about to stop. Whether those
// under way are made is unknown then.
func (c *Cluster) StopWaiting() { c.impatient() }

// Patience ends when commands must wait no longer.
func (c *Cluster) Patience() context.Context { return c.patient }

// Close leaves the bus. Idempotent.
func (c *Cluster) Close() error {
	c.mu.Lock()
	closed := c.ctx.Err() != nil
	c.cancel()
	c.mu.Unlock()
	if closed {
		return nil
	}
	c.stopGossip()
	err := errors.Join(c.closeGroup(), c.bus.Close())
	c.wg.Wait()
	c.saveLate()
	return errors.Join(err, c.store.close())
}

// BusPort is the port of the bus.
func (c *Cluster) BusPort() int { return c.bus.Port() }

func joinAddr(ip string, port int) string { return net.JoinHostPort(ip, strconv.Itoa(port)) }
