package main

import (
	"os"
	"runtime"
	"time"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/server/config"
)

const (
	// readersPerCore is how many goroutines beyond one may wait for the disk, for each core, without holding up others.
	readersPerCore = 3

	placesEvery = 100 * time.Millisecond
	// readersWait is how long reads wait for the disk between two looks, all together, when more places are worth their price.
	readersWait = placesEvery / 2
	// placesKept is how long the places stay once reads are fast.
	placesKept = 3 * time.Second
)

// letReadersWait gives the scheduler more threads than cores while reads wait for the disk, until done is called. A read from the disk keeps
// its place in GOMAXPROCS until the runtime notices that it takes long, so that with two of them two reads at a time hold up everything. While
// no read waits, more places only let the garbage collector and compactions take the cores from who serves. GOMAXPROCS in the environment has
// precedence.
func letReadersWait(conf *config.Config, store func() *engine.Store) (done func()) {
	if os.Getenv("GOMAXPROCS") != "" {
		return func() {}
	}
	cores := runtime.GOMAXPROCS(0)
	p := places{cores: cores, wide: cores + min(conf.WorkerThreads(), readersPerCore*cores), now: cores}
	stop := make(chan struct{})
	go func() {
		tick := time.NewTicker(placesEvery)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case now := <-tick.C:
				if was := p.now; p.look(now, store().ReadWait()) != was {
					runtime.GOMAXPROCS(p.now)
				}
			}
		}
	}()
	return func() { close(stop) }
}

// places decides how many threads run Go code at a time.
type places struct {
	cores, wide int
	now         int
	waited      time.Duration // by reads, up to the last look
	slowAt      time.Time     // when they were last seen waiting
}

// look returns the number of places, given how long reads have waited since the store was opened.
func (p *places) look(now time.Time, waited time.Duration) int {
	if waited-p.waited >= readersWait {
		p.slowAt = now
	}
	p.waited = waited
	p.now = p.cores
	if now.Sub(p.slowAt) < placesKept {
		p.now = p.wide
	}
	return p.now
}
