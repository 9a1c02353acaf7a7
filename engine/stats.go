package engine

import (
	"time"

	wal "github.com/cairndb/cairn/engine/log"
)

// Stats is a snapshot for INFO. Sizes are bytes.
type Stats struct {
	Commits            uint64
	ExpiredKeys        uint64
	ExpiredFields      uint64 // of hashes
	ReclaimedIDs       uint64 // dead large values whose parts were removed
	ReclaimQueue       int    // slots that wait for it
	Corruptions        uint64 // store files found damaged
	CorruptRecords     uint64 // records that expiry or reclamation could not read and left alone
	BackgroundErrors   uint64
	Failed             bool
	ReadOnlyReason     string // why writes are refused, empty if they are not
	Recovery           Recovery
	MemoryBudget       int64
	Log                wal.Stats
	DiskAvailable      uint64
	DiskTotal          uint64
	StoreBytes         uint64 // Pebble's files
	RecordCacheHits    uint64
	RecordCacheMisses  uint64
	RecordCacheRecords uint64
	RecordCacheMax     uint64
	UnsavedBytes       int64  // of records that only the log and the record table hold
	Drains             uint64 // times that they were handed to Pebble
	DrainTime          time.Duration
	StoreReads         uint64 // reads that the record cache could not answer
	StoreReadsSlow     uint64 // of these, those that took longer than memory does
	BlockCacheHits     int64
	BlockCacheMisses   int64
	BlockCacheBytes    int64
	BlockCacheMax      int64
	MemTables          int64
	MemTableBytes      uint64
	L0Files            int64
	L0Sublevels        int32
	LevelFiles         [7]int64
	LevelBytes         [7]int64
	CompactionDebt     uint64
	Compactions        int64
	CompactionsNow     int64
	Flushes            int64
	BytesFlushed       uint64
	BytesCompacted     uint64
	Stalled            bool
	Stalls             uint64
	StallTime          time.Duration
}

// Stats returns a snapshot. After Close it holds the counters only.
func (s *Store) Stats() Stats {
	a := &s.admission
	st := Stats{
		Commits:          s.commits.Load(),
		ExpiredKeys:      s.expired.Load(),
		ExpiredFields:    s.expiredFields.Load(),
		ReclaimedIDs:     s.reclaimed.Load(),
		ReclaimQueue:     s.reclaims.len(),
		Corruptions:      s.corruptions.Load(),
		CorruptRecords:   s.corruptRecords.Load(),
		BackgroundErrors: s.backgroundErrors.Load(),
		Failed:           s.failed() != nil,
		Recovery:         s.recovery,
		MemoryBudget:     s.o.MemoryBudget(),
		DiskAvailable:    a.avail.Load(),
		DiskTotal:        a.total.Load(),
		StoreReads:       s.reads.reads.Load(),
		StoreReadsSlow:   s.reads.waits.Load(),
		BlockCacheMax:    s.o.CacheBytes,
		Stalled:          a.stalled.closed.Load(),
		Stalls:           a.stalls.Load(),
		StallTime:        time.Duration(a.stallTime.Load()),
	}
	if _, err := s.tryAdmit(); err != nil {
		st.ReadOnlyReason = err.Error()
	}
	s.life.RLock()
	defer s.life.RUnlock()
	if s.closed.Load() {
		return st
	}
	st.Log = s.log.Stats()
	records, _, hits, misses := s.records.sums()
	st.RecordCacheRecords, st.RecordCacheMax = uint64(records), uint64(s.records.limit)
	st.RecordCacheHits, st.RecordCacheMisses = hits, misses
	st.UnsavedBytes = s.records.unsaved.Load()
	st.Drains, st.DrainTime = s.drains.count.Load(), time.Duration(s.drains.took.Load())
	s.pebbleStats(&st)
	return st
}

func (s *Store) pebbleStats(st *Stats) {
	m := s.db.Metrics()
	st.StoreBytes = m.DiskSpaceUsage()
	st.BlockCacheHits, st.BlockCacheMisses, st.BlockCacheBytes = m.BlockCache.Hits, m.BlockCache.Misses, m.BlockCache.Size
	st.MemTables, st.MemTableBytes = m.MemTable.Count, m.MemTable.Size
	st.L0Files, st.L0Sublevels = m.Levels[0].TablesCount, m.Levels[0].Sublevels
	for i := range m.Levels {
		st.LevelFiles[i], st.LevelBytes[i] = m.Levels[i].TablesCount, m.Levels[i].TablesSize
		st.BytesCompacted += m.Levels[i].TableBytesCompacted
	}
	st.BytesFlushed = m.Levels[0].TableBytesFlushed
	st.CompactionDebt, st.Compactions = m.Compact.EstimatedDebt, m.Compact.Count
	st.CompactionsNow, st.Flushes = m.Compact.NumInProgress, m.Flush.Count
}

// DiskUsage is the room that the store's files and the log take.
func (st *Stats) DiskUsage() uint64 { return st.StoreBytes + uint64(st.Log.DiskBytes) }
