package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/cairndb/cairn/tools/wire"
)

// kind is what an object is used as.
type kind int

const (
	register kind = iota // SET of unique values, GET
	counter              // INCR, GET
	list                 // APPEND of unique tokens, GET
	group                // three keys of one slot: transactions that write all of them, or one, or read all
	queue                // a list: LPUSH, RPOP, LRANGE
	hash                 // a hash: HSET of three fields, HINCRBY of another one, HMGET
	bag                  // a set: SADD, SPOP, SMEMBERS
	ranks                // a sorted set: ZADD, ZPOPMIN, ZRANGE
	places               // GEOADD, and then as a bag
	sketch               // PFADD, PFCOUNT
	events               // a stream: XADD, XRANGE, XGROUP CREATE and XREADGROUP
	kinds
)

func (k kind) String() string {
	return []string{"register", "counter", "appends", "transactions", "list", "hash", "set", "zset", "geo", "hll", "stream"}[k]
}

// collection says whether types.go knows what it does.
func (k kind) collection() bool { return k >= queue }

// action is what an operation does to its object.
type action int

const (
	read  action = iota
	write        // SET, INCR, APPEND, or the transaction SET a v, SET b v, INCR n
	part         // of a group: SET a v alone; of a hash HINCRBY, of a stream XGROUP CREATE
	take         // of a collection: RPOP, SPOP, ZPOPMIN, XREADGROUP
)

// operation is one that was sent. Value is what it wrote.
type operation struct {
	action action
	value  string
}

// observed is what its reply said: the state, or what of it a write tells.
type observed struct {
	known bool
	text  string // of a read the object's whole state
}

// object is a key, or the keys of a group, with all that was done to it.
type object struct {
	kind kind
	name string // of keys: of a group the tag

	users int // operations under way; under the store's mutex

	mu       sync.Mutex
	history  []porcupine.Operation
	unknowns int
	born     time.Time
}

// key is the object's key; a group has three.
func (o *object) key(field string) string { return "{" + o.name + "}" + field }

// commands are what an operation sends.
func (o *object) commands(op operation) [][]string {
	k := o.key("")
	switch {
	case o.kind.collection():
		return [][]string{o.collectionCommands(op)}
	case o.kind == group && op.action == read:
		return [][]string{{"MGET", o.key("a"), o.key("b"), o.key("n")}}
	case o.kind == group && op.action == part:
		return [][]string{{"SET", o.key("a"), op.value}}
	case o.kind == group:
		return [][]string{{"SET", o.key("a"), op.value}, {"SET", o.key("b"), op.value}, {"INCR", o.key("n")}}
	case op.action == read:
		return [][]string{{"GET", k}}
	case o.kind == register:
		return [][]string{{"SET", k, op.value}}
	case o.kind == counter:
		return [][]string{{"INCR", k}}
	default:
		return [][]string{{"APPEND", k, op.value}}
	}
}

// observe reads the replies.
func (o *object) observe(op operation, replies []wire.Value) observed {
	v := replies[len(replies)-1]
	if o.kind.collection() {
		return observed{true, o.observeCollection(op, v)}
	}
	if o.kind == group && op.action == read {
		return observed{true, strings.Join(v.Strings(), ",")}
	}
	return observed{true, v.Text}
}

// record keeps an operation. Worker says who did it. One whose outcome is not known is open until the end; a read of that kind did nothing.
func (o *object) record(worker int, op operation, r result, epoch time.Time) {
	if r.outcome == refused || r.outcome == unknown && op.action == read {
		return
	}
	p := porcupine.Operation{ClientId: worker, Input: op, Call: int64(r.call.Sub(epoch)), Output: observed{}, Return: math.MaxInt64, Metadata: r.by}
	o.mu.Lock()
	defer o.mu.Unlock()
	if r.outcome == acknowledged {
		p.Output, p.Return = o.observe(op, r.replies), int64(r.end.Sub(epoch))
	} else {
		o.unknowns++
	}
	o.history = append(o.history, p)
}

// full says whether the object has had enough: what can't be decided grows with the unknown operations.
func (o *object) full() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	most := maxUnknown
	if o.kind == bag || o.kind == places {
		most = maxUnknownTakes
	}
	return len(o.history) >= maxHistory || o.unknowns >= most
}

const (
	maxHistory = 500
	maxUnknown = 8
	// maxUnknownTakes is for what is taken from at random: each unknown one may have taken any member.
	maxUnknownTakes = 3
)

// state is an object's: the value of a register, counter or appended string, or the fields of a group, joined. Vague: nothing is known of it.
type state struct {
	text  string
	vague bool
	group int // of a stream: how many entries were given out, or noGroup, or vagueGroup
}

// initial is the state of an object that was never written.
func initial(k kind) state {
	switch k {
	case group:
		return state{text: ",,"}
	case hash:
		return state{text: ",,,"}
	case events:
		return state{group: noGroup}
	}
	return state{}
}

// apply is the sequential meaning of an operation: whether its reply fits the state, and the state after it.
func apply(k kind, s state, op operation, out observed) (bool, state) {
	if op.action == read {
		if s.vague {
			return true, state{text: out.text, group: vagueGroup}
		}
		return readFits(k, s, out), s
	}
	if k.collection() {
		return applyCollection(k, s, op, out)
	}
	switch k {
	case register:
		return true, state{text: op.value}
	case counter:
		return applyCounter(s, out)
	case list:
		if s.vague { // the reply is only the length
			return true, s
		}
		s.text += op.value
		return !out.known || out.text == strconv.Itoa(len(s.text)), s
	default:
		return applyGroup(s, op, out)
	}
}

func applyCounter(s state, out observed) (bool, state) {
	if s.vague {
		return true, state{text: out.text, vague: !out.known}
	}
	s.text = increment(s.text)
	return !out.known || out.text == s.text, s
}

func applyGroup(s state, op operation, out observed) (bool, state) {
	if s.vague {
		return true, s
	}
	f := strings.SplitN(s.text, ",", 3)
	f[0] = op.value
	if op.action == write {
		f[1], f[2] = op.value, increment(f[2])
		if out.known && out.text != f[2] {
			return false, s
		}
	}
	return true, state{text: strings.Join(f, ",")}
}

func increment(s string) string {
	n, _ := strconv.Atoi(s) // "" is 0
	return strconv.Itoa(n + 1)
}

// model is the object's for porcupine.
func model(k kind, from state) porcupine.Model {
	if k == bag || k == places {
		return manyModel(k, from)
	}
	return porcupine.Model{
		Init: func() any { return from },
		Step: func(s, in, out any) (bool, any) {
			ok, next := apply(k, s.(state), in.(operation), out.(observed))
			return ok, next
		},
		DescribeOperation: func(in, out any) string { return describe(in.(operation), out.(observed)) },
	}
}

func describe(op operation, out observed) string {
	text := []string{"read", "write", "part", "take"}[op.action]
	if op.value != "" {
		text += " " + op.value
	}
	if !out.known {
		return text + " -> ?"
	}
	return fmt.Sprintf("%s -> %q", text, out.text)
}

// checkLimit bounds the search for one object.
const checkLimit = 20 * time.Second

// check says whether the object's history is linearizable.
func (o *object) check() porcupine.CheckResult {
	return porcupine.CheckOperationsTimeout(model(o.kind, initial(o.kind)), o.sent(), checkLimit)
}

// sent is the history without what can't have had an effect that anybody saw: unknown writes of values that were never read are as good as those that came
// after the end. It keeps the search short.
func (o *object) sent() []porcupine.Operation {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.kind == counter || o.kind == group || o.kind.collection() {
		return slices.Clone(o.history)
	}
	var seen strings.Builder
	for _, p := range o.history {
		if p.Input.(operation).action == read {
			seen.WriteString(p.Output.(observed).text)
			seen.WriteByte('\n')
		}
	}
	text := seen.String()
	return slices.DeleteFunc(slices.Clone(o.history), func(p porcupine.Operation) bool {
		return !p.Output.(observed).known && !strings.Contains(text, p.Input.(operation).value)
	})
}

// String lists the history by the time of the calls.
func (o *object) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	sorted := slices.Clone(o.history)
	slices.SortFunc(sorted, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s, slot %d: %d operations, %d of them of unknown outcome\n", o.kind, o.key(""), slotOf(o.key("")), len(sorted), o.unknowns)
	for _, p := range sorted {
		end := "          ?"
		if p.Return != math.MaxInt64 {
			end = seconds(p.Return)
		}
		fmt.Fprintf(&b, "%s %s worker %d at %s: %s\n", seconds(p.Call), end, p.ClientId, p.Metadata, describe(p.Input.(operation), p.Output.(observed)))
	}
	return b.String()
}

func seconds(ns int64) string { return fmt.Sprintf("%11.6f", time.Duration(ns).Seconds()) }
