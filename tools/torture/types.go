package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/anishathalye/porcupine"

	"github.com/cairndb/cairn/tools/wire"
)

// Objects of the collection types. Their values are unique, as everywhere; an action "take" removes one.

// noGroup and vagueGroup stand for a consumer group that is not there, and for one of which nothing is known.
const (
	noGroup    = -1
	vagueGroup = -2
)

// collectionCommands are what an operation on a collection sends.
func (o *object) collectionCommands(op operation) []string {
	k := o.key("")
	switch o.kind {
	case queue:
		return op.choose([]string{"LRANGE", k, "0", "-1"}, []string{"LPUSH", k, op.value}, nil, []string{"RPOP", k})
	case hash:
		f := "f" + strconv.Itoa(len(op.value)%3)
		return op.choose([]string{"HMGET", k, "f0", "f1", "f2", "n"}, []string{"HSET", k, f, op.value}, []string{"HINCRBY", k, "n", "1"}, nil)
	case bag:
		return op.choose([]string{"SMEMBERS", k}, []string{"SADD", k, op.value}, nil, []string{"SPOP", k})
	case ranks:
		return op.choose([]string{"ZRANGE", k, "0", "-1"}, []string{"ZADD", k, op.score(), op.value}, nil, []string{"ZPOPMIN", k})
	case places:
		return op.choose([]string{"ZRANGE", k, "0", "-1"}, []string{"GEOADD", k, op.score(), "45", op.value}, nil, []string{"ZPOPMIN", k})
	case sketch:
		return op.choose([]string{"PFCOUNT", k}, []string{"PFADD", k, op.value}, nil, nil)
	default:
		return op.choose([]string{"XRANGE", k, "-", "+"}, []string{"XADD", k, "*", "v", op.value}, []string{"XGROUP", "CREATE", k, "g", "0", "MKSTREAM"},
			[]string{"XREADGROUP", "GROUP", "g", "c", "COUNT", "1", "STREAMS", k, ">"})
	}
}

func (op operation) choose(commands ...[]string) []string { return commands[op.action] }

// score is the number that a member begins with, within the longitudes.
func (op operation) score() string {
	number, _, _ := strings.Cut(op.value, "-")
	n, _ := strconv.Atoi(number)
	return strconv.FormatFloat(float64(n)/10000, 'f', -1, 64)
}

// observeCollection reads the reply of a collection's operation.
func (o *object) observeCollection(op operation, v wire.Value) string {
	switch {
	case v.IsError():
		kind, _, _ := strings.Cut(v.Text, " ")
		return kind
	case o.kind == events && (op.action == read || op.action == take):
		return strings.Join(eventValues(v), ",")
	case op.action == take && len(v.Elems) > 0: // ZPOPMIN, with the score
		return v.Elems[0].Text
	case op.action == read && o.kind != sketch:
		items := v.Strings()
		if o.kind == bag || o.kind == places {
			slices.Sort(items)
		}
		return strings.Join(items, ",")
	}
	return v.Text
}

// eventValues are the values of entries, of XRANGE or of XREADGROUP.
func eventValues(v wire.Value) (values []string) {
	if len(v.Elems) == 1 && len(v.Elems[0].Elems) == 2 && v.Elems[0].Elems[0].Kind == '$' && strings.HasPrefix(v.Elems[0].Elems[0].Text, "{") {
		v = v.Elems[0].Elems[1]
	}
	for _, entry := range v.Elems {
		if len(entry.Elems) == 2 && len(entry.Elems[1].Elems) == 2 {
			values = append(values, entry.Elems[1].Elems[1].Text)
		}
	}
	return values
}

func items(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

// applyCollection is the meaning of what changes a collection.
func applyCollection(k kind, s state, op operation, out observed) (bool, state) {
	if s.vague {
		return true, s
	}
	switch k {
	case hash:
		return applyFields(s, op, out)
	case sketch:
		n, _ := strconv.Atoi(s.text)
		s.text = strconv.Itoa(n + 1)
		return true, s
	case events:
		return applyEvents(s, op, out)
	}
	all := items(s.text)
	if op.action == write {
		all = slices.Concat([]string{op.value}, all)
		if k != queue {
			slices.Sort(all)
		}
		want := "1"
		if k == queue {
			want = strconv.Itoa(len(all))
		}
		s.text = strings.Join(all, ",")
		return !out.known || out.text == want, s
	}
	return applyTake(k, s, all, out)
}

// applyTake takes the last of a queue, the first of what is ordered, and any of a bag.
func applyTake(k kind, s state, all []string, out observed) (bool, state) {
	if len(all) == 0 {
		return !out.known || out.text == "", s
	}
	at := 0
	switch {
	case k == queue:
		at = len(all) - 1
	case k != ranks && out.known:
		at = slices.Index(all, out.text)
	case k != ranks: // takeAny says which it may be
		return false, s
	}
	if at < 0 || out.known && all[at] != out.text {
		return false, s
	}
	s.text = strings.Join(slices.Delete(all, at, at+1), ",")
	return true, s
}

// takeAny are the states after SPOP whose outcome nobody knows.
func takeAny(s state) (after []state) {
	all := items(s.text)
	for i := range all {
		after = append(after, state{text: strings.Join(slices.Delete(slices.Clone(all), i, i+1), ",")})
	}
	if len(all) == 0 {
		after = append(after, s)
	}
	return after
}

// manyModel is the model of what is taken from at random.
func manyModel(k kind, from state) porcupine.Model {
	m := porcupine.NondeterministicModel{
		Init: func() []any { return []any{from} },
		Step: func(s, in, out any) (next []any) {
			before, op, o := s.(state), in.(operation), out.(observed)
			if op.action == take && !o.known && !before.vague {
				for _, after := range takeAny(before) {
					next = append(next, after)
				}
				return next
			}
			if ok, after := apply(k, before, op, o); ok {
				next = append(next, after)
			}
			return next
		},
		DescribeOperation: func(in, out any) string { return describe(in.(operation), out.(observed)) },
	}
	return m.ToModel()
}

func applyFields(s state, op operation, out observed) (bool, state) {
	f := strings.SplitN(s.text, ",", 4)
	if op.action == part {
		f[3] = increment(f[3])
		s.text = strings.Join(f, ",")
		return !out.known || out.text == f[3], s
	}
	at := len(op.value) % 3
	want := "0"
	if f[at] == "" {
		want = "1"
	}
	f[at] = op.value
	s.text = strings.Join(f, ",")
	return !out.known || out.text == want, s
}

// applyEvents: a group gives each entry once, in order.
func applyEvents(s state, op operation, out observed) (bool, state) {
	all := items(s.text)
	switch {
	case op.action == write:
		s.text = strings.Join(append(all, op.value), ",")
		return true, s
	case s.group == vagueGroup:
		return true, s
	case op.action == part: // XGROUP CREATE
		created := s.group == noGroup
		if created {
			s.group = 0
		}
		return !out.known || (out.text == "OK") == created, s
	case s.group == noGroup:
		return !out.known || out.text == "NOGROUP", s
	case s.group >= len(all):
		return !out.known || out.text == "", s
	}
	s.group++
	return !out.known || out.text == all[s.group-1], s
}

// readFits says whether a read's reply is the state. That of a sketch is an estimate.
func readFits(k kind, s state, out observed) bool {
	if k != sketch {
		return s.text == out.text
	}
	n, _ := strconv.Atoi(s.text)
	got, err := strconv.Atoi(out.text)
	return err == nil && max(got-n, n-got) <= 2+n/20
}

// possibleCollection says whether a collection may have held what was read.
func (o *object) possibleCollection(text string, written map[string]bool, increments int) bool {
	switch o.kind {
	case sketch:
		n, err := strconv.Atoi(text)
		return err == nil && n <= increments+2+increments/20
	case hash:
		f := strings.SplitN(text, ",", 4)
		n, _ := strconv.Atoi(f[3])
		return written[f[0]] && written[f[1]] && written[f[2]] && n <= increments
	}
	seen := make(map[string]bool)
	for _, item := range items(text) {
		if !written[item] || seen[item] {
			return false
		}
		seen[item] = true
	}
	return true
}

// collectionOperation draws what to do with a collection.
func (w *worker) collectionOperation(o *object) operation {
	op := operation{action: write, value: fmt.Sprintf("%06d-%d;", w.count, w.id)}
	n := w.rng.IntN(4)
	switch {
	case o.kind == hash:
		op.value += strings.Repeat("x", w.rng.IntN(3))
		if n == 0 {
			op = operation{action: part}
		}
	case o.kind == sketch:
	case o.kind == events && w.rng.IntN(15) == 0:
		op = operation{action: part}
	case n < 2:
		op = operation{action: take}
	}
	return op
}
