package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cairndb/cairn/tools/wire"
)

// writer writes to one slot without end, several writes at a time, each to a key of its own, and keeps what was acknowledged. It knows the slot's
// shard and asks its members in turn when one fails.
type writer struct {
	tag     string
	members []string
	batch   int
	pace    time.Duration // between two batches

	mu      sync.Mutex
	acked   []int // the numbers of the acknowledged writes
	batches []answered
	strange map[string]int
}

// answered is a batch of which something was acknowledged.
type answered struct {
	at time.Time
	by string
}

// patience is how long a writer waits for a reply before it tries another member.
const patience = 200 * time.Millisecond

func newWriter(tag string, members []string, batch int, pace time.Duration) *writer {
	return &writer{tag: tag, members: members, batch: batch, pace: pace, strange: make(map[string]int)}
}

func (w *writer) key(i int) string { return fmt.Sprintf("{%s}%d", w.tag, i) }

func (w *writer) run(ctx context.Context) {
	at := w.members[0]
	conns := make(map[string]*wire.Conn)
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	for next := 0; ctx.Err() == nil; next += w.batch {
		unsent := make([]int, w.batch)
		for i := range unsent {
			unsent[i] = next + i
		}
		for ctx.Err() == nil && len(unsent) > 0 {
			unsent, at = w.send(conns, at, unsent)
		}
		pause(ctx, w.pace)
	}
}

// send sends a batch to one node; it returns what has to be sent again, and where to.
func (w *writer) send(conns map[string]*wire.Conn, at string, unsent []int) (left []int, next string) {
	var err error
	conn := conns[at]
	if conn == nil {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if conn, err = wire.DialContext(ctx, at); err != nil {
			time.Sleep(time.Millisecond)
			return unsent, w.other(at)
		}
		conn.Timeout = patience
		conns[at] = conn
	}
	commands := make([][]string, len(unsent))
	for i, n := range unsent {
		commands[i] = []string{"SET", w.key(n), w.key(n)}
	}
	replies, err := exchange(conn, commands, false)
	if err != nil { // some may have been answered: they are sent again
		_ = conn.Close()
		delete(conns, at)
		return unsent, w.other(at)
	}
	return w.take(at, unsent, replies)
}

func (w *writer) take(at string, unsent []int, replies []wire.Value) (left []int, next string) {
	next = at
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, v := range replies {
		kind, rest, _ := strings.Cut(v.Text, " ")
		switch {
		case !v.IsError():
			w.acked = append(w.acked, unsent[i])
			continue
		case kind == "MOVED":
			if _, address, _ := strings.Cut(rest, " "); next == at {
				next = address
			}
		default:
			w.strange[kind]++
			next = w.other(at)
		}
		left = append(left, unsent[i])
	}
	if len(left) < len(unsent) {
		w.batches = append(w.batches, answered{time.Now(), at})
	}
	return left, next
}

func (w *writer) other(than string) string {
	return w.members[(slices.Index(w.members, than)+1)%len(w.members)]
}

// since is how long after the moment the first write was acknowledged, by another node than the given one; 0 when none was yet.
func (w *writer) since(moment time.Time, not string) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range w.batches {
		if b.at.After(moment) && b.by != not {
			return b.at.Sub(moment)
		}
	}
	return 0
}

// longest is the longest time between two acknowledged batches that ended after the moment.
func (w *writer) longest(moment time.Time) (worst time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := 1; i < len(w.batches); i++ {
		if w.batches[i].at.After(moment) {
			worst = max(worst, w.batches[i].at.Sub(w.batches[i-1].at))
		}
	}
	return worst
}

// lost counts the acknowledged writes that are not there. It is called when the writer has ended and all is well.
func (w *writer) lost(address string) (int, error) {
	lost := 0
	for some := range slices.Chunk(w.acked, 1000) {
		command := []string{"MGET"}
		for _, n := range some {
			command = append(command, w.key(n))
		}
		v, err := askAt(address, 10*time.Second, command...)
		if err != nil {
			return lost, err
		}
		for _, e := range v.Elems {
			if e.Null {
				lost++
			}
		}
	}
	return lost, nil
}
