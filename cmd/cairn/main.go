// Cairn is a durable, disk-backed cluster database that speaks the Redis protocol.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kong"
)

// version is set when the program is built: -ldflags "-X main.version=…".
var version = "unknown"

// Exit codes, as --help tells them.
const (
	exitOK      = 0
	exitFailure = 1 // it ran and failed
	exitUsage   = 2 // the command line or the configuration does not hold
	exitDamage  = 3 // check, or repair-log at its end, found damage
)

// exitError is an error with an exit code of its own.
type exitError struct {
	code int
	err  error
}

func (e exitError) Error() string { return e.err.Error() }
func (e exitError) Unwrap() error { return e.err }

func usageError(format string, args ...any) error {
	return exitError{exitUsage, fmt.Errorf(format, args...)}
}

type commandLine struct {
	Server    serverCmd    `cmd:"" help:"Run a node: cairn server [redis.conf] [--directive value ...]"`
	Cluster   clusterCmd   `cmd:"" help:"Run a cluster of several nodes on this machine, or show how a cluster is."`
	Load      loadCmd      `cmd:"" help:"Load many records into a node or cluster: commands from a file or standard input, or a demo data set."`
	Check     checkCmd     `cmd:"" help:"Verify a data folder: log, store, counters, expiry index."`
	RepairLog repairLogCmd `cmd:"" help:"Make a node with a damaged log start again, without what is lost."`
	Version   versionCmd   `cmd:"" help:"Print the version."`
}

const description = `Cairn is a durable, disk-backed cluster database that speaks the Redis protocol.

  cairn cluster up          three primaries with a replica each on this machine, to try things
  cairn server cairn.conf   one node

Exit codes: 0 success, 1 failure, 2 wrong usage or configuration, 3 check found damage.
cairn cluster status: 0 healthy, 1 degraded, 2 unusable.`

type versionCmd struct{}

func (versionCmd) Run(out *output) error {
	fmt.Fprintf(out.stdout, "cairn %s\n", version)
	return nil
}

// output is where commands print: results to stdout, progress and errors to stderr.
type output struct{ stdout, stderr io.Writer }

func main() {
	os.Exit(run(os.Args[1:], &output{os.Stdout, os.Stderr}))
}

// run runs a command line and returns the exit code.
func run(args []string, out *output) int {
	var err error
	if len(args) > 0 && args[0] == "server" {
		err = runServer(args[1:], out) // Redis's grammar of arguments, not kong's
	} else {
		err = runKong(args, out)
	}
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(out.stderr, "cairn: %v\n", err)
	var e exitError
	if errors.As(err, &e) {
		return e.code
	}
	return exitFailure
}

// helped is what runKong panics with to leave kong after it has printed its help.
type helped struct{}

func runKong(args []string, out *output) (err error) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(helped); !ok {
				panic(r)
			}
			err = nil
		}
	}()
	var cli commandLine
	parser, err := kong.New(&cli, kong.Name("cairn"), kong.Description(description), kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}),
		kong.Writers(out.stdout, out.stderr), kong.Exit(func(int) { panic(helped{}) }), kong.Bind(out))
	if err != nil {
		return err
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	ctx, err := parser.Parse(args)
	if err != nil {
		return usageError("%w (cairn --help tells more)", err)
	}
	return ctx.Run()
}
