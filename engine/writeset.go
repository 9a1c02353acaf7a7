package engine

import (
	"bytes"
	"hash/maphash"

	"github.com/cairndb/cairn/engine/keys"
)

// arena hands out memory that lives until the transaction ends.
type arena struct {
	chunk []byte
	used  int // handed out since the last reset, in all chunks
}

const (
	arenaMin = 16 << 10
	arenaMax = 1 << 20
)

// alloc returns n bytes of undefined content with no spare capacity; never nil.
func (a *arena) alloc(n int) []byte {
	a.used += n
	if a.chunk == nil || cap(a.chunk)-len(a.chunk) < n {
		if n > arenaMax/4 {
			return make([]byte, n)
		}
		a.grow(n)
	}
	at := len(a.chunk)
	a.chunk = a.chunk[:at+n]
	return a.chunk[at : at+n : at+n]
}

// grow begins a new chunk with room for n bytes.
func (a *arena) grow(n int) {
	a.chunk = make([]byte, 0, max(arenaMin, n, min(arenaMax, 2*cap(a.chunk))))
}

func (a *arena) copy(p []byte) []byte {
	c := a.alloc(len(p))
	copy(c, p)
	return c
}

func (a *arena) reset() {
	a.chunk = a.chunk[:0]
	a.used = 0
}

type opKind uint8

const (
	opSet opKind = iota
	opDelete
	opDeleteRange // key to val, exclusive
	opFlushAll    // makes all before it void
)

// op is one write. Those that a later one of the same key replaces stay in the list,
// so that Rollback can bring them back, but never reach the batch.
type op struct {
	key, val   []byte
	delta      delta
	undo       *dbTable // what the database table was before, if the op changes it
	hash       uint64   // of key, see hashKey
	prev       int32    // index of the op that it replaces, or -1
	slot       uint16
	kind       opKind
	superseded bool
	meta       bool
	walked     bool // see PutWalked
}

// of says whether the op writes or deletes one key of a kind.
func (o *op) of(k keys.Kind) bool { return o.kind <= opDelete && len(o.key) > 2 && o.key[2] == byte(k) }

// delta is what an op changes in the counters of its slot and database.
type delta struct {
	bytes         int64
	keys, expires int32
	db            uint8
}

// writeSet is the ordered list of a transaction's writes, with an index by key.
type writeSet struct {
	ops []op
	// table maps keys to 1 + the index of their last op, by open addressing; 0 is free, -1 was rolled back.
	table  []int32
	used   int // entries of table that are not free
	ranges int // opDeleteRanges
	flush  int // 1 + the index of the last opFlushAll, or 0
}

var tableSeed = maphash.MakeSeed()

const (
	tableMin  = 64
	tableKeep = 4096
)

// find returns the index of the last op of key, or -1.
func (w *writeSet) find(hash uint64, key []byte) int {
	if len(w.ops) == 0 || len(w.table) == 0 {
		return -1
	}
	_, i := w.probe(hash, key)
	return i
}

// probe returns the position of key in the table, or where it could go, and the index of its last op or -1.
func (w *writeSet) probe(hash uint64, key []byte) (pos, index int) {
	mask := len(w.table) - 1
	for pos = int(hash) & mask; ; pos = (pos + 1) & mask {
		switch i := w.table[pos]; {
		case i == 0:
			return pos, -1
		case i > 0 && w.ops[i-1].hash == hash && bytes.Equal(w.ops[i-1].key, key):
			return pos, int(i - 1)
		}
	}
}

// add appends an op that replaces an earlier one of its key.
func (w *writeSet) add(o op) {
	if 2*(w.used+1) > len(w.table) {
		w.grow()
	}
	pos, prev := w.probe(o.hash, o.key)
	o.prev = int32(prev)
	if prev >= 0 {
		w.ops[prev].superseded = true
	} else {
		w.used++
	}
	w.ops = append(w.ops, o)
	w.table[pos] = int32(len(w.ops))
}

// addUnindexed appends an op that has no single key.
func (w *writeSet) addUnindexed(o op) {
	o.prev = -1
	if o.kind == opFlushAll {
		o.prev = int32(w.flush) - 1
		w.flush = len(w.ops) + 1
	}
	if o.kind == opDeleteRange {
		w.ranges++
	}
	w.ops = append(w.ops, o)
}

func (w *writeSet) grow() {
	live := 0
	for _, i := range w.table {
		if i > 0 {
			live++
		}
	}
	old := w.table
	w.table = make([]int32, max(tableMin, nextPow2(4*(live+1))))
	w.used = live
	for _, i := range old {
		if i > 0 {
			pos, _ := w.probe(w.ops[i-1].hash, w.ops[i-1].key)
			w.table[pos] = i
		}
	}
}

func nextPow2(n int) int {
	p := 1
	for p < n {
		p *= 2
	}
	return p
}

// pop removes the last op, which is returned, and brings back what it replaced.
func (w *writeSet) pop() op {
	last := len(w.ops) - 1
	o := w.ops[last]
	switch o.kind {
	case opFlushAll:
		w.flush = int(o.prev) + 1
	case opDeleteRange:
		w.ranges--
	default:
		pos, _ := w.probe(o.hash, o.key)
		w.table[pos] = o.prev + 1
		if o.prev >= 0 {
			w.ops[o.prev].superseded = false
		} else {
			w.table[pos] = -1
		}
	}
	w.ops[last] = op{}
	w.ops = w.ops[:last]
	return o
}

func (w *writeSet) reset() {
	if len(w.ops) == 0 {
		return
	}
	clear(w.ops)
	w.ops = w.ops[:0]
	if cap(w.ops) > tableKeep {
		w.ops = nil
	}
	if len(w.table) > 2*tableKeep {
		w.table = nil
	}
	clear(w.table)
	w.used, w.flush, w.ranges = 0, 0, 0
}
