package command

import (
	"context"
	"time"

	"github.com/cairndb/cairn/cluster/migrate"
	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/replication"
)

// Moving slots (CLUSTER MIGRATESLOTS) is cluster/migrate's; here is what it needs of the node.

// startMoves has the node give and take slots, and look after what an earlier process has left behind.
func (n *Node) startMoves() {
	n.Moves = migrate.New(migrate.Options{
		Self: n.Cluster.View().Self().ID, Cluster: n.Cluster, Store: n.CurrentStore, Reign: n.Replication.Reign,
		WaitHeld: n.waitHeld, Busy: n.Migrations.Claims.Any, Bandwidth: n.Config.SlotMigrationMaxBandwidth, Logger: n.Logger,
	})
	n.Cluster.HandleMoves(n.Moves.Serve)
}

const (
	// closeBehind is how old the last acknowledgement of a replica may be that is waited for although replication-acks does not ask for it, and
	// followPatience for how long.
	closeBehind    = 2 * time.Second
	followPatience = 100 * time.Millisecond
)

// waitHeld returns when the log up to an offset is safe here, and on the replicas that replication-acks asks for. Those that follow closely are
// given a moment in any case: a slot should survive a failover that comes just after its move.
func (n *Node) waitHeld(ctx context.Context, off engine.Offset) error {
	store := n.CurrentStore()
	if _, err := store.FlushLog(); err != nil {
		return err
	}
	if err := store.WaitStable(ctx, off); err != nil {
		return err
	}
	if n.Replication.NeedsAcks() {
		return n.Replication.WaitAcked(ctx, off)
	}
	replicas := 0
	for _, r := range n.Replication.Status().Replicas {
		if r.State == replication.Online && r.Lag < closeBehind {
			replicas++
		}
	}
	ctx, cancel := context.WithTimeout(ctx, followPatience)
	defer cancel()
	_, _ = n.Replication.Acks().Wait(ctx, off, replicas, replication.Written)
	return nil
}

// Held says whether commands for any of the slots, or for all of them, have to wait, since it is just being decided who serves them. wait is
// closed when it is worth looking again; nil: they are told to try again. The caller has the slots' locks.
func (n *Node) Held(slots []uint16, world bool) (wait <-chan struct{}, held bool) {
	m := n.Moves
	if m == nil {
		return nil, false
	}
	if m.Holds.Any() {
		if world {
			return m.Holds.OnAny()
		}
		for _, slot := range slots {
			if wait, held := m.Holds.On(slot); held {
				return wait, true
			}
		}
	}
	for _, slot := range slots {
		if n.Store.IsImporting(slot) {
			return nil, true
		}
	}
	return nil, false
}

// Arriving returns what commands for a slot of another node wait for, since it is just being granted to this one; nil if it is not.
func (n *Node) Arriving(slot uint16) <-chan struct{} {
	if wait := n.Cluster.Arriving(slot); wait != nil || n.Moves == nil || !n.Moves.Holds.Any() {
		return wait
	}
	wait, _ := n.Moves.Holds.On(slot)
	return wait
}

// Moving says whether a slot is part of a migration.
func (n *Node) Moving(slot uint16) bool { return n.Moves != nil && n.Moves.Moving(slot) }

// KeysServed counts the keys of a slot, without what is left of one that was handed over.
func (n *Node) KeysServed(slot uint16) int64 {
	if n.View().Left(slot) {
		return 0
	}
	return n.Store.SlotCounts(slot).Keys
}

// leftSlots returns what says of a key whether it is of a slot that was handed over, and has yet to be dropped.
func (n *Node) leftSlots() func(name []byte) bool {
	left := n.View().Remains()
	return func(name []byte) bool { return left != nil && left.Has(keys.Slot(name)) }
}

// leftBehind counts, in a physical database, what this node has of slots that were handed over, and has yet to drop.
func (n *Node) leftBehind(db uint8) (sum engine.Counts) {
	left := n.View().Remains()
	if left == nil {
		return sum
	}
	for _, r := range left.Ranges() {
		for slot := int(r.First); slot <= int(r.Last); slot++ {
			c := n.Store.SlotDBCounts(uint16(slot), db)
			sum.Keys, sum.Expires, sum.Bytes = sum.Keys+c.Keys, sum.Expires+c.Expires, sum.Bytes+c.Bytes
		}
	}
	return sum
}

// moveInfo shows migrations in INFO cluster.
func (n *Node) moveInfo(field func(name string, value any)) {
	if n.Moves == nil {
		return
	}
	var exports, imports int
	var remaining int64
	for _, s := range n.Moves.Jobs() {
		switch {
		case s.State.Ended():
		case s.Export:
			exports++
			remaining += s.Remaining
		default:
			imports++
		}
	}
	toDrop := 0
	if left := n.View().Remains(); left != nil {
		toDrop = left.Len()
	}
	p := n.Moves.Pauses()
	field("cluster_slot_migration_exports", exports)
	field("cluster_slot_migration_imports", imports)
	field("cluster_slot_migration_remaining_bytes", remaining)
	field("cluster_slot_migration_slots_to_drop", toDrop)
	field("cluster_slot_migration_groups_moved", p.Groups)
	field("cluster_slot_migration_last_pause_usec", p.Last.Microseconds())
	field("cluster_slot_migration_max_pause_usec", p.Most.Microseconds())
}
