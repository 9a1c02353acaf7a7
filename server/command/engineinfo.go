package command

import (
	"fmt"

	"github.com/cairndb/cairn/engine"
)

// infoEngine is the section of INFO that Redis does not have: the log, the store beneath it, and how they fare.
func infoEngine(n *Node, w *infoWriter) {
	s := w.store
	w.flag("engine_failed", s.Failed)
	w.field("engine_writes_refused", s.ReadOnlyReason)
	w.field("engine_commits", s.Commits)
	w.field("engine_memory_budget", s.MemoryBudget)
	w.field("engine_disk_used", s.DiskUsage())
	w.field("engine_disk_available", s.DiskAvailable)
	w.field("engine_disk_total", s.DiskTotal)
	w.field("engine_corruptions", s.Corruptions)
	w.field("engine_corrupt_records", s.CorruptRecords)
	w.field("engine_background_errors", s.BackgroundErrors)
	w.field("engine_reclaimed_values", s.ReclaimedIDs)
	w.field("engine_reclaim_slots_pending", s.ReclaimQueue)
	engineRecovery(w, s)
	engineLog(w, s)
	engineReplication(n, w)
	engineCaches(w, s)
	engineLevels(w, s)
}

func engineRecovery(w *infoWriter, s *engine.Stats) {
	w.flag("recovery_clean", s.Recovery.Clean)
	w.field("recovery_log_from", s.Recovery.From)
	w.field("recovery_log_to", s.Recovery.To)
	w.field("recovery_records", s.Recovery.Records)
	w.field("recovery_msec", s.Recovery.Took.Milliseconds())
}

func engineLog(w *infoWriter, s *engine.Stats) {
	l := &s.Log
	w.field("log_start_offset", l.Start)
	w.field("log_end_offset", l.End)
	w.field("log_written_offset", l.Written)
	w.field("log_synced_offset", l.Synced)
	w.field("log_segments", l.Segments)
	w.field("log_disk_bytes", l.DiskBytes)
	w.field("log_records", l.Records)
	w.field("log_writes", l.Writes)
	w.field("log_syncs", l.Syncs)
	w.field("log_sync_usec", l.SyncTime.Microseconds())
	w.field("log_last_sync_usec", l.LastSync.Microseconds())
	w.field("log_max_sync_usec", l.MaxSync.Microseconds())
	w.flag("log_stalled", l.Stalled)
	w.flag("log_failed", l.Failed)
}

func engineCaches(w *infoWriter, s *engine.Stats) {
	w.field("record_cache_hits", s.RecordCacheHits)
	w.field("record_cache_misses", s.RecordCacheMisses)
	w.field("record_cache_records", s.RecordCacheRecords)
	w.field("record_cache_max_bytes", s.RecordCacheMax)
	w.field("record_cache_unsaved_bytes", s.UnsavedBytes)
	w.field("record_cache_drains", s.Drains)
	w.field("record_cache_drain_msec", s.DrainTime.Milliseconds())
	w.field("block_cache_hits", s.BlockCacheHits)
	w.field("block_cache_misses", s.BlockCacheMisses)
	w.field("block_cache_bytes", s.BlockCacheBytes)
	w.field("block_cache_max_bytes", s.BlockCacheMax)
	w.field("store_reads", s.StoreReads)
	w.field("store_reads_slow", s.StoreReadsSlow)
}

func engineLevels(w *infoWriter, s *engine.Stats) {
	w.field("store_bytes", s.StoreBytes)
	w.field("store_memtables", s.MemTables)
	w.field("store_memtable_bytes", s.MemTableBytes)
	w.field("store_l0_sublevels", s.L0Sublevels)
	for i := range s.LevelFiles {
		w.field(fmt.Sprintf("store_level%d", i), fmt.Sprintf("files=%d,bytes=%d", s.LevelFiles[i], s.LevelBytes[i]))
	}
	w.field("store_flushes", s.Flushes)
	w.field("store_flushed_bytes", s.BytesFlushed)
	w.field("store_compactions", s.Compactions)
	w.field("store_compactions_running", s.CompactionsNow)
	w.field("store_compacted_bytes", s.BytesCompacted)
	w.field("store_compaction_debt_bytes", s.CompactionDebt)
	w.flag("store_stalled", s.Stalled)
	w.field("store_stalls", s.Stalls)
	w.field("store_stall_msec", s.StallTime.Milliseconds())
}

// infoLog is the part of Persistence that Redis prints for an append-only file: here it is the log.
func infoLog(w *infoWriter) {
	w.field("aof_current_size", w.store.Log.End-w.store.Log.Start)
	w.zero("aof_base_size", "aof_pending_rewrite")
	w.field("aof_buffer_length", w.store.Log.Buffered)
	w.zero("aof_pending_bio_fsync")
	w.field("aof_delayed_fsync", w.store.Log.Delayed)
}
