package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cairndb/cairn/tools/testnode"
)

// writers use a cluster through go-redis while something is done to it, and know of each key what it may hold:
// a value that is lost, stale or written twice shows at once. Each key has one writer.
type writers struct {
	t       *testing.T
	db      *redis.ClusterClient
	stop    context.CancelFunc
	wg      sync.WaitGroup
	mu      sync.Mutex
	keys    []*ownKey
	failed  []error // of writes, which may stand or not
	written int
}

// ownKey is a key with the values that it may hold: more than one when the outcome of a write is not known. "" is none.
type ownKey struct {
	name string
	may  []string
}

const writerKeys = 40 // of each writer

// startWriters lets count clients write and read until end is called. With faults, writes may fail, and only such are made
// that a client may repeat.
func startWriters(t *testing.T, nodes []*testnode.Node, count int, faults bool) *writers {
	var addrs []string
	for _, n := range nodes {
		addrs = append(addrs, n.Addr())
	}
	w := &writers{t: t, db: redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, MaxRedirects: 10, DialTimeout: 2 * time.Second, ReadTimeout: 5 * time.Second})}
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	t.Cleanup(func() { // also when the test has failed before end
		stop()
		w.wg.Wait()
		_ = w.db.Close()
	})
	for i := range count {
		var keys []*ownKey
		for k := range writerKeys {
			keys = append(keys, &ownKey{name: fmt.Sprintf("writer:%d:%d", i, k), may: []string{""}})
		}
		w.keys = append(w.keys, keys...)
		w.wg.Go(func() {
			pace := time.NewTicker(2 * time.Millisecond) // leaves a small machine to what is done to the cluster
			defer pace.Stop()
			for n := 0; ctx.Err() == nil; n++ {
				<-pace.C
				w.step(keys[rand.IntN(len(keys))], strconv.Itoa(n), faults)
			}
		})
	}
	return w
}

// end stops the writers and checks every key. It returns how many writes were made, and the errors of those that failed.
func (w *writers) end() (written int, failed []error) {
	w.t.Helper()
	w.stop()
	w.wg.Wait()
	for _, k := range w.keys {
		w.read(k, false)
	}
	return w.written, w.failed
}

func (w *writers) step(k *ownKey, unique string, faults bool) {
	ctx := context.Background()
	now := k.may[len(k.may)-1]
	number, isNumber := strconv.Atoi(now)
	switch choice := rand.IntN(10); {
	case choice < 3:
		w.read(k, faults)
	case choice == 3:
		w.wrote(k, "", w.db.Del(ctx, k.name).Err())
	case faults || choice == 4 || now == "":
		w.wrote(k, unique, w.db.Set(ctx, k.name, unique, 0).Err())
	case isNumber == nil && len(now) < 12:
		w.wrote(k, strconv.Itoa(number+1), w.db.Incr(ctx, k.name).Err())
	case len(now) < 2000:
		w.wrote(k, now+"/"+unique, w.db.Append(ctx, k.name, "/"+unique).Err())
	default:
		w.wrote(k, unique+"x", w.db.SetXX(ctx, k.name, unique+"x", 0).Err())
	}
}

// wrote keeps what a write has made of a key.
func (w *writers) wrote(k *ownKey, value string, err error) {
	if err == nil {
		k.may = []string{value}
	} else {
		k.may = append(k.may, value)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.written++
	if err != nil {
		w.failed = append(w.failed, fmt.Errorf("%s: %w", k.name, err))
	}
}

// read checks what a key holds.
func (w *writers) read(k *ownKey, faults bool) {
	got, err := w.db.Get(context.Background(), k.name).Result()
	switch {
	case err != nil && !errors.Is(err, redis.Nil):
		if !faults {
			w.t.Errorf("GET %s: %v", k.name, err)
		}
		return
	case !slices.Contains(k.may, got):
		w.t.Errorf("%s is %q, not one of %q", k.name, got, k.may)
	}
	if !faults {
		k.may = []string{got}
	}
}
