package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cairndb/cairn/tools/wire"
)

// Collections of each type. The model keeps one as the text that reading it gives: elements in order, or sorted. Half of them grow beyond what is packed.

// collectionTypes are the types by the first letter of their keys' names behind the worker's: "w0:h3".
const collectionTypes = "hlszxp"

const collectionsOfAType = 4

func (w *worker) collectionKeys() (names []string) {
	for _, kind := range collectionTypes {
		for i := range collectionsOfAType {
			names = append(names, fmt.Sprintf("w%d:%c%d", w.id, kind, i))
		}
	}
	return names
}

// collection draws a change of a collection.
func (w *worker) collection() operation {
	keys := w.collectionKeys()
	i := w.rng.IntN(len(keys))
	k := keys[i]
	if w.rng.IntN(200) == 0 {
		return operation{[][]string{{"DEL", k}}, func(m map[string]string) string { delete(m, k); return "" }}
	}
	members := 8
	if i%2 == 0 {
		members = 300
	}
	name := fmt.Sprintf("%c%04d", 'a'+w.rng.IntN(3), w.rng.IntN(members))
	remove := w.rng.IntN(3) == 0
	switch collectionTypes[i/collectionsOfAType] {
	case 'h':
		return w.fieldOperation(k, name, remove)
	case 'l':
		return w.listOperation(k, members, remove)
	case 's':
		return memberOperation(k, name, name, remove, []string{"SADD", k, name}, []string{"SREM", k, name})
	case 'z':
		return memberOperation(k, name, name+" "+name[1:], remove, []string{"ZADD", k, name[1:], name}, []string{"ZREM", k, name})
	case 'x':
		return w.streamOperation(k, members, remove)
	}
	// The text of a sketch is not modelled, only that it is there.
	return operation{[][]string{{"PFADD", k, name}}, func(m map[string]string) string { m[k] = "sketch"; return "" }}
}

func lines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// keep stores a collection; an empty one is no key.
func keep(m map[string]string, k string, all []string) {
	if len(all) == 0 {
		delete(m, k)
		return
	}
	m[k] = strings.Join(all, "\n")
}

// memberOperation adds or removes the line of a member in what is sorted. Its reply says how many there were to add or remove.
func memberOperation(k, name, line string, remove bool, add, rem []string) operation {
	command := add
	if remove {
		command = rem
	}
	return operation{[][]string{command}, func(m map[string]string) string {
		all := lines(m[k])
		at, found := slices.BinarySearchFunc(all, name, func(line, name string) int {
			have, _, _ := strings.Cut(line, " ")
			return strings.Compare(have, name)
		})
		switch {
		case found && remove:
			all = slices.Delete(all, at, at+1)
		case !found && !remove:
			all = slices.Insert(all, at, line)
		case found: // another value
			all[at] = line
		}
		keep(m, k, all)
		return map[bool]string{true: ":1", false: ":0"}[found == remove]
	}}
}

func (w *worker) fieldOperation(k, name string, remove bool) operation {
	if w.redis70 || w.rng.IntN(4) > 0 {
		value := strconv.Itoa(w.rng.IntN(1e6))
		return memberOperation(k, name, name+" "+value, remove, []string{"HSET", k, name, value}, []string{"HDEL", k, name})
	}
	// Its expiry is far away: what counts is that the field and its index stay together.
	value := strconv.Itoa(w.rng.IntN(1e6))
	set := memberOperation(k, name, name+" "+value, false, []string{"HSET", k, name, value}, nil)
	return operation{[][]string{{"MULTI"}, set.commands[0], {"HEXPIRE", k, "100000", "FIELDS", "1", name}, {"EXEC"}},
		func(m map[string]string) string { return "*[" + set.apply(m) + " *[:1]]" }}
}

func (w *worker) listOperation(k string, most int, remove bool) operation {
	v := strconv.Itoa(w.rng.IntN(1e6))
	if remove {
		return operation{[][]string{{"RPOP", k}}, func(m map[string]string) string {
			all := lines(m[k])
			if len(all) > 0 {
				keep(m, k, all[:len(all)-1])
			}
			return ""
		}}
	}
	return operation{[][]string{{"MULTI"}, {"LPUSH", k, v}, {"LTRIM", k, "0", strconv.Itoa(most - 1)}, {"EXEC"}}, func(m map[string]string) string {
		all := append([]string{v}, lines(m[k])...)
		reply := fmt.Sprintf("*[:%d +OK]", len(all))
		keep(m, k, all[:min(most, len(all))])
		return reply
	}}
}

// streamOperation adds an entry, or takes the oldest away. An ID is larger than any that this worker has used.
func (w *worker) streamOperation(k string, most int, remove bool) operation {
	if remove {
		n := w.rng.IntN(most)
		return operation{[][]string{{"XTRIM", k, "MAXLEN", strconv.Itoa(n)}}, func(m map[string]string) string {
			if all := lines(m[k]); len(all) > n {
				m[k] = strings.Join(all[len(all)-n:], "\n")
			}
			return ""
		}}
	}
	w.ids++
	id, v := fmt.Sprintf("%d-1", w.ids), strconv.Itoa(w.rng.IntN(1e6))
	return operation{[][]string{{"XADD", k, id, "v", v}}, func(m map[string]string) string {
		m[k] = strings.Join(append(lines(m[k]), id+" "+v), "\n")
		return `$"` + id + `"`
	}}
}

// readCollections adds what is stored of them.
func (w *worker) readCollections(c *wire.Conn, stored map[string]string) error {
	read := map[byte][]string{'h': {"HGETALL"}, 'l': {"LRANGE", "0", "-1"}, 's': {"SMEMBERS"}, 'z': {"ZRANGE", "0", "-1", "WITHSCORES"}, 'x': {"XRANGE", "-", "+"}, 'p': {"PFCOUNT"}}
	for i, k := range w.collectionKeys() {
		kind := collectionTypes[i/collectionsOfAType]
		v, err := c.Must("EXISTS", k)
		if err != nil || v.Text == "0" {
			if err != nil {
				return err
			}
			continue
		}
		args := read[kind]
		if v, err = c.Must(slices.Concat(args[:1], []string{k}, args[1:])...); err != nil {
			return err
		}
		stored[k] = textOf(kind, v)
	}
	return nil
}

// textOf is what the model keeps of a reply.
func textOf(kind byte, v wire.Value) string {
	var all []string
	switch kind {
	case 'p':
		return "sketch"
	case 'x':
		for _, entry := range v.Elems {
			all = append(all, entry.Elems[0].Text+" "+entry.Elems[1].Elems[1].Text)
		}
		return strings.Join(all, "\n")
	case 'l':
		return strings.Join(v.Strings(), "\n")
	case 's':
		all = v.Strings()
	case 'h', 'z':
		for i := 0; i+1 < len(v.Elems); i += 2 {
			value := v.Elems[i+1].Text
			if kind == 'z' {
				n, _ := strconv.Atoi(value)
				value = fmt.Sprintf("%04d", n)
			}
			all = append(all, v.Elems[i].Text+" "+value)
		}
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}
