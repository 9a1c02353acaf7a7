package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// FileError is a line that does not hold.
type FileError struct {
	Source string // file name, "standard input" or "command line"
	Line   int    // from 1; 0 on the command line
	Text   string
	Err    error
}

func (e *FileError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: '%s': %v", e.Source, e.Text, e.Err)
	}
	return fmt.Sprintf("%s, line %d: '%s': %v", e.Source, e.Line, e.Text, e.Err)
}

func (e *FileError) Unwrap() error { return e.Err }

var errUnknown error = message("Bad directive or wrong number of arguments")

const (
	maxFile    = 16 << 20 // bytes of configuration read
	maxInclude = 16       // depth of include, which also ends a circle of them
)

// Load parses a file ("" for none) and then overrides (--directive value …), and validates.
// An unknown directive is an error with its line. ignored lists accepted directives that mean nothing here.
func Load(path string, overrides []string) (c *Config, ignored []string, err error) {
	return LoadFrom(path, nil, overrides)
}

// LoadFrom is Load with more text, read after the file and before the overrides: what "-" takes from standard input.
func LoadFrom(path string, stdin io.Reader, overrides []string) (*Config, []string, error) {
	l := &loader{c: newConfig(), seen: map[string]bool{}}
	if path != "" {
		abs, err := filepath.Abs(path)
		if err != nil {
			return nil, nil, err
		}
		if err := l.file(abs, 0); err != nil {
			return nil, nil, err
		}
		l.c.path = abs
	}
	if stdin != nil {
		if err := l.read("standard input", stdin, 0); err != nil {
			return nil, nil, err
		}
	}
	for _, line := range commandLine(overrides) {
		if err := l.line(line, 0); err != nil {
			return nil, nil, &FileError{Source: "command line", Text: line, Err: err}
		}
	}
	slices.Sort(l.ignored)
	return l.c, l.ignored, l.c.validate()
}

// loader applies lines to a configuration that nobody else sees yet.
type loader struct {
	c       *Config
	seen    map[string]bool // directives that stood somewhere
	ignored []string
}

func (l *loader) file(path string, depth int) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("can't open config file: %w", err)
	}
	defer f.Close()
	return l.read(path, f, depth)
}

func (l *loader) read(source string, r io.Reader, depth int) error {
	content, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return fmt.Errorf("reading %s: %w", source, err)
	}
	if len(content) > maxFile {
		return fmt.Errorf("%s is larger than %d MiB", source, maxFile>>20)
	}
	content = bytes.TrimPrefix(content, []byte("\xef\xbb\xbf"))
	for i, line := range strings.Split(string(content), "\n") {
		err := l.line(line, depth)
		var inner *FileError
		if errors.As(err, &inner) {
			return err // from an included file: that one's line says more
		}
		if err != nil {
			return &FileError{Source: source, Line: i + 1, Text: strings.TrimSpace(line), Err: err}
		}
	}
	return nil
}

// line applies one line, which may be empty or a comment.
func (l *loader) line(line string, depth int) error {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return nil
	}
	words, err := splitLine(line)
	if err != nil || len(words) == 0 {
		return err
	}
	name, args := strings.ToLower(words[0]), words[1:]
	if name == "include" && len(args) == 1 {
		return l.include(args[0], depth)
	}
	if check := lineOnly[name]; check != nil {
		return check(args)
	}
	d := byName[name]
	if d == nil {
		return errUnknown
	}
	return l.set(d, args)
}

func (l *loader) set(d *Directive, args []string) error {
	old := *l.c.value(d)
	if d.splits() && len(args) == 1 && args[0] != "" { // all words in one pair of quotes
		args = strings.Split(args[0], " ")
	}
	v, err := d.parse(args, old)
	if err != nil {
		return err
	}
	if d.Name == "save" && l.seen["save"] && v.text != "" && old.text != "" {
		v.text = old.text + " " + v.text // save lines add up
	}
	l.c.values[index[d]].Store(&v)
	if d.Flags&Ignored != 0 && !l.seen[d.Name] {
		l.ignored = append(l.ignored, d.Name)
	}
	l.seen[d.Name] = true
	return nil
}

// include reads the files that a path or glob names; a glob may name none.
func (l *loader) include(pattern string, depth int) error {
	if depth >= maxInclude {
		return errors.New("include goes too deep")
	}
	paths := []string{pattern}
	if strings.ContainsAny(pattern, "*?[") {
		var err error
		if paths, err = filepath.Glob(pattern); err != nil {
			return err
		}
	}
	for _, p := range paths {
		if err := l.file(p, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// commandLine turns "--name value value --name …" into lines. As in Redis: what follows a name directly is its value
// also when it starts with "--"; a name and its value may share one argument; "--save" alone means none.
func commandLine(args []string) []string {
	var lines []string
	wantValue := false
	for i, a := range args {
		option := strings.HasPrefix(a, "--") && !wantValue
		switch {
		case option && strings.EqualFold(a, "--save") && (i+1 == len(args) || strings.HasPrefix(args[i+1], "--")):
			lines = append(lines, `save ""`)
		case option:
			lines = append(lines, a[2:])
			wantValue = !strings.ContainsAny(strings.TrimSpace(a), " \t")
		case len(lines) == 0:
			lines = append(lines, quote(a))
		default:
			lines[len(lines)-1] += " " + quote(a)
			wantValue = false
		}
	}
	return lines
}

// validate checks what no single directive can.
func (c *Config) validate() error {
	if !c.ClusterEnabled() {
		return nil
	}
	if c.Port() == 0 {
		return errors.New("cluster-enabled needs a port")
	}
	if _, _, ok := c.ReplicaOf(); ok {
		return errors.New("replicaof is not for cluster mode: leave it out; CLUSTER REPLICATE makes this node a replica, and nodes.conf keeps that")
	}
	if c.ClusterPort() > 65535 {
		return fmt.Errorf("the cluster bus port would be %d: give a port below %d, or cluster-port", c.ClusterPort(), 65536-busOffset)
	}
	return nil
}
