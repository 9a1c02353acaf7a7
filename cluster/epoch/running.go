package epoch

import "sync"

// running are the failovers under way, one a shard.
type running struct {
	wg sync.WaitGroup
	mu sync.Mutex
	in map[ShardID]bool
}

func newRunning() *running { return &running{in: make(map[ShardID]bool)} }

// start runs fn unless the shard's last one has not ended.
func (r *running) start(id ShardID, fn func()) {
	r.mu.Lock()
	busy := r.in[id]
	r.in[id] = true
	r.mu.Unlock()
	if busy {
		return
	}
	r.wg.Go(func() {
		fn()
		r.mu.Lock()
		delete(r.in, id)
		r.mu.Unlock()
	})
}

func (r *running) wait() { r.wg.Wait() }
