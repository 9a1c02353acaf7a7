// Package wire is a plain Redis protocol client for the tools and tests: it
// shows replies exactly as they came, type by type, and hides nothing.
package wire

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
)

// Value is one reply. Kind is the type byte of RESP2 or RESP3 as it was sent.
type Value struct {
	Kind  byte    // + - : $ * _ , # ! = ( % ~ > |
	Text  string  // scalars, as sent; empty when Null
	Null  bool    // $-1, *-1 and _
	Elems []Value // arrays, sets, pushes; maps alternate keys and values
}

// IsError reports an error reply.
func (v Value) IsError() bool { return v.Kind == '-' || v.Kind == '!' }

// Err returns an error reply as an error, otherwise nil.
func (v Value) Err() error {
	if v.IsError() {
		return fmt.Errorf("%s", v.Text)
	}
	return nil
}

// Int returns the reply as a number, 0 when it is none.
func (v Value) Int() int64 {
	n, _ := strconv.ParseInt(v.Text, 10, 64)
	return n
}

// Strings returns the texts of the elements.
func (v Value) Strings() []string {
	out := make([]string, len(v.Elems))
	for i, e := range v.Elems {
		out[i] = e.Text
	}
	return out
}

// Equal reports whether two replies are the same to the last byte.
func (v Value) Equal(o Value) bool {
	if v.Kind != o.Kind || v.Text != o.Text || v.Null != o.Null || len(v.Elems) != len(o.Elems) {
		return false
	}
	for i := range v.Elems {
		if !v.Elems[i].Equal(o.Elems[i]) {
			return false
		}
	}
	return true
}

// Sorted returns an aggregate with its elements (a map's pairs) in a fixed
// order, for replies whose order means nothing.
func (v Value) Sorted() Value {
	step := 1
	if v.Kind == '%' {
		step = 2
	}
	groups := make([][]Value, 0, len(v.Elems)/step)
	for i := 0; i+step <= len(v.Elems); i += step {
		groups = append(groups, v.Elems[i:i+step])
	}
	sort.SliceStable(groups, func(i, j int) bool { return groups[i][0].String() < groups[j][0].String() })
	v.Elems = make([]Value, 0, len(v.Elems))
	for _, g := range groups {
		v.Elems = append(v.Elems, g...)
	}
	return v
}

// String renders a reply on one line with its type bytes.
func (v Value) String() string {
	var b strings.Builder
	v.render(&b)
	return b.String()
}

func (v Value) render(b *strings.Builder) {
	b.WriteByte(v.Kind)
	switch {
	case v.Null:
		b.WriteString("null")
	case v.Kind == '*' || v.Kind == '%' || v.Kind == '~' || v.Kind == '>' || v.Kind == '|':
		b.WriteByte('[')
		for i, e := range v.Elems {
			if i > 0 {
				b.WriteByte(' ')
			}
			e.render(b)
		}
		b.WriteByte(']')
	case v.Kind == '$' || v.Kind == '=' || v.Kind == '!':
		b.WriteString(strconv.Quote(v.Text))
	default:
		b.WriteString(v.Text)
	}
}
