// Package config is the configuration: Redis's file format and directive names,
// Cairn's own directives beside them, CONFIG GET, SET and REWRITE. One table declares every directive.
package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cairndb/cairn/server/glob"
)

// Config is the live configuration of a node. Values are read through typed
// getters that are cheap enough for the hot path (one atomic load); Set changes several at once or none.
type Config struct {
	// values holds the present value of all[i].
	values []atomic.Pointer[value]

	// mu serializes Set and Rewrite and guards what follows.
	mu       sync.Mutex
	path     string // of the file, "" for none
	watchers []watcher
}

// watcher is a function to be called after some directives have changed.
type watcher struct {
	on []*Directive
	fn func() error
}

// newConfig returns a configuration of defaults.
func newConfig() *Config {
	c := &Config{values: make([]atomic.Pointer[value], len(all))}
	for i, d := range all {
		args := []string{d.Default}
		if d.Kind == List && d.Default != "" {
			args = strings.Fields(d.Default)
		}
		v, err := d.parse(args, value{})
		if err != nil {
			panic(fmt.Sprintf("config: default of %s: %v", d.Name, err))
		}
		c.values[i].Store(&v)
	}
	return c
}

// Default returns the configuration of a node that is given none.
func Default() *Config { return newConfig() }

func (c *Config) value(d *Directive) *value { return c.values[index[d]].Load() }

// Get returns name/value pairs of the directives that match any of the glob patterns, in any letter case,
// sorted by name. Aliases are names of their own.
func (c *Config) Get(patterns []string) [][2]string {
	var out [][2]string
	for name, d := range byName {
		i := slices.IndexFunc(patterns, func(p string) bool { return glob.Match([]byte(p), []byte(name), true) })
		if i < 0 {
			continue
		}
		// As in Redis, a name that is asked for without wildcards comes back as it was spelled.
		if !strings.ContainsAny(patterns[i], "[*?") {
			name = patterns[i]
		}
		out = append(out, [2]string{name, c.value(d).text})
	}
	slices.SortFunc(out, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	return out
}

// Set applies name/value pairs atomically; the error is the text Redis sends, without its "ERR " in front.
func (c *Config) Set(pairs [][2]string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	changes, err := c.plan(pairs)
	if err != nil {
		return err
	}
	c.swap(changes)
	if err := c.notify(changes); err != nil {
		c.swap(changes)
		// Whoever has applied the change takes it back; an error then has nobody to go to.
		_ = c.notify(changes)
		name := pairs[0][0]
		if len(changes) > 0 {
			name = changes[0].name
		}
		return setError(name, err)
	}
	return nil
}

// change is a directive with the value that it gets, or, once applied, the value that it had.
type change struct {
	name string // as the caller wrote it
	d    *Directive
	v    *value
}

// plan parses and checks the pairs without changing anything.
func (c *Config) plan(pairs [][2]string) ([]change, error) {
	var changes []change
	for _, p := range pairs {
		d := byName[strings.ToLower(p[0])]
		if d == nil {
			name, _, _ := strings.Cut(p[0], "\x00") // Redis quotes C strings
			return nil, message(fmt.Sprintf("Unknown option or number of arguments for CONFIG SET - '%s'", name))
		}
		if err := c.settable(d); err != nil {
			return nil, setError(p[0], err)
		}
		if slices.ContainsFunc(changes, func(ch change) bool { return strings.EqualFold(ch.name, p[0]) }) {
			return nil, setError(p[0], errors.New("duplicate parameter"))
		}
		changes = append(changes, change{name: p[0], d: d})
	}
	for i, p := range pairs {
		d := changes[i].d
		args := []string{p[1]}
		if d.splits() && p[1] != "" {
			args = strings.Split(p[1], " ")
		}
		v, err := d.parse(args, *c.value(d))
		if err != nil {
			return nil, setError(strings.ToLower(p[0]), err)
		}
		changes[i].v = &v
	}
	return changes, nil
}

// splits says whether a value in one argument is divided into words.
func (d *Directive) splits() bool { return d.Kind == List && d.Flags&Whole == 0 }

func (c *Config) settable(d *Directive) error {
	if d.Flags&Protected != 0 && c.value(protectedConfigs).text != "yes" {
		return errors.New("can't set protected config")
	}
	if d.Flags&Hot == 0 {
		return errors.New("can't set immutable config")
	}
	return nil
}

// message is an error text in Redis's own words, capitals and full stops included.
type message string

func (m message) Error() string { return string(m) }

func setError(name string, err error) error {
	return message(fmt.Sprintf("CONFIG SET failed (possibly related to argument '%s') - %v", name, err))
}

// swap exchanges the present values for those of the changes, so that a second call undoes the first.
func (c *Config) swap(changes []change) {
	for i := range changes {
		changes[i].v = c.values[index[changes[i].d]].Swap(changes[i].v)
	}
	// A directive may stand twice, by its name and its alias: undo in the opposite order.
	slices.Reverse(changes)
}

// notify calls whoever watches a directive whose value is not what it was, or is Volatile.
func (c *Config) notify(changes []change) error {
	changed := func(d *Directive) bool {
		return slices.ContainsFunc(changes, func(ch change) bool {
			return ch.d == d && (ch.v.text != c.value(d).text || d.Flags&Volatile != 0)
		})
	}
	for _, w := range c.watchers {
		if slices.ContainsFunc(w.on, changed) {
			if err := w.fn(); err != nil {
				return err
			}
		}
	}
	return nil
}

// OnChange registers fn, called after a Set that changed any of the named directives; an error from fn undoes the Set.
// fn reads the new values with the getters and must not call Set.
func (c *Config) OnChange(names []string, fn func() error) {
	w := watcher{fn: fn}
	for _, n := range names {
		d := byName[n]
		if d == nil {
			panic("config: unknown directive " + n)
		}
		w.on = append(w.on, d)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watchers = append(c.watchers, w)
}

// File is the path of the configuration file, "" for none.
func (c *Config) File() string { return c.path }
