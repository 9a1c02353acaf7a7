package engine

import (
	"sync/atomic"
	"time"

	"github.com/coocood/freecache"
)

const (
	// minRecordCache is the least size that makes sense: 256 segments of 4 KiB entries.
	minRecordCache = 1 << 20
	// maxCachedKey is the longest key that freecache takes.
	maxCachedKey = 1<<16 - 1
)

// recordCache holds meta records by their stored key; an empty value means known to be absent. It is
// filled and written through under the slot's lock, so it never differs from the store. A record
// that is written again is changed in place, so a hot set that fits stays.
type recordCache struct {
	c    *freecache.Cache // nil when it is switched off
	size int64
}

func newRecordCache(size int64) recordCache {
	if size < 0 {
		return recordCache{}
	}
	size = max(size, minRecordCache)
	return recordCache{c: freecache.NewCache(int(size)), size: size}
}

// get returns the record, nil if the key is known to be absent.
func (c *recordCache) get(a *arena, key []byte) (rec []byte, ok bool) {
	if c.c == nil || len(key) > maxCachedKey {
		return nil, false
	}
	// The rest of the chunk is room that most records fit in.
	room := a.chunk[len(a.chunk):cap(a.chunk)]
	got, err := c.c.GetWithBuf(key, room[:0])
	if err != nil || len(got) == 0 {
		return nil, err == nil
	}
	if len(got) <= len(room) {
		a.alloc(len(got))
	} else {
		a.used += len(got)
		a.grow(0)
	}
	return got[:len(got):len(got)], true
}

func (c *recordCache) has(key []byte) bool {
	if c.c == nil || len(key) > maxCachedKey {
		return false
	}
	_, err := c.c.TTL(key)
	return err == nil
}

// set keeps a record or, if it is too large to be kept, forgets the one before.
func (c *recordCache) set(key, rec []byte) {
	if c.c == nil || len(key) > maxCachedKey {
		return
	}
	if c.c.Set(key, rec, 0) != nil {
		c.c.Del(key)
	}
}

func (c *recordCache) reset() {
	if c.c != nil {
		c.c.Clear()
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
