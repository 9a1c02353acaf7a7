package command

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/cairndb/cairn/cluster"
	"github.com/cairndb/cairn/cluster/epoch"
	"github.com/cairndb/cairn/cluster/slotmap"
	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/engine/types"
)

// changed answers a change.
func (c *Ctx) changed(err error) {
	if err != nil {
		c.Out.Error(changeError(err))
		return
	}
	c.Out.OK()
}

// changeError is the text for a change that was not made, or may not have been.
func changeError(err error) string {
	var again cluster.TryAgain
	var refused *epoch.Refused
	switch {
	case errors.As(err, &again):
		return "TRYAGAIN " + err.Error()
	case errors.As(err, &refused):
		return refusalError(refused.Outcome)
	case errors.Is(err, epoch.ErrUnreached):
		return "ERR Nothing was changed: this node doesn't reach the leader of the cluster's group. A majority of its voters must be up (see CLUSTER INFO)"
	case errors.Is(err, epoch.ErrUnknown):
		return "ERR The cluster's group didn't answer in time. The change may be made yet: look at CLUSTER NODES before you try again"
	case errors.Is(err, epoch.ErrClosed), errors.Is(err, context.Canceled):
		return "ERR This node is leaving its cluster, or stops"
	}
	return "ERR " + err.Error()
}

// refusalError says why the cluster's group decided against a change.
func refusalError(o epoch.Outcome) string {
	switch o {
	case epoch.Stale:
		return "TRYAGAIN The cluster has changed meanwhile"
	case epoch.NotFormed:
		return "TRYAGAIN The nodes have not formed their group yet"
	case epoch.Unknown:
		return "ERR The cluster's group knows no such node or shard"
	case epoch.Owned:
		return "ERR Another node has the slots and has not given them up, or the node still has slots or replicas"
	case epoch.NotInSync:
		return "ERR The replica may lack writes that were acknowledged"
	}
	return "ERR The cluster's group refused: " + o.String()
}

// slot parses args[i], or answers that it is no slot.
func (c *Ctx) slot(i int) (uint16, bool) {
	n, ok := types.ParseInt(c.Args[i])
	if !ok || n < 0 || n >= slotmap.Slots {
		c.Out.Error("ERR Invalid or out of range slot")
		return 0, false
	}
	return uint16(n), true
}

// slotPicker gathers the slots of ADDSLOTS and DELSLOTS and checks them as Redis does, in the order of the arguments.
type slotPicker struct {
	c     *Ctx
	view  *cluster.View
	owned bool // the slots must have an owner, or none
	set   slotmap.Set
}

func (p *slotPicker) add(first, last uint16) bool {
	for s := int(first); s <= int(last); s++ {
		slot := uint16(s)
		switch hasOwner := p.view.Owner(slot) != nil; {
		case p.owned && !hasOwner:
			p.c.Out.Error(fmt.Sprintf("ERR Slot %d is already unassigned", s))
			return false
		case !p.owned && hasOwner:
			p.c.Out.Error(fmt.Sprintf("ERR Slot %d is already busy", s))
			return false
		case p.set.Has(slot):
			p.c.Out.Error(fmt.Sprintf("ERR Slot %d specified multiple times", s))
			return false
		}
		p.set.Add(slot)
	}
	return true
}

func (c *Ctx) pickSlots(owned bool, change func(*slotmap.Set) error) {
	p := slotPicker{c: c, view: c.Node.View(), owned: owned}
	for i := 2; i < len(c.Args); i++ {
		if _, ok := c.slot(i); !ok {
			return
		}
	}
	for i := 2; i < len(c.Args); i++ {
		if slot, _ := c.slot(i); !p.add(slot, slot) {
			return
		}
	}
	c.changing(func() error { return change(&p.set) })
}

func (c *Ctx) pickRanges(owned bool, change func(*slotmap.Set) error) {
	if len(c.Args)%2 != 0 {
		c.Out.Error("ERR wrong number of arguments for '" + c.Cmd.Name + "' command")
		return
	}
	p := slotPicker{c: c, view: c.Node.View(), owned: owned}
	for i := 2; i < len(c.Args); i += 2 {
		first, ok := c.slot(i)
		if !ok {
			return
		}
		last, ok := c.slot(i + 1)
		if !ok {
			return
		}
		if first > last {
			c.Out.Error(fmt.Sprintf("ERR start slot number %d is greater than end slot number %d", first, last))
			return
		}
		if !p.add(first, last) {
			return
		}
	}
	c.changing(func() error { return change(&p.set) })
}

func clusterAddSlots(c *Ctx)      { c.pickSlots(false, c.Node.Cluster.AddSlots) }
func clusterAddSlotsRange(c *Ctx) { c.pickRanges(false, c.Node.Cluster.AddSlots) }
func clusterDelSlots(c *Ctx)      { c.pickSlots(true, c.delSlots()) }
func clusterDelSlotsRange(c *Ctx) { c.pickRanges(true, c.delSlots()) }

func (c *Ctx) delSlots() func(*slotmap.Set) error {
	cl, inExec := c.Node.Cluster, c.Txn != nil
	return func(set *slotmap.Set) error { return cl.DelSlots(set, inExec) }
}

func clusterFlushSlots(c *Ctx) {
	n, holding := c.Node, c.countingKeys(nil)
	c.changing(func() error { return n.Cluster.FlushSlots(holding) })
}

func (c *Ctx) holdsKeys() bool { return c.Node.Store.DBCounts(c.Node.Store.DB(0)).Keys > 0 }

func clusterSetSlot(c *Ctx) {
	slot, ok := c.slot(2)
	if !ok {
		return
	}
	node := ""
	if len(c.Args) == 5 {
		node = string(c.Args[4])
	}
	c.Node.Migrations.drains.forget(slot)
	defer c.Node.Migrations.drains.forget(slot)
	switch n := len(c.Args); {
	case c.Node.Moving(slot) && !c.is(3, "stable"):
		c.Out.Error(fmt.Sprintf("ERR Slot %d is part of a migration by CLUSTER MIGRATESLOTS", slot))
	case n == 5 && c.is(3, "migrating"):
		c.changed(c.Node.Cluster.Migrate(slot, node))
	case n == 5 && c.is(3, "importing"):
		c.importSlot(slot, node)
	case n == 4 && c.is(3, "stable"):
		c.changed(c.Node.Cluster.Stable(slot))
	case n == 5 && c.is(3, "node"):
		c.assignSlot(slot, node)
	default:
		c.Out.Error("ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP")
	}
}

// importSlot is SETSLOT IMPORTING. What is left of a slot that was handed over, here or elsewhere, goes first.
func (c *Ctx) importSlot(slot uint16, from string) {
	cl := c.Node.Cluster
	if !cl.LeftAnywhere(slot) {
		c.changed(cl.Import(slot, from))
		return
	}
	c.changing(func() error {
		cl.AwaitDropped(slot)
		return cl.Import(slot, from)
	})
}

// assignSlot is SETSLOT NODE.
func (c *Ctx) assignSlot(slot uint16, node string) {
	n, holding := c.Node, c.countingKeys(&slot)
	c.changing(func() error {
		defer n.Migrations.drains.forget(slot)
		return n.Cluster.Assign(slot, node, holding)
	})
}

// countingKeys returns what runs a function with the number of keys in the slot, or in database 0 if it is nil, while no command touches
// them, so that the number is still true when the function has changed who owns them. It doesn't touch c.
func (c *Ctx) countingKeys(slot *uint16) func(func(keys int64) error) error {
	n := c.Node
	return func(fn func(int64) error) error {
		n.Enter()
		defer n.Leave()
		txn := n.Store.NewTxn()
		defer txn.Discard()
		if slot != nil {
			txn.Lock([]uint16{*slot}, true)
		} else {
			txn.LockWorld()
		}
		return n.countKeys(slot, fn)
	}
}

func (n *Node) countKeys(slot *uint16, fn func(keys int64) error) error {
	if slot == nil {
		return fn(n.Store.DBCounts(n.Store.DB(0)).Keys)
	}
	left, err := n.keysLeft(*slot)
	if err != nil {
		return err
	}
	return fn(left)
}

// keysLeft is how many keys the slot has, 0 when all are expired, though some may still wait for their removal.
func (n *Node) keysLeft(slot uint16) (int64, error) {
	count := n.Store.SlotCounts(slot).Keys
	if count == 0 {
		return 0, nil
	}
	live, err := n.Store.KeysInSlot(slot, 1)
	return min(count, int64(len(live))), err
}

// holding runs fn while no command touches any key, so that what fn sees of the keys is still true when it has changed who owns them.
func (c *Ctx) holding(fn func()) {
	txn := c.Node.Store.NewTxn()
	defer txn.Discard()
	txn.LockWorld()
	fn()
}

func clusterBumpEpoch(c *Ctx) {
	epoch, changed, err := c.Node.Cluster.Bump()
	switch {
	case err != nil:
		c.Out.Error("ERR " + err.Error())
	case changed:
		c.Out.Simple(fmt.Sprintf("BUMPED %d", epoch))
	default:
		c.Out.Simple(fmt.Sprintf("STILL %d", epoch))
	}
}

func clusterSetConfigEpoch(c *Ctx) {
	epoch, ok := c.int(2)
	if !ok {
		return
	}
	if epoch < 0 {
		c.Out.Error(fmt.Sprintf("ERR Invalid config epoch specified: %d", epoch))
		return
	}
	c.changed(c.Node.Cluster.SetEpoch(uint64(epoch)))
}

func clusterMeet(c *Ctx) {
	if len(c.Args) > 5 {
		c.unknownSubcommand()
		return
	}
	ports := [2]int64{}
	for i, what := range []string{"base", "bus"} {
		if 3+i >= len(c.Args) {
			ports[1] = ports[0] + 10000
			break
		}
		n, ok := types.ParseInt(c.Args[3+i])
		if !ok {
			c.Out.Error(fmt.Sprintf("ERR Invalid TCP %s port specified: %s", what, c.Args[3+i]))
			return
		}
		ports[i] = n
	}
	ip := string(c.Args[2])
	if net.ParseIP(ip) == nil || !isPort(ports[0]) || !isPort(ports[1]) {
		c.Out.Error(fmt.Sprintf("ERR Invalid node address specified: %s:%s", ip, c.Args[3]))
		return
	}
	c.Node.Cluster.Meet(ip, int(ports[0]), int(ports[1]))
	c.Out.OK()
}

func isPort(n int64) bool { return n > 0 && n <= 65535 }

// unknownSubcommand answers as Redis does for arguments that fit no form of a subcommand.
func (c *Ctx) unknownSubcommand() {
	c.Out.Error(fmt.Sprintf("ERR unknown subcommand or wrong number of arguments for '%s'. Try CLUSTER HELP.", c.Args[1]))
}

func clusterForget(c *Ctx) {
	id, cl := string(c.Args[2]), c.Node.Cluster
	c.changing(func() error { return cl.Forget(id) })
}

func clusterReset(c *Ctx) {
	hard := false
	switch {
	case len(c.Args) > 3:
		c.unknownSubcommand()
		return
	case len(c.Args) == 3 && c.is(2, "hard"):
		hard = true
	case len(c.Args) == 3 && !c.is(2, "soft"):
		c.syntaxError()
		return
	}
	cl, node := c.Node.Cluster, c.Node
	if replica := node.View().Self().Primary != ""; replica || cl.Formed() && !c.holdsKeys() {
		c.changing(func() error {
			err := cl.Reset(hard)
			if err == nil && replica {
				err = node.empty()
			}
			return err
		})
		return
	}
	c.holding(func() {
		if c.holdsKeys() {
			c.Out.Error("ERR CLUSTER RESET can't be called with master nodes containing keys")
			return
		}
		c.changed(c.Node.Cluster.Reset(hard))
	})
}

func clusterSaveConfig(c *Ctx) { c.changed(c.Node.Cluster.Save()) }

// known finds the node that args[i] names, or answers that there is none.
func (c *Ctx) known(i int) *cluster.Node {
	n := c.Node.View().Node(slotmap.NodeID(c.Args[i]))
	if n == nil {
		c.Out.Error("ERR Unknown node " + string(c.Args[i]))
	}
	return n
}

func clusterReplicas(c *Ctx) {
	n := c.known(2)
	switch {
	case n == nil:
		return
	case n.Primary != "":
		c.Out.Error("ERR The specified node is not a master")
		return
	}
	var lines []string
	for _, r := range c.Node.Cluster.Nodes() {
		if r.Primary == n.ID {
			var b strings.Builder
			nodeLine(&b, r)
			lines = append(lines, b.String())
		}
	}
	c.Out.Array(len(lines))
	for _, line := range lines {
		c.Out.BulkString(line)
	}
}

func clusterReplicate(c *Ctx) {
	if c.refusedInExec() {
		return
	}
	n := c.known(2)
	switch {
	case n == nil:
		return
	case n.Myself:
		c.Out.Error("ERR Can't replicate myself")
		return
	case c.Node.View().Self().Primary == "" && c.holdsKeys():
		c.Out.Error("ERR To set a master the node must be empty and without assigned slots.")
		return
	}
	cl := c.Node.Cluster
	c.changing(func() error { return cl.Replicate(string(n.ID)) })
}

func clusterFailover(c *Ctx) {
	if c.refusedInExec() {
		return
	}
	if len(c.Args) > 3 {
		c.unknownSubcommand()
		return
	}
	mode := cluster.FailoverManual
	if len(c.Args) == 3 {
		switch {
		case c.is(2, "force"):
			mode = cluster.FailoverForce
		case c.is(2, "takeover"):
			mode = cluster.FailoverTakeover
		default:
			c.syntaxError()
			return
		}
	}
	cl := c.Node.Cluster
	c.changing(func() error { return cl.Failover(mode) })
}

// clusterRecover is CLUSTER RECOVER.
func clusterRecover(c *Ctx) {
	if c.refusedInExec() {
		return
	}
	cl := c.Node.Cluster
	c.changing(cl.Recover)
}

func clusterFailureReports(c *Ctx) {
	n, ok := c.Node.Cluster.FailureReports(string(c.Args[2]))
	if !ok {
		c.Out.Error("ERR Unknown node " + string(c.Args[2]))
		return
	}
	c.Out.Int(int64(n))
}

func clusterKeySlot(c *Ctx) { c.Out.Int(int64(keys.Slot(c.Args[2]))) }

func clusterCountKeys(c *Ctx) {
	slot, ok := c.int(2)
	if !ok {
		return
	}
	if slot < 0 || slot >= slotmap.Slots {
		c.Out.Error("ERR Invalid slot")
		return
	}
	c.Out.Int(c.Node.KeysServed(uint16(slot)))
}

func clusterGetKeys(c *Ctx) {
	slot, ok := c.int(2)
	if !ok {
		return
	}
	limit, ok := c.int(3)
	if !ok {
		return
	}
	if slot < 0 || slot >= slotmap.Slots || limit < 0 {
		c.Out.Error("ERR Invalid slot or number of keys")
		return
	}
	limit = min(limit, c.Node.KeysServed(uint16(slot)))
	names, err := c.keysInSlot(uint16(slot), int(limit))
	if err != nil {
		c.Fail(err)
		return
	}
	c.Out.Array(len(names))
	for _, name := range names {
		c.Out.Bulk(name)
	}
}

func clusterMyID(c *Ctx)      { c.Out.BulkString(string(c.Node.View().Self().ID)) }
func clusterMyShardID(c *Ctx) { c.Out.BulkString(string(c.Node.View().Self().ShardID)) }

func clusterInfo(c *Ctx) {
	var b strings.Builder
	field := func(name string, value any) { fmt.Fprintf(&b, "%s:%v\r\n", name, value) }
	view := c.Node.View()
	var size, suspected, failed int
	for _, n := range view.Nodes() {
		held := 0
		for _, r := range n.Slots {
			held += r.Len()
		}
		if held > 0 {
			size++
		}
		if n.Fail {
			failed += held
		} else if n.Suspected {
			suspected += held
		}
	}
	state := "fail"
	if self := view.Self(); view.Up() && (len(self.Slots) == 0 || c.Node.Serving()) {
		state = "ok"
	}
	sent, received := c.Node.Cluster.Traffic()
	field("cluster_state", state)
	field("cluster_slots_assigned", view.Assigned())
	field("cluster_slots_ok", view.Assigned()-suspected-failed)
	field("cluster_slots_pfail", suspected)
	field("cluster_slots_fail", failed)
	field("cluster_known_nodes", len(view.Nodes()))
	field("cluster_size", size)
	field("cluster_current_epoch", view.CurrentEpoch())
	field("cluster_my_epoch", view.Self().Epoch)
	field("cluster_stats_messages_sent", sent)
	field("cluster_stats_messages_received", received)
	field("total_cluster_links_buffer_limit_exceeded", 0)
	c.Node.groupInfo(field)
	c.Out.Verbatim("txt", b.String())
}

func clusterNodes(c *Ctx) {
	var b strings.Builder
	for _, n := range c.Node.Cluster.Nodes() {
		nodeLine(&b, n)
		if n.Myself {
			for _, mark := range c.Node.Cluster.Marks() {
				b.WriteString(" " + mark)
			}
		}
		b.WriteByte('\n')
	}
	c.Out.Verbatim("txt", b.String())
}

func nodeLine(b *strings.Builder, n *cluster.Node) {
	fmt.Fprintf(b, "%s %s:%d@%d", n.ID, n.IP, n.Port, n.BusPort)
	if n.Hostname != "" {
		b.WriteString("," + n.Hostname)
	}
	link := "connected"
	if !n.Connected {
		link = "disconnected"
	}
	primary := "-"
	if n.Primary != "" {
		primary = string(n.Primary)
	}
	fmt.Fprintf(b, " %s %s %d %d %d %s", n.Flags(), primary, n.PingSent, n.PongReceived, n.Epoch, link)
	for _, r := range n.Slots {
		b.WriteString(" " + r.String())
	}
}

func clusterSlots(c *Ctx) {
	type part struct {
		slots slotmap.Range
		node  *cluster.Node
	}
	var parts []part
	view := c.Node.View()
	for slot := 0; slot < slotmap.Slots; slot++ {
		owner := view.Owner(uint16(slot))
		if n := len(parts); n > 0 && owner == parts[n-1].node && int(parts[n-1].slots.Last) == slot-1 {
			parts[n-1].slots.Last = uint16(slot)
		} else if owner != nil {
			parts = append(parts, part{slotmap.Range{First: uint16(slot), Last: uint16(slot)}, owner})
		}
	}
	c.Out.Array(len(parts))
	for _, p := range parts {
		replicas := view.Replicas(p.node.ID)
		replicas = slices.DeleteFunc(replicas, func(n *cluster.Node) bool { return n.Fail || c.offset(n) == 0 }) // it has no data yet (Redis: isReplicaAvailable)
		c.Out.Array(3 + len(replicas))
		c.Out.Int(int64(p.slots.First))
		c.Out.Int(int64(p.slots.Last))
		c.slotsNode(p.node)
		for _, r := range replicas {
			c.slotsNode(r)
		}
	}
}

// slotsNode is a node as CLUSTER SLOTS shows it: what is preferred to connect to, then what else is known.
func (c *Ctx) slotsNode(n *cluster.Node) {
	preferred := c.Node.Config.ClusterPreferredEndpointType()
	c.Out.Array(4)
	if preferred == "unknown-endpoint" {
		c.Out.Null()
	} else {
		c.Out.BulkString(n.Host)
	}
	c.Out.Int(int64(n.Port))
	c.Out.BulkString(string(n.ID))
	var more [][2]string
	if preferred != "ip" {
		more = append(more, [2]string{"ip", n.IP})
	}
	if preferred != "hostname" && n.Hostname != "" {
		more = append(more, [2]string{"hostname", n.Hostname})
	}
	c.Out.Map(len(more))
	for _, pair := range more {
		c.Out.BulkString(pair[0])
		c.Out.BulkString(pair[1])
	}
}

func clusterShards(c *Ctx) {
	view := c.Node.View()
	var primaries []*cluster.Node
	for _, n := range view.Nodes() {
		if n.Primary == "" || view.Node(n.Primary) == nil {
			primaries = append(primaries, n)
		}
	}
	c.Out.Array(len(primaries))
	for _, n := range primaries {
		c.Out.Map(2)
		c.Out.BulkString("slots")
		c.Out.Array(2 * len(n.Slots))
		for _, r := range n.Slots {
			c.Out.Int(int64(r.First))
			c.Out.Int(int64(r.Last))
		}
		c.Out.BulkString("nodes")
		replicas := view.Replicas(n.ID)
		c.Out.Array(1 + len(replicas))
		c.shardNode(n)
		for _, r := range replicas {
			c.shardNode(r)
		}
	}
}

func (c *Ctx) shardNode(n *cluster.Node) {
	fields := 7
	if n.Hostname != "" {
		fields++
	}
	c.Out.Map(fields)
	text := func(name, value string) {
		c.Out.BulkString(name)
		c.Out.BulkString(value)
	}
	number := func(name string, value uint64) {
		c.Out.BulkString(name)
		c.Out.Int(int64(value))
	}
	text("id", string(n.ID))
	number("port", uint64(n.Port))
	text("ip", n.IP)
	text("endpoint", n.Host)
	if n.Hostname != "" {
		text("hostname", n.Hostname)
	}
	role := "master"
	if n.Primary != "" {
		role = "replica"
	}
	text("role", role)
	number("replication-offset", c.offset(n))
	health := "online"
	switch {
	case n.Fail:
		health = "fail"
	case n.Primary != "" && c.offset(n) == 0:
		health = "loading"
	}
	text("health", health)
}

// offset is a node's replication offset, as far as this node knows it.
func (c *Ctx) offset(n *cluster.Node) uint64 {
	if n.Myself {
		return c.Node.Store.Stable()
	}
	return n.Offset
}

func clusterLinks(c *Ctx) {
	var peers []*cluster.Node
	for _, n := range c.Node.Cluster.Nodes() {
		if !n.Myself && n.Connected {
			peers = append(peers, n)
		}
	}
	c.Out.Array(2 * len(peers))
	for _, n := range peers {
		c.link("to", n)
		c.link("from", n)
	}
}

// link shows a peer's traffic in one direction. The gossip goes over UDP and short
// connections, so nothing waits in a buffer.
func (c *Ctx) link(direction string, n *cluster.Node) {
	c.Out.Map(6)
	for _, pair := range [][2]string{{"direction", direction}, {"node", string(n.ID)}} {
		c.Out.BulkString(pair[0])
		c.Out.BulkString(pair[1])
	}
	c.Out.BulkString("create-time")
	c.Out.Int(n.Created)
	c.Out.BulkString("events")
	c.Out.BulkString("r")
	for _, name := range []string{"send-buffer-allocated", "send-buffer-used"} {
		c.Out.BulkString(name)
		c.Out.Int(0)
	}
}

func clusterHelp(c *Ctx) {
	c.help("CLUSTER",
		"ADDSLOTS <slot> [<slot> ...]",
		"    Claim slots for this node.",
		"ADDSLOTSRANGE <start slot> <end slot> [<start slot> <end slot> ...]",
		"    Claim ranges of slots for this node.",
		"BUMPEPOCH",
		"    Give this node the greatest config epoch.",
		"CANCELSLOTMIGRATIONS",
		"    Cancel all migrations of slots from this node.",
		"COUNT-FAILURE-REPORTS <node-id>",
		"    Count the nodes that report <node-id> as failing.",
		"COUNTKEYSINSLOT <slot>",
		"    Count this node's keys in <slot>.",
		"DELSLOTS <slot> [<slot> ...]",
		"    Give up slots.",
		"DELSLOTSRANGE <start slot> <end slot> [<start slot> <end slot> ...]",
		"    Give up ranges of slots.",
		"FAILOVER [FORCE|TAKEOVER]",
		"    Make this replica its shard's primary: without loss, without asking the primary, or without a majority of the voters.",
		"FLUSHSLOTS",
		"    Give up all slots of this node.",
		"FORGET <node-id>",
		"    Remove a node from the table.",
		"GETKEYSINSLOT <slot> <count>",
		"    List up to <count> of this node's keys in <slot>.",
		"GETSLOTMIGRATIONS",
		"    List the migrations of slots from and to this node.",
		"INFO",
		"    Describe the state of the cluster.",
		"KEYSLOT <key>",
		"    Tell the slot of <key>.",
		"LINKS",
		"    List the connections to and from the other nodes.",
		"MEET <ip> <port> [<bus-port>]",
		"    Make this node and another one members of one cluster.",
		"MIGRATESLOTS SLOTSRANGE <start slot> <end slot> [<start slot> <end slot> ...] NODE <node-id> [SLOTSRANGE ... NODE <node-id> ...]",
		"    Move slots of this node, with their keys, to other nodes while they are used.",
		"MYID",
		"    Tell this node's ID.",
		"MYSHARDID",
		"    Tell the ID of this node's shard.",
		"NODES",
		"    List the nodes: <id> <ip:port@bus-port[,hostname]> <flags> <primary> <ping> <pong> <epoch> <link> <slot> ...",
		"REPLICAS <node-id>",
		"    List the replicas of <node-id>.",
		"REPLICATE <node-id>",
		"    Make this node a replica of <node-id>.",
		"RESET [HARD|SOFT]",
		"    Leave the cluster (default: soft).",
		"SAVECONFIG",
		"    Write nodes.conf.",
		"SET-CONFIG-EPOCH <epoch>",
		"    Set the config epoch of a new node.",
		"SETSLOT <slot> (IMPORTING <node-id>|MIGRATING <node-id>|STABLE|NODE <node-id>)",
		"    Mark a slot as on its way, or give it to a node.",
		"SHARDS",
		"    List the shards with their slots and nodes.",
		"SLOT-STATS (SLOTSRANGE <start slot> <end slot>|ORDERBY <metric> [LIMIT <limit>] [ASC|DESC])",
		"    Tell how much is in each slot of this node's shard, and how long its commands took.",
		"SLOTS",
		"    List the ranges of slots with their nodes.",
	)
}
