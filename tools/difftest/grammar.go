package main

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// A template is a command line with choices, for example
//
//	SET <key> <value> (NX|XX|EX <seconds>)*
//
// where <name> draws a value from a pool, (a|b) picks one, [a] is left out half
// the time, and a trailing * or + repeats none to three times, or one to three.
type template interface {
	expand(g *generator, out []string) []string
}

type (
	literal  string
	hole     string
	sequence []template
	choice   []template
	repeat   struct {
		of       template
		min, max int
		even     bool // any number of times is as likely as any other
	}
)

func (l literal) expand(g *generator, out []string) []string {
	return append(out, g.letterCase(string(l)))
}

func (h hole) expand(g *generator, out []string) []string { return append(out, g.draw(string(h))) }

func (s sequence) expand(g *generator, out []string) []string {
	for _, t := range s {
		out = t.expand(g, out)
	}
	return out
}

func (c choice) expand(g *generator, out []string) []string {
	return c[g.rng.IntN(len(c))].expand(g, out)
}

func (r repeat) expand(g *generator, out []string) []string {
	n := r.min
	if r.even {
		n += g.rng.IntN(r.max - r.min + 1)
	}
	for n < r.max && !r.even && g.rng.IntN(2) == 0 {
		n++
	}
	for range n {
		out = r.of.expand(g, out)
	}
	return out
}

// parseTemplate panics on a malformed line: the lines are constants of this program.
func parseTemplate(line string) template {
	p := &templateParser{rest: line}
	t := p.sequence()
	if p.rest != "" {
		panic(fmt.Sprintf("template %q: unexpected %q", line, p.rest))
	}
	return t
}

type templateParser struct{ rest string }

// sequence reads atoms up to the end or to a bracket or bar that belongs to the caller.
func (p *templateParser) sequence() template {
	var s sequence
	for {
		p.rest = strings.TrimLeft(p.rest, " ")
		if p.rest == "" || strings.ContainsRune(")]|", rune(p.rest[0])) {
			return s
		}
		s = append(s, p.suffixed(p.atom()))
	}
}

func (p *templateParser) atom() template {
	switch p.rest[0] {
	case '<':
		end := strings.IndexByte(p.rest, '>')
		h := hole(p.rest[1:end])
		p.rest = p.rest[end+1:]
		return h
	case '(':
		return p.bracketed(')')
	case '[':
		return repeat{of: p.bracketed(']'), max: 1}
	}
	end := strings.IndexAny(p.rest+" ", " ()[]|<*+{")
	l := literal(p.rest[:end])
	p.rest = p.rest[end:]
	return l
}

func (p *templateParser) bracketed(closing byte) template {
	var c choice
	for {
		p.rest = p.rest[1:] // the opening bracket or a bar
		c = append(c, p.sequence())
		if p.rest == "" {
			panic("template: bracket not closed")
		}
		if p.rest[0] == closing {
			p.rest = p.rest[1:]
			return c
		}
	}
}

func (p *templateParser) suffixed(t template) template {
	if p.rest == "" {
		return t
	}
	switch p.rest[0] {
	case '*':
		p.rest = p.rest[1:]
		return repeat{of: t, max: 3}
	case '+':
		p.rest = p.rest[1:]
		return repeat{of: t, min: 1, max: 3}
	case '{':
		count, rest, _ := strings.Cut(p.rest[1:], "}")
		n, err := strconv.Atoi(count)
		if err != nil || n < 1 {
			panic(fmt.Sprintf("template: {%s} is no count", count))
		}
		p.rest = rest
		return repeat{of: t, min: 1, max: n, even: true}
	}
	return t
}

// weighted is a family's lines ready to draw from.
type weighted struct {
	templates []template
	total     int
	bounds    []int
}

// parseFamily reads lines that may begin with a weight ("5 GET <key>").
func parseFamily(lines []string) *weighted {
	w := &weighted{}
	for _, line := range lines {
		weight := 1
		if line[0] >= '1' && line[0] <= '9' {
			weight = int(line[0] - '0')
			line = line[1:]
		}
		w.total += weight
		w.bounds = append(w.bounds, w.total)
		w.templates = append(w.templates, parseTemplate(line))
	}
	return w
}

func (w *weighted) pick(rng *rand.Rand) template {
	n := rng.IntN(w.total)
	for i, b := range w.bounds {
		if n < b {
			return w.templates[i]
		}
	}
	panic("unreachable: n is less than the last bound")
}
