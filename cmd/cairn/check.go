package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/cairndb/cairn/engine"
	wal "github.com/cairndb/cairn/engine/log"
	"github.com/cairndb/cairn/engine/types"
)

type checkCmd struct {
	Dir string `arg:"" type:"path" help:"The data folder of a node that is not running."`
}

// Help is shown by "cairn check --help".
func (checkCmd) Help() string {
	return `Reads everything and changes nothing: every record of the log and the store against its checksum, the counters against
a count, the expiry index against the keys, the parts of large values against their owners, and the form of every value. Prints what it found.

Exit codes: 0 sound, 1 could not be checked, 3 damaged.`
}

func (c *checkCmd) Run(out *output) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if _, err := os.Stat(c.Dir); err != nil {
		return err
	}
	bars := &phases{out: out.stderr}
	o := engine.DefaultOptions()
	o.Progress = bars.set
	o.Verify = types.Verify
	report, err := engine.Check(ctx, c.Dir, o)
	bars.end()
	if report != nil {
		printReport(out, report)
	}
	switch {
	case errors.Is(err, engine.ErrCorrupt) || errors.Is(err, wal.ErrDamaged):
		return exitError{exitDamage, fmt.Errorf("%s is damaged: %w", c.Dir, err)}
	case err != nil:
		return folderError(c.Dir, err)
	case report.ProblemCount > 0:
		return exitError{exitDamage, fmt.Errorf("%s is damaged; problems found: %d", c.Dir, report.ProblemCount)}
	}
	fmt.Fprintf(out.stdout, "%s is sound\n", c.Dir)
	return nil
}

// pendingLog is more than the records of a start and a clean stop, which the store need not know.
const pendingLog = 256

func printReport(out *output, r *engine.Report) {
	fmt.Fprintf(out.stdout, "log     %d records, %d bytes, up to offset %d; the store has applied it up to %d\n", r.LogRecords, r.LogBytes, r.LogEnd, r.Applied)
	where := ""
	if behind := r.LogEnd - r.Applied; behind > pendingLog {
		fmt.Fprintf(out.stdout, "        the last %d bytes are not in the store yet; the next start replays them\n", behind)
		where = " in the store so far"
	}
	fmt.Fprintf(out.stdout, "keys    %d%s, of which %d expire; %d bytes\n", r.Keys, where, r.Expires, r.Bytes)
	fmt.Fprintf(out.stdout, "parts   %d of large values; %d values wait for their removal\n", r.SubKeys, r.Garbage)
	if r.Importing > 0 {
		fmt.Fprintf(out.stdout, "moves   %d slots are being imported\n", r.Importing)
	}
	for _, p := range r.Problems {
		fmt.Fprintln(out.stdout, "PROBLEM "+p)
	}
	if more := r.ProblemCount - len(r.Problems); more > 0 {
		fmt.Fprintf(out.stdout, "PROBLEM and %d more\n", more)
	}
}
