package command

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cairndb/cairn/replication"
)

func infoReplication(n *Node, w *infoWriter) {
	st := n.Replication.Status()
	w.field("role", n.roleName())
	if st.Link != nil {
		infoLink(n, w, &st)
	}
	w.field("connected_slaves", len(st.Replicas))
	if min, lag := n.Config.MinReplicas(); min > 0 && lag > 0 {
		w.field("min_slaves_good_slaves", n.Replication.GoodReplicas(lag))
	}
	for i, r := range st.Replicas {
		w.field("slave"+strconv.Itoa(i), fmt.Sprintf("ip=%s,port=%d,state=%s,offset=%d,lag=%d", r.Address, r.Port, r.State, r.Written, r.Lag/time.Second))
	}
	w.field("master_failover_state", "no-failover")
	id, second, previous := st.ID, int64(-1), strings.Repeat("0", 40)
	if id == "" {
		id = n.RunID
	}
	if st.PreviousID != "" {
		previous, second = st.PreviousID, int64(st.SecondOffset)
	}
	w.field("master_replid", id)
	w.field("master_replid2", previous)
	w.field("master_repl_offset", st.Offset)
	w.field("second_repl_offset", second)
	// The log is the backlog: a replica can go on from anywhere in it.
	w.flag("repl_backlog_active", true)
	w.field("repl_backlog_size", n.Config.ReplBacklogSize())
	w.field("repl_backlog_first_byte_offset", st.BacklogStart)
	w.field("repl_backlog_histlen", st.Offset-st.BacklogStart)
}

func infoLink(n *Node, w *infoWriter, st *replication.Status) {
	l := st.Link
	w.field("master_host", l.Host)
	w.field("master_port", l.Port)
	status := "down"
	if l.Up && n.View().Synced() { // only then reads are served, too
		status = "up"
	}
	w.field("master_link_status", status)
	lastIO := int64(-1)
	if l.Up {
		lastIO = int64(l.LastIO / time.Second)
	}
	w.field("master_last_io_seconds_ago", lastIO)
	w.flag("master_sync_in_progress", l.Syncing)
	w.field("slave_read_repl_offset", st.Offset)
	w.field("slave_repl_offset", st.Offset)
	if l.Syncing {
		done := l.SyncDone + l.SyncReuse
		w.field("master_sync_total_bytes", l.SyncTotal)
		w.field("master_sync_read_bytes", done)
		w.field("master_sync_left_bytes", l.SyncTotal-done)
		w.ratio("master_sync_perc", 100*float64(done)/float64(max(l.SyncTotal, 1)))
		w.field("master_sync_last_io_seconds_ago", int64(l.LastIO/time.Second))
	}
	if !l.Up {
		w.field("master_link_down_since_seconds", int64(l.Down/time.Second))
	}
	w.field("slave_priority", n.Config.ReplicaPriority())
	w.flag("slave_read_only", true)
	w.flag("replica_announced", n.Config.ReplicaAnnounced())
}

func infoSyncs(n *Node, w *infoWriter) {
	st := n.Replication.Status()
	w.field("sync_full", st.FullSyncs)
	w.field("sync_partial_ok", st.PartialOK)
	w.field("sync_partial_err", st.PartialErr)
}

// engineReplication shows what became of logs that had parted from their primary's; Redis has no names for it.
func engineReplication(n *Node, w *infoWriter) {
	st := n.Replication.Status()
	w.field("replication_slot_syncs", st.SlotSyncs)
	w.field("replication_slot_repairs", st.SlotRepairs)
	w.field("replication_log_rewinds", st.Rewinds)
}
