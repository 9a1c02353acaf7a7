package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/cairndb/cairn/server/resp"
	"github.com/cairndb/cairn/tools/wire"
)

type loadCmd struct {
	File     string `arg:"" optional:"" help:"Commands to send, as the protocol writes them or one a line (SET key value); - or nothing for standard input."`
	Demo     string `placeholder:"SET" help:"Load a demo data set instead: packages (Debian's package index), gosource (the Go standard library's sources), or auto."`
	Limit    int    `help:"Stop after so many records of the demo set; 0 for all."`
	Addr     string `help:"A node of the cluster, or the node; by default 127.0.0.1:7000, or :6379 if nothing listens there."`
	Password string `env:"CAIRN_PASSWORD,REDISCLI_AUTH" help:"Send AUTH with it."`
}

// Help is shown by "cairn load --help".
func (loadCmd) Help() string {
	return `Commands are pipelined to the nodes that own their slots; in a cluster each command's first argument is taken for its key.
Commands of one key stay in order. Error replies are counted, the first ones are shown, and make the exit code 1.

  cairn load --demo auto
  cairn load commands.txt
  printf 'SET a 1\nSET b 2\n' | cairn load --addr 127.0.0.1:6379`
}

// records calls yield for each command of a source, until it returns an error, which it returns.
type records func(yield func(args []string) error) error

func (c *loadCmd) Run(out *output) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	addr, err := c.target()
	if err != nil {
		return err
	}
	in, err := c.source(ctx)
	if err != nil {
		return err
	}
	l, err := newLoader(ctx, addr, c.Password)
	if err != nil {
		return err
	}
	bar := newProgress(out.stderr, in.what, "records", in.size)
	loaded, failed, err := l.load(in.each, bar)
	bar.end()
	if err != nil {
		return err
	}
	for _, e := range l.samples {
		fmt.Fprintln(out.stderr, "  "+e)
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d commands failed", failed, loaded+failed)
	}
	fmt.Fprintf(out.stdout, "%d records loaded into %s\n%s", loaded, l.describe(), in.hint)
	return nil
}

// target is the address to begin with.
func (c *loadCmd) target() (string, error) {
	if c.Addr != "" {
		return c.Addr, nil
	}
	candidates := []string{loopback(7000), loopback(6379)}
	for _, addr := range candidates {
		if conn, err := wire.Dial(addr); err == nil {
			return addr, conn.Close()
		}
	}
	return "", fmt.Errorf("nothing listens on %s or %s: start a cluster (make cluster) or a node (make run), or give --addr", candidates[0], candidates[1])
}

// input is where the commands come from.
type input struct {
	each       records
	what, hint string
	size       int64 // 0 when not known
}

func (c *loadCmd) source(ctx context.Context) (*input, error) {
	if c.Demo != "" {
		set, err := demoSet(ctx, c.Demo)
		if err != nil {
			return nil, err
		}
		size := set.size
		if c.Limit > 0 {
			size = min(size, c.Limit)
		}
		return &input{set.limited(c.Limit), "Loading " + set.what, set.hint, int64(size)}, nil
	}
	var in io.Reader = os.Stdin
	if c.File != "" && c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return nil, err
		}
		in = f // open until the program ends
	}
	return &input{each: commandsOf(in), what: "Loading"}, nil
}

// commandsOf reads commands in the protocol, or inline, one a line.
func commandsOf(in io.Reader) records {
	return func(yield func([]string) error) error {
		r := resp.Reader{Limits: resp.Limits{MaxBulk: 512 << 20, QueryBuffer: 1 << 30, Authenticated: true}}
		// A last line without its end is a command all the same.
		src := io.MultiReader(bufio.NewReaderSize(in, 1<<16), &finalNewline{r: &r})
		for {
			n, err := src.Read(r.Space(1 << 16))
			r.Filled(n)
			if err := drain(&r, yield); err != nil {
				return err
			}
			if errors.Is(err, io.EOF) {
				if r.Buffered() > 0 {
					return errors.New("the input ends in the middle of a command")
				}
				return nil
			}
			if err != nil {
				return err
			}
		}
	}
}

// finalNewline gives one line end if anything is left unparsed.
type finalNewline struct {
	r    *resp.Reader
	done bool
}

func (f *finalNewline) Read(p []byte) (int, error) {
	if f.done || f.r.Buffered() == 0 {
		return 0, io.EOF
	}
	f.done = true
	return copy(p, "\r\n"), nil
}

func drain(r *resp.Reader, yield func([]string) error) error {
	for {
		args, ok, err := r.Next()
		if err != nil {
			return fmt.Errorf("input: %w", err)
		}
		if !ok {
			return nil
		}
		words := make([]string, len(args))
		for i, a := range args {
			words[i] = string(a)
		}
		if err := yield(words); err != nil {
			return err
		}
	}
}
