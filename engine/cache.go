package engine

import (
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/fastcache"
)

const (
	// minRecordCache is what fastcache takes at least: 512 buckets of one chunk.
	minRecordCache = 32 << 20
	// maxCached is the greatest entry that fastcache keeps; it ignores Set of a greater
	// one and would go on to answer with the old value.
	maxCached = 64<<10 - 16
)

// recordCache holds meta records by their stored key; an empty value means known to be absent. It is
// filled and written through under the slot's lock, so it never differs from the store.
type recordCache struct {
	c *fastcache.Cache // nil when it is switched off
}

func newRecordCache(size int64) recordCache {
	if size < 0 {
		return recordCache{}
	}
	return recordCache{c: fastcache.New(int(max(size, minRecordCache)))}
}

// get returns the record, nil if the key is known to be absent.
func (c *recordCache) get(a *arena, key []byte) (rec []byte, ok bool) {
	if c.c == nil {
		return nil, false
	}
	// The rest of the chunk is room that most records fit in.
	room := a.chunk[len(a.chunk):cap(a.chunk)]
	got, ok := c.c.HasGet(room[:0], key)
	if !ok || len(got) == 0 {
		return nil, ok
	}
	if len(got) <= len(room) {
		a.alloc(len(got))
	} else {
		a.used += len(got)
		a.grow(0)
	}
	return got[:len(got):len(got)], true
}

func (c *recordCache) has(key []byte) bool { return c.c != nil && c.c.Has(key) }

func (c *recordCache) set(key, rec []byte) {
	switch {
	case c.c == nil:
	case len(key)+len(rec) > maxCached:
		c.c.Del(key)
	default:
		c.c.Set(key, rec)
	}
}

func (c *recordCache) reset() {
	if c.c != nil {
		c.c.Reset()
	}
}

// readPace knows whether reads of the store had to wait for the disk lately.
type readPace struct {
	score atomic.Int32
	reads atomic.Uint64
	waits atomic.Uint64
}

const (
	slowRead      = 100 * time.Microsecond
	slowReadScore = 32
	maxReadScore  = 1024
	slowFrom      = 64
)

func (r *readPace) note(took time.Duration) {
	r.reads.Add(1)
	if took >= slowRead {
		r.waits.Add(1)
		if r.score.Load() < maxReadScore {
			r.score.Add(slowReadScore)
		}
	} else if r.score.Load() > 0 {
		r.score.Add(-1)
	}
}

func (r *readPace) slow() bool { return r.score.Load() >= slowFrom }
