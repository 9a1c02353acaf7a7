package main

import (
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/cairndb/cairn/engine"
	wal "github.com/cairndb/cairn/engine/log"
	"github.com/cairndb/cairn/engine/types"
	"github.com/cairndb/cairn/server/config"
)

// storeOptions are the engine's options as the configuration names them.
func storeOptions(conf *config.Config, log *slog.Logger, stop stopping) engine.Options {
	o := engine.DefaultOptions()
	o.CacheBytes = conf.BlockCacheSize()
	o.RecordCacheBytes = conf.RecordCacheSize()
	if o.RecordCacheBytes == 0 {
		o.RecordCacheBytes = -1
	}
	o.MemTableBytes = conf.MemtableSize()
	o.MemTables = conf.MemtableCount()
	o.Compression = conf.Compression()
	o.Compactions = conf.CompactionThreads()
	o.MaxOpenFiles = conf.StoreOpenFiles()
	o.LogSegmentBytes = conf.LogSegmentSize()
	o.LogBacklogBytes = uint64(conf.ReplBacklogSize())
	o.FreeSpaceReserve = uint64(conf.FreeSpaceReserve())
	o.Packing = packing(conf)
	o.ExpireFields = types.ExpireFields
	o.SyncPolicy = syncPolicy(conf)
	o.Databases = conf.Databases()
	o.Logger = log
	o.OnFailure = func(err error) { stop.ask(stopCause{why: "the store has failed", err: err}) }
	return o
}

// applySettings gives a store what CONFIG SET may have changed.
func applySettings(conf *config.Config, store *engine.Store) {
	store.SetSyncPolicy(syncPolicy(conf))
	store.SetLogBacklog(uint64(conf.ReplBacklogSize()))
	store.SetFreeSpaceReserve(uint64(conf.FreeSpaceReserve()))
	store.SetPacking(packing(conf))
}

// followSettings applies what CONFIG SET changes to the store in use. CONFIG SET runs inside the node's gate, where the store stays.
func followSettings(conf *config.Config, store func() *engine.Store) {
	names := append([]string{"appendfsync", "repl-backlog-size", "free-space-reserve"}, config.PackingDirectives...)
	conf.OnChange(names, func() error {
		applySettings(conf, store())
		return nil
	})
}

func packing(conf *config.Config) engine.Packing {
	v := conf.Packing()
	return engine.Packing{
		HashEntries:       v[0],
		HashValue:         v[1],
		ListSize:          v[2],
		SetInts:           v[3],
		SetEntries:        v[4],
		SetValue:          v[5],
		ZSetEntries:       v[6],
		ZSetValue:         v[7],
		HLLSparseBytes:    v[8],
		StreamNodeBytes:   v[9],
		StreamNodeEntries: v[10],
		Bytes:             v[11],
	}
}

func syncPolicy(conf *config.Config) wal.Policy {
	switch conf.AppendFsync() {
	case "always":
		return wal.Always
	case "no":
		return wal.No
	}
	return wal.EverySec
}

const (
	// heapSlack is what the heap may hold beside the store: connections, replies, garbage.
	heapSlack = 128 << 20
	// gcPercent lets a small heap grow before it is collected; the limit takes over when it has grown.
	gcPercent = 200
)

// limitMemory sets the garbage collector's pace: most of the caches is in the heap, so without a limit that
// could reach a multiple of them. GOGC and GOMEMLIMIT in the environment have precedence.
func limitMemory(conf *config.Config, log *slog.Logger) {
	limit := conf.MemoryLimit()
	if limit == 0 {
		store := storeOptions(conf, log, stopping{})
		limit = store.MemoryBudget() - store.OutsideHeap() + heapSlack
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(limit)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
