package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/cairndb/cairn/tools/testnode"
	"github.com/cairndb/cairn/tools/wire"
)

// operation is one acknowledged unit: a command, or a transaction of several.
type operation struct {
	commands [][]string
	// apply makes the operation's changes and returns the reply that it must get ("" for any).
	apply func(model map[string]string) string
}

// worker writes its own keys over one connection, so that its operations
// commit in the order in which it sent them. After a crash its keys must be
// what they were after all acknowledged operations and none, some or all of
// those that were sent after them, in order.
type worker struct {
	id      int
	rng     *rand.Rand
	model   map[string]string // after the acknowledged operations
	pending []operation       // sent, not acknowledged
	acked   int
	ids     int  // of streams
	redis70 bool // which has no expiry of fields
}

const keysPerWorker = 40

func newWorker(id int, seed uint64) *worker {
	return &worker{id: id, rng: rand.New(rand.NewPCG(seed, uint64(id))), model: make(map[string]string)}
}

// key names carry a hash tag each, so that transactions span slots.
func (w *worker) key() string { return w.keyName(w.rng.IntN(keysPerWorker)) }

func (w *worker) keyName(i int) string { return fmt.Sprintf("w%d:k%d", w.id, i) }

// run sends bursts until the connection breaks; the error is what it broke
// with, or a wrong reply.
func (w *worker) run(n *testnode.Node) (wrong error) {
	c, err := n.Dial()
	if err != nil {
		return nil // killed before it began
	}
	defer c.Close()
	for {
		// The operations count as pending from before the first byte leaves.
		w.pending = w.pending[:0]
		for range 1 + w.rng.IntN(16) {
			w.pending = append(w.pending, w.operation())
		}
		for _, op := range w.pending {
			for _, args := range op.commands {
				if c.Send(args...) != nil {
					return nil
				}
			}
		}
		if c.Flush() != nil {
			return nil
		}
		for len(w.pending) > 0 {
			op := w.pending[0]
			got, ok := receive(c, len(op.commands))
			if !ok {
				return nil
			}
			want := op.apply(w.model)
			w.pending = w.pending[1:]
			w.acked++
			if want != "" && got != want {
				return fmt.Errorf("worker %d: %q replied %s, expected %s", w.id, op.commands, got, want)
			}
		}
	}
}

// receive reads an operation's replies and returns the last one.
func receive(c *wire.Conn, n int) (last string, ok bool) {
	for range n {
		v, err := c.Receive()
		if err != nil {
			return "", false
		}
		last = v.String()
	}
	return last, true
}

// operation draws a change of one or several keys.
func (w *worker) operation() operation {
	if w.rng.IntN(2) == 0 {
		return w.collection()
	}
	k := w.key()
	switch w.rng.IntN(10) {
	case 0:
		return operation{[][]string{{"DEL", k}}, func(m map[string]string) string {
			_, had := m[k]
			delete(m, k)
			return map[bool]string{true: ":1", false: ":0"}[had]
		}}
	case 1:
		v := w.value()
		return operation{[][]string{{"APPEND", k, v}}, func(m map[string]string) string {
			m[k] += v
			return ":" + strconv.Itoa(len(m[k]))
		}}
	case 2:
		return w.setRange(k)
	case 3:
		v := w.value()
		return operation{[][]string{{"SET", k, v, "PX", strconv.Itoa(1_000_000 + w.rng.IntN(1e6))}}, set(k, v)}
	case 4:
		return w.rename(k)
	case 5:
		return w.transaction()
	case 6:
		return w.count()
	case 7:
		a, b := w.value(), w.value()
		k2 := w.key()
		return operation{[][]string{{"MSET", k, a, k2, b}}, func(m map[string]string) string {
			m[k] = a
			m[k2] = b
			return "+OK"
		}}
	}
	v := w.value()
	return operation{[][]string{{"SET", k, v}}, set(k, v)}
}

func set(k, v string) func(map[string]string) string {
	return func(m map[string]string) string { m[k] = v; return "+OK" }
}

// value is mostly short; some are long enough to be stored in chunks.
func (w *worker) value() string {
	n := w.rng.IntN(100)
	if w.rng.IntN(20) == 0 {
		n = 10_000 + w.rng.IntN(30_000)
	}
	return strings.Repeat(string(rune('a'+w.rng.IntN(26))), n) + strconv.Itoa(w.rng.IntN(1e6))
}

func (w *worker) setRange(k string) operation {
	offset, v := w.rng.IntN(40_000), w.value()
	return operation{[][]string{{"SETRANGE", k, strconv.Itoa(offset), v}}, func(m map[string]string) string {
		b := []byte(m[k])
		if grow := offset + len(v) - len(b); grow > 0 {
			b = append(b, make([]byte, grow)...)
		}
		copy(b[offset:], v)
		m[k] = string(b)
		return ":" + strconv.Itoa(len(b))
	}}
}

// rename makes sure in a transaction that the source is there.
func (w *worker) rename(k string) operation {
	to, v := w.key(), w.value()
	return operation{[][]string{{"MULTI"}, {"SET", k, v}, {"RENAME", k, to}, {"EXEC"}}, func(m map[string]string) string {
		delete(m, k)
		m[to] = v
		return "*[+OK +OK]"
	}}
}

func (w *worker) transaction() operation {
	n := 2 + w.rng.IntN(4)
	commands := [][]string{{"MULTI"}}
	keys, values := make([]string, n), make([]string, n)
	for i := range n {
		keys[i], values[i] = w.key(), w.value()
		commands = append(commands, []string{"SET", keys[i], values[i]})
	}
	return operation{append(commands, []string{"EXEC"}), func(m map[string]string) string {
		for i := range n {
			m[keys[i]] = values[i]
		}
		return "*[" + strings.TrimSuffix(strings.Repeat("+OK ", n), " ") + "]"
	}}
}

// count uses keys of its own, which hold nothing but numbers.
func (w *worker) count() operation {
	k, by := fmt.Sprintf("w%d:n%d", w.id, w.rng.IntN(4)), w.rng.IntN(100)
	return operation{[][]string{{"INCRBY", k, strconv.Itoa(by)}}, func(m map[string]string) string {
		n, _ := strconv.Atoi(m[k])
		m[k] = strconv.Itoa(n + by)
		return ":" + m[k]
	}}
}

// verify reads the worker's keys after a restart and finds the operation after
// which they looked so; the model is that state then.
func (w *worker) verify(c *wire.Conn) error {
	stored, err := w.read(c)
	if err != nil {
		return err
	}
	acknowledged := maps.Clone(w.model)
	for i := 0; ; i++ {
		if maps.Equal(stored, w.model) {
			w.pending = nil
			return nil
		}
		if i == len(w.pending) {
			return fmt.Errorf("worker %d, after %d acknowledged operations and %d more: %s", w.id, w.acked, len(w.pending), describe(acknowledged, w.model, stored))
		}
		w.pending[i].apply(w.model)
	}
}

func (w *worker) read(c *wire.Conn) (map[string]string, error) {
	stored := make(map[string]string)
	var keys []string
	for i := range keysPerWorker {
		keys = append(keys, w.keyName(i))
	}
	for i := range 4 {
		keys = append(keys, fmt.Sprintf("w%d:n%d", w.id, i))
	}
	v, err := c.Must(append([]string{"MGET"}, keys...)...)
	if err != nil {
		return nil, err
	}
	for i, e := range v.Elems {
		if !e.Null {
			stored[keys[i]] = e.Text
		}
	}
	return stored, w.readCollections(c, stored)
}

// describe lists the keys whose stored value is neither the acknowledged nor the last one sent.
func describe(acknowledged, sent, stored map[string]string) string {
	var b strings.Builder
	keys := slices.Sorted(maps.Keys(acknowledged))
	for k := range stored {
		if _, ok := acknowledged[k]; !ok {
			keys = append(keys, k)
		}
	}
	show := func(m map[string]string, k string) string {
		v, ok := m[k]
		if !ok {
			return "absent"
		}
		return fmt.Sprintf("%d bytes %.20q", len(v), v)
	}
	for _, k := range keys {
		if show(stored, k) != show(acknowledged, k) {
			fmt.Fprintf(&b, "\n  %s: stored %s, acknowledged %s, last sent %s", k, show(stored, k), show(acknowledged, k), show(sent, k))
		}
	}
	if b.Len() == 0 {
		return "the values differ beyond what is shown here"
	}
	return b.String()
}
