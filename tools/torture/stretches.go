package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/cairndb/cairn/tools/testnode"
)

// Without acknowledgements by replicas a failover may lose the tail of what was acknowledged. What is promised even so, and checked here: reads
// return only what was written; and as long as a slot stays with one primary, that one alone acknowledges, and the history is
// linearizable from whatever state it began with.

// tenure is the time in which a slot surely stayed with one primary.
type tenure struct {
	address  string
	epoch    uint64    // the group's, when it was first seen
	from, to time.Time // to is zero while it lasts
}

// witness asks all nodes again and again who owns what. The one with the newest table of the group is believed.
type witness struct {
	fleet *fleet

	mu      sync.Mutex
	newest  uint64
	tenures [testnode.Slots][]tenure
}

const (
	witnessPace = 100 * time.Millisecond
	// witnessLag is by how much a grant may be older than the moment when it was first seen.
	witnessLag = 4 * time.Second
)

func (w *witness) run(ctx context.Context) {
	for ctx.Err() == nil {
		for _, address := range w.fleet.known() {
			epoch, err := groupEpoch(address)
			if err != nil {
				continue
			}
			v, err := askAt(address, 200*time.Millisecond, "CLUSTER", "NODES")
			if err == nil {
				w.saw(parseNodes(v.Text), epoch, time.Now())
			}
		}
		pause(ctx, witnessPace)
	}
}

func groupEpoch(address string) (uint64, error) {
	v, err := askAt(address, 200*time.Millisecond, "CLUSTER", "INFO")
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(fields(v.Text)["cluster_group_epoch"], 10, 64)
}

// saw takes one node's view, which is at least as new as the epoch says: another owner ends the tenure before it.
func (w *witness) saw(table []owner, epoch uint64, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if epoch < w.newest {
		return
	}
	w.newest = epoch
	for _, o := range table {
		for _, span := range o.slots {
			first, last, pair := strings.Cut(span, "-")
			if !pair {
				last = first
			}
			a, _ := strconv.Atoi(first)
			b, _ := strconv.Atoi(last)
			for s := a; s <= b && s < testnode.Slots; s++ {
				w.tenures[s] = follow(w.tenures[s], tenure{address: o.address, epoch: epoch, from: at})
			}
		}
	}
}

// follow adds a tenure if the owner is another one than the last. A view that lags behind its epoch by a moment makes
// short tenures that end before they begin, which do no harm.
func follow(known []tenure, next tenure) []tenure {
	if n := len(known); n > 0 {
		if known[n-1].address == next.address {
			return known
		}
		known[n-1].to = next.from.Add(-witnessLag)
	}
	return append(known, next)
}

// of are a slot's tenures.
func (w *witness) of(slot uint16) []tenure {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.tenures[slot])
}

// checkWeakly says what of an object's history breaks the promises above; "" is nothing.
func (o *object) checkWeakly(tenures []tenure, epoch time.Time) string {
	history := o.sent()
	if err := o.invented(history); err != "" {
		return err
	}
	for _, t := range tenures {
		from, to := int64(t.from.Sub(epoch)), int64(math.MaxInt64)
		if !t.to.IsZero() {
			to = int64(t.to.Sub(epoch))
		}
		if to < from {
			continue
		}
		var during []porcupine.Operation
		for _, p := range history {
			known := p.Output.(observed).known
			switch {
			case p.Call > to || p.Return < from:
				continue
			case known && (p.Call < from || p.Return > to): // it may have taken effect before, in it, or after
				if p.Input.(operation).action == read {
					continue
				}
				p.Call, p.Return, p.Output = max(p.Call, from), math.MaxInt64, observed{}
			case known && p.Metadata != t.address:
				return fmt.Sprintf("%s acknowledged at %s, in the time of %s (epoch %d)", p.Metadata, seconds(p.Return), t.address, t.epoch)
			}
			during = append(during, p)
		}
		if porcupine.CheckOperationsTimeout(model(o.kind, state{vague: true}), during, checkLimit) == porcupine.Illegal {
			return fmt.Sprintf("not linearizable between %s and %s, while %s was the primary (epoch %d)", seconds(from), seconds(to), t.address, t.epoch)
		}
	}
	return ""
}

// invented says whether a read returned what nobody had written by then.
func (o *object) invented(history []porcupine.Operation) string {
	for _, r := range history {
		if r.Input.(operation).action != read {
			continue
		}
		text, increments := r.Output.(observed).text, 0
		written := map[string]bool{"": true}
		for _, p := range history {
			if op := p.Input.(operation); op.action != read && p.Call <= r.Return {
				written[op.value] = true
				if op.action == write || o.kind == hash && op.action == part {
					increments++
				}
			}
		}
		if !o.possible(text, written, increments) {
			return fmt.Sprintf("%q was read at %s, which nobody had written", text, seconds(r.Return))
		}
	}
	return ""
}

func (o *object) possible(text string, written map[string]bool, increments int) bool {
	if o.kind.collection() {
		return o.possibleCollection(text, written, increments)
	}
	switch o.kind {
	case register:
		return written[text]
	case counter:
		n, err := strconv.Atoi(text)
		return text == "" || err == nil && n <= increments
	case list:
		seen := make(map[string]bool)
		for token := range strings.SplitAfterSeq(text, ";") {
			if !written[token] || token != "" && seen[token] {
				return false
			}
			seen[token] = true
		}
		return true
	default:
		f := strings.SplitN(text, ",", 3)
		n, _ := strconv.Atoi(f[2])
		return written[f[0]] && written[f[1]] && n <= increments
	}
}
