package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// demo is a data set that this machine has anyway.
type demo struct {
	what string // for people
	hint string // what to try with it
	size int    // in records; 0 when not known
	// each calls yield for each record, in an order that does not change.
	each func(yield func(key, value string) error) error
}

var errEnough = errors.New("enough")

// limited turns the set into SET commands, of at most n records; 0 for all.
func (d *demo) limited(n int) records {
	return func(yield func([]string) error) error {
		count := 0
		err := d.each(func(key, value string) error {
			if n > 0 && count >= n {
				return errEnough
			}
			count++
			return yield([]string{"SET", key, value})
		})
		if errors.Is(err, errEnough) {
			return nil
		}
		return err
	}
}

// demoSet finds a set by its name; auto takes the first that is there.
func demoSet(ctx context.Context, name string) (*demo, error) {
	switch name {
	case "packages":
		return packages(ctx)
	case "gosource":
		return goSource()
	case "auto":
		if d, err := packages(ctx); err == nil {
			return d, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return goSource()
	}
	return nil, usageError("--demo %s: give packages, gosource or auto", name)
}

// packages is Debian's package index: the key is package:NAME, the value its description as apt prints it.
func packages(ctx context.Context) (*demo, error) {
	apt, err := exec.LookPath("apt-cache")
	if err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, apt, "dumpavail").Output()
	if err != nil {
		return nil, fmt.Errorf("apt-cache dumpavail: %w", err)
	}
	const few = 1000 // a machine whose package lists were removed
	size := bytes.Count(out, []byte("\nPackage: "))
	if size < few {
		return nil, errors.New("apt-cache knows hardly any packages: run apt-get update")
	}
	return &demo{
		what: "the Debian package index",
		size: size + 1, // the first has no line before it
		hint: "Try: GET package:redis-server   STRLEN package:bash   redis-cli -c --scan --pattern 'package:postgresql*'\n",
		each: func(yield func(string, string) error) error {
			for stanza := range bytes.SplitSeq(out, []byte("\n\n")) {
				name, ok := strings.CutPrefix(firstLine(stanza), "Package: ")
				if !ok {
					continue
				}
				if err := yield("package:"+name, string(stanza)); err != nil {
					return err
				}
			}
			return nil
		},
	}, nil
}

func firstLine(b []byte) string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(b), []byte("\n"))
	return string(line)
}

// pieceLines is the length of a piece of source: the whole library makes some 60,000.
const pieceLines = 48

// goSource is the Go standard library's source code in pieces: the key is go:PATH:FIRST-LINE, as in go:fmt/print.go:97.
func goSource() (*demo, error) {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("no Go sources: go env GOROOT: %w", err)
	}
	root := filepath.Join(strings.TrimSpace(string(out)), "src")
	if _, err := os.Stat(root); err != nil {
		return nil, fmt.Errorf("no Go sources: %w", err)
	}
	return &demo{
		what: "the Go standard library's sources",
		hint: "Try: GET go:fmt/print.go:1   STRLEN go:net/http/server.go:97   redis-cli -c --scan --pattern 'go:sort/*'\n",
		each: func(yield func(string, string) error) error {
			return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
				if err != nil || !d.Type().IsRegular() || filepath.Ext(path) != ".go" {
					return err
				}
				name, err := filepath.Rel(root, path)
				if err != nil {
					return err
				}
				return pieces(path, "go:"+filepath.ToSlash(name), yield)
			})
		},
	}, nil
}

// pieces yields a file in pieces of pieceLines lines.
func pieces(path, prefix string, yield func(key, value string) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var piece strings.Builder
	lines, first := 0, 1
	flush := func() error {
		if lines == 0 {
			return nil
		}
		err := yield(fmt.Sprintf("%s:%d", prefix, first), piece.String())
		piece.Reset()
		first, lines = first+lines, 0
		return err
	}
	r := bufio.NewReader(f)
	for {
		line, readErr := r.ReadString('\n')
		if line != "" {
			piece.WriteString(line)
			lines++
		}
		if lines == pieceLines || readErr != nil {
			if err := flush(); err != nil {
				return err
			}
		}
		if readErr != nil {
			return nil // the end, or a file that cannot be read on: the rest of the library is enough
		}
	}
}
