package engine

import (
	"sync/atomic"
	"time"
)

// readPace knows whether reads of the store had to wait for the disk lately.
type readPace struct {
	score atomic.Int32
	reads atomic.Uint64
	waits atomic.Uint64
	time  atomic.Int64 // that the waits took, nanoseconds
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
		r.time.Add(int64(took))
		if r.score.Load() < maxReadScore {
			r.score.Add(slowReadScore)
		}
	} else if r.score.Load() > 0 {
		r.score.Add(-1)
	}
}

// spared notes a read that the record table answered, among some that it does not.
func (r *readPace) spared() {
	if r.score.Load() > 0 {
		r.score.Add(-1)
	}
}

func (r *readPace) slow() bool { return r.score.Load() >= slowFrom }

// ReadWait is the time that reads have waited for the disk since the store was opened, all together.
func (s *Store) ReadWait() time.Duration { return time.Duration(s.reads.time.Load()) }
