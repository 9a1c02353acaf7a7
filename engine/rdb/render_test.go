package rdb

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/tools/wire"
)

// render tells what a value consists of, a line an element; what has no order is sorted.
func render(v *Value) (string, error) {
	var lines []string
	add := func(format string, args ...any) error {
		lines = append(lines, fmt.Sprintf(format, args...))
		return nil
	}
	var err error
	sorted := true
	switch v.Type {
	case keys.TypeString:
		return fmt.Sprintf("%q", v.String), nil
	case keys.TypeList:
		sorted = false
		err = v.eachListElement(func(e []byte) error { return add("%q", e) })
	case keys.TypeSet:
		err = v.eachMember(func(m []byte) error { return add("%q", m) })
	case keys.TypeZSet:
		err = v.eachScored(func(m []byte, score float64) error { return add("%q %v", m, score) })
	case keys.TypeHash:
		err = v.eachField(func(f, value []byte, expireAt int64) error {
			if expireAt != 0 {
				return add("%q %q until %d", f, value, expireAt)
			}
			return add("%q %q", f, value)
		})
	case keys.TypeStream:
		sorted = false
		err = v.eachOfStream(&streamVisitor{
			entry: func(id streamID, fields [][]byte) error { return add("%d-%d %q", id.ms, id.seq, fields) },
			state: func(s streamState) error {
				return add("length %d last %d-%d deleted %d-%d added %d", s.length, s.last.ms, s.last.seq, s.maxDeleted.ms, s.maxDeleted.seq, s.added)
			},
			group: func(name []byte, last streamID, read int64) error {
				return add("group %q %d-%d read %d", name, last.ms, last.seq, read)
			},
			consumer: func(name []byte, seen, _ int64) error { return add("consumer %q seen %d", name, seen) },
			pending:  func(d delivery) error { return add("pending %d-%d %d %d", d.id.ms, d.id.seq, d.at, d.count) },
		})
	}
	if sorted {
		slices.Sort(lines)
	}
	return strings.Join(lines, "\n"), err
}

// ask renders what a server has at k.
func ask(t *testing.T, c *wire.Conn, k string) string {
	t.Helper()
	do := func(args ...string) wire.Value {
		v, err := c.Must(args...)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	var lines []string
	switch typ := do("TYPE", k).Text; typ {
	case "none":
		return typ
	case "string":
		return fmt.Sprintf("%q", do("GET", k).Text)
	case "list":
		for _, e := range do("LRANGE", k, "0", "-1").Strings() {
			lines = append(lines, fmt.Sprintf("%q", e))
		}
		return strings.Join(lines, "\n")
	case "set":
		for _, e := range do("SMEMBERS", k).Strings() {
			lines = append(lines, fmt.Sprintf("%q", e))
		}
	case "zset":
		for e := range slices.Chunk(do("ZRANGE", k, "0", "-1", "WITHSCORES").Strings(), 2) {
			score, err := strconv.ParseFloat(e[1], 64)
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, fmt.Sprintf("%q %v", e[0], score))
		}
	case "hash":
		for e := range slices.Chunk(do("HGETALL", k).Strings(), 2) {
			lines = append(lines, fmt.Sprintf("%q %q", e[0], e[1]))
		}
	case "stream":
		return renderStream(do("XINFO", "STREAM", k, "FULL", "COUNT", "0"))
	default:
		t.Fatalf("type %q", typ)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func renderStream(info wire.Value) string {
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	s := fieldsOf(info)
	for _, e := range s["entries"].Elems {
		add("%s %q", e.Elems[0].Text, e.Elems[1].Strings())
	}
	add("length %s last %s deleted %s added %s", s["length"].Text, s["last-generated-id"].Text, s["max-deleted-entry-id"].Text, s["entries-added"].Text)
	for _, g := range s["groups"].Elems {
		group := fieldsOf(g)
		read := group["entries-read"].Text
		if group["entries-read"].Null {
			read = "-1"
		}
		add("group %q %s read %s", group["name"].Text, group["last-delivered-id"].Text, read)
		for _, c := range group["consumers"].Elems {
			consumer := fieldsOf(c)
			add("consumer %q seen %s", consumer["name"].Text, consumer["seen-time"].Text)
			pending := consumer["pending"].Elems
			if consumer["pel"].Elems != nil {
				pending = consumer["pel"].Elems
			}
			for _, p := range pending {
				add("pending %s %s %s", p.Elems[0].Text, p.Elems[1].Text, p.Elems[2].Text)
			}
		}
	}
	return strings.Join(lines, "\n")
}

// fieldsOf reads an array of names and values.
func fieldsOf(v wire.Value) map[string]wire.Value {
	m := make(map[string]wire.Value, len(v.Elems)/2)
	for i := 0; i+1 < len(v.Elems); i += 2 {
		m[v.Elems[i].Text] = v.Elems[i+1]
	}
	return m
}
